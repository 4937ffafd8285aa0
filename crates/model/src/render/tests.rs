use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{bundle::Spec, diff};

fn manifest(object: Value) -> Manifest {
    Manifest::new(object, "default").unwrap()
}

fn deployment(name: &str) -> Manifest {
    manifest(json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"replicas": 1, "paused": false}
    }))
}

fn config_map(name: &str, value: Value) -> Manifest {
    manifest(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"x": value}}))
}

fn bundle(manifests: Vec<Manifest>, overlays: Value) -> Bundle {
    let spec = Spec {
        overlays: serde_json::from_value(overlays).unwrap(),
        ..Spec::default()
    };
    Bundle::new("shop".parse().unwrap(), manifests).unwrap().with_spec(spec)
}

fn cluster(labels: &[(&str, &str)], vars: Value) -> ClusterFacts {
    ClusterFacts {
        name: "edge-1".parse().unwrap(),
        channel: "prod".parse().unwrap(),
        labels: labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        vars: serde_json::from_value(vars).unwrap(),
    }
}

fn rendered(bundle: &Bundle, cluster: &ClusterFacts) -> Rendered {
    let plan = Plan::new(bundle);
    plan.render(&plan.project(cluster).unwrap())
}

fn values(rendered: &Rendered, pointer: &str) -> Vec<Value> {
    let values = rendered.manifests.iter();
    values
        .map(|manifest| manifest.value().pointer(pointer).cloned().unwrap_or_default())
        .collect()
}

fn refused(bundle: &Bundle) -> Vec<String> {
    check(bundle).iter().map(ToString::to_string).collect()
}

#[test]
fn both_kinds_of_patches_change_what_they_target_where_they_apply() {
    let bundle = bundle(
        vec![deployment("a"), deployment("b")],
        json!([{"name": "eu", "selector": "region=eu", "patches": [
            {"target": {"kind": "Deployment", "name": "a"}, "merge": {"spec": {"replicas": 5, "paused": null}}},
            {"target": {"labelSelector": "app=b"}, "json": [{"op": "replace", "path": "/spec/replicas", "value": 7}]},
        ]}]),
    );
    assert_eq!(check(&bundle), []);
    let eu = rendered(&bundle, &cluster(&[("region", "eu")], json!({})));
    assert_eq!(
        values(&eu, "/spec"),
        [json!({"replicas": 5}), json!({"replicas": 7, "paused": false})]
    );
    let us = rendered(&bundle, &cluster(&[("region", "us")], json!({})));
    assert_eq!(us.manifests, bundle.shared_manifests());
}

#[test]
fn objects_are_added_and_left_out() {
    let extra = config_map("extra", json!("1")).value();
    let bundle = bundle(
        vec![deployment("a"), deployment("b")],
        json!([{"name": "slim", "selector": "slim", "remove": [{"kind": "Deployment", "name": "b"}], "add": [extra]}]),
    );
    let slim = rendered(&bundle, &cluster(&[("slim", "")], json!({})));
    assert_eq!(values(&slim, "/metadata/name"), ["extra", "a"]);
}

#[test]
fn later_overlay_works_on_what_the_earlier_one_made() {
    let patch = |name: &str, replicas: u32| json!({"name": name, "patches": [{"target": {"kind": "Deployment"}, "merge": {"spec": {"replicas": replicas}}}]});
    for (first, second) in [(3, 4), (4, 3)] {
        let bundle = bundle(
            vec![deployment("a")],
            json!([patch("one", first), patch("two", second)]),
        );
        let got = rendered(&bundle, &cluster(&[], json!({})));
        assert_eq!(values(&got, "/spec/replicas"), [json!(second)]);
    }
}

#[test]
fn overlays_may_use_variables() {
    let bundle = bundle(
        vec![deployment("a")],
        json!([{"name": "scale", "patches": [
            {"target": {"kind": "Deployment"}, "merge": {"spec": {"replicas": "${cluster.vars.replicas}"}}}]}]),
    );
    let got = rendered(&bundle, &cluster(&[], json!({"replicas": 9})));
    assert_eq!(values(&got, "/spec/replicas"), [json!(9)]);
}

#[test]
fn undefined_variable_holds_its_object_and_no_other() {
    let bundle = bundle(
        vec![
            config_map("bad", json!("${cluster.vars.nope}")),
            config_map("good", json!("1")),
        ],
        json!([]),
    );
    let got = rendered(&bundle, &cluster(&[], json!({})));
    assert_eq!(values(&got, "/metadata/name"), ["good"]);
    assert_eq!(got.held.len(), 1);
    assert!(
        got.held[0]
            .to_string()
            .starts_with("ConfigMap default/bad: data.x: `${cluster.vars.nope}` is not defined"),
        "{}",
        got.held[0]
    );
}

