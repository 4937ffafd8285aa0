//! What a fleet of thousands of agents costs one server, beside what this machine cannot do without and what Git costs.
//!
//! `cargo bench -p driftless-benches --bench fleet [-- --agents 1000 --sections change,idle --json FILE]`; see
//! docs/performance.md.
//!
//! [`stage`] starts the server in a process of its own; this process holds the streams (`driftless_load`), or, where they
//! are too many for one, [`generator`]s do: this very program, started again with `--share`. [`floor`] is it too, started
//! with `--floor`: bare servers over the same TLS. [`sections`] measure → [`report`] prints. [`git`] is `git http-backend` behind a web server.

mod floor;
mod generator;
mod git;
mod report;
mod sections;
mod stage;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use driftless_load::{fleet::Settings, workload::parse_size};

use crate::{floor::Kind, report::Report};

/// Measures a fleet.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Write the figures to this file as JSON too
    #[arg(long, env = "DRIFTLESS_BENCH_JSON", value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw into this folder when the agents had verified each change, and how its cost grows with them
    #[arg(long, value_name = "FOLDER")]
    plots: Option<PathBuf>,
    /// Streams to hold
    #[arg(long, default_value_t = 10_000)]
    agents: usize,
    /// What to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Section::value_variants().to_vec())]
    sections: Vec<Section>,
    /// Agents with which the section `law` measures, instead of a tenth, a half and all of them
    #[arg(long, value_name = "N", value_delimiter = ',')]
    law: Vec<usize>,
    /// With so many it does too, a third of them on each of three servers and held by a process of its own: 40000, say
    #[arg(long, value_name = "N", value_delimiter = ',')]
    spread: Vec<usize>,
    /// Changes to push in each section
    #[arg(long, default_value_t = 10)]
    changes: usize,
    /// How often the sections `law`, `components` and `journal` measure each of what they compare
    #[arg(long, default_value_t = 3)]
    passes: usize,
    /// Size of the bundle in which a line changes
    #[arg(long, default_value = "200KiB", value_parser = parse_size)]
    size: usize,
    /// Seconds for which idle streams are watched: in two minutes each was asked from both ends whether it is there, and
    /// has ended if it did not answer
    #[arg(long, default_value_t = 120)]
    idle: u64,
    /// Most of the other components, and of journal entries, where those are varied
    #[arg(long, default_value_t = 10_000)]
    many: usize,
    /// Have agents report what they verified: part of what is measured then, so that figures compare with such alone
    #[arg(long)]
    reports: bool,
    /// Simulated clusters with whole agents
    #[arg(long, default_value_t = 1000)]
    clusters: usize,
    /// Handshakes at once
    #[arg(long, default_value_t = 256)]
    connecting: usize,
    /// Be a floor's server instead of measuring
    #[arg(long, hide = true, value_enum)]
    floor: Option<Kind>,
    /// The data folder whose certificates that uses, and a share too
    #[arg(long, hide = true)]
    data: Option<PathBuf>,
    #[command(flatten)]
    task: generator::Task,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    /// A change of one line: time, bytes, processor
    Change,
    /// Streams on which nothing happens: processor and memory
    Idle,
    /// 64 KB to all: memory
    Blob,
    /// All streams at once, and a server that is started anew under them
    Reconnect,
    /// `git http-backend`, polled and fetched from
    Git,
    /// The same change with more and more agents
    Law,
    /// The same change beside few and many other components
    Components,
    /// The same change, and a start, with few and many entries in the journal
    Journal,
    /// 5 MB to agents that hold nothing
    Install,
    /// Three servers on one bucket
    Replicas,
    /// Whole agents on simulated clusters: from a push until all is healthy
    Clusters,
}

impl Args {
    /// How streams are held.
    fn streams(&self) -> Settings {
        Settings {
            reports: self.reports,
            connecting: self.connecting,
            ..Settings::default()
        }
    }

    /// Draws a picture, where pictures are asked for.
    fn draw(&self, name: &str, picture: impl FnOnce() -> String) -> Result<()> {
        let Some(folder) = &self.plots else { return Ok(()) };
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = folder.join(format!("{name}.svg"));
        std::fs::write(&file, picture()).with_context(|| format!("cannot write {}", file.display()))
    }
}

#[expect(clippy::disallowed_methods, reason = "agents go by the time of day")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

fn main() -> Result<()> {
    driftless_load::raise_limit();
    let args = Args::parse();
    // Not the macro: one and the same program is the floor's server, which counts every byte.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let (Some(kind), Some(data)) = (args.floor, &args.data) {
        return runtime.block_on(floor::serve::serve(kind, data));
    }
    if runtime.block_on(generator::hold(&args))? {
        return Ok(());
    }
    runtime.block_on(measure(&args))
}

async fn measure(args: &Args) -> Result<()> {
    let mut report = Report::new(args.agents);
    let outcome = Box::pin(sections::all(args, &mut report)).await;
    // What was measured before something failed is worth having.
    print!("{}", report.text());
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    outcome
}
