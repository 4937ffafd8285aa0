//! What runs once per version: before everything else, along with it, after it, and when it failed.

use std::{sync::Arc, time::Duration};

use driftless_model::orders::{Order, Orders};
use driftless_reconcile::Report;
use driftless_sim::Cluster;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::rig::*;

fn job(name: &str, image: &str, annotations: &Value) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "namespace": "shop", "annotations": annotations},
        "spec": {"activeDeadlineSeconds": 60,
            "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": image}]}}}})
}

fn hook(name: &str, when: &str, image: &str) -> Value {
    job(name, image, &json!({"argocd.argoproj.io/hook": when}))
}

/// Names of what was made or changed, in order.
fn written(cluster: &Cluster) -> Vec<String> {
    let requests = cluster.requests();
    let ours = requests
        .log()
        .filter(|it| matches!(it.verb.as_str(), "apply" | "create") && !it.name.starts_with("driftless-"));
    // What is created is named in the body.
    ours.map(|it| {
        if it.name.is_empty() {
            it.resource.clone()
        } else {
            it.name.clone()
        }
    })
    .filter(|name| name != "namespaces" && name != "events")
    .collect()
}

fn has(report: &Report, component: &str, reason: &str) -> bool {
    status(report, component).problems.iter().any(|it| it.reason == reason)
}

#[tokio::test(start_paused = true)]
async fn hooks_run_around_the_objects_and_once_per_version() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let all = |value: &str| {
        [
            namespace("shop"),
            config_map("a", value),
            hook("before", "PreSync", "a:1"),
            hook("after", "PostSync", "a:1"),
            hook("never", "Skip", "a:1"),
        ]
    };
    let report = running.converge(&view(&[("shop", &all("1"))])).await;
    assert_eq!(
        (status(&report, "shop").desired, status(&report, "shop").applied),
        (2, 2)
    );
    assert_eq!(written(&cluster), ["shop", "jobs", "a", "jobs"]);
    assert!(other.get(&hook("never", "", "")).await.is_none());
    let first = other.get(&hook("before", "", "")).await.unwrap();
    let labels = &first["metadata"]["labels"];
    assert_eq!(labels["driftless.dev/component"], "shop");
    assert!(labels.get("applyset.kubernetes.io/part-of").is_none(), "{labels}");

    // Neither drift nor a restart runs them again.
    other
        .patch(&config_map("a", ""), json!({"data": {"key": "other"}}))
        .await;
    running.until("repaired", |report| report.counters.repaired == 1).await;
    other.delete(&hook("before", "", "")).await;
    time_passes(Duration::from_secs(60)).await;
    running.stop().await;
    cluster.forget_requests();
    let running = Running::start(cluster.client());
    running.converge(&view(&[("shop", &all("1"))])).await;
    time_passes(Duration::from_secs(60)).await;
    assert_eq!(written(&cluster), [""; 0]);

    // A new version does, and what is left of the last run makes room.
    running.converge(&view(&[("shop", &all("2"))])).await;
    assert_eq!(written(&cluster), ["jobs", "a", "jobs"]);
    assert_eq!(cluster.requests().count("delete", "jobs"), 1);
    let second = other.get(&hook("before", "", "")).await.unwrap();
    assert_ne!(first["metadata"]["uid"], second["metadata"]["uid"]);
}

