//! Why a message of the server is not believed, in words for the status and the log.

use driftless_model::name::{ChannelName, ClusterName};

use crate::object;

/// Why a message is not accepted. The old view stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the server sent what cannot be understood: {0}")]
    Malformed(String),
    #[error("the server takes this cluster for `{theirs}`, but it is `{ours}`")]
    WrongCluster { ours: ClusterName, theirs: String },
    #[error("directive {sequence} is for channel `{theirs}`, but this cluster follows `{ours}`")]
    WrongChannel {
        sequence: u64,
        ours: ChannelName,
        theirs: ChannelName,
    },
    #[error(
        "directive {sequence} of channel `{channel}` is older than {accepted}, which was accepted before; \
         if the fleet was set up anew, delete what this agent accepted (ConfigMap driftless-agent, or accepted.json)"
    )]
    Replayed {
        channel: ChannelName,
        sequence: u64,
        accepted: u64,
    },
    #[error("directive {sequence} of channel `{channel}` is not the one that was accepted under that number")]
    Forked { channel: ChannelName, sequence: u64 },
    #[error("the server does not have object {0}, which its directive needs")]
    Missing(String),
    #[error(transparent)]
    Object(#[from] object::Bad),
}

impl Refusal {
    /// In CamelCase, for the status.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "MessageMalformed",
            Self::WrongCluster { .. } => "WrongCluster",
            Self::WrongChannel { .. } => "WrongChannel",
            Self::Replayed { .. } => "DirectiveReplayed",
            Self::Forked { .. } => "DirectiveForked",
            Self::Missing(_) => "ObjectMissing",
            Self::Object(_) => "ObjectInvalid",
        }
    }
}

/// What cannot be understood.
pub(crate) fn malformed(error: impl ToString) -> Refusal {
    Refusal::Malformed(error.to_string())
}
