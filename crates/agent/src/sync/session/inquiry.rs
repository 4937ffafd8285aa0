//! What a probe asks about, until all of it is here: fetched and verified as a directive's objects are, and neither
//! accepted nor stored.
//!
//! There is one at a time; the newest takes the place of one that still waits.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use driftless_model::{
    bundle::Bundle,
    hash::ObjectHash,
    name::ComponentName,
    snapshot::Snapshot,
    view::{ClusterFacts, View, view},
};
use driftless_proto::{self as proto, v1};

use super::{Action, Content, Session, WANT, Wanted};
use crate::object::{self, Bad, Packed};

/// No answer takes longer, whatever the server has time for.
const LONGEST: Duration = Duration::from_secs(60);

/// A probe with all that is needed to answer it.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) id: u64,
    pub(crate) view: View,
    /// About this component alone.
    pub(crate) only: Option<ComponentName>,
    pub(crate) within: Duration,
}

/// A probe whose objects are still coming.
#[derive(Debug, Clone)]
pub(super) struct Inquiry {
    id: u64,
    only: Option<ComponentName>,
    within: Duration,
    hash: ObjectHash,
    snapshot: Option<Snapshot>,
    bundles: BTreeMap<ObjectHash, Bundle>,
    wanted: BTreeSet<ObjectHash>,
}

/// The answer to a probe that has none.
pub(crate) fn failure(id: u64, why: impl ToString) -> v1::ProbeResult {
    v1::ProbeResult {
        id,
        failure: why.to_string(),
        ..v1::ProbeResult::default()
    }
}

impl Session {
    /// Takes a probe.
    pub(super) fn probe(&mut self, probe: &v1::Probe) -> Vec<Action> {
        let id = probe.id;
        let only = Some(&probe.component).filter(|name| !name.is_empty());
        let only = only.map(|name| name.parse()).transpose();
        let (hash, only) = match (proto::hash("probe.snapshot", &probe.snapshot), only) {
            (Ok(hash), Ok(only)) => (hash, only),
            (Err(error), _) => return vec![Action::Answer(failure(id, error))],
            (_, Err(error)) => return vec![Action::Answer(failure(id, error))],
        };
        let held = self.content.snapshot().filter(|_| self.content.is_of(hash));
        self.inquiry = Some(Inquiry {
            id,
            only,
            within: Duration::from_secs(probe.deadline_seconds.into()).min(LONGEST),
            hash,
            snapshot: held.cloned(),
            bundles: BTreeMap::new(),
            wanted: BTreeSet::new(),
        });
        self.pursue()
    }

    /// Takes an object, if a probe waits for it.
    pub(super) fn inquire(&mut self, hash: ObjectHash, packed: &Packed) -> Vec<Action> {
        let Some(inquiry) = &mut self.inquiry else {
            return Vec::new();
        };
        if !inquiry.wanted.remove(&hash) {
            return Vec::new();
        }
        let taken = if packed.zstd.is_empty() {
            Err(format!("the server does not have object {}", hash.short()))
        } else {
            inquiry
                .take(hash, packed.clone(), &self.content)
                .map_err(|error| error.to_string())
        };
        match taken {
            Ok(()) if !inquiry.wanted.is_empty() => Vec::new(),
            Ok(()) => self.pursue(),
            Err(why) => {
                let answer = Action::Answer(failure(inquiry.id, why));
                self.inquiry = None;
                vec![answer]
            }
        }
    }

    /// Asks for what is missing, or puts the question.
    fn pursue(&mut self) -> Vec<Action> {
        let Some(inquiry) = &mut self.inquiry else {
            return Vec::new();
        };
        let (held, own) = (&self.content, &inquiry.bundles);
        let find = |hash: &ObjectHash| own.get(hash).or_else(|| held.bundle(hash));
        let missing: BTreeSet<_> = match &inquiry.snapshot {
            None => [inquiry.hash].into(),
            Some(snapshot) => {
                let all = snapshot.components.values().copied();
                all.filter(|hash| find(hash).is_none()).collect()
            }
        };
        if let (true, Some(snapshot), Some(record)) = (missing.is_empty(), &inquiry.snapshot, &self.welcome) {
            let facts = ClusterFacts {
                name: self.cluster.clone(),
                channel: record.channel.clone(),
                labels: record.labels.clone(),
                vars: record.vars.clone(),
            };
            let action = match view(snapshot, &facts, find) {
                Ok(view) => Action::Ask(Box::new(Question {
                    id: inquiry.id,
                    view,
                    only: inquiry.only.clone(),
                    within: inquiry.within,
                })),
                Err(missing) => Action::Answer(failure(inquiry.id, missing)),
            };
            self.inquiry = None;
            return vec![action];
        }
        inquiry.wanted.clone_from(&missing);
        // From none of what is held: that goes on being replaced while the answers come.
        let missing: Vec<_> = missing.into_iter().map(|hash| Wanted { hash, base: None }).collect();
        missing.chunks(WANT).map(|chunk| Action::Want(chunk.to_vec())).collect()
    }
}

impl Inquiry {
    fn take(&mut self, hash: ObjectHash, packed: Packed, held: &Content) -> Result<(), Bad> {
        let verified = held.verify(hash, packed)?;
        let (_, content) = verified.ok_or_else(|| Bad::Compression(hash.short()))?;
        if hash == self.hash {
            self.snapshot = Some(object::snapshot(hash, &content, None)?);
        } else {
            self.bundles.insert(hash, object::bundle(hash, &content, None)?);
        }
        Ok(())
    }
}
