//! One agent that has said Hello: what it is told, and what becomes of what it says.

use std::{
    collections::{BTreeSet, VecDeque},
    future,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use driftless_model::{
    fleet::Cluster,
    hash::ObjectHash,
    name::{ChannelName, ClusterName},
    status::ClusterStatus,
};
use driftless_proto::{from_orders, from_time, from_vars, opt_hash, v1};
use driftless_store::Error as StoreError;
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use jiff::Timestamp;
use prost::Message as _;
use tokio::sync::oneshot;
use tonic::{Status, Streaming};
use v1::{agent_message::Message as FromAgent, server_message::Message as ToAgent};

use crate::{
    auth::{self, Certificate},
    failure::Failure,
    frame::Frame,
    hub::{Ask, Holder, Line, News, Subscription},
    objects::Packed,
    services::{Core, hashes},
};

/// Messages of an agent that are taken before others have their turn.
const HEARD_AT_ONCE: usize = 64;
/// Objects that are read for one agent at once.
const LOADING: usize = 2;
/// Objects that are ready go out together up to so many bytes. HTTP/2 clients take a flood of small pieces for an attack
/// and end the connection (h2's budget for DATA frames below 256 bytes).
const TOGETHER: usize = 16 * 1024;
/// Objects that one agent may wait for.
const MAX_WANTED: usize = 20_000;
/// Agents of a server that stops come back spread over this time.
const RECONNECT_SPREAD_MS: u32 = 3000;
/// Two agents with one certificate would otherwise push each other out all the time.
const REPLACED_RECONNECT_MS: u32 = 60_000;

/// What an agent is told of its cluster at `now`, and what names that, whenever it is told.
pub(super) fn welcome(name: &ClusterName, record: &Cluster, now: Timestamp) -> (Frame, ObjectHash) {
    let timeless = v1::Welcome {
        cluster: name.to_string(),
        channel: record.channel.to_string(),
        labels: record.labels.clone(),
        vars: from_vars(&record.vars),
        revision: record.revision(),
        orders: from_orders(&record.orders),
        time: None,
    };
    let told = ObjectHash::of(&timeless.encode_to_vec());
    let time = Some(from_time(now));
    (Frame::new(ToAgent::Welcome(v1::Welcome { time, ..timeless })), told)
}

/// An open stream on hub and table; takes itself off both when it is dropped, however the connection ends.
pub(super) struct Open {
    pub(super) core: Arc<Core>,
    pub(super) name: ClusterName,
    pub(super) id: u64,
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
type Loaded = (ObjectHash, Result<Option<Packed>, StoreError>);

/// An agent that is served.
pub(super) struct Agent {
    pub(super) open: Open,
    pub(super) certificate: Arc<Certificate>,
    pub(super) inbound: Streaming<v1::AgentMessage>,
    pub(super) line: Arc<Line>,
    pub(super) channel: ChannelName,
    /// Names what the agent was told last of its cluster.
    pub(super) told: ObjectHash,
    pub(super) orders: Subscription,
    /// Are there orders that were not sent?
    pub(super) is_news: bool,
    pub(super) takes_deltas: bool,
    /// What the agent had at Hello, until the first directive.
    pub(super) held: Option<BTreeSet<ObjectHash>>,
    /// Asked for, each with the base that was offered, and not being read yet.
    pub(super) wanted: VecDeque<(ObjectHash, Option<ObjectHash>)>,
    /// Being read; `None` while nothing is, as nearly always.
    pub(super) loading: Option<FuturesUnordered<BoxFuture<'static, Loaded>>>,
    /// Who waits for the answer to which.
    pub(super) waits: Option<(u64, oneshot::Sender<v1::ProbeResult>)>,
}

/// What a stream does next.
pub(super) enum Step {
    Send(Frame),
    /// Says goodbye, then ends with an error.
    Leave(v1::Goodbye, Failure),
    Fail(Failure),
    /// The agent is gone.
    End,
}

impl Agent {
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Step> {
        for _ in 0..HEARD_AT_ONCE {
            if std::mem::take(&mut self.is_news)
                && let Some(directive) = self.directive()
            {
                return Poll::Ready(Step::Send(directive));
            }
            self.load();
            let step = if let Poll::Ready(news) = self.line.poll_next(context) {
                self.take_news(news)
            // Before what is sent: whoever has asked for much is heard all the same.
            } else if let Poll::Ready(message) = self.inbound.poll_next_unpin(context) {
                match message {
                    Some(Ok(message)) => self.take(message).err().map(Step::Fail),
                    Some(Err(status)) => Some(Step::Fail(unreadable(&status))),
                    None => Some(Step::End),
                }
            } else if let Poll::Ready((hash, loaded)) = self.poll_loaded(context) {
                Some(self.send_object(hash, loaded))
            } else {
                return Poll::Pending;
            };
            if let Some(step) = step {
                return Poll::Ready(step);
            }
        }
        // Others have their turn.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn directive(&mut self) -> Option<Frame> {
        let orders = self.orders.newest()?;
        let held = self.held.take();
        let (frame, bytes) = orders.directive(Holder {
            takes_deltas: self.takes_deltas,
            held: held.as_ref(),
        });
        let metrics = &self.open.core.metrics;
        metrics.directives.inc();
        metrics.objects_sent.inc_by(bytes);
        Some(frame)
    }

    fn take_news(&mut self, news: News) -> Option<Step> {
        match news {
            News::Stop => Some(stop(&self.open.name)),
            News::Over => Some(self.over()),
            News::Record => self.take_record(),
            News::Orders => {
                self.is_news = true;
                None
            }
            News::Ask(ask) => {
                let Ask { probe, answer } = *ask;
                self.waits = Some((probe.id, answer));
                Some(Step::Send(Frame::new(ToAgent::Probe(probe))))
            }
        }
    }

    /// The cluster was retired, or a newer stream took over.
    fn over(&self) -> Step {
        let name = &self.open.name;
        let fleet = &self.open.core.state().fleet;
        if !fleet.clusters.contains_key(name) {
            return Step::Fail(auth::not_enrolled(name, fleet));
        }
        let reason = "a newer stream of this cluster took over: is a second agent running with its certificate?";
        let goodbye = v1::Goodbye {
            reason: reason.to_owned(),
            reconnect_after_ms: REPLACED_RECONNECT_MS,
        };
        Step::Leave(goodbye, Failure::Replaced(reason.to_owned()))
    }

    /// The cluster's record may have changed.
    fn take_record(&mut self) -> Option<Step> {
        let state = self.open.core.state();
        let name = &self.open.name;
        let Some(record) = state.fleet.clusters.get(name) else {
            return Some(self.over());
        };
        if let Err(failure) = self.certificate.check(name, record) {
            let goodbye = v1::Goodbye {
                reason: failure.to_string(),
                reconnect_after_ms: 0,
            };
            return Some(Step::Leave(goodbye, failure));
        }
        if record.channel != self.channel {
            self.channel.clone_from(&record.channel);
            self.orders = self.open.core.hub.orders(&record.channel, self.open.id, &self.line);
            self.is_news = true;
        }
        let (welcome, told) = welcome(name, record, (self.open.core.clock)());
        let is_new = std::mem::replace(&mut self.told, told) != told;
        is_new.then_some(Step::Send(welcome))
    }

    /// Begins to read what was asked for, a few at a time.
    fn load(&mut self) {
        while self.loading.as_ref().map_or(0, FuturesUnordered::len) < LOADING
            && let Some((hash, base)) = self.wanted.pop_front()
        {
            let objects = Arc::clone(&self.open.core.objects);
            self.loading.get_or_insert_default().push(Box::pin(async move {
                (hash, objects.packed(&hash, base.as_ref()).await)
            }));
        }
    }

    /// What was read next, if anything is being read.
    fn poll_loaded(&mut self, context: &mut Context<'_>) -> Poll<Loaded> {
        if let Some(loading) = &mut self.loading {
            if let Some(loaded) = ready!(loading.poll_next_unpin(context)) {
                return Poll::Ready(loaded);
            }
            self.loading = None;
        }
        Poll::Pending
    }

    fn send_object(&mut self, hash: ObjectHash, loaded: Result<Option<Packed>, StoreError>) -> Step {
        let mut frames = match loaded {
            Ok(found) => vec![self.object(&hash, found)],
            Err(error) => return Step::Fail(error.into()),
        };
        while frames.iter().map(Frame::len).sum::<usize>() < TOGETHER {
            self.load();
            match self.poll_loaded(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready((hash, Ok(found))) => frames.push(self.object(&hash, found)),
                // After what is ready.
                Poll::Ready(failed) => {
                    self.loading
                        .get_or_insert_default()
                        .push(Box::pin(future::ready(failed)));
                    break;
                }
                Poll::Pending => break,
            }
        }
        Step::Send(Frame::together(frames))
    }

    fn object(&self, hash: &ObjectHash, found: Option<Packed>) -> Frame {
        match found {
            Some(Packed { zstd, base }) => {
                self.open.core.metrics.objects_sent.inc_by(zstd.len() as u64);
                Frame::object(hash, base.as_ref(), zstd)
            }
            None => Frame::object(hash, None, Bytes::new()),
        }
    }

    fn take(&mut self, message: v1::AgentMessage) -> Result<(), Failure> {
        match message.message {
            Some(FromAgent::Want(want)) => {
                let wanted = wanted(&want)?;
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

/// What came is no message. Whoever has gone away does not hear it.
pub(super) fn unreadable(status: &Status) -> Failure {
    Failure::Argument(format!("a message cannot be read: {}", status.message()))
}

/// What was asked for, each with its base if one was offered.
fn wanted(want: &v1::Want) -> Result<Vec<(ObjectHash, Option<ObjectHash>)>, Failure> {
    let wanted = hashes(&want.hashes)?;
    if want.bases.is_empty() {
        return Ok(wanted.into_iter().map(|hash| (hash, None)).collect());
    }
    if want.bases.len() != wanted.len() {
        let text = format!(
            "want.bases: {} for {} hashes: one for each, or none at all",
            want.bases.len(),
            wanted.len()
        );
        return Err(Failure::Argument(text));
    }
    let base = |base| opt_hash("want.bases", Some(base).filter(|base: &&Bytes| !base.is_empty()));
    let bases: Vec<_> = want.bases.iter().map(base).collect::<Result<_, _>>()?;
    Ok(wanted.into_iter().zip(bases).collect())
}

fn stop(name: &ClusterName) -> Step {
    let goodbye = v1::Goodbye {
        reason: "the server is stopping".to_owned(),
        reconnect_after_ms: spread(name, RECONNECT_SPREAD_MS),
    };
    Step::Leave(goodbye, Failure::Stopping)
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
        let times: std::collections::HashSet<u32> = (0..50)
            .map(|n| spread(&format!("c-{n}").parse().unwrap(), 3000))
            .collect();
        assert!(times.len() > 40 && times.iter().all(|&ms| ms < 3000));
    }
}
