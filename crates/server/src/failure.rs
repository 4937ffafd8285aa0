//! Why a call fails, and the one place where that becomes a gRPC status.
//!
//! Texts reach people as they are; sources are for the log.

use driftless_model::{fleet::Refusal, name::InvalidName};
use driftless_proto::{REASON, RETIRED};
use driftless_store as store;
use tonic::{Code, Status, metadata::MetadataValue};

/// Why a call fails.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The fleet state stands against it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The bucket.
    #[error(transparent)]
    Store(store::Error),
    /// The request makes no sense.
    #[error("{0}")]
    Argument(String),
    /// More than the server takes.
    #[error("{0}")]
    TooMuch(String),
    /// The caller did not show who it is.
    #[error("{0}")]
    Unauthenticated(String),
    /// The caller may not do this.
    #[error("{0}")]
    Denied(String),
    /// The caller is a cluster that left the fleet.
    #[error("{0}")]
    Retired(String),
    /// Something named in the request is not there.
    #[error("{0}")]
    NotFound(String),
    /// Something has to be done first.
    #[error("{0}")]
    Precondition(String),
    /// It took too long.
    #[error("{0}")]
    Late(String),
    /// A newer call takes the place of this one.
    #[error("{0}")]
    Replaced(String),
    /// The server is on its way out.
    #[error("the server is stopping: try again, with this server or another on the same bucket")]
    Stopping,
    /// A fault of the server.
    #[error("{0}")]
    Internal(String),
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Refused(refusal) => Self::Refused(refusal),
            error => Self::Store(error),
        }
    }
}

impl From<driftless_proto::Error> for Failure {
    fn from(error: driftless_proto::Error) -> Self {
        Self::Argument(error.to_string())
    }
}

impl From<InvalidName> for Failure {
    fn from(error: InvalidName) -> Self {
        Self::Argument(error.to_string())
    }
}

impl Failure {
    fn code(&self) -> Code {
        match self {
            Self::Refused(refusal) if refusal.is_conflict() => Code::Aborted,
            Self::Refused(refusal) if refusal.is_not_found() => Code::NotFound,
            Self::Refused(refusal) if refusal.is_already_there() => Code::AlreadyExists,
            Self::Refused(refusal) if refusal.is_bad_credential() => Code::Unauthenticated,
            Self::Refused(refusal) if refusal.is_reused_key() || refusal.is_bad_input() => Code::InvalidArgument,
            Self::Refused(_) | Self::Precondition(_) => Code::FailedPrecondition,
            Self::Store(error) if error.is_retryable() => Code::Unavailable,
            Self::Store(error) if error.is_not_found() => Code::NotFound,
            Self::Store(error) if error.is_bad_input() => Code::InvalidArgument,
            Self::Store(error) if error.is_corrupt() => Code::DataLoss,
            // Both wait for a person: a full disk, or rights.
            Self::Store(error) if error.is_unwritable() => Code::ResourceExhausted,
            Self::Store(_) => Code::FailedPrecondition,
            Self::Argument(_) => Code::InvalidArgument,
            Self::TooMuch(_) => Code::ResourceExhausted,
            Self::Unauthenticated(_) => Code::Unauthenticated,
            Self::Denied(_) | Self::Retired(_) => Code::PermissionDenied,
            Self::NotFound(_) => Code::NotFound,
            Self::Late(_) => Code::DeadlineExceeded,
            Self::Replaced(_) => Code::Aborted,
            Self::Stopping => Code::Unavailable,
            Self::Internal(_) => Code::Internal,
        }
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let code = failure.code();
        if let Failure::Store(error) = &failure {
            let source = std::error::Error::source(error).map(ToString::to_string);
            tracing::warn!(%error, source, "the bucket failed a call");
        }
        let mut status = Self::new(code, failure.to_string());
        if matches!(failure, Failure::Retired(_)) {
            let reason = MetadataValue::from_static(RETIRED);
            status.metadata_mut().insert(REASON, reason);
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_whether_to_try_again() {
        let code = |failure: Failure| Status::from(failure).code();
        let conflict = Refusal::Conflict {
            channel: "prod".parse().unwrap(),
            component: "shop".parse().unwrap(),
            expected: None,
            winner: None,
        };
        assert_eq!(code(conflict.into()), Code::Aborted);
        assert_eq!(
            code(Refusal::ChannelExists("prod".parse().unwrap()).into()),
            Code::AlreadyExists
        );
        assert_eq!(
            code(Refusal::UnknownCluster("edge".parse().unwrap()).into()),
            Code::NotFound
        );
        assert_eq!(code(Refusal::UnknownToken.into()), Code::Unauthenticated);
        assert_eq!(code(Refusal::Clusters(Vec::new()).into()), Code::InvalidArgument);
        assert_eq!(code(store::Error::Stopped.into()), Code::Unavailable);
        assert_eq!(
            code(store::Error::Refused(Refusal::UnknownToken).into()),
            Code::Unauthenticated
        );
        assert_eq!(
            code(store::Error::TooLarge { limit: 1, actual: 2 }.into()),
            Code::InvalidArgument
        );
    }
}
