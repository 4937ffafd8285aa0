//! Why a request did not succeed, and what a caller can tell from it.

use driftless_model::{bundle, hash::ObjectHash, name::ComponentName};
use tonic::Code;

use crate::connect::Unreachable;

/// Why a request did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The target cannot be used as given: its address, CA or token.
    #[error("{0}")]
    Target(String),
    /// No answer could be had from the server.
    #[error("cannot reach {server}")]
    Unreachable {
        /// The server's address.
        server: String,
        /// What went wrong on the way.
        #[source]
        cause: Unreachable,
    },
    /// The server answered, with a refusal.
    #[error("{message}")]
    Refused {
        /// The gRPC code.
        code: Code,
        /// The server's words, which say what to do next.
        message: String,
    },
    /// The server does not have an object that was asked for.
    #[error("the server has no object {0}")]
    MissingObject(ObjectHash),
    /// The server sent bytes that are not what their name says.
    #[error("the server sent a wrong object for {hash}: {reason}; do not trust it before `driftless verify` is clean")]
    WrongObject {
        /// The object asked for.
        hash: ObjectHash,
        /// What is wrong with what came.
        reason: String,
    },
    /// A bundle that no server would take.
    #[error("component `{component}` cannot be pushed")]
    Bundle {
        /// The component.
        component: ComponentName,
        /// Why.
        #[source]
        cause: Box<bundle::Error>,
    },
    /// The server's answer does not mean anything to this version.
    #[error("the server's answer is not understood: are client and server of the same version?")]
    Answer(#[from] driftless_proto::Error),
}

impl Error {
    /// Did somebody else get there first?
    pub fn is_conflict(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: Code::Aborted,
                ..
            }
        )
    }

    /// Is something that was named not there?
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: Code::NotFound,
                ..
            } | Self::MissingObject(_)
        )
    }

    /// Does something have to be done first, such as an upload?
    pub fn is_failed_precondition(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: Code::FailedPrecondition,
                ..
            }
        )
    }

    /// Is something to be made there already?
    pub fn is_already_there(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: Code::AlreadyExists,
                ..
            }
        )
    }

    /// Was the token missing, wrong or not enough?
    pub fn is_unauthenticated(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: Code::Unauthenticated | Code::PermissionDenied,
                ..
            }
        )
    }

    /// Could the server not be reached at all?
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// May the same request succeed in a moment, with nothing changed?
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { cause, .. } => cause.is_passing(),
            Self::Refused { code, .. } => *code == Code::Unavailable,
            _ => false,
        }
    }

    /// What a status from a call to `server` means. The only place that reads one.
    pub(crate) fn from_status(server: &str, status: tonic::Status) -> Self {
        // A status that the server sent has no source; one made on this side has the reason there.
        match std::error::Error::source(&status) {
            Some(source) => Self::Unreachable {
                server: server.to_owned(),
                cause: Unreachable::from_chain(source),
            },
            None => Self::Refused {
                code: status.code(),
                message: words(&status),
            },
        }
    }
}

/// The server's words; proxies and old servers may send none.
fn words(status: &tonic::Status) -> String {
    match status.message() {
        "" => format!("the server refused without a reason ({:?})", status.code()),
        message => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: Code) -> Error {
        Error::from_status("https://s:1", tonic::Status::new(code, "no"))
    }

    #[test]
    fn predicates_follow_the_code() {
        assert!(refused(Code::Aborted).is_conflict());
        assert!(refused(Code::NotFound).is_not_found());
        assert!(refused(Code::FailedPrecondition).is_failed_precondition());
        assert!(refused(Code::Unauthenticated).is_unauthenticated());
        assert!(refused(Code::Unavailable).is_retryable());
        assert!(!refused(Code::Aborted).is_retryable());
        assert!(!refused(Code::Unavailable).is_unreachable());
    }

    #[test]
    fn refusal_without_words_names_its_code() {
        let error = Error::from_status("https://s:1", tonic::Status::new(Code::Internal, ""));
        assert_eq!(error.to_string(), "the server refused without a reason (Internal)");
    }
}
