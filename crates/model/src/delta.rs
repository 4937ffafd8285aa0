//! Objects as differences from others, so that one changed line of a large bundle travels as a few dozen bytes.
//!
//! Where a few places differ, a delta says which: a byte, and a zstd frame of [`mod@splices`]. Any other is a zstd frame that
//! has the base as its prefix. To find the former takes a tenth of the time, and it is smaller: zstd has something to say
//! of each 128 KB, changed or not.
//!
//! The server encodes, once for each pair; agents decode, and believe nothing of it before the result hashes to its
//! name. Pure.

mod splices;

pub(crate) use splices::Splice;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, compress_bound, get_frame_content_size};

/// As zstd's own default. More effort finds no more in what is nearly the same.
const LEVEL: i32 = 3;
/// From this size of both together, matches are looked for far back as well: the ordinary tables forget the beginning
/// of a large base.
const FAR: usize = 256 * 1024;
/// Where that is done, it finds nearly all, and little is left for the ordinary tables.
const FAR_LEVEL: i32 = 1;
/// Begins a delta of splices. A zstd frame begins with 0x28.
const SPLICED: u8 = 1;
/// Windows that zstd knows, as powers of two.
const WINDOWS: std::ops::RangeInclusive<u32> = 17..=27;

/// Bytes that are no delta from the base at hand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a zstd frame, a damaged one, or of another base.
    #[error("this is no delta from the base at hand")]
    Damaged,
    /// Of something larger than is allowed.
    #[error("what the delta makes has more than {0} bytes")]
    TooLarge(usize),
}

/// The delta from `base` to `target`.
///
/// Both have at most [`crate::bundle::MAX_BYTES`]; of a longer base only the end helps, where more than a few places differ.
#[must_use]
pub fn encode(base: &[u8], target: &[u8]) -> Vec<u8> {
    splices::between(base, target).map_or_else(|| prefixed(base, target), |splices| spliced(&splices))
}

/// The delta that says so.
pub(crate) fn spliced(splices: &[Splice<'_>]) -> Vec<u8> {
    let frame = zstd::bulk::compress(&splices::write(splices), LEVEL);
    let frame = frame.expect("compressing into memory has no way to fail");
    [&[SPLICED], &frame[..]].concat()
}

fn prefixed(base: &[u8], target: &[u8]) -> Vec<u8> {
    let both = base.len() + target.len();
    let window = both.max(1).next_power_of_two().ilog2();
    let mut context = CCtx::create();
    let mut set = |parameter| {
        context
            .set_parameter(parameter)
            .expect("the values are in zstd's range");
    };
    set(CParameter::CompressionLevel(if both > FAR { FAR_LEVEL } else { LEVEL }));
    set(CParameter::WindowLog(window.clamp(*WINDOWS.start(), *WINDOWS.end())));
    set(CParameter::EnableLongDistanceMatching(both > FAR));
    context.ref_prefix(base).expect("a fresh context takes a prefix");
    let mut delta = Vec::with_capacity(compress_bound(target.len()));
    context
        .compress2(&mut delta, target)
        .expect("compressing into memory has no way to fail");
    delta.shrink_to_fit();
    delta
}

/// What a delta of a few changes says; `None` for any other, and for what is none.
pub(crate) fn splices(delta: &[u8]) -> Option<Vec<Splice<'static>>> {
    let (_, frame) = delta.split_first().filter(|(kind, _)| **kind == SPLICED)?;
    splices::read(&zstd::bulk::decompress(frame, splices::MOST_BYTES).ok()?)
}

/// What `delta` makes of `base`. Whether that is what was meant, its hash tells.
///
/// # Errors
/// When it is no delta, or makes more than `limit` bytes.
pub fn decode(base: &[u8], delta: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
    let Some((&SPLICED, frame)) = delta.split_first() else {
        return of_prefix(base, delta, limit);
    };
    let splices = zstd::bulk::decompress(frame, splices::MOST_BYTES).map_err(|_| Error::Damaged)?;
    splices::apply(base, &splices, limit)
}

fn of_prefix(base: &[u8], delta: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
    let length = match get_frame_content_size(delta) {
        Ok(Some(length)) => usize::try_from(length).unwrap_or(usize::MAX),
        Ok(None) | Err(_) => return Err(Error::Damaged),
    };
    if length > limit {
        return Err(Error::TooLarge(limit));
    }
    let mut context = DCtx::create();
    context.ref_prefix(base).map_err(|_| Error::Damaged)?;
    let mut target = Vec::with_capacity(length);
    context.decompress(&mut target, delta).map_err(|_| Error::Damaged)?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Lines as different from each other as those of real bundles.
    fn lines(count: u32) -> String {
        let line = |n: u32| {
            let noise = crate::hash::ObjectHash::of(&n.to_be_bytes());
            format!("{{\"kind\":\"ConfigMap\",\"name\":\"c-{n}\",\"data\":\"{noise}\"}}\n")
        };
        (0..count).map(line).collect()
    }

    #[test]
    fn one_changed_line_is_a_few_bytes_whatever_the_size_and_wherever_it_is() {
        for count in [20, 2_000, 60_000] {
            let base = lines(count);
            for changed in [0, count / 2, count - 1] {
                let target = base.replacen(&format!("\"c-{changed}\""), "\"changed\"", 1);
                let delta = encode(base.as_bytes(), target.as_bytes());
                assert!(
                    delta.len() < 120 + base.len() / 8_000,
                    "{count} {changed}: {}",
                    delta.len()
                );
                let made = decode(base.as_bytes(), &delta, target.len()).unwrap();
                assert!(made == target.as_bytes());
            }
        }
    }

    #[test]
    fn what_is_no_delta_or_makes_too_much_is_refused() {
        let delta = encode(b"base", b"target");
        assert_eq!(decode(b"base", &delta, 5), Err(Error::TooLarge(5)));
        assert_eq!(decode(b"base", b"junk", 100), Err(Error::Damaged));
        assert_eq!(decode(b"base", b"", 100), Err(Error::Damaged));
        assert_eq!(decode(b"base", &delta[..delta.len() - 1], 100), Err(Error::Damaged));
        assert_eq!(decode(b"", &encode(b"", b""), 0), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn any_target_comes_back_from_any_base(base: Vec<u8>, target: Vec<u8>) {
            prop_assert_eq!(decode(&base, &encode(&base, &target), target.len()), Ok(target));
        }

        #[test]
        fn damage_is_an_error_or_another_target_and_never_a_panic(
            base: Vec<u8>, target: Vec<u8>, at: prop::sample::Index, byte: u8,
        ) {
            let mut delta = encode(&base, &target);
            let at = at.index(delta.len());
            delta[at] = byte;
            let made = decode(&base, &delta, 10_000);
            prop_assert!(made.is_err() || made.is_ok_and(|made| made.len() <= 10_000));
        }
    }
}
