//! `driftless show`: one snapshot, bundle or object.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use driftless_client::{Client, Log, types::LogEntry};
use driftless_model::{
    bundle::{
        Bundle, Spec, lines,
        upkeep::{Allow, Budget, Drift, Propagation, Prune},
    },
    hash::ObjectHash,
    manifest::{Manifest, ManifestId},
    name::ComponentName,
    overlay::Overlay,
    reference::Reference,
    selector::Selector,
    snapshot::Snapshot,
};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::log;
use crate::{
    app::App,
    failure::Outcome,
    now,
    output::{self, Table, bold, one_line, warn, yaml},
    prints::{self, Part, Prints},
    resolve::{self, Document, Named},
};

/// Show a snapshot, a component's bundle, or an object
///
/// `driftless show prod` shows the channel's newest snapshot, `prod~2` the one two pushes before, `prod@{2h}` the one of
/// two hours ago. `prod:shop` is what component `shop` is there, `prod:shop/Deployment.apps/default/web` one of its
/// objects as YAML.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A hash or the beginning of it, a channel, CHANNEL~N or CHANNEL@{TIME}; with `:` a component and object of it
    #[arg(value_name = "REF[:COMPONENT[/OBJECT]]")]
    what: String,
}

/// A bundle, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownBundle<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    hash: ObjectHash,
    component: String,
    /// Where and how it runs: selector, overlays, dependsOn, health, epoch; only what was asked for.
    spec: &'a Spec,
    /// The objects in the order of their ids, before overlays and variables.
    manifests: Vec<Value>,
}

/// A snapshot, as JSON: what is stored, with its hash and with what it changed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownSnapshot {
    #[serde(rename = "type")]
    kind: &'static str,
    hash: ObjectHash,
    #[serde(flatten)]
    snapshot: Snapshot,
    /// The components that the push changed, as `driftless log` has them.
    changes: std::collections::BTreeMap<ComponentName, driftless_client::types::LogChange>,
}

pub(crate) const PRINTS: Prints = Prints {
    paged: true,
    document: &[Part {
        at: "",
        fields: &[
            (
                "type",
                "`snapshot` or `bundle`; the fields behind `hash` depend on it. An object is shown as it is",
            ),
            ("hash", "its hash"),
            ("format", "snapshot: version of the format"),
            ("components.*", "snapshot: the bundle of each component"),
            ("parent", "snapshot: the one it replaced; absent for a channel's first"),
            ("time", "snapshot: when it was made"),
            ("author", "snapshot: who"),
            ("message", "snapshot: why; absent where nothing was said"),
            ("source.*", "snapshot: from what; absent where nothing is known"),
            (
                "changes.*.*",
                "snapshot: of each component that the push changed, the bundle `before` and `after`, or `null`",
            ),
            ("component", "bundle: its component"),
            (
                "spec.**",
                "bundle: what was asked of where and how it runs: `selector`, `overlays`, `dependsOn`, `health`, `epoch`",
            ),
            (
                "manifests[].**",
                "bundle: the objects before overlays and variables, in the order of their ids",
            ),
        ],
    }],
    ..prints::WIDE
};

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let client = app.client()?;
    let (base, path) = resolve::split(&args.what);
    let hash = match resolve::name(&client, base).await? {
        Named::Object(hash) => hash,
        Named::Channel(channel) => resolve::newest(&channel)?,
    };
    match (resolve::document(&client, hash).await?, path) {
        (Document::Snapshot(snapshot), None) => show_snapshot(app, &client, hash, snapshot).await?,
        (Document::Snapshot(snapshot), Some(path)) => {
            let (component, object) = path
                .split_once('/')
                .map_or((path, None), |(name, rest)| (name, Some(rest)));
            let bundle_hash = resolve::bundle_of(&snapshot.components, &component.parse()?, base)?;
            let bundle = client.bundle(&bundle_hash).await?;
            match object {
                None => show_bundle(app, bundle_hash, &bundle)?,
                Some(object) => show_object(app, &bundle, object)?,
            }
        }
        (Document::Bundle(bundle), None) => show_bundle(app, hash, &bundle)?,
        (Document::Bundle(bundle), Some(object)) => show_object(app, &bundle, object)?,
    }
    Ok(Outcome::Success)
}

