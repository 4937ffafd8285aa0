//! What agents report of their clusters: soft state, never in the journal, always rebuildable from the agents.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{hash::ObjectHash, manifest::ManifestId, name::ComponentName};

/// Most problems reported for one component; the rest is counted in [`ComponentStatus::more_problems`].
pub const MAX_PROBLEMS: usize = 20;

/// Most objects named in [`PruneBlocked::sample`].
pub const MAX_SAMPLE: usize = 10;

/// How an object or a component does, in the words of
/// [kstatus](https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md).
///
/// Ordered from best to worst: a component's health is the worst of its objects'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Health {
    /// As desired.
    Current,
    /// The cluster cannot say.
    #[default]
    Unknown,
    /// On its way.
    InProgress,
    /// Being deleted.
    Terminating,
    /// Not there.
    NotFound,
    /// Gave up, or cannot go on without help.
    Failed,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Current => "Current",
            Self::Unknown => "Unknown",
            Self::InProgress => "InProgress",
            Self::Terminating => "Terminating",
            Self::NotFound => "NotFound",
            Self::Failed => "Failed",
        })
    }
}

/// What one cluster reports.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Sequence of the directive it accepted last; 0 before the first.
    pub sequence: u64,
    /// The snapshot it works on.
    pub snapshot: Option<ObjectHash>,
    /// Its components: those of the snapshot, and those still being pruned.
    pub components: BTreeMap<ComponentName, ComponentStatus>,
    /// What the agent has done since it started.
    pub counters: Counters,
    /// What stands in the way of the agent as a whole (a directive refused, the API server unreachable).
    pub problems: Vec<Problem>,
    /// Version of the agent.
    pub agent_version: String,
    /// Version of the cluster's API server, for example `v1.36.3`; empty until known.
    pub kubernetes_version: String,
    /// Revision of the cluster's record by which it works; `None` by agents that do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}

impl ClusterStatus {
    /// Has the cluster applied everything of `snapshot`?
    pub fn is_converged(&self, snapshot: &ObjectHash) -> bool {
        self.snapshot == Some(*snapshot) && self.problems.is_empty() && self.components.values().all(|c| c.is_synced())
    }

    /// The worst health of its components.
    pub fn health(&self) -> Health {
        self.components
            .values()
            .map(|component| component.health)
            .max()
            .unwrap_or_default()
    }
}

/// What one cluster reports of one component.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// The bundle it is at, or moves to; `None` while a removed component is pruned.
    pub bundle: Option<ObjectHash>,
    /// Objects that the bundle asks for.
    pub desired: u32,
    /// Those of them that were applied as the bundle has them.
    pub applied: u32,
    /// Objects that still have to be deleted.
    pub to_prune: u32,
    /// The worst health of its objects.
    pub health: Health,
    /// What stands in the way, one per object, at most [`MAX_PROBLEMS`].
    pub problems: Vec<Problem>,
    /// Further problems, not listed.
    pub more_problems: u32,
    /// What left the desired state and waits for a person's consent to its deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune_blocked: Option<Box<PruneBlocked>>,
    /// Drift of it that was repaired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repairs: Option<Box<Repairs>>,
}

/// What was put back of a component since its agent started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repairs {
    /// How often an object was put back.
    pub count: u64,
    /// When the last one was.
    pub last: Timestamp,
    /// Which one that was.
    pub object: ManifestId,
    /// The field manager that had changed it; `None` where the API server keeps no trace, as of what was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
}

/// Deletions that wait for a person's consent: more than the component's budget, or such as always need it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PruneBlocked {
    /// How many objects.
    pub objects: u32,
    /// Names them, see [`orders::deletions`](crate::orders::deletions): a [`Consent`](crate::orders::Consent) names
    /// the same.
    pub deletions: ObjectHash,
    /// The first of them, at most [`MAX_SAMPLE`].
    pub sample: Vec<ManifestId>,
}

impl ComponentStatus {
    /// Is the cluster as the bundle asks, health aside?
    pub fn is_synced(&self) -> bool {
        self.applied == self.desired && self.to_prune == 0 && self.problems.iter().all(|problem| !problem.blocks)
    }
}

/// What the agent has done since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counters {
    /// Objects created or changed because the desired state changed.
    pub applied: u64,
    /// Objects put back after somebody changed or deleted them.
    pub repaired: u64,
    /// Objects deleted because they left the desired state.
    pub pruned: u64,
    /// Requests that failed.
    pub failed: u64,
}

/// Something that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The object concerned, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ManifestId>,
    /// `ApplyFailed`, `FieldConflict`, `NotHealthy`, …: CamelCase, as reasons of Kubernetes Events are.
    pub reason: String,
    /// What happened and what will be tried next, for a person.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
    /// Does it keep the object from being as desired? If not it is only about health.
    pub blocks: bool,
}
