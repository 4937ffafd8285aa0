//! Objects on their way to agents: compressed as they are stored, read once, sent to many.
//!
//! Thousands of agents ask for the same few objects within a second. They share one read and one buffer. Bytes are
//! not checked here: every agent checks what it receives against the hash.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use driftless_model::hash::ObjectHash;
use driftless_store::{Bucket, Error};
use tokio::sync::OnceCell;

/// What the cache keeps at most, in compressed bytes.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// The store's objects, compressed, through a cache. Shared by all streams.
pub(crate) struct Objects {
    bucket: Bucket,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    slots: HashMap<ObjectHash, Slot>,
    bytes: usize,
    uses: u64,
}

#[derive(Default)]
struct Slot {
    cell: Arc<OnceCell<Bytes>>,
    /// Bytes counted for it; 0 until it is read.
    bytes: usize,
    last_use: u64,
}

impl Objects {
    pub(crate) fn new(bucket: Bucket) -> Self {
        Self {
            bucket,
            cache: Mutex::default(),
        }
    }

    /// The object compressed, `None` when the store does not have it.
    pub(crate) async fn compressed(&self, hash: &ObjectHash) -> Result<Option<Bytes>, Error> {
        let cell = self.lock().cell(hash);
        match cell.get_or_try_init(|| self.bucket.object_compressed(hash)).await {
            Ok(bytes) => {
                self.lock().count(hash, bytes.len(), CACHE_BYTES);
                Ok(Some(bytes.clone()))
            }
            Err(error) => {
                self.lock().forget_unread(hash);
                if error.is_not_found() { Ok(None) } else { Err(error) }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    fn cell(&mut self, hash: &ObjectHash) -> Arc<OnceCell<Bytes>> {
        self.uses += 1;
        let slot = self.slots.entry(*hash).or_default();
        slot.last_use = self.uses;
        Arc::clone(&slot.cell)
    }

    /// Counts an object that was read, once, and makes room for it.
    fn count(&mut self, hash: &ObjectHash, bytes: usize, limit: usize) {
        let Some(slot) = self.slots.get_mut(hash).filter(|slot| slot.bytes == 0) else {
            return;
        };
        slot.bytes = bytes;
        self.bytes += bytes;
        while self.bytes > limit {
            let counted = self.slots.iter().filter(|(_, slot)| slot.bytes > 0);
            let Some(oldest) = counted.min_by_key(|(_, slot)| slot.last_use).map(|(hash, _)| *hash) else {
                return;
            };
            self.bytes -= self.slots.remove(&oldest).map_or(0, |slot| slot.bytes);
        }
    }

    /// An object that could not be read leaves no trace, so that the next who asks looks again.
    fn forget_unread(&mut self, hash: &ObjectHash) {
        if self.slots.get(hash).is_some_and(|slot| slot.bytes == 0) {
            self.slots.remove(hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn missing_object_is_found_once_it_is_there() {
        let bucket = Bucket::open("memory://").await.unwrap();
        let objects = Objects::new(bucket.clone());
        assert_eq!(objects.compressed(&ObjectHash::of(b"late")).await.unwrap(), None);
        let hash = bucket.put_object(b"late").await.unwrap();
        assert!(objects.compressed(&hash).await.unwrap().is_some());
    }

    #[test]
    fn what_was_not_asked_for_longest_goes_first() {
        let mut cache = Cache::default();
        let hashes = [b"a", b"b", b"c"].map(|name| ObjectHash::of(name));
        for hash in &hashes {
            cache.cell(hash);
        }
        cache.count(&hashes[0], 4, 10);
        cache.count(&hashes[1], 4, 10);
        cache.cell(&hashes[0]);
        cache.count(&hashes[2], 4, 10);
        assert_eq!(cache.bytes, 8);
        assert!(cache.slots.contains_key(&hashes[0]) && !cache.slots.contains_key(&hashes[1]));
        cache.count(&hashes[0], 4, 10);
        assert_eq!(cache.bytes, 8, "an object is counted once");
    }
}
