//! Why load could not be made or measured, coarse enough that a caller would act differently.

use std::path::PathBuf;

/// Why load could not be made or measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// More streams than this process may open files.
    #[error(
        "{streams} streams take {needed} open files, and this process may have {allowed}: raise the hard limit \
         (`ulimit -Hn`), or ask for at most {most} agents"
    )]
    OpenFiles {
        /// Streams asked for.
        streams: usize,
        /// Files that they take.
        needed: u64,
        /// The limit.
        allowed: u64,
        /// Streams that would fit.
        most: u64,
    },
    /// A request of tooling failed.
    #[error(transparent)]
    Client(#[from] driftless_client::Error),
    /// The channel is in use for something else.
    #[error("channel `{channel}` {why}: name a channel that is there for nothing else, or a new one")]
    Channel {
        /// Its name.
        channel: String,
        /// What speaks against it.
        why: String,
    },
    /// The address, the CA or the keys cannot be used.
    #[error("{0}")]
    Tls(String),
    /// A cluster could not join.
    #[error("cluster `{cluster}` cannot join: {message}")]
    Join {
        /// Its name.
        cluster: String,
        /// The server's words.
        message: String,
    },
    /// A file that keeps certificates.
    #[error("{action} {path}")]
    File {
        /// What was tried, for example `cannot write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// What is to be pushed cannot be made.
    #[error("cannot make what is pushed: {0}")]
    Workload(String),
    /// Some streams did not get there in time.
    #[error("{missing} of {agents} agents are not there after {seconds} s: {why}")]
    Late {
        /// Agents that are not there.
        missing: usize,
        /// All agents.
        agents: usize,
        /// How long was waited.
        seconds: u64,
        /// The last failure of a stream.
        why: String,
    },
    /// A share of a fleet that another process holds.
    #[error("a share of the fleet: {0}")]
    Share(String),
    /// It was told to end.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Was it told to end?
    pub fn is_interrupted(&self) -> bool {
        matches!(self, Self::Interrupted)
    }

    /// Did streams not get there in time?
    pub fn is_late(&self) -> bool {
        matches!(self, Self::Late { .. })
    }

    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = next.source();
    }
    text
}
