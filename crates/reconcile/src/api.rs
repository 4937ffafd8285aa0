//! Requests to the API server: paths, sending, and what an answer means. The only module that speaks HTTP.
//!
//! Every request ends within [`TIMEOUT`]. A refusal keeps what the API server said, field by field, because that is
//! what a person needs; whether and when to try again is decided by the caller.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use driftless_model::{bundle::upkeep::ServiceAccount, manifest::ManifestId};
use http::{HeaderName, HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt as _;
use kube::{Client, client::Body, core::Status};
use serde_json::Value;
use tokio::time::Instant;

use crate::{Metrics, Permit};

mod failure;

pub(crate) use failure::{Conflict, Failure, Refusal, no_sooner};

/// No request takes longer: admission webhooks may take 30 s each, and the API server gives up after 60 s.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Who asks for more than that is taken at this word: something in between is mistaken.
const MOST_RETRY_AFTER: Duration = Duration::from_secs(600);
const IMPERSONATE: HeaderName = HeaderName::from_static("impersonate-user");
const NOT_PERMITTED: &str = "this agent may not write any more, since it did not renew its Lease in time";
/// Metadata alone, of one object. The API server takes the first form it knows, fit or not.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
/// Metadata alone, of a list.
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// A kind as the API server serves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) group: String,
    pub(crate) kind: String,
    /// The version in which it is watched.
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
}

impl Resource {
    /// Path of all objects of the kind, in all namespaces.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", version_path(&self.group, &self.version), self.plural)
    }

    /// Path of its objects in a namespace.
    pub(crate) fn path_in(&self, namespace: &str) -> String {
        let path = version_path(&self.group, &self.version);
        format!("{path}/namespaces/{namespace}/{}", self.plural)
    }

    /// Path of one object, in the version that its manifest is written in.
    pub(crate) fn object_path(&self, version: &str, id: &ManifestId) -> String {
        let mut path = version_path(&self.group, version);
        if self.namespaced {
            let _ = write!(path, "/namespaces/{}", id.namespace.as_deref().unwrap_or("default"));
        }
        let _ = write!(path, "/{}/", self.plural);
        for byte in id.name.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b':' => path.push(char::from(byte)),
                _ => {
                    let _ = write!(path, "%{byte:02X}");
                }
            }
        }
        path
    }
}

/// Path of a group's version.
pub(crate) fn version_path(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("/api/{version}")
    } else {
        format!("/apis/{group}/{version}")
    }
}

/// The API server.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    permit: Permit,
    /// As whom requests are made, if not as ourselves.
    user: Option<Arc<str>>,
    /// Is nothing to be written, whatever is asked for?
    rehearses: bool,
    metrics: Metrics,
}

impl Api {
    pub(crate) fn new(client: Client, permit: Permit) -> Self {
        Self {
            client,
            permit,
            user: None,
            rehearses: false,
            metrics: Metrics::default(),
        }
    }

    /// Makes requests as a ServiceAccount. The API server knows its groups by itself.
    pub(crate) fn acting_as(&self, account: &ServiceAccount) -> Self {
        let ServiceAccount { namespace, name } = account;
        Self {
            user: Some(format!("system:serviceaccount:{namespace}:{name}").into()),
            ..self.clone()
        }
    }

    /// Makes dry runs of whatever would write.
    pub(crate) fn rehearsing(self) -> Self {
        Self {
            rehearses: true,
            ..self
        }
    }

    /// Counts requests in `metrics`.
    pub(crate) fn measured(&self, metrics: &Metrics) -> Self {
        Self {
            metrics: metrics.clone(),
            ..self.clone()
        }
    }

    /// Reads.
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes, Failure> {
        self.ask(request(Method::GET, path, "", Vec::new())).await
    }

    /// Reads the metadata of one object and nothing else of it.
    pub(crate) async fn get_metadata(&self, path: &str) -> Result<Bytes, Failure> {
        self.get_as(path, METADATA).await
    }

    /// Reads the metadata of some objects and nothing else of them.
    pub(crate) async fn list_metadata(&self, path: &str) -> Result<Bytes, Failure> {
        self.get_as(path, METADATA_LIST).await
    }

    async fn get_as(&self, path: &str, form: &'static str) -> Result<Bytes, Failure> {
        let mut request = request(Method::GET, path, "", Vec::new());
        request
            .headers_mut()
            .insert(header::ACCEPT, HeaderValue::from_static(form));
        self.ask(request).await
    }

    /// Applies an object server-side.
    pub(crate) async fn apply(
        &self,
        path: &str,
        manager: &str,
        force: bool,
        body: impl Into<Body>,
    ) -> Result<Value, Failure> {
        let path = format!("{path}?fieldManager={manager}&force={force}");
        parse(
            &self
                .ask(request(Method::PATCH, &path, "application/apply-patch+yaml", body))
                .await?,
        )
    }

    /// Creates an object.
    pub(crate) async fn create(&self, path: &str, manager: &str, body: Vec<u8>) -> Result<Value, Failure> {
        let path = format!("{path}?fieldManager={manager}");
        parse(&self.ask(request(Method::POST, &path, "application/json", body)).await?)
    }

    /// Deletes an object.
    pub(crate) async fn delete(&self, path: &str, options: &Value) -> Result<(), Failure> {
        let body = options.to_string().into_bytes();
        self.ask(request(Method::DELETE, path, "application/json", body))
            .await
            .map(drop)
    }

