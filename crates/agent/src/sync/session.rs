//! Decides what each message of the server means. Pure: messages in, [`Action`]s out; [`super::stream`] carries
//! them out.
//!
//! One session lives as long as this process leads, across streams: what was verified stays verified. It believes
//! nothing of the server but what it can check: the directive is of the cluster's channel, its sequence is never
//! below one accepted before, and every object hashes to the name by which the directive reaches it.

use std::{
    collections::{BTreeMap, BTreeSet},
    iter,
    sync::Arc,
};

use bytes::Bytes;
use driftless_model::{
    directive::Directive,
    hash::ObjectHash,
    name::{ChannelName, ClusterName, Labels, Vars},
    orders::Orders,
    view::View,
};
use driftless_proto::{self as proto, v1};
use jiff::Timestamp;

use super::refusal::{Refusal, malformed};
use crate::{
    accepted::{Accepted, FORMAT},
    object::{self, Frame, Packed},
};
pub(crate) use content::Content;
use content::Viewed;
pub(crate) use inquiry::{Question, failure};
use pending::Pending;

mod content;
mod inquiry;
mod pending;

/// Most hashes in one `Want`.
const WANT: usize = 64;

/// What to do about a message.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// The server's clock shows this: orders end by it.
    Time(Timestamp),
    /// Ask for these objects.
    Want(Vec<Wanted>),
    /// This is accepted.
    Adopt(Box<Adoption>),
    /// Find out what would be, and answer.
    Ask(Box<Question>),
    /// Send this answer.
    Answer(v1::ProbeResult),
    /// The server ends the stream; come back after that many milliseconds.
    Goodbye { reason: String, after_ms: u32 },
}

/// An object to ask for, and one that is held from which a delta would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) hash: ObjectHash,
    pub(crate) base: Option<ObjectHash>,
}

/// What was accepted, complete and verified.
#[derive(Debug, Clone)]
pub(crate) struct Adoption {
    /// To be remembered.
    pub(crate) accepted: Accepted,
    /// To be run; `None` when nothing changes for the cluster.
    pub(crate) view: Option<Arc<View>>,
    /// Counts adoptions, so that it can be told which one was stored.
    pub(crate) generation: u64,
    /// Objects that are not known to be stored yet.
    pub(crate) unsaved: Vec<Frame>,
    /// All that has to be stored for the view to be found again.
    pub(crate) keep: Content,
}

/// The cluster's record, as the server tells it.
#[derive(Debug, Clone)]
struct Record {
    channel: ChannelName,
    labels: Labels,
    vars: Vars,
    orders: Orders,
    revision: u64,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    cluster: ClusterName,
    accepted: Option<Accepted>,
    content: Content,
    /// What it was to run last: the next is made of it.
    viewed: Option<Viewed>,
    generation: u64,
    /// Verified objects that are not known to be stored, with the first adoption they can be part of.
    unsaved: BTreeMap<ObjectHash, (u64, Frame)>,
    pending: Option<Pending>,
    inquiry: Option<inquiry::Inquiry>,
    /// What this stream's last Welcome said.
    welcome: Option<Record>,
}

impl Session {
    /// A session that starts from what was stored.
    pub(crate) fn new(cluster: ClusterName, accepted: Option<Accepted>) -> Self {
        Self {
            cluster,
            accepted,
            content: Content::default(),
            viewed: None,
            generation: 0,
            unsaved: BTreeMap::new(),
            pending: None,
            inquiry: None,
            welcome: None,
        }
    }

    /// Takes the stored snapshot; answers which bundles belong to it.
    pub(crate) fn restore_snapshot(&mut self, hash: ObjectHash, zstd: Bytes) -> Result<Vec<ObjectHash>, object::Bad> {
        let (_, bytes) = object::verify(hash, zstd)?;
        self.content = Content::default().followed_by(hash, bytes, &self.content)?;
        Ok(self.content.lacking().keys().copied().collect())
    }

    /// Takes a stored bundle of it.
    pub(crate) fn restore_bundle(&mut self, hash: ObjectHash, zstd: Bytes) -> Result<(), object::Bad> {
        let (_, content) = object::verify(hash, zstd)?;
        let bundle = object::bundle(hash, &content, None)?;
        self.content.put(hash, bundle)
    }

    /// What to run of what was restored; `None` when something is missing.
    pub(crate) fn restored(&self) -> Option<Arc<View>> {
        let facts = self.accepted.as_ref()?.facts();
        let viewed = self.content.view(facts, self.viewed.as_ref())?;
        Some(viewed.view())
    }

