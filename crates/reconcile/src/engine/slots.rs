//! How many applies and deletions are under way at once: at most so many, fewer when the API server has too much to
//! do, more again with those that succeed. A request that hangs gives up its place after a moment, and its kind gets few
//! more: an aggregated API or a webhook that does not answer holds up no other kind.
//!
//! Asked and told by [`super::work`]; knows nothing of what the requests are about. A request that was begun before the
//! window was narrowed says nothing new: of a burst that is refused, the first refusal narrows it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

/// The window never closes further.
const LEAST: usize = 2;
/// A request without an answer for so long gives up its place.
const SLOW: Duration = Duration::from_secs(3);
/// A kind with so many slow requests begins no more.
const MOST_SLOW: usize = 2;

/// One request under way.
struct Flight<Kind> {
    kind: Kind,
    begun: Instant,
    slow: bool,
}

/// See the module.
pub(super) struct Slots<Key, Kind> {
    most: usize,
    window: usize,
    /// Up to here the window widens with each success, beyond it with as many as it is wide.
    ease: usize,
    /// Successes since it was widened last.
    credit: usize,
    narrowed: Option<Instant>,
    flights: BTreeMap<Key, Flight<Kind>>,
    begun: VecDeque<(Instant, Key)>,
    slow: BTreeMap<Kind, usize>,
    /// A timer is set for the oldest request.
    timed: bool,
}

impl<Key: Copy + Ord, Kind: Copy + Ord> Slots<Key, Kind> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            window: most,
            ease: most,
            credit: 0,
            narrowed: None,
            flights: BTreeMap::new(),
            begun: VecDeque::new(),
            slow: BTreeMap::new(),
            timed: false,
        }
    }

    /// Is there a place for one more?
    pub(super) fn has_room(&self) -> bool {
        self.flights.len() - self.slow.values().sum::<usize>() < self.window
    }

    /// May one of this kind begin?
    pub(super) fn admits(&self, kind: Kind) -> bool {
        self.slow.get(&kind).is_none_or(|slow| *slow < MOST_SLOW)
    }

    /// One begins.
    pub(super) fn begin(&mut self, key: Key, kind: Kind, now: Instant) {
        let (begun, slow) = (now, false);
        self.flights.insert(key, Flight { kind, begun, slow });
        self.begun.push_back((now, key));
    }

    /// One has ended; says when it began.
    pub(super) fn end(&mut self, key: Key) -> Option<Instant> {
        let flight = self.flights.remove(&key)?;
        if flight.slow
            && let Some(slow) = self.slow.get_mut(&flight.kind)
        {
            *slow -= 1;
            if *slow == 0 {
                self.slow.remove(&flight.kind);
            }
        }
        while self
            .begun
            .front()
            .is_some_and(|(at, key)| !self.is_under_way(*key, *at))
        {
            self.begun.pop_front();
        }
        Some(flight.begun)
    }

    fn is_under_way(&self, key: Key, begun: Instant) -> bool {
        let flight = self.flights.get(&key);
        flight.is_some_and(|flight| flight.begun == begun && !flight.slow)
    }

    /// A timer has fired: lets requests that hang at `now` give up their places.
    pub(super) fn free_slow(&mut self, now: Instant) {
        self.timed = false;
        while let Some((at, key)) = self.begun.front().copied().filter(|(at, _)| *at + SLOW <= now) {
            self.begun.pop_front();
            if let Some(flight) = self.flights.get_mut(&key).filter(|it| it.begun == at && !it.slow) {
                flight.slow = true;
                *self.slow.entry(flight.kind).or_default() += 1;
            }
        }
    }

    /// For when to set a timer: that at which the oldest request will have hung for long enough. `None` while one is set.
    pub(super) fn next_slow(&mut self) -> Option<Instant> {
        let (at, _) = self.begun.front().filter(|_| !self.timed)?;
        self.timed = true;
        Some(*at + SLOW)
    }

    /// One succeeded.
    pub(super) fn widen(&mut self) {
        self.credit += 1;
        if self.window < self.most && (self.window < self.ease || self.credit >= self.window) {
            self.window += 1;
            self.credit = 0;
        }
    }

    /// One that was begun then was refused for lack of room. Says whether that is news.
    pub(super) fn narrow(&mut self, begun: Instant, now: Instant) -> bool {
        if self.narrowed.is_some_and(|at| begun <= at) {
            return false;
        }
        self.window = (self.window / 2).max(LEAST).min(self.most);
        self.ease = self.window;
        self.credit = 0;
        self.narrowed = Some(now);
        true
    }

    /// The API server is back: it is not met with all at once.
    pub(super) fn restart(&mut self) {
        self.ease = self.most;
        self.window = LEAST.min(self.most);
        self.credit = 0;
    }

    /// How many may be under way, for the logs.
    pub(super) fn window(&self) -> usize {
        self.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(most: usize) -> (Slots<u32, char>, Instant) {
        (Slots::new(most), Instant::now())
    }

    #[test]
    fn burst_of_refusals_halves_the_window_once_and_it_never_closes() {
        let (mut slots, start) = slots(32);
        let second = |count| start + Duration::from_secs(count);
        for _ in 0..32 {
            slots.narrow(start, second(1));
        }
        assert_eq!(slots.window(), 16);
        for round in 2..10 {
            slots.narrow(second(round), second(round));
        }
        assert_eq!(slots.window(), LEAST);
        assert!(slots.has_room());
    }

    #[test]
    fn window_widens_slowly_beyond_what_was_too_much_and_never_beyond_the_most() {
        let (mut slots, now) = slots(8);
        slots.narrow(now, now);
        let mut successes = 0;
        while slots.window() < 8 {
            slots.widen();
            successes += 1;
        }
        assert_eq!(successes, 4 + 5 + 6 + 7);
        (0..100).for_each(|_| slots.widen());
        assert_eq!(slots.window(), 8);
    }

    #[test]
    fn server_that_is_back_is_met_with_few_and_soon_with_all() {
        let (mut slots, _) = slots(8);
        slots.restart();
        assert_eq!(slots.window(), LEAST);
        (0..6).for_each(|_| slots.widen());
        assert_eq!(slots.window(), 8);
        let (mut one, now) = self::slots(1);
        one.narrow(now, now);
        assert_eq!(one.window(), 1);
    }

    #[test]
    fn requests_that_hang_give_up_their_places_and_keep_others_of_their_kind_out() {
        let (mut slots, start) = slots(4);
        (0..4).for_each(|key| slots.begin(key, 'a', start));
        assert!(!slots.has_room());
        assert_eq!(slots.next_slow(), Some(start + SLOW));
        assert_eq!(slots.next_slow(), None);
        slots.free_slow(start + SLOW);
        assert!(slots.has_room() && slots.admits('b') && !slots.admits('a'));
        (4..8).for_each(|key| slots.begin(key, 'b', start + SLOW));
        assert!(!slots.has_room());
        for key in 0..3 {
            assert_eq!(slots.end(key), Some(start));
        }
        assert!(slots.admits('a') && !slots.has_room());
        assert_eq!(slots.end(0), None);
        assert!((3..8).all(|key| slots.end(key).is_some()));
        assert_eq!(slots.next_slow(), None);
        assert!(slots.slow.is_empty());
    }
}
