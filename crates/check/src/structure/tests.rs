//! Objects against the shipped schemas, by what the API server was seen to take and refuse.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    Minor,
    schema::{Catalog, Shipped},
};

fn catalog() -> &'static Catalog {
    Shipped::nearest(Minor::new(36)).catalog()
}

fn faults(api_version: &str, kind: &str, mut object: Value) -> Vec<String> {
    object["apiVersion"] = Value::from(api_version);
    object["kind"] = Value::from(kind);
    let catalog = catalog();
    let schema = catalog.kind(api_version, kind).unwrap();
    let faults = built_in(&catalog.types, schema, &object);
    faults
        .iter()
        .map(|fault| format!("{} {}", fault.field, fault.message))
        .collect()
}

fn pod(spec: Value) -> Vec<String> {
    let mut container = json!({"name": "a"});
    if let (Some(container), Value::Object(spec)) = (container.as_object_mut(), spec) {
        container.extend(spec);
    }
    faults(
        "v1",
        "Pod",
        json!({"metadata": {"name": "x"}, "spec": {"containers": [container]}}),
    )
}

#[test]
fn quantities_may_be_texts_and_numbers() {
    for quantity in [json!("500m"), json!(1), json!(0.5), json!("1e3"), json!(null)] {
        assert_eq!(pod(json!({"resources": {"limits": {"cpu": quantity}}})), [""; 0]);
    }
    assert_eq!(
        pod(json!({"resources": {"limits": {"memory": "1GB"}}})),
        ["spec.containers[0].resources.limits.memory must be a quantity (like 500m or 2Gi), not a text (\"1GB\")"]
    );
    assert_eq!(pod(json!({"resources": {"limits": {"cpu": true}}})).len(), 1);
}

#[test]
fn ports_may_be_names_and_numbers() {
    let probe = |port: Value| pod(json!({"livenessProbe": {"httpGet": {"port": port}}}));
    assert_eq!(probe(json!("http")), [""; 0]);
    assert_eq!(probe(json!(8080)), [""; 0]);
    assert_eq!(probe(json!(80.5)).len(), 1);
    assert_eq!(probe(json!(3_000_000_000_u64)).len(), 1);
    assert_eq!(probe(json!({})).len(), 1);
}

#[test]
fn null_is_absent() {
    assert_eq!(
        pod(json!({"image": null, "env": null, "livenessProbe": {"httpGet": {"port": 1, "path": null}}})),
        [""; 0]
    );
    assert_eq!(
        faults(
            "v1",
            "Pod",
            json!({"metadata": {"name": "x"}, "spec": {"containers": null}})
        ),
        ["spec.containers is missing"]
    );
}

#[test]
fn integers_have_the_width_of_the_field() {
    let replicas = |number: Value| {
        let template = json!({"metadata": {}, "spec": {"containers": []}});
        let spec = json!({"replicas": number, "selector": {}, "template": template});
        faults(
            "apps/v1",
            "ReplicaSet",
            json!({"metadata": {"name": "x"}, "spec": spec}),
        )
    };
    assert_eq!(replicas(json!(2_147_483_647)), [""; 0]);
    assert_eq!(
        replicas(json!(2_147_483_648_u64)),
        ["spec.replicas must be an integer of 32 bits, and 2147483648 is more than that"]
    );
    assert_eq!(
        replicas(json!(1.5)),
        ["spec.replicas must be an integer, not a number (1.5)"]
    );
}

#[test]
fn variables_stand_for_any_type_and_inside_texts_for_any_format() {
    let limits = json!({"limits": "${cluster.vars.limits}", "requests": {"cpu": "${cluster.vars.cpu}m"}});
    assert_eq!(pod(json!({"resources": limits, "tty": "${cluster.vars.tty}"})), [""; 0]);
    assert_eq!(
        pod(json!({"tty": "x${cluster.vars.tty}"})).len(),
        1,
        "a text stays a text"
    );
    let off = json!({"name": "x", "annotations": {"driftless.dev/substitute": "disabled"}});
    let spec = json!({"containers": [{"name": "a", "tty": "${cluster.vars.tty}"}]});
    assert_eq!(faults("v1", "Pod", json!({"metadata": off, "spec": spec})).len(), 1);
}

