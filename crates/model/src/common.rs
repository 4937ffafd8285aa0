//! What two texts have in common at their ends.

/// Bytes that are compared at once.
const STRIDE: usize = 4096;

/// How many bytes both begin with.
pub(crate) fn prefix(one: &[u8], other: &[u8]) -> usize {
    alike(one.chunks(STRIDE), other.chunks(STRIDE), one.iter(), other.iter())
}

/// How many bytes both end with.
pub(crate) fn suffix(one: &[u8], other: &[u8]) -> usize {
    let (bytes, other_bytes) = (one.iter().rev(), other.iter().rev());
    alike(one.rchunks(STRIDE), other.rchunks(STRIDE), bytes, other_bytes)
}

/// Found in strides, and then one by one.
fn alike<'a>(
    strides: impl Iterator<Item = &'a [u8]>,
    other_strides: impl Iterator<Item = &'a [u8]>,
    bytes: impl Iterator<Item = &'a u8>,
    other_bytes: impl Iterator<Item = &'a u8>,
) -> usize {
    let strides = strides.zip(other_strides).take_while(|(one, other)| one == other);
    let whole: usize = strides.map(|(stride, _)| stride.len()).sum();
    let bytes = bytes.zip(other_bytes).skip(whole);
    whole + bytes.take_while(|(one, other)| one == other).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ends_are_found_to_the_byte() {
        let text: Vec<u8> = (0..10_000_u32).map(|n| (n % 251) as u8).collect();
        for place in [0, 1, 4095, 4096, 4097, 9_999] {
            let mut other = text.clone();
            other[place] ^= 1;
            assert_eq!((prefix(&text, &other), suffix(&text, &other)), (place, 9_999 - place));
        }
        assert_eq!(
            (prefix(&text, &text[..5_000]), suffix(&text, &text[1..])),
            (5_000, 9_999)
        );
        assert_eq!((prefix(&text, b""), suffix(&text, &text)), (0, 10_000));
    }
}
