//! Agents that hold anything, or say so: none, an old version, one that the store has no more, one that never was. Each ends
//! up with exactly what the channel has, verified by an agent's own session.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use driftless_agent::Follower;
use driftless_load::workload::Workload;
use driftless_model::hash::ObjectHash;
use driftless_proto::{
    to_hash,
    v1::{Hello, agent_message::Message as FromAgent},
};

use crate::{
    stage::{COMPONENT, Pushed, Stage, small},
    wire::{Caller, WINDOW, Wire, converge},
};

/// Large enough for a delta to be worth it.
const SIZE: usize = 40 << 10;

/// An agent, and in what it departs from the truth.
struct Case {
    name: &'static str,
    /// What it really holds.
    follower: Option<Follower>,
    hello: fn(&mut Hello, &World),
    /// Bases that it offers with its first question.
    offers: Option<fn(&World) -> ObjectHash>,
}

/// What was pushed, oldest first. The first is collected; the last is current.
struct World {
    pushed: Vec<Pushed>,
}

impl World {
    fn collected(&self) -> Pushed {
        self.pushed[0]
    }

    fn old(&self) -> Pushed {
        self.pushed[1]
    }

    /// From which the server makes deltas that go along.
    fn previous(&self) -> Pushed {
        self.pushed[self.pushed.len() - 2]
    }

    fn current(&self) -> Pushed {
        self.pushed[self.pushed.len() - 1]
    }
}

fn never(name: &[u8]) -> ObjectHash {
    ObjectHash::of(name)
}

fn both(pushed: Pushed) -> Vec<Bytes> {
    vec![to_hash(&pushed.snapshot), to_hash(&pushed.bundle)]
}

fn truthful(_: &mut Hello, _: &World) {}

fn cases(at_collected: Follower, at_old: Follower, at_previous: Follower) -> Vec<Case> {
    let holds = |name, follower| Case {
        name,
        follower: Some(follower),
        hello: truthful,
        offers: None,
    };
    let says = |name, hello| Case {
        name,
        follower: None,
        hello,
        offers: None,
    };
    let offers = |name, base: fn(&World) -> ObjectHash| Case {
        name,
        follower: None,
        hello: truthful,
        offers: Some(base),
    };
    vec![
        says("holds nothing", truthful),
        says("holds nothing and takes no deltas", |hello, _| {
            hello.takes_deltas = false
        }),
        holds("holds the version before", at_previous),
        holds("holds an old version", at_old),
        holds("holds a version that was collected", at_collected),
        says("says that it holds what never was", |hello, _| {
            hello.held = vec![to_hash(&never(b"a")), to_hash(&never(b"b"))];
        }),
        says("says that it holds the current version", |hello, world| {
            (hello.held, hello.sequence) = (both(world.current()), world.current().sequence);
        }),
        says("says that it holds the current snapshot alone", |hello, world| {
            hello.held = vec![to_hash(&world.current().snapshot)];
        }),
        says("says that it holds the version before", |hello, world| {
            hello.held = both(world.previous());
        }),
        says("says that it holds the collected version", |hello, world| {
            hello.held = both(world.collected());
        }),
        says("says that it is far ahead", |hello, _| hello.sequence = u64::MAX),
        offers("offers a base that never was", |_| never(b"c")),
        offers("offers a base that it does not have", |world| world.old().bundle),
        offers("offers a base that was collected", |world| world.collected().bundle),
        offers("offers what it asks for", |world| world.current().bundle),
        offers("offers a snapshot for a bundle", |world| world.old().snapshot),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_with_any_base_converges() -> Result<()> {
    let mut stage = Stage::open().await?;
    let workload = Workload::new(COMPONENT.parse()?, SIZE);
    let mut members = stage.recruit(20).await?.into_iter().enumerate();
    let dial = stage.dial().await?;
    let mut next = || {
        let (number, member) = members.next().context("too few members")?;
        anyhow::Ok(Caller {
            dial: dial.clone(),
            member,
            number,
        })
    };
    let mut world = World { pushed: Vec::new() };
    let (mut callers, mut followers) = (Vec::new(), Vec::new());
    // The last is pushed after the restart, so that something goes along with it.
    for version in 0..4 {
        let pushed = stage.push(small(&workload, version)?).await?;
        world.pushed.push(pushed);
        if [0, 1, 3].contains(&version) {
            let caller = next()?;
            let mut follower = Follower::new(caller.member.cluster().clone());
            drop(converge(&caller, &mut follower, pushed.sequence).await?);
            callers.push(caller);
            followers.push(follower);
        }
    }
    let gone = world.collected();
    stage.collect(&gone.snapshot)?;
    stage.collect(&gone.bundle)?;
    // What was read before is in the server's memory.
    stage.restart().await?;
    world.pushed.push(stage.push(small(&workload, 4)?).await?);

    let [at_collected, at_old, at_previous] = followers.try_into().ok().context("three of them")?;
    let holders: Vec<_> = callers;
    let mut holders = [&holders[2], &holders[1], &holders[0]].map(Clone::clone).into_iter();
    let mut open = Vec::new();
    for case in cases(at_collected, at_old, at_previous) {
        let caller = if case.follower.is_some() {
            holders.next().context("three of them")?
        } else {
            next()?
        };
        let (name, converged) = (case.name, converges(case, &caller, &world).await);
        open.push((name, converged.with_context(|| format!("the agent that {name}"))?));
    }
    // From there on all of them are alike.
    let last = stage.push(small(&workload, 5)?).await?;
    for (name, (wire, follower)) in &mut open {
        let following = wire.follow(follower, last.sequence, |_| {});
        following
            .await
            .with_context(|| format!("the agent that {name}, afterwards"))?;
    }
    Ok(())
}

async fn converges(case: Case, caller: &Caller, world: &World) -> Result<(Wire, Follower)> {
    let Case {
        follower,
        hello: alter,
        offers,
        ..
    } = case;
    let mut follower = follower.unwrap_or_else(|| Follower::new(caller.member.cluster().clone()));
    ensure!(
        follower.cluster() == caller.member.cluster(),
        "the stream of another cluster"
    );
    let mut hello = follower.hello();
    if let Some(FromAgent::Hello(hello)) = &mut hello.message {
        alter(hello, world);
    }
    let mut wire = Wire::greeted(caller, WINDOW, hello).await?;
    let mut offer = offers.map(|base| to_hash(&base(world)));
    let following = wire.follow(&mut follower, world.current().sequence, |answer| {
        if let FromAgent::Want(want) = answer
            // Of the bundle: the snapshot comes first, and says which.
            && want.hashes.contains(&to_hash(&world.current().bundle))
            && let Some(base) = offer.take()
        {
            want.bases = vec![base; want.hashes.len()];
        }
    });
    following.await?;
    // Of a lie that was never told nothing follows.
    ensure!(offer.is_none(), "it never asked for the bundle");
    Ok((wire, follower))
}
