//! Differences between desired states: as documents, as lines, and in one sentence.

use std::collections::BTreeMap;

use driftless_model::{
    bundle::Bundle,
    diff::{self, Change, FieldChange},
    hash::ObjectHash,
    manifest::ManifestId,
    name::{ClusterName, ComponentName},
};
use serde::Serialize;
use serde_json::Value;

use super::{bad, bold, count, dim, good, warn};

/// Longest value shown in a line; `-o json` has all of it.
const MAX_VALUE: usize = 120;
/// Clusters of a group that are named; `-o json` has all of them.
const MAX_NAMED: usize = 4;

/// How one component differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ComponentDiff {
    /// The component.
    pub(crate) component: ComponentName,
    /// The bundle before; `null` when the component is new.
    pub(crate) before: Option<ObjectHash>,
    /// The bundle after; `null` when the component was removed.
    pub(crate) after: Option<ObjectHash>,
    /// The objects that differ.
    // As JSON it stands beside a push's count of `objects`.
    #[serde(rename = "changes")]
    pub(crate) objects: Vec<ObjectDiff>,
    /// What differs in how it is run: its selector, order, overlays, health rules and epoch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) spec: Vec<FieldChange>,
    /// What comes of it on the channel's clusters, where those differ: most clusters first. Clusters on which nothing
    /// changes are in none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) groups: Vec<GroupDiff>,
}

/// What changes on some clusters.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupDiff {
    /// The clusters.
    pub(crate) clusters: Vec<ClusterName>,
    /// The objects that differ on them.
    #[serde(rename = "changes")]
    pub(crate) objects: Vec<ObjectDiff>,
}

/// How one object differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ObjectDiff {
    /// The object.
    pub(crate) object: ManifestId,
    /// `type` is `added`, `removed` or `changed`, the last with `fields`.
    #[serde(flatten)]
    pub(crate) change: Change,
}

impl ComponentDiff {
    pub(crate) fn new(
        component: ComponentName,
        before: Option<ObjectHash>,
        after: Option<ObjectHash>,
        objects: BTreeMap<ManifestId, Change>,
    ) -> Self {
        let objects = objects
            .into_iter()
            .map(|(object, change)| ObjectDiff { object, change })
            .collect();
        Self {
            component,
            before,
            after,
            objects,
            spec: Vec::new(),
            groups: Vec::new(),
        }
    }

    /// Tells also how the component is run otherwise than before.
    pub(crate) fn with_spec(mut self, before: Option<&Bundle>, after: Option<&Bundle>) -> Self {
        let spec = |bundle: Option<&Bundle>| bundle.and_then(|bundle| serde_json::to_value(bundle.spec()).ok());
        // A component that comes or goes does so with all of it.
        if let (Some(before), Some(after)) = (spec(before), spec(after)) {
            self.spec = diff::fields(&before, &after);
        }
        self
    }

    /// What changes, in one sentence.
    pub(crate) fn sentence(&self) -> String {
        let mut names: Vec<_> = self.spec.iter().map(|field| root(&field.path)).collect();
        names.dedup();
        match (names.as_slice(), self.objects.as_slice()) {
            ([], objects) => sentence(objects),
            (names, []) => format!("other {}", names.join(", ")),
            (names, objects) => format!("{}, other {}", sentence(objects), names.join(", ")),
        }
    }

    /// A heading, then a line for each object added or removed and for each field changed.
    pub(crate) fn lines(&self) -> String {
        let short = |hash: Option<ObjectHash>| hash.map_or_else(|| "nothing".to_owned(), |hash| hash.short());
        let mut out = format!(
            "{} {}\n",
            bold(self.component.as_str()),
            dim(format!(
                "{} → {}: {}",
                short(self.before),
                short(self.after),
                self.sentence()
            ))
        );
        for field in &self.spec {
            out.push_str(&format!("{} {}\n", warn("~"), field_line(field)));
        }
        if self.groups.is_empty() {
            out.push_str(&object_lines(&self.objects));
        }
        for GroupDiff { clusters, objects } in &self.groups {
            out.push_str(&format!("{}: {}\n", bold(named(clusters)), sentence(objects)));
            for line in object_lines(objects).lines() {
                out.push_str(&format!("  {line}\n"));
            }
        }
        out
    }
}

/// `38 clusters (edge-1, edge-2, edge-3, …)`.
fn named(clusters: &[ClusterName]) -> String {
    let few: Vec<_> = clusters.iter().take(MAX_NAMED).map(ClusterName::as_str).collect();
    let more = if clusters.len() > MAX_NAMED { ", …" } else { "" };
    format!("{} ({}{more})", count(clusters.len(), "cluster"), few.join(", "))
}

