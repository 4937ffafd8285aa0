//! Reading a snapshot when the one before it is at hand. Of thousands of components most are the same: only the bytes
//! from the first to the last that differ are read, and what is made shares the rest with the snapshot before.

use memchr::{memchr, memchr2_iter, memrchr};

use super::{Components, Error, Snapshot};
use crate::{common, hash::ObjectHash, name::ComponentName};

const BEGIN: &[u8] = br#"{"author":"#;
const COMPONENTS: &[u8] = br#","components":{"#;

impl Snapshot {
    /// Reads what [`Snapshot::encode`] wrote, as [`Snapshot::decode`] does: faster where it differs little from `earlier`,
    /// whose canonical bytes are `base`.
    ///
    /// # Errors
    /// As [`Snapshot::decode`].
    pub fn decode_after(bytes: &[u8], earlier: &Self, base: &[u8]) -> Result<Self, Error> {
        match follow(bytes, earlier, base) {
            Some(snapshot) => Ok(snapshot),
            None => Self::decode(bytes),
        }
    }
}

/// `None` for whatever it is not sure of.
fn follow(bytes: &[u8], earlier: &Snapshot, base: &[u8]) -> Option<Snapshot> {
    let (before, after) = (split(base)?, split(bytes)?);
    let components = edit(&earlier.components, before.components, after.components)?;
    // All but the components is a few hundred bytes, and read as if there were none.
    let rest = Snapshot::decode(&[after.head, after.tail].concat()).ok()?;
    Some(Snapshot { components, ..rest })
}

/// A snapshot's bytes, its components apart.
struct Split<'a> {
    head: &'a [u8],
    /// Between the braces.
    components: &'a [u8],
    tail: &'a [u8],
}

fn split(bytes: &[u8]) -> Option<Split<'_>> {
    let author = bytes.strip_prefix(BEGIN)?;
    let rest = author.get(text_length(author)?..)?.strip_prefix(COMPONENTS)?;
    // Names and hashes have no braces.
    let end = memchr(b'}', rest)?;
    let (components, tail) = rest.split_at(end);
    let head = &bytes[..bytes.len() - rest.len()];
    Some(Split { head, components, tail })
}

/// Bytes of the JSON text at the beginning, its quotes included.
fn text_length(json: &[u8]) -> Option<usize> {
    let inner = json.strip_prefix(b"\"")?;
    let mut escaped = None;
    for place in memchr2_iter(b'"', b'\\', inner) {
        if escaped == Some(place) {
            continue;
        }
        if inner[place] == b'"' {
            return Some(place + 2);
        }
        escaped = Some(place + 1);
    }
    None
}

/// Makes of `components`, which are written as `before`, what is written as `after`.
fn edit(components: &Components, before: &[u8], after: &[u8]) -> Option<Components> {
    let (begin, end) = equal_ends(before, after);
    let (old, new) = (
        entries(&before[begin..before.len() - end])?,
        entries(&after[begin..after.len() - end])?,
    );
    let mut components = components.clone();
    for (name, _) in &old {
        if new.binary_search_by_key(&name, |(name, _)| name).is_err() {
            components.remove(name);
        }
    }
    for (name, bundle) in new {
        if components.get(&name) != Some(&bundle) {
            components.insert(name, bundle);
        }
    }
    Some(components)
}

/// How many bytes are the same at the beginning, and how many at the end: whole entries, and at least one entry between
/// them and those that differ, so that it can be seen whether the order is right.
fn equal_ends(one: &[u8], other: &[u8]) -> (usize, usize) {
    let same = common::prefix(one, other);
    let begin = entry_before(&one[..same]).and_then(|comma| entry_before(&one[..comma]));
    let begin = begin.map_or(0, |comma| comma + 1);
    let (one, other) = (&one[begin..], &other[begin..]);
    let same = common::suffix(one, other);
    let tail = &one[one.len() - same..];
    let end = memchr(b',', tail).and_then(|comma| Some(comma + 1 + memchr(b',', &tail[comma + 1..])?));
    (begin, end.map_or(0, |comma| tail.len() - comma))
}

fn entry_before(bytes: &[u8]) -> Option<usize> {
    memrchr(b',', bytes)
}

/// Reads entries that are written as [`Snapshot::encode`] writes them, in the order of their names.
fn entries(bytes: &[u8]) -> Option<Vec<(ComponentName, ObjectHash)>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let entries: Vec<_> = bytes.split(|byte| *byte == b',').map(entry).collect::<Option<_>>()?;
    entries
        .is_sorted_by(|(one, _), (next, _)| one < next)
        .then_some(entries)
}

