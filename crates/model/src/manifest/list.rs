//! Many manifests in the order of their ids, of which a changed copy shares what did not change.
//!
//! They are in chunks of some hundred. Bundles of ten thousand objects and the views made of them are copied for each
//! change: it costs a look at each chunk, and at each manifest only of those chunks that changed.

use std::{cmp::Ordering, fmt, ops::Range, sync::Arc};

use super::{Manifest, ManifestId};

/// No chunk has more manifests.
const MOST: usize = 128;
/// A chunk with fewer is put together with the next.
const LEAST: usize = 32;

/// Manifests in the order of their ids. Cheap to clone.
#[derive(Clone, Default)]
pub struct Manifests {
    chunks: Arc<[Arc<Chunk>]>,
    count: usize,
}

/// Some manifests that follow each other, at least one.
pub(crate) struct Chunk {
    manifests: Box<[Manifest]>,
    /// Canonical bytes of all, each with the end of its line.
    bytes: usize,
    may_hold_variables: bool,
}

impl Chunk {
    fn new(manifests: Vec<Manifest>) -> Arc<Self> {
        Arc::new(Self {
            bytes: manifests.iter().map(|manifest| manifest.canonical().len() + 1).sum(),
            may_hold_variables: manifests.iter().any(Manifest::may_hold_variables),
            manifests: manifests.into(),
        })
    }

    /// Canonical bytes of all, each with the end of its line.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.manifests.len()
    }
}

impl Manifests {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All, in order.
    pub fn iter(&self) -> Iter<'_> {
        self.range(0..self.count)
    }

    /// Those at these places.
    pub(crate) fn range(&self, places: Range<usize>) -> Iter<'_> {
        Iter {
            places: self.places(places.start),
            left: places.len(),
        }
    }

    /// The one at this place.
    pub(crate) fn at(&self, place: usize) -> Option<&Manifest> {
        self.places(place).next()
    }

    /// The one with this id.
    pub fn get(&self, id: &ManifestId) -> Option<&Manifest> {
        let after = self.chunks.partition_point(|chunk| chunk.manifests[0].id() <= id);
        let manifests = &self.chunks[after.checked_sub(1)?].manifests;
        let found = manifests.binary_search_by(|manifest| manifest.id().cmp(id));
        found.ok().map(|index| &manifests[index])
    }

    /// Those that could hold variables.
    pub(crate) fn with_variables(&self) -> impl Iterator<Item = &Manifest> {
        let chunks = self.chunks.iter().filter(|chunk| chunk.may_hold_variables);
        chunks
            .flat_map(|chunk| &chunk.manifests)
            .filter(|manifest| manifest.may_hold_variables())
    }

    /// Canonical bytes of all, each with the end of its line.
    pub(crate) fn bytes(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes).sum()
    }

    /// The same without the one with this id.
    #[must_use]
    pub fn without(&self, id: &ManifestId) -> Self {
        let found = self.iter().position(|manifest| manifest.id() == id);
        found.map_or_else(|| self.clone(), |place| self.spliced(place..place + 1, []))
    }

    /// The same with others in the place of some that follow each other.
    fn spliced(&self, places: Range<usize>, new: impl IntoIterator<Item = Manifest>) -> Self {
        let mut list = Builder::default();
        list.extend(self, 0..places.start);
        new.into_iter().for_each(|manifest| list.push(manifest));
        list.extend(self, places.end..self.count);
        list.finish()
    }

    /// In pieces that follow each other; with the place in `earlier` of one that both share.
    pub fn beside<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = (&'a [Manifest], Option<usize>)> {
        let mut rest = &*earlier.chunks;
        let mut place = 0;
        self.chunks.iter().map(move |chunk| {
            let mut shared = None;
            while let Some((first, others)) = rest.split_first() {
                let is_same = Arc::ptr_eq(first, chunk);
                if !is_same && first.manifests[0].id() >= chunk.manifests[0].id() {
                    break;
                }
                shared = is_same.then_some(place);
                place += first.len();
                rest = others;
                if is_same {
                    break;
                }
            }
            (&*chunk.manifests, shared)
        })
    }

    /// Are all of them among `others`?
    pub(crate) fn is_within(&self, others: &Self) -> bool {
        let (mut ours, mut theirs) = (self.places(0), others.places(0));
        loop {
            ours.skip_same(&mut theirs);
            let Some(one) = ours.next() else { return true };
            loop {
                match theirs.next().map(|other| other.id().cmp(one.id())) {
                    Some(Ordering::Less) => {}
                    Some(Ordering::Equal) => break,
                    Some(Ordering::Greater) | None => return false,
                }
            }
        }
    }

    /// Goes along, from this place on.
    pub(crate) fn places(&self, mut place: usize) -> Places<'_> {
        let mut chunks = &*self.chunks;
        while let Some(first) = chunks.first().filter(|chunk| chunk.len() <= place) {
            place -= first.len();
            chunks = &chunks[1..];
        }
        Places { chunks, place }
    }
}

