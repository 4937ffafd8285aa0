//! `driftless show`: one snapshot or bundle.

use anyhow::Result;
use driftless_model::{bundle::Bundle, hash::ObjectHash, snapshot::Snapshot};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use crate::{
    app::App,
    failure::{Advice, Outcome},
    now,
    output::{self, Table, bold, one_line, warn},
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
        Document::Snapshot(snapshot) if app.is_json() => {
            app.output.print(
                &ShownSnapshot {
                    kind: "snapshot",
                    hash,
                    snapshot,
                },
                |_| String::new(),
            )?;
        }
        Document::Snapshot(snapshot) => {
            let hashes: Vec<_> = snapshot.components.values().copied().collect();
            let sizes: Vec<_> = client
                .bundles(&hashes)
                .await?
                .iter()
                .map(|bundle| bundle.manifests().len())
                .collect();
            output::write(&snapshot_text(&hash, &snapshot, &sizes, now()))?;
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
            app.output.print(&document, |_| bundle_text(&hash, &bundle))?;
        }
    }
    Ok(Outcome::Success)
}

fn snapshot_text(hash: &ObjectHash, snapshot: &Snapshot, sizes: &[usize], now: Timestamp) -> String {
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
        table.row([component.to_string(), bundle.short(), size.to_string()]);
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
