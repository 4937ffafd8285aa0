//! What is changed by others is put back, and only that, and once.

use std::time::Duration;

use driftless_model::{bundle::upkeep::Drift, status::Health, view::View};
use driftless_reconcile::Report;
use serde_json::{Value, json};

use crate::rig::*;

#[tokio::test(start_paused = true)]
async fn changed_object_is_repaired_by_one_patch() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let view = view(&[("shop", &[namespace("shop"), config_map("a", "1"), config_map("b", "1")])]);
    running.converge(&view).await;
    time_passes(Duration::from_secs(30)).await;
    cluster.forget_requests();
    other
        .patch(&config_map("a", ""), json!({"data": {"key": "theirs"}}))
        .await;
    let report = running
        .until("repaired", |report| {
            report.counters.repaired == 1 && is_converged(report, &view)
        })
        .await;
    assert_eq!(other.get(&config_map("a", "")).await.unwrap()["data"]["key"], "1");
    assert_eq!(
        cluster.requests().count("apply", "configmaps"),
        1,
        "{:?}",
        cluster.requests()
    );
    let repair = report.last_repair.as_ref().unwrap();
    assert_eq!(repair.id.to_string(), "ConfigMap shop/a");
    assert_eq!(
        repair.change.as_ref().unwrap().to_string(),
        "`somebody` changed .data.key"
    );
}

#[tokio::test(start_paused = true)]
async fn deleted_object_is_made_again() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let view = view(&[("shop", &[namespace("shop"), config_map("a", "1")])]);
    running.converge(&view).await;
    other.delete(&config_map("a", "")).await;
    running
        .until("repaired", |report| {
            report.counters.repaired == 1 && is_converged(report, &view)
        })
        .await;
    assert_eq!(other.get(&config_map("a", "")).await.unwrap()["data"]["key"], "1");
}

#[tokio::test(start_paused = true)]
async fn repairs_are_counted_by_component_and_the_last_of_each_is_told() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let shop = [namespace("shop"), config_map("a", "1"), config_map("b", "1")];
    let view = view(&[("cart", &[config_map("c", "1")]), ("shop", &shop)]);
    let report = running.converge(&view).await;
    assert_eq!(status(&report, "shop").repairs, None);
    for name in ["a", "b"] {
        let theirs = json!({"data": {"key": "theirs"}});
        other.patch(&config_map(name, ""), theirs).await;
        time_passes(Duration::from_secs(5)).await;
    }
    other.delete(&config_map("c", "")).await;
    let report = running
        .until("repaired", |report| {
            report.counters.repaired == 3 && is_converged(report, &view)
        })
        .await;
    let last = |component: &str| {
        let repairs = status(&report, component).repairs.as_deref().unwrap();
        assert_eq!(repairs.last.to_string(), "2026-01-01T00:00:00Z");
        (repairs.count, repairs.object.to_string(), repairs.manager.clone())
    };
    assert_eq!(
        last("shop"),
        (2, "ConfigMap shop/b".to_owned(), Some("somebody".to_owned()))
    );
    assert_eq!(last("cart"), (1, "ConfigMap shop/c".to_owned(), None));
}

#[tokio::test(start_paused = true)]
async fn many_repairs_are_told_a_few_times() {
    const OBJECTS: u64 = 200;
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let name = |number| format!("c{number:03}");
    let mut all = vec![namespace("shop")];
    all.extend((0..OBJECTS).map(|number| config_map(&name(number), "1")));
    running.converge(&view(&[("shop", &all)])).await;
    time_passes(Duration::from_secs(30)).await;
    cluster.faults().set_latency(Duration::from_millis(20));
    let mut reports = running.handle.report();
    reports.mark_unchanged();
    let counted = tokio::spawn(async move {
        let mut told = 0;
        while reports.borrow_and_update().counters.repaired < OBJECTS {
            reports.changed().await.expect("the reconciler runs");
            told += 1;
        }
        told
    });
    let mut changes = tokio::task::JoinSet::new();
    for number in 0..OBJECTS {
        let (other, map) = (other.clone(), config_map(&name(number), ""));
        changes.spawn(async move { other.patch(&map, json!({"data": {"key": "theirs"}})).await });
    }
    changes.join_all().await;
    let told: u64 = counted.await.expect("it counts");
    assert!(told <= OBJECTS / 10, "{told} reports of {OBJECTS} repairs");
    let report = running.handle.report().borrow().clone();
    assert_eq!(status(&report, "shop").repairs.as_ref().unwrap().count, OBJECTS);
}

