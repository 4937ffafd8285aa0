//! Two thousand agents of which 5 % stall, 5 % flap and 5 % send garbage.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use driftless_agent::{Follower, Timings};
use driftless_load::{Held, Holding, fleet, workload::Workload};
use driftless_model::hash::ObjectHash;
use driftless_tests::{eventually, say};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    flapping::Flapping,
    garbage::Garbage,
    stage::{COMPONENT, SOON, Stage, large, small},
    stalled::{Stall, Stalled},
    wire::{Caller, converge},
};

const AGENTS: usize = 2000;
/// Of each kind of badly behaved ones.
const BAD: usize = AGENTS / 20;
/// Of those who send garbage: never say Hello.
const SILENT: usize = BAD / 10;
/// Changes that everybody has to verify meanwhile.
const CHANGES: usize = 4;
/// Bytes of what changes in one line.
const SIZE: usize = 40 << 10;
/// Of those who flap or send garbage: connected at once, each.
const AT_ONCE: usize = 8;

/// What one bad stream may cost the server: a piece of an object in the buffer of HTTP/2 (128 KiB), a window of what is
/// received, and TLS.
const STREAM: u64 = 256 << 10;
/// The largest message that is taken from an agent, while it is not all there.
const MESSAGE: u64 = 4 << 20;
/// What was pushed, in the cache, and the allocator's share.
const REST: u64 = 16 << 20;
/// Ten times as much would be queued if each stalled stream had what it asked for.
const BOUND: u64 = 3 * BAD as u64 * STREAM + AT_ONCE as u64 * MESSAGE + REST;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stalls_flaps_or_sends_garbage_costs_nobody_else() -> Result<()> {
    driftless_load::raise_limit();
    let stage = Stage::open().await?;
    let members = stage.recruit(AGENTS).await?;
    let dial = stage.dial().await?;
    let callers: Vec<_> = members
        .iter()
        .enumerate()
        .map(|(number, member)| Caller {
            dial: Arc::clone(&dial),
            member: member.clone(),
            number,
        })
        .collect();
    let (healthy, bad) = members.split_at(AGENTS - 3 * BAD);
    let holding = Holding {
        target: stage.target.clone(),
        channel: stage.channel.clone(),
        size: SIZE,
        fleet: patient(),
        patience: SOON,
        server_pid: None,
    };
    let mut held = Held::prepare(holding, healthy, vec![dial], CancellationToken::new()).await?;
    held.open().await?;
    let first = large(0)?;
    let object = first.hash();
    held.push(first).await?;
    let (failures, connections) = (held.board().failures(), held.board().connections());
    let before = stage.forget_peak()?;

    let callers = &callers[healthy.len()..];
    let (stalling, rest) = callers.split_at(BAD);
    let (flapping, sending) = rest.split_at(BAD);
    let mut stalled: Vec<_> = stream::iter(stalling)
        .enumerate()
        .map(async |(number, caller)| {
            let stall = if number % 10 == 0 { Stall::Socket } else { Stall::Window };
            Stalled::begin(caller, stall, &object).await
        })
        .buffered(16)
        .try_collect()
        .await?;
    let mut noisy = Noisy::begin(&stage, object, flapping, sending).await?;

    let workload = Workload::new(COMPONENT.parse()?, SIZE);
    let mut sequence = 0;
    for number in 1..=CHANGES {
        let bundle = if number % 2 == 0 {
            large(number)?
        } else {
            small(&workload, number)?
        };
        let (change, _) = held.push(bundle).await.with_context(|| format!("change {number}"))?;
        sequence = change.sequence;
        ensure!(
            change.verified == healthy.len(),
            "{} verified change {number}",
            change.verified
        );
        for stalled in &mut stalled {
            ensure!(
                stalled.is_stuck().await?,
                "a stalled stream was gone at change {number}"
            );
        }
        noisy.go_on().await?;
    }
    let (late, again) = (held.board().failures(), held.board().connections());
    ensure!(
        (late, again) == (failures, connections),
        "healthy streams were lost: {:?}",
        held.board().failure()
    );
    let grown = stage.server().peak_resident_bytes()?.saturating_sub(before);
    say(&format!(
        "{} bad agents: {} flaps and {} pieces of garbage; the server had {} MiB before, and {} MiB more at its peak",
        bad.len(),
        noisy.flaps.load(Ordering::Relaxed),
        noisy.garbage.load(Ordering::Relaxed),
        before >> 20,
        grown >> 20
    ));
    ensure!(grown <= BOUND, "the server grew by {grown} bytes, more than {BOUND}");

    let (mut followers, others) = noisy.end().await?;
    for stalled in stalled {
        let directives = stalled.resume(sequence).await?;
        // Whoever was stuck before the first of them had none of them on its way.
        ensure!(
            directives.unwrap_or(1) < CHANGES,
            "directives were queued: {directives:?} came"
        );
    }
    // Whoever behaved badly is no worse off for it once it does not any more.
    let fresh = stalling.iter().chain(&others).map(|caller| {
        let follower = Follower::new(caller.member.cluster().clone());
        (caller.clone(), follower)
    });
    followers.extend(fresh);
    ensure!(
        followers.len() == bad.len(),
        "{} of the bad ones are left",
        followers.len()
    );
    stream::iter(followers)
        .map(Ok)
        .try_for_each_concurrent(16, async |(caller, mut follower)| {
            let converged = converge(&caller, &mut follower, sequence).await;
            converged.map(drop).with_context(|| caller.member.cluster().to_string())
        })
        .await?;
    held.close().await;
    Ok(())
}

