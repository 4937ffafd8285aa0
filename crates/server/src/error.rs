//! Why a server cannot start, or stopped by itself.

use std::{io, net::SocketAddr, path::PathBuf};

/// Why a server cannot start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the data folder, or one named in the settings.
    #[error("{action} `{}`", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file whose content is not what it must be. Says what to do.
    #[error("`{}` {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A flag that cannot be honoured.
    #[error("{0}")]
    Setting(String),
    /// Making keys or certificates.
    #[error("cannot make {what}")]
    Certificate {
        /// What was to be made.
        what: &'static str,
        /// Why not.
        #[source]
        source: rcgen::Error,
    },
    /// The TLS library refuses keys or certificates.
    #[error("cannot serve TLS with {what}")]
    Tls {
        /// Which keys or certificates.
        what: String,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
    /// The address cannot be listened at.
    #[error("cannot listen at {address}: choose another address with --listen, or stop what holds it")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The bucket or its journal.
    #[error("the bucket cannot be used")]
    Store(#[source] driftless_store::Error),
    /// A part of the server ended although nobody asked it to.
    #[error("the server stops because its {0} ended")]
    TaskEnded(&'static str),
}

impl From<driftless_store::Error> for Error {
    fn from(error: driftless_store::Error) -> Self {
        Self::Store(error)
    }
}

impl Error {
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn content(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Content {
            path: path.into(),
            reason: reason.into(),
        }
    }
}
