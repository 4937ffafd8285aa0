//! What an API server was asked for, read from its audit log.
//!
//! `plane` configures the log and hands out a [`Log`]; suites count the requests of an agent with
//! it. This module only reads.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

/// How much of each request is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Who, what and when.
    Metadata,
    /// The bodies of request and response too.
    RequestResponse,
}

impl Level {
    /// The policy file that logs everything at this level, once when it is done; a watch also when it begins.
    pub fn policy(self) -> String {
        let level = match self {
            Self::Metadata => "Metadata",
            Self::RequestResponse => "RequestResponse",
        };
        format!(
            "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{{level: {level}}}]\n"
        )
    }
}

/// An audit log that is being written.
#[derive(Clone, Debug)]
pub struct Log {
    path: PathBuf,
}

/// A place in an audit log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark(pub(crate) u64);

/// One logged request at one stage.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Same for all stages of one request.
    #[serde(rename = "auditID")]
    pub audit_id: String,
    /// `ResponseComplete`; `ResponseStarted` for a watch that goes on; `Panic`.
    pub stage: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`; the method where
    /// no object is meant.
    pub verb: String,
    /// Path and query.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// Who asked.
    pub user: User,
    /// As whom, if not as themselves.
    #[serde(default)]
    pub impersonated_user: Option<User>,
    /// What program asked.
    #[serde(default)]
    pub user_agent: String,
    /// What object or collection was meant; none for discovery and health.
    #[serde(default)]
    pub object_ref: Option<ObjectRef>,
    /// How it was answered.
    #[serde(default)]
    pub response_status: Option<ResponseStatus>,
    /// RFC 3339, microseconds.
    pub request_received_timestamp: String,
    /// RFC 3339, microseconds.
    pub stage_timestamp: String,
    /// The body sent, at level `RequestResponse`.
    #[serde(default)]
    pub request_object: Option<Value>,
    /// The body answered, at level `RequestResponse`.
    #[serde(default)]
    pub response_object: Option<Value>,
}

/// Who made a request.
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// The user's name.
    #[serde(default)]
    pub username: String,
    /// The user's groups.
    #[serde(default)]
    pub groups: Vec<String>,
}

/// What a request was about. Empty strings stand for absent parts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ObjectRef {
    /// Plural resource name.
    pub resource: String,
    /// Namespace.
    pub namespace: String,
    /// Object name; empty for a collection.
    pub name: String,
    /// API group; empty for the core group.
    pub api_group: String,
    /// API version.
    pub api_version: String,
    /// `status`, `scale`, `token` and so on.
    pub subresource: String,
}

/// How a request was answered.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResponseStatus {
    /// HTTP status.
    pub code: u16,
    /// Machine-readable reason of a refusal.
    pub reason: String,
    /// Text of a refusal.
    pub message: String,
}

impl Event {
    /// Whether it asked to change something.
    pub fn is_write(&self) -> bool {
        matches!(
            self.verb.as_str(),
            "create" | "update" | "patch" | "delete" | "deletecollection" | "post" | "put"
        )
    }

    /// Whether it is about an object or collection of this plural resource name.
    pub fn is_about(&self, resource: &str) -> bool {
        self.object_ref
            .as_ref()
            .is_some_and(|object| object.resource == resource)
    }

    /// The HTTP status of the answer, 0 where none was logged.
    pub fn code(&self) -> u16 {
        self.response_status.as_ref().map_or(0, |status| status.code)
    }

    /// One line for messages: `patch apps/deployments/shop/cart 200 by agent`.
    pub fn summary(&self) -> String {
        let object = match &self.object_ref {
            None => self.request_uri.clone(),
            Some(object) => [
                &object.api_group,
                &object.resource,
                &object.namespace,
                &object.name,
                &object.subresource,
            ]
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("/"),
        };
        format!("{} {object} {} by {}", self.verb, self.code(), self.user.username)
    }
}

impl Log {
    /// The log at `path`, which need not exist yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Everything that is logged so far.
    pub fn all(&self) -> Result<Vec<Event>> {
        self.since(Mark::default())
    }

    /// What was logged after `mark`. An event that is only half written is left for the next call.
    pub fn since(&self, mark: Mark) -> Result<Vec<Event>> {
        Ok(self.read(mark)?.0)
    }

    /// As [`Self::since`], with the place to go on from.
    pub fn read(&self, mark: Mark) -> Result<(Vec<Event>, Mark)> {
        let mut bytes = Vec::new();
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), mark)),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", self.path.display())),
        };
        file.seek(SeekFrom::Start(mark.0))?;
        file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let events = bytes
            .get(..whole)
            .unwrap_or_default()
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| {
                serde_json::from_slice(line)
                    .with_context(|| format!("not an audit event: {}", String::from_utf8_lossy(line)))
            })
            .collect::<Result<_>>()?;
        Ok((events, Mark(mark.0 + whole as u64)))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const EVENT: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"7c","stage":"ResponseComplete","requestURI":"/apis/apps/v1/namespaces/shop/deployments/cart?fieldManager=driftless","verb":"patch","user":{"username":"agent","groups":["system:authenticated"]},"sourceIPs":["127.0.0.1"],"userAgent":"driftless-agent","objectRef":{"resource":"deployments","namespace":"shop","name":"cart","apiGroup":"apps","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-01-01T00:00:00.000001Z","stageTimestamp":"2026-01-01T00:00:00.000002Z"}"#;

    #[test]
    fn half_written_event_is_left_for_the_next_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let log = Log::new(&path);
        assert!(log.all().unwrap().is_empty());

        let (begin, rest) = EVENT.split_at(40);
        let mut file = File::create(&path).unwrap();
        write!(file, "{EVENT}\n{begin}").unwrap();
        let (events, mark) = log.read(Mark::default()).unwrap();
        assert_eq!(events.len(), 1);
        writeln!(file, "{rest}").unwrap();
        let events = log.since(mark).unwrap();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].summary(), "patch apps/deployments/shop/cart 200 by agent");
        assert!(events[0].is_write() && events[0].is_about("deployments"));
    }
}
