//! Between wire and model. Only these functions know how one maps to the other.

use bytes::Bytes;
use driftless_model::{
    bundle::lines::Tally,
    hash::ObjectHash,
    manifest::ManifestId,
    status::{ClusterStatus, ComponentStatus, Counters, Health, Problem, PruneBlocked, Repairs},
};
use jiff::Timestamp;

use crate::v1;

mod clusters;
mod orders;
mod prospect;

pub use clusters::{change, from_change, from_vars, vars};
pub use orders::{Asked, asked, from_asked, from_orders, orders};
pub use prospect::{from_prospect, prospect};

/// A message that does not mean anything in the model. Names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Error {
    /// The field, by its name in the .proto file.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl Error {
    /// An error about `field`.
    pub fn new(field: &'static str, reason: impl ToString) -> Self {
        Self {
            field,
            reason: reason.to_string(),
        }
    }
}

/// Reads a hash.
///
/// # Errors
/// Unless it has 32 bytes.
pub fn hash(field: &'static str, bytes: &[u8]) -> Result<ObjectHash, Error> {
    ObjectHash::try_from(bytes).map_err(|_| Error::new(field, format!("a hash has 32 bytes, not {}", bytes.len())))
}

/// Reads a hash that may be absent.
///
/// # Errors
/// When it is there and has not 32 bytes.
pub fn opt_hash(field: &'static str, bytes: Option<&Bytes>) -> Result<Option<ObjectHash>, Error> {
    bytes.map(|bytes| hash(field, bytes)).transpose()
}

/// Reads a list of hashes.
///
/// # Errors
/// When one of them has not 32 bytes.
pub fn hashes(field: &'static str, list: &[Bytes]) -> Result<Vec<ObjectHash>, Error> {
    list.iter().map(|bytes| hash(field, bytes)).collect()
}

/// Writes a hash.
pub fn to_hash(hash: &ObjectHash) -> Bytes {
    Bytes::copy_from_slice(hash.as_bytes())
}

/// Writes a point in time.
pub fn from_time(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    }
}

/// Reads a point in time.
///
/// # Errors
/// When it is absent, or further away than a calendar reaches.
pub fn time(field: &'static str, time: Option<&prost_types::Timestamp>) -> Result<Timestamp, Error> {
    let time = time.ok_or_else(|| Error::new(field, "it is missing"))?;
    Timestamp::new(time.seconds, time.nanos).map_err(|error| Error::new(field, error))
}

impl From<&ManifestId> for v1::ManifestId {
    fn from(id: &ManifestId) -> Self {
        Self {
            group: id.group.clone(),
            kind: id.kind.clone(),
            namespace: id.namespace.clone(),
            name: id.name.clone(),
        }
    }
}

impl From<v1::ManifestId> for ManifestId {
    fn from(id: v1::ManifestId) -> Self {
        Self {
            group: id.group,
            kind: id.kind,
            namespace: id.namespace,
            name: id.name,
        }
    }
}

impl From<Health> for v1::Health {
    fn from(health: Health) -> Self {
        match health {
            Health::Current => Self::Current,
            Health::Unknown => Self::Unknown,
            Health::InProgress => Self::InProgress,
            Health::Terminating => Self::Terminating,
            Health::NotFound => Self::NotFound,
            Health::Failed => Self::Failed,
        }
    }
}

impl From<v1::Health> for Health {
    fn from(health: v1::Health) -> Self {
        match health {
            v1::Health::Current => Self::Current,
            v1::Health::Unspecified | v1::Health::Unknown => Self::Unknown,
            v1::Health::InProgress => Self::InProgress,
            v1::Health::Terminating => Self::Terminating,
            v1::Health::NotFound => Self::NotFound,
            v1::Health::Failed => Self::Failed,
        }
    }
}

