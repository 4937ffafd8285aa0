//! What many teams cost that push to their components at once: acknowledged pushes a second and how long each takes.
//!
//! `cargo bench -p driftless-benches --bench pushers [-- --json FILE]`; see docs/performance.md.
//!
//! [`stage`] starts a server in a process of its own, [`load`] pushes through the real client, [`floor`] does by
//! hand what cannot be avoided → [`report`] prints. [`slow`] is the server on a bucket whose puts take time: this
//! very program, started again with `--serve`.

mod floor;
mod load;
mod report;
mod slow;
mod stage;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::{
    report::{Report, Section},
    stage::{Kind, Stage},
};

/// Measures concurrent pushes.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Write the figures to this file as JSON too
    #[arg(long, env = "DRIFTLESS_BENCH_JSON", value_name = "FILE")]
    json: Option<PathBuf>,
    /// Pushers at once, each with a component and a connection of its own
    #[arg(long, default_value_t = 200)]
    pushers: usize,
    /// For how long they push
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Milliseconds added to every put in the second section
    #[arg(long, default_value_t = 50)]
    delay: u64,
    /// Serve on this folder with delayed puts instead of measuring
    #[arg(long, hide = true, value_name = "FOLDER")]
    serve: Option<PathBuf>,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    let delay = Duration::from_millis(args.delay);
    if let Some(folder) = args.serve {
        return slow::serve(folder, delay).await;
    }
    let mut report = Report::new(args.pushers);
    for kind in [Kind::Folder, Kind::Slow(delay)] {
        eprintln!("{} pushers for {} s, {kind}", args.pushers, args.seconds);
        report.sections.push(section(&args, kind).await?);
    }
    print!("{}", report.text());
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

async fn section(args: &Args, kind: Kind) -> Result<Section> {
    let stage = Stage::open(kind).await?;
    let pushers = load::Pushers::connect(&stage, args.pushers).await?;
    let asked = pushers.ask(Duration::from_secs(args.seconds.min(3))).await?;
    let before = stage.stored()?;
    let pushed = pushers.push(&stage, Duration::from_secs(args.seconds)).await?;
    let stored = stage.stored()?.since(&before);
    let folder = stage.folder()?;
    drop(stage);
    let floor = floor::write(folder.path(), &stored, pushed.latencies.len())?;
    Ok(Section::new(kind, pushed, asked, stored, floor))
}
