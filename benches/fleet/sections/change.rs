//! One fleet, held open: what it costs while nothing happens, what a change costs, and what it takes to come back.

use std::time::Duration;

use anyhow::{Context as _, Result};
use driftless_load::{ChangeReport, Held, Member, figures::median, fleet::Settings, plot, typical};
use driftless_model::{bundle::Bundle, manifest::Manifest};
use serde_json::json;

use crate::{
    Args, Section,
    floor::{Floor, Kind},
    report::{Goal, Report},
    stage::Stage,
};

/// Names of figures that other sections compare with.
pub(crate) const CPU: &str = "server CPU per delivered change";
pub(crate) const IDLE: &str = "server CPU while all are idle";

/// Bytes of a TLS record that are not content.
const RECORD: f64 = 22.0;
/// Incompressible, so that about 60 KB of it travel: less than goes along with a directive.
const BLOB: usize = 80_000;

pub(crate) async fn measure(args: &Args, report: &mut Report) -> Result<()> {
    let mut stage = Stage::open().await?;
    let members = stage.recruit(args.agents).await?;
    // A server that has just enrolled everybody is not what idles for months.
    stage.restart().await?;
    warm_up(args, &stage, &members).await?;
    let before = stage.used()?.resident_bytes;
    // Not beside the fleet: one process may not open files for both.
    let floors = Floors::measure(args, &stage, &members).await?;
    let mut held = stage.hold(args, &members, args.size, false).await?;
    eprintln!("opening {} streams", args.agents);
    let opened = held.open().await?;
    report.add("all streams opened", opened.seconds * 1e3, "ms", None, None);
    if args.sections.contains(&Section::Idle) {
        idle(args, &stage, &held, before, floors.stream, report).await?;
    }
    let mut change = None;
    if args.sections.contains(&Section::Change) {
        change = Some(changes(args, &mut held).await?);
    }
    if args.sections.contains(&Section::Blob) {
        blob(&stage, &mut held, report).await?;
    }
    if args.sections.contains(&Section::Reconnect) {
        reconnect(&mut stage, floors.handshakes, &mut held, report).await?;
    }
    held.close().await;
    if args.sections.contains(&Section::Reconnect) {
        strangers(args, &stage, floors.handshakes, &members, report).await?;
    }
    if let Some(change) = change {
        tell(args, &stage, &members, &change, report).await?;
    }
    stage.close().await
}

/// One agent comes, is told of a change and goes: the pages of the program that serve the first one are not memory of an
/// agent.
async fn warm_up(args: &Args, stage: &Stage, members: &[Member]) -> Result<()> {
    let mut one = stage.hold(args, &members[..1], args.size, false).await?;
    one.open().await?;
    one.change().await?;
    one.close().await;
    Ok(())
}

/// What needs no figure of ours.
#[derive(Default)]
struct Floors {
    /// KiB that a stream takes in a bare tonic server.
    stream: f64,
    /// Milliseconds that all handshakes take.
    handshakes: f64,
}

impl Floors {
    async fn measure(args: &Args, stage: &Stage, members: &[Member]) -> Result<Self> {
        let mut floors = Self::default();
        if args.sections.contains(&Section::Idle) {
            floors.stream = bare_streams(args, stage, members).await?;
        }
        if args.sections.contains(&Section::Reconnect) {
            let floor = Floor::start(Kind::Tls, stage).await?;
            let (clients, took) = floor.connect(members, args.connecting).await?;
            floors.handshakes = took.as_secs_f64() * 1e3;
            clients.close().await;
        }
        Ok(floors)
    }
}