#[tokio::test(start_paused = true)]
async fn failed_presync_stops_its_component_alone_until_another_version() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let of = |image: &str| {
        let shop = [
            config_map("a", "1"),
            hook("migrate", "PreSync", image),
            hook("cry", "SyncFail", "a:1"),
            hook("after", "PostSync", "a:1"),
        ];
        view(&[
            ("shop", &shop),
            ("ground", &[namespace("shop"), config_map("free", "1")]),
        ])
    };
    running.handle.set_desired(of("a:broken"));
    let report = running
        .until("failed", |report| {
            report.components.len() == 2 && has(report, "shop", "HookFailed")
        })
        .await;
    let told = problem(&report, "shop").unwrap();
    assert_eq!(told.object.as_ref().unwrap().to_string(), "Job.batch shop/migrate");
    assert!(
        told.message.starts_with("PreSync hook failed: DeadlineExceeded"),
        "{told:?}"
    );
    time_passes(Duration::from_secs(3600)).await;
    assert!(other.get(&config_map("a", "")).await.is_none());
    assert!(other.get(&config_map("free", "")).await.is_some());
    assert!(other.get(&hook("cry", "", "")).await.is_some());
    assert!(other.get(&hook("after", "", "")).await.is_none());

    // Not after a restart either.
    running.stop().await;
    cluster.forget_requests();
    let running = Running::start(cluster.client());
    running.handle.set_desired(of("a:broken"));
    running
        .until("failed", |report| {
            report.components.len() == 2 && has(report, "shop", "HookFailed")
        })
        .await;
    time_passes(Duration::from_secs(60)).await;
    assert_eq!(written(&cluster), [""; 0]);
    running.converge(&of("a:2")).await;
    assert!(other.get(&config_map("a", "")).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn hooks_that_failed_run_anew_when_somebody_asks_for_another_look() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let asked: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut orders = Orders::default();
    let mut ask = || {
        orders = Order::Reconcile.apply(&orders, "ann", asked);
        running.handle.set_orders(Arc::new(orders.clone()));
    };
    // It ends when somebody sees to it.
    let containers = |image: &str| json!({"containers": [{"name": "a", "image": image}]});
    let migrate = json!({"apiVersion": "v1", "kind": "Pod", "spec": containers("a:broken"),
        "metadata": {"name": "migrate", "namespace": "shop", "annotations": {"argocd.argoproj.io/hook": "PreSync"}}});
    let setup = json!({"helm.sh/hook": "pre-install", "helm.sh/hook-weight": "1"});
    let setup = job("setup", "a:1", &setup);
    let shop = [config_map("a", "1"), migrate.clone(), setup.clone()];
    let shop = view(&[("shop", &shop), ("ground", &[namespace("shop")])]);
    running.handle.set_desired(shop.clone());
    let is = |report: &Report, reason: &str| report.components.len() == 2 && has(report, "shop", reason);
    for times in 0..2 {
        running.until("running", |report| is(report, "WaitingForHook")).await;
        assert!(other.get(&migrate).await.is_some(), "not made again ({times})");
        other.delete(&migrate).await;
        let report = running.until("failed", |report| is(report, "HookFailed")).await;
        let told = problem(&report, "shop").unwrap();
        assert!(told.message.contains("`driftless reconcile`"), "{told:?}");
        ask();
    }
    running.until("running", |report| is(report, "WaitingForHook")).await;
    other.patch(&migrate, json!({"spec": containers("a:1")})).await;
    running.until("converged", |report| is_converged(report, &shop)).await;
    // Nothing had been applied before, so this was an installation still.
    assert!(other.get(&setup).await.is_some());

    // What has worked does not run again.
    cluster.forget_requests();
    ask();
    time_passes(Duration::from_secs(60)).await;
    assert_eq!(written(&cluster), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn postsync_waits_until_everything_is_healthy() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let web = |image: &str| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": image}]}}}})
    };
    let of = |image: &str| {
        view(&[(
            "shop",
            &[namespace("shop"), web(image), hook("after", "PostSync", "a:1")],
        )])
    };
    running.handle.set_desired(of("a:broken"));
    time_passes(Duration::from_secs(60)).await;
    assert!(other.get(&web("")).await.is_some());
    assert!(other.get(&hook("after", "", "")).await.is_none());
    running.converge(&of("a:2")).await;
    running
        .until("over", |report| {
            status(report, "shop").health == driftless_model::status::Health::Current
        })
        .await;
    time_passes(Duration::from_secs(1)).await;
    assert!(other.get(&hook("after", "", "")).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn helm_installs_once_and_upgrades_from_then_on() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let all = |value: &str| {
        let helm = |when: &str, delete: &str| json!({"helm.sh/hook": when, "helm.sh/hook-delete-policy": delete});
        view(&[(
            "shop",
            &[
                namespace("shop"),
                config_map("a", value),
                job("install", "a:1", &helm("pre-install", "hook-succeeded")),
                job("upgrade", "a:1", &helm("pre-upgrade", "before-hook-creation")),
            ],
        )])
    };
    running.converge(&all("1")).await;
    time_passes(Duration::from_secs(5)).await;
    assert_eq!(written(&cluster), ["shop", "jobs", "a"]);
    let (install, upgrade) = (job("install", "", &json!({})), job("upgrade", "", &json!({})));
    assert!(other.get(&install).await.is_none());
    assert!(other.get(&upgrade).await.is_none());
    assert_eq!(cluster.requests().count("delete", "jobs"), 1);
    running.converge(&all("2")).await;
    assert!(other.get(&upgrade).await.is_some());
    assert!(other.get(&install).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn hook_of_another_tool_makes_room_and_what_is_no_hook_does_not() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    other.create(&hook("before", "PreSync", "a:old")).await;
    other.create(&job("mine", "a:old", &json!({}))).await;
    let running = Running::start(cluster.client());
    running
        .converge(&view(&[(
            "shop",
            &[config_map("a", "1"), hook("before", "PreSync", "a:1")],
        )]))
        .await;
    let live = other.get(&hook("before", "", "")).await.unwrap();
    assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], "a:1");
    let taken = view(&[("shop", &[config_map("a", "2"), hook("mine", "PreSync", "a:1")])]);
    running.handle.set_desired(taken);
    let report = running
        .until("told", |report| {
            problem(report, "shop").is_some_and(|it| it.message.contains("already exists"))
        })
        .await;
    assert_eq!(problem(&report, "shop").unwrap().reason, "ApplyFailed");
    assert_eq!(other.get(&config_map("a", "")).await.unwrap()["data"]["key"], "1");
}