    /// Opens a stream of lines.
    pub(crate) async fn lines(&self, path: &str) -> Result<Lines, Failure> {
        let request = request(Method::GET, path, "", Vec::new());
        let response = within(TIMEOUT, self.send(request)).await?;
        Ok(Lines {
            body: response.into_body(),
            buffer: BytesMut::new(),
            searched: 0,
        })
    }

    async fn ask(&self, request: Request<Body>) -> Result<Bytes, Failure> {
        within(TIMEOUT, async {
            let response = self.send(request).await?;
            response
                .into_body()
                .collect_bytes()
                .await
                .map_err(|error| Failure::Unreachable(chain(&error)))
        })
        .await
    }

    async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, Failure> {
        if let Some(user) = &self.user {
            let user = HeaderValue::from_str(user).expect("names of ServiceAccounts were checked");
            request.headers_mut().insert(IMPERSONATE, user);
        }
        if self.rehearses && request.method() != Method::GET {
            let path = request.uri().to_string();
            let sign = if path.contains('?') { '&' } else { '?' };
            *request.uri_mut() = format!("{path}{sign}dryRun=All").parse().expect("it was one before");
        }
        // Asked as late as can be: a process that was frozen meanwhile goes on right here.
        if request.method() != Method::GET && !(self.permit)() {
            return Err(Failure::Unreachable(NOT_PERMITTED.to_owned()));
        }
        let verb = if self.rehearses && request.method() != Method::GET {
            "dry-run"
        } else {
            verb(&request)
        };
        let begun = Instant::now();
        let answer = self.client.send(request).await;
        let code = answer.as_ref().ok().map(|response| response.status().as_u16());
        self.metrics.request(verb, code, begun.elapsed());
        let response = answer.map_err(|error| Failure::Unreachable(chain(&error)))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = body
            .collect_bytes()
            .await
            .map_err(|error| Failure::Unreachable(chain(&error)))?;
        let status = serde_json::from_slice::<Status>(&body)
            .unwrap_or_else(|_| Status::failure(String::from_utf8_lossy(&body[..body.len().min(500)]).trim(), ""));
        let header = head
            .headers
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let details = status
            .details
            .as_ref()
            .map(|details| u64::from(details.retry_after_seconds));
        let retry_after = header
            .or(details.filter(|seconds| *seconds > 0))
            .map(|seconds| Duration::from_secs(seconds).min(MOST_RETRY_AFTER));
        Err(Failure::Refused(Box::new(Refusal {
            code: head.status.as_u16(),
            status,
            retry_after,
        })))
    }
}

/// A stream of lines, read as they come.
pub(crate) struct Lines {
    body: Body,
    buffer: BytesMut,
    searched: usize,
}

impl Lines {
    /// The next line; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<BytesMut>, Failure> {
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + end + 1);
                self.searched = 0;
                if self.buffer.is_empty() {
                    // One huge event must not hold its memory until the next.
                    self.buffer = BytesMut::new();
                }
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(Failure::Unreachable(chain(&error))),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
            }
        }
    }
}

/// Reads an object.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Failure> {
    serde_json::from_slice(bytes).map_err(|error| Failure::Malformed(error.to_string()))
}

/// What a request asks for, in few words.
fn verb(request: &Request<Body>) -> &'static str {
    match *request.method() {
        Method::PATCH => "apply",
        Method::POST => "create",
        Method::DELETE => "delete",
        _ if request.uri().query().is_some_and(|query| query.starts_with("watch=1")) => "watch",
        _ => "get",
    }
}

async fn within<T>(limit: Duration, future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let late = |_| Failure::Unreachable(format!("no answer within {} s", limit.as_secs()));
    tokio::time::timeout(limit, future).await.map_err(late)?
}

fn request(method: Method, path: &str, content_type: &str, body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::ACCEPT, "application/json");
    if !content_type.is_empty() {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    request
        .body(body.into())
        .expect("paths are made of names that were checked or encoded")
}

/// An error with its causes, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            let _ = write!(text, ": {next}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(group: &str, plural: &str, namespaced: bool) -> Resource {
        let text = str::to_owned;
        Resource {
            group: text(group),
            kind: text("K"),
            version: text("v1"),
            plural: text(plural),
            namespaced,
        }
    }

    fn id(namespace: Option<&str>, name: &str) -> ManifestId {
        let namespace = namespace.map(str::to_owned);
        ManifestId {
            group: String::new(),
            kind: "K".to_owned(),
            namespace,
            name: name.to_owned(),
        }
    }

    #[test]
    fn paths_name_group_version_namespace_and_name() {
        let pods = resource("", "pods", true);
        assert_eq!(pods.path(), "/api/v1/pods");
        assert_eq!(
            pods.object_path("v1", &id(Some("a"), "b")),
            "/api/v1/namespaces/a/pods/b"
        );
        assert_eq!(
            pods.object_path("v1", &id(None, "b")),
            "/api/v1/namespaces/default/pods/b"
        );
        let roles = resource("rbac.authorization.k8s.io", "clusterroles", false);
        let path = roles.object_path("v1beta1", &id(None, "system:a b?"));
        assert_eq!(
            path,
            "/apis/rbac.authorization.k8s.io/v1beta1/clusterroles/system:a%20b%3F"
        );
    }

    #[tokio::test]
    async fn lines_come_whole_however_the_body_is_cut() {
        let body = Body::from(b"one\ntwo and more\n\nrest".to_vec());
        let mut lines = Lines {
            body,
            buffer: BytesMut::new(),
            searched: 0,
        };
        let mut all = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            all.push(String::from_utf8(line.to_vec()).unwrap());
        }
        assert_eq!(all, ["one\n", "two and more\n", "\n"]);
    }
}
