//! `driftless history`: which pushes changed a component, an object or a field.

use anyhow::Result;
use driftless_client::{
    Client, Log,
    types::{Channel, LogChange},
};
use driftless_model::{
    bundle::Bundle,
    diff::{self, Change, FieldChange},
    hash::ObjectHash,
    history::{self, Field},
    manifest::{Manifest, ManifestId},
    name::{ChannelName, ComponentName},
};
use futures::TryStreamExt as _;
use jiff::Timestamp;
use serde::Serialize;

use super::blame::Push;
use crate::{
    app::App,
    failure::{Advice, Outcome},
    moment::Moment,
    now,
    output::{
        self, bad,
        changes::{ObjectDiff, field_line},
        dim, good, one_line, warn,
    },
    prints::{self, Part, Prints, fields},
    target::{self, Target, Versions},
};

/// Objects of one push that are listed; `-o json` has all.
const MAX_LISTED: usize = 20;

/// Show when a component, an object or a field changed, and by whom
///
/// `driftless history shop --channel prod` lists the pushes of a component, `driftless history deploy/web --channel prod`
/// those that changed an object, with old and new values; `--field spec.replicas` asks about one field and what is below
/// it. An object that is gone is found by its component: `shop/deploy/web`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A component; or an object: KIND/NAME, KIND NAME or COMPONENT/KIND/NAME
    #[arg(value_name = "COMPONENT|OBJECT", required = true, num_args = 1..=2)]
    what: Vec<String>,
    /// The channel
    #[arg(long, value_name = "NAME")]
    channel: ChannelName,
    /// The object's namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// Only changes of this field: `spec.replicas`, `spec.template.spec.containers[name=web].image`
    #[arg(long, value_name = "PATH")]
    field: Option<Field>,
    /// At most this many pushes [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Only pushes since then: `2h`, `3d`, 2026-11-01
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
}

/// A push and what it changed, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Step<C> {
    #[serde(flatten)]
    push: Push,
    #[serde(flatten)]
    change: C,
}

/// How a push changed a component, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfComponent {
    /// The bundle before; `null` when the component is new.
    before: Option<ObjectHash>,
    /// The bundle after; `null` when the component was removed.
    after: Option<ObjectHash>,
    /// Where and how it runs: what changed of selector, overlays and the like.
    spec: Vec<FieldChange>,
    /// The objects that changed.
    objects: Vec<ObjectDiff>,
}

pub(crate) const PRINTS: Prints = Prints {
    paged: true,
    document: &[
        Part {
            at: "[].",
            fields: fields::PUSH,
        },
        Part {
            at: "[].",
            fields: &[
                ("type", "of an object: `added`, `removed` or `changed`"),
                ("fields[].path", "of an object: a field that changed"),
                ("fields[].before.**", "its value before; absent when it is new"),
                ("fields[].after.**", "its value after; absent when it was removed"),
                ("before", "of a component: its bundle before; `null` when it is new"),
                ("after", "of a component: its bundle after; `null` when it was removed"),
                (
                    "spec[].**",
                    "of a component: fields that changed of where and how it runs",
                ),
                (
                    "objects[].**",
                    "of a component: the objects that changed, as `driftless diff` has them",
                ),
            ],
        },
    ],
    ..prints::NAMED
};

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args {
        what,
        channel,
        namespace,
        field,
        limit,
        since,
    } = args;
    let client = app.client()?;
    let channel = client.channel(&channel).await?;
    let since = since.map(|since| since.when(now()));
    match target::find(&client, &channel, &what, namespace.as_deref()).await? {
        Target::Component(component) => {
            if field.is_some() {
                let hint = format!("name one of its objects: {component}/KIND/NAME");
                return Err(
                    Advice::new(format!("`{component}` is a component, and fields are of objects"), hint).into(),
                );
            }
            of_component(app, &client, &channel, component, limit, since).await?;
        }
        Target::Object(component, id) => {
            let history = OfObject {
                component,
                id,
                field,
                limit,
                since,
            };
            history.show(app, &client, &channel).await?;
        }
    }
    Ok(Outcome::Success)
}

