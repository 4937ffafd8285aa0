//! `driftless dry-run`: what running a snapshot would do to one cluster, as its API server sees it.

mod found;

use anyhow::Result;
use driftless_client::DryRunOf;
use driftless_model::name::{ChannelName, ClusterName, ComponentName};
use serde::Serialize;

use self::found::Found;
use crate::{
    app::App,
    failure::Outcome,
    output,
    prints::{self, Part, Prints},
    resolve,
};

/// Show what applying would change on a cluster, as its API server sees it
///
/// The cluster's agent makes a server-side dry run of every object, as it would apply it: defaults, admission webhooks,
/// conflicts and rights are those of that API server, and what is live is what is compared with. Nothing is written.
/// Values of Secrets stay on the cluster. Hooks that would run are named, and not run. Without --snapshot and --channel it is about what the cluster should run now.
/// Exits with 0 when nothing would change, 1 when something would, and 2 when it cannot tell or something is refused.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The cluster
    cluster: ClusterName,
    /// Only this component
    component: Option<ComponentName>,
    /// What if it ran this snapshot: `prod~1`, `prod@{2h}`, a hash
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "channel")]
    snapshot: Option<String>,
    /// What if it followed this channel, with its labels and variables as they are
    #[arg(long, value_name = "NAME")]
    channel: Option<ChannelName>,
}

/// What would come of it, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    cluster: ClusterName,
    snapshot: String,
    components: Vec<Found>,
    notes: Vec<String>,
    left_out: u32,
}

pub(crate) const PRINTS: Prints = Prints {
    paged: true,
    document: &[
        Part {
            at: "",
            fields: &[
                ("cluster", "the cluster"),
                ("snapshot", "the snapshot that would run"),
                ("notes[]", "what could not be found out"),
                (
                    "leftOut",
                    "number of objects and hooks that are left out, as there are too many to tell",
                ),
            ],
        },
        Part {
            at: "components[].",
            fields: found::FIELDS,
        },
    ],
    exits: &[
        (0, "nothing would change"),
        (1, "something would change, and nothing is refused"),
        (2, "wrong usage, any failure, or an object that would be refused"),
    ],
    ..prints::NAMED
};

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args {
        cluster,
        component,
        snapshot,
        channel,
    } = args;
    let client = app.client()?;
    // Tells which clusters there are, where it is none of them.
    let cluster = resolve::cluster(&client, &cluster).await?.name;
    let of = match (snapshot, channel) {
        (Some(name), _) => DryRunOf::Snapshot(resolve::snapshot(&client, &name).await?.0),
        (None, Some(channel)) => DryRunOf::Channel(channel),
        (None, None) => DryRunOf::Current,
    };
    let (snapshot, prospect) = client.dry_run(&cluster, component.as_ref(), &of).await?;
    let components = prospect.components.into_iter();
    let components = components
        .map(|(name, told)| Found::new(&cluster, name, told))
        .collect();
    let document = Document {
        cluster,
        snapshot: snapshot.to_string(),
        components,
        notes: prospect.notes,
        left_out: prospect.left_out,
    };
    let outcome = outcome(&document);
    app.output.print_named(&document, names, text)?;
    Ok(outcome)
}

fn outcome(document: &Document) -> Outcome {
    let refuses = document
        .components
        .iter()
        .any(|component| !component.refused.is_empty());
    let changes = document.components.iter().any(Found::has_changes);
    match (refuses, changes || document.left_out > 0) {
        (true, _) => Outcome::Refused,
        (false, true) => Outcome::Found,
        (false, false) => Outcome::Success,
    }
}

/// The objects that would change.
fn names(document: &Document) -> Vec<String> {
    let changes = document.components.iter().flat_map(|component| &component.changes);
    changes.map(|change| output::object_name(&change.object)).collect()
}

fn text(document: &Document) -> String {
    let warning = output::warn("warning:");
    for note in &document.notes {
        output::note(&format!("{warning} {note}"));
    }
    if document.left_out > 0 {
        let many = output::count(document.left_out as usize, "object");
        output::note(&format!(
            "{warning} {many} more left out, as the answer is too large: ask for one component"
        ));
    }
    let told = document.components.iter().filter(|component| !component.is_quiet());
    let mut out: String = told.map(Found::lines).collect();
    let unchanged: u32 = document.components.iter().map(|component| component.unchanged).sum();
    let as_is = if unchanged == 1 { "as it is" } else { "as they are" };
    let stay = format!("{} {as_is}", output::count(unchanged as usize, "object"));
    let last = if out.is_empty() {
        format!("nothing would change on {}: {stay}", document.cluster)
    } else {
        format!("nothing was changed on {}; {stay}", document.cluster)
    };
    out.push_str(&format!("{}\n", output::dim(last)));
    out
}
