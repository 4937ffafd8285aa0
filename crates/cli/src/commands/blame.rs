//! `driftless blame`: which push set each line of an object.

use anyhow::Result;
use driftless_client::{Log, types::LogEntry};
use driftless_model::{
    hash::ObjectHash,
    history::{Blame, Line, Node},
    manifest::ManifestId,
    name::{ChannelName, ComponentName},
};
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use serde_json::Value;

use crate::{
    app::App,
    failure::{Advice, Outcome},
    output::{dim, one_line, visible_width, warn, yaml},
    prints::{self, Part, Prints, fields},
    target::{self, Target, Version, Versions},
};

/// Widest that an author's name is shown.
const MAX_AUTHOR: usize = 16;

/// Show an object with the push that last changed each of its lines
///
/// The object is named as kubectl does, with or without its component: `shop/deploy/web`, `deploy/web`, `deploy web -n
/// shop`. Overlays and variables are left aside: it is the object as it was pushed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The object: KIND/NAME, KIND NAME or COMPONENT/KIND/NAME
    #[arg(value_name = "OBJECT", required = true, num_args = 1..=2)]
    object: Vec<String>,
    /// The channel
    #[arg(long, value_name = "NAME")]
    channel: ChannelName,
    /// The object's namespace
    #[arg(short, long)]
    namespace: Option<String>,
}

/// An object and who set its fields, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    channel: ChannelName,
    component: ComponentName,
    object: ManifestId,
    /// Every scalar of the object, and every empty map and list, in the object's order.
    fields: Vec<Field>,
    /// The pushes that set them, newest first.
    pushes: Vec<Push>,
}

/// A field and the push that set it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Field {
    /// Its path: `spec.replicas`.
    path: String,
    value: Value,
    /// The snapshot that the push made.
    snapshot: ObjectHash,
}

/// A push in brief.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Push {
    /// The snapshot that it made.
    pub(super) snapshot: ObjectHash,
    pub(super) time: Timestamp,
    pub(super) author: String,
    pub(super) message: String,
}

impl Push {
    pub(super) fn of(entry: &LogEntry) -> Self {
        Self {
            snapshot: entry.snapshot,
            time: entry.time,
            author: entry.author.clone(),
            message: entry.message.clone(),
        }
    }
}

pub(crate) const PRINTS: Prints = Prints {
    paged: true,
    document: &[
        Part {
            at: "",
            fields: &[
                ("channel", "the channel"),
                ("component", "the component that the object is of"),
                ("object.*", "the object: `group`, `kind`, `namespace` and `name`"),
            ],
        },
        Part {
            at: "fields[].",
            fields: &[
                (
                    "path",
                    "a field: every scalar, and every empty map and list, in the object's order",
                ),
                ("value.**", "its value"),
                ("snapshot", "the snapshot whose push set it last"),
            ],
        },
        Part {
            at: "pushes[].",
            fields: fields::PUSH,
        },
    ],
    ..prints::DOCUMENT
};

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args {
        object,
        channel,
        namespace,
    } = args;
    let client = app.client()?;
    let channel = client.channel(&channel).await?;
    let (component, id) = match target::find(&client, &channel, &object, namespace.as_deref()).await? {
        Target::Object(component, id) => (component, id),
        Target::Component(component) => {
            let hint = format!("`driftless show {}:{component}` lists its objects", channel.name);
            let message = format!("`{component}` is a component: name one of its objects, as {component}/KIND/NAME");
            return Err(Advice::new(message, hint).into());
        }
    };
    let mut versions = Versions::new(&client, Log::of(&channel.name), &component, &id);
    let mut pushes: Vec<Push> = Vec::new();
    let mut blame: Option<Blame> = None;
    while let Some(Version { push, before, after }) = versions.next().await? {
        if before == after {
            continue;
        }
        let blame = match (&mut blame, after) {
            (Some(blame), _) => blame,
            (none, Some(after)) => none.insert(Blame::new(&after.value())),
            (None, None) => {
                let hint = format!(
                    "`driftless history {component}/{}/{} --channel {}` shows what it was",
                    id.kind.to_lowercase(),
                    id.name,
                    channel.name
                );
                return Err(Advice::new(format!("{id} is gone since snapshot {}", push.snapshot.short()), hint).into());
            }
        };
        blame.step(before.map(|before| before.value()).as_ref(), pushes.len());
        pushes.push(Push::of(&push));
        if blame.is_done() {
            break;
        }
    }
    let Some(blame) = blame else {
        let hint = format!("`driftless show {}:{component}` shows the overlays", channel.name);
        return Err(Advice::new(
            format!("{id} is added by an overlay of component `{component}` only"),
            hint,
        )
        .into());
    };
    let setter = |push: Option<usize>| push.and_then(|push| pushes.get(push)).or(pushes.last());
    let document = Document {
        fields: blame
            .leaves()
            .into_iter()
            .filter_map(|(path, value, push)| {
                Some(Field {
                    path,
                    value: value.clone(),
                    snapshot: setter(push)?.snapshot,
                })
            })
            .collect(),
        channel: channel.name,
        component,
        object: id,
        pushes: pushes.clone(),
    };
    app.output
        .print(&document, |_| text(&blame, &pushes, &TimeZone::system()))?;
    Ok(Outcome::Success)
}

