//! An object that somebody sent: nothing enters a bucket before it was checked here.

use bytes::Bytes;
use driftless_model::hash::ObjectHash;
use zstd::zstd_safe::{find_frame_compressed_size, get_dict_id_from_frame, get_frame_content_size};

use super::{COMPRESSION, Fault, MAX_OBJECT_BYTES, compress, unpacked};
use crate::error::Error;

/// A frame that is smaller than this part of its content was made by a tool that compresses as we do, near enough.
const WORTHWHILE: usize = 2;

/// The bytes of an object, and the frame in which it is stored and sent on.
#[derive(Debug, Clone)]
pub struct Upload {
    hash: ObjectHash,
    bytes: Bytes,
    frame: Bytes,
}

impl Upload {
    /// Checks what was sent. Takes a processor for milliseconds per megabyte: not for a task that others wait behind.
    ///
    /// The frame is kept as it was sent where every reader can take it: one frame alone, without a dictionary, that says
    /// how much it holds. Any other is made anew.
    ///
    /// # Errors
    /// Unless `zstd` holds at most `limit` bytes, and those hash to `hash`.
    pub fn open(hash: ObjectHash, zstd: Bytes, limit: usize) -> Result<Self, Error> {
        let limit = limit.min(MAX_OBJECT_BYTES);
        let bytes = unpacked(&hash, &zstd, limit).map_err(|fault| match fault {
            Fault::TooLarge { actual } => Error::TooLarge { limit, actual },
            Fault::Other(reason) => Error::ObjectMismatch {
                hash,
                reason: reason.into_owned(),
            },
        })?;
        let frame = if is_plain(&zstd, bytes.len()) {
            zstd
        } else {
            compress(&bytes, COMPRESSION).into()
        };
        Ok(Self { hash, bytes, frame })
    }

    /// Its name.
    #[must_use]
    pub fn hash(&self) -> ObjectHash {
        self.hash
    }

    /// The uncompressed bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes it takes in a bucket.
    #[must_use]
    pub fn stored_size(&self) -> usize {
        self.frame.len()
    }

    pub(super) fn into_frame(self) -> Bytes {
        self.frame
    }
}

fn is_plain(zstd: &[u8], length: usize) -> bool {
    matches!(get_frame_content_size(zstd), Ok(Some(said)) if usize::try_from(said) == Ok(length))
        && find_frame_compressed_size(zstd) == Ok(zstd.len())
        && get_dict_id_from_frame(zstd).is_none()
        && zstd.len() < length / WORTHWHILE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(zstd: &[u8], bytes: &[u8]) -> Bytes {
        let upload = Upload::open(ObjectHash::of(bytes), zstd.to_vec().into(), bytes.len()).unwrap();
        assert_eq!(upload.bytes(), bytes);
        upload.into_frame()
    }

    #[test]
    fn frames_that_every_reader_can_take_are_kept_and_others_made_anew() {
        let bytes = b"an object of somebody else ".repeat(100);
        let (kept, ours) = (zstd::bulk::compress(&bytes, 1).unwrap(), compress(&bytes, COMPRESSION));
        assert_eq!(stored(&kept, &bytes), kept);
        let streamed = zstd::encode_all(&bytes[..], 19).unwrap();
        assert_eq!(stored(&streamed, &bytes), ours, "does not say how much it holds");
        // A frame that readers skip, with whatever in it (RFC 8878, 3.1.2).
        let skipped = [&kept[..], &0x184D_2A50_u32.to_le_bytes(), &4_u32.to_le_bytes(), b"junk"].concat();
        assert_eq!(stored(&skipped, &bytes), ours, "something hidden behind");
        let negative = zstd::bulk::compress(&[bytes.as_slice(), &noise(3000)].concat(), -100).unwrap();
        let noisy = [bytes.as_slice(), &noise(3000)].concat();
        assert_eq!(
            stored(&negative, &noisy),
            compress(&noisy, COMPRESSION),
            "hardly compressed"
        );
    }

    /// What nothing compresses.
    fn noise(length: usize) -> Vec<u8> {
        let mut hash = ObjectHash::of(b"");
        let mut noise = Vec::new();
        while noise.len() < length {
            hash = ObjectHash::of(hash.as_bytes());
            noise.extend_from_slice(hash.as_bytes());
        }
        noise
    }
}