impl From<&Problem> for v1::Problem {
    fn from(problem: &Problem) -> Self {
        Self {
            object: problem.object.as_ref().map(Into::into),
            reason: problem.reason.clone(),
            message: problem.message.clone(),
            since: Some(from_time(problem.since)),
            blocks: problem.blocks,
        }
    }
}

impl TryFrom<v1::Problem> for Problem {
    type Error = Error;

    fn try_from(problem: v1::Problem) -> Result<Self, Error> {
        Ok(Self {
            since: time("problem.since", problem.since.as_ref())?,
            object: problem.object.map(Into::into),
            reason: problem.reason,
            message: problem.message,
            blocks: problem.blocks,
        })
    }
}

impl From<Counters> for v1::Counters {
    fn from(counters: Counters) -> Self {
        let Counters {
            applied,
            repaired,
            pruned,
            failed,
        } = counters;
        Self {
            applied,
            repaired,
            pruned,
            failed,
        }
    }
}

impl From<v1::Counters> for Counters {
    fn from(counters: v1::Counters) -> Self {
        let v1::Counters {
            applied,
            repaired,
            pruned,
            failed,
        } = counters;
        Self {
            applied,
            repaired,
            pruned,
            failed,
        }
    }
}

impl From<&ClusterStatus> for v1::ClusterStatus {
    fn from(status: &ClusterStatus) -> Self {
        let components = status.components.iter().map(|(name, component)| v1::ComponentStatus {
            component: name.to_string(),
            bundle: component.bundle.as_ref().map(to_hash),
            desired: component.desired,
            applied: component.applied,
            to_prune: component.to_prune,
            health: v1::Health::from(component.health).into(),
            problems: component.problems.iter().map(Into::into).collect(),
            more_problems: component.more_problems,
            prune_blocked: component.prune_blocked.as_deref().map(Into::into),
            repairs: component.repairs.as_deref().map(Into::into),
        });
        Self {
            sequence: status.sequence,
            snapshot: status.snapshot.as_ref().map(to_hash),
            components: components.collect(),
            counters: Some(status.counters.into()),
            problems: status.problems.iter().map(Into::into).collect(),
            agent_version: status.agent_version.clone(),
            kubernetes_version: status.kubernetes_version.clone(),
            revision: status.revision,
        }
    }
}

impl TryFrom<v1::ClusterStatus> for ClusterStatus {
    type Error = Error;

    fn try_from(status: v1::ClusterStatus) -> Result<Self, Error> {
        let components = status.components.into_iter().map(|component| {
            let name = component
                .component
                .parse()
                .map_err(|error| Error::new("status.component", error))?;
            Ok((name, component.try_into()?))
        });
        Ok(Self {
            sequence: status.sequence,
            snapshot: opt_hash("status.snapshot", status.snapshot.as_ref())?,
            components: components.collect::<Result<_, Error>>()?,
            counters: status.counters.map(Into::into).unwrap_or_default(),
            problems: status
                .problems
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, Error>>()?,
            agent_version: status.agent_version,
            kubernetes_version: status.kubernetes_version,
            revision: status.revision,
        })
    }
}

impl TryFrom<v1::ComponentStatus> for ComponentStatus {
    type Error = Error;

    fn try_from(component: v1::ComponentStatus) -> Result<Self, Error> {
        Ok(Self {
            bundle: opt_hash("status.bundle", component.bundle.as_ref())?,
            desired: component.desired,
            applied: component.applied,
            to_prune: component.to_prune,
            health: component.health().into(),
            problems: component
                .problems
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_, Error>>()?,
            more_problems: component.more_problems,
            prune_blocked: component
                .prune_blocked
                .map(|blocked| PruneBlocked::try_from(blocked).map(Box::new))
                .transpose()?,
            repairs: component
                .repairs
                .map(|repairs| Repairs::try_from(repairs).map(Box::new))
                .transpose()?,
        })
    }
}

