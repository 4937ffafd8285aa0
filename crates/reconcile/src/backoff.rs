//! How long to wait before the next try: exponential, with jitter from a seeded generator so that runs replay.
//!
//! Used for objects, parents, discovery, watches and the API server as a whole, each with its own [`Backoff`].

use std::time::Duration;

use rand::Rng;

/// A schedule of delays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first delay.
    pub first: Duration,
    /// No delay is longer.
    pub most: Duration,
}

impl Backoff {
    /// The delay after `failures` failures in a row (1 after the first): doubled each time, and of that between
    /// half and the whole, by chance.
    pub fn delay(&self, failures: u32, rng: &mut impl Rng) -> Duration {
        let doublings = failures.saturating_sub(1).min(30);
        let full = self.first.saturating_mul(1 << doublings).min(self.most);
        full.mul_f64(rng.random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;

    const BACKOFF: Backoff = Backoff {
        first: Duration::from_millis(500),
        most: Duration::from_secs(300),
    };

    #[test]
    fn delays_double_up_to_the_most() {
        let mut rng = SmallRng::seed_from_u64(7);
        for (failures, full) in [
            (0, 0.5),
            (1, 0.5),
            (2, 1.0),
            (5, 8.0),
            (10, 256.0),
            (11, 300.0),
            (u32::MAX, 300.0),
        ] {
            let delay = BACKOFF.delay(failures, &mut rng).as_secs_f64();
            assert!((full / 2.0..=full).contains(&delay), "{failures}: {delay}");
        }
    }

    #[test]
    fn same_seed_gives_the_same_delays() {
        let delays = |seed| {
            let mut rng = SmallRng::seed_from_u64(seed);
            (1..9)
                .map(|failures| BACKOFF.delay(failures, &mut rng))
                .collect::<Vec<_>>()
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
    }
}
