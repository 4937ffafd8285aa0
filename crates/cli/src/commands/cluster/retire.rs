//! `driftless cluster retire`: let clusters leave the fleet.

use std::collections::BTreeSet;

use anyhow::Result;
use driftless_model::name::ClusterName;
use serde::Serialize;

use super::target::Chosen;
use crate::{app::App, failure::Outcome, output, question};

/// Names that a question lists.
const MAX_NAMED: usize = 10;

/// Let clusters leave the fleet
///
/// Certificates and join tokens become void at once. What runs on the clusters stays as it is, and their agents keep it
/// so until they are deleted.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Clusters
    #[arg(value_name = "CLUSTER")]
    clusters: Vec<ClusterName>,
    #[command(flatten)]
    chosen: Chosen,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// What was retired, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    retired: BTreeSet<ClusterName>,
    /// The journal entry that holds it.
    sequence: u64,
}

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args { clusters, chosen, yes } = args;
    let client = app.client()?;
    let found = chosen.find(&client, &clusters.into_iter().collect()).await?;
    let retired: BTreeSet<_> = found.into_iter().map(|cluster| cluster.name).collect();
    if !yes && !confirmed(&retired)? {
        output::note("nothing was changed");
        return Ok(Outcome::Found);
    }
    let sequence = client.retire_clusters(&retired).await?;
    let document = Document { retired, sequence };
    let names = |document: &Document| document.retired.iter().map(|name| format!("cluster/{name}")).collect();
    app.output.print_named(&document, names, |document| {
        document
            .retired
            .iter()
            .map(|name| format!("{name}: retired\n"))
            .collect()
    })?;
    if app.output.is_text() {
        output::note(
            "what runs there stays, and the agent keeps it so: `kubectl delete namespace driftless-system` removes the \
             agent from a cluster; what it applied carries the label `applyset.kubernetes.io/part-of`",
        );
    }
    Ok(Outcome::Success)
}

fn confirmed(clusters: &BTreeSet<ClusterName>) -> Result<bool> {
    let named: Vec<_> = clusters.iter().take(MAX_NAMED).map(ClusterName::as_str).collect();
    let more = clusters.len() - named.len();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let question = format!(
        "retire {} ({}{more})?",
        output::count(clusters.len(), "cluster"),
        named.join(", ")
    );
    question::confirmed(&question, "What runs there stays.", "--yes retires without asking")
}
