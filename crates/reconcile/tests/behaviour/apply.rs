//! What is desired gets applied: in order, with the marks of its set, and with the reason where it does not.

use std::time::Duration;

use driftless_model::{
    status::Health,
    view::{Collision, View},
};
use driftless_sim::{Failure, Matching};
use serde_json::{Value, json};

use crate::rig::*;

fn deployment() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}}})
}

#[tokio::test(start_paused = true)]
async fn desired_objects_are_applied_with_their_namespace_first() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let view = view(&[("shop", &[config_map("a", "1"), deployment(), namespace("shop")])]);
    running.converge(&view).await;
    let report = running
        .until("healthy", |report| status(report, "shop").health == Health::Current)
        .await;
    assert_eq!(
        (status(&report, "shop").desired, status(&report, "shop").applied),
        (3, 3)
    );
    assert_eq!((report.counters.applied, report.counters.failed), (3, 0));
    assert!(
        report.kubernetes_version.starts_with('v'),
        "{}",
        report.kubernetes_version
    );
    let live = other.get(&config_map("a", "")).await.unwrap();
    assert_eq!(live["data"]["key"], "1");
    assert_eq!(live["metadata"]["labels"]["driftless.dev/component"], "shop");
    let parent = other.get(&parent("shop")).await.unwrap();
    let id = &parent["metadata"]["labels"]["applyset.kubernetes.io/id"];
    assert_eq!(&live["metadata"]["labels"]["applyset.kubernetes.io/part-of"], id);
    let annotations = &parent["metadata"]["annotations"];
    assert_eq!(annotations["applyset.kubernetes.io/tooling"], "driftless/v1");
    assert_eq!(
        annotations["applyset.kubernetes.io/contains-group-kinds"],
        "ConfigMap,Deployment.apps,Namespace"
    );
    assert_eq!(annotations["applyset.kubernetes.io/additional-namespaces"], "shop");
}

#[tokio::test(start_paused = true)]
async fn changed_manifest_is_one_patch() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let objects = |value: &str| [namespace("shop"), config_map("a", value), config_map("b", "1")];
    running.converge(&view(&[("shop", &objects("1"))])).await;
    cluster.forget_requests();
    let begin = tokio::time::Instant::now();
    let report = running.converge(&view(&[("shop", &objects("2"))])).await;
    assert!(
        begin.elapsed() < Duration::from_millis(20),
        "told after {:?}",
        begin.elapsed()
    );
    assert_eq!(report.counters.applied, 4);
    assert_eq!(cluster.requests().writes(), 1, "{:?}", cluster.requests());
    assert_eq!(other.get(&config_map("a", "")).await.unwrap()["data"]["key"], "2");
}

#[tokio::test(start_paused = true)]
async fn quiet_cluster_costs_nothing_but_its_watches() {
    let (cluster, _) = simulated();
    let running = Running::start(cluster.client());
    running
        .converge(&view(&[("shop", &[namespace("shop"), config_map("a", "1")])]))
        .await;
    time_passes(Duration::from_secs(30)).await;
    cluster.forget_requests();
    time_passes(Duration::from_secs(3600)).await;
    let requests = cluster.requests();
    let watches = requests.count("watch", "configmaps") + requests.count("watch", "namespaces");
    assert_eq!(requests.total(), watches, "{requests:?}");
    assert!(watches < 80, "{watches} watches in an hour");
}