/// The object's YAML, each line with the push that set it.
fn text(blame: &Blame, pushes: &[Push], zone: &TimeZone) -> String {
    let mut lines = Vec::new();
    render(blame.root(), 0, &mut lines);
    let heads: Vec<_> = pushes
        .iter()
        .map(|push| {
            let author: String = one_line(&push.author).chars().take(MAX_AUTHOR).collect();
            (
                push.snapshot.short(),
                author,
                push.time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string(),
            )
        })
        .collect();
    let width = heads
        .iter()
        .map(|(_, author, _)| visible_width(author))
        .max()
        .unwrap_or_default();
    let mut last = None;
    let mut out = String::new();
    for (push, line) in lines {
        let Some((hash, author, time)) = push.or(pushes.len().checked_sub(1)).and_then(|push| heads.get(push)) else {
            continue;
        };
        let pad = " ".repeat(width - visible_width(author));
        // One look shows where the next push's lines begin; `grep` finds the push in every line.
        let head = if push == last {
            dim(format!("{hash}  {author}{pad}  {time}"))
        } else {
            format!("{}  {author}{pad}  {}", warn(hash), dim(time))
        };
        out.push_str(&format!("{head}  {line}\n"));
        last = push;
    }
    out
}

type Lines = Vec<(Option<usize>, String)>;

/// The YAML of `line` at an indent, as `-o yaml` lays it out, line by line.
fn render(line: &Line, indent: usize, out: &mut Lines) {
    let space = " ".repeat(indent);
    match &line.node {
        Node::Leaf(value) => leaf(line.set_by, String::new(), value, indent, out),
        Node::Map(fields) => {
            for (key, field) in fields {
                let head = format!("{space}{}:", yaml::plain_or_quoted(key));
                match &field.node {
                    Node::Leaf(value) => leaf(field.set_by, head, value, indent + 2, out),
                    Node::Map(_) => {
                        out.push((field.set_by, head));
                        render(field, indent + 2, out);
                    }
                    Node::List(..) => {
                        out.push((field.set_by, head));
                        render(field, indent, out);
                    }
                }
            }
        }
        Node::List(items, _) => {
            for item in items {
                if let Node::Leaf(value) = &item.node {
                    leaf(item.set_by, format!("{space}-"), value, indent + 2, out);
                    continue;
                }
                let first = out.len();
                render(item, indent + 2, out);
                if let Some((_, text)) = out.get_mut(first) {
                    text.replace_range(indent..=indent, "-");
                }
            }
        }
    }
}

fn leaf(push: Option<usize>, mut text: String, value: &Value, indent: usize, out: &mut Lines) {
    yaml::scalar(value, indent, &mut text);
    out.extend(text.lines().map(|line| (push, line.to_owned())));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(image: &str) -> Value {
        json!({
            "kind": "Deployment",
            "metadata": {"labels": {}, "name": "web"},
            "spec": {"containers": [{"args": ["-v", "--x"], "image": image}], "note": "a\nb\n", "nested": [["x"], []]},
        })
    }

    fn push(byte: u8, author: &str) -> Push {
        Push {
            snapshot: ObjectHash::from([byte; 32]),
            time: "2026-11-01T08:30:00Z".parse().unwrap(),
            author: author.to_owned(),
            message: String::new(),
        }
    }

    #[test]
    fn lines_are_the_objects_yaml() {
        let value = object("a:1");
        let mut lines = Vec::new();
        render(Blame::new(&value).root(), 0, &mut lines);
        let text: String = lines.iter().map(|(_, line)| format!("{line}\n")).collect();
        assert_eq!(text, yaml::document(&value));
    }

    #[test]
    fn every_line_has_its_push() {
        let mut blame = Blame::new(&object("a:2"));
        blame.step(Some(&object("a:1")), 0);
        blame.step(None, 1);
        let text = text(&blame, &[push(2, "bob"), push(1, "alice")], &TimeZone::UTC);
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert!(
            plain.starts_with("010101010101  alice  2026-11-01 08:30  kind: Deployment\n"),
            "{plain}"
        );
        assert!(
            plain.contains("020202020202  bob    2026-11-01 08:30      image: a:2\n"),
            "{plain}"
        );
        assert_eq!(plain.matches("bob").count(), 1);
    }
}
