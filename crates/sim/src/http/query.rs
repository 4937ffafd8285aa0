//! Paths and queries read, YAML bodies, and the reviews that are answered without being stored.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::kinds::Registry;
use crate::state::Target;
use crate::status::Refusal;

/// What a path is about.
pub(crate) enum Place {
    /// The server itself.
    Fixed,
    Objects(Target),
    /// Nothing that is served; whether its group and version are.
    Nowhere {
        known: bool,
    },
}

/// Reads a path.
pub(crate) fn place(kinds: &Registry, path: &str) -> Place {
    let parts: Vec<String> = path.trim_matches('/').split('/').map(decode).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
        ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
        _ => return Place::Fixed,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, plural, rest @ ..] if !(group.is_empty() && is_own(plural)) => {
            (*namespace, [&[*plural], rest].concat())
        }
        _ => ("", rest.to_vec()),
    };
    let (plural, name, subresource) = match rest.as_slice() {
        [plural] => (*plural, "", ""),
        [plural, name] => (*plural, *name, ""),
        [plural, name, subresource] => (*plural, *name, *subresource),
        _ => return Place::Nowhere { known: false },
    };
    let Some((kind, version)) = kinds.find(group, version, plural) else {
        return Place::Nowhere {
            known: kinds.serves(group, version),
        };
    };
    if !kind.namespaced && !namespace.is_empty() || !subresource.is_empty() && !kind.has(subresource) {
        return Place::Nowhere { known: true };
    }
    if kind.namespaced && namespace.is_empty() && !name.is_empty() {
        return Place::Nowhere { known: true };
    }
    Place::Objects(Target {
        kind,
        version,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        subresource: subresource.to_owned(),
    })
}

/// Subresources of namespaces, which stand where a plural would.
fn is_own(part: &str) -> bool {
    matches!(part, "status" | "finalize")
}

/// Reads a query.
pub(crate) fn parameters(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(&key.replace('+', " ")), decode(&value.replace('+', " ")))
        })
        .collect()
}

/// Undoes percent encoding.
fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Reads a YAML body.
pub(super) fn yaml(text: &str) -> Result<Value, Refusal> {
    let documents = driftless_model::yaml::documents(text, &driftless_model::yaml::Limits::default())
        .map_err(|error| Refusal::bad_request(format!("error decoding YAML: {error}")))?;
    Ok(documents
        .into_iter()
        .next()
        .map_or(Value::Null, |document| document.value))
}

/// Answers a review: in a simulated cluster everybody may do everything.
pub(super) fn review(target: &Target, mut object: Value) -> Result<Value, Refusal> {
    object["status"] = match target.kind.kind.as_str() {
        "SelfSubjectAccessReview" | "SubjectAccessReview" | "LocalSubjectAccessReview" => {
            json!({"allowed": true, "reason": "simulated clusters allow everything"})
        }
        "SelfSubjectRulesReview" => json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}], "incomplete": false,
        }),
        "SelfSubjectReview" => json!({"userInfo": {"username": "simulated", "groups": ["system:masters"]}}),
        "TokenReview" => json!({"authenticated": true, "user": {"username": "simulated"}}),
        _ => return Err(Refusal::not_allowed()),
    };
    object["kind"] = json!(target.kind.kind);
    object["apiVersion"] = json!(target.api_version());
    object["metadata"] = json!({"creationTimestamp": null});
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str) -> Option<(String, String, String, String)> {
        match place(&Registry::default(), path) {
            Place::Objects(target) => Some((
                target.kind.plural.clone(),
                target.namespace,
                target.name,
                target.subresource,
            )),
            _ => None,
        }
    }

    fn parts(plural: &str, namespace: &str, name: &str, sub: &str) -> Option<(String, String, String, String)> {
        Some((plural.to_owned(), namespace.to_owned(), name.to_owned(), sub.to_owned()))
    }

    #[test]
    fn paths_name_resources_objects_and_subresources() {
        assert_eq!(found("/api/v1/namespaces"), parts("namespaces", "", "", ""));
        assert_eq!(found("/api/v1/namespaces/a"), parts("namespaces", "", "a", ""));
        assert_eq!(
            found("/api/v1/namespaces/a/finalize"),
            parts("namespaces", "", "a", "finalize")
        );
        assert_eq!(
            found("/api/v1/namespaces/a/pods/p/status"),
            parts("pods", "a", "p", "status")
        );
        assert_eq!(found("/apis/apps/v1/deployments"), parts("deployments", "", "", ""));
        assert_eq!(
            found("/apis/rbac.authorization.k8s.io/v1/clusterroles/a%3Ab"),
            parts("clusterroles", "", "a:b", "")
        );
        assert_eq!(found("/apis/apps/v2/deployments"), None);
        assert_eq!(found("/api/v1/configmaps/x"), None);
    }

    #[test]
    fn queries_are_decoded() {
        let query = parameters("labelSelector=app%3Dweb%2C%21x&watch&a=b+c");
        assert_eq!(query["labelSelector"], "app=web,!x");
        assert_eq!((query["watch"].as_str(), query["a"].as_str()), ("", "b c"));
    }
}
