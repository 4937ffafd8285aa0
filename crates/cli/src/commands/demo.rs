//! `driftless demo`.

use anyhow::Result;

/// Watch a fleet of simulated clusters converge, repair itself and catch up
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many clusters to simulate, 1 to 1000
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    clusters: u16,
    /// Leave everything running at the end, and print commands to try against it
    #[arg(long)]
    keep: bool,
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let Args { clusters, keep } = args;
    crate::demo::play(usize::from(clusters), keep).await
}
