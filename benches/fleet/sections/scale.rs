//! How a change's cost grows with what it has nothing to do with: not at all, it should be.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Result, anyhow};
use driftless_client::Push;
use driftless_load::{ChangeReport, Held, Member, figures::median, typical};
use driftless_model::{bundle::Bundle, manifest::Manifest, name::ChannelName};
use serde_json::json;

use crate::{
    Args,
    report::{Goal, Report},
    stage::Stage,
};

/// Agents where something else is varied.
const FEW: usize = 1000;
/// Other components that are pushed at once.
const BATCH: usize = 500;

/// A server with more or less of something.
struct Side {
    what: String,
    stage: Stage,
    members: Vec<Member>,
    /// Seconds that each of its starts took, where it was started again.
    starts: Vec<f64>,
    /// By the number of agents that were held.
    changes: BTreeMap<usize, Vec<ChangeReport>>,
}

impl Side {
    async fn open(agents: usize) -> Result<Self> {
        let stage = Stage::open().await?;
        let members = stage.recruit(agents).await?;
        Ok(Self {
            what: String::new(),
            stage,
            members,
            starts: Vec::new(),
            changes: BTreeMap::new(),
        })
    }

    async fn measure(&mut self, args: &Args, agents: usize) -> Result<()> {
        let members = &self.members[..agents];
        let mut held = self.stage.hold(args, members, args.size, false).await?;
        held.open().await?;
        let changes = each(args, &mut held).await?;
        held.close().await;
        self.changes.entry(agents).or_default().extend(changes);
        Ok(())
    }
}

/// Beside few and many other components, with few agents and with all.
pub(crate) async fn components(args: &Args, report: &mut Report) -> Result<()> {
    let mut sides = Vec::new();
    for count in [10.min(args.many), args.many / 10, args.many] {
        let mut side = Side::open(args.agents).await?;
        push_others(&side.stage, count).await?;
        side.what = format!("{count} other components");
        sides.push(side);
    }
    for pass in 1..=args.passes {
        eprintln!("pass {pass}");
        for side in in_turn(&mut sides, pass) {
            for agents in BTreeSet::from([args.agents.min(FEW), args.agents]) {
                side.measure(args, agents).await?;
            }
        }
    }
    compare(report, sides).await
}

/// With few and many entries in the journal.
pub(crate) async fn journal(args: &Args, report: &mut Report) -> Result<()> {
    let mut sides = Vec::new();
    for count in [100, args.many] {
        let mut side = Side::open(args.agents.min(FEW)).await?;
        fill(&side.stage, count).await?;
        side.what = format!("{} journal entries", side.stage.entries()?);
        sides.push(side);
    }
    for pass in 1..=args.passes {
        eprintln!("pass {pass}");
        for side in in_turn(&mut sides, pass) {
            side.starts.push(side.stage.restart().await?.as_secs_f64());
            side.measure(args, side.members.len()).await?;
        }
    }
    for side in &sides {
        let start = format!("{}: start", side.what);
        report.add(start, median(&side.starts), "s", None, Some(Goal::Most(2.0)));
    }
    compare(report, sides).await
}

/// From the first to the last, and back: the machine becomes slower or faster meanwhile.
pub(super) fn in_turn<T>(some: impl IntoIterator<Item = T>, pass: usize) -> Vec<T> {
    let mut order: Vec<_> = some.into_iter().collect();
    if pass.is_multiple_of(2) {
        order.reverse();
    }
    order
}

/// The change, some times; the first does not count.
pub(super) async fn each(args: &Args, held: &mut Held) -> Result<Vec<ChangeReport>> {
    held.change().await?;
    let mut found = Vec::new();
    for _ in 0..args.changes {
        found.push(held.change().await?.0);
    }
    Ok(found)
}

/// Adds what each side took, beside the first.
async fn compare(report: &mut Report, sides: Vec<Side>) -> Result<()> {
    type Figure = fn(&ChangeReport) -> f64;
    const FIGURES: [(&str, &str, Figure, Option<Goal>); 3] = [
        (
            "until the last",
            "ms",
            |change| change.milliseconds.max,
            Some(Goal::Floors(1.1)),
        ),
        (
            "server CPU per change",
            "µs",
            |change| change.server_cpu_microseconds.unwrap_or_default(),
            Some(Goal::Floors(1.1)),
        ),
        ("bytes per agent", "B", |change| change.bytes_per_agent, None),
    ];
    let mut floors: BTreeMap<usize, ChangeReport> = BTreeMap::new();
    for side in sides {
        for (agents, changes) in &side.changes {
            let change = typical(changes);
            for (name, unit, figure, goal) in FIGURES {
                let floor = floors.get(agents).map(figure);
                let what = format!("{agents} agents, {}: {name}", side.what);
                report.add(what, figure(&change), unit, floor, goal.filter(|_| floor.is_some()));
            }
            floors.entry(*agents).or_insert(change);
        }
        side.stage.close().await?;
    }
    Ok(())
}

/// Pushes so many other components.
async fn push_others(stage: &Stage, count: usize) -> Result<()> {
    eprintln!("{count} other components");
    let client = stage.client()?;
    let numbers: Vec<_> = (0..count).collect();
    for some in numbers.chunks(BATCH) {
        let mut push = Push::new(stage.channel.clone());
        for number in some {
            push = push.bundle(small(&format!("other-{number:05}"), *number)?);
        }
        client.push(push, |_| {}).await?;
    }
    Ok(())
}

/// Pushes to a channel that nobody follows, one after the other, until there are so many entries.
async fn fill(stage: &Stage, entries: usize) -> Result<()> {
    let (client, channel): (_, ChannelName) = (stage.client()?, "elsewhere".parse()?);
    match client.create_channel(&channel).await {
        Err(error) if !error.is_already_there() => return Err(error.into()),
        _ => {}
    }
    let mut there = stage.entries()?;
    eprintln!("filling the journal with {} entries", entries.saturating_sub(there));
    while there < entries {
        let push = Push::new(channel.clone()).bundle(small("filler", there)?);
        tokio::time::timeout(Duration::from_secs(30), client.push(push, |_| {})).await??;
        there += 1;
    }
    Ok(())
}

fn small(component: &str, number: usize) -> Result<Bundle> {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": component}, "data": {"number": number.to_string()}});
    let manifest = Manifest::new(object, "bench").map_err(|problem| anyhow!("{problem}"))?;
    Ok(Bundle::new(component.parse()?, [manifest])?)
}
