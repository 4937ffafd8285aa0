//! What would come of one component, as a document and as lines.

use driftless_model::{
    diff::FieldChange,
    hash::ObjectHash,
    hook::Phase,
    manifest::ManifestId,
    name::{ClusterName, ComponentName},
    prospect::{ComponentProspect, HookProspect, Outcome},
};
use serde::Serialize;

use crate::{
    output::{bad, bold, changes::field_line, count, dim, good, warn},
    prints::fields::Fields,
    resolve,
};

/// What would come of a component.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Found {
    component: ComponentName,
    bundle: Option<ObjectHash>,
    pub(super) unchanged: u32,
    pub(super) changes: Vec<Change>,
    pub(super) refused: Vec<Object>,
    left: Vec<Object>,
    pub(super) hooks: Vec<Hook>,
}

/// A hook that would run.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Hook {
    pub(super) phase: Phase,
    object: ManifestId,
}

/// What would change.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Change {
    pub(super) object: ManifestId,
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<FieldChange>,
    #[serde(skip_serializing_if = "is_zero")]
    more_fields: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Kind {
    Changed,
    Replaced,
    Added,
    Removed,
}

/// An object, and why nothing would be done about it.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Object {
    object: ManifestId,
    message: String,
}

pub(super) const FIELDS: Fields = &[
    ("component", "the component"),
    (
        "bundle",
        "its bundle in the snapshot; `null` when the snapshot does not have it, and its objects would be deleted",
    ),
    ("unchanged", "number of objects that would stay as they are"),
    (
        "changes[].type",
        "`added`, `removed`, `changed`, or `replaced`: deleted and made anew",
    ),
    ("changes[].object.*", "the object, as `driftless diff` has it"),
    ("changes[].fields[].path", "a field that would change"),
    (
        "changes[].fields[].before.**",
        "its value on the cluster; absent when it is new, and in Secrets",
    ),
    (
        "changes[].fields[].after.**",
        "its value then; absent when it would be removed, and in Secrets",
    ),
    (
        "changes[].moreFields",
        "number of further fields, left out; absent without",
    ),
    (
        "changes[].message",
        "why it would be replaced, what a deletion waits for, or why the API server could not be asked yet",
    ),
    ("refused[].object.*", "an object that would not be applied"),
    ("refused[].message", "why: what the API server says, or the agent"),
    (
        "left[].object.*",
        "an object that would be left as it is, though it differs or is not desired",
    ),
    ("left[].message", "why"),
    (
        "hooks[].phase",
        "`PreSync`, `Sync` or `PostSync`: a hook that would run then, in the order of the list; `SyncFail`: only if \
        something fails",
    ),
    ("hooks[].object.*", "the hook"),
];

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Found {
    pub(super) fn new(cluster: &ClusterName, component: ComponentName, prospect: ComponentProspect) -> Self {
        let named = |message: String| resolve::commands_for(cluster, &message);
        let mut found = Self {
            component,
            bundle: prospect.bundle,
            unchanged: prospect.unchanged,
            changes: Vec::new(),
            refused: Vec::new(),
            left: Vec::new(),
            hooks: prospect.hooks.into_iter().map(Hook::from).collect(),
        };
        for (object, outcome) in prospect.objects {
            let (kind, fields, more_fields, message) = match outcome {
                Outcome::Refused(message) => {
                    found.refused.push(Object { object, message });
                    continue;
                }
                Outcome::Left(message) => {
                    found.left.push(Object { object, message });
                    continue;
                }
                Outcome::Changed { fields, more } => (Kind::Changed, fields, more, None),
                Outcome::Created(why) => (Kind::Added, Vec::new(), 0, why),
                Outcome::Pruned(why) => (Kind::Removed, Vec::new(), 0, why.map(named)),
                Outcome::Replaced(why) => (Kind::Replaced, Vec::new(), 0, Some(why)),
            };
            found.changes.push(Change {
                object,
                kind,
                fields,
                more_fields,
                message,
            });
        }
        found
    }

    /// Is there nothing to tell?
    pub(super) fn is_quiet(&self) -> bool {
        !self.has_changes() && self.refused.is_empty() && self.left.is_empty()
    }

    /// Would something change or run? A hook for a failure needs one first.
    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty() || self.hooks.iter().any(|hook| hook.phase != Phase::SyncFail)
    }

    /// `2 changed, 1 added, 1 refused`.
    fn sentence(&self) -> String {
        let number = |kind: Kind| self.changes.iter().filter(|change| change.kind == kind).count();
        let parts = [
            (number(Kind::Changed), "changed"),
            (number(Kind::Replaced), "replaced"),
            (number(Kind::Added), "added"),
            (number(Kind::Removed), "removed"),
            (self.refused.len(), "refused"),
            (self.left.len(), "left alone"),
        ];
        let said = parts.iter().filter(|(number, _)| *number > 0);
        let mut said: Vec<_> = said.map(|(number, word)| format!("{number} {word}")).collect();
        if !self.hooks.is_empty() {
            said.push(count(self.hooks.len(), "hook"));
        }
        said.join(", ")
    }

    /// A heading, then what would come of each object.
    pub(super) fn lines(&self) -> String {
        let bundle = self.bundle.map_or_else(|| "nothing".to_owned(), |hash| hash.short());
        let heading = dim(format!("→ {bundle}: {}", self.sentence()));
        let mut out = format!("{} {heading}\n", bold(self.component.as_str()));
        for change in &self.changes {
            change.write(&mut out);
        }
        for Object { object, message } in &self.refused {
            out.push_str(&format!("{} {object}  {message}\n", bad("!")));
        }
        for Object { object, message } in &self.left {
            out.push_str(&format!("{} {object}  {message}\n", dim("=")));
        }
        for Hook { phase, object } in &self.hooks {
            let when = match phase {
                Phase::PreSync => "runs before anything is applied",
                Phase::Sync => "runs along with the objects",
                Phase::PostSync => "runs when all is applied and healthy",
                Phase::SyncFail => "runs if something fails",
            };
            out.push_str(&format!(
                "{} {object}  {}\n",
                warn("»"),
                dim(format!("{phase:?} hook: {when}"))
            ));
        }
        out
    }
}

