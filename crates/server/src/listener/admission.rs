//! When a new connection may shake hands: no more of them at once, and no more in a second, than leaves the processors
//! to the streams that are open.
//!
//! A fleet that comes back together waits here, first come first served, and beyond [`WAITING`] in the kernel's queue;
//! nobody is turned away. [`Bucket`] decides, [`Admission`] waits.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::{Instant, sleep},
};

/// Connections that wait for their turn; each is an open file.
const WAITING: usize = 8192;
/// Handshakes under way. Most of each is waiting for the other end, which may be far away, or mean no good.
const UNDER_WAY: usize = 1024;
/// What may begin at once after a pause, as a share of what may in a second.
const BURST: u32 = 20;
/// A resumed session needs no signature and none checked: three of them cost what one handshake does.
const RESUMED: u32 = 3;

/// Gives turns at a steady rate, and those of a pause at once.
#[derive(Debug)]
struct Bucket {
    /// Time that one turn stands for.
    each: Duration,
    /// How far turns may run ahead of the time they stand for.
    ahead: Duration,
    /// When what was taken is made up for.
    even: Duration,
}

impl Bucket {
    fn new(per_second: u32) -> Self {
        let each = Duration::from_secs(1) / per_second.max(1);
        Self {
            each,
            ahead: each * (per_second / BURST).max(1),
            even: Duration::ZERO,
        }
    }

    /// Takes a turn, or says how long to wait before asking again.
    fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let even = self.even.max(now) + self.each;
        let early = even.saturating_sub(now + self.ahead);
        if early.is_zero() {
            self.even = even;
            Ok(())
        } else {
            Err(early)
        }
    }

    /// Gives back what a turn did not need.
    fn give_back(&mut self, share: Duration) {
        self.even = self.even.saturating_sub(share);
    }
}

/// Lets connections shake hands.
#[derive(Debug)]
pub(super) struct Admission {
    bucket: Mutex<Bucket>,
    began: Instant,
    /// Whoever holds it is next.
    next: Semaphore,
    under_way: Semaphore,
    waiting: Arc<Semaphore>,
}

impl Admission {
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            bucket: Mutex::new(Bucket::new(per_second)),
            began: Instant::now(),
            next: Semaphore::new(1),
            under_way: Semaphore::new(UNDER_WAY),
            waiting: Arc::new(Semaphore::new(WAITING)),
        }
    }

    /// Waits for room for one more that waits.
    pub(super) async fn room(&self) -> OwnedSemaphorePermit {
        let room = Arc::clone(&self.waiting).acquire_owned().await;
        room.expect("this is never closed")
    }

    /// Waits for the turn to shake hands, which lasts as long as what it gives. `delayed` is told if that takes time.
    pub(super) async fn turn(&self, delayed: impl FnOnce()) -> SemaphorePermit<'_> {
        let next = self.next.acquire().await.expect("this is never closed");
        let mut delayed = Some(delayed);
        while let Err(wait) = self.bucket(|bucket, now| bucket.take(now)) {
            if let Some(delayed) = delayed.take() {
                delayed();
            }
            sleep(wait).await;
        }
        drop(next);
        self.under_way.acquire().await.expect("this is never closed")
    }

    /// A handshake was that of a resumed session.
    pub(super) fn resumed(&self) {
        self.bucket(|bucket, _| bucket.give_back(bucket.each - bucket.each / RESUMED));
    }

    fn bucket<T>(&self, act: impl FnOnce(&mut Bucket, Duration) -> T) -> T {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        act(&mut bucket, self.began.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng, rngs::SmallRng};

    use super::*;

    /// When turns are given to so many who all come at `start` and ask again when they were told to.
    fn turns(bucket: &mut Bucket, start: Duration, count: usize) -> Vec<Duration> {
        let mut now = start;
        let mut given = Vec::new();
        while given.len() < count {
            match bucket.take(now) {
                Ok(()) => given.push(now),
                Err(wait) => now += wait,
            }
        }
        given
    }

    #[test]
    fn storm_is_let_in_at_the_rate_after_one_burst() {
        let mut bucket = Bucket::new(1000);
        let given = turns(&mut bucket, Duration::from_secs(7), 1050);
        assert_eq!(given.iter().filter(|at| at.as_secs_f64() == 7.0).count(), 50);
        assert_eq!(*given.last().unwrap(), Duration::from_secs(8));
        // A pause earns one burst and no more, however long it was.
        let given = turns(&mut bucket, Duration::from_secs(1000), 60);
        assert_eq!(*given.last().unwrap(), Duration::from_millis(1_000_010));
    }

    #[test]
    fn no_window_sees_more_than_the_rate_and_one_burst() {
        for seed in 0..50 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let rate = rng.random_range(1..5000);
            let mut bucket = Bucket::new(rate);
            let (mut now, mut given) = (Duration::ZERO, Vec::new());
            for _ in 0..2000 {
                if bucket.take(now).is_ok() {
                    given.push(now);
                }
                if rng.random_bool(0.3) {
                    now += Duration::from_micros(rng.random_range(0..3_000_000 / u64::from(rate)));
                }
            }
            let burst = f64::from((rate / BURST).max(1));
            for from in (0..given.len()).step_by(7) {
                for to in (from..given.len()).step_by(11) {
                    let window = (given[to] - given[from]).as_secs_f64();
                    let most = burst + window * f64::from(rate) + 1.001;
                    let count = to - from + 1;
                    assert!(count as f64 <= most, "seed {seed}: {count} in {window} s at {rate}/s");
                }
            }
        }
    }

    #[test]
    fn whoever_asks_when_told_to_is_let_in() {
        let mut bucket = Bucket::new(300);
        for n in 0..100 {
            let now = Duration::from_millis(n);
            if let Err(wait) = bucket.take(now) {
                assert_eq!(bucket.take(now + wait), Ok(()));
            }
        }
    }

    #[test]
    fn resumed_sessions_cost_a_third() {
        let mut bucket = Bucket::new(900);
        let start = Duration::from_secs(1);
        let mut now = start;
        let mut given = 0;
        while now < start * 2 {
            match bucket.take(now) {
                Ok(()) => {
                    given += 1;
                    let share = bucket.each - bucket.each / RESUMED;
                    bucket.give_back(share);
                }
                Err(wait) => now += wait,
            }
        }
        assert!((2700..=2900).contains(&given), "{given}");
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_gets_a_turn_in_the_order_they_came() {
        let admission = Arc::new(Admission::new(20));
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..100 {
            let (admission, order) = (Arc::clone(&admission), Arc::clone(&order));
            tasks.spawn(async move {
                let _turn = admission.turn(|| {}).await;
                order.lock().unwrap().push(n);
            });
            tokio::task::yield_now().await;
        }
        tasks.join_all().await;
        assert_eq!(*order.lock().unwrap(), (0..100).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_gives_up_waiting_takes_no_turn() {
        let admission = Admission::new(1);
        drop(admission.turn(|| {}).await);
        let began = Instant::now();
        assert!(
            tokio::time::timeout(Duration::from_millis(500), admission.turn(|| {}))
                .await
                .is_err()
        );
        drop(admission.turn(|| {}).await);
        assert_eq!(began.elapsed().as_millis(), 1000);
    }
}