impl From<&Repairs> for v1::Repairs {
    fn from(repairs: &Repairs) -> Self {
        let Repairs {
            count,
            last,
            object,
            manager,
        } = repairs;
        Self {
            count: *count,
            last: Some(from_time(*last)),
            object: Some(object.into()),
            manager: manager.clone(),
        }
    }
}

impl TryFrom<v1::Repairs> for Repairs {
    type Error = Error;

    fn try_from(repairs: v1::Repairs) -> Result<Self, Error> {
        let missing = || Error::new("status.repairs.object", "it is missing");
        Ok(Self {
            count: repairs.count,
            last: time("status.repairs.last", repairs.last.as_ref())?,
            object: repairs.object.ok_or_else(missing)?.into(),
            manager: repairs.manager,
        })
    }
}

impl From<&PruneBlocked> for v1::PruneBlocked {
    fn from(blocked: &PruneBlocked) -> Self {
        Self {
            objects: blocked.objects,
            deletions: to_hash(&blocked.deletions),
            sample: blocked.sample.iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::PruneBlocked> for PruneBlocked {
    type Error = Error;

    fn try_from(blocked: v1::PruneBlocked) -> Result<Self, Error> {
        Ok(Self {
            objects: blocked.objects,
            deletions: hash("status.prune_blocked.deletions", &blocked.deletions)?,
            sample: blocked.sample.into_iter().map(Into::into).collect(),
        })
    }
}

impl From<Tally> for v1::ObjectCounts {
    fn from(tally: Tally) -> Self {
        let Tally {
            added,
            changed,
            removed,
        } = tally;
        Self {
            added,
            changed,
            removed,
        }
    }
}

impl From<v1::ObjectCounts> for Tally {
    fn from(counts: v1::ObjectCounts) -> Self {
        let v1::ObjectCounts {
            added,
            changed,
            removed,
        } = counts;
        Self {
            added,
            changed,
            removed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> ClusterStatus {
        let problem = Problem {
            object: Some(ManifestId {
                group: "apps".to_owned(),
                kind: "Deployment".to_owned(),
                namespace: None,
                name: "web".to_owned(),
            }),
            reason: "ApplyFailed".to_owned(),
            message: "no".to_owned(),
            since: "2026-01-02T03:04:05.000000006Z".parse().unwrap(),
            blocks: true,
        };
        let component = ComponentStatus {
            bundle: Some(ObjectHash::of(b"b")),
            desired: 3,
            applied: 2,
            to_prune: 1,
            health: Health::Failed,
            problems: vec![problem.clone()],
            more_problems: 4,
            prune_blocked: Some(Box::new(PruneBlocked {
                objects: 12,
                deletions: ObjectHash::of(b"d"),
                sample: problem.object.iter().cloned().collect(),
            })),
            repairs: Some(Box::new(Repairs {
                count: 5,
                last: "2026-01-02T03:04:05Z".parse().unwrap(),
                object: problem.object.clone().unwrap(),
                manager: Some("kubectl-edit".to_owned()),
            })),
        };
        ClusterStatus {
            sequence: 7,
            snapshot: Some(ObjectHash::of(b"s")),
            components: [("shop".parse().unwrap(), component)].into(),
            counters: Counters {
                applied: 1,
                repaired: 2,
                pruned: 3,
                failed: 4,
            },
            problems: vec![problem],
            agent_version: "0.1.0".to_owned(),
            kubernetes_version: "v1.36.3".to_owned(),
            revision: Some(8),
        }
    }

    #[test]
    fn status_survives_the_wire() {
        assert_eq!(
            ClusterStatus::try_from(v1::ClusterStatus::from(&status())).unwrap(),
            status()
        );
    }

    #[test]
    fn short_hash_is_refused_with_its_field() {
        let mut wire = v1::ClusterStatus::from(&status());
        wire.snapshot = Some(Bytes::from_static(b"short"));
        let error = ClusterStatus::try_from(wire).unwrap_err();
        assert_eq!(error.to_string(), "status.snapshot: a hash has 32 bytes, not 5");
    }
}
