use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::snapshot::{self, Components, FORMAT, Provenance};

fn bundle(component: &str, names: &[&str]) -> Bundle {
    let manifests = names.iter().map(|name| {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        Manifest::new(object, "default").unwrap()
    });
    Bundle::new(component.parse().unwrap(), manifests).unwrap()
}

fn snapshot(components: Components) -> Snapshot {
    Snapshot {
        format: FORMAT,
        components,
        parent: None,
        time: jiff::Timestamp::UNIX_EPOCH,
        provenance: Provenance::default(),
    }
}

fn cluster() -> ClusterFacts {
    ClusterFacts {
        name: "edge-1".parse().unwrap(),
        channel: "prod".parse().unwrap(),
        labels: Labels::new(),
        vars: Vars::new(),
    }
}

fn found<'a>(bundles: &'a [Bundle]) -> impl Fn(&ObjectHash) -> Option<&'a Bundle> {
    |hash| bundles.iter().find(|bundle| bundle.hash() == *hash)
}

fn view_of(bundles: &[Bundle]) -> Result<View, MissingBundle> {
    let hash = |name: &str| {
        let mut bundles = bundles.iter();
        let bundle = bundles.find(|bundle| bundle.component.as_str() == name);
        bundle.map_or_else(|| ObjectHash::of(b"missing"), Bundle::hash)
    };
    let components = ["a", "b"].map(|name| (name.parse().unwrap(), hash(name)));
    view(&snapshot(components.into_iter().collect()), &cluster(), found(bundles))
}

/// A component by its number: with these objects, or not run by the cluster.
fn numbered(component: usize, objects: &[u8], runs: bool) -> Bundle {
    let names: Vec<_> = objects.iter().map(|object| format!("c-{object}")).collect();
    let names: std::collections::BTreeSet<_> = names.iter().map(String::as_str).collect();
    let selector = if runs { "" } else { "driftless.dev/cluster=edge-2" };
    let spec = crate::bundle::Spec {
        selector: selector.parse().unwrap(),
        ..Default::default()
    };
    let names: Vec<_> = names.into_iter().collect();
    bundle(&format!("app-{component}"), &names).with_spec(spec)
}

proptest! {
    #[test]
    fn view_after_another_is_the_one_that_is_worked_out_anew(
        versions in prop::collection::vec(
            prop::collection::vec(prop::option::weighted(0.8, (prop::collection::vec(0u8..12, 0..4), any::<bool>())), 3),
            1..6,
        ),
    ) {
        let mut before: Option<(Components, View)> = None;
        for version in versions {
            let bundles = version.iter().enumerate();
            let bundles = bundles.filter_map(|(component, bundle)| bundle.as_ref().map(|bundle| (component, bundle)));
            let bundles: Vec<_> = bundles.map(|(component, (objects, runs))| numbered(component, objects, *runs)).collect();
            let components: Components = bundles.iter().map(|bundle| (bundle.component.clone(), bundle.hash())).collect();
            let snapshot = snapshot(components.clone());
            let anew = view(&snapshot, &cluster(), found(&bundles)).unwrap();
            if let Some((earlier, view)) = before {
                let changes = snapshot::changes(&earlier, &components);
                let after = view_after(&view, &changes, &snapshot, &cluster(), found(&bundles)).unwrap();
                prop_assert_eq!(&after, &anew);
            }
            before = Some((components, anew));
        }
    }
}

#[test]
fn what_did_not_change_is_shared() {
    let [web, news, later] = [
        numbered(1, &[1], true),
        numbered(2, &[2], true),
        numbered(2, &[2, 3], true),
    ];
    let of = |bundles: &[&Bundle]| -> Components {
        bundles
            .iter()
            .map(|bundle| (bundle.component.clone(), bundle.hash()))
            .collect()
    };
    let (before, after) = (of(&[&web, &news]), of(&[&web, &later]));
    let bundles = [web.clone(), news, later];
    let earlier = view(&snapshot(before.clone()), &cluster(), found(&bundles)).unwrap();
    let changes = snapshot::changes(&before, &after);
    let view = view_after(&earlier, &changes, &snapshot(after), &cluster(), found(&bundles)).unwrap();
    let of_web = [&earlier, &view].map(|view| &view.components[&web.component]);
    assert!(of_web[0].is_same(of_web[1]));
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
    assert_eq!(
        view.components[&"b".parse::<ComponentName>().unwrap()].manifests.len(),
        1
    );
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
