//! Three servers on one bucket, a third of the agents on each. A change is pushed to the first; then the last is killed.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use driftless_load::figures::median;

use crate::{
    Args,
    floor::{Floor, Kind},
    report::{Goal, Report},
    stage::{SOON, Stage},
};

const REPLICAS: usize = 3;

pub(crate) async fn measure(args: &Args, report: &mut Report) -> Result<()> {
    let stage = Stage::open().await?;
    let members = stage.recruit(args.agents).await?;
    let (second, third) = (stage.replica(2).await?, stage.replica(3).await?);
    // As many as have to move, and shake hands in full: another replica cannot open their TLS sessions.
    let floor = Floor::start(Kind::Tls, &stage).await?;
    let moving = members.len() / REPLICAS;
    let (clients, handshakes) = floor.connect(&members[..moving], args.connecting).await?;
    clients.close().await;
    let dials = vec![stage.dial().await?, second.dial().await?, third.dial().await?];
    let mut held = stage.hold_at(args, &members, dials, args.size, false).await?;
    held.open().await?;
    held.change().await?;
    let (mut lasts, mut behind) = (Vec::new(), Vec::new());
    for _ in 0..args.changes {
        let (_, delays) = held.change().await?;
        ensure!(delays.len() == members.len(), "an agent is ahead of the others");
        let of = |replica: usize| {
            let mine = delays.iter().skip(replica).step_by(REPLICAS);
            mine.copied().fold(0.0, f64::max)
        };
        let last = (1..REPLICAS).map(of).fold(of(0), f64::max);
        behind.push(last - of(0));
        lasts.push(last);
    }
    report.add(
        "three replicas: until the last verified",
        median(&lasts),
        "ms",
        None,
        None,
    );
    report.add(
        "agents of the others, behind the first's",
        median(&behind),
        "ms",
        None,
        Some(Goal::Most(300.0)),
    );
    let killed = Instant::now();
    third.server.kill();
    while held.board().connected() == members.len() {
        ensure!(killed.elapsed() < SOON, "nobody notices that a replica is gone");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    held.until_verified().await?;
    report.add(
        format!("a replica killed, until its {moving} are current elsewhere"),
        killed.elapsed().as_secs_f64() * 1e3,
        "ms",
        Some(handshakes.as_secs_f64() * 1e3),
        Some(Goal::Floors(1.5)),
    );
    held.close().await;
    drop((second, third));
    stage.close().await
}
