//! What nearly all changes are: a few bytes here and there, and all else as it was, in the same order.
//!
//! Found by going along both once; what is equal costs no more than to compare it.

use std::borrow::Cow;

use memchr::memmem;

use super::Error;
use crate::common;

/// So many bytes have to be equal for both to have met again.
const ANCHOR: usize = 16;
/// They meet again within so many bytes of each, or it is another kind of change.
const REACH: usize = 4096;
/// More than so many splices are another kind of change as well.
const MOST: usize = 64;
/// And so is more than so many new bytes.
const MOST_NEW: usize = 2048;
/// Bytes of the numbers of a splice: three, in at most seven bits each byte (LEB128).
const NUMBERS: usize = 3 * 10;

/// One step along base and target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Splice<'a> {
    /// So many bytes are taken over from the base,
    pub(crate) copy: usize,
    /// so many of it are left out after them,
    pub(crate) skip: usize,
    /// and these come in their place.
    pub(crate) insert: Cow<'a, [u8]>,
}

/// The splices that make `target` of `base`; `None` where these have little in common, or not in the same order.
pub(super) fn between<'a>(base: &[u8], target: &'a [u8]) -> Option<Vec<Splice<'a>>> {
    one_by_one(base, target).or_else(|| between_ends(base, target))
}

/// One change between what both begin and end with. Where lines differ in nothing but a name, one line more is found so
/// alone: the next one begins as this one does.
fn between_ends<'a>(base: &[u8], target: &'a [u8]) -> Option<Vec<Splice<'a>>> {
    let copy = common::prefix(base, target);
    let end = common::suffix(&base[copy..], &target[copy..]);
    let insert = &target[copy..target.len() - end];
    let skip = base.len() - copy - end;
    let rest = Splice {
        copy: end,
        skip: 0,
        insert: Cow::Borrowed(b""),
    };
    let insert = (insert.len() <= REACH).then_some(Cow::Borrowed(insert))?;
    Some(vec![Splice { copy, skip, insert }, rest])
}

fn one_by_one<'a>(base: &[u8], target: &'a [u8]) -> Option<Vec<Splice<'a>>> {
    let (mut base, mut target) = (base, target);
    let mut splices = Vec::new();
    let mut new = 0;
    loop {
        let copy = common::prefix(base, target);
        (base, target) = (&base[copy..], &target[copy..]);
        let (skip, inserted) = meeting(base, target)?;
        let (insert, rest) = target.split_at(inserted);
        let insert = Cow::Borrowed(insert);
        splices.push(Splice { copy, skip, insert });
        (base, target) = (&base[skip..], rest);
        new += inserted;
        if base.is_empty() && target.is_empty() {
            return Some(splices);
        }
        if splices.len() == MOST || new > MOST_NEW {
            return None;
        }
    }
}

/// How many bytes of each are before the place from which both go on alike: of what is found the fewest, since manifests
/// resemble each other, and the end of a line is like that of the next.
fn meeting(base: &[u8], target: &[u8]) -> Option<(usize, usize)> {
    let alike = |place: &usize| base[*place..][..ANCHOR] == target[*place..][..ANCHOR];
    let places = (base.len().min(target.len()) + 1).saturating_sub(ANCHOR);
    // Mostly something has another value of the same length.
    let same = (0..places.min(REACH)).find(alike).map(|place| (place, place));
    // Or the rest is new, if it is short.
    let ends = (target.len() <= REACH && base.len() <= REACH).then_some((base.len(), target.len()));
    let mut best = same.or(ends);
    let anchors = base[..base.len().min(REACH)]
        .windows(ANCHOR)
        .enumerate()
        .step_by(ANCHOR / 2);
    for (skip, anchor) in anchors {
        // What is further away is no better.
        let within = best.map_or(REACH, |(skipped, inserted)| (skipped + inserted).saturating_sub(skip));
        if within == 0 {
            break;
        }
        let near = &target[..target.len().min(REACH).min(within + ANCHOR - 1)];
        if let Some(inserted) = memmem::find(near, anchor) {
            best = Some((skip, inserted));
        }
    }
    best
}

