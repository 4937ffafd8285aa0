//! How a change's cost grows with agents: it should be a line. On one server, with streams that this process holds; and
//! on three with one bucket, where there are more agents than one process may open files for.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use driftless_load::{
    ChangeReport, Member, Shares,
    figures::median,
    plot::{self, Series},
    typical,
};

use driftless_tests::child::Running;

use super::{
    change::fan_out,
    scale::{each, in_turn},
};
use crate::{
    Args, generator,
    report::{Goal, Report},
    stage::{Replica, Stage},
};

const SERVERS: usize = 3;

/// What a change took.
struct Cost {
    agents: usize,
    servers: usize,
    /// Milliseconds until the last agent had verified it.
    latency: f64,
    /// Milliseconds of all servers' processors.
    cpu: f64,
}

/// A floor's milliseconds, until its last client and of its processors, for each client.
type Floor = (f64, f64);

pub(crate) async fn measure(args: &Args, report: &mut Report) -> Result<()> {
    let mut ground = Ground::lay(args).await?;
    let mut costs = one_server(args, &mut ground, report).await?;
    for agents in &args.spread {
        costs.push(three_servers(args, *agents, &mut ground, report).await?);
    }
    ground.tell(report);
    ground.stage.close().await?;
    for pair in costs.windows(2) {
        slopes(&pair[0], &pair[1], report);
    }
    args.draw("law", || {
        let series = |name: &str, value: fn(&Cost) -> f64| Series {
            name: name.to_owned(),
            points: costs.iter().map(|cost| (cost.agents as f64, value(cost))).collect(),
        };
        plot::growth(
            &format!("One line of {} KiB changed", args.size / 1024),
            "agents",
            "milliseconds",
            &[
                series("until the last agent has verified it", |cost| cost.latency),
                series("processor time of the servers", |cost| cost.cpu),
            ],
        )
    })
}

/// One server and its clusters, and the floor beside it. That is measured again and again: the machine may become slower,
/// or faster.
struct Ground {
    stage: Stage,
    members: Vec<Member>,
    counts: Vec<usize>,
    floors: Vec<Floor>,
}

impl Ground {
    async fn lay(args: &Args) -> Result<Self> {
        let mut counts = args.law.clone();
        if counts.is_empty() {
            counts.extend([args.agents / 10, args.agents / 2, args.agents]);
        }
        for count in &mut counts {
            *count = (*count).max(1);
        }
        counts.sort_unstable();
        counts.dedup();
        let stage = Stage::open().await?;
        let members = stage.recruit(counts.iter().copied().fold(1, usize::max)).await?;
        Ok(Self {
            stage,
            members,
            counts,
            floors: Vec::new(),
        })
    }

    /// A bare fan-out of so many bytes to as many clients as there are clusters.
    async fn floor(&mut self, args: &Args, bytes: f64) -> Result<Floor> {
        let (latency, cpu) = fan_out(args, &self.stage, &self.members, bytes).await?;
        let floor = (latency / self.members.len() as f64, cpu / 1e3);
        self.floors.push(floor);
        Ok(floor)
    }

    fn tell(&self, report: &mut Report) {
        let (latency, cpu) = middle(&self.floors);
        report.add(
            format!("a bare fan-out to {}: until the last, per client", self.members.len()),
            latency * 1e3,
            "µs",
            None,
            None,
        );
        report.add("the same: its CPU per client", cpu * 1e3, "µs", None, None);
    }
}

fn middle(floors: &[Floor]) -> Floor {
    let of = |figure: fn(&Floor) -> f64| median(&floors.iter().map(figure).collect::<Vec<_>>());
    (of(|floor| floor.0), of(|floor| floor.1))
}

/// Some of the same clusters at a time, from few to all of them and back, and so on.
async fn one_server(args: &Args, ground: &mut Ground, report: &mut Report) -> Result<Vec<Cost>> {
    let mut found: BTreeMap<usize, Vec<ChangeReport>> = BTreeMap::new();
    for pass in 1..=args.passes {
        let mut bytes = 0.0;
        for agents in in_turn(ground.counts.iter().copied(), pass) {
            let members = &ground.members[..agents];
            let mut held = ground.stage.hold(args, members, args.size, false).await?;
            held.open().await?;
            let changes = each(args, &mut held).await?;
            held.close().await;
            let change = typical(&changes);
            eprintln!("pass {pass}, {agents} agents: {:.0} ms", change.milliseconds.max);
            bytes = change.bytes_per_agent;
            found.entry(agents).or_default().extend(changes);
        }
        ground.floor(args, bytes).await?;
    }
    found
        .iter()
        .map(|(agents, changes)| tell(*agents, 1, &typical(changes), None, report))
        .collect()
}

/// What is spread over three servers, and held by three processes.
struct ThreeServers {
    stage: Stage,
    shares: Shares,
    /// The other two servers.
    _replicas: Vec<Replica>,
    _holders: Vec<Running>,
}

