//! Who changed what of an object that was applied: fields and manager, for logs, Events and reports.
//!
//! Pure; asked by the engine with the live object of a watch event that shows drift, and only then. Watches know by
//! [`Expected`] which events these are, so that the thousand others cost nothing and keep no object in memory.

use std::{
    collections::HashMap,
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, MutexGuard, PoisonError},
};

use driftless_model::{field, manifest::ManifestId};
use serde_json::{Map, Value};

use crate::{digest::Digest, owned};

/// Most fields remembered; the rest is counted.
const MAX_FIELDS: usize = 32;
/// Most of them said to a person.
const MAX_TOLD: usize = 5;

/// What somebody did to an object that was as desired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Fields were changed or removed.
    Fields {
        /// By which field manager; `None` where the API server keeps no trace, as of removed fields.
        manager: Option<String>,
        /// Was it through the `scale` subresource, as autoscalers do?
        scaled: bool,
        /// Which, as the API server writes them: `.spec.containers[name="web"].image`.
        fields: Vec<String>,
        /// Further fields, not listed.
        more: usize,
    },
    /// It was deleted, or its labels were taken away.
    Gone,
}

impl Change {
    /// Who did it, as far as known.
    pub fn manager(&self) -> Option<&str> {
        match self {
            Self::Fields { manager, .. } => manager.as_deref(),
            Self::Gone => None,
        }
    }

    /// The fields that somebody else took from us.
    pub(crate) fn taken(&self) -> &[String] {
        match self {
            Self::Fields {
                manager: Some(_),
                fields,
                ..
            } => fields,
            Self::Fields { .. } | Self::Gone => &[],
        }
    }

    /// Reads what was done to `manifest`, as it was applied, from what is live.
    pub(crate) fn read(manifest: &Value, live: &Value, ours: &str) -> Self {
        let own = owned::fields(live, ours);
        let mut thefts = thefts(manifest, live, ours);
        // The newest comes last: times are all written alike.
        thefts.sort_by_key(|theft| theft.time);
        let (manager, scaled, mut fields) = match thefts.pop() {
            Some(theft) => (Some(theft.manager.to_owned()), theft.scaled, theft.fields),
            None => (None, false, removed(manifest, live, own)),
        };
        for theft in thefts {
            fields.extend(theft.fields);
        }
        let mut seen = Vec::new();
        fields.retain(|field| {
            let is_new = !seen.contains(field);
            seen.push(field.clone());
            is_new
        });
        let more = fields.len().saturating_sub(MAX_FIELDS);
        fields.truncate(MAX_FIELDS);
        Self::Fields {
            manager,
            scaled,
            fields,
            more,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("somebody deleted it, or took its labels away"),
            Self::Fields {
                manager, fields, more, ..
            } => {
                match manager {
                    Some(manager) => write!(f, "`{manager}` changed ")?,
                    None => f.write_str("somebody changed or removed ")?,
                }
                let told = &fields[..fields.len().min(MAX_TOLD)];
                match told {
                    [] => f.write_str("fields of it")?,
                    told => f.write_str(&told.join(", "))?,
                }
                let more = more + fields.len() - told.len();
                if more > 0 {
                    write!(f, " and {more} more")?;
                }
                Ok(())
            }
        }
    }
}

/// The fields of `manifest` that others have set since `ours` last applied something of the object, which it did not do
/// with these: they were taken from us, as far as the API server's record tells. Empty if we never applied it.
pub(crate) fn taken_since(manifest: &Value, live: &Value, ours: &str) -> Vec<String> {
    let own = entries(live).find(|entry| owned::is_applied_by(entry, ours));
    // Times have seconds and are all written alike.
    let Some(last) = own.map(time_of) else {
        return Vec::new();
    };
    let since = thefts(manifest, live, ours)
        .into_iter()
        .filter(|theft| theft.time >= last);
    since.flat_map(|theft| theft.fields).collect()
}

/// What another manager has of the fields that we want.
struct Theft<'a> {
    time: &'a str,
    manager: &'a str,
    scaled: bool,
    fields: Vec<String>,
}

