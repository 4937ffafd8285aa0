//! The agents' stream: Hello, then directives, objects and reports for as long as the agent runs.
//!
//! Each stream is a state machine that is driven by its connection: [`Agent::next`] waits for whatever comes first
//! and gives the next message. It owns no task and queues nothing of size: an agent that does not read makes only
//! itself wait, and finds the newest directive when it reads again.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use driftless_model::{fleet::Cluster, hash::ObjectHash, name::ClusterName, status::ClusterStatus};
use driftless_proto::{from_orders, from_vars, to_hash, v1};
use driftless_store::Error as StoreError;
use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{FuturesUnordered, unfold},
};
use tokio::sync::{mpsc, oneshot, watch};
use tonic::{Request, Response, Status, Streaming};
use v1::{agent_message::Message as FromAgent, server_message::Message as ToAgent};

use super::{Core, Parts, hashes};
use crate::{
    auth::{self, Certificate},
    failure::Failure,
    hub::{Ask, OrdersWatch},
};

/// The first message must come within this time.
const HELLO_WAIT: Duration = Duration::from_secs(15);
/// Objects that are read for one agent at once.
const LOADING: usize = 2;
/// Objects that one agent may wait for.
const MAX_WANTED: usize = 20_000;
/// Agents of a server that stops come back spread over this time.
const RECONNECT_SPREAD_MS: u32 = 3000;
/// Two agents with one certificate would otherwise push each other out all the time.
const REPLACED_RECONNECT_MS: u32 = 60_000;

/// Tells one stream of this process from another.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

pub(super) struct Service(pub(super) Arc<Core>);

#[tonic::async_trait]
impl v1::sync_server::Sync for Service {
    type SyncStream = Parts<v1::ServerMessage>;

    async fn sync(&self, request: Request<Streaming<v1::AgentMessage>>) -> Result<Response<Self::SyncStream>, Status> {
        let certificate = auth::certificate(&request)?;
        let name = certificate.cluster(&self.0.state().fleet)?.0.clone();
        if self.0.stopping.is_cancelled() {
            return Err(Failure::Stopping.into());
        }
        let greeting = Greeting {
            core: Arc::clone(&self.0),
            name,
            certificate,
            inbound: request.into_inner(),
        };
        let messages = unfold(Phase::Greeting(Box::new(greeting)), |phase| async {
            let (message, phase) = phase.next().await?;
            Some((
                message.map(|message| v1::ServerMessage { message: Some(message) }),
                phase,
            ))
        });
        Ok(Response::new(Box::pin(messages)))
    }
}

/// Where a stream is.
enum Phase {
    /// Waits for Hello.
    Greeting(Box<Greeting>),
    /// Serves the agent.
    Open(Box<Agent>),
    /// Has said Goodbye, and ends with this.
    Leaving(Failure),
    /// Has ended.
    Over,
}

impl Phase {
    async fn next(self) -> Option<(Result<ToAgent, Status>, Self)> {
        match self {
            Self::Greeting(greeting) => match greeting.hello().await {
                Ok(Some((welcome, agent))) => Some((Ok(welcome), Self::Open(Box::new(agent)))),
                Ok(None) => None,
                Err(failure) => Some((Err(failure.into()), Self::Over)),
            },
            Self::Open(mut agent) => match agent.next().await {
                Step::Send(message) => Some((Ok(message), Self::Open(agent))),
                Step::Leave(goodbye, failure) => Some((Ok(ToAgent::Goodbye(goodbye)), Self::Leaving(failure))),
                Step::Fail(failure) => Some((Err(failure.into()), Self::Over)),
                Step::End => None,
            },
            Self::Leaving(failure) => Some((Err(failure.into()), Self::Over)),
            Self::Over => None,
        }
    }
}

/// A stream whose agent has not said Hello yet.
struct Greeting {
    core: Arc<Core>,
    name: ClusterName,
    certificate: Certificate,
    inbound: Streaming<v1::AgentMessage>,
}

