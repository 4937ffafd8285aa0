//! One object: what it should be, what was applied, what is live, and what is being done about it.

use std::sync::Arc;

use driftless_model::{
    bundle::upkeep::Drift,
    hook::Hook,
    manifest::{Manifest, ManifestId},
    marks::Changing,
    order,
    status::Health,
};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{super::objection::Objection, ComponentKey, Gate, KindKey};
use crate::{
    change::Change,
    digest::Digest,
    events::Uid,
    ground,
    health::Outcome,
    plan::{self, Applied, Facts, Step},
};

/// What an object should be.
pub(crate) struct Desired {
    pub(crate) component: ComponentKey,
    pub(crate) manifest: Manifest,
    pub(crate) digest: Digest,
    /// Does it take fields from others?
    pub(crate) force: bool,
    /// What may be done to it.
    pub(crate) changing: Changing,
    /// Is it deleted and made anew where a field cannot be changed?
    pub(crate) replace: bool,
    pub(crate) wave: i32,
    /// What it asks for, if it is a hook.
    pub(crate) hook: Option<Box<Hook>>,
    /// What has to be ready before it is applied.
    pub(crate) after: Option<Box<[ManifestId]>>,
    /// What becomes of drift.
    pub(crate) drift: Drift,
    /// Why it is not applied.
    pub(crate) objection: Option<Box<Objection>>,
    /// In which view it was seen last.
    pub(crate) round: u64,
}

impl Desired {
    /// Is it left as it is where it exists?
    pub(crate) fn leaves_existing(&self) -> bool {
        self.changing != Changing::Free
    }
}

/// What is known of the owner of an object that was never applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Claim {
    /// Nothing, or nothing new enough.
    #[default]
    Unasked,
    /// It is being asked.
    Asked,
    /// It does not exist, or may be applied all the same.
    Free,
    /// It exists, and is to be left as it is.
    Left,
    /// Its former owner's fields are ours now.
    TakenOver,
}

/// What is known of the live object.
pub(crate) enum Live {
    Unknown,
    Absent {
        /// At which revision it was known to be absent.
        revision: u64,
    },
    Present(Present),
}

/// A live object.
pub(crate) struct Present {
    pub(crate) revision: u64,
    pub(crate) uid: Option<Uid>,
    pub(crate) owned: Option<Digest>,
    pub(crate) member: Option<ComponentKey>,
    pub(crate) kept: bool,
    /// Does it ask for a person's consent before it is deleted?
    pub(crate) asks: bool,
    /// What may be done to it.
    pub(crate) changing: Changing,
    pub(crate) deleting: bool,
    pub(crate) health: Health,
    pub(crate) outcome: Outcome,
    /// Later waves are deleted first.
    pub(crate) wave: i32,
    /// It is deleted before these are.
    pub(crate) after: Option<Box<[ManifestId]>>,
    /// For which run it was made, if it is a hook.
    pub(crate) run: Option<Box<str>>,
    pub(crate) message: Option<Box<str>>,
    /// Since when it does so.
    pub(crate) since: Timestamp,
    /// In which list it was seen last.
    pub(crate) listing: u64,
}

/// What stands in an object's way, or is to be told of it.
#[derive(Debug, Clone)]
pub(crate) struct Issue {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) since: Timestamp,
}

impl Issue {
    /// Drift that is only reported.
    pub(crate) const DRIFTED: &'static str = "Drifted";
    /// Another tool, or another set, has the object.
    pub(crate) const OWNED: &'static str = "OwnedByOther";
    /// A deletion that does not come to its end.
    pub(crate) const STUCK: &'static str = "StuckDeleting";

    /// Does it keep the object from being as desired?
    pub(crate) fn blocks(&self) -> bool {
        self.reason != Self::DRIFTED
    }
}