#[test]
fn patch_that_does_not_fit_holds_the_object() {
    let bundle = bundle(
        vec![deployment("a"), deployment("b")],
        json!([{"name": "o", "patches": [
            {"target": {"name": "a"}, "json": [{"op": "remove", "path": "/spec/nope"}]},
            {"target": {"name": "b"}, "merge": {"metadata": {"name": "c"}}},
        ]}]),
    );
    let got = rendered(&bundle, &cluster(&[], json!({})));
    assert!(got.manifests.is_empty());
    let reasons: Vec<_> = got.held.iter().map(|held| held.reason.as_str()).collect();
    assert!(
        reasons[0].starts_with("overlay `o`: JSON patch operation 1"),
        "{reasons:?}"
    );
    assert!(
        reasons[1].contains("what identifies an object cannot be patched"),
        "{reasons:?}"
    );
}

#[test]
fn overlay_cannot_smuggle_plaintext_into_a_secret() {
    let secret = manifest(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}));
    let bundle = bundle(
        vec![secret],
        json!([{"name": "o", "patches": [{"target": {"kind": "Secret"}, "merge": {"stringData": {"password": "x"}}}]}]),
    );
    let got = rendered(&bundle, &cluster(&[], json!({})));
    assert!(got.held[0].reason.contains("plaintext"), "{}", got.held[0]);
}

#[test]
fn overlays_that_cannot_mean_anything_are_told_all_at_once() {
    let bundle = bundle(
        vec![deployment("a")],
        json!([
            {"name": "typo", "patches": [{"target": {"kind": "Deploment"}, "merge": {}}]},
            {"name": "typo", "remove": [{"name": "b"}, {}]},
            {"name": ""},
            {"name": "both", "patches": [{"target": {"name": "a"}}]},
        ]),
    );
    assert_eq!(
        refused(&bundle),
        [
            "overlay `typo`: no object of the component matches kind Deploment",
            "overlay `typo` is there twice: give each a name of its own",
            "overlay `typo`: no object of the component matches name b",
            "overlay `typo`: a target is empty: say which objects, by kind, name, namespace, group or labelSelector",
            "overlay 3 has no name: give it one, for errors and `driftless explain`",
            "overlay `` neither patches, adds nor removes anything: take it out",
            "overlay `both`, patch 1: give exactly one of `json` (RFC 6902) and `merge` (RFC 7396)",
        ]
    );
}

#[test]
fn target_may_be_what_an_earlier_overlay_adds_or_labels() {
    let bundle = bundle(
        vec![deployment("a")],
        json!([
            {"name": "mark", "add": [config_map("c", json!("1")).value()],
             "patches": [{"target": {"name": "a"}, "merge": {"metadata": {"labels": {"tier": "x"}}}}]},
            {"name": "use", "patches": [
                {"target": {"kind": "ConfigMap"}, "merge": {"data": {"x": "2"}}},
                {"target": {"labelSelector": "tier=x"}, "merge": {"spec": {"replicas": 2}}}]},
        ]),
    );
    assert_eq!(check(&bundle), []);
    let got = rendered(&bundle, &cluster(&[], json!({})));
    assert_eq!(values(&got, "/data/x"), [json!("2"), Value::Null]);
    assert_eq!(values(&got, "/spec/replicas"), [Value::Null, json!(2)]);
}

#[test]
fn variable_that_can_be_defined_nowhere_is_told() {
    let bundle = bundle(vec![config_map("a", json!("${cluster.lables.x}"))], json!([]));
    assert!(refused(&bundle)[0].starts_with("ConfigMap default/a: data.x: `${cluster.lables.x}` is no variable"));
}

#[test]
fn trace_tells_overlays_and_variables_of_one_object() {
    let bundle = bundle(
        vec![config_map("a", json!("${cluster.name}")), config_map("b", json!("1"))],
        json!([
            {"name": "both", "patches": [{"target": {"kind": "ConfigMap"}, "merge": {"data": {"y": "1"}}}]},
            {"name": "none", "patches": [{"target": {"name": "b"}, "merge": {"data": {"y": "2"}}}]},
            {"name": "elsewhere", "selector": "region=us", "remove": [{"kind": "ConfigMap"}]},
        ]),
    );
    let manifest = bundle.manifests().next().unwrap();
    let trace = Plan::new(&bundle).trace(&cluster(&[], json!({})), manifest.id());
    assert_eq!(trace.overlays, ["both"]);
    assert_eq!(trace.variables.len(), 1);
    assert_eq!(trace.variables[0].field, "data.x");
}

