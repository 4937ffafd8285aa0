//! One simulated cluster: its state behind a lock, its client, its sockets.
//!
//! [`Cluster`] is what the rest of the world holds. Each request is judged by the faults, takes the lock once, and lets
//! the controllers settle before it is answered. An idle cluster has no task but the client's own.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Request as HttpRequest, Response, header};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use serde_json::json;
use tokio::time::Instant;

use crate::discovery::{self, Documents};
use crate::faults::{Faults, Verdict};
use crate::http::{Body, Call, Place, fixed, parameters, place, refused, respond, typed_text};
use crate::requests::{Request, Requests};
use crate::state::{State, Target, Workloads, WriteOptions};
use crate::status::Refusal;

/// Bodies beyond this are refused, as the real server does.
const LARGEST_BODY: usize = 3 * 1024 * 1024;

/// The present, as a cluster sees it.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How to make a [`Cluster`].
#[derive(Clone)]
pub struct Options {
    /// For the kubeconfig and for people.
    pub name: String,
    /// Of identifiers and drawn faults.
    pub seed: u64,
    /// The present; by default 2026-01-01 and the time since the cluster was made.
    pub clock: Option<Clock>,
    /// What becomes of workloads.
    pub workloads: Workloads,
    /// From the creation of a definition to its kind being served.
    pub establish_after: Duration,
    /// Changes that are remembered for watches; a watch from before gets 410 Gone.
    pub history: usize,
    /// Requests that [`Cluster::requests`] logs; counts are always kept.
    pub log: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "simulated".to_owned(),
            seed: 0,
            clock: None,
            workloads: Workloads::Ready,
            establish_after: Duration::ZERO,
            history: 200,
            log: 0,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("name", &self.name)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// What all handles of one cluster share.
pub(crate) struct Shared {
    options: Options,
    started: Instant,
    state: Mutex<Held>,
    pub(crate) faults: Faults,
    requests: Mutex<Requests>,
    client: OnceLock<kube::Client>,
}

struct Held {
    state: State,
    documents: Option<(u64, Arc<Documents>)>,
    compactions: u64,
}

/// The state, locked.
pub(crate) struct Locked<'a>(MutexGuard<'a, Held>);

impl std::ops::Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0.state
    }
}

impl std::ops::DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.0.state
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        let mut held = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let compactions = self.faults.compactions();
        if held.compactions != compactions {
            held.compactions = compactions;
            held.state.store.compact();
        }
        held
    }

    pub(crate) fn state(&self) -> Locked<'_> {
        Locked(self.held())
    }

    fn now(&self) -> String {
        let now = match &self.options.clock {
            Some(clock) => clock(),
            None => {
                let start = Timestamp::constant(1_767_225_600, 0);
                start.checked_add(self.started.elapsed()).unwrap_or(start)
            }
        };
        now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// The documents of discovery, kept until the kinds change.
    pub(crate) fn documents(&self) -> Arc<Documents> {
        let mut held = self.held();
        let revision = held.state.kinds.revision;
        if let Some((made, documents)) = &held.documents
            && *made == revision
        {
            return Arc::clone(documents);
        }
        let documents = discovery::documents(&held.state.kinds);
        held.documents = Some((revision, Arc::clone(&documents)));
        documents
    }
}

/// A Kubernetes API server in memory, with the controllers that a GitOps agent notices.
///
/// Cheap to clone: all handles are the same cluster.
///
/// # Guarantees
/// - Every request sees and leaves a settled cluster: what the simulated controllers do about a write is done when its
///   response is there (but for [`Options::establish_after`]).
/// - Nothing is drawn or timed but by [`Options::seed`] and [`Options::clock`].
#[derive(Clone)]
pub struct Cluster {
    pub(crate) shared: Arc<Shared>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("name", &self.shared.options.name)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// A fresh cluster with the namespaces that every cluster has.
    pub fn new(options: Options) -> Self {
        let mut state = State::new(options.seed, options.history, options.workloads);
        state.slow_definitions = options.establish_after > Duration::ZERO;
        let held = Held {
            state,
            documents: None,
            compactions: 0,
        };
        let shared = Shared {
            faults: Faults::new(options.seed),
            requests: Mutex::new(Requests::new(options.log)),
            client: OnceLock::new(),
            started: Instant::now(),
            state: Mutex::new(held),
            options,
        };
        let out = Self {
            shared: Arc::new(shared),
        };
        out.furnish();
        out
    }

