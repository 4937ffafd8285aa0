//! `driftless diff`: what a push would change, or how two snapshots, channels or clusters differ.

mod refs;

use anyhow::Result;
use driftless_model::name::ClusterName;
use serde::Serialize;

use super::push::{check, differences, surplus};
use crate::{
    app::App,
    failure::{Advice, Outcome},
    followers::Followers,
    output::{
        self,
        changes::{self, ComponentDiff},
    },
    prints::{self, Part, Prints, fields},
    sources, validation,
};

/// Show what a push would change, or how two snapshots, channels or clusters differ
///
/// `driftless diff` compares driftless.yaml, or the components of it that are named after `-f FILE`, with its channel.
/// `driftless diff PATH… --component X --channel C` compares files with what the channel has. `driftless diff A B`
/// compares two snapshots (`prod~2`, `prod@{2h}`, a hash), channels (`prod`) or what two clusters should run
/// (`cluster/edge-1`); with --cluster two snapshots as that cluster sees them, with --component that component alone.
/// Exits with 0 when there is no difference, 1 when there is one, and 2 when it cannot tell.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// With --component files, folders or `-`; with --file components; else two snapshots, channels or clusters
    #[arg(value_name = "PATH|SNAPSHOT|CHANNEL|cluster/NAME")]
    what: Vec<String>,
    /// Show also what `driftless push --prune-components` removes
    #[arg(long, conflicts_with_all = ["component", "what"])]
    prune_components: bool,
    /// Compare two snapshots as this cluster sees them, with its overlays and variables
    #[arg(long, value_name = "NAME", conflicts_with_all = ["channel", "file"])]
    cluster: Option<ClusterName>,
    #[command(flatten)]
    detail: refs::Detail,
    #[command(flatten)]
    validation: validation::Flags,
    #[command(flatten)]
    sources: sources::Flags,
}

/// What differs, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Differences {
    components: Vec<ComponentDiff>,
}

pub(crate) const PRINTS: Prints = Prints {
    paged: true,
    document: &[Part {
        at: "components[].",
        fields: fields::CHANGES,
    }],
    exits: &[
        (0, "there is no difference"),
        (1, "there is a difference"),
        (2, "wrong usage, or any failure"),
    ],
    ..prints::NAMED
};

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args {
        what,
        sources,
        prune_components,
        cluster,
        detail,
        validation,
    } = args;
    let components = match what.as_slice() {
        // With a component and no channel it is two snapshots of which only that is compared.
        [before, after] if !sources.is_given() || (sources.component.is_some() && sources.channel.is_none()) => {
            let component = sources.component.as_ref();
            refs::between(&app.client()?, before, after, cluster.as_ref(), component).await?
        }
        names if sources.is_given() || names.is_empty() => {
            of_sources(app, names, sources, &validation, prune_components).await?
        }
        _ => {
            let hint = "name two snapshots or channels, or give files with --component and --channel";
            return Err(Advice::new("there is nothing to compare with", hint).into());
        }
    };
    let outcome = if components.is_empty() {
        Outcome::Success
    } else {
        Outcome::Found
    };
    app.output.print_named(&Differences { components }, names, |found| {
        detail
            .text(&found.components)
            .unwrap_or_else(|| text(&found.components))
    })?;
    Ok(outcome)
}

/// The objects that differ.
fn names(found: &Differences) -> Vec<String> {
    let objects = found.components.iter().flat_map(|component| &component.objects);
    objects.map(|diff| output::object_name(&diff.object)).collect()
}

/// What pushing the sources would change.
async fn of_sources(
    app: &App,
    names: &[String],
    sources: sources::Flags,
    validation: &validation::Flags,
    prune: bool,
) -> Result<Vec<ComponentDiff>> {
    let mut desired = tokio::task::block_in_place(|| sources.read(names, ""))?;
    let client = app.client()?;
    let channel = client.channel(&desired.channel).await?;
    let remove = surplus(&desired, &channel, prune);
    desired.settle_namespaces(&client, &channel, &remove).await?;
    let followers = Followers::new(&client, &channel);
    check(validation, &desired, &client, &channel, &followers, &remove, "").await?;
    let bundles: Vec<_> = desired
        .components
        .into_iter()
        .map(|component| component.bundle)
        .collect();
    let mut diffs = differences(&client, &channel, &followers, &bundles, &remove).await?;
    diffs.retain(|diff| diff.before != diff.after);
    Ok(diffs)
}

fn text(components: &[ComponentDiff]) -> String {
    if components.is_empty() {
        return String::new();
    }
    let mut out: String = components.iter().map(ComponentDiff::lines).collect();
    if components.len() > 1 {
        out.push_str(&format!("{}\n", output::dim(changes::total(components))));
    }
    out
}
