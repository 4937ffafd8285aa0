//! Which pod leads: the Lease `driftless-agent`, as client-go's leader election keeps it.
//!
//! [`State`] decides and does no I/O; [`candidate`] reads and writes the Lease; [`run`] does the work of a leader
//! while it leads. The holder renews a third of the way into the lease and stops by its own clock two thirds in, so
//! that it has stopped well before anybody may take over. Time is measured on this machine only, from when a change
//! was *seen*: clocks of two nodes are never compared.

mod candidate;
mod permit;

use std::{future::Future, time::Duration};

use jiff::Timestamp;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{Error, error::chain, settings::Timings};

pub(crate) use candidate::Candidate;
pub use permit::Permit;

/// Name of the Lease.
pub const LEASE: &str = "driftless-agent";

/// What a Lease said when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) holder: String,
    pub(crate) duration: Duration,
    pub(crate) acquired: Option<Timestamp>,
    pub(crate) renewed: Option<Timestamp>,
    pub(crate) transitions: i32,
    pub(crate) version: String,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write the Lease: over the version named, or anew.
    Write {
        acquired: bool,
        transitions: i32,
        over: Option<Record>,
    },
    /// Nothing, until then or until the Lease changes.
    Wait { until: Duration },
    /// The lease could not be renewed in time: stop writing at once.
    Stop,
}

/// What this process knows of the Lease. Times are since an arbitrary start, on a clock that never goes back.
#[derive(Debug)]
pub(crate) struct State {
    holder: String,
    timings: Timings,
    /// The Lease as seen last, and when that version was first seen. `None` inside: there is none.
    seen: Option<(Option<Record>, Duration)>,
    /// When the write that last made or kept us leader was begun.
    held: Option<Duration>,
}

impl State {
    pub(crate) fn new(holder: String, timings: Timings) -> Self {
        Self {
            holder,
            timings,
            seen: None,
            held: None,
        }
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.held.is_some()
    }

    /// The Lease was read at `now`.
    pub(crate) fn observe(&mut self, record: Option<Record>, now: Duration) {
        let first_seen = match &self.seen {
            Some((before, since)) if *before == record => *since,
            _ => now,
        };
        if record.as_ref().is_none_or(|record| record.holder != self.holder) {
            self.held = None;
        }
        self.seen = Some((record, first_seen));
    }

    /// Our own write, begun at `begun`, was accepted.
    pub(crate) fn wrote(&mut self, record: Record, begun: Duration) {
        self.held = (record.holder == self.holder).then_some(begun);
        self.seen = Some((Some(record), begun));
    }

    /// What to do at `now`.
    pub(crate) fn step(&self, now: Duration) -> Step {
        let Some((seen, since)) = &self.seen else {
            return Step::Wait { until: now };
        };
        if let Some(held) = self.held {
            if now >= held + self.timings.renew_deadline {
                return Step::Stop;
            }
            if now < held + self.timings.renew_every {
                return Step::Wait {
                    until: held + self.timings.renew_every,
                };
            }
        }
        let Some(record) = seen else {
            return Step::Write {
                acquired: true,
                transitions: 0,
                over: None,
            };
        };
        let ours = record.holder == self.holder;
        if !ours && !record.holder.is_empty() && now < *since + record.duration {
            return Step::Wait {
                until: *since + record.duration,
            };
        }
        // client-go counts a transition whenever another identity takes over, a released Lease included.
        Step::Write {
            acquired: !ours,
            transitions: record.transitions + i32::from(!ours),
            over: Some(record.clone()),
        }
    }

    /// When a leader that has renewed no more must have stopped.
    fn deadline(&self) -> Option<Duration> {
        self.held.map(|held| held + self.timings.renew_deadline)
    }
}

/// Stands for leader until `token` is cancelled, and does `work` while leading.
///
/// # Guarantees
/// `work` is dropped, and with it every request it has in flight, before this machine's clock lets anybody else
/// lead; what goes on after a freeze finds its [`Permit`] void before it writes. When `token` is cancelled it is given `timings.grace` to end by itself, and then the Lease is released.
///
/// # Errors
/// Whatever `work` ends with.
pub(crate) async fn run<W, F>(mut candidate: Candidate, token: CancellationToken, work: W) -> Result<(), Error>
where
    W: Fn(CancellationToken) -> F,
    F: Future<Output = Result<(), Error>>,
{
    enum Outcome {
        Shutdown,
        Lost,
        Ended(Result<(), Error>),
    }
    loop {
        tokio::select! { biased;
            () = token.cancelled() => return Ok(()),
            () = candidate.campaign() => {}
        }
        tracing::info!(holder = candidate.holder(), "leading");
        let reign = token.child_token();
        // Whatever way this loop turns, what `work` spawned with the token ends.
        let _end = reign.clone().drop_guard();
        let mut working = Box::pin(work(reign.clone()));
        let outcome = tokio::select! { biased;
            () = candidate.hold() => Outcome::Lost,
            () = token.cancelled() => Outcome::Shutdown,
            result = &mut working => Outcome::Ended(result),
        };
        reign.cancel();
        let result = match outcome {
            Outcome::Lost => {
                drop(working);
                tracing::warn!("leading no more");
                continue;
            }
            Outcome::Shutdown => {
                let grace = candidate.timings().grace;
                timeout(grace, &mut working).await.unwrap_or_else(|_| {
                    tracing::warn!("did not wind down in time");
                    Ok(())
                })
            }
            // Another one leads, whatever the Lease said a moment ago: stand again.
            Outcome::Ended(Err(error)) if error.is_overtaken() => {
                tracing::warn!(error = chain(&error), "leading no more");
                candidate.give_way().await;
                continue;
            }
            Outcome::Ended(result) => result,
        };
        drop(working);
        candidate.release().await;
        return result;
    }
}

#[cfg(test)]
mod tests;
