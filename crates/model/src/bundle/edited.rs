//! A bundle as a delta of a few changes makes it of the one before, line by line: what is taken over is not copied,
//! compared or parsed, and hashed only from shortly before the first change on.
//!
//! One changed object of ten thousand should cost about as much as one of ten. What is left of the difference is to hash
//! what comes after the change.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, OnceLock},
};

use super::{Bundle, MAX_BYTES, decode_header, lines_of};
use crate::{
    canonical,
    delta::{self, Splice},
    hash::{Hasher, ObjectHash},
    manifest::{self, Chunk, Manifest, Places},
};

/// Hashing pauses after about so many bytes, to be gone on with from there.
const PAUSE: usize = 64 * 1024;

/// Where the hashing of a bundle was interrupted: it goes on from there for whatever begins with the same lines. Costs
/// some 250 bytes for each [`PAUSE`].
#[derive(Clone, Default)]
pub(super) struct Pauses(Arc<[Pause]>);

#[derive(Clone)]
struct Pause {
    /// So many lines were hashed.
    lines: usize,
    hasher: Hasher,
}

impl fmt::Debug for Pauses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|pause| pause.lines)).finish()
    }
}

/// Lines that follow each other.
enum Run {
    /// Of the base. The first, 0, is the header.
    Same(Range<usize>),
    /// Bytes of others, each with its end.
    New(Vec<u8>),
}

impl Bundle {
    /// What `delta` makes of this bundle, if that is what `hash` names. `None` where it is something else or nothing
    /// that may be believed, and where the delta is one of more than a few changes: [`delta::decode`] and
    /// [`Bundle::decode`] can tell what it is then.
    pub fn edited(&self, delta: &[u8], hash: ObjectHash) -> Option<Self> {
        let splices = delta::splices(delta)?;
        let base = Lines::of(self);
        let runs = base.runs(&splices)?;
        let (found, pauses) = base.hash(&runs);
        if found != hash {
            return None;
        }
        let mut bundle = self.with_runs(&runs)?;
        bundle.hash = OnceLock::from(hash);
        bundle.pauses = pauses;
        Some(bundle)
    }

    /// `None` where a rule is broken.
    fn with_runs(&self, runs: &[Run]) -> Option<Self> {
        let mut header = None;
        let mut manifests = manifest::Builder::default();
        for run in runs {
            match run {
                Run::Same(lines) => {
                    let mut lines = lines.clone();
                    // The header is the first line and no other.
                    if (lines.start == 0) != header.is_none() {
                        return None;
                    }
                    if lines.start == 0 {
                        header = Some((self.component.clone(), self.shared_spec()));
                        lines.start = 1;
                    }
                    let places = lines.start - 1..lines.end - 1;
                    if !places.is_empty() && !is_next(manifests.last(), self.manifests.at(places.start)) {
                        return None;
                    }
                    manifests.extend(&self.manifests, places);
                }
                Run::New(bytes) => {
                    for line in lines_of(bytes) {
                        if header.is_none() {
                            let read = decode_header(line).ok()?;
                            header = Some((read.component.into_owned(), Arc::new(read.spec.into_owned())));
                            continue;
                        }
                        let manifest = Manifest::from_canonical(line.strip_suffix(b"\n")?).ok()?;
                        if !is_next(manifests.last(), Some(&manifest)) {
                            return None;
                        }
                        manifests.push(manifest);
                    }
                }
            }
        }
        let (component, spec) = header?;
        Some(Self {
            component,
            spec,
            manifests: manifests.finish(),
            hash: OnceLock::new(),
            pauses: Pauses::default(),
        })
    }
}

fn is_next(last: Option<&Manifest>, next: Option<&Manifest>) -> bool {
    last.zip(next).is_none_or(|(last, next)| last.id() < next.id())
}

/// A bundle as its lines.
struct Lines<'a> {
    bundle: &'a Bundle,
    header: Vec<u8>,
}

impl<'a> Lines<'a> {
    fn of(bundle: &'a Bundle) -> Self {
        let header = canonical::document(&bundle.header());
        Self { bundle, header }
    }

    fn count(&self) -> usize {
        1 + self.bundle.manifests.len()
    }

