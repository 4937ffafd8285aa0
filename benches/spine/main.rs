//! What the spine costs, from a push to a running object, on a real API server with the real programs.
//!
//! `cargo bench -p driftless-benches --bench spine [-- --json FILE]`; see docs/performance.md. Needs what
//! `tests/kubernetes/install` builds, and says so loudly where it is not there.
//!
//! `programs` builds → `cluster::stage` starts server and agent → [`measure`] runs, with objects of `workload`, beside
//! the `bare` loop that everything is compared with, seen by `observe` → [`report`] prints.

mod measure;
mod report;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use driftless_benches::cluster::stage::{Programs, Stage};
use driftless_tests::{ControlPlane, Options};

use crate::measure::Measure;

/// Measures push, apply, change and rest.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Write the figures to this file as JSON too
    #[arg(long, env = "DRIFTLESS_BENCH_JSON", value_name = "FILE")]
    json: Option<PathBuf>,
    /// Objects of each application; a multiple of four
    #[arg(long, default_value_t = 1000)]
    objects: usize,
    /// First applies of each application, with and without Driftless by turns
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Changes of a single object
    #[arg(long, default_value_t = 20)]
    changes: usize,
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
    // No controllers: nothing else writes to the cluster, in neither of the two that are compared.
    let Some(plane) = ControlPlane::for_test("benches/spine", Options::default()).await? else {
        return Ok(());
    };
    let stage = Stage::open(plane, &Programs::release()?).await?;
    let report = Box::pin(Measure::new(&stage, &args).run()).await?;
    print!("{}", report.text());
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}
