//! Sets of fields, as `managedFields` writes them (`FieldsV1`), and their algebra.
//!
//! A path step is kept in its written form: `f:name`, `k:{"name":"web"}`, `v:"x"`. Used by `apply` and `managed`.
//! Knows nothing of objects or managers.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::schema::Relation;

/// A set of fields: a tree whose nodes may themselves be in the set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Set {
    pub(crate) member: bool,
    pub(crate) below: BTreeMap<String, Self>,
}

impl Set {
    pub(crate) fn leaf() -> Self {
        Self {
            member: true,
            below: BTreeMap::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.member && self.below.values().all(Self::is_empty)
    }

    /// Adds the tree `set` below `step`, when it holds anything.
    pub(crate) fn put(&mut self, step: String, set: Self) {
        if !set.is_empty() {
            self.below.insert(step, set);
        }
    }

    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.add(other);
        out
    }

    fn add(&mut self, other: &Self) {
        self.member |= other.member;
        for (step, set) in &other.below {
            self.below.entry(step.clone()).or_default().add(set);
        }
    }

    /// Fields of `self` that are not in `other`, each judged by itself.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        let mut out = Self {
            member: self.member && !other.member,
            below: BTreeMap::new(),
        };
        for (step, set) in &self.below {
            let rest = other
                .below
                .get(step)
                .map_or_else(|| set.clone(), |gone| set.minus(gone));
            out.put(step.clone(), rest);
        }
        out
    }

    /// Fields of `self` that are neither in `other` nor below one of it.
    pub(crate) fn outside(&self, other: &Self) -> Self {
        if other.member {
            return Self::default();
        }
        let mut out = Self {
            member: self.member,
            below: BTreeMap::new(),
        };
        for (step, set) in &self.below {
            let rest = other
                .below
                .get(step)
                .map_or_else(|| set.clone(), |gone| set.outside(gone));
            out.put(step.clone(), rest);
        }
        out
    }

    pub(crate) fn common(&self, other: &Self) -> Self {
        let mut out = Self {
            member: self.member && other.member,
            below: BTreeMap::new(),
        };
        for (step, set) in &self.below {
            if let Some(same) = other.below.get(step) {
                out.put(step.clone(), set.common(same));
            }
        }
        out
    }

    /// Builds a set from dotted field names; for the few fixed ones.
    pub(crate) fn of(paths: &[&[&str]]) -> Self {
        let mut out = Self::default();
        for path in paths {
            let node = path.iter().fold(&mut out, |node, step| {
                node.below.entry(format!("f:{step}")).or_default()
            });
            node.member = true;
        }
        out
    }

    /// As `FieldsV1`.
    pub(crate) fn to_json(&self) -> Value {
        let mut out = Map::new();
        if self.member && !self.below.is_empty() {
            out.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (step, set) in &self.below {
            out.insert(step.clone(), set.to_json());
        }
        Value::Object(out)
    }

    /// From `FieldsV1`: the root is never a member.
    pub(crate) fn from_json(value: &Value) -> Self {
        let mut out = Self::default();
        for (step, below) in value.as_object().into_iter().flatten() {
            if step != "." {
                let mut set = Self::from_json(below);
                let fields = below.as_object();
                set.member = fields.is_none_or(|fields| fields.is_empty() || fields.contains_key("."));
                out.below.insert(step.clone(), set);
            }
        }
        out
    }

    /// Every member's path as the server words it: `.spec.containers[name="web"].image`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        if self.member {
            out.push(String::new());
        }
        self.walk(&mut String::new(), &mut out);
        out
    }

    fn walk(&self, path: &mut String, out: &mut Vec<String>) {
        // As the server orders them: what is owned here before what is owned further down.
        for (step, _) in self.below.iter().filter(|(_, set)| set.member) {
            out.push(format!("{path}{}", spoken(step)));
        }
        for (step, set) in &self.below {
            let length = path.len();
            path.push_str(&spoken(step));
            set.walk(path, out);
            path.truncate(length);
        }
    }
}

fn spoken(step: &str) -> String {
    match step.split_at_checked(2) {
        Some(("f:", name)) => format!(".{name}"),
        Some(("k:", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let pairs: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", pairs.join(","))
        }
        Some(("v:", value)) => format!("[={value}]"),
        _ => format!("[{}]", step.trim_start_matches("i:")),
    }
}

/// The step that names `item` in a list of this relation; `None` when it has none of its keys.
pub(crate) fn step_of(relation: &Relation, item: &Value) -> Option<String> {
    match relation {
        Relation::Atomic => None,
        Relation::Set => Some(format!("v:{item}")),
        Relation::Keys(keys) => {
            let mut found = BTreeMap::new();
            for (key, default) in keys {
                if let Some(value) = item.get(key).filter(|value| !value.is_null()).or(default.as_ref()) {
                    found.insert(key.as_str(), value);
                }
            }
            if found.is_empty() {
                return None;
            }
            serde_json::to_string(&found).ok().map(|keys| format!("k:{keys}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(value: Value) -> Set {
        Set::from_json(&value)
    }

    #[test]
    fn fields_v1_survives_a_round_trip() {
        let value = json!({"f:spec": {"f:ports": {".": {}, "k:{\"port\":80}": {".": {}, "f:port": {}}}}});
        assert_eq!(set(value.clone()).to_json(), value);
    }

    #[test]
    fn minus_keeps_what_lies_below_a_removed_member() {
        let a = set(json!({"f:a": {".": {}, "f:b": {}}}));
        let b = set(json!({"f:a": {}}));
        assert_eq!(a.minus(&b), set(json!({"f:a": {"f:b": {}}})));
        assert!(a.outside(&b).is_empty());
        assert_eq!(a.common(&b), b);
        assert_eq!(a.minus(&b).union(&b), a);
    }

    #[test]
    fn paths_are_worded_as_the_server_words_them() {
        let a = set(json!({"f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {"f:image": {}}}}}));
        assert_eq!(a.paths(), [".spec.containers[name=\"web\"].image"]);
    }
}
