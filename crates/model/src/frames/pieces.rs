//! A document that follows one much like it, compressed piece by piece: what did not change is not compressed again.
//!
//! A snapshot of ten thousand components is nearly the one before, and to compress all of it took a push more of the
//! processor than anything else. Pure; knows nothing of what the documents say.

use memchr::memmem;
use zstd::bulk::Compressor;

/// Bytes of a piece, about: few enough that a small change is cheap, enough that compression does not suffer.
const PIECE: usize = 16 * 1024;
/// A piece is looked for by its first bytes...
const ANCHOR: usize = 64;
/// ...so far from where it would be if nothing had become longer or shorter.
const SHIFT: usize = 32 * 1024;

/// The pieces of the document that was compressed last.
#[derive(Debug, Default)]
pub struct Pieces(Vec<Piece>);

#[derive(Debug)]
struct Piece {
    content: Box<[u8]>,
    /// The same as a zstd frame.
    frame: Box<[u8]>,
}

impl Pieces {
    /// The document as zstd frames, one after another, at this level. Frames of the document before are used again where
    /// their content is.
    pub fn compress(&mut self, document: &[u8], level: i32) -> Vec<u8> {
        let mut compressor = Compressor::new(level).expect("levels are checked by nobody but zstd, which takes any");
        let mut rest = document;
        // What was in between and is not found.
        let mut missed = 0;
        for piece in std::mem::take(&mut self.0) {
            let Some(place) = piece.place_in(rest, missed) else {
                missed += piece.content.len();
                continue;
            };
            self.add(&rest[..place], &mut compressor);
            rest = &rest[place + piece.content.len()..];
            missed = 0;
            self.0.push(piece);
        }
        self.add(rest, &mut compressor);
        if self.0.is_empty() {
            self.0.push(Piece::new(b"", &mut compressor));
        }
        self.0.iter().map(|piece| &*piece.frame).collect::<Vec<_>>().concat()
    }

    /// Bytes that are kept for the next document.
    pub fn size(&self) -> usize {
        self.0.iter().map(|piece| piece.content.len() + piece.frame.len()).sum()
    }

    fn add(&mut self, content: &[u8], compressor: &mut Compressor<'_>) {
        if content.is_empty() {
            return;
        }
        let count = content.len().div_ceil(PIECE);
        let pieces = content.chunks(content.len().div_ceil(count));
        self.0.extend(pieces.map(|content| Piece::new(content, compressor)));
    }
}

impl Piece {
    fn new(content: &[u8], compressor: &mut Compressor<'_>) -> Self {
        let frame = compressor.compress(content);
        Self {
            content: content.into(),
            frame: frame.expect("compressing into memory has no way to fail").into(),
        }
    }

    /// Where in `document` it is, if it is there: right at `expected`, or near.
    fn place_in(&self, document: &[u8], expected: usize) -> Option<usize> {
        let is_at = |place: usize| {
            document
                .get(place..)
                .is_some_and(|rest| rest.starts_with(&self.content))
        };
        if is_at(expected) {
            return Some(expected);
        }
        let anchor = &self.content[..ANCHOR.min(self.content.len())];
        let begin = expected.saturating_sub(SHIFT);
        let near = document.get(begin..document.len().min(expected + SHIFT))?;
        memmem::find(near, anchor)
            .map(|found| begin + found)
            .filter(|place| is_at(*place))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hash::ObjectHash;

    /// Entries as those of a snapshot.
    fn document(names: impl Iterator<Item = u32>, time: &str) -> Vec<u8> {
        let entry = |n: u32| format!("\"component-{n}\":\"{}\",", ObjectHash::of(&n.to_be_bytes()));
        let entries: String = names.map(entry).collect();
        format!("{{\"author\":\"admin\",{entries}\"time\":\"{time}\"}}").into_bytes()
    }

    fn unpacked(frames: &[u8]) -> Vec<u8> {
        zstd::decode_all(frames).unwrap()
    }

    /// Bytes of content that were compressed for `document`.
    fn compressed_for(pieces: &mut Pieces, document: &[u8]) -> usize {
        let frames = |pieces: &Pieces| pieces.0.iter().map(|piece| piece.frame.as_ptr()).collect::<Vec<_>>();
        let before = frames(pieces);
        assert_eq!(unpacked(&pieces.compress(document, 1)), document);
        let is_new = |piece: &&Piece| !before.contains(&piece.frame.as_ptr());
        pieces.0.iter().filter(is_new).map(|piece| piece.content.len()).sum()
    }

    #[test]
    fn only_pieces_that_changed_are_compressed_again() {
        let mut pieces = Pieces::default();
        let first = document(0..10_000, "1");
        assert_eq!(compressed_for(&mut pieces, &first), first.len());
        // The end of each says another time.
        assert!(compressed_for(&mut pieces, &document(0..10_000, "2")) <= PIECE);
        let mut changed = first.clone();
        changed[500_000..500_010].copy_from_slice(b"0123456789");
        assert!(compressed_for(&mut pieces, &changed) <= 2 * PIECE);
        let one_less = document((0..10_000).filter(|n| *n != 3_000), "2");
        assert!(compressed_for(&mut pieces, &one_less) <= 4 * PIECE);
        let many_more = document((0..3_000).chain(20_000..20_200).chain(3_000..10_000), "2");
        assert!(compressed_for(&mut pieces, &many_more) <= 5 * PIECE);
    }

    #[test]
    fn whole_is_hardly_larger_than_in_one_frame() {
        let document = document(0..10_000, "1");
        let whole = zstd::bulk::compress(&document, 1).unwrap();
        let pieces = Pieces::default().compress(&document, 1);
        assert!(
            pieces.len() < whole.len() + whole.len() / 20,
            "{} {}",
            pieces.len(),
            whole.len()
        );
    }

    #[test]
    fn nothing_is_a_frame_as_well() {
        let mut pieces = Pieces::default();
        for document in [&b""[..], b"x", b""] {
            assert_eq!(unpacked(&pieces.compress(document, 1)), document);
        }
    }

    /// Parts of a document, of which some are longer than a piece.
    fn any_document() -> impl Strategy<Value = Vec<u8>> {
        let part = (0..4_u8, 0..40_000_usize).prop_map(|(byte, length)| vec![byte; length]);
        prop::collection::vec(part, 0..8).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn frames_hold_the_document_whatever_came_before(
            documents in prop::collection::vec(any_document(), 1..6),
            names in prop::collection::vec(prop::collection::btree_set(0..3_000_u32, 0..1_000), 1..4),
        ) {
            let named = names.into_iter().map(|names| document(names.into_iter(), "1"));
            let mut pieces = Pieces::default();
            for document in documents.into_iter().chain(named) {
                prop_assert_eq!(unpacked(&pieces.compress(&document, 1)), document);
            }
        }
    }
}