    /// What was accepted last.
    pub(crate) fn accepted(&self) -> Option<&Accepted> {
        self.accepted.as_ref()
    }

    /// Whose session it is.
    pub(crate) fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// The identity in use is this cluster's. Under another name nothing that was accepted before counts.
    pub(crate) fn call(&mut self, cluster: &ClusterName) {
        if self.cluster != *cluster {
            self.cluster = cluster.clone();
            (self.accepted, self.pending, self.welcome) = (None, None, None);
        }
    }

    /// Is there no directive whose objects are still to come?
    pub(crate) fn is_settled(&self) -> bool {
        self.pending.is_none()
    }

    /// This adoption is stored now: the compressed form of its objects is not needed any more.
    pub(crate) fn saved(&mut self, generation: u64) {
        self.unsaved.retain(|_, (first, _)| *first > generation);
    }

    /// First message of a new stream.
    pub(crate) fn hello(&mut self, agent_version: &str) -> v1::Hello {
        (self.welcome, self.inquiry) = (None, None);
        if let Some(pending) = &mut self.pending {
            // What came is kept; what was asked for on the old stream has to be asked for again.
            pending.wanted.clear();
        }
        // The snapshots come first: they are what the server can make deltas from. What is not named may be sent though
        // it is held; nothing of it is asked for.
        let contents = || iter::once(&self.content).chain(self.pending.as_ref().map(|pending| &pending.content));
        let snapshots: BTreeSet<_> = contents().filter_map(Content::snapshot_hash).collect();
        let bundles: BTreeSet<_> = contents().flat_map(Content::bundles).collect();
        let held = snapshots.iter().chain(bundles).take(proto::MAX_HELD);
        v1::Hello {
            agent_version: agent_version.to_owned(),
            sequence: self
                .accepted
                .as_ref()
                .map_or(0, |accepted| accepted.directive().sequence),
            held: held.map(proto::to_hash).collect(),
            answers_probes: true,
            takes_deltas: true,
        }
    }

    /// Takes one message.
    pub(crate) fn receive(&mut self, message: v1::ServerMessage) -> Result<Vec<Action>, Refusal> {
        use v1::server_message::Message;
        match message.message {
            Some(Message::Welcome(welcome)) => self.welcome(welcome),
            Some(Message::Directive(directive)) => self.directive(directive),
            Some(Message::Object(object)) => self.object(object),
            Some(Message::Probe(probe)) => Ok(self.probe(&probe)),
            Some(Message::Goodbye(goodbye)) => Ok(vec![Action::Goodbye {
                reason: goodbye.reason,
                after_ms: goodbye.reconnect_after_ms,
            }]),
            // A kind of message that a newer server knows.
            None => Ok(Vec::new()),
        }
    }

    fn welcome(&mut self, welcome: v1::Welcome) -> Result<Vec<Action>, Refusal> {
        if welcome.cluster != self.cluster.as_str() {
            return Err(Refusal::WrongCluster {
                ours: self.cluster.clone(),
                theirs: welcome.cluster,
            });
        }
        let record = Record {
            channel: welcome.channel.parse().map_err(malformed)?,
            labels: welcome.labels,
            vars: proto::vars("welcome.vars", welcome.vars).map_err(malformed)?,
            orders: proto::orders("welcome.orders", &welcome.orders).map_err(malformed)?,
            revision: welcome.revision,
        };
        // What the cluster was to run of a channel that it left meanwhile.
        self.pending
            .take_if(|pending| pending.directive.channel != record.channel);
        // Before the orders that it is for. Older servers do not say.
        let shown = welcome.time.map(|time| proto::time("welcome.time", Some(&time)));
        let time = shown.transpose().map_err(malformed)?.map(Action::Time);
        let actions = time.into_iter().chain(self.accept_record(&record)).collect();
        self.welcome = Some(record);
        Ok(actions)
    }

    /// Takes over labels, variables and orders. When the cluster moves, all but the orders wait for the directive of its
    /// new channel: what runs by then is never the old snapshot with the new labels.
    fn accept_record(&mut self, record: &Record) -> Vec<Action> {
        let Some(accepted) = &mut self.accepted else {
            return Vec::new();
        };
        let before = (&accepted.labels, &accepted.vars);
        let is_changed = before != (&record.labels, &record.vars);
        let is_ordered = accepted.orders != record.orders;
        accepted.orders.clone_from(&record.orders);
        if accepted.directive().channel != record.channel {
            return is_ordered.then(|| self.adoption(false)).flatten().into_iter().collect();
        }
        if !is_changed && !is_ordered && accepted.revision == record.revision {
            return Vec::new();
        }
        accepted.labels.clone_from(&record.labels);
        accepted.vars.clone_from(&record.vars);
        accepted.revision = record.revision;
        self.adoption(is_changed).into_iter().collect()
    }