#[tokio::test(start_paused = true)]
async fn object_of_a_kind_in_the_same_push_follows_its_definition() {
    let cluster = driftless_sim::Cluster::new(driftless_sim::Options {
        establish_after: Duration::from_secs(1),
        ..Default::default()
    });
    let running = Running::start(cluster.client());
    let view = view(&[(
        "shop",
        &[widget("w"), definition(), namespace("shop"), config_map("a", "1")],
    )]);
    let report = running.converge(&view).await;
    assert_eq!(report.counters.failed, 0);
    assert!(Other(cluster.client()).get(&widget("w")).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn object_of_an_unknown_kind_waits_and_says_so_and_holds_up_nothing() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let view = view(&[("shop", &[namespace("shop"), config_map("a", "1"), widget("w")])]);
    running.handle.set_desired(view.clone());
    let report = running
        .until("told of the kind", |report| {
            problem(report, "shop").is_some_and(|it| it.reason == "KindNotServed")
                && status(report, "shop").applied == 2
        })
        .await;
    let problem = problem(&report, "shop").unwrap();
    assert!(
        problem.message.contains("Widget in example.com/v1"),
        "{}",
        problem.message
    );
    assert_eq!(
        problem.object.as_ref().unwrap().to_string(),
        "Widget.example.com shop/w"
    );
    other.create(&definition()).await;
    running.until("applied", |report| is_converged(report, &view)).await;
}

#[tokio::test(start_paused = true)]
async fn version_that_a_definition_gains_is_served_at_once() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let mut newer = widget("w");
    newer["apiVersion"] = json!("example.com/v2");
    let desired = |definition: Value| view(&[("shop", &[namespace("shop"), definition, newer.clone()])]);
    running.handle.set_desired(desired(definition()));
    running
        .until("told of the kind", |report| {
            problem(report, "shop").is_some_and(|it| it.reason == "KindNotServed")
        })
        .await;
    // It is looked for seldom now.
    time_passes(Duration::from_secs(3600)).await;
    let mut both = definition();
    let versions = both["spec"]["versions"].as_array_mut().unwrap();
    versions.push(versions[0].clone());
    versions[1]["name"] = json!("v2");
    versions[1]["storage"] = json!(false);
    // So that the answer comes before the event, which the answer told but for what it is to others.
    let watches = Matching::all().verb("watch").resource("customresourcedefinitions");
    cluster.faults().fail_next(1, watches, Failure::Unavailable);
    cluster.faults().drop_watches();
    let begin = tokio::time::Instant::now();
    running.converge(&desired(both)).await;
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    assert!(other.get(&newer).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn namespace_that_comes_later_is_waited_for() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let view = view(&[("shop", &[config_map("a", "1")]), ("other", &[namespace("elsewhere")])]);
    running.handle.set_desired(view.clone());
    let report = running.until("told", |report| problem(report, "shop").is_some()).await;
    let message = &problem(&report, "shop").unwrap().message;
    assert!(
        message.contains("namespaces \"shop\" not found") && message.contains("create the namespace"),
        "{message}"
    );
    other.create(&namespace("shop")).await;
    running.until("applied", |report| is_converged(report, &view)).await;
}

#[tokio::test(start_paused = true)]
async fn field_of_another_manager_is_a_conflict_that_names_it() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    other.create(&config_map("a", "theirs")).await;
    other
        .patch(&config_map("a", ""), json!({"data": {"key": "theirs too"}}))
        .await;
    let running = Running::start(cluster.client());
    running
        .handle
        .set_desired(view(&[("shop", &[config_map("a", "ours"), config_map("b", "ours")])]));
    let report = running
        .until("told of the conflict", |report| {
            problem(report, "shop").is_some_and(|it| it.reason == "FieldConflict")
                && status(report, "shop").applied == 1
        })
        .await;
    let message = &problem(&report, "shop").unwrap().message;
    assert!(message.starts_with("`somebody` owns .data.key: "), "{message}");
    assert_eq!(
        other.get(&config_map("a", "")).await.unwrap()["data"]["key"],
        "theirs too"
    );

    let mut forced = config_map("a", "ours");
    forced["metadata"]["annotations"] = json!({"driftless.dev/force-conflicts": "true"});
    running
        .converge(&view(&[("shop", &[forced, config_map("b", "ours")])]))
        .await;
    assert_eq!(other.get(&config_map("a", "")).await.unwrap()["data"]["key"], "ours");
}

#[tokio::test(start_paused = true)]
async fn parent_of_another_tool_is_left_alone_and_holds_up_its_component_only() {
    let (cluster, other) = simulated();
    other.create(&namespace(HOME)).await;
    let mut foreign = parent("shop");
    foreign["metadata"]["annotations"] = json!({"applyset.kubernetes.io/tooling": "kubectl/v1.36"});
    other.create(&foreign).await;
    let running = Running::start(cluster.client());
    running.handle.set_desired(view(&[
        ("shop", &[config_map("a", "1")]),
        ("ground", &[namespace("shop")]),
    ]));
    let report = running
        .until("told", |report| {
            problem(report, "shop").is_some() && status(report, "ground").applied == 1
        })
        .await;
    let problem = problem(&report, "shop").unwrap();
    assert_eq!(problem.reason, "ApplySetFailed");
    assert!(
        problem.message.contains("driftless-shop") && problem.message.contains("kubectl/v1.36"),
        "{}",
        problem.message
    );
    assert!(other.get(&config_map("a", "")).await.is_none());
    other.delete(&foreign).await;
    running
        .until("applied", |report| status(report, "shop").applied == 1)
        .await;
}

#[tokio::test(start_paused = true)]
async fn collision_is_a_problem_of_the_component_that_goes_without() {
    let (cluster, _) = simulated();
    let running = Running::start(cluster.client());
    let mut desired = View::clone(&view(&[("a", &[namespace("shop")]), ("b", &[])]));
    let id = desired.components[&named("a")]
        .manifests
        .iter()
        .next()
        .unwrap()
        .id()
        .clone();
    let collision = Collision {
        id,
        kept: "a".parse().unwrap(),
        dropped: "b".parse().unwrap(),
    };
    desired.collisions.push(collision.clone());
    running.handle.set_desired(desired.into());
    let report = running.until("told", |report| problem(report, "b").is_some()).await;
    assert_eq!(problem(&report, "b").unwrap().message, collision.to_string());
    running
        .until("applied", |report| status(report, "a").applied == 1)
        .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_after_the_end_nor_before_the_first_view() {
    let (cluster, _) = simulated();
    let before = cluster.version();
    let running = Running::start(cluster.client());
    time_passes(Duration::from_secs(60)).await;
    assert_eq!(cluster.version(), before);
    let handle = running.handle.clone();
    running.stop().await;
    handle.set_desired(view(&[("shop", &[namespace("shop")])]));
    time_passes(Duration::from_secs(60)).await;
    assert_eq!(cluster.version(), before);
}
