//! How two desired states differ, down to fields: what `driftless diff` shows and what a cluster will change.
//!
//! Lists whose elements all have a distinct `name` (containers, ports, env, volumes, …) are compared by that name,
//! so that one container added at the front is one addition; other lists are compared by position.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    iter::Peekable,
    vec,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::manifest::{Manifest, ManifestId};

/// How one object differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Change {
    /// Only in the second state.
    Added,
    /// Only in the first.
    Removed,
    /// In both, with other content.
    Changed {
        /// The fields that differ, in document order of their paths.
        fields: Vec<FieldChange>,
    },
}

/// How one field differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// The field's path as people write it: `spec.template.spec.containers[name=server].image`.
    pub path: String,
    /// Its value before; absent when the field is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Value>,
    /// Its value after; absent when the field was removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Value>,
}

/// The objects at which two desired states differ. Equal objects are left out, so equal states give an empty map.
///
/// An object is in each state once at most. Both are gone along side by side, which is fastest in the order of ids.
pub fn manifests<'a>(
    before: impl IntoIterator<Item = &'a Manifest>,
    after: impl IntoIterator<Item = &'a Manifest>,
) -> BTreeMap<ManifestId, Change> {
    let (mut before, mut after) = (by_id(before), by_id(after));
    let mut changes = BTreeMap::new();
    loop {
        let order = match (before.peek(), after.peek()) {
            (Some(old), Some(new)) => old.id().cmp(new.id()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return changes,
        };
        let old = before.next_if(|_| order.is_le());
        let new = after.next_if(|_| order.is_ge());
        let change = match (old, new) {
            (Some(old), Some(new)) if old.canonical() == new.canonical() => continue,
            (Some(old), Some(new)) => Change::Changed {
                fields: fields(&old.value(), &new.value()),
            },
            (Some(_), None) => Change::Removed,
            (None, _) => Change::Added,
        };
        changes.extend(old.or(new).map(|manifest| (manifest.id().clone(), change)));
    }
}

fn by_id<'a>(state: impl IntoIterator<Item = &'a Manifest>) -> Peekable<vec::IntoIter<&'a Manifest>> {
    let mut state: Vec<_> = state.into_iter().collect();
    state.sort_by_key(|manifest| manifest.id());
    state.into_iter().peekable()
}

/// The fields at which two values differ; empty exactly when they are equal.
pub fn fields(before: &Value, after: &Value) -> Vec<FieldChange> {
    fields_at("", Some(before), Some(after))
}

