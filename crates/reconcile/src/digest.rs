//! Short hashes for comparing what was seen with what was done; nothing is named, stored or signed by them.
//!
//! Half a sha256: the agent keeps two per object, in memory and in the ApplySet's parent, and 128 bits are far
//! more than chance can hit. Whoever can write the object can as well make the change openly.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// The first half of a sha256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest([u8; 16]);

impl Digest {
    /// The digest of some parts, each with its length, so that no two lists of parts run into each other.
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = Hasher::default();
        for part in parts {
            hasher.part(b'p', part);
        }
        hasher.finish()
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<[u8; 16]> for Digest {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Builds a [`Digest`] piece by piece.
#[derive(Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    /// Adds one piece under a tag that says what it is.
    pub(crate) fn part(&mut self, tag: u8, bytes: &[u8]) {
        self.0.update([tag]);
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// Adds a tag alone.
    pub(crate) fn mark(&mut self, tag: u8) {
        self.0.update([tag]);
    }

    pub(crate) fn finish(self) -> Digest {
        let full: [u8; 32] = self.0.finalize().into();
        let mut half = [0; 16];
        half.copy_from_slice(&full[..16]);
        Digest(half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(Digest::of(&[b"ab", b"c"]), Digest::of(&[b"a", b"bc"]));
        assert_eq!(Digest::of(&[b"ab"]), Digest::of(&[b"ab"]));
    }
}
