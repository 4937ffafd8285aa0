//! The pushes of a channel that carried a key, as far back as a pusher may still repeat one.
//!
//! Part of the fleet state: whichever server a repeated push reaches knows the first one from the journal.

use std::collections::{BTreeMap, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{event::PushKey, hash::ObjectHash};

/// A push is remembered for so long, by the times of the entries. Whoever still waits for an answer has given up.
pub const REMEMBERED_FOR: SignedDuration = SignedDuration::from_mins(10);
/// No more pushes of one channel are remembered.
pub const MAX_REMEMBERED: usize = 10_000;

/// The pushes that are remembered, oldest first. That list is all there is to it: what is serialized and compared.
#[derive(Debug, Clone, Default)]
pub struct Recent {
    pushes: VecDeque<Done>,
    /// Where each is by its nonce, counted from before the first was forgotten.
    places: BTreeMap<ObjectHash, u64>,
    forgotten: u64,
}

impl PartialEq for Recent {
    fn eq(&self, other: &Self) -> bool {
        self.pushes == other.pushes
    }
}

impl Eq for Recent {}

/// A push that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// What it was known by.
    pub key: PushKey,
    /// The entry that holds it.
    pub seq: u64,
    /// The snapshot that it made.
    pub snapshot: ObjectHash,
    /// The entry's time.
    pub time: Timestamp,
}

impl Recent {
    /// The push with this nonce.
    pub fn get(&self, nonce: &ObjectHash) -> Option<&Done> {
        let place = self.places.get(nonce)?.checked_sub(self.forgotten)?;
        self.pushes.get(usize::try_from(place).ok()?)
    }

    /// Is none remembered?
    pub fn is_empty(&self) -> bool {
        self.pushes.is_empty()
    }

    /// Remembers a push, and forgets those that are too old by its time or too many. Says whether it was new.
    pub(super) fn insert(&mut self, done: Done) -> bool {
        let oldest = done.time.checked_sub(REMEMBERED_FOR).unwrap_or(Timestamp::MIN);
        let place = self.forgotten + self.pushes.len() as u64;
        if self.places.contains_key(&done.key.nonce) {
            return false;
        }
        self.places.insert(done.key.nonce, place);
        self.pushes.push_back(done);
        while self
            .pushes
            .front()
            .is_some_and(|first| first.time < oldest || self.pushes.len() > MAX_REMEMBERED)
        {
            let first = self.pushes.pop_front().expect("it was just looked at");
            self.places.remove(&first.key.nonce);
            self.forgotten += 1;
        }
        true
    }
}

impl Serialize for Recent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.pushes)
    }
}

impl<'de> Deserialize<'de> for Recent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pushes = VecDeque::<Done>::deserialize(deserializer)?;
        let places = pushes.iter().zip(0..).map(|(done, place)| (done.key.nonce, place));
        Ok(Self {
            places: places.collect(),
            pushes,
            forgotten: 0,
        })
    }
}