async fn idle(args: &Args, stage: &Stage, held: &Held, before: u64, floor: f64, report: &mut Report) -> Result<()> {
    let agents = args.agents as f64;
    // What opening left to do is over by then: clusters' statuses are stored every five seconds.
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (from, ended) = (stage.used()?, held.board().failures());
    eprintln!("watching idle streams for {} s", args.idle);
    tokio::time::sleep(Duration::from_secs(args.idle)).await;
    let to = stage.used()?;
    let percent = (to.cpu_seconds - from.cpu_seconds) / args.idle as f64 * 100.0;
    report.add(IDLE, percent, "% core", None, Some(Goal::Most(0.1)));
    let ended = held.board().failures() - ended;
    report.add(
        "streams that ended meanwhile",
        ended as f64,
        "",
        None,
        Some(Goal::Most(0.0)),
    );
    let each = (to.resident_bytes.saturating_sub(before)) as f64 / agents / 1024.0;
    report.add(
        "server RSS per idle agent",
        each,
        "KiB",
        Some(floor),
        Some(Goal::Floors(1.15)),
    );
    report.add(
        "server RSS per idle agent, absolute",
        each,
        "KiB",
        None,
        Some(Goal::Most(32.0)),
    );
    Ok(())
}

/// KiB that a stream takes in a bare tonic server.
async fn bare_streams(args: &Args, stage: &Stage, members: &[Member]) -> Result<f64> {
    use driftless_load::{Dial, Fleet};
    let floor = Floor::start(Kind::Tonic, stage).await?;
    let settings = Settings {
        // Nobody has to learn anything: this server says nothing.
        install: true,
        ..args.streams()
    };
    let mut resident = Vec::new();
    // As ours: one that makes it warm, and then all.
    for members in [&members[..1], members] {
        let dial = Dial::new(&floor.target).await?;
        let mut fleet = Fleet::new(members, vec![dial.into()], &settings).await?;
        fleet.open();
        for _ in 0..1200 {
            if fleet.board().connected() == members.len() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::ensure!(
            fleet.board().connected() == members.len(),
            "the bare streams do not open: {}",
            fleet.board().failure().unwrap_or_default()
        );
        resident.push(floor.used()?.resident_bytes as f64);
        fleet.close().await;
    }
    Ok((resident[1] - resident[0]) / members.len() as f64 / 1024.0)
}

async fn changes(args: &Args, held: &mut Held) -> Result<ChangeReport> {
    let (mut found, mut delays) = (Vec::new(), Vec::new());
    // The first is not like the others: whatever is only ever made once is made then.
    held.change().await?;
    for number in 1..=args.changes {
        let (change, delay) = held.change().await?;
        eprintln!("change {number}: {:.0} ms", change.milliseconds.max);
        found.push(change);
        delays.push(delay);
    }
    args.draw(&format!("change-{}", args.agents), || {
        let title = format!("{} agents, one line of {} KiB changed", args.agents, args.size / 1024);
        plot::arrivals(&title, &delays)
    })?;
    Ok(typical(&found))
}

async fn tell(
    args: &Args,
    stage: &Stage,
    members: &[Member],
    change: &ChangeReport,
    report: &mut Report,
) -> Result<()> {
    let (latency, cpu) = fan_out(args, stage, members, change.bytes_per_agent).await?;
    let milliseconds = change.milliseconds;
    if let Some(counted) = change.counted_milliseconds {
        report.add("from there until the server has counted all", counted, "ms", None, None);
    }
    report.add("change, until acknowledged", change.push_milliseconds, "ms", None, None);
    report.add(
        "from there until half of the agents verified",
        milliseconds.p50,
        "ms",
        None,
        None,
    );
    report.add("until 99 % verified", milliseconds.p99, "ms", None, None);
    report.add(
        "until the last verified",
        milliseconds.max,
        "ms",
        Some(latency),
        Some(Goal::Floors(2.0)),
    );
    report.add(
        "bytes per agent",
        change.bytes_per_agent,
        "B",
        None,
        Some(Goal::Most(600.0)),
    );
    let own = change
        .server_cpu_microseconds
        .context("the server's processor time cannot be read")?;
    report.add(CPU, own, "µs", Some(cpu), Some(Goal::Most(25.0)));
    Ok(())
}

/// The same bytes, handed to as many clients by a server that does nothing else: milliseconds until the last has them,
/// and microseconds of its processors for each.
pub(super) async fn fan_out(args: &Args, stage: &Stage, members: &[Member], bytes: f64) -> Result<(f64, f64)> {
    let mut floor = Floor::start(Kind::Tls, stage).await?;
    let (mut clients, _) = floor.connect(members, args.connecting).await?;
    let bytes = (bytes - RECORD).max(1.0) as u32;
    floor.push(&mut clients, bytes).await?;
    let (mut latencies, mut cpu) = (Vec::new(), 0.0);
    for _ in 0..args.changes {
        let (latency, each) = floor.push(&mut clients, bytes).await?;
        latencies.push(latency.as_secs_f64() * 1e3);
        cpu += each;
    }
    Ok((median(&latencies), cpu / args.changes.max(1) as f64 * 1e6))
}

async fn blob(stage: &Stage, held: &mut Held, report: &mut Report) -> Result<()> {
    let idle = stage.used()?.resident_bytes;
    stage.forget_peak()?;
    let mut state = 0x9e37_79b9_u32;
    let noise: String = (0..BLOB)
        .map(|_| {
            // Xorshift: no compressor finds anything in it.
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"[(state >> 26) as usize])
        })
        .collect();
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "noise"}, "data": {"noise": noise}});
    let manifest = Manifest::new(object, "bench").map_err(|problem| anyhow::anyhow!("{problem}"))?;
    let (change, _) = held.push(Bundle::new("noise".parse()?, [manifest])?).await?;
    let above = stage.used()?.peak_bytes.saturating_sub(idle) as f64;
    report.add(
        "64 KB to all, until the last verified",
        change.milliseconds.max,
        "ms",
        None,
        None,
    );
    report.add("64 KB to all, bytes per agent", change.bytes_per_agent, "B", None, None);
    report.add(
        "64 KB to all, server RSS above idle",
        above / 1e6,
        "MB",
        None,
        Some(Goal::Most(100.0)),
    );
    Ok(())
}

