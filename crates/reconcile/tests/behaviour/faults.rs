//! An API server that fails in part or as a whole.

use std::time::Duration;

use driftless_sim::{Failure, Matching};
use serde_json::json;

use crate::rig::*;

#[tokio::test(start_paused = true)]
async fn failing_kind_holds_up_no_other_and_is_retried() {
    let (cluster, _) = simulated();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "shop"}});
    let view = view(&[
        ("shop", &[namespace("shop"), config_map("a", "1"), secret]),
        ("other", &[config_map("b", "1")]),
    ]);
    cluster.faults().fail_share(
        1.0,
        Matching::all().verb("apply").resource("secrets"),
        Failure::Internal,
    );
    let running = Running::start(cluster.client());
    running.handle.set_desired(view.clone());
    let report = running
        .until("all but one applied", |report| {
            report.components.len() == 2
                && status(report, "shop").applied == 2
                && status(report, "other").applied == 1
                && problem(report, "shop").is_some()
        })
        .await;
    let problem = problem(&report, "shop").unwrap();
    assert_eq!(problem.reason, "ApplyFailed");
    assert!(
        problem.message.contains("HTTP 500") && problem.message.contains("tried again in"),
        "{}",
        problem.message
    );
    cluster.faults().clear();
    running.until("converged", |report| is_converged(report, &view)).await;
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let (cluster, _) = simulated();
    let running = Running::start(cluster.client());
    running.converge(&view(&[("shop", &[namespace("shop")])])).await;
    cluster.faults().fail_next(
        1,
        Matching::all().verb("apply").resource("configmaps"),
        Failure::TooManyRequests(20),
    );
    let view = view(&[("shop", &[namespace("shop"), config_map("a", "1")])]);
    running.handle.set_desired(view.clone());
    running.until("refused", |report| report.counters.failed == 1).await;
    time_passes(Duration::from_secs(19)).await;
    assert!(!is_converged(&running.handle.report().borrow(), &view));
    running.until("converged", |report| is_converged(report, &view)).await;
}

#[tokio::test(start_paused = true)]
async fn api_server_that_is_away_is_one_problem_and_everything_goes_on_after_it() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    running
        .converge(&view(&[("shop", &[namespace("shop"), config_map("a", "1")])]))
        .await;
    cluster.faults().cut_off();
    let objects: Vec<_> = (0..100)
        .map(|number| config_map(&format!("n{number}"), "1"))
        .chain([namespace("shop")])
        .collect();
    let view = view(&[("shop", &objects)]);
    running.handle.set_desired(view.clone());
    let report = running.until("told", |report| !report.problems.is_empty()).await;
    assert_eq!(report.problems[0].reason, "ApiServerUnreachable");
    assert_eq!(status(&report, "shop").problems, []);
    time_passes(Duration::from_secs(600)).await;
    cluster.forget_requests();
    cluster.faults().reconnect();
    let back = tokio::time::Instant::now();
    let report = running
        .until("converged", |report| {
            is_converged(report, &view) && report.problems.is_empty()
        })
        .await;
    assert!(back.elapsed() < Duration::from_secs(10), "{:?}", back.elapsed());
    assert_eq!(report.counters.pruned, 1);
    assert!(other.get(&config_map("n99", "")).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_happened_while_a_watch_was_broken_is_seen() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let view = view(&[("shop", &[namespace("shop"), config_map("a", "1"), config_map("b", "1")])]);
    running.converge(&view).await;
    for (round, forget) in [(1, false), (2, true)] {
        cluster
            .faults()
            .fail_share(1.0, Matching::all().verb("watch"), Failure::Unavailable);
        cluster.faults().drop_watches();
        other
            .patch(&config_map("a", ""), json!({"data": {"key": "theirs"}}))
            .await;
        other.delete(&config_map("b", "")).await;
        if forget {
            cluster.faults().expire_history();
        }
        time_passes(Duration::from_secs(5)).await;
        cluster.faults().clear();
        running
            .until("repaired", |report| {
                report.counters.repaired == 2 * round && is_converged(report, &view)
            })
            .await;
        assert_eq!(other.get(&config_map("a", "")).await.unwrap()["data"]["key"], "1");
        assert!(other.get(&config_map("b", "")).await.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn start_without_an_api_server_is_told_and_gets_over_it() {
    let (cluster, _) = simulated();
    cluster.faults().cut_off();
    let running = Running::start(cluster.client());
    let view = view(&[("shop", &[namespace("shop")])]);
    running.handle.set_desired(view.clone());
    running
        .until("told", |report| {
            report.problems.iter().any(|it| it.reason == "ApiServerUnreachable")
        })
        .await;
    cluster.faults().reconnect();
    running
        .until("converged", |report| {
            is_converged(report, &view) && report.problems.is_empty()
        })
        .await;
}