/// How an object is counted at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) unsynced: Option<ComponentKey>,
    pub(crate) stale: Option<(ComponentKey, i32)>,
    /// Asking for a person's consent before it is deleted.
    pub(crate) asks: bool,
    /// Not as desired, or not well, in which wave.
    pub(crate) unready: Option<(ComponentKey, i32)>,
    pub(crate) member: Option<ComponentKey>,
}

/// One object.
pub(crate) struct Entry {
    pub(crate) id: Arc<ManifestId>,
    pub(crate) kind: KindKey,
    /// See [`driftless_model::order::rank`].
    pub(crate) rank: u8,
    pub(crate) desired: Option<Desired>,
    pub(crate) applied: Option<Applied>,
    /// Is that what was recorded, and not what this process applied?
    pub(crate) is_remembered: bool,
    pub(crate) live: Live,
    /// A request is under way.
    pub(crate) busy: bool,
    /// It is in a queue.
    pub(crate) queued: bool,
    /// Not before then.
    pub(crate) retry: Option<Instant>,
    pub(crate) failures: u32,
    /// The API server refused what it should be, at the last try.
    pub(crate) refused: bool,
    pub(crate) issue: Option<Box<Issue>>,
    /// When drift was seen that is not repaired yet.
    pub(crate) drifted: Option<Instant>,
    /// What was done to it, once drift was seen.
    pub(crate) change: Option<Box<Change>>,
    /// When it was repaired last, and how often in short succession.
    pub(crate) repaired: Option<(Instant, u32)>,
    /// Repairs wait until then: somebody else keeps changing it.
    pub(crate) not_before: Option<Instant>,
    pub(crate) claim: Claim,
    /// We asked for its deletion.
    pub(crate) pruning: bool,
    pub(crate) tally: Tally,
}

impl Entry {
    pub(crate) fn new(id: Arc<ManifestId>, kind: KindKey, live: Live, applied: Option<Applied>) -> Self {
        Self {
            rank: order::rank(&id.group, &id.kind),
            id,
            kind,
            desired: None,
            is_remembered: applied.is_some(),
            applied,
            live,
            busy: false,
            queued: false,
            retry: None,
            failures: 0,
            refused: false,
            issue: None,
            drifted: None,
            change: None,
            repaired: None,
            not_before: None,
            claim: Claim::default(),
            pruning: false,
            tally: Tally::default(),
        }
    }

    /// Is it known as it is at this revision?
    pub(crate) fn is_known_at(&self, revision: u64) -> bool {
        matches!(&self.live, Live::Present(present) if present.revision == revision)
    }

    /// Is it what others stand on: first to come, last to go?
    pub(crate) fn is_ground(&self) -> bool {
        ground::is_ground(&self.id)
    }

    /// What it should be and what it asks for, if it is a hook.
    pub(crate) fn hook(&self) -> Option<(&Desired, &Hook)> {
        let desired = self.desired.as_ref()?;
        Some((desired, desired.hook.as_deref()?))
    }

    /// Is it to be left as it is, or left away?
    pub(crate) fn is_left_alone(&self) -> bool {
        let wish = self.desired.as_ref().map_or(Changing::Free, |desired| desired.changing);
        match &self.live {
            _ if wish == Changing::Never => true,
            Live::Present(present) => {
                !present.deleting && (wish == Changing::OnlyMade || present.changing != Changing::Free)
            }
            Live::Absent { .. } => self.claim == Claim::Left,
            Live::Unknown => self.claim == Claim::Left || wish == Changing::OnlyMade && self.applied.is_some(),
        }
    }

    /// Is it unknown what was applied last? Nothing was recorded, or the object is not as the record says: whoever led
    /// before may have ended between the two.
    pub(crate) fn is_unrecorded(&self) -> bool {
        match (self.applied, &self.live) {
            (None, _) => true,
            (Some(applied), Live::Present(present)) => self.is_remembered && present.owned != applied.owned,
            (Some(_), Live::Unknown | Live::Absent { .. }) => false,
        }
    }

