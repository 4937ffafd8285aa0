//! Values seen through their types: which fields one sets, how two differ, their merge, and removal of fields.
//!
//! The operations of structured merges, on which `managed` builds server-side apply. Pure functions of type and value;
//! ownership and conflicts are not known here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::fields::{Set, step_of};
use crate::schema::{List, Relation, Scalar, Type};

/// What an operation has to do with one value.
enum Shape<'a> {
    Leaf,
    Map,
    List(&'a List),
}

fn shape<'a>(ty: &'a Type, value: &Value) -> Shape<'a> {
    if ty.is_atomic() {
        return Shape::Leaf;
    }
    match (ty.as_list(), value) {
        (Some(list), Value::Array(_) | Value::Null) => Shape::List(list),
        (None, Value::Object(_)) => Shape::Map,
        (None, Value::Null) if ty.is_map() => Shape::Map,
        _ => Shape::Leaf,
    }
}

fn empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(_) => false,
    }
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The fields that `value` sets.
pub(crate) fn fields_of(ty: &Type, value: &Value) -> Set {
    let mut out = Set::default();
    match shape(ty, value) {
        Shape::Leaf => out.member = true,
        Shape::Map => {
            for (key, child) in value.as_object().into_iter().flatten() {
                let (child_ty, named) = ty.child(key);
                let mut set = fields_of(child_ty, child);
                let hollow = child.is_null() || child.as_object().is_some_and(Map::is_empty);
                set.member |= hollow || !named;
                out.put(format!("f:{key}"), set);
            }
        }
        Shape::List(list) => {
            for item in items(Some(value)) {
                if let Some(step) = step_of(&list.relation, item) {
                    let mut set = fields_of(&list.item, item);
                    set.member = true;
                    out.put(step, set);
                }
            }
        }
    }
    out
}

/// How one value became another, by field.
#[derive(Debug, Default)]
pub(crate) struct Diff {
    pub(crate) added: Set,
    pub(crate) modified: Set,
    pub(crate) removed: Set,
}

impl Diff {
    fn leaf(left: Option<&Value>, right: Option<&Value>) -> Self {
        let mut out = Self::default();
        match (left, right) {
            (None, _) => out.added.member = true,
            (_, None) => out.removed.member = true,
            (Some(left), Some(right)) => out.modified.member = left != right,
        }
        out
    }

    fn put(&mut self, step: &str, below: Self) {
        self.added.put(step.to_owned(), below.added);
        self.modified.put(step.to_owned(), below.modified);
        self.removed.put(step.to_owned(), below.removed);
    }

    /// The fields that came or changed.
    pub(crate) fn touched(&self) -> Set {
        self.added.union(&self.modified)
    }

    /// Leaves out all at or below `fields`.
    pub(crate) fn outside(&self, fields: &Set) -> Self {
        Self {
            added: self.added.outside(fields),
            modified: self.modified.outside(fields),
            removed: self.removed.outside(fields),
        }
    }
}

/// The difference from `left` to `right`.
pub(crate) fn diff(ty: &Type, left: Option<&Value>, right: Option<&Value>) -> Diff {
    let Some(witness) = right.filter(|value| !value.is_null()).or(left) else {
        return right.map_or_else(Diff::default, |_| Diff::leaf(left, right));
    };
    if left == right {
        return Diff::default();
    }
    let kind = shape(ty, witness);
    let differs = left.is_some_and(|left| std::mem::discriminant(&shape(ty, left)) != std::mem::discriminant(&kind));
    let hollow = empty(left) && empty(right);
    if differs || hollow || matches!(kind, Shape::Leaf) {
        return Diff::leaf(left, right);
    }
    let mut out = Diff::default();
    match kind {
        Shape::List(list) => {
            let (old, new) = (index(list, items(left)), index(list, items(right)));
            for step in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
                out.put(step, diff(&list.item, old.get(step).copied(), new.get(step).copied()));
            }
        }
        _ => {
            let (old, new) = (left.and_then(Value::as_object), right.and_then(Value::as_object));
            let keys = old.into_iter().chain(new).flat_map(Map::keys).collect::<BTreeSet<_>>();
            for key in keys {
                let pick = |map: Option<&'_ Map<String, Value>>| map.and_then(|map| map.get(key)).cloned();
                let (a, b) = (pick(old), pick(new));
                out.put(&format!("f:{key}"), diff(ty.child(key).0, a.as_ref(), b.as_ref()));
            }
        }
    }
    out.added.member = left.is_none();
    out.removed.member = right.is_none();
    out
}

