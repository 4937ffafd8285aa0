//! `driftless cluster move`: let clusters follow another channel.

use anyhow::Result;
use driftless_model::{
    cluster::Change,
    name::{ChannelName, ClusterName},
};

use super::{changes::Plan, target::Chosen};
use crate::{app::App, failure::Outcome, output};

/// Move clusters to another channel
///
/// Their agents are told at once and roll to what that channel runs: components that it does not have are pruned.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Clusters
    #[arg(value_name = "CLUSTER")]
    clusters: Vec<ClusterName>,
    #[command(flatten)]
    chosen: Chosen,
    /// The channel they shall follow
    #[arg(long, value_name = "NAME")]
    to: ChannelName,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args {
        clusters,
        chosen,
        to,
        dry_run,
    } = args;
    let client = app.client()?;
    let channel = client.channel(&to).await?;
    let clusters = chosen.find(&client, &clusters.into_iter().collect()).await?;
    if channel.snapshot.is_none() && app.output.is_text() {
        output::note(&format!(
            "{} channel `{to}` has no snapshot yet: what runs on the clusters goes on until it has one",
            output::warn("warning:")
        ));
    }
    let change = Change {
        channel: Some(to),
        ..Change::default()
    };
    Plan::same(&clusters, &change)?.carry_out(&client, app, dry_run).await
}