fn thefts<'a>(manifest: &Value, live: &'a Value, ours: &str) -> Vec<Theft<'a>> {
    let own = owned::fields(live, ours);
    let others = entries(live).filter(|entry| !owned::is_applied_by(entry, ours));
    let thefts = others.filter_map(|entry| {
        let mut fields = Vec::new();
        taken(
            entry.get("fieldsV1")?.as_object()?,
            own,
            manifest,
            &mut String::new(),
            &mut fields,
        );
        (!fields.is_empty()).then(|| Theft {
            time: time_of(entry),
            manager: text_of(entry, "manager"),
            scaled: text_of(entry, "subresource") == "scale",
            fields,
        })
    });
    thefts.collect()
}

fn entries(live: &Value) -> impl Iterator<Item = &Value> {
    let entries = field::at(live, "/metadata/managedFields").and_then(Value::as_array);
    entries.into_iter().flatten()
}

fn time_of(entry: &Value) -> &str {
    text_of(entry, "time")
}

fn text_of<'a>(entry: &'a Value, name: &str) -> &'a str {
    entry.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Collects the fields that the manifest sets, somebody else owns and we do not any more.
fn taken(
    theirs: &Map<String, Value>,
    ours: Option<&Map<String, Value>>,
    manifest: &Value,
    path: &mut String,
    lost: &mut Vec<String>,
) {
    for (key, inner) in theirs {
        if key == "." {
            continue;
        }
        let Some(wanted) = owned::locate(manifest, key) else {
            continue;
        };
        let own = ours.and_then(|ours| ours.get(key));
        let length = path.len();
        push_step(path, key);
        match inner.as_object() {
            Some(inner) if !inner.is_empty() => {
                taken(inner, own.and_then(Value::as_object), wanted, path, lost);
            }
            _ if own.is_none() => lost.push(path.clone()),
            _ => {}
        }
        path.truncate(length);
    }
}

/// Fields of the manifest that nobody owns and that are not there. Looked for in maps alone: what an item of a list
/// is called only the API server knows.
fn removed(manifest: &Value, live: &Value, ours: Option<&Map<String, Value>>) -> Vec<String> {
    let mut lost = Vec::new();
    let mut open = vec![(String::new(), manifest, Some(live), ours)];
    while let Some((path, wanted, found, own)) = open.pop() {
        let Some(wanted) = wanted.as_object() else { continue };
        for (name, value) in wanted {
            let is_name = matches!(
                (path.as_str(), name.as_str()),
                ("", "apiVersion" | "kind") | (".metadata", "name" | "namespace")
            );
            let is_empty = value.is_null()
                || value.as_object().is_some_and(Map::is_empty)
                || value.as_array().is_some_and(Vec::is_empty);
            if is_name || is_empty {
                continue;
            }
            let path = format!("{path}.{name}");
            let found = found.and_then(|found| found.get(name));
            let own = own.and_then(|own| own.get(&format!("f:{name}")));
            match (found, own.and_then(Value::as_object)) {
                (None, _) | (Some(_), None) => lost.push(path),
                (Some(_), Some(inner)) if !inner.is_empty() => {
                    if let (Some(wanted), Some(live)) = (value.as_array(), found.and_then(Value::as_array)) {
                        if live.len() < wanted.len() {
                            lost.push(path);
                        }
                    } else {
                        open.push((path, value, found, Some(inner)));
                    }
                }
                _ => {}
            }
        }
    }
    lost.sort_unstable();
    lost
}

