//! `driftless view`: exactly what one cluster should run.

use std::collections::BTreeMap;

use anyhow::Result;
use driftless_model::{
    name::ClusterName,
    view::{self, View},
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    app::App,
    failure::{Advice, Outcome},
    output::{self, Table},
    prints::{self, Part, Prints},
};

/// Show what a cluster should run
///
/// `-o json` has the objects themselves, as the agent applies them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The cluster
    cluster: ClusterName,
}

/// What a cluster should run, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    cluster: ClusterName,
    channel: String,
    snapshot: String,
    /// The objects of each component.
    components: BTreeMap<String, Vec<Value>>,
    /// Objects that two components ask for.
    collisions: Vec<String>,
}

pub(crate) const PRINTS: Prints = Prints {
    paged: true,
    document: &[Part {
        at: "",
        fields: &[
            ("cluster", "the cluster"),
            ("channel", "the channel it follows"),
            ("snapshot", "the channel's snapshot"),
            (
                "components.*[].**",
                "the objects of each component, as the agent applies them",
            ),
            (
                "collisions[]",
                "objects that two components ask for, and which keeps each",
            ),
        ],
    }],
    ..prints::WIDE
};

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let client = app.client()?;
    let cluster = client.cluster(&args.cluster).await?;
    let channel = client.channel(&cluster.channel).await?;
    let hash = channel.snapshot.ok_or_else(|| {
        let hint = format!(
            "`driftless push PATH --component NAME --channel {}` makes the first",
            channel.name
        );
        Advice::new(format!("channel `{}` has no snapshot yet", channel.name), hint)
    })?;
    let snapshot = client.snapshot(&hash).await?;
    let hashes: Vec<_> = snapshot.components.values().copied().collect();
    let bundles: BTreeMap<_, _> = hashes.iter().copied().zip(client.bundles(&hashes).await?).collect();
    let facts = cluster.facts();
    let View { components, collisions } = view::view(&snapshot, &facts, |hash| bundles.get(hash))?;
    let document = Document {
        cluster: cluster.name,
        channel: channel.name.to_string(),
        snapshot: hash.to_string(),
        components: components
            .iter()
            .map(|(name, component)| {
                (
                    name.to_string(),
                    component.manifests.iter().map(|manifest| manifest.value()).collect(),
                )
            })
            .collect(),
        collisions: collisions.iter().map(ToString::to_string).collect(),
    };
    let names = |_: &Document| {
        let manifests = components.values().flat_map(|component| &component.manifests);
        manifests.map(|manifest| output::object_name(manifest.id())).collect()
    };
    app.output.print_named(&document, names, |document| {
        for collision in &document.collisions {
            output::note(&format!("{} {collision}", output::warn("warning:")));
        }
        let mut table = Table::new(["COMPONENT", "KIND", "NAMESPACE", "NAME", "APIVERSION", "BUNDLE"]).wide_from(4);
        for (component, view) in &components {
            for manifest in &view.manifests {
                let id = manifest.id();
                let kind = if id.group.is_empty() {
                    id.kind.clone()
                } else {
                    format!("{}.{}", id.kind, id.group)
                };
                let namespace = id.namespace.clone().unwrap_or_else(|| "-".to_owned());
                table.row([
                    component.to_string(),
                    kind,
                    namespace,
                    id.name.clone(),
                    manifest.api_version().to_owned(),
                    view.bundle.short(),
                ]);
            }
        }
        table.render()
    })?;
    Ok(Outcome::Success)
}
