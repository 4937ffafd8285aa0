use serde_json::json;

use super::*;
use crate::snapshot::{FORMAT, Provenance};

fn bundle(component: &str, names: &[&str]) -> Bundle {
    let manifests = names.iter().map(|name| {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        Manifest::new(object, "default").unwrap()
    });
    Bundle::new(component.parse().unwrap(), manifests).unwrap()
}

fn view_of(bundles: &[Bundle]) -> Result<View, MissingBundle> {
    let snapshot = Snapshot {
        format: FORMAT,
        components: [("a", "a"), ("b", "b")]
            .map(|(name, _)| {
                let hash = bundles
                    .iter()
                    .find(|bundle| bundle.component.as_str() == name)
                    .map(Bundle::hash);
                (
                    name.parse().unwrap(),
                    hash.unwrap_or_else(|| ObjectHash::of(b"missing")),
                )
            })
            .into(),
        parent: None,
        time: jiff::Timestamp::UNIX_EPOCH,
        provenance: Provenance::default(),
    };
    let cluster = ClusterFacts {
        name: "edge-1".parse().unwrap(),
        channel: "prod".parse().unwrap(),
        labels: Labels::new(),
        vars: Vars::new(),
    };
    view(&snapshot, &cluster, |hash| {
        bundles.iter().find(|bundle| bundle.hash() == *hash)
    })
}

#[test]
fn view_holds_every_manifest_of_every_component() {
    let view = view_of(&[bundle("a", &["x", "y"]), bundle("b", &["z"])]).unwrap();
    let sizes: Vec<_> = view
        .components
        .values()
        .map(|component| component.manifests.len())
        .collect();
    assert_eq!(sizes, [2, 1]);
    assert!(view.collisions.is_empty());
}

#[test]
fn object_of_two_components_stays_with_the_first_and_is_reported() {
    let view = view_of(&[bundle("a", &["x"]), bundle("b", &["x", "y"])]).unwrap();
    assert_eq!(view.components[&"b".parse().unwrap()].manifests.len(), 1);
    assert_eq!(
        view.collisions[0].to_string(),
        "ConfigMap default/x is in component `a` and in component `b`: `a` keeps it; take it out of one of them"
    );
}

#[test]
fn missing_bundle_is_named() {
    let error = view_of(&[bundle("a", &["x"])]).unwrap_err();
    assert_eq!(error.component.as_str(), "b");
}

#[test]
fn component_is_left_out_where_its_selector_does_not_select() {
    let everywhere = bundle("a", &["x"]);
    let spec = crate::bundle::Spec {
        selector: "driftless.dev/cluster=edge-2".parse().unwrap(),
        ..Default::default()
    };
    let elsewhere = bundle("b", &["x"]).with_spec(spec);
    let view = view_of(&[everywhere, elsewhere]).unwrap();
    assert_eq!(view.components.len(), 1);
    assert!(
        view.collisions.is_empty(),
        "objects of a component that does not run here are nobody's rivals"
    );
}
