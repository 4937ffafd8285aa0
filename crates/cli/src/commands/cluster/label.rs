//! `driftless cluster label`: set labels and take them away.

use anyhow::Result;
use driftless_model::cluster::{Change, LabelEdit};

use super::{
    changes::{self, Plan},
    edit::Words,
    target::Chosen,
};
use crate::{
    app::App,
    failure::{Advice, Outcome},
};

/// Set labels of clusters, or take them away
///
/// As `kubectl label` does: KEY=VALUE sets a label, KEY- takes one away. All clusters change at once, in one journal
/// entry, and their agents are told at once. Without any label, those of the clusters are shown.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Clusters, labels to set (region=eu) and labels to take away (region-)
    #[arg(value_name = "CLUSTER | KEY=VALUE | KEY-", required = true)]
    words: Vec<String>,
    #[command(flatten)]
    chosen: Chosen,
    /// Set labels that have another value, too
    #[arg(long)]
    overwrite: bool,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args {
        words,
        chosen,
        overwrite,
        dry_run,
    } = args;
    let words = Words::sort(&words)?;
    let client = app.client()?;
    let clusters = chosen.find(&client, &words.clusters).await?;
    if words.is_question() {
        return changes::show(app, &clusters, |cluster| &cluster.labels, String::clone);
    }
    let mut edit = LabelEdit {
        overwrite,
        remove: words.remove.into_iter().collect(),
        ..LabelEdit::default()
    };
    for (key, value) in words.set {
        if edit.set.insert(key.clone(), value).is_some() {
            return Err(Advice::new(format!("label `{key}` is given twice"), "give it once").into());
        }
    }
    let change = Change {
        labels: edit,
        ..Change::default()
    };
    Plan::same(&clusters, &change)?.carry_out(&client, app, dry_run).await
}
