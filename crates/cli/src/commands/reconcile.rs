//! `driftless reconcile`: have clusters look at everything anew.

use std::collections::BTreeSet;

use anyhow::Result;
use driftless_client::Asked;
use driftless_model::name::ClusterName;

use super::{cluster::Chosen, ordered::Found};
use crate::{app::App, failure::Outcome};

/// Have clusters look at everything anew, and try at once what failed
///
/// Agents do that by themselves whenever something changes; this is for whoever does not want to wait for the next try.
/// Every object is compared with what the API server has; one that is as it should be is not written. Where a hook
/// failed, all hooks of its version run anew.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Clusters
    #[arg(value_name = "CLUSTER")]
    clusters: Vec<ClusterName>,
    #[command(flatten)]
    chosen: Chosen,
}

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args { clusters, chosen } = args;
    let client = app.client()?;
    let names: BTreeSet<_> = clusters.into_iter().collect();
    let found = Found {
        clusters: chosen.find(&client, &names).await?,
        component: None,
    };
    found
        .ask(&client, app, &Asked::Reconcile, "looks at everything anew")
        .await
}
