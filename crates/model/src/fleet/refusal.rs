//! Why an intent is refused. The texts reach people as they are.

use jiff::Timestamp;

use crate::{
    cluster::Problem,
    fleet::{MAX_EVENT_BYTES, Setter},
    hash::ObjectHash,
    name::{ChannelName, ClusterName, ComponentName},
    orders,
};

/// Why an intent is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such channel.
    #[error("there is no channel `{channel}`{}: create it with `driftless channel create {channel}`", list(.known))]
    UnknownChannel {
        /// The name asked for.
        channel: ChannelName,
        /// The ones there are.
        known: Vec<ChannelName>,
    },
    /// The channel is there already.
    #[error("channel `{0}` exists already")]
    ChannelExists(ChannelName),
    /// No such cluster.
    #[error("there is no cluster `{0}`: `driftless clusters` lists them, `driftless cluster enroll {0}` adds it")]
    UnknownCluster(ClusterName),
    /// Several clusters are not there.
    #[error("there are no clusters {}: `driftless clusters` lists them, `driftless cluster enroll` adds one", names(.0))]
    UnknownClusters(Vec<ClusterName>),
    /// The cluster is enrolled already.
    #[error("cluster `{0}` is enrolled already: `--again` gives it a new join token and voids its old credentials")]
    ClusterExists(ClusterName),
    /// Somebody else changed the component since.
    #[error("component `{component}` of channel `{channel}` has changed since {}{}: \
        look at it with `driftless log {channel}`, then push again upon the newest snapshot",
        since(.expected), by(.winner))]
    Conflict {
        /// The channel.
        channel: ChannelName,
        /// The component both pushed to.
        component: ComponentName,
        /// The snapshot that the refused push was built upon.
        expected: Option<ObjectHash>,
        /// Who was faster.
        winner: Option<Box<Setter>>,
    },
    /// Another push changed what the check of this one relied on.
    #[error(
        "channel `{0}` was pushed to at the same time, and what this push was checked against is no more: push again"
    )]
    Overtaken(ChannelName),
    /// A push that passes for a repetition of another one.
    #[error(
        "the idempotency key of this push was used at {time} for another push to channel `{channel}`, which made \
        snapshot {}: draw a new key for every push, and send the same only with the very same request", .snapshot.short()
    )]
    KeyReused {
        /// The channel.
        channel: ChannelName,
        /// What the other push made.
        snapshot: ObjectHash,
        /// When.
        time: Timestamp,
    },
    /// A version that could not read what a newer one wrote.
    #[error(
        "component `{component}`: schema epoch {pushed} is lower than the {reached} that was reached: an older version \
        could not read what a newer one has written; roll forward with a version of epoch {reached} or higher"
    )]
    EpochFalls {
        /// The component.
        component: ComponentName,
        /// The epoch of the bundle pushed.
        pushed: u64,
        /// The highest epoch so far.
        reached: u64,
    },
    /// Records that cannot be as asked.
    #[error("{}", problems(.0))]
    Clusters(Vec<(ClusterName, Problem)>),
    /// An order that is none.
    #[error(transparent)]
    Order(#[from] orders::Problem),
    /// A component that the channel never had.
    #[error("channel `{channel}` has no component `{component}`{}: write it as there", components(.known))]
    UnknownComponent {
        /// The channel.
        channel: ChannelName,
        /// The name given.
        component: ComponentName,
        /// The ones there are, or were.
        known: Vec<ComponentName>,
    },
    /// A change of more than fits into one entry.
    #[error(
        "the new records of {clusters} clusters have {bytes} bytes, more than the {MAX_EVENT_BYTES} that can change at \
        once: change them in parts"
    )]
    ChangeTooLarge {
        /// How many clusters.
        clusters: usize,
        /// How large their new records are.
        bytes: usize,
    },
    /// A join token that no cluster waits for.
    #[error(
        "this join token is not known: it was replaced by a newer one, its cluster was retired, or it belongs to \
        another server; make a new one with `driftless cluster enroll NAME --again`"
    )]
    UnknownToken,
    /// A join token past its time.
    #[error(
        "the join token of cluster `{cluster}` expired at {expired}: make a new one with \
        `driftless cluster enroll {cluster} --again`"
    )]
    TokenExpired {
        /// The cluster.
        cluster: ClusterName,
        /// When it expired.
        expired: Timestamp,
    },
    /// A join token that was used before, with another key.
    #[error(
        "the join token of cluster `{cluster}` was used already, at {used}: if that was not you, somebody else \
        holds it; make a new one with `driftless cluster enroll {cluster} --again`, which voids the old credentials"
    )]
    TokenUsed {
        /// The cluster.
        cluster: ClusterName,
        /// When it was used.
        used: Timestamp,
    },
    /// An event in the journal that does not fit the state before it.
    #[error("journal entry {seq} is not valid: {reason}")]
    Invalid {
        /// The entry.
        seq: u64,
        /// What does not fit.
        reason: String,
    },
}

impl Refusal {
    /// Did somebody else get there first?
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    /// Was a key sent that belongs to another request?
    pub fn is_reused_key(&self) -> bool {
        matches!(self, Self::KeyReused { .. })
    }

    /// Can what was asked for never be?
    pub fn is_bad_input(&self) -> bool {
        matches!(self, Self::Clusters(_) | Self::ChangeTooLarge { .. } | Self::Order(_))
    }

    /// Is something that was named not there?
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::UnknownChannel { .. }
                | Self::UnknownCluster(_)
                | Self::UnknownClusters(_)
                | Self::UnknownComponent { .. }
        )
    }

    /// Is something to be made there already?
    pub fn is_already_there(&self) -> bool {
        matches!(self, Self::ChannelExists(_) | Self::ClusterExists(_))
    }

    /// Was a credential refused?
    pub fn is_bad_credential(&self) -> bool {
        matches!(
            self,
            Self::UnknownToken | Self::TokenExpired { .. } | Self::TokenUsed { .. }
        )
    }
}

fn names(clusters: &[ClusterName]) -> String {
    let shown: Vec<_> = clusters.iter().take(10).map(|name| format!("`{name}`")).collect();
    match clusters.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn problems(problems: &[(ClusterName, Problem)]) -> String {
    let shown = problems.iter().take(10);
    let shown: Vec<_> = shown
        .map(|(name, problem)| format!("cluster `{name}`: {problem}"))
        .collect();
    match problems.len() - shown.len() {
        0 => shown.join("; "),
        more => format!("{}; and {more} more", shown.join("; ")),
    }
}

fn components(known: &[ComponentName]) -> String {
    let names: Vec<_> = known.iter().take(10).map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => " (it had none yet)".to_owned(),
        shown => format!(
            " (there are {}{})",
            names.join(", "),
            if known.len() > shown { ", …" } else { "" }
        ),
    }
}

fn list(known: &[ChannelName]) -> String {
    if known.is_empty() {
        return " (there is none yet)".to_owned();
    }
    let names: Vec<_> = known.iter().take(10).map(|name| format!("`{name}`")).collect();
    format!(
        " (there are {}{})",
        names.join(", "),
        if known.len() > 10 { ", …" } else { "" }
    )
}

fn since(expected: &Option<ObjectHash>) -> String {
    expected.map_or_else(
        || "the channel was empty".to_owned(),
        |hash| format!("snapshot {}", hash.short()),
    )
}

fn by(winner: &Option<Box<Setter>>) -> String {
    winner.as_ref().map_or_else(String::new, |setter| {
        format!(
            ", by {} with snapshot {} at {}",
            setter.author,
            setter.snapshot.short(),
            setter.time
        )
    })
}