async fn show_snapshot(app: &App, client: &Client, hash: ObjectHash, snapshot: Snapshot) -> Result<()> {
    let log = Log {
        from: Some(hash),
        limit: Some(1),
        count_objects: app.output.is_text(),
        ..Log::default()
    };
    let entry = client
        .history(log)
        .try_next()
        .await?
        .context("a snapshot's history begins with it")?;
    // How many objects a bundle has is for people; programs are not made to wait for all of them.
    let sizes = if app.output.is_text() {
        sizes(client, &snapshot).await?
    } else {
        Vec::new()
    };
    let wide = app.output.is_wide();
    let document = ShownSnapshot {
        kind: "snapshot",
        hash,
        snapshot,
        changes: entry.changes.clone(),
    };
    let names = |document: &ShownSnapshot| {
        let components = document.snapshot.components.keys();
        components.map(|name| format!("component/{name}")).collect()
    };
    app.output.print_named(&document, names, |document| {
        snapshot_text(&entry, &document.snapshot, &sizes, wide, now())
    })
}

fn show_bundle(app: &App, hash: ObjectHash, bundle: &Bundle) -> Result<()> {
    let document = ShownBundle {
        kind: "bundle",
        hash,
        component: bundle.component.to_string(),
        spec: bundle.spec(),
        manifests: bundle.manifests().map(Manifest::value).collect(),
    };
    let names = |_: &ShownBundle<'_>| {
        bundle
            .manifests()
            .map(|manifest| output::object_name(manifest.id()))
            .collect()
    };
    app.output.print_named(&document, names, |_| bundle_text(&hash, bundle))
}

fn show_object(app: &App, bundle: &Bundle, object: &str) -> Result<()> {
    let ids: Vec<_> = bundle.manifests().map(|manifest| manifest.id().clone()).collect();
    let id = resolve::object_of(&Reference::parse(&[object], None)?, &ids, &bundle.component)?;
    let value = bundle.get(id).context("its id was taken from the bundle")?.value();
    let names = |_: &Value| vec![output::object_name(id)];
    app.output.print_named(&value, names, yaml::document)
}

/// How many objects each bundle of the snapshot has.
async fn sizes(client: &Client, snapshot: &Snapshot) -> Result<Vec<usize>> {
    let hashes: Vec<_> = snapshot.components.values().copied().collect();
    let bundles = client.objects(&hashes).await?;
    Ok(bundles.iter().map(|bytes| lines::count(bytes)).collect())
}

fn snapshot_text(entry: &LogEntry, snapshot: &Snapshot, sizes: &[usize], wide: bool, now: Timestamp) -> String {
    let mut out = format!("{} {}\n", bold("snapshot"), warn(entry.snapshot.to_string()));
    if let Some(parent) = &entry.parent {
        out.push_str(&format!("Parent: {parent}\n"));
    }
    out.push_str(&log::header(
        &entry.author,
        entry.time,
        &entry.source,
        &entry.message,
        now,
    ));
    out.push_str(&format!("\n{}\n", log::changes(entry, usize::MAX)));
    let mut table = Table::new(["COMPONENT", "BUNDLE", "OBJECTS"]);
    for ((component, bundle), size) in snapshot.components.iter().zip(sizes) {
        let bundle = if wide { bundle.to_string() } else { bundle.short() };
        table.row([component.to_string(), bundle, size.to_string()]);
    }
    out + &table.render()
}

