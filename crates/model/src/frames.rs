//! How objects are compressed: as zstd frames, one after another (RFC 8878, 3.1). Mostly it is one; a snapshot has one
//! for each of its [`Pieces`].

mod pieces;

pub use pieces::Pieces;
use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

/// Bytes that do not consist of zstd frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No frame begins where one should.
    #[error("it is not compressed by zstd")]
    NoFrame,
    /// A frame does not come to its end.
    #[error("it cannot be decompressed: it is cut off, or damaged")]
    CutOff,
}

/// How many bytes the frames say that they hold, together; `None` where one of them does not say. That need not be true.
///
/// # Errors
/// When they are no frames, or the last is cut off.
pub fn announced_size(zstd: &[u8]) -> Result<Option<u64>, Error> {
    let mut rest = zstd;
    let mut sum = Some(0_u64);
    loop {
        let size = get_frame_content_size(rest).map_err(|_| Error::NoFrame)?;
        let length = find_frame_compressed_size(rest).map_err(|_| Error::CutOff)?;
        sum = sum.zip(size).map(|(sum, size)| sum.saturating_add(size));
        rest = rest.get(length..).ok_or(Error::CutOff)?;
        if rest.is_empty() {
            return Ok(sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(bytes, 1).unwrap()
    }

    #[test]
    fn sizes_of_all_frames_count() {
        let (one, two) = (frame(&[7; 1000]), frame(b""));
        assert_eq!(announced_size(&one), Ok(Some(1000)));
        assert_eq!(
            announced_size(&[one.clone(), two, one.clone()].concat()),
            Ok(Some(2000))
        );
        let silent = zstd::encode_all(&[7; 1000][..], 1).unwrap();
        assert_eq!(announced_size(&[one, silent].concat()), Ok(None));
    }

    #[test]
    fn what_is_cut_off_or_no_frame_is_refused() {
        let one = frame(&[7; 1000]);
        for (bad, error) in [
            (&b""[..], Error::NoFrame),
            (b"junk", Error::NoFrame),
            (&one[..one.len() - 1], Error::CutOff),
            (&[&one[..], b"junk"].concat(), Error::NoFrame),
            (&[&one[..], &one[..9]].concat(), Error::CutOff),
        ] {
            assert_eq!(announced_size(bad), Err(error), "{bad:?}");
        }
    }
}
