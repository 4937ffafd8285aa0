//! What people ask for by hand: pauses hold and end by themselves, and everything is looked at anew when asked for.

use std::{cell::Cell, sync::Arc, time::Duration};

use driftless_model::orders::{Order, Orders};
use driftless_sim::{Failure, Matching};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tokio::time::Instant;

use crate::rig::*;

thread_local! {
    /// When the clock was first looked at.
    static START: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// A clock that goes with virtual time.
fn clock() -> Timestamp {
    let start = START.get().unwrap_or_else(|| {
        let now = Instant::now();
        START.set(Some(now));
        now
    });
    let passed = SignedDuration::try_from(start.elapsed()).expect("a short time");
    Timestamp::UNIX_EPOCH + passed
}

/// Orders that pause a component, or everything.
fn paused(component: Option<&str>, hours: i64) -> Orders {
    let order = Order::Pause {
        component: component.map(|name| name.parse().expect("a name")),
        until: clock() + SignedDuration::from_hours(hours),
        reason: "a migration".to_owned(),
    };
    order.apply(&Orders::default(), "ann", clock())
}

#[tokio::test(start_paused = true)]
async fn paused_component_is_neither_repaired_nor_changed_nor_pruned_until_the_pause_ends_by_itself() {
    let (cluster, other) = simulated();
    let running = Running::start_at(cluster.client(), clock);
    let before = view(&[
        (
            "shop",
            &[namespace("shop"), config_map("a", "1"), config_map("old", "1")],
        ),
        ("other", &[config_map("b", "1")]),
    ]);
    running.converge(&before).await;
    time_passes(Duration::from_secs(30)).await;
    let started = clock();
    running.handle.set_orders(Arc::new(paused(Some("shop"), 2)));
    let report = running
        .until("paused", |report| problem_with(report, "shop", "Paused").is_some())
        .await;
    let told = problem_with(&report, "shop", "Paused").unwrap();
    assert!(!told.blocks, "nothing waits: {told:?}");
    for text in ["ann", "a migration", "1970-01-01T02:0", "driftless resume"] {
        assert!(told.message.contains(text), "{text}: {}", told.message);
    }
    cluster.forget_requests();
    // Somebody changes an object of each, and a push adds one and drops one.
    for name in ["a", "b"] {
        other
            .patch(&config_map(name, ""), json!({"data": {"key": "theirs"}}))
            .await;
    }
    let after = view(&[
        (
            "shop",
            &[namespace("shop"), config_map("a", "1"), config_map("new", "1")],
        ),
        ("other", &[config_map("b", "1")]),
    ]);
    running.handle.set_desired(after.clone());
    let report = running
        .until("the other one repaired", |report| {
            report.counters.repaired == 1 && problem(report, "shop").is_some_and(|problem| problem.reason == "Paused")
        })
        .await;
    assert!(problem_with(&report, "shop", "Paused").unwrap().blocks);
    time_passes(Duration::from_secs(7100)).await;
    let value = async |name: &str| {
        let object = other.get(&config_map(name, "")).await;
        object.map(|object| object["data"]["key"].as_str().unwrap().to_owned())
    };
    assert_eq!(value("a").await.as_deref(), Some("theirs"));
    assert_eq!(value("b").await.as_deref(), Some("1"));
    assert_eq!((value("old").await.is_some(), value("new").await), (true, None));
    let requests = cluster.requests();
    let written: Vec<_> = requests
        .log()
        .filter(|request| matches!(request.verb.as_str(), "apply" | "delete" | "create") && request.name != "b")
        .filter(|request| request.resource != "events")
        .collect();
    assert!(
        written.iter().all(|request| request.name == "driftless-other"),
        "{written:?}"
    );
    // Nobody says anything more.
    running
        .until("converged", |report| {
            is_converged(report, &after) && problem_with(report, "shop", "Paused").is_none()
        })
        .await;
    assert!(clock().duration_since(started) >= SignedDuration::from_hours(2));
    assert_eq!(value("a").await.as_deref(), Some("1"));
    assert_eq!((value("old").await, value("new").await.as_deref()), (None, Some("1")));
}

#[tokio::test(start_paused = true)]
async fn pause_ends_by_the_clock_of_whoever_ordered_it_and_not_by_that_of_this_machine() {
    const HOURS: u32 = 2;
    for ahead in [3, -3] {
        let (cluster, _) = simulated();
        let running = Running::start_at(cluster.client(), clock);
        let view = view(&[("shop", &[namespace("shop"), config_map("a", "1")])]);
        let theirs = clock() - SignedDuration::from_hours(ahead);
        let order = Order::Pause {
            component: None,
            until: theirs + SignedDuration::from_hours(HOURS.into()),
            reason: "a migration".to_owned(),
        };
        let orders = order.apply(&Orders::default(), "ann", theirs);
        running.handle.set_time(theirs);
        running.handle.set_orders(Arc::new(orders));
        running.handle.set_desired(view.clone());
        let begun = Instant::now();
        let (end, minute) = (Duration::from_secs(3600) * HOURS, Duration::from_secs(60));
        time_passes(end - minute).await;
        let requests = cluster.requests();
        assert_eq!(requests.writes(), 0, "{ahead} hours ahead: {requests:?}");
        running.until("converged", |report| is_converged(report, &view)).await;
        let took = begun.elapsed();
        assert!((end..end + minute).contains(&took), "{ahead} hours ahead: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn cluster_that_is_paused_from_the_start_writes_nothing_and_goes_on_when_resumed() {
    let (cluster, _) = simulated();
    let running = Running::start_at(cluster.client(), clock);
    let view = view(&[("shop", &[namespace("shop"), config_map("a", "1")])]);
    running.handle.set_orders(Arc::new(paused(None, 2)));
    running.handle.set_desired(view.clone());
    running
        .until("paused", |report| {
            problem(report, "shop").is_some_and(|problem| problem.message.contains("2 objects wait"))
        })
        .await;
    time_passes(Duration::from_secs(60)).await;
    assert_eq!(cluster.requests().writes(), 0, "{:?}", cluster.requests());
    running.handle.set_orders(Arc::default());
    running.until("converged", |report| is_converged(report, &view)).await;
    assert!(clock() < Timestamp::UNIX_EPOCH + SignedDuration::from_mins(5));
}

#[tokio::test(start_paused = true)]
async fn what_a_removed_component_left_stays_while_it_is_paused_even_after_a_restart() {
    let (cluster, other) = simulated();
    let running = Running::start_at(cluster.client(), clock);
    let before = view(&[
        ("shop", &[config_map("a", "1"), config_map("b", "1")]),
        ("other", &[namespace("shop")]),
    ]);
    running.converge(&before).await;
    time_passes(Duration::from_secs(30)).await;
    running.stop().await;
    let running = Running::start_at(cluster.client(), clock);
    let after = view(&[("other", &[namespace("shop")])]);
    running.handle.set_orders(Arc::new(paused(Some("shop"), 1)));
    running.handle.set_desired(after.clone());
    running
        .until("paused", |report| {
            problem(report, "shop").is_some_and(|problem| problem.message.contains("2 objects wait"))
        })
        .await;
    time_passes(Duration::from_secs(3500)).await;
    assert!(other.get(&config_map("a", "")).await.is_some());
    running.until("pruned", |report| is_converged(report, &after)).await;
    assert!(other.get(&config_map("a", "")).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn reconcile_tries_at_once_what_failed_and_lists_every_kind_anew() {
    let (cluster, _) = simulated();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop"}});
    let view = view(&[("shop", &[namespace("shop"), config_map("a", "1"), secret])]);
    let secrets = || Matching::all().verb("apply").resource("secrets");
    cluster.faults().fail_share(1.0, secrets(), Failure::Internal);
    let running = Running::start_at(cluster.client(), clock);
    running.handle.set_desired(view.clone());
    // By then the next try is minutes away.
    running.until("failed often", |report| report.counters.failed > 7).await;
    cluster.faults().clear();
    cluster.forget_requests();
    let asked = clock();
    running
        .handle
        .set_orders(Arc::new(Order::Reconcile.apply(&Orders::default(), "ann", asked)));
    running.until("converged", |report| is_converged(report, &view)).await;
    assert!(clock().duration_since(asked) < SignedDuration::from_secs(5));
    time_passes(Duration::from_secs(5)).await;
    for kind in ["namespaces", "configmaps", "secrets"] {
        assert_eq!(
            cluster.requests().count("list", kind),
            1,
            "{kind}: {:?}",
            cluster.requests()
        );
    }
    let requests = cluster.requests();
    let written = requests
        .log()
        .filter(|request| request.is_write() && request.name == "a");
    assert_eq!(written.count(), 0, "{requests:?}");
}