/// Writes splices: how many, the numbers of each, and what is inserted.
pub(super) fn write(splices: &[Splice<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_number(&mut bytes, splices.len());
    for splice in splices {
        for number in [splice.copy, splice.skip, splice.insert.len()] {
            write_number(&mut bytes, number);
        }
    }
    for splice in splices {
        bytes.extend_from_slice(&splice.insert);
    }
    bytes
}

/// Most bytes that [`write()`] makes of what [`between`] found.
pub(super) const MOST_BYTES: usize = 10 + MOST * NUMBERS + MOST_NEW + REACH;

/// What written splices make of `base`.
///
/// # Errors
/// Where they are none, or of another base, or make more than `limit` bytes.
pub(super) fn apply(mut base: &[u8], written: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
    let splices = read(written).ok_or(Error::Damaged)?;
    let mut parts = Vec::with_capacity(2 * splices.len());
    for Splice { copy, skip, insert } in &splices {
        parts.push(base.split_off(..*copy).ok_or(Error::Damaged)?);
        base.split_off(..*skip).ok_or(Error::Damaged)?;
        parts.push(insert);
    }
    if !base.is_empty() {
        return Err(Error::Damaged);
    }
    if parts.iter().map(|part| part.len()).sum::<usize>() > limit {
        return Err(Error::TooLarge(limit));
    }
    Ok(parts.concat())
}

/// Written splices; `None` where they are none.
pub(super) fn read(written: &[u8]) -> Option<Vec<Splice<'static>>> {
    let mut rest = written;
    let count = read_number(&mut rest).filter(|count| *count <= MOST)?;
    let mut numbers = Vec::with_capacity(count);
    for _ in 0..count {
        let [copy, skip, insert] = [(); 3].map(|()| read_number(&mut rest));
        numbers.push((copy?, skip?, insert?));
    }
    let mut splices = Vec::with_capacity(count);
    for (copy, skip, insert) in numbers {
        let insert = Cow::Owned(rest.split_off(..insert)?.to_vec());
        splices.push(Splice { copy, skip, insert });
    }
    rest.is_empty().then_some(splices)
}

