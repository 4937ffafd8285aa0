//! `driftless show`: one snapshot or bundle.

use anyhow::Result;
use driftless_client::Client;
use driftless_model::{bundle::Bundle, hash::ObjectHash, snapshot::Snapshot};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::{
    app::App,
    failure::{Advice, Outcome},
    now,
    output::{self, Table, bold, one_line, warn},
    prints::{self, Part, Prints},
    resolve::{self, Document, Named},
};

/// Show a snapshot or a bundle
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Its hash, or the beginning of it; a channel's name means its newest snapshot
    #[arg(value_name = "HASH|CHANNEL")]
    what: String,
}

/// A bundle, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownBundle {
    #[serde(rename = "type")]
    kind: &'static str,
    hash: ObjectHash,
    component: String,
    /// The objects as clusters get them, in the order of their ids.
    manifests: Vec<Value>,
}

/// A snapshot, as JSON: what is stored, with its hash.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownSnapshot {
    #[serde(rename = "type")]
    kind: &'static str,
    hash: ObjectHash,
    #[serde(flatten)]
    snapshot: Snapshot,
}

pub(crate) const PRINTS: Prints = Prints {
    paged: true,
    document: &[Part {
        at: "",
        fields: &[
            ("type", "`snapshot` or `bundle`; the fields behind `hash` depend on it"),
            ("hash", "its hash"),
            ("format", "snapshot: version of the format"),
            ("components.*", "snapshot: the bundle of each component"),
            ("parent", "snapshot: the one it replaced; absent for a channel's first"),
            ("time", "snapshot: when it was made"),
            ("author", "snapshot: who"),
            ("message", "snapshot: why; absent where nothing was said"),
            ("source.*", "snapshot: from what; absent where nothing is known"),
            ("component", "bundle: its component"),
            (
                "manifests[].**",
                "bundle: the objects as clusters get them, in the order of their ids",
            ),
        ],
    }],
    ..prints::WIDE
};

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let client = app.client()?;
    let hash = match resolve::name(&client, &args.what).await? {
        Named::Object(hash) => hash,
        Named::Channel(channel) => channel.snapshot.ok_or_else(|| {
            let hint = format!(
                "`driftless push PATH --component NAME --channel {}` makes the first",
                channel.name
            );
            Advice::new(format!("channel `{}` has no snapshot yet", channel.name), hint)
        })?,
    };
    match resolve::document(&client, hash).await? {
        Document::Snapshot(snapshot) => {
            // How many objects a bundle has is for people; programs are not made to wait for all of them.
            let sizes = if app.output.is_text() {
                sizes(&client, &snapshot).await?
            } else {
                Vec::new()
            };
            let wide = app.output.is_wide();
            let document = ShownSnapshot {
                kind: "snapshot",
                hash,
                snapshot,
            };
            let names = |document: &ShownSnapshot| {
                let components = document.snapshot.components.keys();
                components.map(|name| format!("component/{name}")).collect()
            };
            app.output.print_named(&document, names, |document| {
                snapshot_text(&hash, &document.snapshot, &sizes, wide, now())
            })?;
        }
        Document::Bundle(bundle) => {
            let document = ShownBundle {
                kind: "bundle",
                hash,
                component: bundle.component.to_string(),
                manifests: bundle
                    .manifests()
                    .map(driftless_model::manifest::Manifest::value)
                    .collect(),
            };
            let names = |_: &ShownBundle| {
                let ids = bundle.manifests().map(|manifest| output::object_name(manifest.id()));
                ids.collect()
            };
            app.output
                .print_named(&document, names, |_| bundle_text(&hash, &bundle))?;
        }
    }
    Ok(Outcome::Success)
}

/// How many objects each bundle of the snapshot has.
async fn sizes(client: &Client, snapshot: &Snapshot) -> Result<Vec<usize>> {
    let hashes: Vec<_> = snapshot.components.values().copied().collect();
    let bundles = client.bundles(&hashes).await?;
    Ok(bundles.iter().map(|bundle| bundle.manifests().len()).collect())
}

fn snapshot_text(hash: &ObjectHash, snapshot: &Snapshot, sizes: &[usize], wide: bool, now: Timestamp) -> String {
    let Snapshot {
        format: _,
        components,
        parent,
        time,
        provenance,
    } = snapshot;
    let mut out = format!("{} {}\n", bold("snapshot"), warn(hash.to_string()));
    if let Some(parent) = parent {
        out.push_str(&format!("Parent: {parent}\n"));
    }
    out.push_str(&format!(
        "Author: {}\nDate:   {}\n",
        one_line(&provenance.author),
        output::when(*time, now)
    ));
    for (key, value) in &provenance.source {
        out.push_str(&format!("Source: {}={}\n", one_line(key), one_line(value)));
    }
    if !provenance.message.is_empty() {
        let lines = provenance
            .message
            .lines()
            .map(|line| format!("    {}\n", one_line(line)));
        out.push_str(&format!("\n{}", lines.collect::<String>()));
    }
    out.push('\n');
    let mut table = Table::new(["COMPONENT", "BUNDLE", "OBJECTS"]);
    for ((component, bundle), size) in components.iter().zip(sizes) {
        let bundle = if wide { bundle.to_string() } else { bundle.short() };
        table.row([component.to_string(), bundle, size.to_string()]);
    }
    out + &table.render()
}

fn bundle_text(hash: &ObjectHash, bundle: &Bundle) -> String {
    let mut out = format!("{} {}\n", bold("bundle"), warn(hash.to_string()));
    out.push_str(&format!(
        "Component: {}\nObjects:   {}\n\n",
        bundle.component,
        bundle.manifests().len()
    ));
    let mut table = Table::new(["APIVERSION", "KIND", "NAMESPACE", "NAME"]);
    for manifest in bundle.manifests() {
        let id = manifest.id();
        let namespace = id.namespace.clone().unwrap_or_else(|| "-".to_owned());
        table.row([
            manifest.api_version().to_owned(),
            id.kind.clone(),
            namespace,
            id.name.clone(),
        ]);
    }
    out + &table.render()
}
