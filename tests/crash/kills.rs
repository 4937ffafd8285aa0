//! `kill -9` of the server at random moments while many push.

use std::{
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use driftless_client::Client;
use driftless_model::name::ChannelName;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::task::JoinSet;

use crate::{
    history::{Account, History},
    pushers::Pusher,
    served::Served,
};

/// How often the server is killed; the default keeps `cargo test` short.
const CRASHES: &str = "DRIFTLESS_CRASHES";
/// Replays the moments of the kills.
const SEED: &str = "DRIFTLESS_CRASH_SEED";
/// The server lives no longer than this once it serves.
const LONGEST_LIFE: Duration = Duration::from_millis(250);
/// One in so many kills hits the server while it starts.
const KILL_EARLY: u32 = 8;
/// Every so many kills the log is read, and the dead server's bucket is verified.
const READ_EVERY: u32 = 5;
const VERIFY_EVERY: u32 = 80;
/// Servers that are killed in the middle of their very first start.
const FIRST_STARTS: u32 = 10;
/// How much of the log is read at first, and at most.
const LOG: u32 = 64;
const LONGEST_LOG: u32 = 1000;

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_push_survives_kills_at_random_moments() -> Result<()> {
    let crashes = setting(CRASHES)?.unwrap_or(40);
    let seed = setting(SEED)?.unwrap_or_else(|| u64::from(std::process::id()));
    println!("{crashes} kills, {SEED}={seed}");
    let channel: ChannelName = "prod".parse()?;
    let mut served = Served::new(None)?;
    let first_start = served.start().await?;
    let client = served.client()?;
    client.create_channel(&channel).await?;

    let begin = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let mut pushers = start_pushers(&served, &channel, &stop)?;
    let mut storm = Storm {
        served,
        client,
        channel,
        history: History::default(),
        starts: vec![first_start],
    };
    let mut rng = StdRng::seed_from_u64(seed);
    for crash in 1..=u32::try_from(crashes)? {
        storm
            .crash(crash, &mut rng)
            .await
            .with_context(|| format!("at kill {crash}, {SEED}={seed}"))?;
        if let Some(early) = pushers.try_join_next() {
            early??;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut accounts = Vec::new();
    while let Some(account) = pushers.join_next().await {
        accounts.push(account??);
    }
    storm.read_log().await?;
    storm.judge(&accounts).await.with_context(|| format!("{SEED}={seed}"))?;
    println!("{}", storm.summary(crashes, &accounts, begin.elapsed()));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn first_start_can_be_killed_at_any_moment() -> Result<()> {
    let seed = setting(SEED)?.unwrap_or_else(|| u64::from(std::process::id()));
    println!("{SEED}={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let usual = Served::new(None)?.start().await?;
    for kill in 1..=FIRST_STARTS {
        let mut served = Served::new(None)?;
        served.spawn()?;
        tokio::time::sleep(usual.mul_f64(rng.random())).await;
        served.kill();
        served
            .start()
            .await
            .with_context(|| format!("after kill {kill}, {SEED}={seed}"))?;
        served.client()?.create_channel(&"prod".parse()?).await?;
        served.kill();
        served.verify().await?;
    }
    Ok(())
}

/// Three that are alone with a component, one that sets two at once, and two that fight over one.
fn start_pushers(served: &Served, channel: &ChannelName, stop: &Arc<AtomicBool>) -> Result<JoinSet<Result<Account>>> {
    let kinds: [(&[&str], bool); 6] = [
        (&["cart"], false),
        (&["checkout"], false),
        (&["search"], false),
        (&["left", "right"], false),
        (&["shared"], true),
        (&["shared"], true),
    ];
    let mut pushers = JoinSet::new();
    for (number, (components, has_rivals)) in (1..).zip(kinds) {
        let components = components.iter().map(|name| Ok(name.parse()?));
        let pusher = Pusher {
            // A connection each, as so many machines have.
            client: served.client()?,
            channel: channel.clone(),
            components: components.collect::<Result<_>>()?,
            has_rivals,
            number,
            stop: Arc::clone(stop),
        };
        pushers.spawn(pusher.run());
    }
    Ok(pushers)
}

/// The server, and what was seen of its channel so far.
struct Storm {
    served: Served,
    client: Client,
    channel: ChannelName,
    history: History,
    starts: Vec<Duration>,
}

impl Storm {
    /// Kills the running server at a random moment and starts it again.
    async fn crash(&mut self, crash: u32, rng: &mut StdRng) -> Result<()> {
        tokio::time::sleep(LONGEST_LIFE.mul_f64(rng.random())).await;
        self.served.kill();
        if crash.is_multiple_of(VERIFY_EVERY) {
            self.served.verify().await?;
        }
        if crash.is_multiple_of(KILL_EARLY) {
            self.served.spawn()?;
            tokio::time::sleep(self.usual_start().mul_f64(2.0 * rng.random::<f64>())).await;
            self.served.kill();
        }
        self.starts.push(self.served.start().await?);
        if crash.is_multiple_of(READ_EVERY) {
            self.read_log().await?;
        }
        Ok(())
    }

    /// The median.
    fn usual_start(&self) -> Duration {
        let mut sorted = self.starts.clone();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    }

    /// Takes in what the channel's log says now.
    async fn read_log(&mut self) -> Result<()> {
        let mut limit = LOG;
        loop {
            let log = self.client.log(&self.channel, limit).await?;
            if limit >= LONGEST_LOG || self.history.is_reached_by(&log) {
                return self.history.extend(log);
            }
            limit = (limit * 4).min(LONGEST_LOG);
        }
    }

    /// The end: kills the server once more, and holds log, journal and bucket against what pushers were told.
    async fn judge(&mut self, accounts: &[Account]) -> Result<()> {
        let head = self.client.channel(&self.channel).await?;
        let components: Vec<_> = head.components.values().copied().collect();
        self.client
            .bundles(&components)
            .await
            .context("the head is not whole")?;
        self.served.kill();
        self.history.check(accounts)?;
        for acknowledged in accounts.iter().flat_map(|account| &account.acknowledged) {
            let sequence = acknowledged.sequence;
            let entry = self.served.bucket().join(format!("journal/{sequence:020}"));
            let text = std::fs::read_to_string(&entry).with_context(|| format!("no {}", entry.display()))?;
            ensure!(
                text.contains(&acknowledged.snapshot.to_string()),
                "not in entry {sequence}: {acknowledged:?}"
            );
        }
        for account in accounts {
            ensure!(
                !account.acknowledged.is_empty(),
                "a pusher never got through: {account:?}"
            );
        }
        self.served.verify().await
    }

    fn summary(&self, crashes: u64, accounts: &[Account], took: Duration) -> String {
        let count = |of: fn(&Account) -> usize| accounts.iter().map(of).sum::<usize>();
        format!(
            "{crashes} kills in {took:.1?}, a start {:.0?}: {} pushes acknowledged, {} without an answer, \
             {} conflicts; {} snapshots, all accounted for",
            self.usual_start(),
            count(|account| account.acknowledged.len()),
            count(|account| account.unanswered),
            count(|account| account.conflicts),
            self.history.len(),
        )
    }
}

fn setting(name: &str) -> Result<Option<u64>> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => Ok(Some(
            text.parse().with_context(|| format!("{name}={text} is no number"))?,
        )),
        _ => Ok(None),
    }
}