#[tokio::test(start_paused = true)]
async fn object_that_lost_its_labels_gets_them_back() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let view = view(&[("shop", &[namespace("shop"), config_map("a", "1")])]);
    running.converge(&view).await;
    for (round, label) in [(1, "driftless.dev/component"), (2, "applyset.kubernetes.io/part-of")] {
        other
            .patch(&config_map("a", ""), json!({"metadata": {"labels": {label: null}}}))
            .await;
        running
            .until("repaired", |report| {
                report.counters.repaired == round && is_converged(report, &view)
            })
            .await;
        assert!(other.get(&config_map("a", "")).await.unwrap()["metadata"]["labels"][label].is_string());
    }
}

#[tokio::test(start_paused = true)]
async fn what_others_add_is_left_alone() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    running
        .converge(&view(&[("shop", &[namespace("shop"), config_map("a", "1")])]))
        .await;
    time_passes(Duration::from_secs(30)).await;
    cluster.forget_requests();
    let change = json!({"data": {"other": "theirs"}, "metadata": {"annotations": {"theirs": "too"}}});
    other.patch(&config_map("a", ""), change).await;
    time_passes(Duration::from_secs(60)).await;
    assert_eq!(
        cluster.requests().count("apply", "configmaps"),
        0,
        "{:?}",
        cluster.requests()
    );
    assert_eq!(
        other.get(&config_map("a", "")).await.unwrap()["data"]["other"],
        "theirs"
    );
}

#[tokio::test(start_paused = true)]
async fn fight_is_held_off_and_reported() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let view = view(&[("shop", &[namespace("shop"), config_map("a", "1")])]);
    running.converge(&view).await;
    for round in 1..=6 {
        other
            .patch(
                &config_map("a", ""),
                json!({"data": {"key": format!("theirs {round}")}}),
            )
            .await;
        running
            .until("repaired", |report| {
                report.counters.repaired == round && is_converged(report, &view)
            })
            .await;
    }
    other
        .patch(&config_map("a", ""), json!({"data": {"key": "theirs again"}}))
        .await;
    let report = running
        .until("held off", |report| problem(report, "shop").is_some())
        .await;
    let fight = problem(&report, "shop").unwrap();
    assert_eq!(fight.reason, "DriftRepeats");
    assert!(
        fight
            .message
            .starts_with("`somebody` changed .data.key, again and again: it was repaired 6 times"),
        "{}",
        fight.message
    );
    running
        .until("repaired", |report| {
            report.counters.repaired == 7 && is_converged(report, &view)
        })
        .await;
}

/// The drift that is told of a component and left as it is.
fn told<'a>(report: &'a Report, component: &str) -> Option<&'a str> {
    let problems = &report.components.get(&component.parse().expect("a name"))?.problems;
    let drifted = problems
        .iter()
        .find(|problem| problem.reason == "Drifted" && !problem.blocks)?;
    Some(&drifted.message)
}

fn shop(value: &str, drift: Drift) -> std::sync::Arc<View> {
    let view = view(&[(
        "shop",
        &[namespace("shop"), config_map("a", value), config_map("b", "1")],
    )]);
    kept(&view, |spec| spec.drift = drift)
}