#[tokio::test(start_paused = true)]
async fn hook_of_a_release_of_another_tool_stays_until_the_component_adopts() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    let theirs = json!({"argocd.argoproj.io/hook": "PreSync",
        "argocd.argoproj.io/tracking-id": "web:batch/Job:shop/before"});
    other.create(&job("before", "a:old", &theirs)).await;
    let before = other.get(&hook("before", "", "")).await.unwrap();
    let running = Running::start(cluster.client());
    let desired = view(&[("shop", &[config_map("a", "1"), hook("before", "PreSync", "a:1")])]);
    running.handle.set_desired(desired.clone());
    let report = running
        .until("told", |report| problem_with(report, "shop", "OwnedByOther").is_some())
        .await;
    let told = problem_with(&report, "shop", "OwnedByOther").unwrap();
    assert!(told.message.contains("Argo CD's application `web`"), "{}", told.message);
    time_passes(Duration::from_secs(600)).await;
    assert_eq!(other.get(&hook("before", "", "")).await.unwrap(), before);
    assert_eq!(cluster.requests().count("delete", "jobs"), 0);

    running
        .converge(&keeping(&desired, "shop", |spec| spec.adopt = true))
        .await;
    let live = other.get(&hook("before", "", "")).await.unwrap();
    assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], "a:1");
}

/// A Deployment that no API server takes when its Pods have other labels than it looks for.
fn deployment(pods: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": pods}}, "spec": {"containers": [{"name": "a", "image": "a:1"}]}}}})
}

#[tokio::test(start_paused = true)]
async fn refused_object_starts_the_hooks_of_a_failure_once_per_version() {
    let (cluster, other) = simulated();
    let of = |value: &str, pods: &str| {
        let cry = job(
            "cry",
            "a:1",
            &json!({"argocd.argoproj.io/hook": "SyncFail",
            "argocd.argoproj.io/hook-delete-policy": "HookSucceeded"}),
        );
        let after = hook("after", "PostSync", "a:1");
        view(&[(
            "shop",
            &[namespace("shop"), config_map("a", value), deployment(pods), cry, after],
        )])
    };
    let running = Running::start(cluster.client());
    running.handle.set_desired(of("1", "other"));
    let report = running
        .until("refused", |report| {
            report.components.len() == 1 && has(report, "shop", "ApplyFailed")
        })
        .await;
    assert!(
        problem_with(&report, "shop", "ApplyFailed")
            .unwrap()
            .message
            .contains("selector")
    );
    assert_eq!(cluster.requests().count("create", "jobs"), 0);
    time_passes(Duration::from_secs(60)).await;
    assert_eq!(cluster.requests().count("create", "jobs"), 1);
    // Its delete policy is obeyed, and nothing waits for it.
    assert_eq!(cluster.requests().count("delete", "jobs"), 1);
    assert!(other.get(&config_map("a", "")).await.is_some());

    // Neither further refusals nor a restart run it again.
    time_passes(Duration::from_secs(3600)).await;
    running.stop().await;
    let running = Running::start(cluster.client());
    running.handle.set_desired(of("1", "other"));
    time_passes(Duration::from_secs(3600)).await;
    assert_eq!(cluster.requests().count("create", "jobs"), 1);

    // A version that is refused too does, and one that is taken does not.
    running.handle.set_desired(of("2", "other"));
    time_passes(Duration::from_secs(600)).await;
    assert_eq!(cluster.requests().count("create", "jobs"), 2);
    running.converge(&of("3", "web")).await;
    time_passes(Duration::from_secs(600)).await;
    assert!(other.get(&hook("after", "", "")).await.is_some());
    assert_eq!(cluster.requests().count("create", "jobs"), 3);
}