impl From<HookProspect> for Hook {
    fn from(HookProspect { phase, object }: HookProspect) -> Self {
        Self { phase, object }
    }
}

impl Change {
    fn write(&self, out: &mut String) {
        let Self { object, message, .. } = self;
        let why = message
            .as_ref()
            .map(|why| format!("  {}", dim(why)))
            .unwrap_or_default();
        match self.kind {
            Kind::Added => out.push_str(&format!("{}{why}\n", good(format!("+ {object}")))),
            Kind::Removed => out.push_str(&format!("{}{why}\n", bad(format!("- {object}")))),
            Kind::Replaced => out.push_str(&format!("{} {object}  deleted and made anew{why}\n", warn("~"))),
            Kind::Changed => {
                for field in &self.fields {
                    let line = match (&field.before, &field.after) {
                        (None, None) => format!("{}: changed, and not shown", field.path),
                        _ => field_line(field),
                    };
                    out.push_str(&format!("{} {object}  {line}\n", warn("~")));
                }
                if self.more_fields > 0 {
                    out.push_str(&format!(
                        "{} {object}  and {} more fields\n",
                        warn("~"),
                        self.more_fields
                    ));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found() -> Found {
        let id = |kind: &str, name: &str| ManifestId {
            group: String::new(),
            kind: kind.to_owned(),
            namespace: Some("shop".to_owned()),
            name: name.to_owned(),
        };
        let field = |path: &str, before, after| FieldChange {
            path: path.to_owned(),
            before,
            after,
        };
        let hook = |phase| HookProspect {
            phase,
            object: id("Job", "migrate"),
        };
        let objects = [
            (
                id("ConfigMap", "a"),
                Outcome::Changed {
                    fields: vec![field("data.key", Some(json!("1")), Some(json!("2")))],
                    more: 2,
                },
            ),
            (
                id("Secret", "b"),
                Outcome::Changed {
                    fields: vec![field("data.password", None, None)],
                    more: 0,
                },
            ),
            (id("ConfigMap", "c"), Outcome::Created(None)),
            (
                id("ConfigMap", "d"),
                Outcome::Created(Some("not asked about".to_owned())),
            ),
            (
                id("ConfigMap", "e"),
                Outcome::Pruned(Some("waits for `driftless approve-prune <cluster> shop`".to_owned())),
            ),
            (
                id("Job", "f"),
                Outcome::Replaced("`spec.template` cannot be changed".to_owned()),
            ),
            (id("Service", "g"), Outcome::Refused("no".to_owned())),
            (id("Service", "h"), Outcome::Left("yours".to_owned())),
        ];
        let prospect = ComponentProspect {
            bundle: Some(ObjectHash::from([1; 32])),
            unchanged: 3,
            objects: objects.into(),
            hooks: vec![hook(Phase::PreSync), hook(Phase::SyncFail)],
        };
        Found::new(&"edge-1".parse().unwrap(), "shop".parse().unwrap(), prospect)
    }

    #[test]
    fn lines_tell_each_object_and_field() {
        let plain = anstream::adapter::strip_str(&found().lines()).to_string();
        let expected = "shop → 010101010101: 2 changed, 1 replaced, 2 added, 1 removed, 1 refused, 1 left alone, 2 hooks\n\
            ~ ConfigMap shop/a  data.key: \"1\" → \"2\"\n\
            ~ ConfigMap shop/a  and 2 more fields\n\
            + ConfigMap shop/c\n\
            + ConfigMap shop/d  not asked about\n\
            - ConfigMap shop/e  waits for `driftless approve-prune edge-1 shop`\n\
            ~ Job shop/f  deleted and made anew  `spec.template` cannot be changed\n\
            ~ Secret shop/b  data.password: changed, and not shown\n\
            ! Service shop/g  no\n\
            = Service shop/h  yours\n\
            » Job shop/migrate  PreSync hook: runs before anything is applied\n\
            » Job shop/migrate  SyncFail hook: runs if something fails\n";
        assert_eq!(plain, expected);
    }

    #[test]
    fn document_has_changes_as_a_diff_has_them() {
        let document = serde_json::to_value(found()).unwrap();
        assert_eq!(document["changes"][0]["type"], "changed");
        assert_eq!(document["changes"][0]["fields"][0]["after"], "2");
        assert_eq!(
            document["refused"][0],
            json!({"object": {"kind": "Service", "namespace": "shop", "name": "g"}, "message": "no"})
        );
        assert_eq!(
            (&document["unchanged"], &document["bundle"]),
            (&json!(3), &json!("01".repeat(32)))
        );
    }
}
