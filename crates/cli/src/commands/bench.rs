//! `driftless bench`: hold many streams to a server, push changes, and tell what they cost.

mod shown;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use driftless_load::{Found, Plan, Verify, fleet, plot, workload::parse_size};
use driftless_model::name::ChannelName;
use tokio_util::sync::CancellationToken;

use super::cluster::parse_ttl;
use crate::{
    app::App,
    failure::{Advice, Outcome},
    output,
    prints::{self, Part, Prints},
};

/// Measure a server with thousands of agents' streams
///
/// Enrols clusters, holds a real stream for each over mutual TLS, and pushes changes of one line to a channel that is
/// there for this alone. Each agent verifies what it is sent as a real one does; only the cluster behind it is not
/// there. At the end the clusters are retired; Ctrl-C comes to that early. What a channel held stays in its history.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Streams to hold: one open file each, here and at the server
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    agents: u32,
    /// The channel to push to: a new one, or that of an earlier bench
    #[arg(long, value_name = "NAME", default_value = "bench")]
    channel: ChannelName,
    /// Changes to push, one after the other
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(0..=1000))]
    changes: u16,
    /// Size of the bundle in which a line changes
    #[arg(long, value_name = "SIZE", default_value = "200KiB", value_parser = parse_size)]
    size: usize,
    /// Begin no more changes after this long
    #[arg(long = "for", value_name = "DURATION", default_value = "10m", value_parser = parse_ttl)]
    at_most: Duration,
    /// How long the streams may take to verify anything before it counts as a failure
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = parse_ttl)]
    patience: Duration,
    /// At the end, drop all streams at once and measure how long it takes them to come back
    #[arg(long)]
    reconnect: bool,
    /// Begin with agents that hold nothing, so that each is sent everything, rather than with restarted ones
    #[arg(long)]
    install: bool,
    /// Have each agent report what it verified as applied and healthy, and measure until the server has counted all
    #[arg(long)]
    reports: bool,
    /// How messages are verified
    #[arg(long, value_enum, value_name = "HOW", default_value_t = How::Together)]
    verify: How,
    /// Handshakes at once
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..))]
    connecting: u16,
    /// Agents come back as strangers, who shake hands in full, and not with the TLS session that they had
    #[arg(long)]
    strangers: bool,
    /// Leave the clusters in the fleet
    #[arg(long)]
    keep: bool,
    /// Keep the agents' key and certificates in this folder, and the clusters in the fleet: the next bench begins sooner
    #[arg(long, value_name = "DIR")]
    certificates: Option<PathBuf>,
    /// Process id of the server, where it runs on this machine: its memory and processor time are told too
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Draw to this file when the agents had verified each change
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write the document of -o json to this file too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How messages are verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum How {
    /// The same bytes once for all agents that are in the same place
    Together,
    /// By each agent for itself; takes the memory and the processors of as many, and begins as with --install
    Each,
}

