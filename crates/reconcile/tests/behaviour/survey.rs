//! What is looked for before objects are applied for the first time: in few requests, and without waiting for all of them.

use std::{sync::Arc, time::Duration};

use driftless_model::view::View;
use driftless_sim::{Cluster, Failure, Matching};
use serde_json::json;

use crate::rig::*;

/// Two hundred Secrets to be applied for the first time, and lists of Secrets that fail; after twenty seconds.
async fn many_new_ones_whose_lists_fail(failure: Failure) -> (Cluster, Running, Arc<View>) {
    let (cluster, _) = simulated();
    let running = Running::start(cluster.client());
    running.converge(&view(&[("shop", &[namespace("shop")])])).await;
    let matching = Matching::all().verb("list").resource("secrets");
    cluster.faults().fail_share(1.0, matching, failure);
    cluster.forget_requests();
    let secret = |number| {
        let name = format!("s{number}");
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "shop"}})
    };
    let objects: Vec<_> = (0..200).map(secret).chain([namespace("shop")]).collect();
    let view = view(&[("shop", &objects)]);
    running.handle.set_desired(view.clone());
    time_passes(Duration::from_secs(20)).await;
    (cluster, running, view)
}

#[tokio::test(start_paused = true)]
async fn object_of_nobody_is_applied_and_many_new_ones_cost_one_list_and_a_few_looks() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    other.create(&config_map("n07", "1")).await;
    cluster.forget_requests();
    let running = Running::start(cluster.client());
    let objects: Vec<_> = (0..100)
        .map(|number| config_map(&format!("n{number:02}"), "1"))
        .collect();
    running.converge(&view(&[("shop", &objects)])).await;
    let requests = cluster.requests();
    let applies = requests.log().filter(|it| it.verb == "apply" && it.namespace == "shop");
    assert_eq!(applies.count(), 100);
    // One for the parents, one for the watch, one for what exists.
    assert!(requests.count("list", "configmaps") <= 3, "{requests:?}");
    // Those that are applied first do not wait for the list.
    let gets = requests.log().filter(|it| it.verb == "get" && it.namespace == "shop");
    assert_eq!(gets.count(), 32);
}

#[tokio::test(start_paused = true)]
async fn failed_look_at_what_exists_is_one_request_again_and_not_one_for_each_object() {
    let (cluster, running, view) = many_new_ones_whose_lists_fail(Failure::Unavailable).await;
    let tries = cluster.requests().count("list", "secrets");
    assert!((4..30).contains(&tries), "{tries} lists");
    cluster.faults().clear();
    running.until("converged", |report| is_converged(report, &view)).await;
}

#[tokio::test(start_paused = true)]
async fn first_of_many_new_objects_do_not_wait_for_a_list_that_does_not_come() {
    let (cluster, running, view) = many_new_ones_whose_lists_fail(Failure::Silence).await;
    assert_eq!(cluster.requests().count("apply", "secrets"), 32);
    cluster.faults().clear();
    running.until("converged", |report| is_converged(report, &view)).await;
}
