//! Bytes that were verified are another type than bytes that were not: nothing is decoded, stored or believed
//! before its hash was compared. Pure.

use bytes::Bytes;
use driftless_model::{
    bundle::{self, Bundle},
    hash::ObjectHash,
    snapshot::Snapshot,
};

/// The zstd frame of an object whose content hashes to its name. Only [`verify`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    hash: ObjectHash,
    zstd: Bytes,
}

impl Frame {
    /// The object's name.
    pub fn hash(&self) -> ObjectHash {
        self.hash
    }

    /// The compressed bytes.
    pub fn zstd(&self) -> &Bytes {
        &self.zstd
    }
}

/// An object that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// Not a zstd frame, or one larger than an object may be.
    #[error("object {0} cannot be decompressed")]
    Compression(String),
    /// Another content than its name says.
    #[error("object {0} hashes to {1}: it was altered on its way")]
    Hash(String, String),
    /// Verified, and yet not understood.
    #[error("object {0}: {1}")]
    Content(String, String),
}

/// Decompresses `zstd` and compares its hash. The content is handed on once and not kept.
///
/// # Errors
/// When it is not, in at most [`bundle::MAX_BYTES`], what `hash` names.
pub fn verify(hash: ObjectHash, zstd: Bytes) -> Result<(Frame, Vec<u8>), Bad> {
    let bad = || Bad::Compression(hash.short());
    // In one piece, since a window as large as the content is then not needed. The frame's own word is only a hint of
    // how much to allocate: zstd fails when the content turns out larger.
    let announced = zstd::zstd_safe::get_frame_content_size(&zstd).map_err(|_| bad())?;
    let capacity = match announced.map(usize::try_from) {
        None => bundle::MAX_BYTES,
        Some(Ok(size)) if size <= bundle::MAX_BYTES => size,
        Some(_) => return Err(bad()),
    };
    let content = zstd::bulk::decompress(&zstd, capacity).map_err(|_| bad())?;
    let found = ObjectHash::of(&content);
    if found != hash {
        return Err(Bad::Hash(hash.short(), found.short()));
    }
    Ok((Frame { hash, zstd }, content))
}

/// Verifies and reads a snapshot.
///
/// # Errors
/// See [`Bad`].
pub(crate) fn snapshot(hash: ObjectHash, zstd: Bytes) -> Result<(Frame, Snapshot), Bad> {
    let (frame, content) = verify(hash, zstd)?;
    let snapshot = Snapshot::decode(&content).map_err(|error| Bad::Content(hash.short(), error.to_string()))?;
    Ok((frame, snapshot))
}

/// Verifies and reads a bundle; faster where an earlier version of the component is at hand.
///
/// # Errors
/// See [`Bad`].
pub(crate) fn bundle(hash: ObjectHash, zstd: Bytes, earlier: Option<&Bundle>) -> Result<(Frame, Bundle), Bad> {
    let (frame, content) = verify(hash, zstd)?;
    let decoded = match earlier {
        Some(earlier) => Bundle::decode_after(&content, earlier),
        None => Bundle::decode(&content),
    };
    let bundle = decoded.map_err(|error| Bad::Content(hash.short(), error.to_string()))?;
    Ok((frame, bundle))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(content: &[u8]) -> Bytes {
        zstd::bulk::compress(content, 3).unwrap().into()
    }

    #[test]
    fn only_the_named_content_verifies() {
        let hash = ObjectHash::of(b"content");
        let (frame, content) = verify(hash, pack(b"content")).unwrap();
        assert_eq!((frame.hash(), content.as_slice()), (hash, b"content".as_slice()));
        assert!(matches!(verify(hash, pack(b"other")), Err(Bad::Hash(..))));
        assert!(matches!(
            verify(hash, Bytes::from_static(b"junk")),
            Err(Bad::Compression(_))
        ));
        assert!(matches!(verify(hash, Bytes::new()), Err(Bad::Compression(_))));
    }

    #[test]
    fn frame_that_grows_past_the_limit_is_refused() {
        let large = vec![0; bundle::MAX_BYTES + 1];
        let hash = ObjectHash::of(&large);
        assert!(matches!(verify(hash, pack(&large)), Err(Bad::Compression(_))));
        // The same from a stream, which announces no size.
        let streamed = zstd::stream::encode_all(large.as_slice(), 3).unwrap();
        assert!(matches!(verify(hash, streamed.into()), Err(Bad::Compression(_))));
    }
}