#[test]
fn free_form_fields_hold_anything() {
    let revision = json!({"metadata": {"name": "x"}, "revision": 1, "data": {"any": [{"thing": 1}]}});
    assert_eq!(faults("apps/v1", "ControllerRevision", revision), [""; 0]);
    let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "default": {"a": [1]}});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
    let names = json!({"kind": "A", "plural": "as"});
    let spec = json!({"group": "a.b", "scope": "Namespaced", "names": names, "versions": [version]});
    let definition = json!({"metadata": {"name": "as.a.b"}, "spec": spec});
    assert_eq!(
        faults("apiextensions.k8s.io/v1", "CustomResourceDefinition", definition),
        [""; 0]
    );
}

#[test]
fn maps_of_texts_refuse_numbers() {
    let data = json!({"metadata": {"name": "x"}, "data": {"a.b": 1}});
    assert_eq!(
        faults("v1", "ConfigMap", data),
        ["data[\"a.b\"] must be a text, not a number (1)"]
    );
    let binary = |text: &str| {
        faults(
            "v1",
            "ConfigMap",
            json!({"metadata": {"name": "x"}, "binaryData": {"a": text}}),
        )
    };
    assert_eq!(binary("aGk="), [""; 0]);
    assert_eq!(binary("hi!").len(), 1);
}

#[test]
fn elements_that_a_list_may_hold_once_are_not_there_twice() {
    let env = json!([{"name": "A", "value": "1"}, {"name": "B"}, {"name": "A", "value": "2"}]);
    assert_eq!(
        pod(json!({"env": env})),
        ["spec.containers[0].env[2] is there twice in its list (name A): remove one"]
    );
    let ports = json!([{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}]);
    assert_eq!(pod(json!({"ports": ports})), [""; 0]);
    let ports = json!([{"containerPort": 53}, {"containerPort": 53, "protocol": "TCP"}]);
    assert_eq!(pod(json!({"ports": ports})).len(), 1);
}

#[test]
fn values_outside_an_enumeration_are_refused() {
    assert_eq!(
        pod(json!({"imagePullPolicy": "always"})),
        ["spec.containers[0].imagePullPolicy must be one of Always, IfNotPresent, Never, not always"]
    );
}

/// A value of the type that `schema` describes, chosen by `pick`.
fn generated(schema: &Schema, depth: usize, pick: &mut impl FnMut(usize) -> usize) -> Value {
    let schema = catalog().types.resolve(schema).unwrap();
    if !schema.values.is_empty() {
        return schema.values[pick(schema.values.len())].clone();
    }
    match (schema.kind, schema.format.as_deref()) {
        (_, Some("int-or-string")) => [json!(1), json!("http")][pick(2)].clone(),
        (_, Some("quantity")) => [json!(1), json!("2Gi"), json!("250m")][pick(3)].clone(),
        (_, Some("byte")) => json!("aGk="),
        (_, Some("date-time")) => json!("2026-01-31T12:00:00Z"),
        (Some(Type::Boolean), _) => json!(pick(2) == 0),
        (Some(Type::Integer), _) => json!(pick(100)),
        (Some(Type::Number), _) => json!(0.5),
        (Some(Type::String), _) => json!(format!("v{}", pick(1_000_000))),
        (Some(Type::Array), _) => match &schema.items {
            Some(items) if depth < 12 && pick(2) == 0 => json!([generated(items, depth + 1, pick)]),
            _ => json!([]),
        },
        (Some(Type::Object), _) => {
            let mut fields = Map::new();
            for (name, property) in &schema.properties {
                if schema.required.contains(name) || (depth < 12 && pick(3) == 0) {
                    fields.insert(name.clone(), generated(property, depth + 1, pick));
                }
            }
            if let Some(Additional::Of(values)) = &schema.additional_properties {
                fields.insert("key".to_owned(), generated(values, depth + 1, pick));
            }
            Value::Object(fields)
        }
        (None, _) => json!({"any": 1}),
    }
}

proptest! {
    #[test]
    fn what_follows_a_schema_has_no_fault(kind in any::<prop::sample::Index>(), seed in any::<u64>()) {
        let kinds_of = |version| catalog().kinds(version).into_iter().flatten().map(move |kind| (version, kind));
        let kinds: Vec<_> = catalog().api_versions().flat_map(kinds_of).collect();
        let (api_version, kind) = kinds[kind.index(kinds.len())];
        let schema = catalog().kind(api_version, kind).unwrap();
        // A generator of numbers that is good enough for choices, and the same on every machine.
        let mut state = seed;
        let mut pick = |most: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % most
        };
        let object = generated(schema, 0, &mut pick);
        prop_assert_eq!(built_in(&catalog().types, schema, &object), Vec::new());
    }
}
