//! Discovery: which groups, versions and resources there are, in the aggregated and in the older form, and the little of
//! OpenAPI that kubectl asks for.
//!
//! Documents of clusters without custom kinds are made once per process and shared.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use serde_json::{Value, json};

use crate::kinds::{Kind, Registry};

const AGGREGATED: &str = "apidiscovery.k8s.io/v2";

/// Groups in the order of their first kind, each with its versions, the preferred one first.
type Groups<'a> = Vec<(&'a str, Vec<(&'a str, Vec<&'a Arc<Kind>>)>)>;

fn groups(registry: &Registry) -> Groups<'_> {
    let mut out: Groups<'_> = Vec::new();
    for kind in registry.all() {
        if !out.iter().any(|(group, _)| *group == kind.group) {
            out.push((&kind.group, Vec::new()));
        }
        let Some((_, versions)) = out.iter_mut().find(|(group, _)| *group == kind.group) else {
            continue;
        };
        for version in &kind.versions {
            match versions.iter_mut().find(|(name, _)| *name == version.name) {
                Some((_, kinds)) => kinds.push(kind),
                None => versions.push((&version.name, vec![kind])),
            }
        }
    }
    out
}

fn verbs(kind: &Kind) -> Vec<&'static str> {
    let word = |letter: char| match letter {
        'c' => "create",
        'd' => "delete",
        'D' => "deletecollection",
        'g' => "get",
        'l' => "list",
        'p' => "patch",
        'u' => "update",
        _ => "watch",
    };
    kind.verbs.chars().map(word).collect()
}

fn scope(kind: &Kind) -> &'static str {
    if kind.namespaced { "Namespaced" } else { "Cluster" }
}

fn scale_kind(subresource: &str, kind: &Kind, version: &str) -> (String, String, String) {
    if subresource == "scale" {
        ("autoscaling".to_owned(), "v1".to_owned(), "Scale".to_owned())
    } else {
        (kind.group.clone(), version.to_owned(), kind.kind.clone())
    }
}

/// The aggregated document of `/api` (`core`) or `/apis`.
fn aggregated(registry: &Registry, core: bool) -> Value {
    let resource = |kind: &Kind, version: &str| {
        let subresources = kind.subresources.iter().map(|name| {
            let (group, version, kind) = scale_kind(name, kind, version);
            json!({"subresource": name, "responseKind": {"group": group, "version": version, "kind": kind},
                "verbs": ["get", "patch", "update"]})
        });
        let mut out = json!({
            "resource": kind.plural, "singularResource": kind.singular, "scope": scope(kind), "verbs": verbs(kind),
            "responseKind": {"group": kind.group, "version": version, "kind": kind.kind},
        });
        for (key, list) in [("shortNames", &kind.short_names), ("categories", &kind.categories)] {
            if !list.is_empty() {
                out[key] = json!(list);
            }
        }
        let subresources: Vec<Value> = subresources.collect();
        if !subresources.is_empty() {
            out["subresources"] = Value::from(subresources);
        }
        out
    };
    let items = groups(registry)
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions = versions.into_iter().map(|(version, kinds)| {
                let resources: Vec<Value> = kinds.into_iter().map(|kind| resource(kind, version)).collect();
                json!({"version": version, "freshness": "Current", "resources": resources})
            });
            let metadata = if core { json!({}) } else { json!({"name": group}) };
            json!({"metadata": metadata, "versions": versions.collect::<Vec<_>>()})
        });
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": AGGREGATED, "metadata": {}, "items": items.collect::<Vec<_>>()})
}

fn group_document(group: &str, versions: &[(&str, Vec<&Arc<Kind>>)]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|(version, _)| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    json!({"name": group, "versions": versions, "preferredVersion": versions.first()})
}

