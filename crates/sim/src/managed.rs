//! Field ownership: who wrote which fields (`metadata.managedFields`), for applies and for every other write.
//!
//! Called by the write path with the live object and the new one. Pure: time is passed in, nothing is stored.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::fields::Set;
use crate::schema::Type;
use crate::typed;

/// Who writes, through which version and subresource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Manager {
    pub(crate) apply: bool,
    pub(crate) name: String,
    /// Empty for applies: a manager's apply is the same whichever version it used.
    api_version: String,
    pub(crate) subresource: String,
}

#[derive(Clone, Debug)]
struct Owned {
    set: Set,
    api_version: String,
    time: Option<String>,
}

/// The owners of one object's fields.
#[derive(Clone, Debug, Default)]
pub(crate) struct Owners(BTreeMap<Manager, Owned>);

/// One write, as ownership sees it.
pub(crate) struct Write<'a> {
    pub(crate) ty: &'a Type,
    pub(crate) manager: &'a str,
    pub(crate) api_version: &'a str,
    pub(crate) subresource: &'a str,
    /// Fields that this endpoint cannot write.
    pub(crate) reset: &'a Set,
    pub(crate) now: &'a str,
}

/// Another manager owns a field that an apply would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// `"kubectl-edit" using apps/v1`
    pub(crate) manager: String,
    pub(crate) field: String,
}

impl Write<'_> {
    fn key(&self, apply: bool) -> Manager {
        let api_version = if apply {
            String::new()
        } else {
            self.api_version.to_owned()
        };
        Manager {
            apply,
            name: self.manager.to_owned(),
            api_version,
            subresource: self.subresource.to_owned(),
        }
    }
}

fn stripped() -> Set {
    let metadata = [
        "name",
        "namespace",
        "creationTimestamp",
        "selfLink",
        "uid",
        "clusterName",
        "generation",
        "managedFields",
    ];
    let mut out = Set::of(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "resourceVersion"],
    ]);
    for field in metadata {
        out = out.union(&Set::of(&[&["metadata", field]]));
    }
    out
}

impl Owners {
    /// Reads `metadata.managedFields`.
    pub(crate) fn of(object: &Value) -> Self {
        let mut out = BTreeMap::new();
        for entry in object["metadata"]["managedFields"].as_array().into_iter().flatten() {
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            let apply = entry["operation"] == "Apply";
            let api_version = text("apiVersion");
            let key = Manager {
                apply,
                name: text("manager"),
                api_version: if apply { String::new() } else { api_version.clone() },
                subresource: text("subresource"),
            };
            let time = entry["time"].as_str().map(str::to_owned);
            out.insert(
                key,
                Owned {
                    set: Set::from_json(&entry["fieldsV1"]),
                    api_version,
                    time,
                },
            );
        }
        Self(out)
    }

    /// Writes `metadata.managedFields`.
    pub(crate) fn store(&self, object: &mut Value) {
        let Some(metadata) = object["metadata"].as_object_mut() else {
            return;
        };
        if self.0.is_empty() {
            metadata.remove("managedFields");
            return;
        }
        let mut entries: Vec<(&Manager, &Owned)> = self.0.iter().collect();
        entries.sort_by(|(a, x), (b, y)| {
            let place = |manager: &Manager, owned: &Owned| {
                (
                    !manager.apply,
                    owned.time.clone(),
                    manager.name.clone(),
                    owned.api_version.clone(),
                    manager.subresource.clone(),
                )
            };
            place(a, x).cmp(&place(b, y))
        });
        let entries = entries.into_iter().map(|(manager, owned)| {
            let mut entry = Map::new();
            entry.insert("manager".to_owned(), json!(manager.name));
            entry.insert(
                "operation".to_owned(),
                json!(if manager.apply { "Apply" } else { "Update" }),
            );
            entry.insert("apiVersion".to_owned(), json!(owned.api_version));
            if let Some(time) = &owned.time {
                entry.insert("time".to_owned(), json!(time));
            }
            entry.insert("fieldsType".to_owned(), json!("FieldsV1"));
            entry.insert("fieldsV1".to_owned(), owned.set.to_json());
            if !manager.subresource.is_empty() {
                entry.insert("subresource".to_owned(), json!(manager.subresource));
            }
            Value::Object(entry)
        });
        metadata.insert("managedFields".to_owned(), entries.collect());
    }

    /// The same owners of the same fields, whenever they wrote them.
    pub(crate) fn same_fields(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self
                .0
                .iter()
                .zip(&other.0)
                .all(|((a, x), (b, y))| a == b && x.set == y.set && x.api_version == y.api_version)
    }

