//! What an agent is told before it starts. Nothing here changes while it runs.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use driftless_model::join::JoinFile;

use crate::{Error, Permit, dial::Dialer, metrics::Metrics, storage::Storage};

/// Where the time of day comes from.
pub type Clock = driftless_reconcile::Clock;

/// The namespace where the agent keeps its own objects, unless told otherwise.
pub const NAMESPACE: &str = "driftless-system";

/// All an agent has to know.
#[derive(Clone)]
pub struct Settings {
    /// How to become a member of the fleet, and where the server is.
    pub join: JoinSource,
    /// Use this server instead of the join file's, `https://host:port`.
    pub server: Option<String>,
    /// Where identity and accepted objects are kept.
    pub storage: Storage,
    /// The namespace of the Lease.
    pub namespace: String,
    /// This process among the agents of the cluster: the pod's name. No two running ones may share it.
    pub holder: String,
    /// How long things take and last.
    pub timings: Timings,
    /// How connections to the server are made.
    pub dialer: Dialer,
    /// The time of day.
    pub clock: Clock,
    /// Seeds jitter.
    pub seed: u64,
    /// Until when this process may write. One for each agent; whoever makes connections for it gets the same.
    pub permit: Arc<Permit>,
    /// What is measured.
    pub metrics: Metrics,
    /// For the reconciler.
    pub reconcile: driftless_reconcile::Settings,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("holder", &self.holder)
            .field("join", &self.join)
            .finish_non_exhaustive()
    }
}

/// Where the join file's content comes from.
#[derive(Debug, Clone)]
pub enum JoinSource {
    /// A file, read again whenever it is needed: a mounted Secret may get a new token.
    File(PathBuf),
    /// Known already.
    Material(Box<JoinFile>),
}

impl JoinSource {
    /// The join file as it is now.
    ///
    /// # Errors
    /// [`Error::JoinFile`] when it cannot be read.
    pub fn read(&self) -> Result<JoinFile, Error> {
        match self {
            Self::Material(file) => Ok(file.as_ref().clone()),
            Self::File(path) => {
                let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::JoinFile {
                    path: path.display().to_string(),
                    source,
                };
                let text = std::fs::read_to_string(path).map_err(|error| failed(error.into()))?;
                JoinFile::decode(&text).map_err(|error| failed(error.into()))
            }
        }
    }
}

/// How long things take and last. The default is what the real agent uses; tests make them shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// For how long the Lease is good. Whole seconds.
    pub lease: Duration,
    /// How often its holder renews it.
    pub renew_every: Duration,
    /// A holder that has not renewed for that long stops.
    pub renew_deadline: Duration,
    /// Time to wind down at shutdown.
    pub grace: Duration,
    /// Delay before the first reconnect.
    pub reconnect_first: Duration,
    /// Most delay between reconnects.
    pub reconnect_most: Duration,
    /// For connecting, and for the answers of joining and renewing.
    pub connect: Duration,
    /// Silence on the stream after which the server's program is asked, over HTTP/2, whether it still works; an agent
    /// asks up to a tenth earlier, each at a time of its own. That its machine is gone is found by the kernel: see
    /// [`prepare`](crate::dial::prepare). So this is for a server that is frozen, and for proxies on the way that answer
    /// for both ends and cut what is idle; they wait ten minutes or more by default. Rare, because it wakes the server.
    pub keep_alive: Duration,
    /// Least time between two reports.
    pub report_every: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew_every: Duration::from_secs(5),
            renew_deadline: Duration::from_secs(10),
            grace: Duration::from_secs(5),
            reconnect_first: Duration::from_millis(200),
            reconnect_most: Duration::from_secs(30),
            connect: Duration::from_secs(10),
            keep_alive: Duration::from_secs(9 * 60),
            report_every: Duration::from_millis(200),
        }
    }
}
