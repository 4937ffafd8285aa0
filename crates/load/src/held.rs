//! A fleet that is held open and told of changes: the steps of a measurement, one at a time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use driftless_client::{Client, Target};
use driftless_model::{bundle::Bundle, name::ChannelName};
use tokio_util::sync::CancellationToken;

use crate::{
    ChangeReport, Dial, Error, Fleet, Member, Reached, Reconnected, StreamReport,
    board::Board,
    figures::{Spread, median},
    fleet, process,
    releases::Releases,
};

/// How often the server is asked how many clusters it has counted.
const COUNTED_EVERY: Duration = Duration::from_millis(10);

/// What is held, and how.
#[derive(Debug, Clone)]
pub struct Holding {
    /// Who pushes, and where.
    pub target: Target,
    /// The channel that is pushed to.
    pub channel: ChannelName,
    /// Bytes of the bundle, canonical and uncompressed.
    pub size: usize,
    /// How the streams are held.
    pub fleet: fleet::Settings,
    /// How long the streams may take to get anywhere.
    pub patience: Duration,
    /// The server's process, on this machine.
    pub server_pid: Option<u32>,
}

/// A fleet with somebody who pushes.
pub struct Held {
    holding: Holding,
    fleet: Fleet,
    releases: Releases,
    client: Client,
    sequence: u64,
    /// From when on the present step is counted.
    since: Instant,
    stop: CancellationToken,
}

impl Held {
    /// Pushes a first version, and lets one of `members` learn it. No stream is open yet. Waiting ends early when `stop`
    /// is cancelled.
    ///
    /// # Errors
    /// When the push fails, or the one member gets nowhere.
    pub async fn prepare(
        holding: Holding,
        members: &[Member],
        dials: Vec<Arc<Dial>>,
        stop: CancellationToken,
    ) -> Result<Self, Error> {
        let (releases, sequence) = Releases::begin(&holding.target, &holding.channel, holding.size).await?;
        let client = Client::connect(holding.target.clone())?;
        let fleet = Fleet::new(members, dials, &holding.fleet).await?;
        Ok(Self {
            holding,
            fleet,
            releases,
            client,
            sequence,
            since: Instant::now(),
            stop,
        })
    }

    /// Bytes of the bundle.
    ///
    /// # Errors
    /// [`Error::Workload`] when it cannot be made.
    pub fn bundle_bytes(&self) -> Result<usize, Error> {
        self.releases.bytes()
    }

    /// What the streams have verified.
    pub fn board(&self) -> &Board {
        self.fleet.board()
    }

    /// Opens all streams; returns when all have verified what there is.
    ///
    /// # Errors
    /// As [`Fleet::until_verified`].
    pub async fn open(&mut self) -> Result<StreamReport, Error> {
        let (counted, begun) = (Counted::of(self.board()), Instant::now());
        self.since = begun;
        self.fleet.open();
        self.until_verified().await?;
        Ok(self.streams(begun, &counted))
    }

    /// Pushes the next version; returns when all have verified it. Answers too when each had, in milliseconds.
    ///
    /// # Errors
    /// When the push fails, and as [`Fleet::until_verified`].
    pub async fn change(&mut self) -> Result<(ChangeReport, Vec<f64>), Error> {
        let bundle = self.releases.make()?;
        self.push(bundle).await
    }

    /// As [`Held::change`], with a bundle of the caller's.
    ///
    /// # Errors
    /// As [`Held::change`].
    pub async fn push(&mut self, bundle: Bundle) -> Result<(ChangeReport, Vec<f64>), Error> {
        let (received, cpu) = (self.board().received(), self.cpu());
        let pushed = self.releases.push(bundle).await?;
        (self.sequence, self.since) = (pushed.pushed.sequence, pushed.acknowledged);
        self.until_verified().await?;
        let delays = milliseconds(&self.board().delays(self.sequence, pushed.acknowledged));
        let bytes = grown(&self.board().received(), &received);
        let counted = self.until_counted().await?;
        let report = ChangeReport {
            sequence: self.sequence,
            verified: self.board().verified(self.sequence),
            milliseconds: Spread::of(&delays),
            push_milliseconds: pushed.acknowledged.duration_since(pushed.begun).as_secs_f64() * 1e3,
            bytes_per_agent: median(&bytes),
            counted_milliseconds: counted.map(|at| at.duration_since(pushed.acknowledged).as_secs_f64() * 1e3),
            most_bytes: bytes.iter().copied().fold(0.0, f64::max),
            server_cpu_microseconds: self.cpu_since(cpu).map(|seconds| seconds * 1e6),
        };
        Ok((report, delays))
    }

