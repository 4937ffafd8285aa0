//! An object that cannot be worked out on this cluster stays what it was, and holds up no other.

use std::sync::Arc;

use driftless_model::{hash::ObjectHash, manifest::Manifest, render::Held, view::View};
use serde_json::json;

use crate::rig::*;

/// The same view, in which `object` of component `shop` cannot be worked out.
fn holding(view: &Arc<View>, object: &serde_json::Value) -> Arc<View> {
    let manifest = Manifest::new(object.clone(), "default").expect("a good manifest");
    let mut view = View::clone(view);
    let component = view.components.get_mut(&named("shop")).expect("the view has it");
    component.version = ObjectHash::of(b"another cluster's facts");
    component.held.push(Held {
        id: manifest.id().clone(),
        reason: "data.key: `${cluster.vars.x}` is not defined".to_owned(),
    });
    Arc::new(view)
}

#[tokio::test(start_paused = true)]
async fn held_object_stays_as_it_was_and_the_others_go_on() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let objects = [
        namespace("shop"),
        config_map("a", "1"),
        config_map("b", "1"),
        config_map("c", "1"),
    ];
    running.converge(&view(&[("shop", &objects)])).await;

    let next = view(&[("shop", &[namespace("shop"), config_map("a", "2")])]);
    running.handle.set_desired(holding(&next, &config_map("b", "")));
    let report = running
        .until("a to be changed", |report| report.counters.applied == 5)
        .await;
    let told = problem(&report, "shop").expect("it is told");
    assert_eq!((told.reason.as_str(), told.blocks), ("Held", true));
    assert_eq!(told.object.as_ref().map(|id| id.name.as_str()), Some("b"));

    other
        .patch(&config_map("b", ""), json!({"data": {"key": "drifted"}}))
        .await;
    running
        .until("b to be repaired", |report| report.counters.repaired == 1)
        .await;
    assert_eq!(other.get(&config_map("b", "")).await.expect("b")["data"]["key"], "1");
    assert!(
        other.get(&config_map("c", "")).await.is_some(),
        "nothing goes while the whole is not known"
    );

    let report = running.converge(&next).await;
    assert!(problem(&report, "shop").is_none());
    running
        .until("b and c to be pruned", |report| report.counters.pruned == 2)
        .await;
}

#[tokio::test(start_paused = true)]
async fn held_object_outlives_a_restart() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let objects = [namespace("shop"), config_map("b", "1")];
    running.converge(&view(&[("shop", &objects)])).await;
    running.stop().await;

    let running = Running::start(cluster.client());
    let next = view(&[("shop", &[namespace("shop"), config_map("a", "1")])]);
    running.handle.set_desired(holding(&next, &config_map("b", "")));
    let report = running
        .until("a to be applied", |report| {
            report.components.values().any(|it| it.applied == 2)
        })
        .await;
    assert_eq!(status(&report, "shop").to_prune, 1);
    assert!(other.get(&config_map("b", "")).await.is_some());
    assert_eq!(cluster.requests().count("delete", "configmaps"), 0);
}
