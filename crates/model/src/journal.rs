//! The entries of the one append-only log, and the hash chain that ties each to the one before.
//!
//! Byte form: canonical JSON. Entry *n* names the sha256 of entry *n − 1*, so whoever holds the newest hash can
//! check everything before it. The store reads and writes entries; this module says what a valid one is.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{canonical, event::Event, hash::ObjectHash};

/// The number of the first entry.
pub const FIRST_SEQ: u64 = 1;

/// One entry: the events that were committed together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Its number: 1, 2, 3, … without gaps.
    pub seq: u64,
    /// The hash of the entry before; `None` for the first.
    pub prev: Option<ObjectHash>,
    /// When it was made, by the writer's clock. Informative: order is by number.
    pub time: Timestamp,
    /// Which server process wrote it.
    pub writer: String,
    /// Random, new for every entry: a writer whose put was retried knows its own entry by it.
    pub nonce: String,
    /// What was decided, in order.
    pub events: Vec<Event>,
}

/// A break in the journal. Says at which entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not an entry.
    #[error("journal entry {seq} cannot be read: {reason}")]
    Unreadable {
        /// The entry's number by its name in the bucket.
        seq: u64,
        /// What is wrong.
        reason: String,
    },
    /// An entry under another's name.
    #[error("journal entry {expected} says that it is number {found}")]
    WrongSeq {
        /// The number by its name in the bucket.
        expected: u64,
        /// The number inside.
        found: u64,
    },
    /// The entry does not follow the one before it.
    #[error("journal entry {seq} breaks the hash chain: it follows {found}, but entry {before} has hash {expected}",
        before = seq - 1, found = display(.found), expected = display(.expected))]
    BrokenChain {
        /// The entry that does not fit.
        seq: u64,
        /// What it names as the hash of the entry before.
        found: Option<ObjectHash>,
        /// That entry's real hash.
        expected: Option<ObjectHash>,
    },
}

fn display(hash: &Option<ObjectHash>) -> String {
    hash.map_or_else(|| "nothing".to_owned(), |hash| hash.short())
}

/// The end of a journal: what the next entry must follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tip {
    /// Number of the newest entry; 0 in an empty journal.
    pub seq: u64,
    /// Hash of the newest entry.
    pub hash: Option<ObjectHash>,
}

impl Tip {
    /// The number of the next entry.
    pub fn next_seq(&self) -> u64 {
        self.seq + 1
    }

    /// Reads the entry that must come next, and moves the tip to it.
    ///
    /// # Errors
    /// When the bytes are no entry, carry another number, or do not name the current tip; the tip then stays.
    pub fn follow(&mut self, bytes: &[u8]) -> Result<Entry, Error> {
        let seq = self.next_seq();
        let unreadable = |reason: String| Error::Unreadable { seq, reason };
        let value = canonical::from_slice_strict(bytes).map_err(|error| unreadable(error.to_string()))?;
        let entry: Entry = serde_json::from_value(value).map_err(|error| unreadable(error.to_string()))?;
        if entry.seq != seq {
            return Err(Error::WrongSeq {
                expected: seq,
                found: entry.seq,
            });
        }
        if entry.prev != self.hash {
            return Err(Error::BrokenChain {
                seq,
                found: entry.prev,
                expected: self.hash,
            });
        }
        *self = Self {
            seq,
            hash: Some(ObjectHash::of(bytes)),
        };
        Ok(entry)
    }
}

impl Entry {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        canonical::document(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(tip: &Tip) -> Entry {
        Entry {
            seq: tip.next_seq(),
            prev: tip.hash,
            time: "2026-01-02T03:04:05Z".parse().unwrap(),
            writer: "w".to_owned(),
            nonce: "n".to_owned(),
            events: vec![Event::ChannelCreated {
                channel: "prod".parse().unwrap(),
                author: "admin".to_owned(),
            }],
        }
    }

    #[test]
    fn bytes_are_pinned() {
        let text = String::from_utf8(entry(&Tip::default()).encode()).unwrap();
        let expected = concat!(
            r#"{"events":[{"author":"admin","channel":"prod","type":"ChannelCreated"}],"nonce":"n","prev":null,"#,
            r#""seq":1,"time":"2026-01-02T03:04:05Z","writer":"w"}"#
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn entries_that_follow_are_taken_and_others_are_named() {
        let mut tip = Tip::default();
        let first = entry(&tip).encode();
        tip.follow(&first).unwrap();
        assert_eq!(
            tip,
            Tip {
                seq: 1,
                hash: Some(ObjectHash::of(&first))
            }
        );

        assert_eq!(tip.follow(&first), Err(Error::WrongSeq { expected: 2, found: 1 }));
        let mut forged = entry(&tip);
        forged.prev = Some(ObjectHash::of(b"other"));
        let error = tip.follow(&forged.encode()).unwrap_err();
        assert!(
            error.to_string().starts_with("journal entry 2 breaks the hash chain"),
            "{error}"
        );
        assert!(matches!(tip.follow(b"{"), Err(Error::Unreadable { seq: 2, .. })));
        assert_eq!(tip.seq, 1);
        let second = entry(&tip).encode();
        tip.follow(&second).unwrap();
        assert_eq!(tip.seq, 2);
    }
}
