//! JSON, merge and strategic merge patches.
//!
//! Called by the write path with the live object; pure. Applies are in `managed`.

use serde_json::{Map, Value, json};

use crate::schema::{List, Type};
use crate::status::Refusal;

/// The body of a patch request.
#[derive(Clone, Debug)]
pub(crate) enum Patch {
    Json(Value),
    Merge(Value),
    Strategic(Value),
    Apply(Value),
}

impl Patch {
    /// It does not say which version of the object it is for.
    pub(crate) fn names_no_version(&self) -> bool {
        match self {
            Self::Json(_) => true,
            Self::Merge(body) | Self::Strategic(body) | Self::Apply(body) => {
                body["metadata"]["resourceVersion"].as_str().is_none_or(str::is_empty)
            }
        }
    }
}

/// `live` with the patch.
pub(crate) fn patched(ty: &Type, live: &Value, patch: &Patch, custom: bool) -> Result<Value, Refusal> {
    let mut out = live.clone();
    match patch {
        Patch::Json(body) => {
            let operations: json_patch::Patch = serde_json::from_value(body.clone())
                .map_err(|error| Refusal::bad_request(format!("error decoding patch: {error}")))?;
            json_patch::patch(&mut out, &operations).map_err(|_| Refusal::patch_failed())?;
        }
        Patch::Merge(body) => json_patch::merge(&mut out, body),
        Patch::Strategic(_) if custom => {
            return Err(Refusal::unsupported(
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            ));
        }
        Patch::Strategic(body) => {
            let Some(body) = body.as_object() else {
                return Err(Refusal::bad_request(
                    "error decoding patch: a strategic merge patch is an object",
                ));
            };
            out = strategic(ty, &out, body)?;
        }
        Patch::Apply(_) => {}
    }
    if out.is_object() {
        Ok(out)
    } else {
        Err(Refusal::bad_request(
            "error decoding patch: the result is not an object",
        ))
    }
}

fn strategic(ty: &Type, live: &Value, patch: &Map<String, Value>) -> Result<Value, Refusal> {
    match patch.get("$patch").and_then(Value::as_str) {
        Some("replace") => return Ok(Value::Object(plain(patch))),
        Some("delete") => return Ok(json!({})),
        _ => {}
    }
    let mut out = live.as_object().cloned().unwrap_or_default();
    if let Some(keep) = patch.get("$retainKeys").and_then(Value::as_array) {
        out.retain(|key, _| keep.iter().any(|kept| kept == key));
    }
    for (key, gone) in patch {
        if let Some(list) = key.strip_prefix("$deleteFromPrimitiveList/")
            && let (Some(items), Some(gone)) = (out.get_mut(list).and_then(Value::as_array_mut), gone.as_array())
        {
            items.retain(|item| !gone.contains(item));
        }
    }
    for (key, value) in patch.iter().filter(|(key, _)| !key.starts_with('$')) {
        let (child, _) = ty.child(key);
        match value {
            Value::Null => drop(out.remove(key)),
            Value::Object(below) => {
                let live = out.get(key).cloned().unwrap_or_else(|| json!({}));
                out.insert(key.clone(), strategic(child, &live, below)?);
            }
            Value::Array(items) => {
                let live = out.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
                let merged = match child.as_list() {
                    Some(List {
                        patch: Some(merge_key),
                        item,
                        ..
                    }) => {
                        let order = patch.get(&format!("$setElementOrder/{key}")).and_then(Value::as_array);
                        in_order(lists(item, merge_key, live, items)?, merge_key, order)
                    }
                    _ => items.clone(),
                };
                out.insert(key.clone(), Value::Array(merged));
            }
            other => drop(out.insert(key.clone(), other.clone())),
        }
    }
    Ok(Value::Object(out))
}

/// A map without directives.
fn plain(patch: &Map<String, Value>) -> Map<String, Value> {
    patch
        .iter()
        .filter(|(key, _)| !key.starts_with('$'))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn lists(item: &Type, key: &str, mut live: Vec<Value>, patch: &[Value]) -> Result<Vec<Value>, Refusal> {
    if patch.iter().any(|item| item["$patch"] == "replace") {
        return Ok(patch
            .iter()
            .filter(|item| item["$patch"] != "replace")
            .cloned()
            .collect());
    }
    for change in patch {
        let Some(fields) = change.as_object().filter(|_| !key.is_empty()) else {
            if !live.contains(change) {
                live.push(change.clone());
            }
            continue;
        };
        let Some(name) = fields.get(key) else {
            return Err(Refusal::bad_request(format!(
                "map: {change} does not contain declared merge key: {key}"
            )));
        };
        if change["$patch"] == "delete" {
            live.retain(|item| item[key] != *name);
            continue;
        }
        match live.iter_mut().find(|item| item[key] == *name) {
            Some(found) => *found = strategic(item, found, fields)?,
            None => live.push(strategic(item, &json!({}), fields)?),
        }
    }
    Ok(live)
}

/// Items in the order that the patch asks for, those that it does not name after them.
fn in_order(mut items: Vec<Value>, key: &str, order: Option<&Vec<Value>>) -> Vec<Value> {
    let Some(order) = order else { return items };
    let name = |item: &Value| {
        if key.is_empty() {
            item.clone()
        } else {
            item[key].clone()
        }
    };
    let place = |item: &Value| {
        order
            .iter()
            .position(|wanted| name(wanted) == name(item))
            .unwrap_or(usize::MAX)
    };
    items.sort_by_key(place);
    items
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::builtin;

    fn pod(containers: Value) -> Value {
        json!({"spec": {"containers": containers}})
    }

    #[test]
    fn strategic_merges_go_by_the_keys_of_the_table() {
        let live = pod(json!([{"name": "a", "image": "1", "args": ["x", "y"]}, {"name": "b", "image": "1"}]));
        let patch = pod(json!([{"name": "a", "args": ["z"]}, {"name": "b", "$patch": "delete"}, {"name": "c"}]));
        let after = patched(&builtin("core.v1.Pod"), &live, &Patch::Strategic(patch), false).expect("merges");
        assert_eq!(
            after,
            pod(json!([{"name": "a", "image": "1", "args": ["z"]}, {"name": "c"}]))
        );
    }

    #[test]
    fn custom_kinds_take_no_strategic_merges() {
        let refusal = patched(&Type::Free, &json!({}), &Patch::Strategic(json!({})), true).expect_err("refused");
        assert_eq!(refusal.code, 415);
    }
}