fn any_bundle() -> impl Strategy<Value = Bundle> {
    let text = prop::sample::select(vec![
        "1",
        "${cluster.name}",
        "${cluster.vars.a}",
        "${cluster.vars.a:-d}",
        "$${x}",
    ]);
    let manifests = prop::collection::btree_map("[a-c]", text, 1..4);
    let target = prop::sample::select(vec![
        json!({"kind": "ConfigMap"}),
        json!({"name": "a"}),
        json!({"name": "b"}),
    ]);
    let overlay = (target, "[a-c]", prop::sample::select(vec!["", "region=eu", "!region"]), 0..3u8).prop_map(
        |(target, value, selector, kind)| match kind {
            0 => json!({"selector": selector, "remove": [target]}),
            1 => json!({"selector": selector, "add": [config_map(&value, json!(value)).value()]}),
            _ => json!({"selector": selector, "patches": [{"target": target, "merge": {"data": {"x": value, "y": "${cluster.vars.b:-0}"}}}]}),
        },
    );
    (manifests, prop::collection::vec(overlay, 0..4)).prop_map(|(manifests, overlays)| {
        let overlays = overlays.into_iter().enumerate().map(|(index, mut overlay)| {
            overlay["name"] = Value::from(format!("o{index}"));
            overlay
        });
        let manifests = manifests.iter().map(|(name, value)| config_map(name, json!(value)));
        bundle(manifests.collect(), overlays.collect())
    })
}

fn any_cluster() -> impl Strategy<Value = ClusterFacts> {
    let region = prop::option::of(prop::sample::select(vec!["eu", "us"]));
    let vars = prop::sample::select(vec![
        json!({}),
        json!({"a": "x"}),
        json!({"a": "x", "b": "y"}),
        json!({"b": ""}),
    ]);
    (region, vars).prop_map(|(region, vars)| {
        let labels: Vec<_> = region.map(|region| ("region", region)).into_iter().collect();
        cluster(&labels, vars)
    })
}

proptest! {
    #[test]
    fn rendering_is_pure_and_its_diff_with_itself_is_empty(bundle in any_bundle(), cluster in any_cluster()) {
        let (one, two) = (rendered(&bundle, &cluster), rendered(&bundle, &cluster));
        prop_assert_eq!(&one, &two);
        prop_assert!(diff::manifests(&one.manifests, &two.manifests).is_empty());
    }

    #[test]
    fn equal_versions_mean_equal_objects(bundle in any_bundle(), one in any_cluster(), two in any_cluster()) {
        let plan = Plan::new(&bundle);
        let version = |cluster| plan.version(ObjectHash::of(b""), &plan.project(cluster).unwrap());
        if version(&one) == version(&two) {
            prop_assert_eq!(rendered(&bundle, &one), rendered(&bundle, &two));
        }
    }

    #[test]
    fn overlays_act_in_their_order(bundle in any_bundle(), cluster in any_cluster()) {
        // One after the other, each alone on what the one before left, comes to the same as all at once.
        let plan = Plan::new(&bundle);
        let projection = plan.project(&cluster).unwrap();
        let mut objects = plan.base(|_| true);
        for overlay in plan.applying(&projection) {
            apply(overlay, &mut objects);
        }
        let ids: Vec<_> = objects.into_keys().collect();
        let got = plan.render(&projection);
        let mut seen: Vec<_> = got.manifests.iter().map(|manifest| manifest.id().clone())
            .chain(got.held.iter().map(|held| held.id.clone())).collect();
        seen.sort();
        prop_assert_eq!(seen, ids);
    }

    #[test]
    fn what_is_not_dynamic_is_as_it_was_written(bundle in any_bundle(), cluster in any_cluster()) {
        let plan = Plan::new(&bundle);
        let got = rendered(&bundle, &cluster);
        for manifest in bundle.manifests().filter(|manifest| !plan.is_dynamic(manifest.id())) {
            prop_assert_eq!(got.manifests.get(manifest.id()), Some(manifest));
        }
    }

    #[test]
    fn bundle_with_overlays_reads_back(bundle in any_bundle()) {
        prop_assert_eq!(Bundle::decode(&bundle.encode()).unwrap(), bundle);
    }
}
