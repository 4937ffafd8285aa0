//! What each stream has verified, when, and how many bytes it took. Every stream writes its own slot; whoever measures
//! reads them all.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// One slot per stream.
#[derive(Debug)]
pub struct Board {
    began: Instant,
    slots: Vec<Slot>,
    connected: AtomicUsize,
    connections: AtomicU64,
    failures: AtomicU64,
    failure: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct Slot {
    /// The sequence that this stream has verified; 0 while it has not yet.
    sequence: AtomicU64,
    /// When, in nanoseconds since the board was made.
    at: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    objects: AtomicU64,
    connected: AtomicBool,
}

impl Board {
    /// A board for so many streams.
    pub fn new(streams: usize) -> Self {
        Self {
            began: Instant::now(),
            slots: (0..streams).map(|_| Slot::default()).collect(),
            connected: AtomicUsize::new(0),
            connections: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            failure: Mutex::default(),
        }
    }

    /// Streams there should be.
    pub fn streams(&self) -> usize {
        self.slots.len()
    }

    /// Streams that are open.
    pub fn connected(&self) -> usize {
        self.connected.load(Ordering::Relaxed)
    }

    /// Streams that were opened since the beginning.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Streams that ended by themselves, or could not be opened.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Why the last of those did.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Streams that have verified this directive, or a later one.
    pub fn verified(&self, sequence: u64) -> usize {
        let is_there = |slot: &&Slot| slot.sequence.load(Ordering::Acquire) >= sequence;
        self.slots.iter().filter(is_there).count()
    }

    /// How long after `since` each stream had verified this very directive; nothing for those that have not. What was
    /// verified before took no time.
    pub fn delays(&self, sequence: u64, since: Instant) -> Vec<Duration> {
        let there = self
            .slots
            .iter()
            .filter(|slot| slot.sequence.load(Ordering::Acquire) == sequence);
        let at = there.map(|slot| self.began + Duration::from_nanos(slot.at.load(Ordering::Relaxed)));
        at.map(|at| at.saturating_duration_since(since)).collect()
    }

    /// Bytes that each stream has received, all its connections together.
    pub fn received(&self) -> Vec<u64> {
        self.slots
            .iter()
            .map(|slot| slot.received.load(Ordering::Relaxed))
            .collect()
    }

    /// Bytes that each stream has sent.
    pub fn sent(&self) -> Vec<u64> {
        self.slots
            .iter()
            .map(|slot| slot.sent.load(Ordering::Relaxed))
            .collect()
    }

    /// Objects, whole or in part, that each stream was sent.
    pub fn objects(&self) -> Vec<u64> {
        self.slots
            .iter()
            .map(|slot| slot.objects.load(Ordering::Relaxed))
            .collect()
    }

    /// From here on nothing counts as verified that was before.
    pub(crate) fn forget(&self) {
        for slot in &self.slots {
            slot.sequence.store(0, Ordering::Release);
        }
    }

    pub(crate) fn opened(&self, stream: usize) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        if !self.slots[stream].connected.swap(true, Ordering::Relaxed) {
            self.connected.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn closed(&self, stream: usize) {
        self.slots[stream].sequence.store(0, Ordering::Release);
        if self.slots[stream].connected.swap(false, Ordering::Relaxed) {
            self.connected.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn failed(&self, why: String) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    pub(crate) fn heard(&self, stream: usize, objects: usize, verified: Option<u64>) {
        let slot = &self.slots[stream];
        slot.objects.fetch_add(objects as u64, Ordering::Relaxed);
        let Some(sequence) = verified else { return };
        // The same again is no news: what counts is when it was there first.
        if slot.sequence.load(Ordering::Relaxed) != sequence {
            let at = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            slot.at.store(at, Ordering::Relaxed);
            slot.sequence.store(sequence, Ordering::Release);
        }
    }

    pub(crate) fn moved(&self, stream: usize, received: usize, sent: usize) {
        let slot = &self.slots[stream];
        slot.received.fetch_add(received as u64, Ordering::Relaxed);
        slot.sent.fetch_add(sent as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_counted_where_they_are() {
        let board = Board::new(3);
        let since = Instant::now();
        board.opened(0);
        board.opened(1);
        board.heard(0, 2, Some(5));
        board.heard(1, 0, Some(6));
        assert_eq!((board.connected(), board.verified(5), board.verified(6)), (2, 2, 1));
        assert_eq!(board.delays(5, since).len(), 1);
        assert_eq!(board.objects(), [2, 0, 0]);
        board.closed(0);
        board.closed(0);
        assert_eq!((board.connected(), board.verified(5)), (1, 1));
    }

    #[test]
    fn directive_that_comes_again_keeps_its_time() {
        let board = Board::new(1);
        let since = Instant::now();
        board.heard(0, 0, Some(5));
        let first = board.delays(5, since);
        board.heard(0, 0, Some(5));
        assert_eq!(board.delays(5, since), first);
        board.forget();
        assert_eq!(board.verified(1), 0);
    }
}
