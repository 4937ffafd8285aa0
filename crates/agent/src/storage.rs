//! Where an agent keeps what must outlive it: its identity, the accepted directive and that directive's objects.
//!
//! In the cluster itself for a DaemonSet's pods ([`cluster`]), so that any of them can take over; in a folder for an
//! agent that runs elsewhere ([`folder`]). Reading trusts nothing: callers verify every object's hash again.

mod cluster;
mod folder;

use std::{collections::BTreeSet, path::PathBuf};

use bytes::Bytes;
use driftless_model::hash::ObjectHash;

pub use cluster::Cluster;
pub use folder::Folder;

use crate::{Error, accepted::Accepted, identity::Identity, object::Frame};

/// Where to keep things. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Storage {
    /// Files of one folder.
    Folder(Folder),
    /// Objects in a namespace of the cluster.
    Cluster(Cluster),
}

impl Storage {
    /// Opens a folder, which is created with mode 0700 if need be, and locks it.
    ///
    /// # Errors
    /// When it cannot be used, or another agent uses it.
    pub fn folder(path: impl Into<PathBuf>) -> Result<Self, Error> {
        Folder::open(path.into()).map(Self::Folder)
    }

    /// Secret and ConfigMaps in `namespace`.
    pub fn cluster(client: kube::Client, namespace: &str) -> Self {
        Self::Cluster(Cluster::new(client, namespace))
    }

    /// The stored identity.
    pub(crate) async fn identity(&self) -> Result<Option<Identity>, Error> {
        match self {
            Self::Folder(folder) => folder.run(Folder::identity).await,
            Self::Cluster(cluster) => cluster.identity().await,
        }
    }

    /// Stores the identity in place of the one before.
    pub(crate) async fn save_identity(&self, identity: &Identity) -> Result<(), Error> {
        let identity = identity.clone();
        match self {
            Self::Folder(folder) => folder.run(move |folder| folder.save_identity(&identity)).await,
            Self::Cluster(cluster) => cluster.save_identity(&identity).await,
        }
    }

    /// What was accepted last. [`Error::Damaged`] when it is there and cannot be read.
    pub(crate) async fn accepted(&self) -> Result<Option<Accepted>, Error> {
        match self {
            Self::Folder(folder) => folder.run(Folder::accepted).await,
            Self::Cluster(cluster) => cluster.accepted().await,
        }
    }

    /// The zstd frame stored under a hash, not verified.
    pub(crate) async fn object(&self, hash: ObjectHash) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Folder(folder) => folder.run(move |folder| folder.object(hash)).await,
            Self::Cluster(cluster) => cluster.object(hash).await,
        }
    }

    /// Stores `objects`, then `accepted`, then deletes every object that is not in `keep`.
    ///
    /// # Guarantees
    /// In this order, each step complete before the next begins, so that the stored directive's objects are there
    /// at any moment, whenever the process dies. Safe to repeat.
    ///
    /// # Errors
    /// [`Error::Overtaken`] when a newer directive is stored already, by another agent that leads now.
    pub(crate) async fn save(
        &self,
        objects: Vec<Frame>,
        accepted: Accepted,
        keep: BTreeSet<ObjectHash>,
    ) -> Result<(), Error> {
        match self {
            Self::Folder(folder) => folder.run(move |folder| folder.save(&objects, &accepted, &keep)).await,
            Self::Cluster(cluster) => cluster.save(&objects, &accepted, &keep).await,
        }
    }
}