impl Greeting {
    /// Waits for Hello, takes the place of an older stream of this cluster, and answers Welcome. `None`: the agent
    /// went away.
    async fn hello(mut self) -> Result<Option<(ToAgent, Agent)>, Failure> {
        let stopping = self.core.stopping.clone();
        let first = tokio::select! {
            biased;
            () = stopping.cancelled() => return Err(Failure::Stopping),
            first = tokio::time::timeout(HELLO_WAIT, self.inbound.message()) => first,
        };
        let hello = match first {
            Ok(Ok(Some(v1::AgentMessage {
                message: Some(FromAgent::Hello(hello)),
            }))) => hello,
            Ok(Ok(Some(_))) => return Err(Failure::Argument("the first message must be hello".to_owned())),
            Ok(Ok(None) | Err(_)) => return Ok(None),
            Err(_) => return Err(Failure::Argument("hello did not come in time".to_owned())),
        };
        let held = hashes(&hello.held)?.into_iter().collect();
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let known = self.certificate.cluster(&self.core.state().fleet)?.1.clone();
        let (asks, asked) = mpsc::channel(1);
        let asks = hello.answers_probes.then_some(asks);
        let records = self.core.hub.open(&self.name, id, known, asks);
        let open = Open {
            core: Arc::clone(&self.core),
            name: self.name.clone(),
            id,
        };
        // Again, now that the hub tells of changes: one in between would be missed.
        let record = self.certificate.cluster(&self.core.state().fleet)?.1.clone();
        self.core.table.connected(&self.name, id, (self.core.clock)());
        tracing::debug!(cluster = %self.name, version = hello.agent_version, sequence = hello.sequence, "agent connected");
        let welcome = welcome(&self.name, &record);
        let agent = Agent {
            open,
            certificate: self.certificate,
            inbound: self.inbound,
            orders: self.core.hub.orders(&record.channel),
            records,
            record,
            is_news: true,
            held: Some(held),
            wanted: VecDeque::new(),
            loading: FuturesUnordered::new(),
            asked,
            waits: None,
        };
        Ok(Some((welcome, agent)))
    }
}

fn welcome(name: &ClusterName, record: &Cluster) -> ToAgent {
    ToAgent::Welcome(v1::Welcome {
        cluster: name.to_string(),
        channel: record.channel.to_string(),
        labels: record.labels.clone(),
        vars: from_vars(&record.vars),
        revision: record.revision(),
        orders: from_orders(&record.orders),
    })
}

/// An open stream on hub and table; takes itself off both when it is dropped, however the connection ends.
struct Open {
    core: Arc<Core>,
    name: ClusterName,
    id: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.core.hub.close(&self.name, self.id);
        self.core.table.disconnected(&self.name, self.id, (self.core.clock)());
        if !self.core.state().fleet.clusters.contains_key(&self.name) {
            self.core.table.forget(&self.name);
        }
        tracing::debug!(cluster = %self.name, "agent disconnected");
    }
}

/// An object that was asked for; `None` when the store does not have it.
type Loaded = (ObjectHash, Result<Option<Bytes>, StoreError>);

/// An agent that is served.
struct Agent {
    open: Open,
    certificate: Certificate,
    inbound: Streaming<v1::AgentMessage>,
    records: watch::Receiver<Cluster>,
    /// As the agent was told last.
    record: Cluster,
    orders: OrdersWatch,
    /// Are there orders that were not sent?
    is_news: bool,
    /// What the agent had at Hello: left out of the first directive.
    held: Option<HashSet<ObjectHash>>,
    /// Asked for, not being read yet.
    wanted: VecDeque<ObjectHash>,
    loading: FuturesUnordered<BoxFuture<'static, Loaded>>,
    /// Questions to the agent.
    asked: mpsc::Receiver<Ask>,
    /// Who waits for the answer to which.
    waits: Option<(u64, oneshot::Sender<v1::ProbeResult>)>,
}

/// What a stream does next.
enum Step {
    Send(ToAgent),
    /// Says goodbye, then ends with an error.
    Leave(v1::Goodbye, Failure),
    Fail(Failure),
    /// The agent is gone.
    End,
}

