//! `driftless diff`: what a push would change, or how two snapshots or channels differ.

use anyhow::Result;
use serde::Serialize;

use super::push::{differences, surplus};
use crate::{
    app::App,
    failure::{Advice, Outcome},
    output::{
        self,
        changes::{self, ComponentDiff},
    },
    prints::{self, Part, Prints, fields},
    resolve, sources,
};

/// Show what a push would change, or how two snapshots or channels differ
///
/// `driftless diff` compares driftless.yaml, or the components of it that are named after `-f FILE`, with its channel.
/// `driftless diff PATH… --component X --channel C` compares files with what the channel has. `driftless diff A B`
/// compares two snapshots (by hash) or channels (by name). Exits with 0 when there is no difference, 1 when there
/// is one, and 2 when it cannot tell.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// With --component files, folders or `-`; with --file components; else two snapshots or channels
    #[arg(value_name = "PATH|SNAPSHOT|CHANNEL")]
    what: Vec<String>,
    /// Show also what `driftless push --prune-components` removes
    #[arg(long, conflicts_with_all = ["component", "what"])]
    prune_components: bool,
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
    } = args;
    let components = match what.as_slice() {
        names if sources.is_given() || names.is_empty() => of_sources(app, names, sources, prune_components).await?,
        [before, after] => {
            let client = app.client()?;
            let before = resolve::components(&client, before).await?;
            let after = resolve::components(&client, after).await?;
            resolve::differences(&client, &before, &after).await?
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
    app.output
        .print_named(&Differences { components }, names, |found| text(&found.components))?;
    Ok(outcome)
}

/// The objects that differ.
fn names(found: &Differences) -> Vec<String> {
    let objects = found.components.iter().flat_map(|component| &component.objects);
    objects.map(|diff| output::object_name(&diff.object)).collect()
}

/// What pushing the sources would change.
async fn of_sources(app: &App, names: &[String], sources: sources::Flags, prune: bool) -> Result<Vec<ComponentDiff>> {
    let desired = tokio::task::block_in_place(|| sources.read(names, ""))?;
    let client = app.client()?;
    let channel = client.channel(&desired.channel).await?;
    let remove = surplus(&desired, &channel, prune);
    let bundles: Vec<_> = desired
        .components
        .into_iter()
        .map(|component| component.bundle)
        .collect();
    let mut diffs = differences(&client, &channel, &bundles, &remove).await?;
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
