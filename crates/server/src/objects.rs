//! Objects on their way to agents: compressed as they are stored or as a delta from what the agent has, read and
//! encoded once, sent to many.
//!
//! Thousands of agents ask for the same few objects within a second, and mostly have the same ones. They share one read,
//! one encoding and one buffer. What is sent whole is not checked here: every agent checks what it receives against the
//! hash.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use driftless_model::{delta, hash::ObjectHash};
use driftless_store::{Bucket, Error};
use tokio::{
    sync::{OnceCell, Semaphore},
    task::spawn_blocking,
};

use crate::{metrics::Metrics, recent::Recent};

/// What the cache keeps at most, in compressed bytes.
const CACHE_BYTES: usize = 64 * 1024 * 1024;
/// What is kept at most uncompressed.
const RECENT_BYTES: usize = 32 * 1024 * 1024;
/// What an entry costs besides its bytes.
const ENTRY_BYTES: usize = 256;
/// A delta that is so many times smaller than what it makes, uncompressed, is smaller than that compressed.
const FAR_BELOW: usize = 64;
/// Deltas that are encoded at once: each holds both objects whole.
const ENCODING: usize = 2;

/// The store's objects, compressed, through a cache. Shared by all streams.
pub(crate) struct Objects {
    bucket: Bucket,
    metrics: Arc<Metrics>,
    cache: Mutex<Cache>,
    /// Uncompressed: what was pushed last, which is the base of what is pushed next.
    recent: Recent,
    encoding: Semaphore,
}

/// An object as it is best sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packed {
    pub(crate) zstd: Bytes,
    /// What it is a delta from, if it is one.
    pub(crate) base: Option<ObjectHash>,
}

/// An object, and the one that it is to be a delta from.
type Key = (ObjectHash, Option<ObjectHash>);

#[derive(Default)]
struct Cache {
    slots: HashMap<Key, Slot>,
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
    pub(crate) fn new(bucket: Bucket, metrics: Arc<Metrics>) -> Self {
        Self {
            bucket,
            metrics,
            cache: Mutex::default(),
            recent: Recent::new(RECENT_BYTES),
            encoding: Semaphore::new(ENCODING),
        }
    }

    /// The object compressed, `None` when the store does not have it.
    pub(crate) async fn compressed(&self, hash: &ObjectHash) -> Result<Option<Bytes>, Error> {
        self.cached((*hash, None), self.bucket.object_compressed(hash)).await
    }

    /// The object for who has `base`: a delta from that where it is smaller, `None` when the store does not have it. A
    /// base that is not there any more, or damaged, is no reason to send nothing.
    pub(crate) async fn packed(&self, hash: &ObjectHash, base: Option<&ObjectHash>) -> Result<Option<Packed>, Error> {
        let base = base.filter(|base| *base != hash);
        if let (Some(base), Some(target)) = (base, self.recent.get(hash)) {
            let most = target.len() / FAR_BELOW;
            // The object itself need not be in the bucket yet.
            let delta = self.delta(hash, std::future::ready(Ok(target)), base).await;
            if let Some(delta) = delta.filter(|delta| delta.zstd.len() < most) {
                return Ok(Some(delta));
            }
        }
        let Some(zstd) = self.compressed(hash).await? else {
            return Ok(None);
        };
        let whole = Packed { zstd, base: None };
        let Some(base) = base else {
            return Ok(Some(whole));
        };
        let delta = self.delta(hash, Bucket::opened(hash, whole.zstd.clone()), base).await;
        Ok(delta
            .filter(|delta| delta.zstd.len() < whole.zstd.len())
            .or(Some(whole)))
    }

    /// The delta from `base`; `None` where there is none.
    async fn delta(
        &self,
        hash: &ObjectHash,
        target: impl Future<Output = Result<Bytes, Error>>,
        base: &ObjectHash,
    ) -> Option<Packed> {
        let encoded = self.encode(hash, target, base);
        match self.cached((*hash, Some(*base)), Box::pin(encoded)).await {
            Ok(zstd) => zstd.map(|zstd| Packed {
                zstd,
                base: Some(*base),
            }),
            Err(error) => {
                tracing::debug!(%hash, %base, %error, "no delta: the object goes whole");
                None
            }
        }
    }

    /// Keeps the bytes of an object that were verified, for deltas from and to it.
    pub(crate) fn know(&self, hash: ObjectHash, bytes: Bytes) {
        self.recent.keep(hash, bytes);
    }