    fn begin(&self) -> Place<'_> {
        Place {
            header: Some(&self.header),
            manifests: self.bundle.manifests.places(0),
            line: 0,
            offset: 0,
        }
    }

    /// Lines without their ends.
    fn range(&self, lines: Range<usize>) -> impl Iterator<Item = &[u8]> {
        let header = (lines.start == 0 && lines.end > 0).then_some(&*self.header);
        let places = lines.start.saturating_sub(1)..lines.end.saturating_sub(1);
        let manifests = self.bundle.manifests.range(places);
        header.into_iter().chain(manifests.map(Manifest::canonical))
    }

    /// What `splices` make of the lines; `None` where they are not of these, or make too much.
    fn runs(&self, splices: &[Splice<'_>]) -> Option<Vec<Run>> {
        let mut runs = Runs::default();
        let mut at = self.begin();
        for Splice { copy, skip, insert } in splices {
            for (mut left, is_taken) in [(*copy, true), (*skip, false)] {
                while left > 0 {
                    let is_whole = is_taken && at.offset == 0 && runs.is_between_lines();
                    if is_whole && let Some(chunk) = at.chunk().filter(|chunk| chunk.bytes() <= left) {
                        runs.same(at.line..at.line + chunk.len(), chunk.bytes());
                        left -= chunk.bytes();
                        at.skip_chunk(chunk.len());
                        continue;
                    }
                    let text = at.text()?;
                    let end = at.offset + left.min(text.len() + 1 - at.offset);
                    match is_taken {
                        true if is_whole && end == text.len() + 1 => runs.same(at.line..at.line + 1, end),
                        true => runs.new_bytes(&text[at.offset..end.min(text.len())], end > text.len()),
                        false => {}
                    }
                    left -= end - at.offset;
                    at.go_to(end, text.len());
                }
            }
            runs.new_bytes(insert, false);
        }
        let is_all = at.line == self.count() && at.offset == 0;
        (is_all && runs.length <= MAX_BYTES).then(|| runs.end())
    }

    /// The hash of `runs`, begun where that of the bundle paused last before they differ.
    fn hash(&self, runs: &[Run]) -> (ObjectHash, Pauses) {
        let common = match runs.first() {
            Some(Run::Same(lines)) if lines.start == 0 => lines.end,
            _ => 0,
        };
        let mut pauses: Vec<_> = self.bundle.pauses.0.iter().cloned().collect();
        pauses.truncate(pauses.partition_point(|pause| pause.lines <= common));
        let begin = pauses.last().cloned();
        let (mut hashed, mut hasher) = begin.map_or_else(Default::default, |pause| (pause.lines, pause.hasher));
        let mut skip = hashed;
        let mut bytes = Vec::with_capacity(PAUSE + PAUSE / 8);
        let mut pause_at = |bytes: &mut Vec<u8>, lines: usize| {
            if bytes.len() >= PAUSE {
                hasher.update(bytes);
                bytes.clear();
                let hasher = hasher.clone();
                pauses.push(Pause { lines, hasher });
            }
        };
        for run in runs {
            match run {
                Run::Same(lines) => {
                    let begin = lines.start + std::mem::take(&mut skip);
                    for line in self.range(begin..lines.end) {
                        bytes.extend_from_slice(line);
                        bytes.push(b'\n');
                        hashed += 1;
                        pause_at(&mut bytes, hashed);
                    }
                }
                Run::New(new) => {
                    bytes.extend_from_slice(new);
                    hashed += lines_of(new).count();
                    pause_at(&mut bytes, hashed);
                }
            }
        }
        hasher.update(&bytes);
        (hasher.finish(), Pauses(pauses.into()))
    }
}

/// A place in the lines of a bundle.
struct Place<'a> {
    /// The first line, until it is behind.
    header: Option<&'a [u8]>,
    manifests: Places<'a>,
    line: usize,
    /// In the line.
    offset: usize,
}

