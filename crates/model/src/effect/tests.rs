use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    bundle::{Bundle, Spec},
    manifest::Manifest,
};

fn config_map(name: &str, value: &str) -> Manifest {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"x": value}});
    Manifest::new(object, "default").unwrap()
}

fn bundle(objects: &[(&str, &str)], selector: &str, overlays: Value) -> Bundle {
    let spec = Spec {
        selector: selector.parse().unwrap(),
        overlays: serde_json::from_value(overlays).unwrap(),
        ..Spec::default()
    };
    let manifests = objects.iter().map(|(name, value)| config_map(name, value));
    Bundle::new("shop".parse().unwrap(), manifests).unwrap().with_spec(spec)
}

/// One cluster for each region, named by its number.
fn fleet(regions: &[&str]) -> Vec<ClusterFacts> {
    let cluster = |(index, region): (usize, &&str)| ClusterFacts {
        name: format!("c{index}").parse().unwrap(),
        channel: "prod".parse().unwrap(),
        labels: [("region".to_owned(), (*region).to_owned())].into(),
        vars: [("v".to_owned(), json!(region.len()))].into(),
    };
    regions.iter().enumerate().map(cluster).collect()
}

/// Each effect as its clusters and the names of the objects that change.
fn told(before: Option<&Bundle>, after: Option<&Bundle>, clusters: &[ClusterFacts]) -> Vec<(Vec<usize>, Vec<String>)> {
    let (before, after) = (before.map(Plan::new), after.map(Plan::new));
    of_bundles(before.as_ref(), after.as_ref(), &Clusters::new(clusters))
        .into_iter()
        .map(|effect| {
            let names = effect.objects.keys().map(|id| id.name.clone()).collect();
            (effect.clusters, names)
        })
        .collect()
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn change_that_all_clusters_see_alike_is_told_once() {
    let (before, after) = (
        bundle(&[("a", "1"), ("b", "1")], "", json!([])),
        bundle(&[("a", "2"), ("b", "1")], "", json!([])),
    );
    let clusters = fleet(&["eu", "us", "eu"]);
    assert_eq!(
        told(Some(&before), Some(&after), &clusters),
        [(vec![0, 1, 2], names(&["a"]))]
    );
    assert_eq!(told(Some(&after), Some(&after), &clusters), []);
}

#[test]
fn overlay_divides_the_fleet() {
    let overlay = json!([{"name": "eu", "selector": "region=eu",
        "patches": [{"target": {"name": "b"}, "merge": {"data": {"x": "9"}}}]}]);
    let (before, after) = (
        bundle(&[("a", "1"), ("b", "1")], "", json!([])),
        bundle(&[("a", "2"), ("b", "1")], "", overlay),
    );
    assert_eq!(
        told(Some(&before), Some(&after), &fleet(&["eu", "us", "us"])),
        [(vec![1, 2], names(&["a"])), (vec![0], names(&["a", "b"]))]
    );
}

#[test]
fn selector_that_narrows_removes_elsewhere() {
    let (before, after) = (
        bundle(&[("a", "1")], "", json!([])),
        bundle(&[("a", "1")], "region=eu", json!([])),
    );
    assert_eq!(
        told(Some(&before), Some(&after), &fleet(&["eu", "us"])),
        [(vec![1], names(&["a"]))]
    );
    assert_eq!(
        told(None, Some(&after), &fleet(&["eu", "us"])),
        [(vec![0], names(&["a"]))]
    );
    assert_eq!(
        told(Some(&before), None, &fleet(&["eu", "us"])),
        [(vec![0, 1], names(&["a"]))]
    );
}

#[test]
fn clusters_of_different_values_and_equal_changes_are_one_group() {
    let (before, after) = (
        bundle(&[("a", "${cluster.name}"), ("b", "1")], "", json!([])),
        bundle(&[("a", "${cluster.name}"), ("b", "2")], "", json!([])),
    );
    assert_eq!(
        told(Some(&before), Some(&after), &fleet(&["eu", "us"])),
        [(vec![0, 1], names(&["b"]))]
    );
    let changed = bundle(&[("a", "x-${cluster.name}"), ("b", "1")], "", json!([]));
    assert_eq!(told(Some(&before), Some(&changed), &fleet(&["eu", "us"])).len(), 2);
}

#[test]
fn clusters_that_lack_a_variable_are_told_together() {
    let bundle = bundle(
        &[("a", "${cluster.vars.w}"), ("b", "1")],
        "region notin (us)",
        json!([]),
    );
    let mut clusters = fleet(&["eu", "us", "eu", "ap"]);
    clusters[3].vars.insert("w".to_owned(), json!("here"));
    let found = shortfalls(&Plan::new(&bundle), &Clusters::new(&clusters));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].clusters, [0, 2]);
    assert_eq!(found[0].held[0].id.name, "a");
}

fn any_side() -> impl Strategy<Value = Option<Bundle>> {
    let text = prop::sample::select(vec![
        "1",
        "2",
        "${cluster.name}",
        "${cluster.vars.v}",
        "${cluster.vars.w}",
        "${cluster.labels.region}",
    ]);
    let objects = prop::collection::btree_map("[a-c]", text, 0..4);
    let selector = prop::sample::select(vec!["", "region=eu", "driftless.dev/cluster in (c0,c2)"]);
    let patched = prop::sample::select(vec![
        json!([]),
        json!([{"name": "o", "selector": "region=us", "patches": [{"target": {"kind": "ConfigMap"}, "merge": {"data": {"y": "1"}}}]}]),
        json!([{"name": "o", "selector": "region=eu", "remove": [{"name": "a"}], "add": [config_map("d", "1").value()]}]),
        json!([{"name": "o", "selector": "driftless.dev/cluster=c1", "add": [config_map("b", "${cluster.vars.v}").value()]}]),
    ]);
    let bundle = (objects, selector, patched).prop_map(|(objects, selector, overlays)| {
        let objects: Vec<_> = objects.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        bundle(&objects, selector, overlays)
    });
    prop::option::of(bundle)
}

proptest! {
    /// The law that makes groups safe: what is told of a cluster's group is what comes out for that cluster alone.
    #[test]
    fn effect_of_a_group_is_the_effect_on_each_of_its_clusters(
        before in any_side(), after in any_side(), regions in prop::collection::vec(prop::sample::select(vec!["eu", "us", "ap"]), 1..6)
    ) {
        let clusters = fleet(&regions);
        let (before, after) = (before.as_ref().map(Plan::new), after.as_ref().map(Plan::new));
        let effects = of_bundles(before.as_ref(), after.as_ref(), &Clusters::new(&clusters));
        for (index, cluster) in clusters.iter().enumerate() {
            let rendered = |plan: Option<&Plan<'_>>| {
                plan.and_then(|plan| Some(plan.render(&plan.project(cluster)?))).unwrap_or_default()
            };
            let (old, new) = (rendered(before.as_ref()), rendered(after.as_ref()));
            let mut alone = diff::manifests(&old.manifests, &new.manifests);
            alone.retain(|id, _| new.held.iter().all(|held| held.id != *id));
            let told: Vec<_> = effects.iter().filter(|effect| effect.clusters.contains(&index)).collect();
            match told.as_slice() {
                [] => prop_assert!(alone.is_empty(), "{alone:?}"),
                [effect] => prop_assert_eq!(&effect.objects, &alone),
                _ => prop_assert!(false, "cluster {} is in two effects", index),
            }
        }
    }
}