fn object_lines(objects: &[ObjectDiff]) -> String {
    let mut out = String::new();
    for ObjectDiff { object, change } in objects {
        match change {
            Change::Added => out.push_str(&format!("{}\n", good(format!("+ {object}")))),
            Change::Removed => out.push_str(&format!("{}\n", bad(format!("- {object}")))),
            Change::Changed { fields } => {
                for field in fields {
                    out.push_str(&format!("{} {object}  {}\n", warn("~"), field_line(field)));
                }
            }
        }
    }
    out
}

/// The first part of a path.
fn root(path: &str) -> &str {
    path.split(['.', '[']).next().unwrap_or_default()
}

/// `1 changed (Deployment.apps default/frontend), 2 added`: names where there are few.
pub(crate) fn sentence(objects: &[ObjectDiff]) -> String {
    let part = |word: &str, wanted: fn(&Change) -> bool| {
        let names: Vec<_> = objects
            .iter()
            .filter(|diff| wanted(&diff.change))
            .map(|diff| diff.object.to_string())
            .collect();
        match names.len() {
            0 => None,
            few @ 1..=3 => Some(format!("{few} {word} ({})", names.join(", "))),
            many => Some(format!("{many} {word}")),
        }
    };
    let parts = [
        part("changed", |change| matches!(change, Change::Changed { .. })),
        part("added", |change| matches!(change, Change::Added)),
        part("removed", |change| matches!(change, Change::Removed)),
    ];
    let said: Vec<_> = parts.into_iter().flatten().collect();
    if said.is_empty() {
        "unchanged".to_owned()
    } else {
        said.join(", ")
    }
}

/// `2 components, 5 objects differ`.
pub(crate) fn total(diffs: &[ComponentDiff]) -> String {
    let objects: usize = diffs.iter().map(|diff| diff.objects.len()).sum();
    format!(
        "{} and {} differ",
        count(diffs.len(), "component"),
        count(objects, "object")
    )
}

/// A field with its values before and after.
pub(crate) fn field_line(FieldChange { path, before, after }: &FieldChange) -> String {
    match (before, after) {
        (Some(before), Some(after)) => format!("{path}: {} → {}", bad(value(before)), good(value(after))),
        (None, Some(after)) => format!("{path}: added {}", good(value(after))),
        (Some(before), None) => format!("{path}: removed {}", bad(value(before))),
        (None, None) => path.clone(),
    }
}

/// Compact JSON, which has no line breaks and no control characters, cut where it gets long.
fn value(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(MAX_VALUE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(kind: &str, name: &str) -> ManifestId {
        let group = if kind == "Deployment" { "apps" } else { "" };
        ManifestId {
            group: group.to_owned(),
            kind: kind.to_owned(),
            namespace: Some("default".to_owned()),
            name: name.to_owned(),
        }
    }

    fn image() -> Change {
        let field = FieldChange {
            path: "spec.template.spec.containers[name=server].image".to_owned(),
            before: Some(json!("a:1")),
            after: Some(json!("a:2")),
        };
        Change::Changed { fields: vec![field] }
    }

    fn diff(objects: &[(ManifestId, Change)]) -> ComponentDiff {
        let hash = |byte: u8| Some(ObjectHash::from([byte; 32]));
        ComponentDiff::new(
            "shop".parse().unwrap(),
            hash(1),
            hash(2),
            objects.iter().cloned().collect(),
        )
    }

    #[test]
    fn lines_name_object_and_field() {
        let diff = diff(&[
            (id("Deployment", "web"), image()),
            (id("Service", "a"), Change::Added),
            (id("Pod", "b"), Change::Removed),
        ]);
        let plain = anstream::adapter::strip_str(&diff.lines()).to_string();
        let expected = "shop 010101010101 → 020202020202: 1 changed (Deployment.apps default/web), \
            1 added (Service default/a), 1 removed (Pod default/b)\n\
            - Pod default/b\n+ Service default/a\n\
            ~ Deployment.apps default/web  spec.template.spec.containers[name=server].image: \"a:1\" → \"a:2\"\n";
        assert_eq!(plain, expected);
    }

    #[test]
    fn json_of_a_changed_object_is_flat() {
        let document = serde_json::to_value(diff(&[(id("Deployment", "web"), image())])).unwrap();
        assert_eq!(document["changes"][0]["type"], "changed");
        assert_eq!(document["changes"][0]["object"]["name"], "web");
        assert_eq!(document["changes"][0]["fields"][0]["after"], "a:2");
    }

    #[test]
    fn many_names_are_only_counted() {
        let names: Vec<_> = ["a", "b", "c", "d"]
            .map(|name| (id("Service", name), Change::Added))
            .into();
        assert_eq!(sentence(&diff(&names).objects), "4 added");
        assert_eq!(sentence(&[]), "unchanged");
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        let cut = value(&json!("é".repeat(200)));
        assert_eq!(cut.chars().count(), MAX_VALUE + 1);
        assert!(cut.ends_with('…'));
    }
}