impl ThreeServers {
    /// Starts all of them. Nobody has joined yet.
    async fn begin(args: &Args, agents: usize) -> Result<Self> {
        let stage = Stage::open().await?;
        let replicas = vec![stage.replica(2).await?, stage.replica(3).await?];
        let others = replicas
            .iter()
            .map(|replica| (replica.target.clone(), replica.data.clone()));
        let servers: Vec<_> = std::iter::once((stage.target.clone(), stage.data()))
            .chain(others)
            .collect();
        let (mut holders, mut shares, mut first) = (Vec::new(), Vec::new(), 1);
        for (number, (target, data)) in servers.iter().enumerate() {
            // What cannot be divided goes to the first ones.
            let count = agents / SERVERS + usize::from(number < agents % SERVERS);
            let (holder, share) = generator::start(args, target, &stage.channel, data, first, count).await?;
            holders.push(holder);
            shares.push(share);
            first += count;
        }
        let pids = std::iter::once(stage.pid()).chain(replicas.iter().map(|replica| replica.server.pid()));
        let shares = Shares::prepare(&stage.target, &stage.channel, args.size, shares, pids.collect()).await?;
        Ok(Self {
            stage,
            shares,
            _replicas: replicas,
            _holders: holders,
        })
    }

    async fn close(self) -> Result<()> {
        self.stage.close().await
    }
}

/// A third on each server, held by a process of its own. One process cannot hold as many bare connections either: the
/// floor is as much for each client as measured with fewer, before and after.
async fn three_servers(args: &Args, agents: usize, ground: &mut Ground, report: &mut Report) -> Result<Cost> {
    let mut fleet = ThreeServers::begin(args, agents).await?;
    eprintln!("{agents} clusters join");
    fleet.shares.recruit().await?;
    eprintln!("opening {agents} streams");
    let what = format!("{agents} agents on {SERVERS} servers");
    let opened = fleet.shares.open().await?;
    report.add(format!("{what}: all streams opened"), opened, "ms", None, None);
    fleet.shares.change().await?;
    let (mut found, mut delays, mut behind) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=args.changes {
        let change = fleet.shares.change().await?;
        ensure!(change.report.verified == agents, "an agent is ahead of the others");
        eprintln!("change {number}: {:.0} ms", change.report.milliseconds.max);
        let last = |share: &[f64]| share.iter().copied().fold(0.0, f64::max);
        let others = change.delays.iter().skip(1).map(|share| last(share));
        behind.push(others.fold(0.0, f64::max) - last(&change.delays[0]));
        found.push(change.report);
        delays.push(change.delays.concat());
    }
    args.draw(&format!("change-{agents}"), || {
        let title = format!("{what}, one line of {} KiB changed", args.size / 1024);
        plot::arrivals(&title, &delays)
    })?;
    fleet.close().await?;
    let change = typical(&found);
    let before = ground.floors.last().copied();
    let after = ground.floor(args, change.bytes_per_agent).await?;
    let floor = middle(&[before.unwrap_or(after), after]);
    let (half, last) = (change.milliseconds.p50, change.milliseconds.max);
    report.add(format!("{what}: half of them verified"), half, "ms", None, None);
    report.add(
        format!("{what}: the last verified"),
        last,
        "ms",
        Some(floor.0 * agents as f64),
        Some(Goal::Floors(2.0)),
    );
    let behind = median(&behind);
    report.add(
        format!("{what}: the others, behind the first's"),
        behind,
        "ms",
        None,
        None,
    );
    tell(agents, SERVERS, &change, Some(floor.1), report)
}

fn tell(agents: usize, servers: usize, change: &ChangeReport, floor: Option<f64>, report: &mut Report) -> Result<Cost> {
    let each = change
        .server_cpu_microseconds
        .context("the servers' processor time cannot be read")?;
    let cost = Cost {
        agents,
        servers,
        latency: change.milliseconds.max,
        cpu: each * agents as f64 / 1e3,
    };
    let what = cost.what();
    let latency = cost.latency / agents as f64 * 1e3;
    let (floor, bytes) = (floor.map(|milliseconds| milliseconds * 1e3), change.bytes_per_agent);
    report.add(format!("{what}: until the last, per agent"), latency, "µs", None, None);
    report.add(format!("{what}: server CPU per agent"), each, "µs", floor, None);
    report.add(
        format!("{what}: bytes per agent"),
        bytes,
        "B",
        None,
        Some(Goal::Most(600.0)),
    );
    Ok(cost)
}

/// What is fixed makes a slope flatter, never steeper.
fn slopes(few: &Cost, many: &Cost, report: &mut Report) {
    let agents = many.agents as f64 / few.agents as f64;
    let between = format!("from {} to {}", few.agents, many.what());
    let goal = Some(Goal::Most(1.1));
    let (latency, cpu) = (many.latency / few.latency / agents, many.cpu / few.cpu / agents);
    report.add(format!("latency, slope {between}"), latency, "", None, goal);
    report.add(format!("server CPU, slope {between}"), cpu, "", None, goal);
}

impl Cost {
    fn what(&self) -> String {
        match self.servers {
            1 => format!("{} agents", self.agents),
            servers => format!("{} agents on {servers} servers", self.agents),
        }
    }
}
