//! `driftless diff`: what a push would change, or how two snapshots or channels differ.

use std::path::PathBuf;

use anyhow::Result;
use driftless_model::{
    bundle::Bundle,
    name::{ChannelName, ComponentName},
};
use serde::Serialize;

use super::push::difference;
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
/// `driftless diff PATH… --component X --channel C` compares files with what the channel has. `driftless diff A B`
/// compares two snapshots (by hash) or channels (by name). Exits with 0 when there is no difference, 1 when there
/// is one, and 2 when it cannot tell.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files, folders or `-`; or two snapshots or channels
    #[arg(value_name = "PATH|SNAPSHOT|CHANNEL", required = true)]
    what: Vec<String>,
    /// The component that the files are of
    #[arg(long, value_name = "NAME", requires = "channel")]
    component: Option<ComponentName>,
    /// The channel to compare the files with
    #[arg(long, value_name = "NAME", requires = "component")]
    channel: Option<ChannelName>,
    /// Namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
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
        component,
        channel,
        namespace,
    } = args;
    let components = match (component, channel, what.as_slice()) {
        (Some(component), Some(channel), _) => of_files(app, &what, component, &channel, &namespace).await?,
        (_, _, [before, after]) => {
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

async fn of_files(
    app: &App,
    paths: &[String],
    component: ComponentName,
    channel: &ChannelName,
    namespace: &str,
) -> Result<Vec<ComponentDiff>> {
    let paths: Vec<_> = paths.iter().map(PathBuf::from).collect();
    let bundle = Bundle::new(component, sources::read(&paths, namespace, "")?)?;
    let client = app.client()?;
    let diff = difference(&client, &client.channel(channel).await?, &bundle).await?;
    Ok(Some(diff)
        .filter(|diff| diff.before != diff.after)
        .into_iter()
        .collect())
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