    /// Drops all streams at once; returns when all are back and have verified the current directive again.
    ///
    /// # Errors
    /// As [`Fleet::until_verified`].
    pub async fn reconnect(&mut self) -> Result<Reconnected, Error> {
        let (counted, cpu, begun) = (Counted::of(self.board()), self.cpu(), Instant::now());
        self.since = begun;
        self.fleet.cut();
        self.until_verified().await?;
        Ok(Reconnected {
            streams: self.streams(begun, &counted),
            server_cpu_milliseconds: self.cpu_since(cpu).map(|seconds| seconds * 1e3),
        })
    }

    /// Waits until the server that was killed has lost all streams; `restart` brings another one; returns when all are
    /// back and have verified the current directive again, counted from when it was there.
    ///
    /// # Errors
    /// Those of `restart`, which answers with the new server's process, and as [`Fleet::until_verified`].
    pub async fn return_to<E: From<Error>>(
        &mut self,
        restart: impl AsyncFnOnce() -> Result<u32, E>,
    ) -> Result<StreamReport, E> {
        self.fleet.until_gone(self.holding.patience, &self.stop).await?;
        self.board().forget();
        let counted = Counted::of(self.board());
        self.holding.server_pid = Some(restart().await?);
        let begun = Instant::now();
        self.since = begun;
        self.until_verified().await?;
        Ok(self.streams(begun, &counted))
    }

    /// Waits until all streams have verified what was pushed last.
    ///
    /// # Errors
    /// As [`Fleet::until_verified`].
    pub async fn until_verified(&self) -> Result<(), Error> {
        let waiting = self
            .fleet
            .until_verified(self.sequence, self.holding.patience, &self.stop);
        waiting.await
    }

    /// Waits until the server has counted every cluster as healthy, where they report; says when it had.
    async fn until_counted(&self) -> Result<Option<Instant>, Error> {
        if !self.holding.fleet.reports {
            return Ok(None);
        }
        let begun = Instant::now();
        loop {
            let healthy = self.client.channel(&self.holding.channel).await?.progress.healthy as usize;
            let all = self.board().streams();
            if healthy >= all {
                return Ok(Some(Instant::now()));
            }
            if self.stop.is_cancelled() {
                return Err(Error::Interrupted);
            }
            if begun.elapsed() > self.holding.patience {
                return Err(Error::Late {
                    missing: all - healthy,
                    agents: all,
                    seconds: self.holding.patience.as_secs(),
                    why: "the server has not counted their reports".to_owned(),
                });
            }
            tokio::time::sleep(COUNTED_EVERY).await;
        }
    }

    /// How far the streams are with what they were to verify last: for whoever stops to wait for the rest.
    pub fn reached(&self) -> Reached {
        let delays = milliseconds(&self.board().delays(self.sequence, self.since));
        Reached {
            sequence: self.sequence,
            connected: self.board().connected(),
            verified: self.board().verified(self.sequence),
            milliseconds: Spread::of(&delays),
        }
    }

    /// Ends all streams.
    pub async fn close(self) {
        self.fleet.close().await;
    }

    fn cpu(&self) -> Option<f64> {
        let used = self.holding.server_pid.and_then(process::used);
        used.map(|used| used.cpu_seconds)
    }

    /// Processor seconds per agent.
    fn cpu_since(&self, before: Option<f64>) -> Option<f64> {
        let agents = self.board().streams().max(1) as f64;
        self.cpu().zip(before).map(|(after, before)| (after - before) / agents)
    }

    /// What opening all streams took.
    fn streams(&self, begun: Instant, before: &Counted) -> StreamReport {
        let after = Counted::of(self.board());
        let delays = milliseconds(&self.board().delays(self.sequence, begun));
        let objects = grown(&after.objects, &before.objects);
        StreamReport {
            seconds: delays.iter().copied().fold(0.0, f64::max) / 1e3,
            bytes_per_agent: median(&grown(&after.received, &before.received)),
            sent_per_agent: median(&grown(&after.sent, &before.sent)),
            objects_per_agent: objects.iter().sum::<f64>() / objects.len().max(1) as f64,
            milliseconds: Spread::of(&delays),
        }
    }
}

/// What had been counted at some moment.
struct Counted {
    received: Vec<u64>,
    sent: Vec<u64>,
    objects: Vec<u64>,
}

impl Counted {
    fn of(board: &Board) -> Self {
        Self {
            received: board.received(),
            sent: board.sent(),
            objects: board.objects(),
        }
    }
}

fn grown(after: &[u64], before: &[u64]) -> Vec<f64> {
    let grown = after.iter().zip(before).map(|(after, before)| (after - before) as f64);
    grown.collect()
}

fn milliseconds(delays: &[Duration]) -> Vec<f64> {
    delays.iter().map(|delay| delay.as_secs_f64() * 1e3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_of_each_stream() {
        assert_eq!(grown(&[5, 9], &[5, 2]), [0.0, 7.0]);
    }
}