/// Adds a step of a `fieldsV1` path, as the API server writes it in conflicts.
fn push_step(path: &mut String, key: &str) {
    match key.split_once(':') {
        Some(("f", name)) => {
            path.push('.');
            path.push_str(name);
        }
        Some(("k", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<_> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
            path.push_str(&format!("[{}]", keys.join(",")));
        }
        Some(("v", value)) => path.push_str(&format!("[={value}]")),
        Some(("i", index)) => path.push_str(&format!("[{index}]")),
        _ => path.push_str(key),
    }
}

/// What watches are to expect of objects. Written by the engine, asked by the watches.
#[derive(Debug, Default)]
pub(crate) struct Expected(Mutex<Expectations>);

/// By [`key`].
#[derive(Debug, Default)]
struct Expectations {
    /// What the owned fields of each object should hash to.
    owned: HashMap<u64, Digest>,
    /// Revisions that were read from answers, and will come once more.
    answered: HashMap<u64, u64>,
}

impl Expected {
    /// Sets what is expected of an object; `None` while anything may come, as during an apply.
    pub(crate) fn set(&self, id: &ManifestId, owned: Option<Digest>) {
        let mut expected = self.lock();
        match owned {
            Some(digest) => expected.owned.insert(key(id), digest),
            None => expected.owned.remove(&key(id)),
        };
    }

    /// The object was read from an answer at this revision.
    pub(crate) fn answered(&self, id: &ManifestId, revision: u64) {
        self.lock().answered.insert(key(id), revision);
    }

    /// Was the object read at this very revision from an answer? It comes only once more, and is forgotten here.
    pub(crate) fn take_answered(&self, id: &ManifestId, revision: u64) -> bool {
        let answered = &mut self.lock().answered;
        !answered.is_empty() && answered.remove(&key(id)) == Some(revision)
    }

    /// Is it known what to expect, and is this not it?
    pub(crate) fn is_missed(&self, id: &ManifestId, owned: Option<Digest>) -> bool {
        self.lock()
            .owned
            .get(&key(id))
            .is_some_and(|expected| Some(*expected) != owned)
    }

    fn lock(&self) -> MutexGuard<'_, Expectations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hash for an id: if two ever met, one object's repair would not say who changed it.
fn key(id: &ManifestId) -> u64 {
    let mut hasher = DefaultHasher::new();
    // A manifest of a custom kind may leave out the namespace `default`.
    let namespace = id.namespace.as_deref().unwrap_or("default");
    (&id.group, &id.kind, namespace, &id.name).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest() -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "labels": {"app": "web"}},
            "spec": {"replicas": 2, "template": {"spec": {"containers": [{"name": "web", "image": "web:1"}]}}}})
    }

    /// The live object: we own `ours`, and the others what they say.
    fn live(ours: Value, others: &[(&str, &str, &str, Value)]) -> Value {
        let mut live = manifest();
        let mut entries = vec![
            json!({"manager": "driftless", "operation": "Apply", "time": "2026-01-01T00:00:00Z", "fieldsV1": ours}),
        ];
        entries.extend(others.iter().map(|(manager, subresource, time, fields)| {
            json!({"manager": manager, "operation": "Update", "subresource": subresource, "time": time, "fieldsV1": fields})
        }));
        live["metadata"]["managedFields"] = Value::from(entries);
        live
    }

    fn container(fields: Value) -> Value {
        json!({"f:spec": {"f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": fields}}}}})
    }

    fn text(live: &Value) -> String {
        Change::read(&manifest(), live, "driftless").to_string()
    }

    #[test]
    fn what_an_answer_told_comes_once_more_and_nothing_else_does() {
        let expected = Expected::default();
        let id = |name: &str| ManifestId {
            group: String::new(),
            kind: "ConfigMap".to_owned(),
            namespace: Some("shop".to_owned()),
            name: name.to_owned(),
        };
        expected.answered(&id("a"), 7);
        assert!(!expected.take_answered(&id("b"), 7));
        assert!(expected.take_answered(&id("a"), 7));
        assert!(!expected.take_answered(&id("a"), 7), "once");
        expected.answered(&id("a"), 8);
        assert!(!expected.take_answered(&id("a"), 9), "somebody changed it since");
        assert!(
            !expected.take_answered(&id("a"), 8),
            "nothing is kept for what does not come"
        );
    }

    #[test]
    fn field_and_manager_are_named_as_the_api_server_names_them() {
        let live = live(
            json!({"f:metadata": {"f:labels": {"f:app": {}}}, "f:spec": {"f:replicas": {}}}),
            &[
                (
                    "kubectl-edit",
                    "",
                    "2026-01-02T00:00:00Z",
                    container(json!({"f:image": {}, "f:tty": {}})),
                ),
                (
                    "kubelet",
                    "status",
                    "2026-01-03T00:00:00Z",
                    json!({"f:status": {"f:phase": {}}}),
                ),
                (
                    "helm",
                    "",
                    "2026-01-04T00:00:00Z",
                    json!({"f:spec": {"f:paused": {}, "f:replicas": {}}}),
                ),
            ],
        );
        assert_eq!(
            text(&live),
            "`kubectl-edit` changed .spec.template.spec.containers[name=\"web\"].image"
        );
    }

    #[test]
    fn newest_of_several_is_named() {
        let live = live(
            json!({}),
            &[
                (
                    "new",
                    "scale",
                    "2026-01-02T00:00:02Z",
                    json!({"f:spec": {"f:replicas": {}}}),
                ),
                (
                    "old",
                    "",
                    "2026-01-02T00:00:01Z",
                    json!({"f:metadata": {"f:labels": {"f:app": {}}}}),
                ),
            ],
        );
        let Change::Fields {
            manager,
            scaled,
            fields,
            more,
        } = Change::read(&manifest(), &live, "driftless")
        else {
            panic!("it is there")
        };
        assert_eq!((manager.as_deref(), scaled, more), (Some("new"), true, 0));
        assert_eq!(fields, [".spec.replicas", ".metadata.labels.app"]);
    }

    #[test]
    fn what_others_set_after_our_last_apply_was_taken_from_us() {
        let image = || container(json!({"f:image": {}}));
        let scaled = || json!({"f:spec": {"f:replicas": {}}});
        let labels = json!({"f:metadata": {"f:labels": {"f:app": {}}}});
        let live = live(
            labels,
            &[
                ("before", "", "2025-12-31T23:59:59Z", image()),
                ("after", "", "2026-01-01T00:00:00Z", scaled()),
            ],
        );
        assert_eq!(taken_since(&manifest(), &live, "driftless"), [".spec.replicas"]);
        assert!(taken_since(&manifest(), &live, "someone").is_empty());
    }

    #[test]
    fn removed_field_is_named_though_nobody_owns_it() {
        let mut object = live(
            json!({"f:metadata": {"f:labels": {".": {}}}, "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {".": {}}}}}}}),
            &[],
        );
        object["metadata"]["labels"] = json!({});
        assert_eq!(text(&object), "somebody changed or removed .metadata.labels.app");
        object["metadata"]["labels"] = json!({"app": "web"});
        object["metadata"]["managedFields"][0]["fieldsV1"]["f:metadata"]["f:labels"]["f:app"] = json!({});
        object["spec"]["template"]["spec"]["containers"] = json!([]);
        assert_eq!(
            text(&object),
            "somebody changed or removed .spec.template.spec.containers"
        );
        assert_eq!(text(&json!({})), "somebody changed or removed .metadata, .spec");
    }

    #[test]
    fn only_what_is_known_and_different_is_unexpected() {
        let expected = Expected::default();
        let id = |namespace: Option<&str>| ManifestId {
            group: String::new(),
            kind: "K".to_owned(),
            namespace: namespace.map(str::to_owned),
            name: "n".to_owned(),
        };
        let digest = |byte| Some(Digest::from([byte; 16]));
        assert!(!expected.is_missed(&id(None), digest(1)));
        expected.set(&id(None), digest(1));
        assert!(!expected.is_missed(&id(Some("default")), digest(1)));
        assert!(expected.is_missed(&id(Some("default")), digest(2)));
        assert!(expected.is_missed(&id(None), None));
        assert!(!expected.is_missed(&id(Some("other")), digest(2)));
        expected.set(&id(None), None);
        assert!(!expected.is_missed(&id(None), digest(2)));
    }
}
