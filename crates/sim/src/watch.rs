//! Watches: the changes of one resource as a stream of JSON lines.
//!
//! Made by `http`, polled by whoever reads the response. A watch holds no task: it is woken by the store's topic of its
//! resource, by its own deadline, and by faults.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cluster::Shared;
use crate::faults::Cut;
use crate::read::{Form, text_of};
use crate::select::Selector;
use crate::state::{State, Target};
use crate::status::Refusal;
use crate::store::{Change, Stored};

/// Between bookmarks on a quiet watch.
const BOOKMARKS: Duration = Duration::from_secs(60);

/// A watch's query.
#[derive(Debug, Default)]
pub(crate) struct WatchOptions {
    pub(crate) selector: Selector,
    pub(crate) version: Option<String>,
    pub(crate) bookmarks: bool,
    /// Begin with all objects and a bookmark that says where they end.
    pub(crate) initial: Option<bool>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) form: Form,
}

pub(crate) struct Watch {
    shared: Arc<Shared>,
    target: Target,
    options: WatchOptions,
    read: u64,
    cursor: u64,
    topic: watch::Receiver<u64>,
    drops: watch::Receiver<Cut>,
    ready: VecDeque<Bytes>,
    deadline: Option<Instant>,
    next_bookmark: Instant,
    over: bool,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.state().store.unsubscribe(self.cursor);
    }
}

impl Watch {
    /// Opens a watch; what is wrong with its version is told in the stream.
    pub(crate) fn open(
        shared: &Arc<Shared>,
        state: &mut State,
        target: Target,
        options: WatchOptions,
    ) -> Result<Self, Refusal> {
        options.selector.check(&target.kind)?;
        let text = options.version.as_deref().unwrap_or_default();
        let given: u64 = match text {
            "" => 0,
            text => text.parse().map_err(|_| {
                let number = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
                Refusal::new(500, "", format!("resourceVersion: Invalid value: {text:?}: {number}"))
            })?,
        };
        let now = state.store.version();
        let begin = options.initial.unwrap_or(given == 0);
        let from = if begin || given == 0 { now } else { given };
        let (cursor, topic) = state.store.subscribe(&target.kind.store, from);
        let started = Instant::now();
        let mut out = Self {
            shared: Arc::clone(shared),
            read: from,
            cursor,
            topic,
            drops: shared.faults.drops(),
            ready: VecDeque::new(),
            deadline: options.timeout.map(|timeout| started + timeout),
            next_bookmark: started + BOOKMARKS,
            over: false,
            target,
            options,
        };
        if begin {
            let place = out.target.namespace.clone();
            let all: Vec<Arc<Stored>> = state
                .store
                .all(&out.target.kind.store)
                .filter(|object| place.is_empty() || object.key.0 == place)
                .filter(|object| out.options.selector.matches(object))
                .cloned()
                .collect();
            all.iter().for_each(|object| out.push("ADDED", object));
            if out.options.initial == Some(true) {
                out.bookmark(true);
            }
        }
        Ok(out)
    }

    fn line(&mut self, event: &str, body: &[u8]) {
        let head = format!("{{\"type\":\"{event}\",\"object\":");
        self.ready
            .push_back(Bytes::from([head.as_bytes(), body, b"}\n"].concat()));
    }

    fn push(&mut self, event: &str, object: &Stored) {
        let mut body = Vec::new();
        text_of(
            object,
            &self.target.kind,
            self.target.version,
            self.options.form,
            false,
            &mut body,
        );
        self.line(event, &body);
    }

    fn bookmark(&mut self, end_of_initial: bool) {
        let (kind, api_version) = match self.options.form {
            Form::Whole => (self.target.kind.kind.clone(), self.target.api_version()),
            Form::Metadata => ("PartialObjectMetadata".to_owned(), "meta.k8s.io/v1".to_owned()),
        };
        let mut metadata = json!({"resourceVersion": self.read.to_string(), "creationTimestamp": null});
        if end_of_initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let object = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata});
        self.line("BOOKMARK", object.to_string().as_bytes());
    }

    fn fail(&mut self, refusal: &Refusal) {
        self.line("ERROR", refusal.document().to_string().as_bytes());
        self.over = true;
    }

    /// Ends as the faults say.
    fn cut(&mut self) {
        let cut = *self.drops.borrow_and_update();
        match cut {
            Cut::Clean => {}
            Cut::MidLine => self
                .ready
                .push_back(Bytes::from_static(b"{\"type\":\"MODIFIED\",\"object\":{\"metadata\":")),
            Cut::Garbage => self
                .ready
                .push_back(Bytes::from_static(b"<html>502 Bad Gateway</html>\n")),
            Cut::Error => self.fail(&Refusal::new(500, "InternalError", "etcdserver: no leader")),
        }
        self.over = true;
    }

    /// Reads what is new.
    fn advance(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        let changes = state.store.changes(&self.target.kind.store, self.read, self.cursor);
        let version = state.store.version();
        drop(state);
        match changes {
            Ok(changes) => {
                changes.iter().for_each(|change| self.tell(change));
                self.read = version;
            }
            Err(floor) => {
                let message = format!("too old resource version: {} ({floor})", self.read);
                self.fail(&Refusal::expired(message));
            }
        }
    }

    fn tell(&mut self, change: &Change) {
        let wanted = |object: &Arc<Stored>| {
            (self.target.namespace.is_empty() || object.key.0 == self.target.namespace)
                && self.options.selector.matches(object)
        };
        let was = change.old.as_ref().is_some_and(wanted);
        let is = change.new.as_ref().is_some_and(wanted);
        match (was, is, &change.old, &change.new) {
            (false, true, _, Some(new)) => self.push("ADDED", new),
            (true, true, _, Some(new)) => self.push("MODIFIED", new),
            (true, false, Some(old), Some(_)) => self.push("DELETED", &old.at(change.version)),
            (true, false, Some(old), None) => self.push("DELETED", old),
            _ => {}
        }
    }

    /// The next lines, or `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.over {
                return None;
            }
            self.topic.mark_unchanged();
            self.advance();
            if !self.ready.is_empty() || self.over {
                continue;
            }
            let next_bookmark = if self.options.bookmarks {
                Some(self.next_bookmark)
            } else {
                None
            };
            let timer = [self.deadline, next_bookmark].into_iter().flatten().min();
            tokio::select! {
                biased;
                _ = self.drops.changed() => self.cut(),
                changed = self.topic.changed() => self.over |= changed.is_err(),
                () = until(timer) => {
                    if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                        self.over = true;
                    } else {
                        self.next_bookmark = Instant::now() + BOOKMARKS;
                        self.bookmark(false);
                    }
                }
            }
        }
    }

    /// The lines as they come.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Bytes> + Send {
        futures::stream::unfold(self, async |mut watch| watch.next().await.map(|line| (line, watch)))
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