#[tokio::test(start_paused = true)]
async fn object_that_was_refused_before_is_tried_anew_with_each_version() {
    let (cluster, other) = simulated();
    let ground = [namespace("shop")];
    // A Pod that nobody sees to never ends.
    let before = |image: &str| {
        json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a", "image": image}]},
            "metadata": {"name": "before", "namespace": "shop", "annotations": {"argocd.argoproj.io/hook": "PreSync"}}})
    };
    let of = |before: Option<Value>| {
        let mut shop = vec![deployment("other"), hook("cry", "SyncFail", "a:1")];
        shop.extend(before);
        view(&[("shop", &shop), ("ground", &ground)])
    };
    let running = Running::start(cluster.client());
    let alone = view(&[("shop", &[deployment("other")]), ("ground", &ground)]);
    running.handle.set_desired(alone);
    // By now it is tried every five minutes only.
    time_passes(Duration::from_secs(3600)).await;
    cluster.forget_requests();
    running.handle.set_desired(of(None));
    let tries = || cluster.requests().count("apply", "deployments");
    // Five refusals, as many as of anything that is new.
    time_passes(Duration::from_secs(20)).await;
    assert!(other.get(&hook("cry", "", "")).await.is_some());
    assert!((5..8).contains(&tries()), "{}", tries());

    // What the version's first hooks hold up is not refused yet.
    other.delete(&hook("cry", "", "")).await;
    cluster.forget_requests();
    running.handle.set_desired(of(Some(before("a:broken"))));
    time_passes(Duration::from_secs(20)).await;
    assert!(other.get(&before("")).await.is_some());
    assert_eq!(tries(), 0);
    assert!(other.get(&hook("cry", "", "")).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn hook_that_was_refused_before_is_tried_anew_with_each_version() {
    let (cluster, other) = simulated();
    let mut hook = job("migrate", "a:1", &json!({"argocd.argoproj.io/hook": "PreSync"}));
    hook["metadata"]["namespace"] = json!("later");
    let of = |value: &str| {
        view(&[
            ("shop", &[config_map("a", value), hook.clone()]),
            ("ground", &[namespace("shop")]),
        ])
    };
    let running = Running::start(cluster.client());
    running.handle.set_desired(of("1"));
    time_passes(Duration::from_secs(3600)).await;
    other.create(&namespace("later")).await;
    running.handle.set_desired(of("2"));
    time_passes(Duration::from_secs(2)).await;
    assert!(other.get(&hook).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn refused_hook_is_a_failure_and_a_conflict_is_none() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    other.apply(&config_map("a", "theirs"), "somebody").await;
    let running = Running::start(cluster.client());
    let cry = hook("cry", "SyncFail", "a:1");
    running
        .handle
        .set_desired(view(&[("shop", &[config_map("a", "1"), cry.clone()])]));
    time_passes(Duration::from_secs(3600)).await;
    let report = running.handle.report().borrow().clone();
    assert!(has(&report, "shop", "FieldConflict"));
    assert!(other.get(&cry).await.is_none());

    let mut refused = deployment("other");
    refused["metadata"]["annotations"] = json!({"argocd.argoproj.io/hook": "PreSync"});
    running
        .handle
        .set_desired(view(&[("shop", &[config_map("a", "1"), cry.clone(), refused])]));
    time_passes(Duration::from_secs(60)).await;
    assert!(other.get(&cry).await.is_some());
    assert!(other.get(&deployment("")).await.is_none());
}
