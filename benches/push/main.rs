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
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// The medians of some runs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Figures {
    what: &'static str,
    /// Seconds.
    wall: f64,
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
    floor: floor::Floor,
    pushes: Vec<Figures>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let mut repository = Repository::write(args.components, args.manifests)?;
    let floor = floor::measure(&repository, args.runs)?;
    let program = programs::release("driftless-cli", "driftless")?;
    let mut stage = Stage::open(&program)?;
    // Not counted: the first run of a program reads it from the disk.
    stage.push(&repository, &["--dry-run"])?;
    let (mut first, mut used) = (Vec::new(), Vec::new());
    for _ in 0..args.runs {
        // Another one each time: what a bucket holds is not uploaded again. Files that were just removed would make it
        // slower for the file system to create others: all stay until the end.
        used.push(std::mem::replace(&mut stage, Stage::open(&program)?));
        first.push(stage.push(&repository, &[])?);
    }
    let unchanged = (0..args.runs)
        .map(|_| stage.push(&repository, &[]))
        .collect::<Result<Vec<_>>>()?;
    let mut changed = Vec::new();
    for run in 0..args.runs {
        repository.change_one(run)?;
        changed.push(stage.push(&repository, &[])?);
    }
    let off = (0..args.runs)
        .map(|_| stage.push(&repository, &["--validate", "off"]))
        .collect::<Result<Vec<_>>>()?;
    let new = |runs: &[Cost]| runs.iter().map(|cost| cost.stored).collect::<Vec<_>>();
    anyhow::ensure!(
        new(&unchanged).iter().all(|stored| *stored == 0),
        "something was stored of what is unchanged"
    );

    let report = Report {
        components: args.components,
        manifests: repository.manifests,
        bytes: repository.bytes,
        floor,
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

fn figures(what: &'static str, runs: &[Cost]) -> Figures {
    let of = |figure: fn(&Cost) -> f64| median(&runs.iter().map(figure).collect::<Vec<_>>());
    Figures {
        what,
        wall: of(|cost| cost.wall),
        client: of(|cost| cost.client),
        server: of(|cost| cost.server),
        sent: of(|cost| cost.sent as f64),
        received: of(|cost| cost.received as f64),
        stored: of(|cost| cost.stored as f64),
    }
}

fn text(report: &Report) -> String {
    let Report {
        components,
        manifests,
        bytes,
        floor,
        pushes,
    } = report;
    let mut text = format!(
        "{manifests} manifests in {components} components, {} KiB of YAML; medians\n\n\
         {:<28}{:>9}{:>12}{:>10}{:>10}{:>12}{:>10}{:>9}\n",
        bytes / 1024,
        "",
        "wall",
        "× floor",
        "client",
        "server",
        "sent",
        "received",
        "stored",
    );
    for (what, wall, processor) in [
        (
            "floor: read, parse, hash",
            floor.unchanged.wall,
            floor.unchanged.processor,
        ),
        ("floor: and compress", floor.first.wall, floor.first.processor),
    ] {
        text.push_str(&format!(
            "{what:<28}{:>6.0} ms{:>12}{processor:>8.2} s\n",
            wall * 1000.0,
            ""
        ));
    }
    for Figures {
        what,
        wall,
        client,
        server,
        sent,
        received,
        stored,
    } in pushes
    {
        let least = if *what == "first time" {
            &floor.first
        } else {
            &floor.unchanged
        };
        text.push_str(&format!(
            "{what:<28}{:>6.0} ms{:>11.2}×{client:>8.2} s{server:>8.2} s{:>8.0} KiB{:>6.0} KiB{stored:>9}\n",
            wall * 1000.0,
            wall / least.wall,
            sent / 1024.0,
            received / 1024.0,
        ));
    }
    text
}
