//! What it costs to keep a cluster as it should be, by number of objects: to rest, to change one, to repair many, to
//! delete all; on a real API server with the real programs.
//!
//! `cargo bench -p driftless-benches --bench upkeep [-- --json FILE]`; see docs/performance.md. Needs what
//! `tests/kubernetes/install` builds, and says so loudly where it is not there. First applies are `spine`'s.
//!
//! [`measure`] runs beside the bare loops of `driftless_benches::cluster`, [`requests`] counts what was asked of the
//! API server → [`report`] prints.

mod measure;
mod report;
mod requests;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use driftless_benches::cluster::stage::{Programs, Stage};
use driftless_tests::{ControlPlane, Options, audit};

use crate::measure::Measure;

/// Measures rest, change, repair and deletion.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Write the figures to this file as JSON too
    #[arg(long, env = "DRIFTLESS_BENCH_JSON", value_name = "FILE")]
    json: Option<PathBuf>,
    /// Numbers of objects, each at least as large as the one before
    #[arg(long, value_delimiter = ',', default_value = "100,1000,5000,10000")]
    objects: Vec<usize>,
    /// Objects of one component; what is more is in others. All in one unless given
    #[arg(long, default_value_t = usize::MAX, hide_default_value = true)]
    each: usize,
    /// Changes of a single object, at each number
    #[arg(long, default_value_t = 15)]
    changes: usize,
    /// Objects to change by hand at 5,000 objects
    #[arg(long, default_value_t = 500)]
    drifts: usize,
    /// How many of them a second
    #[arg(long, default_value_t = 50)]
    drifts_per_second: u32,
    /// Objects to delete
    #[arg(long, default_value_t = 1000)]
    deletions: usize,
    /// Seconds over which an idle agent is watched
    #[arg(long, default_value_t = 30)]
    idle: u64,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    // No controllers: nothing else writes to the cluster.
    let options = Options {
        audit: Some(audit::Level::Metadata),
        ..Options::default()
    };
    let Some(plane) = ControlPlane::for_test("benches/upkeep", options).await? else {
        return Ok(());
    };
    let programs = Programs::release()?;
    let size = std::fs::metadata(&programs.agent)?.len();
    let stage = Stage::open(plane, &programs).await?;
    let report = Box::pin(Measure::new(&stage, &args).run(size)).await?;
    print!("{}", report.text());
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