#[tokio::test(start_paused = true)]
async fn drift_that_is_only_reported_stays_and_holds_nothing_up() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let view = shop("1", Drift::Report);
    running.converge(&view).await;
    let theirs = json!({"data": {"key": "theirs"}});
    other.patch(&config_map("a", ""), theirs).await;
    other.delete(&config_map("b", "")).await;
    let report = running
        .until("told", |report| status(report, "shop").problems.len() == 2)
        .await;
    assert!(
        told(&report, "shop")
            .unwrap()
            .starts_with("`somebody` changed .data.key: left as it is"),
        "{report:#?}"
    );
    assert!(is_converged(&report, &view));
    assert_eq!(status(&report, "shop").health, Health::NotFound);
    time_passes(Duration::from_secs(600)).await;
    assert_eq!(other.get(&config_map("a", "")).await.unwrap()["data"]["key"], "theirs");
    assert_eq!(other.get(&config_map("b", "")).await, None);

    // A new version is applied all the same, also where the field was taken from us.
    let next = shop("2", Drift::Report);
    let report = running.converge(&next).await;
    assert_eq!(
        (report.counters.repaired, report.counters.failed),
        (0, 0),
        "{report:#?}"
    );
    assert_eq!(other.get(&config_map("a", "")).await.unwrap()["data"]["key"], "2");
    assert_eq!(other.get(&config_map("b", "")).await, None);

    let repairing = shop("2", Drift::Repair);
    running.converge(&repairing).await;
    let report = running.until("quiet", |report| told(report, "shop").is_none()).await;
    assert_eq!(report.counters.repaired, 1);
    assert!(other.get(&config_map("b", "")).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn drift_that_was_reported_is_reported_after_a_restart() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let view = shop("1", Drift::Report);
    running.converge(&view).await;
    time_passes(Duration::from_secs(30)).await;
    running.stop().await;
    other
        .patch(&config_map("a", ""), json!({"data": {"key": "theirs"}}))
        .await;
    let running = Running::start(cluster.client());
    running.handle.set_desired(view.clone());
    let report = running.until("told", |report| told(report, "shop").is_some()).await;
    assert!(told(&report, "shop").unwrap().contains("`somebody` changed .data.key"));
}

#[tokio::test(start_paused = true)]
async fn drift_that_is_ignored_is_not_even_told() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let view = shop("1", Drift::Ignore);
    running.converge(&view).await;
    other
        .patch(&config_map("a", ""), json!({"data": {"key": "theirs"}}))
        .await;
    other.delete(&config_map("b", "")).await;
    time_passes(Duration::from_secs(600)).await;
    let report = running.handle.report().borrow().clone();
    assert_eq!(status(&report, "shop").problems, []);
    assert_eq!(status(&report, "shop").health, Health::Current);
    assert_eq!(report.counters.repaired, 0);
    running.converge(&shop("2", Drift::Ignore)).await;
    assert_eq!(other.get(&config_map("a", "")).await.unwrap()["data"]["key"], "2");
}

#[tokio::test(start_paused = true)]
async fn new_version_takes_back_what_was_taken_meanwhile_and_nothing_else() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    running.converge(&shop("1", Drift::Report)).await;
    other
        .patch(
            &config_map("a", ""),
            json!({"data": {"key": "theirs", "new": "theirs"}}),
        )
        .await;
    running.until("told", |report| told(report, "shop").is_some()).await;
    let mut object: Value = config_map("a", "2");
    object["data"]["new"] = json!("ours");
    let next = view(&[("shop", &[namespace("shop"), object, config_map("b", "1")])]);
    running
        .handle
        .set_desired(kept(&next, |spec| spec.drift = Drift::Report));
    let report = running
        .until("refused", |report| problem(report, "shop").is_some())
        .await;
    let refused = problem(&report, "shop").unwrap();
    assert_eq!(refused.reason, "FieldConflict");
    assert!(
        refused.message.contains("`somebody` owns .data.key, .data.new"),
        "{}",
        refused.message
    );
}
