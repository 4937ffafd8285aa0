//! One watch per kind across the cluster, of the objects that carry our component label.
//!
//! Lists in pages, then watches with bookmarks and goes on from the last resource version after every break; lists
//! anew when the API server has forgotten it (410). Objects are read one at a time and dropped: what goes to the
//! engine is a [`Seen`]. Started and aborted by the engine, to which everything is told and nothing decided here.

use std::{borrow::Cow, sync::Arc, time::Duration};

use driftless_model::manifest::ManifestId;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};

use crate::{
    api::{Api, Failure, Resource},
    applyset,
    backoff::Backoff,
    change::Expected,
    live::{self, Reader, Seen},
};

/// Objects in one page of a list. CRDs are hundreds of KB each.
const PAGE: u32 = 250;
const PAGE_OF_DEFINITIONS: u32 = 10;
/// How long a watch lives, in seconds, by chance: so that not all kinds reconnect at once.
const LIFETIME: std::ops::Range<u32> = 540..660;
/// Bookmarks come about once a minute: a watch that is silent for this long may be a dead connection.
const SILENCE: Duration = Duration::from_secs(200);
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(200),
    most: Duration::from_secs(30),
};

/// What a watch tells the engine.
#[derive(Debug)]
pub(crate) struct Event {
    /// Which watch.
    pub(crate) watch: u64,
    /// What.
    pub(crate) note: Note,
    /// When it was read.
    pub(crate) at: Instant,
}

/// What happened.
#[derive(Debug)]
pub(crate) enum Note {
    /// A list begins: what is not [`Note::Seen`] until [`Note::Listed`] is not there.
    Listing,
    /// An object as it is now.
    Seen(Box<Seen>),
    /// An object was deleted, or lost its label, at this revision.
    Gone(Box<ManifestId>, u64),
    /// The list is complete; it shows the cluster at this revision.
    Listed(u64),
    /// The watch is open.
    Watching,
    /// The kind is not served any more. The watch has ended.
    Unserved,
    /// It has failed so many times in a row; it will be tried again.
    Trouble(Failure, u32),
}

/// One watch.
pub(crate) struct Watch {
    pub(crate) id: u64,
    pub(crate) api: Api,
    pub(crate) resource: Resource,
    pub(crate) reader: Arc<Reader>,
    pub(crate) expected: Arc<Expected>,
    pub(crate) events: mpsc::Sender<Event>,
    /// Changes when the API server is known to answer again.
    pub(crate) recovered: watch::Receiver<u64>,
    pub(crate) seed: u64,
}

/// What comes next.
enum State {
    List,
    Resume(String),
}

/// Why a step ended.
enum End {
    /// Go on with this state at once.
    Next(State),
    /// Go on with this state after a delay.
    Failed(State, Failure),
    /// The API server has forgotten the version: list anew.
    Forgotten,
    /// The kind is gone, or the engine.
    Stop,
}

#[derive(Deserialize)]
struct List<'a> {
    metadata: Metadata,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: String,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

/// What tells which object it is, and which state of it.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    metadata: HeadMetadata<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadMetadata<'a> {
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    resource_version: Cow<'a, str>,
}

/// The engine is gone, hence the watch too.
struct Closed;

impl Watch {
    /// Runs until the kind is not served any more or the engine is gone.
    pub(crate) async fn run(mut self) {
        let mut rng = SmallRng::seed_from_u64(self.seed);
        let mut state = State::List;
        let mut failures = 0;
        loop {
            // What it recovered from before this try is no reason to hurry after it.
            self.recovered.mark_unchanged();
            let end = match state {
                State::List => self.list().await,
                State::Resume(version) => {
                    let lifetime = rng.random_range(LIFETIME);
                    self.watch(version, lifetime, &mut failures).await
                }
            };
            match end {
                Ok(End::Next(next)) => state = next,
                Ok(End::Forgotten) => {
                    // One that forgets what it has just said is not asked again and again.
                    if failures > 0 {
                        sleep(BACKOFF.delay(failures, &mut rng)).await;
                    }
                    failures += 1;
                    state = State::List;
                }
                Ok(End::Failed(next, failure)) => {
                    failures += 1;
                    state = next;
                    let delay = failure.delay(BACKOFF.delay(failures, &mut rng));
                    if self.tell(Note::Trouble(failure, failures)).await.is_err() {
                        return;
                    }
                    let _ = timeout(delay, self.recovered.changed()).await;
                }
                Ok(End::Stop) | Err(Closed) => return,
            }
        }
    }