/// As [`fields`], of two values at `path`, each of which may not be there.
pub fn fields_at(path: &str, before: Option<&Value>, after: Option<&Value>) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    if before != after {
        compare(path, before, after, &mut changes);
    }
    changes
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, changes: &mut Vec<FieldChange>) {
    match (before, after) {
        (Some(old), Some(new)) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let keys: BTreeSet<_> = old.keys().chain(new.keys()).collect();
            for key in keys {
                compare(&join(path, key), old.get(key), new.get(key), changes);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => compare_lists(path, old, new, changes),
        _ => changes.push(FieldChange {
            path: path.to_owned(),
            before: before.cloned(),
            after: after.cloned(),
        }),
    }
}

fn compare_lists(path: &str, old: &[Value], new: &[Value], changes: &mut Vec<FieldChange>) {
    let (Some(old_names), Some(new_names)) = (by_name(old), by_name(new)) else {
        for index in 0..old.len().max(new.len()) {
            compare(&format!("{path}[{index}]"), old.get(index), new.get(index), changes);
        }
        return;
    };
    let found = changes.len();
    let names: BTreeSet<_> = old_names.keys().chain(new_names.keys()).copied().collect();
    for name in names {
        let (old, new) = (old_names.get(name).copied(), new_names.get(name).copied());
        compare(&format!("{path}[name={name}]"), old, new, changes);
    }
    if changes.len() == found {
        // Same elements in another order, which may matter (init containers run in order).
        let (before, after) = (Some(Value::from(old)), Some(Value::from(new)));
        changes.push(FieldChange {
            path: path.to_owned(),
            before,
            after,
        });
    }
}

/// The elements by their `name`; `None` unless all are objects with distinct names that a path can hold.
pub(crate) fn by_name(list: &[Value]) -> Option<BTreeMap<&str, &Value>> {
    let mut names = BTreeMap::new();
    for element in list {
        let name = element.get("name")?.as_str()?;
        let is_spelled = !name.is_empty() && !name.contains(']');
        if !is_spelled || names.insert(name, element).is_some() {
            return None;
        }
    }
    Some(names)
}

/// The path of the field `key` of what is at `path`: every path that people see is spelled by this.
#[must_use]
pub fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty()
        && key
            .chars()
            .all(|char| char.is_alphanumeric() || char == '-' || char == '_');
    match (path.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{key:?}]"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn paths(before: &Value, after: &Value) -> Vec<String> {
        fields(before, after).into_iter().map(|change| change.path).collect()
    }

    #[test]
    fn changed_image_is_one_field() {
        let pod = |image: &str| json!({"spec": {"containers": [{"name": "log"}, {"name": "web", "image": image}]}});
        let changes = fields(&pod("a:1"), &pod("a:2"));
        assert_eq!(
            changes,
            [FieldChange {
                path: "spec.containers[name=web].image".to_owned(),
                before: Some(json!("a:1")),
                after: Some(json!("a:2")),
            }]
        );
    }

    #[test]
    fn container_added_in_front_is_one_addition() {
        let before = json!({"containers": [{"name": "web"}]});
        let after = json!({"containers": [{"name": "init"}, {"name": "web"}]});
        assert_eq!(paths(&before, &after), ["containers[name=init]"]);
    }

    #[test]
    fn elements_whose_names_no_path_can_hold_go_by_place() {
        for name in ["", "a]b"] {
            let before = json!({"c": [{"name": name}]});
            let after = json!({"c": [{"name": name, "x": 1}]});
            assert_eq!(paths(&before, &after), ["c[0].x"]);
        }
    }

    #[test]
    fn reordered_elements_are_a_change_of_the_list() {
        let before = json!({"c": [{"name": "a"}, {"name": "b"}]});
        let after = json!({"c": [{"name": "b"}, {"name": "a"}]});
        assert_eq!(paths(&before, &after), ["c"]);
    }

    #[test]
    fn keys_that_are_no_plain_words_are_quoted() {
        let before = json!({"metadata": {"annotations": {"a.b/c": "1"}}});
        let after = json!({"metadata": {"annotations": {"a.b/c": "2"}}});
        assert_eq!(paths(&before, &after), [r#"metadata.annotations["a.b/c"]"#]);
    }

    const NAMES: u8 = 12;

    fn objects() -> impl Strategy<Value = BTreeMap<u8, u8>> {
        prop::collection::btree_map(0..NAMES, 0..2u8, 0..usize::from(NAMES))
    }

    /// ConfigMaps by name and content.
    fn state(objects: &BTreeMap<u8, u8>) -> Vec<Manifest> {
        let manifest = |(name, content): (&u8, &u8)| {
            let object = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("c{name}")},
                "data": {"a": content.to_string()},
            });
            Manifest::new(object, "default").unwrap()
        };
        objects.iter().map(manifest).collect()
    }

    proptest! {
        #[test]
        fn objects_are_told_by_where_they_are_and_in_any_order(
            before in objects(), after in objects(), turn: prop::sample::Index,
        ) {
            let changes = manifests(&state(&before), &state(&after));
            for name in 0..NAMES {
                let expected = match (before.get(&name), after.get(&name)) {
                    (Some(old), Some(new)) if old == new => None,
                    (Some(_), Some(_)) => Some("changed"),
                    (Some(_), None) => Some("removed"),
                    (None, Some(_)) => Some("added"),
                    (None, None) => None,
                };
                let id = state(&[(name, 0)].into())[0].id().clone();
                let found = changes.get(&id).map(|change| match change {
                    Change::Added => "added",
                    Change::Removed => "removed",
                    Change::Changed { fields } => {
                        assert_eq!(fields[0].path, "data.a");
                        "changed"
                    }
                });
                prop_assert_eq!(found, expected);
            }
            let (mut old, mut new) = (state(&before), state(&after));
            let middle = turn.index(old.len() + 1);
            old.rotate_left(middle);
            new.reverse();
            prop_assert_eq!(manifests(&old, &new), changes);
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..4i64).prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("(name|a|b)", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn values_are_equal_exactly_when_no_field_differs(before in any_value(), after in any_value()) {
            prop_assert_eq!(fields(&before, &after).is_empty(), before == after);
            prop_assert!(fields(&before, &before).is_empty());
        }

        #[test]
        fn swapping_the_sides_swaps_before_and_after(before in any_value(), after in any_value()) {
            let swapped: Vec<_> = fields(&after, &before).into_iter()
                .map(|change| FieldChange { path: change.path, before: change.after, after: change.before }).collect();
            prop_assert_eq!(fields(&before, &after), swapped);
        }
    }
}
