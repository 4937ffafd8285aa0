//! How a cluster does, in a word, and in the colour of that word.

use driftless_client::types::Cluster;
use driftless_model::status::Health;

use super::{bad, dim, good, one_line, warn};

/// Where a cluster stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Enrolled; no agent used the join token yet.
    Invited,
    /// Its stream is not open.
    Offline,
    /// Connected, and not yet as desired.
    Behind,
    /// Something stands in its way.
    Stuck,
    /// People want nothing of it changed for a while, all or in part.
    Paused,
    /// As desired.
    Converged,
}

/// Where `cluster` stands.
pub(crate) fn state(cluster: &Cluster) -> State {
    let blocked = cluster.status.as_ref().is_some_and(|status| {
        let all = status
            .problems
            .iter()
            .chain(status.components.values().flat_map(|component| &component.problems));
        all.into_iter().any(|problem| problem.blocks)
    });
    match cluster {
        Cluster { joined: false, .. } => State::Invited,
        Cluster { connected: false, .. } => State::Offline,
        _ if !cluster.orders.pauses.is_empty() => State::Paused,
        Cluster { converged: true, .. } => State::Converged,
        _ if blocked => State::Stuck,
        _ => State::Behind,
    }
}

/// What stands in the cluster's way, or what began first of what else is wrong, in a line.
pub(crate) fn first_problem(cluster: &Cluster) -> Option<String> {
    let status = cluster.status.as_ref()?;
    let of_components = status.components.values().flat_map(|component| &component.problems);
    let first = status
        .problems
        .iter()
        .chain(of_components)
        .min_by_key(|problem| (!problem.blocks, problem.since))?;
    let object = first
        .object
        .as_ref()
        .map_or_else(String::new, |object| format!(" {object}"));
    Some(format!(
        "{}{object}: {}",
        bad(one_line(&first.reason)),
        one_line(&first.message)
    ))
}

impl State {
    /// The word, in its colour.
    pub(crate) fn shown(self) -> String {
        match self {
            Self::Invited => dim("invited"),
            Self::Offline => bad("offline"),
            Self::Behind => warn("behind"),
            Self::Stuck => bad("stuck"),
            Self::Paused => warn("paused"),
            Self::Converged => good("converged"),
        }
    }
}

/// kstatus' word, in its colour.
pub(crate) fn shown(health: Health) -> String {
    match health {
        Health::Current => good(health.to_string()),
        Health::Unknown => dim(health.to_string()),
        Health::InProgress | Health::Terminating => warn(health.to_string()),
        Health::NotFound | Health::Failed => bad(health.to_string()),
    }
}