impl<'a> Place<'a> {
    /// The line without its end; `None` behind the last.
    fn text(&self) -> Option<&'a [u8]> {
        let manifest = || self.manifests.peek().map(Manifest::canonical);
        self.header.or_else(manifest)
    }

    /// The chunk that begins here, if one does.
    fn chunk(&self) -> Option<&'a Chunk> {
        let is_begin = self.header.is_none() && self.offset == 0;
        self.manifests.chunk().filter(|_| is_begin).map(|chunk| &**chunk)
    }

    /// Goes past the chunk of so many lines that begins here.
    fn skip_chunk(&mut self, lines: usize) {
        self.manifests.skip_chunk();
        self.line += lines;
    }

    /// Goes on to `offset` of this line, whose text has so many bytes, or past it.
    fn go_to(&mut self, offset: usize, length: usize) {
        self.offset = offset;
        if offset > length {
            if self.header.take().is_none() {
                self.manifests.next();
            }
            self.line += 1;
            self.offset = 0;
        }
    }
}

/// Runs as they are found.
#[derive(Default)]
struct Runs {
    runs: Vec<Run>,
    /// What is no whole line of the base, or follows such.
    open: Vec<u8>,
    /// Bytes of all.
    length: usize,
}

impl Runs {
    fn is_between_lines(&self) -> bool {
        self.open.last().is_none_or(|byte| *byte == b'\n')
    }

    /// Whole lines of the base, of so many bytes.
    fn same(&mut self, lines: Range<usize>, length: usize) {
        self.close();
        self.length += length;
        match self.runs.last_mut() {
            Some(Run::Same(before)) if before.end == lines.start => before.end = lines.end,
            _ => self.runs.push(Run::Same(lines)),
        }
    }

    /// Bytes of no whole line of the base; its end after them, where that is taken over too.
    fn new_bytes(&mut self, bytes: &[u8], ends: bool) {
        self.open.extend_from_slice(bytes);
        if ends {
            self.open.push(b'\n');
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.length += self.open.len();
            self.runs.push(Run::New(std::mem::take(&mut self.open)));
        }
    }