fn index<'a>(list: &List, items: &'a [Value]) -> BTreeMap<String, &'a Value> {
    let mut out = BTreeMap::new();
    for item in items {
        if let Some(step) = step_of(&list.relation, item) {
            out.entry(step).or_insert(item);
        }
    }
    out
}

/// `right` laid over `left`: fields of both, `right`'s where both have one.
pub(crate) fn merge(ty: &Type, left: Option<&Value>, right: &Value) -> Value {
    let Some(left) = left else { return right.clone() };
    match (shape(ty, left), shape(ty, right)) {
        (Shape::Map, Shape::Map) => {
            let mut out = left.as_object().cloned().unwrap_or_default();
            for (key, value) in right.as_object().into_iter().flatten() {
                let merged = merge(ty.child(key).0, out.get(key), value);
                out.insert(key.clone(), merged);
            }
            if out.is_empty() {
                right.clone()
            } else {
                Value::Object(out)
            }
        }
        (Shape::List(list), Shape::List(_)) => {
            let out = merge_lists(list, items(Some(left)), items(Some(right)));
            if out.is_empty() {
                right.clone()
            } else {
                Value::Array(out)
            }
        }
        _ => right.clone(),
    }
}

/// Keeps the order of `right`, with the items that only `left` has at their places between the shared ones.
fn merge_lists(list: &List, left: &[Value], right: &[Value]) -> Vec<Value> {
    let steps = |items: &[Value]| -> Vec<String> {
        items
            .iter()
            .map(|item| step_of(&list.relation, item).unwrap_or_default())
            .collect()
    };
    let (left_steps, right_steps) = (steps(left), steps(right));
    let (old, new) = (index(list, left), index(list, right));
    let mut shared = right_steps.iter().filter(|step| old.contains_key(*step));
    let mut next_shared = shared.next();
    let mut merged = BTreeSet::new();
    let mut out = Vec::with_capacity(left.len().max(right.len()));
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() {
            let step = &left_steps[l];
            if *step == right_steps[r] {
                merged.insert(step);
                out.push(merge(&list.item, Some(&left[l]), &right[r]));
                (l, r) = (l + 1, r + 1);
                next_shared = shared.next();
                continue;
            }
            if new.contains_key(step) && next_shared.is_some_and(|next| next != step) {
                l += 1;
                continue;
            }
        }
        if l < left.len() {
            if !new.contains_key(&left_steps[l]) {
                out.push(left[l].clone());
                l += 1;
                continue;
            }
            if merged.contains(&left_steps[l]) {
                l += 1;
            }
        }
        if r < right.len() {
            let step = &right_steps[r];
            merged.insert(step);
            out.push(merge(&list.item, old.get(step).copied(), &right[r]));
            r += 1;
            if next_shared == Some(step) {
                next_shared = shared.next();
            }
        }
    }
    out
}

/// `value` without `fields`; null when nothing is left.
pub(crate) fn without(ty: &Type, value: &Value, fields: &Set) -> Value {
    match (shape(ty, value), value) {
        (Shape::Map, Value::Object(map)) => {
            let mut out = Map::new();
            for (key, child) in map {
                match fields.below.get(&format!("f:{key}")) {
                    Some(set) if set.member => {}
                    Some(set) if !set.below.is_empty() => {
                        out.insert(key.clone(), without(ty.child(key).0, child, set));
                    }
                    _ => {
                        out.insert(key.clone(), child.clone());
                    }
                }
            }
            if out.is_empty() {
                Value::Null
            } else {
                Value::Object(out)
            }
        }
        (Shape::List(list), Value::Array(items)) => {
            let mut out = Vec::new();
            for item in items {
                match step_of(&list.relation, item).and_then(|step| fields.below.get(&step)) {
                    Some(set) if set.member => {}
                    Some(set) if !set.below.is_empty() => out.push(without(&list.item, item, set)),
                    _ => out.push(item.clone()),
                }
            }
            if out.is_empty() { Value::Null } else { Value::Array(out) }
        }
        (Shape::Leaf, Value::Array(_) | Value::Object(_)) => Value::Null,
        _ => value.clone(),
    }
}