    async fn list(&mut self) -> Result<End, Closed> {
        self.tell(Note::Listing).await?;
        let mut next = String::new();
        loop {
            let limit = if self.resource.kind == "CustomResourceDefinition" {
                PAGE_OF_DEFINITIONS
            } else {
                PAGE
            };
            let path = format!("{}?limit={limit}&continue={next}&{}", self.resource.path(), selector());
            let bytes = match self.api.get(&path).await {
                Ok(bytes) => bytes,
                Err(failure) => return self.failed(State::List, failure).await,
            };
            let list: List<'_> = match serde_json::from_slice(&bytes) {
                Ok(list) => list,
                Err(error) => return Ok(End::Failed(State::List, Failure::Malformed(error.to_string()))),
            };
            for item in list.items.into_iter().flatten() {
                if let Some(seen) = self.read(item) {
                    self.tell(Note::Seen(Box::new(seen))).await?;
                }
            }
            if list.metadata.next.is_empty() {
                let version = list.metadata.resource_version;
                self.tell(Note::Listed(live::revision(Some(&version)))).await?;
                return Ok(End::Next(State::Resume(version)));
            }
            next = list.metadata.next;
        }
    }

    async fn watch(&mut self, mut version: String, lifetime: u32, failures: &mut u32) -> Result<End, Closed> {
        let path = format!(
            "{}?watch=1&allowWatchBookmarks=true&resourceVersion={version}&timeoutSeconds={lifetime}&{}",
            self.resource.path(),
            selector(),
        );
        let mut lines = match self.api.lines(&path).await {
            Ok(lines) => lines,
            Err(failure) => return self.failed(State::Resume(version), failure).await,
        };
        let opened = Instant::now();
        self.tell(Note::Watching).await?;
        loop {
            let line = match timeout(SILENCE, lines.next()).await {
                Ok(Ok(Some(line))) => line,
                Err(_) => return Ok(End::Next(State::Resume(version))),
                Ok(Ok(None)) if opened.elapsed() > Duration::from_secs(1) => {
                    return Ok(End::Next(State::Resume(version)));
                }
                Ok(Ok(None)) => {
                    let failure = Failure::Unreachable("the watch was closed at once".to_owned());
                    return Ok(End::Failed(State::Resume(version), failure));
                }
                Ok(Err(failure)) => return Ok(End::Failed(State::Resume(version), failure)),
            };
            match self.line(&line, &mut version).await? {
                None => *failures = 0,
                Some(end) => return Ok(end),
            }
        }
    }

    /// Handles one line of a watch; `Some` when the watch is over.
    async fn line(&self, line: &[u8], version: &mut String) -> Result<Option<End>, Closed> {
        let malformed = |error: serde_json::Error| {
            // A line that cannot be read may hide a change: only a list shows it.
            Ok(Some(End::Failed(State::List, Failure::Malformed(error.to_string()))))
        };
        let line: Line<'_> = match serde_json::from_slice(line) {
            Ok(line) => line,
            Err(error) => return malformed(error),
        };
        if line.kind == "ERROR" {
            let status: kube::core::Status = match serde_json::from_str(line.object.get()) {
                Ok(status) => status,
                Err(error) => return malformed(error),
            };
            if status.code == 410 || status.reason == "Expired" {
                return Ok(Some(End::Forgotten));
            }
            let refusal = crate::api::Refusal {
                code: status.code,
                status,
                retry_after: None,
            };
            return Ok(Some(End::Failed(State::List, Failure::Refused(Box::new(refusal)))));
        }
        let head: Head<'_> = match serde_json::from_str(line.object.get()) {
            Ok(head) => head,
            Err(error) => return malformed(error),
        };
        if line.kind != "BOOKMARK"
            && let Some(note) = self.note(&line, &head.metadata)
        {
            self.tell(note).await?;
        }
        *version = head.metadata.resource_version.into_owned();
        Ok(None)
    }

    /// What a line tells of an object, if it tells anything new.
    fn note(&self, line: &Line<'_>, head: &HeadMetadata<'_>) -> Option<Note> {
        let id = ManifestId {
            group: self.resource.group.clone(),
            kind: self.resource.kind.clone(),
            namespace: Some(head.namespace.as_ref())
                .filter(|it| !it.is_empty())
                .map(str::to_owned),
            name: head.name.as_ref().to_owned(),
        };
        let revision = live::revision(Some(&head.resource_version));
        if line.kind == "DELETED" {
            return Some(Note::Gone(Box::new(id), revision));
        }
        // Most events of a first apply are of what an answer has told already.
        if self.expected.take_answered(&id, revision) {
            return None;
        }
        Some(Note::Seen(Box::new(self.read(line.object)?)))
    }

    fn read(&self, raw: &RawValue) -> Option<Seen> {
        let mut object: Value = serde_json::from_str(raw.get()).ok()?;
        // In lists, built-in kinds leave them out.
        let resource = &self.resource;
        if object.get("kind").is_none() {
            let api_version = if resource.group.is_empty() {
                resource.version.clone()
            } else {
                format!("{}/{}", resource.group, resource.version)
            };
            object["apiVersion"] = Value::from(api_version);
            object["kind"] = Value::from(resource.kind.as_str());
        }
        let seen = self.reader.read(&object, &resource.group, &resource.kind)?;
        Some(seen.keep_unexpected(object, &self.expected))
    }

    async fn failed(&self, state: State, failure: Failure) -> Result<End, Closed> {
        match failure.code() {
            Some(404) => {
                self.tell(Note::Unserved).await?;
                Ok(End::Stop)
            }
            Some(410) => Ok(End::Forgotten),
            _ => Ok(End::Failed(state, failure)),
        }
    }

    async fn tell(&self, note: Note) -> Result<(), Closed> {
        let event = Event {
            watch: self.id,
            note,
            at: Instant::now(),
        };
        self.events.send(event).await.map_err(|_| Closed)
    }
}

fn selector() -> String {
    format!("labelSelector={}", applyset::COMPONENT_LABEL.replace('/', "%2F"))
}