impl PartialEq for Manifests {
    fn eq(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.places(0), other.places(0));
        self.count == other.count
            && std::iter::from_fn(|| {
                ours.skip_same(&mut theirs);
                Some((ours.next()?, theirs.next()?))
            })
            .all(|(one, other)| one == other)
    }
}

impl Eq for Manifests {}

impl fmt::Debug for Manifests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<'a> IntoIterator for &'a Manifests {
    type Item = &'a Manifest;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl FromIterator<Manifest> for Manifests {
    /// Of manifests in the order of their ids, of which no two are alike.
    fn from_iter<I: IntoIterator<Item = Manifest>>(manifests: I) -> Self {
        let mut list = Builder::default();
        manifests.into_iter().for_each(|manifest| list.push(manifest));
        list.finish()
    }
}

/// A way along manifests, which can go by whole chunks.
#[derive(Clone)]
pub(crate) struct Places<'a> {
    chunks: &'a [Arc<Chunk>],
    /// In the first of them.
    place: usize,
}

impl<'a> Places<'a> {
    /// The next one, which stays the next one.
    pub(crate) fn peek(&self) -> Option<&'a Manifest> {
        self.chunks.first().map(|chunk| &chunk.manifests[self.place])
    }

    /// The chunk that begins here, if one does.
    pub(crate) fn chunk(&self) -> Option<&'a Arc<Chunk>> {
        self.chunks.first().filter(|_| self.place == 0)
    }

    /// Goes past the chunk that is here.
    pub(crate) fn skip_chunk(&mut self) {
        *self = Self {
            chunks: self.chunks.get(1..).unwrap_or_default(),
            place: 0,
        };
    }

    /// Goes past what both share and are at the beginning of.
    fn skip_same(&mut self, other: &mut Self) {
        while let (Some(one), Some(same)) = (self.chunk(), other.chunk())
            && Arc::ptr_eq(one, same)
        {
            self.skip_chunk();
            other.skip_chunk();
        }
    }
}

impl<'a> Iterator for Places<'a> {
    type Item = &'a Manifest;

    fn next(&mut self) -> Option<&'a Manifest> {
        let next = self.peek()?;
        self.place += 1;
        if self.place == self.chunks[0].len() {
            self.skip_chunk();
        }
        Some(next)
    }
}

/// All manifests, or some that follow each other.
#[derive(Clone)]
pub struct Iter<'a> {
    places: Places<'a>,
    left: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a Manifest;

    fn next(&mut self) -> Option<&'a Manifest> {
        self.left = self.left.checked_sub(1)?;
        self.places.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

/// Puts a list together, in order.
#[derive(Default)]
pub(crate) struct Builder {
    chunks: Vec<Arc<Chunk>>,
    open: Vec<Manifest>,
    count: usize,
}

impl Builder {
    /// The last so far.
    pub(crate) fn last(&self) -> Option<&Manifest> {
        let last = || self.chunks.last()?.manifests.last();
        self.open.last().or_else(last)
    }

    /// Adds one.
    pub(crate) fn push(&mut self, manifest: Manifest) {
        self.open.push(manifest);
        self.count += 1;
        if self.open.len() == 2 * MOST {
            let rest = self.open.split_off(MOST);
            self.chunks.push(Chunk::new(std::mem::replace(&mut self.open, rest)));
        }
    }

    /// Adds those at these places of a list; its chunks are shared where that can be.
    pub(crate) fn extend(&mut self, list: &Manifests, places: Range<usize>) {
        let mut left = places.len();
        let mut from = list.places(places.start);
        while left > 0 {
            let is_open = (1..LEAST).contains(&self.open.len());
            match from.chunk().filter(|chunk| chunk.len() <= left && !is_open) {
                Some(chunk) => {
                    self.close();
                    self.chunks.push(Arc::clone(chunk));
                    self.count += chunk.len();
                    left -= chunk.len();
                    from.skip_chunk();
                }
                None => {
                    let Some(manifest) = from.next() else { return };
                    self.push(manifest.clone());
                    left -= 1;
                }
            }
        }
    }

