//! A whole bench, from an empty channel to a [`Report`]: recruits, opens the streams, pushes changes one after the other,
//! and takes everything down again.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use driftless_client::{Client, Target};
use driftless_model::name::ChannelName;
use tokio_util::sync::CancellationToken;

use crate::{
    ChangeReport, Dial, Error, Held, Holding, Joined, Late, Recruiting, Report, ServerUse, Verify,
    crew::{self, Recruited},
    figures::{Spread, median},
    fleet, open_files, process,
    releases::COMPONENT,
};

/// What a bench does.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The server, and as whom to enrol and push.
    pub target: Target,
    /// The channel: a new one, or one of an earlier bench.
    pub channel: ChannelName,
    /// Streams to hold.
    pub agents: usize,
    /// Changes to push, one after the other.
    pub changes: usize,
    /// Bytes of the bundle, canonical and uncompressed.
    pub size: usize,
    /// Are all streams dropped and made anew at the end?
    pub reconnect: bool,
    /// How the streams are held.
    pub fleet: fleet::Settings,
    /// No more changes are begun after that long.
    pub at_most: Duration,
    /// How long the streams may take to get anywhere.
    pub patience: Duration,
    /// Do the clusters stay in the fleet?
    pub keep: bool,
    /// Where certificates are kept; the clusters stay in the fleet then.
    pub certificates: Option<PathBuf>,
    /// The server's process, on this machine.
    pub server_pid: Option<u32>,
}

/// What was found, and what a picture is made of.
#[derive(Debug, Default)]
pub struct Found {
    /// The figures.
    pub report: Report,
    /// When the agents had verified each change, in milliseconds since it was acknowledged.
    pub delays: Vec<Vec<f64>>,
}

/// Carries out a plan; says how far it is, in lines for people. Ends early when `stop` is cancelled, or when streams do not
/// get there in time ([`Report::late`]), with what it has.
///
/// # Errors
/// Where the streams cannot be held at all. The clusters are retired all the same.
pub async fn bench(plan: &Plan, say: &(dyn Fn(&str) + Sync), stop: &CancellationToken) -> Result<Found, Error> {
    open_files::at_least(plan.agents, open_files::raise_limit())?;
    let client = Client::connect(plan.target.clone())?;
    prepare(&client, plan).await?;
    let dial = Arc::new(Dial::new(&plan.target).await?);
    let recruiting = Recruiting {
        target: plan.target.clone(),
        channel: plan.channel.clone(),
        first: 1,
        agents: plan.agents,
        certificates: plan.certificates.clone(),
    };
    let begun = Instant::now();
    let told = |done: usize| {
        if done.is_multiple_of(500) {
            say(&format!("{done} of {} clusters have joined", plan.agents));
        }
    };
    let recruited = tokio::select! { biased;
        // What was enrolled by then stays; the next bench of the channel enrols it anew.
        () = stop.cancelled() => return Err(Error::Interrupted),
        recruited = crew::recruit(&recruiting, &dial, &told) => recruited?,
    };
    let report = Report {
        server: client.server().to_owned(),
        channel: plan.channel.to_string(),
        agents: plan.agents,
        verified_together: plan.fleet.verify == Verify::Together,
        joined: Joined {
            enrolled: recruited.enrolled,
            kept: recruited.members.len() - recruited.enrolled,
            seconds: begun.elapsed().as_secs_f64(),
        },
        ..Report::default()
    };
    let mut found = Found {
        report,
        ..Found::default()
    };
    let measured = match Box::pin(measure(plan, &recruited, dial, &mut found, say, stop)).await {
        Err(error) if error.is_interrupted() => {
            found.report.interrupted = true;
            Ok(())
        }
        other => other,
    };
    if !plan.keep && plan.certificates.is_none() {
        say("retiring the clusters");
        let retired = crew::retire(&client, &recruited.members).await;
        // What went wrong first is what matters.
        measured.and(retired)?;
    } else {
        measured?;
    }
    Ok(found)
}

/// Makes the channel, or sees that it is an earlier bench's.
async fn prepare(client: &Client, plan: &Plan) -> Result<(), Error> {
    let channel = match client.create_channel(&plan.channel).await {
        Err(error) if error.is_already_there() => client.channel(&plan.channel).await?,
        created => created?,
    };
    let other = channel
        .components
        .keys()
        .find(|component| component.as_str() != COMPONENT);
    let why = match other {
        Some(component) => format!("has the component `{component}`"),
        None if channel.components.is_empty() && channel.clusters > 0 => {
            format!("is followed by {} clusters", channel.clusters)
        }
        None => return Ok(()),
    };
    Err(Error::Channel {
        channel: plan.channel.to_string(),
        why,
    })
}