/// Streams that never take a busy server for one that is gone: no clock has a part in what is shown.
fn patient() -> fleet::Settings {
    fleet::Settings {
        timings: Timings {
            keep_alive: SOON,
            connect: SOON,
            ..Timings::default()
        },
        ..fleet::Settings::default()
    }
}

/// Those who flap and those who send garbage, at it until they are told to stop.
struct Noisy {
    flapping: JoinSet<Result<(Caller, Follower)>>,
    sending: JoinSet<Result<Caller>>,
    flaps: Arc<AtomicU64>,
    garbage: Arc<AtomicU64>,
    stop: CancellationToken,
}

impl Noisy {
    async fn begin(stage: &Stage, object: ObjectHash, flapping: &[Caller], sending: &[Caller]) -> Result<Self> {
        let (flaps, garbage, stop) = (Arc::default(), Arc::default(), CancellationToken::new());
        let mut noisy = Self {
            flapping: JoinSet::new(),
            sending: JoinSet::new(),
            flaps: Arc::clone(&flaps),
            garbage: Arc::clone(&garbage),
            stop: stop.clone(),
        };
        let flap = Flapping {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            rounds: flaps,
            stop: stop.clone(),
        };
        let (one, _) = flapping.split_first().context("nobody flaps")?;
        let mut model = Follower::new(one.member.cluster().clone());
        drop(converge(one, &mut model, 1).await?);
        for caller in flapping {
            let follower = model.alike(caller.member.cluster().clone());
            noisy.flapping.spawn(flap.clone().flap(caller.clone(), follower));
        }
        let send = Garbage {
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            rounds: garbage,
            stop,
            address: stage.address().to_owned(),
            object,
        };
        for (number, caller) in sending.iter().enumerate() {
            let (send, caller) = (send.clone(), caller.clone());
            if number < SILENT {
                noisy.sending.spawn(send.keep_silent(caller));
            } else {
                noisy.sending.spawn(send.send(caller));
            }
        }
        Ok(noisy)
    }

    /// Returns when they have been at it a good deal more than before.
    async fn go_on(&mut self) -> Result<()> {
        let counts = [&self.flaps, &self.garbage].map(|count| (Arc::clone(count), count.load(Ordering::Relaxed)));
        let is_more =
            |(count, before): &(Arc<AtomicU64>, u64)| count.load(Ordering::Relaxed) >= before + BAD as u64 / 2;
        let outcome = eventually(SOON, "more flaps and more garbage", async || match self.failure() {
            Some(failure) => Ok(Some(Err(failure))),
            None => Ok(counts.iter().all(is_more).then_some(Ok(()))),
        });
        outcome.await?
    }

    /// Why one of them ended, if one did: most likely it was answered as it should not be.
    fn failure(&mut self) -> Option<anyhow::Error> {
        let flapped = std::iter::from_fn(|| self.flapping.try_join_next());
        let failed = flapped.filter_map(Result::ok).find_map(Result::err);
        failed.or_else(|| {
            let sent = std::iter::from_fn(|| self.sending.try_join_next());
            sent.filter_map(Result::ok).find_map(Result::err)
        })
    }

    /// Has all of them stop.
    async fn end(mut self) -> Result<(Vec<(Caller, Follower)>, Vec<Caller>)> {
        self.stop.cancel();
        let (mut flapped, mut sent) = (Vec::new(), Vec::new());
        while let Some(ended) = self.flapping.join_next().await {
            flapped.push(ended??);
        }
        while let Some(ended) = self.sending.join_next().await {
            sent.push(ended??);
        }
        Ok((flapped, sent))
    }
}