    /// Is it not known whose it is, where it may be another's?
    pub(crate) fn is_unclaimed(&self) -> bool {
        let ours = match &self.live {
            Live::Present(present) => present.member.is_some(),
            Live::Unknown | Live::Absent { .. } => self.applied.is_some(),
        };
        !ours && !matches!(self.claim, Claim::Free | Claim::TakenOver)
    }

    /// Was it ours, and does it now say that it is another's?
    pub(crate) fn is_taken_away(&self) -> bool {
        matches!(&self.live, Live::Present(present) if present.member.is_none()) && self.is_unclaimed()
    }

    /// Does it ask for a person's consent before it is deleted?
    pub(crate) fn asks_before_prune(&self) -> bool {
        matches!(&self.live, Live::Present(present) if present.asks)
    }

    pub(crate) fn plan_live(&self) -> plan::Live {
        match &self.live {
            Live::Unknown => plan::Live::Unknown,
            Live::Absent { .. } => plan::Live::Absent,
            Live::Present(present) if present.deleting => plan::Live::Deleting,
            Live::Present(present) => plan::Live::Present {
                owned: present.owned,
                prunable: present.member.is_some() && !present.kept,
            },
        }
    }

    /// What becomes of drift.
    pub(crate) fn drift_mode(&self) -> Drift {
        self.desired.as_ref().map(|desired| desired.drift).unwrap_or_default()
    }

    /// Does a new version of its component have it looked at anew, whether its own manifest changed or not?
    pub(crate) fn is_unsure(&self) -> bool {
        self.claim == Claim::Left || self.issue.is_some()
    }

    /// May a new version of its component bring what it failed for: the leave to take it from its owner, or what the API
    /// server missed? It is tried anew then, whether its own manifest changed or not.
    pub(crate) fn may_fare_better(&self) -> bool {
        let is_owned = self.issue.as_ref().is_some_and(|issue| issue.reason == Issue::OWNED);
        self.claim == Claim::Left || self.refused || is_owned
    }

    /// Does something speak against applying it?
    pub(crate) fn objects_to_it(&self) -> bool {
        self.desired.as_ref().is_some_and(|desired| desired.objection.is_some())
    }

    /// Is it as desired, as far as known? What drifted and is to stay as it is counts as such.
    pub(crate) fn is_synced(&self) -> bool {
        let facts = Facts {
            desired: self.desired.as_ref().map(|desired| desired.digest),
            applied: self.applied,
            live: self.plan_live(),
            gate: None::<Gate>,
            order: None,
            may_prune: false,
            drift: self.drift_mode(),
            leave: self.is_left_alone(),
        };
        self.desired.is_some() && matches!(plan::decide(facts), Step::Rest | Step::Leave)
    }

    pub(crate) fn health(&self) -> Health {
        match &self.live {
            Live::Present(present) => present.health,
            Live::Unknown | Live::Absent { .. } if self.is_left_alone() => Health::Current,
            Live::Unknown if self.applied.is_some() => Health::Unknown,
            Live::Absent { .. } if self.issue.is_some() => Health::NotFound,
            // Whoever deleted it was allowed to.
            Live::Absent { .. } if self.drift_mode() == Drift::Ignore && self.applied.is_some() => Health::Current,
            Live::Unknown | Live::Absent { .. } => Health::InProgress,
        }
    }

    pub(crate) fn tally_now(&self) -> Tally {
        if self.hook().is_some() {
            return Tally::default();
        }
        let (member, wave) = match &self.live {
            Live::Present(present) if !present.kept => (present.member, present.wave),
            _ => (None, 0),
        };
        Tally {
            unsynced: self
                .desired
                .as_ref()
                .filter(|_| !self.is_synced())
                .map(|desired| desired.component),
            stale: member.filter(|_| self.desired.is_none()).map(|member| (member, wave)),
            asks: self.asks_before_prune(),
            unready: self
                .desired
                .as_ref()
                .filter(|_| !self.is_ready())
                .map(|desired| (desired.component, desired.wave)),
            member,
        }
    }
}
