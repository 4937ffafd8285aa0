//! One version of a large component after another, as an agent makes them of deltas: each shares with the one before what
//! did not change, and is taken in as if it did not.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use driftless_model::{
    bundle::Bundle,
    delta,
    manifest::Manifest,
    view::{ComponentView, ComponentViews, View},
};
use serde_json::{Value, json};

use crate::rig::*;

fn name(number: usize) -> String {
    format!("c-{number:03}")
}

fn object(number: usize, value: &str) -> Value {
    config_map(&name(number), value)
}

fn bundle(objects: impl IntoIterator<Item = Value>) -> Bundle {
    let manifests = objects
        .into_iter()
        .map(|object| Manifest::new(object, "shop").expect("a good manifest"));
    Bundle::new(named("shop"), manifests).expect("a good bundle")
}

/// What a delta makes of `before`.
fn after(before: &Bundle, objects: &[Value]) -> Bundle {
    let after = bundle(objects.iter().cloned());
    let delta = delta::encode(&before.encode(), &after.encode());
    before.edited(&delta, after.hash()).expect("a few changes are splices")
}

fn view_of(bundle: &Bundle) -> Arc<View> {
    let component = ComponentView {
        bundle: bundle.hash(),
        version: bundle.hash(),
        spec: bundle.shared_spec(),
        manifests: bundle.shared_manifests(),
        held: Vec::new(),
    };
    Arc::new(View {
        components: ComponentViews::unit(named("shop"), component.into()),
        collisions: Vec::new(),
    })
}

#[tokio::test(start_paused = true)]
async fn versions_that_share_nearly_all_cost_and_make_what_they_change() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    let running = Running::start(cluster.client());
    let mut objects: Vec<_> = (0..600).map(|number| object(2 * number, "1")).collect();
    let mut now = bundle(objects.clone());
    running.converge(&view_of(&now)).await;
    let hook = |value: &str| {
        let mut hook = config_map("c-700-hook", value);
        hook["metadata"]["annotations"] = json!({"argocd.argoproj.io/hook": "PostSync"});
        hook
    };
    type Change<'a> = &'a dyn Fn(&mut Vec<Value>);
    // A hook that runs counts, and may do so before or after the version is told as applied.
    let changes: [(&str, Change<'_>, RangeInclusive<u64>, u64); 11] = [
        // Whatever the number that goes together: among some is its last.
        ("few removed", &|it| drop(it.drain(250..256)), 0..=0, 6),
        ("and more", &|it| drop(it.drain(122..128)), 0..=0, 6),
        ("changed", &|it| it[288] = object(600, "2"), 1..=1, 0),
        ("first changed", &|it| it[0] = object(0, "2"), 1..=1, 0),
        ("added", &|it| it.insert(101, object(201, "1")), 1..=1, 0),
        ("removed", &|it| drop(it.remove(102)), 0..=0, 1),
        ("changed behind both", &|it| it[587] = object(1198, "3"), 1..=1, 0),
        ("hook added", &|it| it.insert(350, hook("1")), 0..=1, 0),
        ("changed beside the hook", &|it| it[10] = object(20, "4"), 1..=3, 0),
        ("hook removed", &|it| drop(it.remove(350)), 0..=1, 0),
        ("changed after the hook", &|it| it[586] = object(1196, "4"), 1..=1, 0),
    ];
    for (what, change, applied, pruned) in changes {
        let before = running.handle.report().borrow().counters;
        change(&mut objects);
        now = after(&now, &objects);
        let report = running.converge(&view_of(&now)).await;
        let counted = (
            report.counters.applied - before.applied,
            report.counters.pruned - before.pruned,
        );
        assert!(
            applied.contains(&counted.0) && counted.1 == pruned,
            "{what}: {counted:?}"
        );
        for wanted in &objects {
            let live = other.get(wanted).await.unwrap_or_else(|| panic!("{what}: {wanted}"));
            assert_eq!(live["data"], wanted["data"], "{what}");
        }
    }
    assert_eq!(other.get(&object(202, "")).await, None);
}

#[tokio::test(start_paused = true)]
async fn objects_that_another_component_takes_over_leave_all_others_where_they_are() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    let running = Running::start(cluster.client());
    let objects: Vec<_> = (0..300).map(|number| object(number, "1")).collect();
    let before = bundle(objects.clone());
    running.converge(&view_of(&before)).await;
    let mut rest = before.shared_manifests();
    // At the end of what goes together in memory, too.
    for last in 120..136 {
        let (taken, left) = (&objects[120..=last], [&objects[..120], &objects[last + 1..]].concat());
        let id = before.manifests().nth(last).unwrap().id();
        rest = rest.without(id);
        let mut desired = View::clone(&view(&[("cart", taken), ("shop", &left)]));
        let shop = desired.components.get_mut(&named("shop")).unwrap();
        shop.manifests = rest.clone();
        let applied = running.handle.report().borrow().counters.applied;
        let report = running.converge(&Arc::new(desired)).await;
        assert_eq!((report.counters.applied, report.counters.pruned), (applied + 1, 0));
        for (objects, component) in [(taken, "cart"), (&left, "shop")] {
            for object in objects {
                let live = other.get(object).await.unwrap();
                assert_eq!(live["metadata"]["labels"]["driftless.dev/component"], component);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn object_that_belonged_to_another_is_tried_anew_with_the_next_version() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    let mut theirs = object(550, "theirs");
    theirs["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "Helm"});
    theirs["metadata"]["annotations"] =
        json!({"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "shop"});
    other.create(&theirs).await;
    let running = Running::start(cluster.client());
    let mut objects: Vec<_> = (0..600).map(|number| object(number, "theirs")).collect();
    let first = bundle(objects.clone());
    running.handle.set_desired(view_of(&first));
    running
        .until("told", |report| {
            problem(report, "shop").is_some_and(|it| it.reason == "OwnedByOther")
        })
        .await;
    // It is asked seldom now.
    time_passes(Duration::from_secs(3600)).await;
    let unmarked = json!({"metadata": {"annotations": {"meta.helm.sh/release-name": null}, "labels": null}});
    other.patch(&object(550, ""), unmarked).await;
    let begin = tokio::time::Instant::now();
    objects[3] = object(3, "changed");
    running.converge(&view_of(&after(&first, &objects))).await;
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn object_that_was_left_as_it_is_and_is_gone_is_made_with_the_next_version() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    other.create(&object(550, "theirs")).await;
    let running = Running::start(cluster.client());
    let mut objects: Vec<_> = (0..600).map(|number| object(number, "ours")).collect();
    objects[550]["metadata"]["annotations"] = json!({"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"});
    let first = bundle(objects.clone());
    running.converge(&view_of(&first)).await;
    assert_eq!(other.get(&object(550, "")).await.unwrap()["data"]["key"], "theirs");
    other.delete(&object(550, "")).await;
    objects[3] = object(3, "changed");
    running.converge(&view_of(&after(&first, &objects))).await;
    assert_eq!(other.get(&object(550, "")).await.unwrap()["data"]["key"], "ours");
}