async fn of_component(
    app: &App,
    client: &Client,
    channel: &Channel,
    component: ComponentName,
    limit: Option<u32>,
    since: Option<Timestamp>,
) -> Result<()> {
    let mut log = client.history(Log {
        component: Some(component.clone()),
        limit,
        since,
        ..Log::of(&channel.name)
    });
    // The version after a push is the one before the next newer one: each is fetched once.
    let mut newer: Option<(ObjectHash, Bundle)> = None;
    let mut shown = Shown::new(app);
    while let Some(push) = log.try_next().await? {
        let Some(LogChange { before, after, .. }) = push.changes.get(&component).copied() else {
            continue;
        };
        let after_bundle = match (after, newer.take()) {
            (Some(hash), Some((known, bundle))) if known == hash => Some(bundle),
            (Some(hash), _) => Some(client.bundle(&hash).await?),
            (None, _) => None,
        };
        let before_bundle = match before {
            Some(hash) => Some((hash, client.bundle(&hash).await?)),
            None => None,
        };
        let change = component_change(before_bundle.as_ref().map(|(_, bundle)| bundle), after_bundle.as_ref());
        let change = OfComponent {
            before,
            after,
            ..change
        };
        newer = before_bundle;
        let step = Step {
            push: Push::of(&push),
            change,
        };
        let lines = component_lines(&step.change);
        if !shown.step(step, &lines)? {
            break;
        }
    }
    shown.finish(|| format!("component `{component}` did not change since then"))
}

fn component_change(before: Option<&Bundle>, after: Option<&Bundle>) -> OfComponent {
    let manifests = |bundle: Option<&Bundle>| -> Vec<Manifest> {
        bundle.into_iter().flat_map(Bundle::manifests).cloned().collect()
    };
    let spec = |bundle: Option<&Bundle>| bundle.map(|bundle| serde_json::to_value(bundle.spec()).unwrap_or_default());
    let spec = match (spec(before), spec(after)) {
        (Some(before), Some(after)) => diff::fields(&before, &after),
        _ => Vec::new(),
    };
    let objects = diff::manifests(&manifests(before), &manifests(after));
    OfComponent {
        before: None,
        after: None,
        spec,
        objects: objects
            .into_iter()
            .map(|(object, change)| ObjectDiff { object, change })
            .collect(),
    }
}

fn component_lines(change: &OfComponent) -> String {
    let OfComponent {
        before,
        after,
        spec,
        objects,
    } = change;
    let mut lines: Vec<String> = match (before, after) {
        (None, _) => vec![good(format!(
            "+ the component, with {}",
            output::count(objects.len(), "object")
        ))],
        (_, None) => vec![bad("- the component")],
        _ => objects.iter().map(object_line).collect(),
    };
    lines.extend(spec.iter().map(|field| format!("{} {}", warn("~"), field_line(field))));
    let more = lines.len().saturating_sub(MAX_LISTED);
    lines.truncate(MAX_LISTED);
    if more > 0 {
        lines.push(dim(format!("and {more} more")));
    }
    indented(&lines)
}

fn object_line(diff: &ObjectDiff) -> String {
    let ObjectDiff { object, change } = diff;
    match change {
        Change::Added => good(format!("+ {object}")),
        Change::Removed => bad(format!("- {object}")),
        Change::Changed { fields } => match fields.as_slice() {
            [one] => format!("{} {object}  {}", warn("~"), field_line(one)),
            many => format!("{} {object}  {}", warn("~"), dim(format!("{} fields", many.len()))),
        },
    }
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  {line}\n")).collect()
}

/// The history of one object.
struct OfObject {
    component: ComponentName,
    id: ManifestId,
    field: Option<Field>,
    limit: Option<u32>,
    since: Option<Timestamp>,
}

