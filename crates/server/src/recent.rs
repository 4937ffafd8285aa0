//! Objects that were looked at a moment ago, uncompressed and verified: whoever needs them next does not read, unpack
//! and hash them again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use driftless_model::hash::ObjectHash;

/// Verified objects, the newest of them.
pub(crate) struct Recent {
    /// What is kept at most, in uncompressed bytes. What is older is read from the bucket again.
    max_bytes: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    objects: HashMap<ObjectHash, (u64, Bytes)>,
    /// By age, oldest first.
    ages: BTreeMap<u64, ObjectHash>,
    next: u64,
    bytes: usize,
}

impl Recent {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            kept: Mutex::default(),
        }
    }

    pub(crate) fn keep(&self, hash: ObjectHash, bytes: Bytes) {
        let mut kept = self.lock();
        kept.remove(&hash);
        let age = kept.next;
        kept.next += 1;
        kept.bytes += bytes.len();
        kept.ages.insert(age, hash);
        kept.objects.insert(hash, (age, bytes));
        while kept.bytes > self.max_bytes
            && let Some((_, oldest)) = kept.ages.first_key_value()
        {
            let oldest = *oldest;
            kept.remove(&oldest);
        }
    }

    /// Gives an object, and keeps it no longer.
    pub(crate) fn take(&self, hash: &ObjectHash) -> Option<Bytes> {
        self.lock().remove(hash)
    }

    pub(crate) fn get(&self, hash: &ObjectHash) -> Option<Bytes> {
        self.lock().objects.get(hash).map(|(_, bytes)| bytes.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn remove(&mut self, hash: &ObjectHash) -> Option<Bytes> {
        let (age, bytes) = self.objects.remove(hash)?;
        self.ages.remove(&age);
        self.bytes -= bytes.len();
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_BYTES: usize = 400;

    fn object(byte: u8, size: usize) -> (ObjectHash, Bytes) {
        (ObjectHash::of(&[byte]), vec![byte; size].into())
    }

    #[test]
    fn what_was_taken_is_gone() {
        let recent = Recent::new(MAX_BYTES);
        let (hash, bytes) = object(1, 10);
        recent.keep(hash, bytes.clone());
        recent.keep(hash, bytes.clone());
        assert_eq!(recent.get(&hash), Some(bytes.clone()));
        assert_eq!(recent.take(&hash), Some(bytes));
        assert_eq!(recent.take(&hash), None);
        assert_eq!(recent.lock().bytes, 0);
    }

    #[test]
    fn oldest_go_first_when_there_are_too_many_bytes() {
        let recent = Recent::new(MAX_BYTES);
        let objects: Vec<_> = (0..5).map(|byte| object(byte, MAX_BYTES / 4)).collect();
        for (hash, bytes) in &objects {
            recent.keep(*hash, bytes.clone());
        }
        let found: Vec<_> = objects.iter().map(|(hash, _)| recent.take(hash).is_some()).collect();
        assert_eq!(found, [false, true, true, true, true]);
    }
}