    /// Records a create, update or patch that turned `live` into `new`.
    pub(crate) fn update(&mut self, write: &Write<'_>, live: &Value, new: &Value) {
        let diff = typed::diff(write.ty, Some(live), Some(new)).outside(write.reset);
        let touched = diff.touched();
        for owned in self.0.values_mut() {
            owned.set = owned.set.minus(&touched).minus(&diff.removed);
        }
        let set = touched.minus(&diff.removed).minus(&stripped());
        if !set.is_empty() {
            let key = write.key(false);
            let before = self.0.remove(&key).map(|owned| owned.set).unwrap_or_default();
            let time = Some(write.now.to_owned());
            self.0.insert(
                key,
                Owned {
                    set: before.union(&set),
                    api_version: write.api_version.to_owned(),
                    time,
                },
            );
        }
        self.0.retain(|_, owned| !owned.set.is_empty());
    }

    /// Merges an applied configuration into `live`; the result has its own and everybody else's fields.
    ///
    /// # Errors
    /// The conflicts with other managers, unless `force` takes their fields.
    pub(crate) fn apply(
        &mut self,
        write: &Write<'_>,
        live: &Value,
        config: &Value,
        force: bool,
    ) -> Result<Value, Vec<Conflict>> {
        let merged = typed::merge(write.ty, Some(live), config);
        let set = typed::fields_of(write.ty, config).outside(write.reset);
        let key = write.key(true);
        let fresh = Owned {
            set,
            api_version: write.api_version.to_owned(),
            time: Some(write.now.to_owned()),
        };
        let last = self.0.insert(key.clone(), fresh);
        let merged = match last.as_ref().filter(|last| !last.set.is_empty()) {
            Some(last) => self.prune(write.ty, &merged, &last.set),
            None => merged,
        };
        let diff = typed::diff(write.ty, Some(live), Some(&merged)).outside(write.reset);
        let touched = diff.touched();
        let conflicts = self.conflicts(&key, &touched);
        if !force && !conflicts.is_empty() {
            return Err(conflicts);
        }
        for (manager, owned) in &mut self.0 {
            if *manager != key {
                owned.set = owned.set.minus(&touched).minus(&diff.removed);
            } else {
                owned.set = owned.set.minus(&stripped());
            }
        }
        // An apply that changes no value leaves the time of the last one that did.
        if merged == *live
            && let Some(owned) = self.0.get_mut(&key)
        {
            owned.time = last.and_then(|last| last.time);
        }
        self.0.retain(|_, owned| !owned.set.is_empty());
        Ok(merged)
    }

    fn conflicts(&self, applier: &Manager, touched: &Set) -> Vec<Conflict> {
        let mut out = Vec::new();
        for (manager, owned) in self.0.iter().filter(|(manager, _)| *manager != applier) {
            for field in owned.set.common(touched).paths() {
                out.push(Conflict {
                    manager: introduced(manager, owned),
                    field,
                });
            }
        }
        out
    }

    /// Removes what the applier applied last time, does not now, and nobody else owns.
    fn prune(&self, ty: &Type, merged: &Value, last: &Set) -> Value {
        let named = |set: &Set| typed::with_named_parents(ty, set);
        let last = named(last);
        let managed = named(&self.0.values().fold(Set::default(), |all, owned| all.union(&owned.set)));
        let all = named(&typed::fields_of(ty, merged));
        let pruned = typed::without(ty, merged, &last);
        let kept = named(&typed::fields_of(ty, &pruned));
        let pruned = typed::without(ty, merged, &all.minus(&kept.union(&managed)));
        let kept = named(&typed::fields_of(ty, &pruned));
        typed::without(ty, merged, &all.minus(&kept).common(&last))
    }
}

fn introduced(manager: &Manager, owned: &Owned) -> String {
    let mut out = format!("{:?}", manager.name);
    if !manager.subresource.is_empty() {
        out.push_str(&format!(" with subresource {:?}", manager.subresource));
    }
    if !manager.apply {
        out.push_str(&format!(" using {}", owned.api_version));
    }
    out
}

/// The message of a failed apply, as the server words it.
pub(crate) fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        return format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            only.manager, only.field
        );
    }
    let mut by_manager: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for conflict in conflicts {
        by_manager.entry(&conflict.manager).or_default().push(&conflict.field);
    }
    let mut lines = Vec::new();
    for (manager, fields) in by_manager {
        lines.push(format!("conflicts with {manager}:"));
        lines.extend(fields.iter().map(|field| format!("- {field}")));
    }
    format!("Apply failed with {} conflicts: {}", conflicts.len(), lines.join("\n"))
}

#[cfg(test)]
mod tests;
