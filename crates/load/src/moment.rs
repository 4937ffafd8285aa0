//! Moments that the processes of one machine agree on.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Nanoseconds of the machine's monotonic clock: the one that [`Instant`] is made of, which cannot be told to another
/// process. Not the time of day, which is set right now and then, in the midst of a measurement too. Between machines
/// it means nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(u64);

impl Moment {
    /// This one.
    pub fn now() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        // It begins with the machine.
        let (seconds, nanoseconds) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
        Self(seconds * 1_000_000_000 + nanoseconds)
    }

    /// When that was.
    pub fn of(instant: Instant) -> Self {
        let passed = u64::try_from(instant.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Self(Self::now().0.saturating_sub(passed))
    }

    /// The same for this process. One that is yet to come is now.
    pub fn instant(self) -> Instant {
        let (now, moment) = (Instant::now(), Self::now());
        let passed = Duration::from_nanos(moment.0.saturating_sub(self.0));
        now.checked_sub(passed).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instant_is_the_same_one_after_it_was_told() {
        let instant = Instant::now();
        let told = serde_json::to_string(&Moment::of(instant)).unwrap();
        let heard: Moment = serde_json::from_str(&told).unwrap();
        let (early, late) = (heard.instant().min(instant), heard.instant().max(instant));
        assert!(late - early < Duration::from_millis(50), "{:?}", late - early);
    }

    #[test]
    fn moments_are_in_order() {
        let (first, second) = (Moment::now(), Moment::now());
        assert!(first <= second && first.instant() <= Instant::now());
    }
}