pub(crate) const PRINTS: Prints = Prints {
    document: &[
        Part {
            at: "",
            fields: &[
                ("server", "the server"),
                ("channel", "the channel that was pushed to"),
                ("agents", "streams that were held"),
                ("bundleBytes", "bytes of the bundle, canonical and uncompressed"),
                ("verifiedTogether", "was the same message verified once for all agents?"),
                ("interrupted", "was it ended before all was measured?"),
                (
                    "late",
                    "`null`, or where agents did not verify something in time: it ended there",
                ),
                ("failures", "streams that ended by themselves, or could not be opened"),
                ("failure", "why the last of those did, or `null`"),
            ],
        },
        Part {
            at: "late.",
            fields: &[
                ("message", "how many are missing, and why"),
                ("sequence", "the directive that was waited for"),
                ("connected", "streams that were open by then"),
                ("verified", "agents that had verified it by then"),
                ("milliseconds.*", "when those had: `p50`, `p90`, `p99`, `max`"),
            ],
        },
        Part {
            at: "joined.",
            fields: &[
                ("enrolled", "clusters that were enrolled and joined"),
                ("kept", "clusters whose certificate was at hand"),
                ("seconds", "how long it took"),
            ],
        },
        Part {
            at: "connected.",
            fields: STREAMS,
        },
        Part {
            at: "change.",
            fields: &[(
                "**",
                "the median of each figure in `changes[]`; of `verified` the least, of the processors the mean",
            )],
        },
        Part {
            at: "changes[].",
            fields: &[
                ("sequence", "the directive's number"),
                ("verified", "agents that have verified it"),
                (
                    "milliseconds.*",
                    "from the push's acknowledgement until agents had: `p50`, `p90`, `p99`, `max`",
                ),
                (
                    "pushMilliseconds",
                    "from the beginning of the push to its acknowledgement",
                ),
                (
                    "bytesPerAgent",
                    "bytes that an agent received, TLS records included: the median",
                ),
                (
                    "countedMilliseconds",
                    "from the acknowledgement until the server had counted all as healthy, or `null` without --reports",
                ),
                ("mostBytes", "the most that one received"),
                (
                    "serverCpuMicroseconds",
                    "microseconds of the server's processors per agent, the push included, or `null`",
                ),
            ],
        },
        Part {
            at: "reconnected.",
            fields: RECONNECTED,
        },
        Part {
            at: "serverUse.",
            fields: &[
                (
                    "pid",
                    "the server's process; `serverUse` is `null` where it could not be read",
                ),
                ("residentBefore", "resident bytes before the streams were opened"),
                ("residentIdle", "resident bytes with all of them open"),
                ("residentPerAgent", "the difference of the two, per agent"),
                ("residentAfter", "resident bytes after the changes"),
                ("peak", "the most bytes that were ever resident"),
                ("cpuSeconds", "processor seconds since the streams began to open"),
            ],
        },
    ],
    ..prints::DOCUMENT
};

const STREAMS: prints::fields::Fields = &[
    ("seconds", "until every agent had verified the directive"),
    ("bytesPerAgent", "bytes that an agent received: the median"),
    ("sentPerAgent", "bytes that an agent sent: the median"),
    ("objectsPerAgent", "objects that an agent was sent, on average"),
    ("milliseconds.*", "when the agents had: `p50`, `p90`, `p99`, `max`"),
];

const RECONNECTED: prints::fields::Fields = &[
    ("*", "as in `connected`; `reconnected` is `null` without --reconnect"),
    (
        "serverCpuMilliseconds",
        "milliseconds of the server's processors per agent, or `null`",
    ),
];

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args {
        agents,
        channel,
        changes,
        size,
        at_most,
        patience,
        reconnect,
        install,
        reports,
        verify,
        connecting,
        strangers,
        keep,
        certificates,
        server_pid,
        svg,
        json,
    } = args;
    let plan = Plan {
        target: app.target()?,
        channel,
        agents: agents as usize,
        changes: changes.into(),
        size,
        reconnect,
        fleet: fleet::Settings {
            verify: match verify {
                How::Together => Verify::Together,
                How::Each => Verify::Each,
            },
            install,
            reports,
            connecting: connecting.into(),
            resumes: !strangers,
            ..fleet::Settings::default()
        },
        at_most,
        patience,
        keep,
        certificates,
        server_pid,
    };
    let stop = CancellationToken::new();
    let asked = stop.clone();
    // Not awaited: it lives exactly as long as the process.
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            output::note("ending; once more to end at once, with the clusters enrolled");
            asked.cancel();
            drop(tokio::signal::ctrl_c().await);
            std::process::exit(130);
        }
    });
    let Found { report, delays } = Box::pin(driftless_load::bench(&plan, &|line| output::note(line), &stop)).await?;
    if server_pid.is_some() && report.server_use.is_none() {
        output::note("the server's process could not be read: is it on this machine, and the number right?");
    }
    if let Some(file) = svg {
        let title = format!(
            "{agents} agents, one line of {} KiB changed, {} times",
            size / 1024,
            delays.len()
        );
        save(&file, &plot::arrivals(&title, &delays))?;
    }
    if let Some(file) = json {
        save(&file, &(serde_json::to_string_pretty(&report)? + "\n"))?;
    }
    app.output.print(&report, shown::text)?;
    match report.late {
        Some(late) => Err(Advice::new(
            late.message,
            "what was measured by then is told; --patience waits longer, --agents holds fewer",
        )
        .into()),
        None => Ok(Outcome::Success),
    }
}

fn save(file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
