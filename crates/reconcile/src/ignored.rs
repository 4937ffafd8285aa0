//! Fields that others decide, as an apply and drift see them.
//!
//! Pure. On creation they are applied as the manifest has them. Later [`settle`] leaves them out, so that nothing is
//! owned of them, but for what we own still: left out, the API server would remove that, so it is sent back as it is
//! live. Drift in them is no drift: see [`crate::owned`].

use driftless_model::ignored::Path;
use serde_json::{Map, Value};

use crate::owned;

/// Makes `body` leave ignored fields to the others. Says whether something of `live` went into it.
pub(crate) fn settle(body: &mut Value, live: &Value, manager: &str, paths: &[Path]) -> bool {
    let own = owned::fields(live, manager);
    let mut sent = false;
    for path in paths {
        sent |= step(body, Some(live), own, path.steps());
    }
    sent
}

/// Takes ignored fields out of a manifest.
pub(crate) fn strip(body: &mut Value, paths: &[Path]) {
    for path in paths {
        step(body, None, None, path.steps());
    }
}

fn step(body: &mut Value, live: Option<&Value>, own: Option<&Map<String, Value>>, steps: &[String]) -> bool {
    let Some((name, rest)) = steps.split_first() else {
        return false;
    };
    let mut sent = false;
    match body {
        Value::Object(fields) => {
            let names: Vec<_> = fields
                .keys()
                .filter(|key| name == "*" || *key == name)
                .cloned()
                .collect();
            for name in names {
                let found = live.and_then(|live| live.get(&name));
                let own = own
                    .and_then(|own| own.get(&format!("f:{name}")))
                    .and_then(Value::as_object);
                if !rest.is_empty() {
                    sent |= step(&mut fields[&name], found, own, rest);
                } else if let (Some(found), Some(own)) = (found, own) {
                    fields[&name] = owned_part(found, own);
                    sent = true;
                } else {
                    fields.remove(&name);
                }
            }
        }
        Value::Array(items) => {
            let mut index = 0;
            // An item that is taken out does not shift the others.
            items.retain_mut(|item| {
                let chosen = is_item(item, index, name);
                let position = index;
                index += 1;
                if !chosen {
                    return true;
                }
                let key = own.and_then(|own| own.keys().find(|key| is_same_item(key, item)));
                let found = match key {
                    Some(key) => live.and_then(|live| owned::locate(live, key)),
                    None => live.and_then(|live| live.get(position)),
                };
                let own = key.and_then(|key| own?.get(key)?.as_object());
                if !rest.is_empty() {
                    sent |= step(item, found, own, rest);
                    return true;
                }
                if let (Some(found), Some(own)) = (found, own) {
                    *item = owned_part(found, own);
                    sent = true;
                    return true;
                }
                false
            });
        }
        _ => {}
    }
    sent
}

/// Does a step choose this item of a list?
pub(crate) fn is_item(item: &Value, index: usize, step: &str) -> bool {
    if step == "*" || step.parse() == Ok(index) {
        return true;
    }
    let Some((name, wanted)) = step.split_once('=') else {
        return false;
    };
    match item.get(name) {
        Some(Value::String(text)) => text == wanted,
        Some(value) => serde_json::from_str::<Value>(wanted).is_ok_and(|wanted| wanted == *value),
        None => false,
    }
}

fn is_same_item(key: &str, item: &Value) -> bool {
    let list = Value::Array(vec![item.clone()]);
    !key.starts_with("i:") && owned::locate(&list, key).is_some()
}

/// What of `live` is owned, so that sending it changes neither values nor owners.
fn owned_part(live: &Value, own: &Map<String, Value>) -> Value {
    if own.keys().all(|key| key == ".") {
        return live.clone();
    }
    let part = |key: &str, found: &Value| {
        let inner = own.get(key).and_then(Value::as_object);
        inner.map_or_else(|| found.clone(), |inner| owned_part(found, inner))
    };
    match live {
        Value::Object(fields) => {
            let owned = fields.iter().filter_map(|(name, value)| {
                let key = format!("f:{name}");
                own.contains_key(&key).then(|| (name.clone(), part(&key, value)))
            });
            Value::Object(owned.collect())
        }
        Value::Array(_) => {
            let owned = own.keys().filter_map(|key| Some(part(key, owned::locate(live, key)?)));
            Value::Array(owned.collect())
        }
        _ => live.clone(),
    }
}

#[cfg(test)]
mod tests {
    use driftless_model::ignored;
    use serde_json::json;

    use super::*;

    fn paths(text: &str) -> Vec<Path> {
        ignored::read(&json!({"metadata": {"annotations": {ignored::ANNOTATION: text}}})).unwrap()
    }

    fn manifest() -> Value {
        json!({"spec": {"replicas": 2, "paused": true, "containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]}})
    }

    fn live(own: Value) -> Value {
        json!({"metadata": {"managedFields": [{"manager": "us", "operation": "Apply", "fieldsV1": own}]},
            "spec": {"replicas": 5, "containers": [{"name": "b", "image": "b:9", "tty": true}, {"name": "a", "image": "a:9"}]}})
    }

    #[test]
    fn field_of_somebody_else_is_left_out() {
        let mut body = manifest();
        assert!(!settle(
            &mut body,
            &live(json!({})),
            "us",
            &paths("/spec/replicas,/spec/paused,/spec/nothing/there")
        ));
        assert_eq!(body["spec"]["replicas"], Value::Null);
        assert_eq!(body["spec"]["paused"], Value::Null);
        assert_eq!(body["spec"]["containers"], manifest()["spec"]["containers"]);
    }

    #[test]
    fn field_that_is_ours_still_is_sent_back_as_it_is() {
        let mut body = manifest();
        let live = live(json!({"f:spec": {"f:replicas": {}, "f:paused": {}}}));
        assert!(settle(&mut body, &live, "us", &paths("/spec/replicas,/spec/paused")));
        assert_eq!(body["spec"]["replicas"], 5);
        assert_eq!(body["spec"]["paused"], Value::Null);
    }

    #[test]
    fn items_are_found_by_what_they_are_and_not_by_where() {
        let own = json!({"f:spec": {"f:containers": {
            "k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:image": {}},
            "k:{\"name\":\"b\"}": {".": {}, "f:name": {}}}}});
        for path in [
            "/spec/containers/*/image",
            "/spec/containers/0/image,/spec/containers/name=b/image",
        ] {
            let mut body = manifest();
            settle(&mut body, &live(own.clone()), "us", &paths(path));
            assert_eq!(
                body["spec"]["containers"],
                json!([{"name": "a", "image": "a:9"}, {"name": "b"}]),
                "{path}"
            );
        }
        let mut body = manifest();
        settle(&mut body, &live(own), "us", &paths("/spec/containers/name=b"));
        assert_eq!(
            body["spec"]["containers"],
            json!([{"name": "a", "image": "a:1"}, {"name": "b"}])
        );
    }

    #[test]
    fn stripped_manifest_has_nothing_of_them() {
        let mut body = manifest();
        strip(&mut body, &paths("/spec/replicas,/spec/containers/1"));
        assert_eq!(
            body,
            json!({"spec": {"paused": true, "containers": [{"name": "a", "image": "a:1"}]}})
        );
    }
}
