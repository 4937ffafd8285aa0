//! Bytes that were verified are another type than bytes that were not: nothing is decoded, stored or believed
//! before its hash was compared. Pure.

use bytes::Bytes;
use driftless_model::{
    bundle::{self, Bundle},
    delta, frames,
    hash::ObjectHash,
    snapshot::Snapshot,
};
use driftless_proto::{self as proto, v1};

/// As zstd's own default.
const LEVEL: i32 = 3;

/// An object whose content hashes to its name. Only [`verify`], [`verify_delta`] and [`edited`] make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    hash: ObjectHash,
    form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// As it came.
    Zstd(Bytes),
    /// What a delta made. Compressed by whoever stores it: nobody else waits for that.
    Content(Bytes),
    /// The same, as [`edited`] has it.
    Bundle(Bundle),
}

impl Frame {
    /// The object's name.
    pub fn hash(&self) -> ObjectHash {
        self.hash
    }

    /// The compressed bytes, to be stored. What came as a delta is compressed now.
    pub fn zstd(&self) -> Bytes {
        match &self.form {
            Form::Zstd(zstd) => zstd.clone(),
            Form::Content(content) => compressed(content),
            Form::Bundle(bundle) => compressed(&bundle.encode()),
        }
    }
}

fn compressed(content: &[u8]) -> Bytes {
    let zstd = zstd::bulk::compress(content, LEVEL);
    zstd.expect("compressing into memory has no way to fail").into()
}

/// An object as it came, not verified.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pub(crate) zstd: Bytes,
    /// What it is a delta from, if it is one.
    pub(crate) base: Option<ObjectHash>,
}

impl Packed {
    /// Reads a message; gives the object's name with it.
    ///
    /// # Errors
    /// When a hash is none.
    pub(crate) fn read(message: v1::Object) -> Result<(ObjectHash, Self), proto::Error> {
        let hash = proto::hash("object.hash", &message.hash)?;
        let base = Some(&message.base).filter(|base| !base.is_empty());
        let base = proto::opt_hash("object.base", base)?;
        let zstd = message.zstd;
        Ok((hash, Self { zstd, base }))
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
pub fn verify(hash: ObjectHash, zstd: Bytes) -> Result<(Frame, Bytes), Bad> {
    let bad = || Bad::Compression(hash.short());
    // In one piece, since a window as large as the content is then not needed. The frames' own word is only a hint of
    // how much to allocate: zstd fails when the content turns out larger.
    let announced = frames::announced_size(&zstd).map_err(|_| bad())?;
    let capacity = match announced.map(usize::try_from) {
        None => bundle::MAX_BYTES,
        Some(Ok(size)) if size <= bundle::MAX_BYTES => size,
        Some(_) => return Err(bad()),
    };
    let content = zstd::bulk::decompress(&zstd, capacity).map_err(|_| bad())?;
    named(hash, content.into(), |_| Form::Zstd(zstd))
}

/// Applies `zstd` to the canonical bytes of its base and compares the hash of what that makes.
///
/// # Errors
/// As [`verify`].
pub fn verify_delta(hash: ObjectHash, zstd: &[u8], base: &[u8]) -> Result<(Frame, Bytes), Bad> {
    let content = delta::decode(base, zstd, bundle::MAX_BYTES).map_err(|_| Bad::Compression(hash.short()))?;
    named(hash, content.into(), Form::Content)
}

/// The same of a bundle, line by line, where the delta is one of a few changes: what it takes over is neither copied nor
/// parsed. `None` where it is another delta, or nothing that may be believed: [`verify_delta`] tells which.
pub(crate) fn edited(hash: ObjectHash, delta: &[u8], base: &Bundle) -> Option<(Frame, Bundle)> {
    let bundle = base.edited(delta, hash)?;
    let form = Form::Bundle(bundle.clone());
    Some((Frame { hash, form }, bundle))
}

fn named(hash: ObjectHash, content: Bytes, form: impl FnOnce(Bytes) -> Form) -> Result<(Frame, Bytes), Bad> {
    let found = ObjectHash::of(&content);
    if found != hash {
        return Err(Bad::Hash(hash.short(), found.short()));
    }
    let form = form(content.clone());
    Ok((Frame { hash, form }, content))
}

/// Reads a snapshot that was verified; faster where an earlier one and its bytes are at hand.
///
/// # Errors
/// See [`Bad`].
pub(crate) fn snapshot(hash: ObjectHash, content: &[u8], earlier: Option<(&Snapshot, &[u8])>) -> Result<Snapshot, Bad> {
    let decoded = match earlier {
        Some((earlier, base)) => Snapshot::decode_after(content, earlier, base),
        None => Snapshot::decode(content),
    };
    decoded.map_err(|error| Bad::Content(hash.short(), error.to_string()))
}

/// Reads a bundle that was verified; faster where an earlier version of the component is at hand.
///
/// # Errors
/// See [`Bad`].
pub(crate) fn bundle(hash: ObjectHash, content: &[u8], earlier: Option<&Bundle>) -> Result<Bundle, Bad> {
    let decoded = match earlier {
        Some(earlier) => Bundle::decode_after(content, earlier),
        None => Bundle::decode(content),
    };
    decoded.map_err(|error| Bad::Content(hash.short(), error.to_string()))
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
        assert_eq!((frame.hash(), &content[..]), (hash, b"content".as_slice()));
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

    #[test]
    fn what_a_delta_made_is_stored_as_any_other() {
        let base = b"what was there before, line by line\n";
        let target = b"what was there before, line by line\nand one more\n";
        let (hash, delta) = (ObjectHash::of(target), delta::encode(base, target));
        let (frame, content) = verify_delta(hash, &delta, base).unwrap();
        assert_eq!(&content[..], target);
        assert_eq!(verify(hash, frame.zstd()).unwrap().1, content);
        assert!(verify_delta(hash, &delta, b"something else, of the same length.\n").is_err());
        assert!(verify_delta(ObjectHash::of(b"other"), &delta, base).is_err());
        assert!(matches!(verify_delta(hash, b"junk", base), Err(Bad::Compression(_))));
    }
}