/// `set` with each struct field on the way to a member being a member too.
pub(crate) fn with_named_parents(ty: &Type, set: &Set) -> Set {
    let mut out = Set {
        member: set.member,
        below: BTreeMap::new(),
    };
    for (step, below) in &set.below {
        let (child, named) = match (step.strip_prefix("f:"), ty.as_list()) {
            (Some(key), _) => ty.child(key),
            (None, Some(list)) => (&list.item, false),
            (None, None) => (&Type::Free, false),
        };
        let mut fixed = with_named_parents(child, below);
        fixed.member |= named;
        out.below.insert(step.clone(), fixed);
    }
    out
}

/// What is wrong with `value` as an applied configuration, as the server words it.
pub(crate) fn problems(ty: &Type, value: &Value) -> Vec<String> {
    let mut out = Vec::new();
    check(ty, value, &mut String::new(), &mut out);
    out
}

fn check(ty: &Type, value: &Value, path: &mut String, out: &mut Vec<String>) {
    let at = |path: &str, text: String| {
        if path.is_empty() {
            text
        } else {
            format!("{path}: {text}")
        }
    };
    match (ty.inner(), value) {
        (_, Value::Null) | (Type::Opaque | Type::Free, _) => {}
        (Type::Scalar(scalar), value) => {
            if let Some(expected) = mismatch(*scalar, value) {
                let got = match expected {
                    "string" => format!("&value.valueUnstructured{{Value:{value}}}"),
                    "boolean" => shown(value),
                    _ => go_type(value).to_owned(),
                };
                out.push(at(path, format!("expected {expected}, got {got}")));
            }
        }
        (Type::List(list), Value::Array(items)) => check_items(list, items, path, out),
        (Type::List(_), other) => out.push(at(path, format!("expected list, got {}", shown(other)))),
        (inner, Value::Object(map)) => {
            let open = inner.as_struct().is_none_or(|def| def.open);
            for (key, child) in map {
                let (child_ty, named) = inner.child(key);
                let length = path.len();
                path.push('.');
                path.push_str(key);
                let known = named || open;
                if known {
                    check(child_ty, child, path, out);
                } else {
                    out.push(at(path, "field not declared in schema".to_owned()));
                }
                path.truncate(length);
                // The server reads no further in a map with a field that it does not know.
                if !known {
                    break;
                }
            }
        }
        (_, other) => out.push(at(path, format!("expected map, got {}", shown(other)))),
    }
}

fn check_items(list: &List, items: &[Value], path: &mut String, out: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (position, item) in items.iter().enumerate() {
        let step = step_of(&list.relation, item);
        if let (Relation::Keys(keys), None) = (&list.relation, &step) {
            let names: Vec<String> = keys.iter().map(|(key, _)| format!("{key:?}")).collect();
            out.push(format!(
                "{path}: element {position}: associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                names.join(" ")
            ));
            continue;
        }
        let mut below = Set::default();
        below
            .below
            .insert(step.clone().unwrap_or_else(|| format!("i:{position}")), Set::leaf());
        let spoken = below.paths().concat();
        if step.is_some_and(|step| !seen.insert(step)) {
            out.push(format!("{path}: duplicate entries for key {spoken}"));
            continue;
        }
        let length = path.len();
        path.push_str(&spoken);
        check(&list.item, item, path, out);
        path.truncate(length);
    }
}

/// What was expected, when `value` is not of the scalar's kind.
pub(crate) fn mismatch(scalar: Scalar, value: &Value) -> Option<&'static str> {
    let (fits, expected) = match scalar {
        Scalar::String | Scalar::Time => (value.is_string(), "string"),
        Scalar::Integer => (value.is_i64() || value.is_u64(), "numeric (int or float)"),
        Scalar::Number => (value.is_number(), "numeric (int or float)"),
        Scalar::Boolean => (value.is_boolean(), "boolean"),
        Scalar::Quantity | Scalar::IntOrString => (value.is_string() || value.is_number(), "string"),
    };
    (!fits).then_some(expected)
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "map".to_owned(),
        other => format!("&{{{}}}", other.to_string().trim_matches('"')),
    }
}
