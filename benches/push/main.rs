//! What one large push costs: a repository of thousands of manifests in hundreds of components, pushed as its users
//! push it, by `driftless push` with a `driftless.yaml`.
//!
//! `cargo bench -p driftless-benches --bench push [-- --json FILE]`; see docs/performance.md.
//!
//! [`repository`] writes the files, [`stage`] runs the real programs and counts what goes over the wire, [`floor`]
//! does what no push can do without, on as many threads.

mod floor;
mod repository;
mod stage;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use driftless_benches::{median, programs};
use serde::Serialize;

use crate::{
    floor::Least,
    repository::Repository,
    stage::{Cost, Stage},
};

/// Measures a large push.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Components
    #[arg(long, default_value_t = 300)]
    components: usize,
    /// Manifests in all
    #[arg(long, default_value_t = 5000)]
    manifests: usize,
    /// Runs of each measurement
    #[arg(long, default_value_t = 7)]
    runs: usize,
    /// Write the figures to this file as JSON too
    #[arg(long, env = "DRIFTLESS_BENCH_JSON", value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    task: floor::Task,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// A push, and what no push can do without, just before it: the machine is not as fast from one moment to the next.
struct Run {
    floor: Least,
    cost: Cost,
}

/// The medians of some runs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    what: &'static str,
    /// Seconds.
    wall: f64,
    floor: Least,
    /// Median of the ratios of the runs.
    ratio: f64,
    /// Processor seconds of the client, and of the server meanwhile.
    client: f64,
    server: f64,
    /// Bytes on the wire, TLS included.
    sent: f64,
    received: f64,
    /// Objects that were stored.
    stored: f64,
}

/// All figures of one run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    components: usize,
    manifests: usize,
    bytes: usize,
    pushes: Vec<Figures>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if floor::perform(&args.task)? {
        return Ok(());
    }
    let repository = Repository::write(args.components, args.manifests)?;
    let program = programs::release("driftless-cli", "driftless")?;
    let mut stage = Stage::open(&program)?;
    // Not counted: the first run of a program reads it from the disk.
    stage.push(&repository, &["--dry-run"])?;
    let (mut first, mut used) = (Vec::new(), Vec::new());
    for _ in 0..args.runs {
        // Another one each time: what a bucket holds is not uploaded again. Files that were just removed would make it
        // slower for the file system to create others: all stay until the end.
        used.push(std::mem::replace(&mut stage, Stage::open(&program)?));
        first.push(run(&stage, &repository, true, &[])?);
    }
    let again = |options: &[&str]| -> Result<Vec<_>> {
        (0..args.runs)
            .map(|_| run(&stage, &repository, false, options))
            .collect()
    };
    let (unchanged, off) = (again(&[])?, again(&["--validate", "off"])?);
    let mut changed = Vec::new();
    for number in 0..args.runs {
        repository.change_one(number)?;
        changed.push(run(&stage, &repository, false, &[])?);
    }
    anyhow::ensure!(
        unchanged.iter().all(|run| run.cost.stored == 0),
        "something was stored of what is unchanged"
    );

    let report = Report {
        components: args.components,
        manifests: repository.manifests,
        bytes: repository.bytes,
        pushes: vec![
            figures("first time", &first),
            figures("unchanged", &unchanged),
            figures("unchanged, --validate=off", &off),
            figures("one file changed", &changed),
        ],
    };
    print!("{}", text(&report));
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn run(stage: &Stage, repository: &Repository, compress: bool, options: &[&str]) -> Result<Run> {
    Ok(Run {
        floor: floor::measure(repository, compress)?,
        cost: stage.push(repository, options)?,
    })
}

fn figures(what: &'static str, runs: &[Run]) -> Figures {
    let of = |figure: fn(&Run) -> f64| median(&runs.iter().map(figure).collect::<Vec<_>>());
    Figures {
        what,
        wall: of(|run| run.cost.wall),
        floor: Least {
            wall: of(|run| run.floor.wall),
            processor: of(|run| run.floor.processor),
        },
        ratio: of(|run| run.cost.wall / run.floor.wall),
        client: of(|run| run.cost.client),
        server: of(|run| run.cost.server),
        sent: of(|run| run.cost.sent as f64),
        received: of(|run| run.cost.received as f64),
        stored: of(|run| run.cost.stored as f64),
    }
}

fn text(report: &Report) -> String {
    let Report {
        components,
        manifests,
        bytes,
        pushes,
    } = report;
    let mut text = format!(
        "{manifests} manifests in {components} components, {} KiB of YAML; medians\n\n\
         {:<26}{:>9}{:>9}{:>8}{:>10}{:>10}{:>10}{:>11}{:>10}{:>8}\n",
        bytes / 1024,
        "",
        "wall",
        "floor",
        "×",
        "client",
        "floor",
        "server",
        "sent",
        "received",
        "stored",
    );
    for Figures {
        what,
        wall,
        floor,
        ratio,
        client,
        server,
        sent,
        received,
        stored,
    } in pushes
    {
        text.push_str(&format!(
            "{what:<26}{:>6.0} ms{:>6.0} ms{ratio:>7.2}×{client:>8.2} s{:>8.2} s{server:>8.2} s{:>7.0} KiB{:>6.0} KiB{stored:>8}\n",
            wall * 1000.0,
            floor.wall * 1000.0,
            floor.processor,
            sent / 1024.0,
            received / 1024.0,
        ));
    }
    text
}