    async fn encode(
        &self,
        hash: &ObjectHash,
        target: impl Future<Output = Result<Bytes, Error>>,
        base: &ObjectHash,
    ) -> Result<Bytes, Error> {
        // Never closed.
        let _permit = self.encoding.acquire().await.ok();
        let base = match self.recent.get(base) {
            Some(bytes) => bytes,
            None => {
                let zstd = self.compressed(base).await?.ok_or(Error::ObjectNotFound(*base))?;
                Bucket::opened(base, zstd).await?
            }
        };
        let target = target.await?;
        self.know(*hash, target.clone());
        self.metrics.deltas_encoded.inc();
        match spawn_blocking(move || delta::encode(&base, &target)).await {
            Ok(delta) => Ok(delta.into()),
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    async fn cached(&self, key: Key, make: impl Future<Output = Result<Bytes, Error>>) -> Result<Option<Bytes>, Error> {
        let cell = self.lock().cell(&key);
        match cell.get_or_try_init(|| make).await {
            Ok(bytes) => {
                let mut cache = self.lock();
                cache.count(&key, bytes.len() + ENTRY_BYTES, CACHE_BYTES);
                self.metrics
                    .object_cache
                    .set(i64::try_from(cache.bytes).unwrap_or(i64::MAX));
                Ok(Some(bytes.clone()))
            }
            Err(error) => {
                self.lock().forget_unread(&key);
                if error.is_not_found() { Ok(None) } else { Err(error) }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    fn cell(&mut self, key: &Key) -> Arc<OnceCell<Bytes>> {
        self.uses += 1;
        let slot = self.slots.entry(*key).or_default();
        slot.last_use = self.uses;
        Arc::clone(&slot.cell)
    }

    /// Counts an object that was read, once, and makes room for it.
    fn count(&mut self, key: &Key, bytes: usize, limit: usize) {
        let Some(slot) = self.slots.get_mut(key).filter(|slot| slot.bytes == 0) else {
            return;
        };
        slot.bytes = bytes;
        self.bytes += bytes;
        while self.bytes > limit {
            let counted = self.slots.iter().filter(|(_, slot)| slot.bytes > 0);
            let Some(oldest) = counted.min_by_key(|(_, slot)| slot.last_use).map(|(key, _)| *key) else {
                return;
            };
            self.bytes -= self.slots.remove(&oldest).map_or(0, |slot| slot.bytes);
        }
    }

    /// An object that could not be read leaves no trace, so that the next who asks looks again.
    fn forget_unread(&mut self, key: &Key) {
        if self.slots.get(key).is_some_and(|slot| slot.bytes == 0) {
            self.slots.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn objects() -> (Bucket, Objects) {
        let bucket = Bucket::open("memory://").await.unwrap();
        (bucket.clone(), Objects::new(bucket, Arc::new(Metrics::new())))
    }

    #[tokio::test]
    async fn missing_object_is_found_once_it_is_there() {
        let (bucket, objects) = objects().await;
        assert_eq!(objects.compressed(&ObjectHash::of(b"late")).await.unwrap(), None);
        let hash = bucket.put_object(b"late").await.unwrap();
        assert!(objects.compressed(&hash).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn who_has_a_base_gets_a_delta_that_is_encoded_once() {
        let (bucket, objects) = objects().await;
        let base: String = (0..1000)
            .map(|n| format!("line {}\n", ObjectHash::of(&[n as u8, (n >> 8) as u8])))
            .collect();
        let target = format!("{base}one more\n");
        let base_hash = bucket.put_object(base.as_bytes()).await.unwrap();
        let hash = bucket.put_object(target.as_bytes()).await.unwrap();
        for _ in 0..3 {
            let packed = objects.packed(&hash, Some(&base_hash)).await.unwrap().unwrap();
            assert_eq!(packed.base, Some(base_hash));
            assert!(packed.zstd.len() < 100, "{}", packed.zstd.len());
            let made = delta::decode(base.as_bytes(), &packed.zstd, target.len()).unwrap();
            assert_eq!(made, target.as_bytes());
        }
        assert_eq!(objects.metrics.deltas_encoded.get(), 1);
    }

    #[tokio::test]
    async fn what_is_known_makes_deltas_without_a_look_into_the_bucket() {
        let (bucket, objects) = objects().await;
        let line = |n: u32| format!("line {}\n", ObjectHash::of(&n.to_be_bytes()));
        let base: String = (0..1000).map(line).collect();
        let target = base.clone() + "one more\n";
        // Both may be on their way into the bucket still.
        let [base_hash, hash] = [&base, &target].map(|content| ObjectHash::of(content.as_bytes()));
        assert!(bucket.object(&hash).await.is_err_and(|error| error.is_not_found()));
        objects.know(base_hash, base.clone().into());
        objects.know(hash, target.clone().into());
        let packed = objects.packed(&hash, Some(&base_hash)).await.unwrap().unwrap();
        assert_eq!(packed.base, Some(base_hash));
        let made = delta::decode(base.as_bytes(), &packed.zstd, target.len()).unwrap();
        assert_eq!(made, target.as_bytes());
    }

    #[tokio::test]
    async fn base_that_is_of_no_use_makes_the_object_go_whole() {
        let (bucket, objects) = objects().await;
        let hash = bucket.put_object(b"short").await.unwrap();
        let other = bucket.put_object(&[7; 1000]).await.unwrap();
        let whole = objects.compressed(&hash).await.unwrap();
        for base in [ObjectHash::of(b"collected long ago"), other, hash] {
            let packed = objects.packed(&hash, Some(&base)).await.unwrap().unwrap();
            assert_eq!((packed.base, Some(packed.zstd)), (None, whole.clone()));
        }
        assert_eq!(
            objects.packed(&ObjectHash::of(b"none"), Some(&hash)).await.unwrap(),
            None
        );
    }

    #[test]
    fn what_was_not_asked_for_longest_goes_first() {
        let mut cache = Cache::default();
        let keys = [b"a", b"b", b"c"].map(|name| (ObjectHash::of(name), None));
        for key in &keys {
            cache.cell(key);
        }
        cache.count(&keys[0], 4, 10);
        cache.count(&keys[1], 4, 10);
        cache.cell(&keys[0]);
        cache.count(&keys[2], 4, 10);
        assert_eq!(cache.bytes, 8);
        assert!(cache.slots.contains_key(&keys[0]) && !cache.slots.contains_key(&keys[1]));
        cache.count(&keys[0], 4, 10);
        assert_eq!(cache.bytes, 8, "an object is counted once");
    }
}
