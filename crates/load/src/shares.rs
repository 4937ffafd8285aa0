//! A fleet that is spread over several processes and as many servers, and told of changes. Where agents report, nobody waits
//! here until that is counted.

use futures::future::try_join_all;

use driftless_client::Target;
use driftless_model::name::ChannelName;

use crate::{
    ChangeReport, Error, Share,
    figures::{Spread, median},
    moment::Moment,
    process,
    releases::Releases,
    share::Verified,
};

/// Shares of a fleet, with somebody who pushes.
pub struct Shares {
    releases: Releases,
    shares: Vec<Share>,
    /// The servers' processes, on this machine.
    servers: Vec<u32>,
    sequence: u64,
}

/// What a change was like.
#[derive(Debug, Default)]
pub struct SharedChange {
    /// Over all shares.
    pub report: ChangeReport,
    /// When the agents of each share had verified it, in milliseconds since the push was acknowledged.
    pub delays: Vec<Vec<f64>>,
}

impl Shares {
    /// Pushes a first version to one of the servers, by its `target`. No stream is open yet.
    ///
    /// # Errors
    /// When the push fails.
    pub async fn prepare(
        target: &Target,
        channel: &ChannelName,
        size: usize,
        shares: Vec<Share>,
        servers: Vec<u32>,
    ) -> Result<Self, Error> {
        let (releases, sequence) = Releases::begin(target, channel, size).await?;
        Ok(Self {
            releases,
            shares,
            servers,
            sequence,
        })
    }

    /// Has all shares recruited, one after the other: each has processors enough to make itself busy.
    ///
    /// # Errors
    /// Those of the shares.
    pub async fn recruit(&mut self) -> Result<(), Error> {
        for share in &mut self.shares {
            share.recruit().await?;
        }
        Ok(())
    }

    /// Opens all streams; answers how many milliseconds it took until the last had verified what there is.
    ///
    /// # Errors
    /// Those of the shares.
    pub async fn open(&mut self) -> Result<f64, Error> {
        let (sequence, since) = (self.sequence, Moment::now());
        let opened = try_join_all(self.shares.iter_mut().map(|share| share.open(sequence, since))).await?;
        Ok(Spread::of(&milliseconds(&opened).concat()).max)
    }

    /// Pushes the next version; returns when all have verified it.
    ///
    /// # Errors
    /// When the push fails, and those of the shares.
    pub async fn change(&mut self) -> Result<SharedChange, Error> {
        let bundle = self.releases.make()?;
        let before = self.cpu();
        let pushed = self.releases.push(bundle).await?;
        let (sequence, since) = (pushed.pushed.sequence, Moment::of(pushed.acknowledged));
        self.sequence = sequence;
        let verified = try_join_all(self.shares.iter_mut().map(|share| share.wait(sequence, since))).await?;
        let cpu = self.cpu().zip(before).map(|(after, before)| after - before);
        let delays = milliseconds(&verified);
        let received: Vec<_> = verified
            .iter()
            .flat_map(|share| &share.received)
            .map(|bytes| *bytes as f64)
            .collect();
        let report = ChangeReport {
            sequence,
            verified: delays.iter().map(Vec::len).sum(),
            milliseconds: Spread::of(&delays.concat()),
            push_milliseconds: pushed.acknowledged.duration_since(pushed.begun).as_secs_f64() * 1e3,
            bytes_per_agent: median(&received),
            counted_milliseconds: None,
            most_bytes: received.iter().copied().fold(0.0, f64::max),
            server_cpu_microseconds: cpu.map(|seconds| seconds * 1e6 / received.len().max(1) as f64),
        };
        Ok(SharedChange { report, delays })
    }

    /// Processor seconds of all servers, where all can be read.
    fn cpu(&self) -> Option<f64> {
        let used = self.servers.iter().map(|pid| process::used(*pid));
        used.map(|used| used.map(|used| used.cpu_seconds)).sum()
    }
}

fn milliseconds(verified: &[Verified]) -> Vec<Vec<f64>> {
    let of = |share: &Verified| {
        share
            .nanoseconds
            .iter()
            .map(|nanoseconds| *nanoseconds as f64 / 1e6)
            .collect()
    };
    verified.iter().map(of).collect()
}