async fn measure(
    plan: &Plan,
    recruited: &Recruited,
    dial: Arc<Dial>,
    found: &mut Found,
    say: &(dyn Fn(&str) + Sync),
    stop: &CancellationToken,
) -> Result<(), Error> {
    let holding = Holding {
        target: plan.target.clone(),
        channel: plan.channel.clone(),
        size: plan.size,
        fleet: plan.fleet.clone(),
        patience: plan.patience,
        server_pid: plan.server_pid,
    };
    let before = plan.server_pid.and_then(process::used);
    let mut held = Held::prepare(holding, &recruited.members, vec![dial], stop.clone()).await?;
    found.report.bundle_bytes = held.bundle_bytes()?;
    let mut measured = steps(plan, &mut held, before, found, say).await;
    if let Err(error) = &measured
        && error.is_late()
    {
        found.report.late = Some(Late {
            message: error.to_string(),
            reached: held.reached(),
        });
        measured = Ok(());
    }
    found.report.failures = held.board().failures();
    found.report.failure = held.board().failure();
    held.close().await;
    measured
}

async fn steps(
    plan: &Plan,
    held: &mut Held,
    before: Option<process::Used>,
    found: &mut Found,
    say: &(dyn Fn(&str) + Sync),
) -> Result<(), Error> {
    let begun = Instant::now();
    say(&format!("opening {} streams", plan.agents));
    found.report.connected = held.open().await?;
    say(&format!("all verified after {:.1} s", found.report.connected.seconds));
    let idle = plan.server_pid.and_then(process::used);
    for number in 1..=plan.changes {
        if begun.elapsed() > plan.at_most {
            say("the time is up");
            break;
        }
        let (report, delays) = held.change().await?;
        say(&format!(
            "change {number}: last agent after {:.0} ms, {:.0} bytes each",
            report.milliseconds.max, report.bytes_per_agent
        ));
        found.report.changes.push(report);
        found.delays.push(delays);
        found.report.change = typical(&found.report.changes);
        found.report.server_use = server_use(plan, before, idle);
    }
    if plan.reconnect {
        say("dropping all streams");
        found.report.reconnected = Some(held.reconnect().await?);
    }
    found.report.server_use = server_use(plan, before, idle);
    Ok(())
}

fn server_use(plan: &Plan, before: Option<process::Used>, idle: Option<process::Used>) -> Option<ServerUse> {
    let (pid, before, idle) = (plan.server_pid?, before?, idle?);
    let now = process::used(pid)?;
    let grown = idle.resident_bytes.saturating_sub(before.resident_bytes);
    Some(ServerUse {
        pid,
        resident_before: before.resident_bytes,
        resident_idle: idle.resident_bytes,
        resident_per_agent: grown as f64 / plan.agents.max(1) as f64,
        resident_after: now.resident_bytes,
        peak: now.peak_bytes,
        cpu_seconds: now.cpu_seconds - before.cpu_seconds,
    })
}

/// The middle of each figure; the fewest agents.
pub fn typical(changes: &[ChangeReport]) -> ChangeReport {
    let of = |figure: fn(&ChangeReport) -> f64| median(&changes.iter().map(figure).collect::<Vec<_>>());
    let spreads: Vec<_> = changes.iter().map(|change| change.milliseconds).collect();
    let counted: Vec<_> = changes
        .iter()
        .filter_map(|change| change.counted_milliseconds)
        .collect();
    let cpu: Vec<_> = changes
        .iter()
        .filter_map(|change| change.server_cpu_microseconds)
        .collect();
    ChangeReport {
        sequence: 0,
        verified: changes.iter().map(|change| change.verified).min().unwrap_or_default(),
        milliseconds: Spread::median(&spreads),
        push_milliseconds: of(|change| change.push_milliseconds),
        bytes_per_agent: of(|change| change.bytes_per_agent),
        most_bytes: of(|change| change.most_bytes),
        counted_milliseconds: (!counted.is_empty()).then(|| median(&counted)),
        // A clock tick is long for one change: all of them together tell more than the middle one.
        server_cpu_microseconds: (!cpu.is_empty()).then(|| cpu.iter().sum::<f64>() / cpu.len() as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typical_change_is_the_middle_one_with_the_fewest_agents() {
        let change = |verified, max, cpu| ChangeReport {
            sequence: 9,
            verified,
            milliseconds: Spread {
                max,
                ..Spread::default()
            },
            server_cpu_microseconds: cpu,
            ..ChangeReport::default()
        };
        let changes = [
            change(10, 5.0, Some(0.0)),
            change(9, 900.0, Some(30.0)),
            change(10, 7.0, None),
        ];
        let typical = typical(&changes);
        assert_eq!(
            (typical.sequence, typical.verified, typical.milliseconds.max),
            (0, 9, 7.0)
        );
        assert_eq!(typical.server_cpu_microseconds, Some(15.0));
    }
}