fn write_number(bytes: &mut Vec<u8>, number: usize) {
    let mut rest = number;
    while rest >= 0x80 {
        bytes.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
}

fn read_number(bytes: &mut &[u8]) -> Option<usize> {
    let mut number = 0_usize;
    for shift in (0..usize::BITS).step_by(7) {
        let byte = *bytes.split_off_first()?;
        let bits = usize::from(byte & 0x7f);
        if bits.leading_zeros() < shift {
            return None;
        }
        number |= bits << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn made(base: &[u8], target: &[u8]) -> Option<(usize, Vec<u8>)> {
        let splices = between(base, target)?;
        let written = write(&splices);
        assert!(written.len() <= MOST_BYTES, "{}", written.len());
        Some((splices.len(), apply(base, &written, target.len()).unwrap()))
    }

    fn lines(numbers: impl Iterator<Item = u32>) -> String {
        let line = |n: u32| format!("line {n} {}\n", crate::hash::ObjectHash::of(&n.to_be_bytes()));
        numbers.map(line).collect()
    }

    #[test]
    fn few_changes_are_few_splices() {
        let base = lines(0..2_000);
        for (target, most) in [
            (base.clone(), 1),
            (base.replacen("line 700 ", "line abc ", 1), 2),
            (base.replacen("line 700 ", "line 1000000 ", 1), 2),
            (lines((0..2_000).filter(|n| *n != 700)), 2),
            (lines((0..700).chain([9_999]).chain(700..2_000)), 2),
            (lines((0..700).chain(5_000..5_010).chain(700..1_990)), 3),
            (base.replace("line 1", "row 1"), usize::MAX),
            (format!("new {base}"), 2),
            (format!("{base} new"), 1),
            (base[3..].to_owned(), 2),
        ] {
            match made(base.as_bytes(), target.as_bytes()) {
                Some((count, made)) => assert!(count <= most && made == target.as_bytes(), "{count} > {most}"),
                None => assert_eq!(most, usize::MAX),
            }
        }
    }

    #[test]
    fn longer_value_among_lines_that_resemble_each_other_is_one_splice() {
        let line = |n: u32, value: &str| {
            let same = "a few more words, as a settings file would have them";
            format!(
                "{{\"data\":{{\"name\":\"map-{n:04}\",\"text\":\"{same}\",\"value\":\"{value}\"}},\"kind\":\"ConfigMap\"}}\n"
            )
        };
        let base: String = (0..2_000).map(|n| line(n, "x")).collect();
        for value in [
            "y",
            "",
            "run-1",
            "a text that is longer than the whole line was before it came to be in it, by far",
        ] {
            let target: String = (0..2_000)
                .map(|n| line(n, if n == 700 { value } else { "x" }))
                .collect();
            let (count, made) = made(base.as_bytes(), target.as_bytes()).expect("one value is another");
            assert_eq!((count, made), (2, target.into_bytes()), "{value:?}");
        }
    }

    #[test]
    fn line_more_or_less_among_lines_that_differ_in_a_number_is_one_splice() {
        let line = |n: u32| {
            format!("{{\"kind\":\"ConfigMap\",\"metadata\":{{\"name\":\"map-{n:04}\",\"namespace\":\"shop\"}}}}\n")
        };
        let base: String = (0..2_000).map(|n| line(2 * n)).collect();
        let more: String = (0..2_000)
            .flat_map(|n| [2 * n, 1401].into_iter().take(1 + usize::from(n == 700)))
            .map(line)
            .collect();
        let fewer: String = (0..2_000)
            .filter(|n| !(700..900).contains(n))
            .map(|n| line(2 * n))
            .collect();
        for target in [more, fewer] {
            let (count, made) = made(base.as_bytes(), target.as_bytes()).expect("one place differs");
            assert_eq!((count, made), (2, target.into_bytes()));
        }
    }

    #[test]
    fn what_has_little_in_common_is_left_to_others() {
        let base = lines(0..2_000);
        for target in [
            lines(3_000..5_000),
            lines((0..2_000).rev()),
            lines(0..1_000) + &lines(5_000..6_000),
        ] {
            assert_eq!(between(base.as_bytes(), target.as_bytes()), None);
        }
    }

    #[test]
    fn numbers_come_back_and_none_is_beyond_what_fits() {
        for number in [0, 1, 127, 128, 300, 1 << 20, usize::MAX] {
            let mut bytes = Vec::new();
            write_number(&mut bytes, number);
            let mut rest = &bytes[..];
            assert_eq!((read_number(&mut rest), rest.len()), (Some(number), 0));
            assert_eq!(read_number(&mut &bytes[..bytes.len() - 1]), None);
        }
        assert_eq!(read_number(&mut &[0xff; 10][..]), None);
        assert_eq!(
            read_number(&mut &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2][..]),
            None
        );
    }

    #[test]
    fn more_than_is_allowed_is_refused_before_it_is_made() {
        let mut written = Vec::new();
        for number in [2, 4, 0, 0, 0, 0, usize::MAX] {
            write_number(&mut written, number);
        }
        assert_eq!(apply(b"base", &written, usize::MAX), Err(Error::Damaged));
        let written = write(&between(b"base", b"base and more").unwrap());
        assert_eq!(apply(b"base", &written, 12), Err(Error::TooLarge(12)));
        assert_eq!(apply(b"case", &written[..2], 12), Err(Error::Damaged));
        assert_eq!(apply(b"base!", &written, 20), Err(Error::Damaged), "another base");
    }

    proptest! {
        #[test]
        fn what_is_found_makes_the_target(
            base in prop::collection::vec(0..3_u8, 0..300), target in prop::collection::vec(0..3_u8, 0..300),
        ) {
            if let Some((_, made)) = made(&base, &target) {
                prop_assert_eq!(made, target);
            }
        }

        #[test]
        fn edits_make_the_target(
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0..100_usize, "[a-z]{0,40}"), 0..5),
        ) {
            let base = lines(0..200);
            let mut target = base.clone();
            for (at, length, with) in edits {
                let at = at.index(target.len());
                let until = (at + length).min(target.len());
                target.replace_range(at..until, &with);
            }
            let (_, made) = made(base.as_bytes(), target.as_bytes()).expect("few edits");
            prop_assert_eq!(made, target.into_bytes());
        }

        #[test]
        fn any_bytes_are_splices_or_none_and_never_a_panic(base: Vec<u8>, written: Vec<u8>) {
            if let Ok(made) = apply(&base, &written, 1_000) {
                prop_assert!(made.len() <= 1_000);
            }
        }
    }
}