async fn reconnect(stage: &mut Stage, handshakes: f64, held: &mut Held, report: &mut Report) -> Result<()> {
    let dropped = held.reconnect().await?;
    let took = dropped.streams.seconds * 1e3;
    report.add(
        "all streams dropped, until the last is back",
        took,
        "ms",
        Some(handshakes),
        Some(Goal::Floors(1.5)),
    );
    if let Some(each) = dropped.server_cpu_milliseconds {
        report.add("server CPU per stream that comes back", each * 1e3, "µs", None, None);
    }
    stage.kill();
    let back = held
        .return_to(async || {
            let took = stage.start().await?;
            eprintln!("the server is back after {:.0} ms", took.as_secs_f64() * 1e3);
            Ok::<_, anyhow::Error>(stage.pid())
        })
        .await?;
    let took = back.seconds * 1e3;
    report.add(
        "server restarted, until the last is back",
        took,
        "ms",
        Some(handshakes),
        Some(Goal::Floors(1.5)),
    );
    report.add(
        "objects sent again, per agent",
        back.objects_per_agent,
        "",
        None,
        Some(Goal::Most(0.0)),
    );
    report.add(
        "bytes per stream that comes back",
        back.bytes_per_agent,
        "B",
        None,
        None,
    );
    Ok(())
}

/// Agents that shake hands in full whenever they come back, as the floor's clients do.
async fn strangers(args: &Args, stage: &Stage, handshakes: f64, members: &[Member], report: &mut Report) -> Result<()> {
    let streams = Settings {
        resumes: false,
        ..args.streams()
    };
    let mut held = stage
        .hold_as(streams, members, vec![stage.dial().await?], args.size)
        .await?;
    held.open().await?;
    let dropped = held.reconnect().await?;
    held.close().await;
    report.add(
        "all dropped, strangers who resume no TLS session",
        dropped.streams.seconds * 1e3,
        "ms",
        Some(handshakes),
        Some(Goal::Floors(1.5)),
    );
    if let Some(each) = dropped.server_cpu_milliseconds {
        report.add("server CPU per stranger that comes back", each * 1e3, "µs", None, None);
    }
    Ok(())
}
