//! When to try again: jittered exponential delays between reconnects and between retried writes.
//!
//! Pure but for the seeded generator it holds. A fleet that lost its server together must not come back together.

use std::time::Duration;

use rand::{Rng, rngs::SmallRng};

/// A growing delay.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
    rng: SmallRng,
}

impl Backoff {
    pub(crate) fn new(first: Duration, most: Duration, rng: SmallRng) -> Self {
        Self {
            first,
            most,
            failures: 0,
            rng,
        }
    }

    /// The delay after one more failure: between half of and all of `first` · 2ⁿ, at most `most`.
    pub(crate) fn next(&mut self) -> Duration {
        let full = self.first.saturating_mul(1 << self.failures.min(20)).min(self.most);
        self.failures = self.failures.saturating_add(1);
        self.jitter(full)
    }

    /// After a success: the next failure waits the shortest time again.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Between half of `delay` and all of it.
    pub(crate) fn jitter(&mut self, delay: Duration) -> Duration {
        delay.mul_f64(self.rng.random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_start_over_after_success() {
        let mut backoff = Backoff::new(
            Duration::from_millis(200),
            Duration::from_secs(30),
            SmallRng::seed_from_u64(1),
        );
        for full in [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000] {
            let delay = backoff.next().as_millis();
            assert!((full / 2..=full).contains(&delay), "{delay} for {full}");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(200));
    }

    #[test]
    fn agents_that_fail_together_come_back_evenly_spread() {
        let second = Duration::from_secs(1);
        let delay = |seed| Backoff::new(second, second, SmallRng::seed_from_u64(seed)).next();
        let mut tenths = [0; 10];
        for seed in 0..10_000 {
            let early = delay(seed).as_secs_f64() - 0.5;
            tenths[((early * 20.0) as usize).min(9)] += 1;
        }
        // A thousand each, give or take four standard deviations.
        assert!(tenths.iter().all(|&count| (880..=1120).contains(&count)), "{tenths:?}");
    }
}