fn resources_document(group: &str, version: &str, kinds: &[&Arc<Kind>]) -> Value {
    let mut out = Vec::new();
    for kind in kinds {
        let mut resource = json!({
            "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
            "verbs": verbs(kind),
        });
        for (key, list) in [("shortNames", &kind.short_names), ("categories", &kind.categories)] {
            if !list.is_empty() {
                resource[key] = json!(list);
            }
        }
        out.push(resource);
        for name in &kind.subresources {
            let (group, version, shown) = scale_kind(name, kind, version);
            let mut subresource = json!({
                "name": format!("{}/{name}", kind.plural), "singularName": "", "namespaced": kind.namespaced,
                "kind": shown, "verbs": ["get", "patch", "update"],
            });
            if name == "scale" {
                subresource["group"] = json!(group);
                subresource["version"] = json!(version);
            }
            out.push(subresource);
        }
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": out})
}

/// Paths whose patches name the parameters that kubectl looks for before it lets the server validate.
fn openapi_v3(prefix: &str, version: &str, group: &str, kinds: &[&Arc<Kind>]) -> Value {
    let parameter =
        |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string", "uniqueItems": true}});
    let parameters = json!([
        parameter("dryRun"),
        parameter("fieldManager"),
        parameter("fieldValidation")
    ]);
    let mut paths = serde_json::Map::new();
    for kind in kinds {
        let of = json!({"group": group, "version": version, "kind": kind.kind});
        let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
        let operation = |action: &str| {
            json!({"x-kubernetes-action": action, "x-kubernetes-group-version-kind": of, "parameters": parameters,
                "responses": {"200": {"description": "OK"}}})
        };
        let collection = format!("{prefix}{scope}/{}", kind.plural);
        paths.insert(
            format!("{collection}/{{name}}"),
            json!({"patch": operation("patch"), "put": operation("put")}),
        );
        paths.insert(collection, json!({"post": operation("post")}));
    }
    json!({"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.36.3"}, "paths": paths,
        "components": {"schemas": {}}})
}

/// All documents of one cluster, by path; aggregated ones under a path that starts with `+`.
pub(crate) type Documents = BTreeMap<String, Bytes>;

static PLAIN: LazyLock<Arc<Documents>> = LazyLock::new(|| Arc::new(build(&Registry::default())));

/// The documents for these kinds.
pub(crate) fn documents(registry: &Registry) -> Arc<Documents> {
    if registry.custom().next().is_none() {
        Arc::clone(&PLAIN)
    } else {
        Arc::new(build(registry))
    }
}

fn build(registry: &Registry) -> Documents {
    let mut out: BTreeMap<String, Value> = BTreeMap::new();
    let mut add = |path: String, document: Value| drop(out.insert(path, document));
    add("+/api".to_owned(), aggregated(registry, true));
    add("+/apis".to_owned(), aggregated(registry, false));
    let servers = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": "127.0.0.1"}]);
    add(
        "/api".to_owned(),
        json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": servers}),
    );
    let mut list = Vec::new();
    let mut openapi = serde_json::Map::new();
    for (group, versions) in groups(registry) {
        if !group.is_empty() {
            let mut document = group_document(group, &versions);
            list.push(document.clone());
            document["kind"] = json!("APIGroup");
            document["apiVersion"] = json!("v1");
            add(format!("/apis/{group}"), document);
        }
        for (version, kinds) in &versions {
            let prefix = if group.is_empty() {
                format!("/api/{version}")
            } else {
                format!("/apis/{group}/{version}")
            };
            add(
                format!("/openapi/v3{prefix}"),
                openapi_v3(&prefix, version, group, kinds),
            );
            let here = json!({"serverRelativeURL": format!("/openapi/v3{prefix}")});
            openapi.insert(prefix.trim_start_matches('/').to_owned(), here);
            add(prefix, resources_document(group, version, kinds));
        }
    }
    add(
        "/apis".to_owned(),
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list}),
    );
    add("/openapi/v3".to_owned(), json!({ "paths": openapi }));
    let version = json!({
        "major": "1", "minor": "36", "gitVersion": "v1.36.3", "gitCommit": "simulated", "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z", "goVersion": "none", "compiler": "rustc", "platform": "linux/amd64",
    });
    add("/version".to_owned(), version);
    out.into_iter()
        .map(|(path, document)| (path, Bytes::from(document.to_string())))
        .collect()
}