    fn directive(&mut self, message: v1::Directive) -> Result<Vec<Action>, Refusal> {
        let Some(Record { channel, .. }) = &self.welcome else {
            return Err(Refusal::Malformed("a directive before the welcome".to_owned()));
        };
        let directive = Directive::decode(&message.document).map_err(malformed)?;
        self.check(channel, &directive, &message.document)?;
        let document = String::from_utf8(message.document.to_vec()).map_err(malformed)?;
        let packed = message.objects.into_iter().map(Packed::read);
        let packed = packed.collect::<Result<_, _>>().map_err(malformed)?;
        // Whatever an older directive still waited for is not needed, but may be part of this one as well.
        let content = self.pending.take().map(|pending| pending.content);
        let content = content.unwrap_or_else(|| self.content.clone());
        self.pending = Some(Pending {
            directive,
            document,
            content,
            packed,
            wanted: BTreeSet::new(),
            whole: BTreeSet::new(),
        });
        self.proceed()
    }

    fn check(&self, channel: &ChannelName, directive: &Directive, document: &[u8]) -> Result<(), Refusal> {
        let Directive {
            channel: theirs,
            sequence,
            ..
        } = directive;
        if theirs != channel {
            let (sequence, ours, theirs) = (*sequence, channel.clone(), theirs.clone());
            return Err(Refusal::WrongChannel { sequence, ours, theirs });
        }
        let Some(accepted) = &self.accepted else { return Ok(()) };
        let highest = accepted.sequences.get(channel).copied().unwrap_or_default();
        if *sequence < highest {
            return Err(Refusal::Replayed {
                channel: channel.clone(),
                sequence: *sequence,
                accepted: highest,
            });
        }
        let last = accepted.directive();
        if last.channel == *channel && last.sequence == *sequence && accepted.directive.as_bytes() != document {
            return Err(Refusal::Forked {
                channel: channel.clone(),
                sequence: *sequence,
            });
        }
        Ok(())
    }

    fn accept(&mut self) -> Option<Action> {
        let Pending {
            directive,
            document,
            content,
            ..
        } = self.pending.take()?;
        let record = self.welcome.clone()?;
        let mut sequences = self
            .accepted
            .as_ref()
            .map(|accepted| accepted.sequences.clone())
            .unwrap_or_default();
        sequences.insert(directive.channel.clone(), directive.sequence);
        let before = self.accepted.take();
        // Without a snapshot nothing changes: what runs goes on running, and being repaired.
        let running = directive
            .snapshot
            .or_else(|| before.as_ref().and_then(|accepted| accepted.running));
        let after = Accepted {
            format: FORMAT,
            directive: document,
            running,
            sequences,
            cluster: self.cluster.clone(),
            labels: record.labels,
            vars: record.vars,
            revision: record.revision,
            orders: record.orders,
        };
        let changed = running != before.as_ref().and_then(|accepted| accepted.running)
            || self.content.snapshot_hash() != running
            || before.as_ref().map(Accepted::facts) != Some(after.facts());
        let same = before.as_ref() == Some(&after);
        let mut filled = false;
        if directive.snapshot.is_some() {
            // Equal snapshots may still have lacked a bundle that has come now.
            filled = !self.content.lacking().is_empty();
            self.content = content;
        }
        self.accepted = Some(after);
        if same && !filled && !changed {
            return None;
        }
        self.adoption(changed || filled)
    }

    fn adoption(&mut self, changed: bool) -> Option<Action> {
        let accepted = self.accepted.clone()?;
        self.unsaved.retain(|hash, _| self.content.holds(hash));
        let view = if changed {
            self.viewed = self.content.view(accepted.facts(), self.viewed.as_ref());
            self.viewed.as_ref().map(Viewed::view)
        } else {
            None
        };
        self.generation += 1;
        let unsaved = self.unsaved.values().map(|(_, frame)| frame.clone()).collect();
        Some(Action::Adopt(Box::new(Adoption {
            accepted,
            view,
            generation: self.generation,
            unsaved,
            keep: self.content.clone(),
        })))
    }
}

#[cfg(test)]
mod tests;
