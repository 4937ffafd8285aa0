//! Until when this process may write. Told by who renews the Lease, asked by who writes, right before each request.
//!
//! A process that is frozen, or a machine that is suspended, goes on wherever it was, long after another agent began to
//! lead, and its tasks run in any order: some would write before the one that keeps the Lease finds out. Two clocks have
//! to agree that there is still time: the monotonic one, which nobody can set, and the time of day, which also goes on
//! while a machine is suspended. What was asked for and has not left yet is kept back by the connections, see
//! [`crate::credentials::gated`].

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::settings::Clock;

/// See the module.
#[derive(Debug)]
pub struct Permit {
    clock: Clock,
    until: Mutex<Option<(Instant, Timestamp)>>,
    /// Is it known who leads?
    asked: AtomicBool,
}

impl Permit {
    /// One that does not hold yet.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            until: Mutex::new(None),
            asked: AtomicBool::new(false),
        }
    }

    /// May this process write now?
    pub(crate) fn holds(&self) -> bool {
        self.holds_at(Instant::now(), (self.clock)())
    }

    /// Was it found out at all who leads?
    pub(crate) fn was_asked_for(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    fn holds_at(&self, now: Instant, time: Timestamp) -> bool {
        let until = *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|(instant, end)| now < instant && time < end)
    }

    /// Writing is fine for so long; `None`: not any more.
    pub(super) fn set(&self, left: Option<Duration>) {
        self.asked.store(true, Ordering::Relaxed);
        let until = left.and_then(|left| {
            let time = (self.clock)().checked_add(SignedDuration::try_from(left).ok()?).ok()?;
            Some((Instant::now() + left, time))
        });
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permit_ends_by_whichever_clock_is_first() {
        let permit = Permit::new(|| Timestamp::UNIX_EPOCH);
        assert!(!permit.holds());
        permit.set(Some(Duration::from_secs(3600)));
        assert!(permit.holds());
        let (now, time) = (Instant::now(), Timestamp::UNIX_EPOCH);
        assert!(!permit.holds_at(now + Duration::from_secs(3600), time));
        // The machine was suspended: only the time of day went on.
        assert!(!permit.holds_at(now, time + SignedDuration::from_hours(1)));
        permit.set(None);
        assert!(!permit.holds());
    }
}