fn entry(bytes: &[u8]) -> Option<(ComponentName, ObjectHash)> {
    let inner = bytes.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let name = &inner[..memchr(b'"', inner)?];
    let bundle = inner[name.len()..].strip_prefix(b"\":\"")?;
    let [name, bundle] = [name, bundle].map(std::str::from_utf8);
    Some((name.ok()?.parse().ok()?, bundle.ok()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::{FORMAT, Provenance};

    fn snapshot(components: Components, author: &str, message: &str) -> Snapshot {
        Snapshot {
            format: FORMAT,
            components,
            parent: (!message.is_empty()).then(|| ObjectHash::of(message.as_bytes())),
            time: "2026-01-02T03:04:05Z".parse().unwrap(),
            provenance: Provenance {
                author: author.to_owned(),
                message: message.to_owned(),
                ..Provenance::default()
            },
        }
    }

    fn components(numbers: &[(u8, u8)]) -> Components {
        let named = |(name, content): &(u8, u8)| (format!("c-{name}").parse().unwrap(), ObjectHash::of(&[*content]));
        numbers.iter().map(named).collect()
    }

    #[test]
    fn what_did_not_change_is_shared() {
        let many: Vec<_> = (0..=255).map(|name| (name, 0)).collect();
        let before = snapshot(components(&many), "admin", "");
        let mut after = before.clone();
        after.components.insert("c-77".parse().unwrap(), ObjectHash::of(b"new"));
        let read = Snapshot::decode_after(&after.encode(), &before, &before.encode()).unwrap();
        assert_eq!(read, after);
        let same = Snapshot::decode_after(&before.encode(), &before, &before.encode()).unwrap();
        assert!(same.components.ptr_eq(&before.components));
    }

    #[test]
    fn only_what_differs_is_read() {
        let many: Vec<_> = (0..=255).map(|name| (name, 0)).collect();
        let (before, mut after) = (components(&many), components(&many));
        after.insert("c-77".parse().unwrap(), ObjectHash::of(b"new"));
        let [before, after] = [before, after].map(|components| snapshot(components, "a\"b\\", "").encode());
        let (before, after) = (split(&before).unwrap(), split(&after).unwrap());
        let (begin, end) = equal_ends(before.components, after.components);
        let read = &after.components[begin..after.components.len() - end];
        assert!(entries(read).unwrap().len() <= 5, "{}", String::from_utf8_lossy(read));
    }

    #[test]
    fn entry_out_of_order_among_those_that_did_not_change_is_refused() {
        let before = snapshot(components(&[(1, 0), (3, 0), (5, 0), (7, 0), (9, 0)]), "admin", "");
        let bytes = String::from_utf8(before.encode()).unwrap();
        for (name, is_in_order) in [
            ("c-0", false),
            ("c-2", false),
            ("c-4", true),
            ("c-6", true),
            ("c-8", false),
        ] {
            let moved = bytes.replace("\"c-5\"", &format!("\"{name}\""));
            let read = Snapshot::decode_after(moved.as_bytes(), &before, bytes.as_bytes());
            assert_eq!(read.is_ok(), is_in_order, "{name}");
            assert_eq!(read, Snapshot::decode(moved.as_bytes()));
        }
    }

    proptest! {
        #[test]
        fn reads_what_decode_reads(
            before: Vec<(u8, u8)>, changed: Vec<(u8, u8)>, removed: Vec<u8>, author: String, message: String,
        ) {
            let before = snapshot(components(&before), &author, "");
            let mut after = snapshot(before.components.clone(), &author, &message);
            after.components.extend(components(&changed));
            for name in removed {
                after.components.remove(&format!("c-{name}").parse::<ComponentName>().unwrap());
            }
            prop_assert_eq!(Snapshot::decode_after(&after.encode(), &before, &before.encode()), Ok(after));
        }

        #[test]
        fn refuses_what_decode_refuses(
            before: Vec<(u8, u8)>, changed: (u8, u8), at: prop::sample::Index, with in any::<[u8; 2]>(), length in 0usize..3,
        ) {
            let before = snapshot(components(&before), "admin", "");
            let mut after = before.clone();
            after.components.extend(components(&[changed]));
            let mut bytes = after.encode();
            let at = at.index(bytes.len());
            let until = (at + length).min(bytes.len());
            bytes.splice(at..until, with);
            prop_assert_eq!(Snapshot::decode_after(&bytes, &before, &before.encode()), Snapshot::decode(&bytes));
        }

        #[test]
        fn refuses_entries_in_another_order(before: Vec<(u8, u8)>, one: prop::sample::Index, other: prop::sample::Index) {
            prop_assume!(!before.is_empty());
            let before = snapshot(components(&before), "admin", "");
            let bytes = before.encode();
            let Split { head, components, tail } = split(&bytes).unwrap();
            let mut moved: Vec<_> = components.split(|byte| *byte == b',').collect();
            let (one, other) = (one.index(moved.len()), other.index(moved.len()));
            moved.swap(one, other);
            let bytes = [head, &moved.join(&b','), tail].concat();
            prop_assert_eq!(Snapshot::decode_after(&bytes, &before, &before.encode()), Snapshot::decode(&bytes));
        }
    }
}
