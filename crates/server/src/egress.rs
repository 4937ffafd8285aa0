//! Who may send a piece of a large object next: so many at once, in turn, so that a first install of ten thousand clusters
//! fills the link and not the memory, and all of them get on at the same pace.
//!
//! A piece is asked for by the stream that sends it, and given back when its connection has room for the next. An agent
//! that stopped reading keeps its turn only until somebody else has waited for it.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep},
};

/// Bytes of a piece.
pub(crate) const PIECE: usize = 128 * 1024;
/// What is no larger needs no turn.
pub(crate) const SMALL: usize = 64 * 1024;
/// Pieces on their way at once: 32 MiB.
const PIECES: usize = 256;
/// A piece that takes longer while others wait loses its turn: at 64 KiB/s and less, sharing is over.
const STALLED: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(crate) struct Egress {
    slots: Arc<Semaphore>,
    given: Mutex<VecDeque<Given>>,
}

#[derive(Debug)]
struct Given {
    at: Instant,
    permit: Weak<Permit>,
}

/// Empty when it was taken back.
type Permit = Mutex<Option<OwnedSemaphorePermit>>;

/// A turn to send one piece; over when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _permit: Arc<Permit>,
}

impl Egress {
    pub(crate) fn new() -> Self {
        Self::with(PIECES)
    }

    fn with(pieces: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(pieces)),
            given: Mutex::default(),
        }
    }

    /// Waits for a turn: first come, first served.
    pub(crate) async fn turn(&self) -> Turn {
        let mut slot = pin!(Arc::clone(&self.slots).acquire_owned());
        let permit = loop {
            tokio::select! {
                biased;
                permit = slot.as_mut() => break permit.ok(),
                () = sleep(STALLED / 4) => self.take_back(Instant::now()),
            }
        };
        let permit = Arc::new(Mutex::new(permit));
        let mut given = lock(&self.given);
        // Those that are over are in front, save for stalled ones between them.
        while given.front().is_some_and(|given| given.permit.strong_count() == 0) {
            given.pop_front();
        }
        given.push_back(Given {
            at: Instant::now(),
            permit: Arc::downgrade(&permit),
        });
        Turn { _permit: permit }
    }

    /// Ends the turns that have lasted too long.
    fn take_back(&self, now: Instant) {
        let mut given = lock(&self.given);
        while let Some(oldest) = given.front().filter(|given| now.duration_since(given.at) >= STALLED) {
            if let Some(permit) = oldest.permit.upgrade() {
                lock(&permit).take();
            }
            given.pop_front();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn turns_come_in_the_order_in_which_they_were_asked_for() {
        let egress = Egress::with(1);
        let first = egress.turn().await;
        let (mut second, mut third) = (pin!(egress.turn()), pin!(egress.turn()));
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        drop(first);
        assert!(third.as_mut().now_or_never().is_none());
        drop(second.await);
        third.await;
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_agents_keep_nobody_waiting_for_long() {
        let egress = Egress::with(2);
        let _stalled = (egress.turn().await, egress.turn().await);
        let begin = Instant::now();
        let _third = egress.turn().await;
        let _fourth = egress.turn().await;
        assert!(begin.elapsed() <= 2 * STALLED, "{:?}", begin.elapsed());
        // What was taken back is given once.
        assert_eq!(egress.slots.available_permits(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn slow_agent_keeps_its_turn_while_nobody_waits() {
        let egress = Egress::with(1);
        let turn = egress.turn().await;
        tokio::time::advance(10 * STALLED).await;
        assert_eq!(egress.slots.available_permits(), 0);
        drop(turn);
        assert_eq!(egress.slots.available_permits(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn list_of_turns_does_not_grow_with_those_that_are_over() {
        let egress = Egress::with(2);
        for _ in 0..100 {
            drop(egress.turn().await);
        }
        assert!(lock(&egress.given).len() <= 1);
    }
}