    fn furnish(&self) {
        let now = self.shared.now();
        let mut state = self.shared.state();
        state.now = now;
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            let target = Target {
                kind: crate::kinds::known("", "Namespace"),
                version: 0,
                namespace: String::new(),
                name: name.to_owned(),
                subresource: String::new(),
            };
            let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            let made = state.create(&target, object, &WriteOptions::by("kube-apiserver"));
            debug_assert!(made.is_ok(), "a fresh cluster has no namespaces");
        }
        state.settle();
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.shared.options.name
    }

    /// A client without sockets; the same one every time. Must be called within a tokio runtime.
    pub fn client(&self) -> kube::Client {
        let make = || {
            // A strong handle here would be a cycle: the cluster holds the client.
            let shared = Arc::downgrade(&self.shared);
            let service = tower::service_fn(move |request: HttpRequest<kube::client::Body>| {
                let shared = shared.upgrade();
                async move {
                    let shared = shared.ok_or_else(|| refused_connection("the simulated cluster is gone"))?;
                    Self { shared }.handle(request).await
                }
            });
            kube::Client::new(service, "default")
        };
        self.shared.client.get_or_init(make).clone()
    }

    /// What this cluster does wrong on purpose.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// A snapshot of what was asked so far.
    pub fn requests(&self) -> Requests {
        self.shared
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Forgets what was asked so far.
    pub fn forget_requests(&self) {
        self.shared
            .requests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Objects that it holds, those that every cluster has included.
    pub fn objects(&self) -> usize {
        self.shared.state().store.len()
    }

    /// The newest resource version: the same before and after means that nothing was written.
    pub fn version(&self) -> u64 {
        self.shared.state().store.version()
    }

    /// A kubeconfig for a served cluster.
    pub fn kubeconfig(&self, address: SocketAddr) -> String {
        let name = self.name();
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: {name}\n  cluster: {{server: \"http://{address}\"}}\n\
             users:\n- name: {name}\n  user: {{}}\ncontexts:\n- name: {name}\n  context: {{cluster: {name}, user: {name}}}\n\
             current-context: {name}\n"
        )
    }

    /// Answers one request.
    pub(crate) fn handle<B>(
        &self,
        request: HttpRequest<B>,
    ) -> impl Future<Output = Result<Response<Body>, io::Error>> + Send + use<B>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: fmt::Display,
    {
        let shared = Arc::clone(&self.shared);
        async move {
            let (parts, body) = request.into_parts();
            let text = |name: header::HeaderName| {
                parts
                    .headers
                    .get(name)
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or_default()
                    .to_owned()
            };
            let mut call = Call {
                method: parts.method,
                path: parts.uri.path().to_owned(),
                query: parameters(parts.uri.query().unwrap_or_default()),
                accept: text(header::ACCEPT),
                content_type: text(header::CONTENT_TYPE),
                agent: text(header::USER_AGENT),
                user: text(HeaderName::from_static("impersonate-user")),
                body: Bytes::new(),
            };
            let body = body
                .collect()
                .await
                .map_err(|error| io::Error::other(error.to_string()))?;
            call.body = body.to_bytes();
            let latency = shared.faults.latency();
            if latency > Duration::ZERO {
                tokio::time::sleep(latency).await;
            }
            match answer(&shared, &call) {
                Some(answer) => answer,
                None => std::future::pending().await,
            }
        }
    }
}

fn refused_connection(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, text.to_owned())
}

/// Judges, carries out and records one request; `None` where none is given.
fn answer(shared: &Arc<Shared>, call: &Call) -> Option<Result<Response<Body>, io::Error>> {
    let now = shared.now();
    let found = place(&shared.state().kinds, &call.path);
    let mut record = Request {
        verb: call
            .verb(matches!(&found, Place::Objects(target) if !target.name.is_empty()))
            .to_owned(),
        resource: String::new(),
        namespace: String::new(),
        name: String::new(),
        agent: call.agent.clone(),
        user: call.user.clone(),
        code: 0,
    };
    let mut plural = String::new();
    if let Place::Objects(target) = &found {
        plural.clone_from(&target.kind.plural);
        let slash = if target.subresource.is_empty() { "" } else { "/" };
        record.resource = format!("{plural}{slash}{}", target.subresource);
        record.namespace.clone_from(&target.namespace);
        record.name.clone_from(&target.name);
    } else {
        "get".clone_into(&mut record.verb);
    }
    let response = match shared.faults.judge(&record.verb, &plural, &call.path) {
        Verdict::Cut => Some(Err(refused_connection(
            "connection refused: the simulated cluster is cut off",
        ))),
        Verdict::Silence => None,
        Verdict::Refuse(refusal) => Some(Ok(refused(&refusal))),
        Verdict::Pass => Some(Ok(carry_out(shared, found, call, now))),
    };
    let code = response.as_ref().and_then(|response| response.as_ref().ok());
    record.code = code.map_or(0, |response| response.status().as_u16());
    shared
        .requests
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .record(record);
    response
}

fn carry_out(shared: &Arc<Shared>, found: Place, call: &Call, now: String) -> Response<Body> {
    if call.body.len() > LARGEST_BODY {
        let message = format!("Request entity too large: limit is {LARGEST_BODY}");
        return refused(&Refusal::new(413, "RequestEntityTooLarge", message));
    }
    match found {
        Place::Fixed => fixed(shared, call),
        Place::Nowhere { known: true } => refused(&Refusal::no_resource()),
        Place::Nowhere { known: false } => typed_text(404, "404 page not found\n"),
        Place::Objects(target) => {
            let mut state = shared.state();
            state.now = now;
            let defines = target.kind.is("apiextensions.k8s.io", "CustomResourceDefinition");
            let out = respond(shared, &mut state, target, call);
            state.settle();
            drop(state);
            if defines && shared.options.establish_after > Duration::ZERO {
                establish_later(shared);
            }
            out.unwrap_or_else(|refusal| refused(&refusal))
        }
    }
}

/// Establishes waiting definitions after the configured moment, unless the cluster is gone by then.
fn establish_later(shared: &Arc<Shared>) {
    let after = shared.options.establish_after;
    let shared = Arc::downgrade(shared);
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        if let Some(shared) = shared.upgrade() {
            let now = shared.now();
            let mut state = shared.state();
            state.now = now;
            state.establish_all();
            state.settle();
        }
    });
}
