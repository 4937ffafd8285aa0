//! Bundles that were uploaded a moment ago: the push that follows looks at them without reading them back.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use driftless_model::hash::ObjectHash;

/// What is kept at most, in uncompressed bytes. What is older is read from the bucket again.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// Uploads that were stored, and checked before that.
#[derive(Default)]
pub(super) struct Recent(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    bundles: HashMap<ObjectHash, (u64, Bytes)>,
    /// By age, oldest first.
    ages: BTreeMap<u64, ObjectHash>,
    next: u64,
    bytes: usize,
}

impl Recent {
    pub(super) fn keep(&self, hash: ObjectHash, bytes: Bytes) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.remove(&hash);
        let age = kept.next;
        kept.next += 1;
        kept.bytes += bytes.len();
        kept.ages.insert(age, hash);
        kept.bundles.insert(hash, (age, bytes));
        while kept.bytes > MAX_BYTES
            && let Some((_, oldest)) = kept.ages.first_key_value()
        {
            let oldest = *oldest;
            kept.remove(&oldest);
        }
    }

    /// Gives a bundle, once: whoever asks again finds out whether it is still in the bucket.
    pub(super) fn take(&self, hash: &ObjectHash) -> Option<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(hash)
    }
}

impl Kept {
    fn remove(&mut self, hash: &ObjectHash) -> Option<Bytes> {
        let (age, bytes) = self.bundles.remove(hash)?;
        self.ages.remove(&age);
        self.bytes -= bytes.len();
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(byte: u8, size: usize) -> (ObjectHash, Bytes) {
        (ObjectHash::of(&[byte]), vec![byte; size].into())
    }

    #[test]
    fn upload_is_there_once() {
        let recent = Recent::default();
        let (hash, bytes) = bundle(1, 10);
        recent.keep(hash, bytes.clone());
        recent.keep(hash, bytes.clone());
        assert_eq!(recent.take(&hash), Some(bytes));
        assert_eq!(recent.take(&hash), None);
        assert_eq!(recent.0.lock().unwrap().bytes, 0);
    }

    #[test]
    fn oldest_go_first_when_there_are_too_many_bytes() {
        let recent = Recent::default();
        let bundles: Vec<_> = (0..5).map(|byte| bundle(byte, MAX_BYTES / 4)).collect();
        for (hash, bytes) in &bundles {
            recent.keep(*hash, bytes.clone());
        }
        let found: Vec<_> = bundles.iter().map(|(hash, _)| recent.take(hash).is_some()).collect();
        assert_eq!(found, [false, true, true, true, true]);
    }
}