    fn end(mut self) -> Vec<Run> {
        self.close();
        self.runs
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::bundle::Spec;

    fn manifest(number: u16, value: &str) -> Manifest {
        let noise: String = (0..20)
            .map(|n| ObjectHash::of(&[number as u8, n]).to_string())
            .collect();
        let name = format!("c-{number:05}");
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"},
            "data": {"noise": noise, "value": value},
        });
        Manifest::new(object, "default").unwrap()
    }

    fn bundle(manifests: impl IntoIterator<Item = (u16, &'static str)>) -> Bundle {
        let manifests = manifests.into_iter().map(|(number, value)| manifest(number, value));
        Bundle::new("shop".parse().unwrap(), manifests).unwrap()
    }

    fn edited(base: &Bundle, target: &Bundle) -> Option<Bundle> {
        base.edited(&delta::encode(&base.encode(), &target.encode()), target.hash())
    }

    fn line_of(bundle: &Bundle, line: usize) -> Vec<u8> {
        Lines::of(bundle).range(line..line + 1).next().unwrap().to_vec()
    }

    /// Larger than a few pauses.
    fn large() -> Vec<(u16, &'static str)> {
        (0..300).map(|number| (number, "x")).collect()
    }

    #[test]
    fn what_did_not_change_is_shared_and_hashing_goes_on_where_it_paused() {
        let base = bundle(large());
        let mut before = base;
        for changed in [290, 3, 150, 299, 0] {
            let mut manifests = large();
            manifests[changed].1 = "another one";
            let after = edited(&before, &bundle(manifests)).expect("one value is another");
            let same = before
                .manifests()
                .zip(after.manifests())
                .filter(|(one, other)| one.is_same(other));
            assert!(same.count() >= 298);
            assert!(after.pauses.0.len() >= 5, "{:?}", after.pauses);
            assert_eq!(after.hash(), ObjectHash::of(&after.encode()));
            before = after;
        }
    }

    #[test]
    fn header_and_lines_at_both_ends_may_change() {
        let base = bundle(large());
        let header = base.clone().with_spec(Spec {
            adopt: true,
            ..Spec::default()
        });
        let first_gone = bundle(large().into_iter().skip(1));
        let last_gone = bundle(large().into_iter().take(299));
        let both_new = bundle(large().into_iter().chain([(400, "new")]).skip(1));
        for target in [header, first_gone, last_gone, both_new, base.clone()] {
            assert!(edited(&base, &target).as_ref() == Some(&target));
            assert!(edited(&target, &base).as_ref() == Some(&base));
        }
    }

    #[test]
    fn what_is_not_named_or_no_bundle_is_left_to_others() {
        let (base, target) = (bundle(large()), bundle(large().into_iter().skip(1)));
        let delta = delta::encode(&base.encode(), &target.encode());
        assert_eq!(base.edited(&delta, base.hash()), None);
        assert_eq!(target.edited(&delta, target.hash()), None, "of another base");
        assert_eq!(base.edited(b"junk", target.hash()), None);
        assert_eq!(base.edited(&[], target.hash()), None);
        let lines = base.encode();
        let begin = lines.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let unended = lines[..lines.len() - 1].to_vec();
        let headless = lines[begin..].to_vec();
        for wrong in [unended, headless, Vec::new()] {
            assert!(Bundle::decode(&wrong).is_err());
            let delta = delta::encode(&lines, &wrong);
            assert_eq!(base.edited(&delta, ObjectHash::of(&wrong)), None);
        }
    }

    #[test]
    fn lines_in_another_order_or_twice_and_second_headers_make_no_bundle() {
        let base = bundle(large());
        let lines = base.encode();
        let length = |line: usize| line_of(&base, line).len() + 1;
        let second = [base.manifests().nth(1).unwrap().canonical(), b"\n"].concat();
        let rest = lines.len() - length(0) - length(1) - length(2);
        let step = |copy, skip, insert: &[u8]| Splice {
            copy,
            skip,
            insert: insert.to_vec().into(),
        };
        let swapped = [
            step(length(0), 0, &second),
            step(length(1), length(2), b""),
            step(rest, 0, b""),
        ];
        let twice = [step(length(0) + length(1), 0, &second), step(length(2) + rest, 0, b"")];
        let other = base.clone().with_spec(Spec {
            adopt: true,
            ..Spec::default()
        });
        let header = [&*line_of(&other, 0), b"\n"].concat();
        let two_headers = [step(0, 0, &header), step(lines.len(), 0, b"")];
        for splices in [&swapped[..], &twice[..], &two_headers[..]] {
            let delta = delta::spliced(splices);
            let made = delta::decode(&lines, &delta, MAX_BYTES).unwrap();
            assert!(Bundle::decode(&made).is_err());
            assert_eq!(base.edited(&delta, ObjectHash::of(&made)), None);
        }
    }

    #[test]
    fn splices_beyond_any_length_are_no_panic() {
        let base = bundle([(1, "x"), (2, "y")]);
        let step = |copy, skip| Splice {
            copy,
            skip,
            insert: b"".as_slice().into(),
        };
        for splices in [
            [step(3, usize::MAX), step(1, 1)],
            [step(usize::MAX, 1), step(1, 1)],
            [step(2, 3), step(usize::MAX, 0)],
        ] {
            assert_eq!(base.edited(&delta::spliced(&splices), ObjectHash::of(b"")), None);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// One change after another, each made of what the one before made.
        #[test]
        fn edits_make_what_was_meant(
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, "[a-z]{0,30}"), 1..6),
        ) {
            let mut objects: std::collections::BTreeMap<u16, String> =
                (0..200).map(|number| (number * 3, "x".to_owned())).collect();
            let of = |objects: &std::collections::BTreeMap<u16, String>| {
                let manifests = objects.iter().map(|(number, value)| manifest(*number, value));
                Bundle::new("shop".parse().unwrap(), manifests).unwrap()
            };
            let mut before = of(&objects);
            for (at, kind, value) in changes {
                let number = *at.get(&objects.keys().copied().collect::<Vec<_>>());
                match kind {
                    0 => drop(objects.remove(&number)),
                    1 => drop(objects.insert(number + 1, value)),
                    _ => drop(objects.insert(number, value)),
                }
                let target = of(&objects);
                let after = edited(&before, &target);
                prop_assert!(after.as_ref() == Some(&target));
                let after = after.unwrap();
                prop_assert_eq!(ObjectHash::of(&after.encode()), target.hash());
                before = after;
            }
        }

        #[test]
        fn any_edits_are_taken_or_left_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let base = bundle([(1, "x"), (2, "y")]);
            let mut delta = vec![1];
            delta.extend(zstd::bulk::compress(&bytes, 1).unwrap());
            prop_assert_eq!(base.edited(&delta, ObjectHash::of(b"")), None);
        }
    }
}
