//! How a change's cost grows with what it has nothing to do with: not at all, it should be.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Result, anyhow};
use driftless_client::Push;
use driftless_load::{ChangeReport, Held, figures::median, typical};
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

/// Beside few and many other components, with few agents and with all. Those beside few are measured before and after the
/// others, which are compared with the mean: the machine may have become slower meanwhile, or faster.
pub(crate) async fn components(args: &Args, report: &mut Report) -> Result<()> {
    let stage = Stage::open().await?;
    let members = stage.recruit(args.agents).await?;
    let fleets = BTreeSet::from([args.agents.min(FEW), args.agents]);
    let few = 10.min(args.many);
    let mut there = 0;
    let mut found: BTreeMap<usize, BTreeMap<usize, Vec<ChangeReport>>> = BTreeMap::new();
    for count in [few, args.many / 10, args.many, few] {
        eprintln!("{count} other components");
        push_others(&stage, there, count).await?;
        there = count;
        for agents in &fleets {
            let mut held = stage.hold(args, &members[..*agents], args.size, false).await?;
            held.open().await?;
            let change = typical(&each(args, &mut held).await?);
            held.close().await;
            found.entry(*agents).or_default().entry(count).or_default().push(change);
        }
    }
    for (agents, counts) in &found {
        let floors = counts.get(&few).map(Vec::as_slice).unwrap_or_default();
        for (count, changes) in counts {
            let what = format!("{agents} agents, {count} other components");
            let floors = if *count == few { &[] } else { floors };
            compare(report, &what, changes, floors);
        }
    }
    stage.close().await
}

/// With few and many entries in the journal, each of a server of its own, by turns.
pub(crate) async fn journal(args: &Args, report: &mut Report) -> Result<()> {
    let mut stages = Vec::new();
    for count in [100, args.many] {
        let stage = Stage::open().await?;
        let members = stage.recruit(args.agents.min(FEW)).await?;
        fill(&stage, count).await?;
        let what = format!("{} journal entries", stage.entries()?);
        stages.push((what, stage, members, Vec::new(), Vec::new()));
    }
    for pass in 1..=args.passes {
        eprintln!("pass {pass}");
        for (_, stage, members, starts, found) in &mut stages {
            starts.push(stage.restart().await?.as_secs_f64());
            let mut held = stage.hold(args, members, args.size, false).await?;
            held.open().await?;
            found.extend(each(args, &mut held).await?);
            held.close().await;
        }
    }
    let mut first = Vec::new();
    for (what, stage, _, starts, found) in stages {
        let start = format!("{what}: start");
        report.add(start, median(&starts), "s", None, Some(Goal::Most(2.0)));
        let change = typical(&found);
        compare(report, &what, std::slice::from_ref(&change), &first);
        if first.is_empty() {
            first.push(change);
        }
        stage.close().await?;
    }
    Ok(())
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

/// Adds the means of `changes`, beside those of `floors` where there are some.
fn compare(report: &mut Report, what: &str, changes: &[ChangeReport], floors: &[ChangeReport]) {
    type Figure = fn(&ChangeReport) -> f64;
    let goal = (!floors.is_empty()).then_some(Goal::Floors(1.1));
    let figures: [(&str, &'static str, Figure, Option<Goal>); 3] = [
        ("until the last", "ms", |change| change.milliseconds.max, goal),
        (
            "server CPU per change",
            "µs",
            |change| change.server_cpu_microseconds.unwrap_or_default(),
            goal,
        ),
        ("bytes per agent", "B", |change| change.bytes_per_agent, None),
    ];
    for (name, unit, figure, goal) in figures {
        let mean = |of: &[ChangeReport]| of.iter().map(figure).sum::<f64>() / of.len() as f64;
        let floor = (!floors.is_empty()).then(|| mean(floors));
        report.add(format!("{what}: {name}"), mean(changes), unit, floor, goal);
    }
}

/// Pushes others until there are `to`, or removes them, of the `from` that there are.
async fn push_others(stage: &Stage, from: usize, to: usize) -> Result<()> {
    let client = stage.client()?;
    let numbers: Vec<_> = (from.min(to)..from.max(to)).collect();
    for some in numbers.chunks(BATCH) {
        let mut push = Push::new(stage.channel.clone());
        for number in some {
            let name = format!("other-{number:05}");
            push = if from < to {
                push.bundle(small(&name, *number)?)
            } else {
                push.remove(name.parse()?)
            };
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