impl Agent {
    async fn next(&mut self) -> Step {
        loop {
            if std::mem::take(&mut self.is_news)
                && let Some(directive) = self.directive()
            {
                return Step::Send(directive);
            }
            self.load();
            let stopping = self.open.core.stopping.clone();
            let step = tokio::select! {
                biased;
                () = stopping.cancelled() => Some(self.stop()),
                changed = self.records.changed() => self.take_record(changed.is_ok()),
                changed = self.orders.changed() => {
                    self.is_news = changed.is_ok();
                    // The hub outlives its streams.
                    (!self.is_news).then_some(Step::Fail(Failure::Stopping))
                }
                Some(Ask { probe, answer }) = self.asked.recv() => {
                    self.waits = Some((probe.id, answer));
                    Some(Step::Send(ToAgent::Probe(probe)))
                }
                Some((hash, loaded)) = self.loading.next() => Some(self.send_object(hash, loaded)),
                message = self.inbound.message() => match message {
                    Ok(Some(message)) => self.take(message).err().map(Step::Fail),
                    Ok(None) | Err(_) => Some(Step::End),
                },
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    fn directive(&mut self) -> Option<ToAgent> {
        let orders = self.orders.borrow_and_update().clone()?;
        let held = self.held.take().unwrap_or_default();
        let directive = orders.directive(|hash| held.contains(hash));
        let metrics = &self.open.core.metrics;
        metrics.directives.inc();
        metrics
            .objects_sent
            .inc_by(directive.objects.iter().map(|object| object.zstd.len() as u64).sum());
        Some(ToAgent::Directive(directive))
    }

    fn stop(&self) -> Step {
        let goodbye = v1::Goodbye {
            reason: "the server is stopping".to_owned(),
            reconnect_after_ms: spread(&self.open.name, RECONNECT_SPREAD_MS),
        };
        Step::Leave(goodbye, Failure::Stopping)
    }

    /// The cluster's record changed, or, when it is not there any more, the cluster was retired or a newer stream took
    /// over.
    fn take_record(&mut self, is_there: bool) -> Option<Step> {
        let name = &self.open.name;
        let fleet = &self.open.core.state().fleet;
        if !is_there && !fleet.clusters.contains_key(name) {
            return Some(Step::Fail(auth::not_enrolled(name, fleet)));
        }
        if !is_there {
            let reason = "a newer stream of this cluster took over: is a second agent running with its certificate?";
            let goodbye = v1::Goodbye {
                reason: reason.to_owned(),
                reconnect_after_ms: REPLACED_RECONNECT_MS,
            };
            return Some(Step::Leave(goodbye, Failure::Replaced(reason.to_owned())));
        }
        let record = self.records.borrow_and_update().clone();
        if let Err(failure) = self.certificate.check(name, &record) {
            let goodbye = v1::Goodbye {
                reason: failure.to_string(),
                reconnect_after_ms: 0,
            };
            return Some(Step::Leave(goodbye, failure));
        }
        let is_moved = record.channel != self.record.channel;
        let is_told = is_moved
            || record.record() != self.record.record()
            || record.orders != self.record.orders
            || record.revision() != self.record.revision();
        if is_moved {
            self.orders = self.open.core.hub.orders(&record.channel);
            self.is_news = true;
        }
        self.record = record;
        is_told.then(|| Step::Send(welcome(name, &self.record)))
    }

    /// Begins to read what was asked for, a few at a time.
    fn load(&mut self) {
        while self.loading.len() < LOADING
            && let Some(hash) = self.wanted.pop_front()
        {
            let objects = Arc::clone(&self.open.core.objects);
            self.loading
                .push(Box::pin(async move { (hash, objects.compressed(&hash).await) }));
        }
    }

    fn send_object(&self, hash: ObjectHash, loaded: Result<Option<Bytes>, StoreError>) -> Step {
        match loaded {
            Ok(zstd) => {
                let zstd = zstd.unwrap_or_default();
                self.open.core.metrics.objects_sent.inc_by(zstd.len() as u64);
                Step::Send(ToAgent::Object(v1::Object {
                    hash: to_hash(&hash),
                    zstd,
                }))
            }
            Err(error) => Step::Fail(error.into()),
        }
    }

    fn take(&mut self, message: v1::AgentMessage) -> Result<(), Failure> {
        match message.message {
            Some(FromAgent::Want(want)) => {
                let wanted = hashes(&want.hashes)?;
                if self.wanted.len() + wanted.len() > MAX_WANTED {
                    let text = format!("more than {MAX_WANTED} objects wanted: wait for some before asking for more");
                    return Err(Failure::TooMuch(text));
                }
                self.wanted.extend(wanted);
            }
            Some(FromAgent::Status(status)) => {
                let Open { core, name, id } = &self.open;
                match ClusterStatus::try_from(status) {
                    Ok(status) => core.table.report(name, *id, status, (core.clock)()),
                    // The cluster still needs its directives.
                    Err(error) => tracing::warn!(cluster = %name, %error, "a report makes no sense"),
                }
            }
            Some(FromAgent::ProbeResult(result)) => {
                if let Some((_, answer)) = self.waits.take_if(|(id, _)| *id == result.id) {
                    // Whoever asked may have gone away meanwhile.
                    let _ = answer.send(result);
                }
            }
            Some(FromAgent::Hello(_)) => return Err(Failure::Argument("hello comes once, first".to_owned())),
            // From a newer agent.
            None => {}
        }
        Ok(())
    }
}

/// Spreads clusters over `0..limit` by their names.
fn spread(cluster: &ClusterName, limit: u32) -> u32 {
    let hash = ObjectHash::of(cluster.as_str().as_bytes());
    let [a, b, c, d, ..] = *hash.as_bytes();
    u32::from_be_bytes([a, b, c, d]) % limit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_come_back_at_different_times() {
        let times: HashSet<u32> = (0..50)
            .map(|n| spread(&format!("c-{n}").parse().unwrap(), 3000))
            .collect();
        assert!(times.len() > 40 && times.iter().all(|&ms| ms < 3000));
    }
}