impl OfObject {
    async fn show(self, app: &App, client: &Client, channel: &Channel) -> Result<()> {
        let log = Log {
            since: self.since,
            ..Log::of(&channel.name)
        };
        let mut versions = Versions::new(client, log, &self.component, &self.id);
        let mut shown = Shown::new(app);
        let mut newest = None;
        while self.limit.is_none_or(|limit| shown.count < limit)
            && let Some(version) = versions.next().await?
        {
            if version.before == version.after {
                continue;
            }
            newest = newest.or(version.after.clone()).or(version.before.clone());
            let Some(change) = self.change(version.before.as_ref(), version.after.as_ref()) else {
                continue;
            };
            let lines = self.lines(&change);
            let step = Step {
                push: Push::of(&version.push),
                change,
            };
            if !shown.step(step, &lines)? {
                break;
            }
        }
        let (id, since) = (&self.id, self.since.is_some());
        if let (0, Some(field), Some(newest), false) = (shown.count, &self.field, &newest, since) {
            return Err(no_field(field, id, newest).into());
        }
        let what = self
            .field
            .as_ref()
            .map_or_else(String::new, |field| format!("{field} of "));
        shown.finish(|| format!("{what}{id} did not change since then"))
    }

    fn change(&self, before: Option<&Manifest>, after: Option<&Manifest>) -> Option<Change> {
        let (before, after) = (before.map(Manifest::value), after.map(Manifest::value));
        match &self.field {
            None => history::of_object(before.as_ref(), after.as_ref()),
            Some(field) => {
                let fields = history::of_field(field, before.as_ref(), after.as_ref());
                (!fields.is_empty()).then_some(Change::Changed { fields })
            }
        }
    }

    fn lines(&self, change: &Change) -> String {
        match change {
            Change::Added => indented(&[good(format!("+ {}", self.id))]),
            Change::Removed => indented(&[bad(format!("- {}", self.id))]),
            Change::Changed { fields } => indented(&fields.iter().map(field_line).collect::<Vec<_>>()),
        }
    }
}

/// A field that no version of the object ever had.
fn no_field(field: &Field, id: &ManifestId, object: &Manifest) -> Advice {
    let value = object.value();
    let (reached, there) = field.reach(&value);
    let keys: Vec<_> = match there {
        serde_json::Value::Object(fields) => fields.keys().cloned().collect(),
        serde_json::Value::Array(items) => {
            let name = |item: &serde_json::Value| Some(format!("[name={}]", item.get("name")?.as_str()?));
            items.iter().filter_map(name).collect()
        }
        _ => Vec::new(),
    };
    let place = match reached.to_string() {
        path if path.is_empty() => "it".to_owned(),
        path => format!("`{path}`"),
    };
    let hint = match keys.len() {
        0 => format!("{place} has nothing below it"),
        _ => format!("{place} has {}", keys.join(", ")),
    };
    Advice::new(format!("{id} never had a field `{field}`"), hint)
}

/// Shows steps as they come, or collects them for programs.
struct Shown<'a> {
    app: &'a App,
    rows: output::Rows,
    steps: Vec<serde_json::Value>,
    names: Vec<String>,
    count: u32,
    now: Timestamp,
}

impl<'a> Shown<'a> {
    fn new(app: &'a App) -> Self {
        Self {
            rows: app.output.rows(),
            app,
            steps: Vec::new(),
            names: Vec::new(),
            count: 0,
            now: now(),
        }
    }

    /// Gives whether anybody still reads.
    fn step<C: Serialize>(&mut self, step: Step<C>, lines: &str) -> Result<bool> {
        self.count += 1;
        if self.app.output.is_text() {
            return self.rows.push(&format!("{}{lines}", head(&step.push, self.now)));
        }
        self.names.push(format!("snapshot/{}", step.push.snapshot));
        self.steps.push(serde_json::to_value(&step)?);
        Ok(true)
    }

    fn finish(self, nothing: impl FnOnce() -> String) -> Result<()> {
        if self.count == 0 {
            output::note(&nothing());
        }
        self.rows.finish()?;
        if self.app.output.is_text() {
            return Ok(());
        }
        let names = self.names;
        self.app.output.print_named(&self.steps, |_| names, |_| String::new())
    }
}

/// `1a2b3c4d5e6f  3h ago  admin  why`.
fn head(push: &Push, now: Timestamp) -> String {
    let line = format!(
        "{}  {}  {}  {}",
        warn(push.snapshot.short()),
        output::when(push.time, now),
        one_line(&push.author),
        one_line(push.message.lines().next().unwrap_or_default()),
    );
    format!("{}\n", line.trim_end())
}