    fn close(&mut self) {
        if self.open.len() > MOST {
            // In halves: one with a single manifest would have to go together with the next, and that with the next.
            let rest = self.open.split_off(self.open.len() / 2);
            self.chunks.push(Chunk::new(std::mem::replace(&mut self.open, rest)));
        }
        if !self.open.is_empty() {
            self.chunks.push(Chunk::new(std::mem::take(&mut self.open)));
        }
    }

    /// The list.
    pub(crate) fn finish(mut self) -> Manifests {
        self.close();
        Manifests {
            chunks: self.chunks.into(),
            count: self.count,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn manifest(number: usize, value: &str) -> Manifest {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c-{number:05}"), "namespace": "shop"},
            "data": {"value": value},
        });
        Manifest::new(object, "default").unwrap()
    }

    fn list(numbers: impl IntoIterator<Item = usize>) -> Manifests {
        numbers.into_iter().map(|number| manifest(number, "x")).collect()
    }

    fn shared(one: &Manifests, other: &Manifests) -> usize {
        let is_shared = |chunk: &&Arc<Chunk>| other.chunks.iter().any(|it| Arc::ptr_eq(it, chunk));
        one.chunks.iter().filter(is_shared).count()
    }

    #[test]
    fn a_change_copies_a_chunk_or_two() {
        let before = list((0..2000).map(|number| 2 * number));
        for (places, new) in [
            (700..701, vec![manifest(1400, "other")]),
            (700..701, vec![]),
            (700..700, vec![manifest(1399, "new")]),
            (0..0, vec![]),
        ] {
            let what = format!("{places:?} {new:?}");
            let after = before.spliced(places, new);
            assert!(shared(&before, &after) >= before.chunks.len() - 2, "{what}");
        }
    }

    #[test]
    fn chunks_stay_of_a_size_however_often_they_are_cut() {
        let mut now = list((0..500).map(|number| 100 * number));
        for round in 1..100 {
            now = now.spliced(250..250, [manifest(25_000 - round, "new")]);
            now = now.spliced(100..101, []);
        }
        assert!(now.chunks.len() <= now.len() / LEAST + 1, "{}", now.chunks.len());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A list put together of parts of another is the list of the same manifests.
        #[test]
        fn splices_are_what_they_are_of_plain_lists(
            count in 0..700_usize,
            splices in prop::collection::vec((any::<prop::sample::Index>(), 0..300_usize, 0..3_usize), 1..6),
        ) {
            let mut plain: Vec<_> = (0..count).map(|number| manifest(100 * number, "x")).collect();
            let mut now: Manifests = plain.iter().cloned().collect();
            for (round, (at, gone, new)) in splices.into_iter().enumerate() {
                let start = at.index(plain.len() + 1);
                let places = start..(start + gone).min(plain.len());
                let before = plain.get(start.wrapping_sub(1)).map_or(0, |last| {
                    last.id().name[2..].parse::<usize>().unwrap() + 1
                });
                let new: Vec<_> = (0..new).map(|number| manifest(before + number, &round.to_string())).collect();
                let after = now.spliced(places.clone(), new.iter().cloned());
                let is_within = new.iter().all(|manifest| now.get(manifest.id()).is_some());
                prop_assert_eq!(after.is_within(&now), is_within);
                prop_assert_eq!(now.is_within(&after), plain[places.clone()].iter().all(|it| after.get(it.id()).is_some()));
                plain.splice(places, new);
                prop_assert!(after.iter().eq(&plain));
                prop_assert_eq!(after.len(), plain.len());
                prop_assert_eq!(after.bytes(), plain.iter().map(|it| it.canonical().len() + 1).sum::<usize>());
                prop_assert_eq!(&after, &plain.iter().cloned().collect());
                prop_assert_eq!(after == now, now.iter().eq(after.iter()));
                prop_assert_eq!(after.at(start), plain.get(start));
                if let Some(one) = plain.get(start) {
                    prop_assert!(after.without(one.id()).iter().eq(plain.iter().filter(|it| *it != one)));
                }
                prop_assert!(plain.iter().all(|it| after.get(it.id()) == Some(it)));
                prop_assert!(after.chunks.iter().all(|chunk| (1..=MOST).contains(&chunk.len())));
                let pieces: Vec<_> = after.beside(&now).collect();
                prop_assert_eq!(pieces.iter().filter(|(_, place)| place.is_some()).count(), shared(&after, &now));
                prop_assert!(pieces.iter().flat_map(|(piece, _)| *piece).eq(&plain));
                for (piece, place) in pieces {
                    prop_assert!(place.is_none_or(|at| now.range(at..at + piece.len()).eq(piece)));
                }
                now = after;
            }
        }
    }
}