fn bundle_text(hash: &ObjectHash, bundle: &Bundle) -> String {
    let mut out = format!("{} {}\n", bold("bundle"), warn(hash.to_string()));
    for (head, text) in facts(bundle) {
        out.push_str(&format!("{:<11}{text}\n", format!("{head}:")));
    }
    out.push('\n');
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

/// The header of a bundle, in words.
fn facts(bundle: &Bundle) -> Vec<(&'static str, String)> {
    let Spec {
        selector,
        overlays,
        depends_on,
        health,
        epoch,
        adopt,
        drift,
        prune,
        service_account,
        allow,
    } = bundle.spec();
    let mut facts = vec![
        ("Component", bundle.component.to_string()),
        ("Objects", bundle.manifests().len().to_string()),
        ("Runs on", where_it_holds(selector)),
    ];
    if !depends_on.is_empty() {
        let names: Vec<_> = depends_on.iter().map(ComponentName::as_str).collect();
        facts.push(("After", names.join(", ")));
    }
    facts.extend(epoch.map(|epoch| ("Epoch", epoch.to_string())));
    if *adopt {
        facts.push(("Adopts", "objects that other tools own".to_owned()));
    }
    facts.extend(match drift {
        Drift::Repair => None,
        Drift::Report => Some(("Drift", "is told, not repaired".to_owned())),
        Drift::Ignore => Some(("Drift", "is ignored".to_owned())),
    });
    facts.extend(
        service_account
            .as_ref()
            .map(|account| ("Acts as", format!("ServiceAccount {account}"))),
    );
    facts.extend(prune_text(prune).map(|text| ("Deletes", text)));
    facts.extend(allow_text(allow).map(|text| ("Holds only", text)));
    for rule in health {
        let dot = if rule.group.is_empty() { "" } else { "." };
        let healthy = one_line(&rule.healthy);
        facts.push((
            "Health",
            format!("{}{dot}{} is healthy when {healthy}", rule.kind, rule.group),
        ));
    }
    facts.extend(overlays.iter().map(|overlay| ("Overlay", overlay_text(overlay))));
    facts
}

fn prune_text(prune: &Prune) -> Option<String> {
    let Prune {
        propagation,
        definitions,
        budget,
    } = prune;
    let parts = [
        match propagation {
            Propagation::Background => None,
            Propagation::Foreground => Some("what an object owns before it".to_owned()),
            Propagation::Orphan => Some("an object, not what it owns".to_owned()),
        },
        definitions.then(|| "CustomResourceDefinitions with the objects of their kind".to_owned()),
        budget.map(|Budget { objects, percent }| {
            format!("more than {objects} objects and {percent} % of it only with consent")
        }),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

fn allow_text(allow: &Allow) -> Option<String> {
    let Allow { kinds, namespaces } = allow;
    let list = |what: &BTreeSet<String>| what.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let parts = [
        (!kinds.is_empty()).then(|| list(kinds)),
        (!namespaces.is_empty()).then(|| format!("in {}", list(namespaces))),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// `all clusters`, or the selector.
pub(super) fn where_it_holds(selector: &Selector) -> String {
    if selector.is_empty() {
        "all clusters".to_owned()
    } else {
        selector.to_string()
    }
}

fn overlay_text(overlay: &Overlay) -> String {
    let Overlay {
        name,
        selector,
        remove,
        add,
        patches,
    } = overlay;
    let ids =
        |manifests: &[Manifest]| -> Vec<_> { manifests.iter().map(Manifest::id).map(ManifestId::to_string).collect() };
    let list = |verb: &str, what: Vec<String>| (!what.is_empty()).then(|| format!("{verb} {}", what.join("; ")));
    let parts = [
        list("removes", remove.iter().map(ToString::to_string).collect()),
        list("adds", ids(add)),
        list(
            "patches",
            patches.iter().map(|patch| patch.target.to_string()).collect(),
        ),
    ];
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    format!(
        "{} on {}: {}",
        one_line(name),
        where_it_holds(selector),
        parts.join(", ")
    )
}
