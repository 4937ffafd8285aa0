//! What replicas tell each other of their clusters: soft state, overwritten as it changes, that nothing else depends on.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::{ObjectStoreExt as _, PutPayload, path::Path};

use super::{Bucket, layout};
use crate::error::Error;

/// A part of a replica's status, as it lies in the bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Whose.
    pub replica: String,
    /// Which.
    pub name: String,
    /// Changes with every write.
    pub version: String,
    /// When it was written, by the bucket's clock, since 1970.
    pub written: Duration,
}

impl Bucket {
    /// Writes a part of a replica's status over the one before.
    ///
    /// # Errors
    /// When the bucket cannot be written to.
    pub async fn put_status(&self, replica: &str, name: &str, bytes: Bytes) -> Result<(), Error> {
        let put = self
            .store
            .put(&layout::status(replica, name), PutPayload::from_bytes(bytes))
            .await;
        put.map(|_| ())
            .map_err(|error| Error::writing(format!("the status of replica {replica} in {}", self.store), error))
    }

    /// All parts of all replicas, in no order.
    ///
    /// # Errors
    /// When the bucket cannot be listed.
    pub async fn statuses(&self) -> Result<Vec<Part>, Error> {
        let folder = Path::from(layout::STATUS);
        let found = self.store.list(Some(&folder)).try_collect::<Vec<_>>().await;
        let found = found.map_err(|error| Error::reading(format!("the list of {folder}/"), error))?;
        let parts = found.into_iter().filter_map(|meta| {
            let (replica, name) = layout::status_at(&meta.location)?;
            let written = Duration::from_millis(u64::try_from(meta.last_modified.timestamp_millis()).unwrap_or(0));
            // Folders' tags hold the time of the write, too.
            let version = meta.e_tag.unwrap_or_else(|| format!("{written:?} {}", meta.size));
            Some(Part {
                replica,
                name,
                version,
                written,
            })
        });
        Ok(parts.collect())
    }

    /// A part of a replica's status; `None` when there is none.
    ///
    /// # Errors
    /// When the bucket cannot be read.
    pub async fn status(&self, replica: &str, name: &str) -> Result<Option<Bytes>, Error> {
        let what = || format!("the status of replica {replica}");
        self.read(&layout::status(replica, name), what).await
    }

    /// Deletes a part of a replica's status; one that is not there is deleted already.
    ///
    /// # Errors
    /// When the bucket cannot be written to.
    pub async fn delete_status(&self, replica: &str, name: &str) -> Result<(), Error> {
        match self.store.delete(&layout::status(replica, name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => {
                let what = format!("the status of replica {replica} in {}", self.store);
                Err(Error::writing(what, error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn status_is_overwritten_listed_and_deleted() {
        let folder = tempfile::tempdir().unwrap();
        for address in ["memory://", &folder.path().to_string_lossy()] {
            let bucket = Bucket::open(address).await.unwrap();
            assert!(bucket.statuses().await.unwrap().is_empty());
            bucket.put_status("a", "00", Bytes::from_static(b"1")).await.unwrap();
            let first = bucket.statuses().await.unwrap();
            bucket.put_status("a", "00", Bytes::from_static(b"22")).await.unwrap();
            let second = bucket.statuses().await.unwrap();
            assert_eq!((first.len(), second.len()), (1, 1));
            assert_ne!(first[0].version, second[0].version);
            assert_eq!(bucket.status("a", "00").await.unwrap().unwrap(), "22");
            assert_eq!(bucket.status("b", "00").await.unwrap(), None);
            bucket.delete_status("a", "00").await.unwrap();
            bucket.delete_status("a", "00").await.unwrap();
            assert!(bucket.statuses().await.unwrap().is_empty());
        }
    }
}
