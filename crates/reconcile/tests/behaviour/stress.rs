//! An API server under stress: one that refuses, hangs, forgets, breaks its watches, loses a kind, or has another time.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use driftless_sim::{Cluster, Cut, Failure, Matching, Options};
use http::Method;
use kube::Client;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::rig::*;

fn secret(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "shop"}})
}

fn config_maps(count: usize, value: &str) -> Vec<Value> {
    let maps = (0..count).map(|number| config_map(&format!("n{number}"), value));
    maps.chain([namespace("shop")]).collect()
}

fn widgets(count: usize) -> Vec<Value> {
    (0..count).map(|number| widget(&format!("w{number}"))).collect()
}

async fn uid(other: &Other, object: &Value) -> Option<Value> {
    Some(other.get(object).await?["metadata"]["uid"].clone())
}

/// Counts applies under way, and notes when each was sent.
#[derive(Clone, Default)]
struct Gauge {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    sent: Arc<Mutex<Vec<Instant>>>,
}

impl Gauge {
    fn on(&self, cluster: &Cluster) -> Client {
        let (inner, gauge) = (cluster.client(), self.clone());
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let (inner, gauge) = (inner.clone(), gauge.clone());
            async move {
                let counted = request.method() == Method::PATCH;
                if counted {
                    let now = gauge.now.fetch_add(1, Ordering::SeqCst) + 1;
                    gauge.most.fetch_max(now, Ordering::SeqCst);
                    gauge.sent.lock().expect("nobody panics with it").push(Instant::now());
                }
                let answer = inner.send(request).await;
                if counted {
                    gauge.now.fetch_sub(1, Ordering::SeqCst);
                }
                answer
            }
        });
        Client::new(service, "default")
    }

    /// The most at once since the last call.
    fn most(&self) -> usize {
        self.most.swap(0, Ordering::SeqCst)
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_holds_for_lists_watches_and_the_look_at_what_exists() {
    for verb in ["list", "watch", "get"] {
        let (cluster, _) = simulated();
        let running = Running::start(cluster.client());
        running.converge(&view(&[("shop", &[namespace("shop")])])).await;
        cluster.forget_requests();
        let matching = Matching::all().verb(verb).resource("secrets");
        cluster.faults().fail_next(1, matching, Failure::TooManyRequests(20));
        let view = view(&[("shop", &[namespace("shop"), secret("s")])]);
        running.handle.set_desired(view.clone());
        time_passes(Duration::from_secs(19)).await;
        assert_eq!(cluster.requests().count(verb, "secrets"), 1, "{verb}");
        time_passes(Duration::from_secs(3)).await;
        assert_eq!(cluster.requests().count(verb, "secrets"), 2, "{verb}");
        running.converge(&view).await;
    }
}

#[tokio::test(start_paused = true)]
async fn absurd_retry_after_is_not_believed() {
    let (cluster, _) = simulated();
    let running = Running::start(cluster.client());
    let matching = Matching::all().verb("apply").resource("configmaps");
    cluster
        .faults()
        .fail_next(1, matching, Failure::TooManyRequests(u32::MAX));
    let view = view(&[("shop", &[namespace("shop"), config_map("a", "1")])]);
    running.handle.set_desired(view.clone());
    time_passes(Duration::from_secs(11 * 60)).await;
    running.until("converged", |report| is_converged(report, &view)).await;
}

#[tokio::test(start_paused = true)]
async fn fewer_requests_are_under_way_after_refusals_and_more_again_when_they_succeed() {
    let (cluster, _) = simulated();
    cluster.faults().set_latency(Duration::from_millis(100));
    let gauge = Gauge::default();
    let running = Running::start(gauge.on(&cluster));
    running.converge(&view(&[("shop", &config_maps(600, "1"))])).await;
    assert_eq!(gauge.most(), 32);

    let matching = Matching::all().verb("apply").resource("configmaps");
    cluster.faults().fail_next(32, matching, Failure::TooManyRequests(1));
    running.handle.set_desired(view(&[("shop", &config_maps(600, "2"))]));
    running.until("refused", |report| report.counters.failed >= 32).await;
    gauge.most();
    time_passes(Duration::from_millis(300)).await;
    let most = gauge.most();
    assert!(
        (8..24).contains(&most),
        "one burst of refusals is answered with {most} at once"
    );
    running.converge(&view(&[("shop", &config_maps(600, "2"))])).await;

    gauge.most();
    running.converge(&view(&[("shop", &config_maps(600, "3"))])).await;
    assert_eq!(gauge.most(), 32);
}

#[tokio::test(start_paused = true)]
async fn storm_of_errors_is_met_with_spread_tries_and_loses_no_object() {
    for failure in [
        Failure::Internal,
        Failure::Unavailable,
        Failure::TimedOut,
        Failure::Reset,
    ] {
        let (cluster, other) = simulated();
        let gauge = Gauge::default();
        let running = Running::start(gauge.on(&cluster));
        running.converge(&view(&[("shop", &config_maps(100, "1"))])).await;
        let matching = Matching::all().verb("apply").resource("configmaps");
        cluster.faults().fail_share(1.0, matching, failure);
        gauge.sent.lock().unwrap().clear();
        let view = view(&[("shop", &config_maps(100, "2"))]);
        running.handle.set_desired(view.clone());
        time_passes(Duration::from_secs(60)).await;
        let sent = gauge.sent.lock().unwrap().clone();
        assert!((200..1200).contains(&sent.len()), "{failure:?}: {} tries", sent.len());
        let moments: BTreeSet<_> = sent.iter().collect();
        assert!(moments.len() > 100, "{failure:?}: all at {} moments", moments.len());
        let report = running.handle.report().borrow().clone();
        let problem = problem(&report, "shop").expect("it is told");
        assert!(problem.message.contains("tried again in"), "{}", problem.message);

        cluster.faults().clear();
        time_passes(Duration::from_secs(60)).await;
        let report = running.until("converged", |report| is_converged(report, &view)).await;
        assert_eq!((report.counters.pruned, report.counters.repaired), (0, 0));
        assert_eq!(other.get(&config_map("n99", "")).await.unwrap()["data"]["key"], "2");
    }
}

#[tokio::test(start_paused = true)]
async fn watch_that_breaks_in_any_way_loses_no_change() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let view = view(&[("shop", &[namespace("shop"), config_map("a", "1"), config_map("b", "1")])]);
    running.converge(&view).await;
    for (round, cut) in [Cut::Clean, Cut::MidLine, Cut::Garbage, Cut::Error]
        .into_iter()
        .enumerate()
    {
        time_passes(Duration::from_secs(5)).await;
        cluster.faults().cut_watches(cut);
        other
            .patch(&config_map("a", ""), json!({"data": {"key": "theirs"}}))
            .await;
        other.delete(&config_map("b", "")).await;
        let repaired = 2 * (round as u64 + 1);
        running
            .until("repaired", |report| {
                report.counters.repaired == repaired && is_converged(report, &view)
            })
            .await;
        assert_eq!(
            other.get(&config_map("a", "")).await.unwrap()["data"]["key"],
            "1",
            "{cut:?}"
        );
        assert!(other.get(&config_map("b", "")).await.is_some(), "{cut:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn list_whose_continuation_is_forgotten_begins_anew() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let all = view(&[("shop", &config_maps(600, "1"))]);
    running.converge(&all).await;
    time_passes(Duration::from_secs(20)).await;
    running.stop().await;
    cluster.faults().set_latency(Duration::from_secs(1));
    let running = Running::start(cluster.client());
    running.handle.set_desired(all.clone());
    other
        .patch(&config_map("n599", ""), json!({"data": {"key": "theirs"}}))
        .await;
    for _ in 0..4 {
        time_passes(Duration::from_millis(900)).await;
        other.create(&namespace(&format!("n{}", other_name()))).await;
        cluster.faults().expire_history();
    }
    let report = running
        .until("repaired", |report| {
            report.counters.repaired == 1 && is_converged(report, &all)
        })
        .await;
    assert_eq!(report.counters.applied, 0);
    let gone = cluster.requests().log().filter(|request| request.code == 410).count();
    assert!(gone > 0, "no continuation was forgotten");
}

fn other_name() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn watch_that_cannot_be_kept_open_is_not_tried_again_and_again_at_once() {
    for failure in [Failure::Gone, Failure::Reset, Failure::Unavailable] {
        let (cluster, other) = simulated();
        let running = Running::start(cluster.client());
        let view = view(&[("shop", &[namespace("shop"), config_map("a", "1")])]);
        running.converge(&view).await;
        let matching = Matching::all().verb("watch").resource("configmaps");
        cluster.faults().fail_share(1.0, matching, failure);
        cluster.forget_requests();
        cluster.faults().drop_watches();
        time_passes(Duration::from_secs(60)).await;
        let requests = cluster.requests();
        let tries = requests.count("watch", "configmaps") + requests.count("list", "configmaps");
        assert!((5..40).contains(&tries), "{failure:?}: {tries} requests");
        assert!(requests.total() < 100, "{failure:?}: {} requests", requests.total());
        cluster.faults().clear();
        other.delete(&config_map("a", "")).await;
        running
            .until("repaired", |report| {
                report.counters.repaired == 1 && is_converged(report, &view) && report.problems.is_empty()
            })
            .await;
    }
}

#[tokio::test(start_paused = true)]
async fn definition_that_vanishes_and_returns_brings_its_objects_back_and_disturbs_nothing_else() {
    let (cluster, other) = simulated();
    other.create(&definition()).await;
    let running = Running::start(cluster.client());
    let all = view(&[
        ("shop", &[namespace("shop"), config_map("a", "1"), widget("w")]),
        ("other", &[config_map("b", "1")]),
    ]);
    running.converge(&all).await;
    let before = (
        uid(&other, &config_map("a", "")).await,
        uid(&other, &config_map("b", "")).await,
    );
    other.delete(&definition()).await;
    let report = running
        .until("told", |report| problem_with(report, "shop", "KindNotServed").is_some())
        .await;
    assert!(status(&report, "other").is_synced());
    time_passes(Duration::from_secs(300)).await;

    // What goes on meanwhile is seen to.
    other
        .patch(&config_map("a", ""), json!({"data": {"key": "theirs"}}))
        .await;
    running.until("repaired", |report| report.counters.repaired == 1).await;
    other.create(&definition()).await;
    let report = running.until("converged", |report| is_converged(report, &all)).await;
    assert!(other.get(&widget("w")).await.is_some());
    assert_eq!(report.counters.pruned, 0);
    let after = (
        uid(&other, &config_map("a", "")).await,
        uid(&other, &config_map("b", "")).await,
    );
    assert_eq!(before, after);
}

#[tokio::test(start_paused = true)]
async fn own_definition_that_is_deleted_is_made_again_with_its_objects() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let all = view(&[(
        "shop",
        &[namespace("shop"), definition(), widget("w"), config_map("a", "1")],
    )]);
    running.converge(&all).await;
    let before = uid(&other, &config_map("a", "")).await;
    other.delete(&definition()).await;
    let report = running
        .until("converged", |report| {
            report.counters.repaired >= 2 && is_converged(report, &all)
        })
        .await;
    assert!(other.get(&widget("w")).await.is_some());
    assert_eq!(report.counters.pruned, 0);
    assert_eq!(uid(&other, &config_map("a", "")).await, before);
}

#[tokio::test(start_paused = true)]
async fn aggregated_api_that_is_dead_at_the_start_stops_no_other_and_its_objects_come_when_it_is_back() {
    for failure in [
        Failure::Unavailable,
        Failure::Silence,
        Failure::Reset,
        Failure::Internal,
    ] {
        let (cluster, other) = simulated();
        other.create(&definition()).await;
        let dead = Matching::all().group("example.com");
        cluster.faults().fail_share(1.0, dead, failure);
        let running = Running::start(cluster.client());
        let mut objects = widgets(64);
        objects.extend([namespace("shop"), config_map("a", "1")]);
        let all = view(&[("shop", &objects), ("other", &[config_map("b", "1")])]);
        let begin = Instant::now();
        running.handle.set_desired(all.clone());
        running
            .until("the others applied", |report| {
                report.components.len() == 2
                    && status(report, "shop").applied >= 2
                    && status(report, "other").is_synced()
            })
            .await;
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{failure:?}: {:?}",
            begin.elapsed()
        );
        time_passes(Duration::from_secs(300)).await;
        let report = running.handle.report().borrow().clone();
        assert!(
            problem_with(&report, "shop", "KindNotServed").is_some(),
            "{failure:?}: {report:#?}"
        );
        assert_eq!(report.problems, [], "{failure:?}");

        cluster.faults().clear();
        running.until("converged", |report| is_converged(report, &all)).await;
        assert!(other.get(&widget("w63")).await.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn aggregated_api_that_dies_later_stops_no_other_and_nothing_of_it_is_lost() {
    for failure in [Failure::Unavailable, Failure::Silence, Failure::Reset] {
        let (cluster, other) = simulated();
        other.create(&definition()).await;
        let running = Running::start(cluster.client());
        let mut objects = widgets(64);
        objects.extend([namespace("shop"), config_map("a", "1")]);
        running.converge(&view(&[("shop", &objects)])).await;
        cluster
            .faults()
            .fail_share(1.0, Matching::all().group("example.com"), failure);
        cluster.faults().drop_watches();
        for object in &mut objects[..64] {
            object["spec"]["size"] = json!(2);
        }
        objects[65] = config_map("a", "2");
        let all = view(&[("shop", &objects)]);
        running.handle.set_desired(all.clone());
        running
            .until("the others applied", |report| status(report, "shop").applied == 2)
            .await;
        let begin = Instant::now();
        for round in 1..=8 {
            other.delete(&config_map("a", "")).await;
            running
                .until("repaired", |report| report.counters.repaired == round)
                .await;
            time_passes(Duration::from_secs(1)).await;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "{failure:?}: {:?}",
            begin.elapsed()
        );
        time_passes(Duration::from_secs(120)).await;
        let report = running.handle.report().borrow().clone();
        assert_eq!(
            problem(&report, "shop").expect("it is told").reason,
            "ApplyFailed",
            "{failure:?}"
        );

        cluster.faults().clear();
        time_passes(Duration::from_secs(300)).await;
        let report = running.until("converged", |report| is_converged(report, &all)).await;
        assert_eq!(report.counters.pruned, 0, "{failure:?}");
        assert_eq!(other.get(&widget("w0")).await.unwrap()["spec"]["size"], 2);
        assert_eq!(report.problems, [], "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn credentials_that_are_refused_are_one_problem_and_everything_goes_on_with_new_ones() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    running.converge(&view(&[("shop", &config_maps(20, "1"))])).await;
    cluster.faults().fail_share(1.0, Matching::all(), Failure::Unauthorized);
    cluster.faults().drop_watches();
    let all = view(&[("shop", &config_maps(20, "2"))]);
    running.handle.set_desired(all.clone());
    let report = running.until("told", |report| !report.problems.is_empty()).await;
    assert_eq!(report.problems[0].reason, "CredentialsRefused");
    time_passes(Duration::from_secs(600)).await;
    let report = running.handle.report().borrow().clone();
    assert_eq!(report.problems.len(), 1, "{:#?}", report.problems);
    assert_eq!(status(&report, "shop").problems, []);
    cluster.faults().clear();
    let back = Instant::now();
    let report = running
        .until("converged", |report| {
            is_converged(report, &all) && report.problems.is_empty()
        })
        .await;
    assert!(back.elapsed() < Duration::from_secs(10), "{:?}", back.elapsed());
    assert_eq!(report.counters.pruned, 0);
    assert_eq!(other.get(&config_map("n0", "")).await.unwrap()["data"]["key"], "2");
}

#[tokio::test(start_paused = true)]
async fn api_server_whose_clock_is_hours_off_is_kept_as_any_other() {
    let hours = |hours: i64| {
        let start: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let begun = Instant::now();
        let time = start + jiff::SignedDuration::from_hours(hours);
        let clock: driftless_sim::Clock = Arc::new(move || time.checked_add(begun.elapsed()).expect("a near time"));
        clock
    };
    for off in [-30, 30] {
        let cluster = Cluster::new(Options {
            clock: Some(hours(off)),
            log: 10_000,
            ..Options::default()
        });
        let other = Other(cluster.client());
        let running = Running::start(cluster.client());
        let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "example.com/web:1"}]}}}});
        let objects = [
            namespace("shop"),
            config_map("a", "1"),
            deployment,
            config_map("b", "1"),
        ];
        let report = running.converge(&view(&[("shop", &objects)])).await;
        let ours: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let problems = report.components.values().flat_map(|status| &status.problems);
        problems.for_each(|problem| assert_eq!(problem.since, ours, "{problem:?}"));
        other
            .patch(&config_map("a", ""), json!({"data": {"key": "theirs"}}))
            .await;
        running.until("repaired", |report| report.counters.repaired == 1).await;
        let report = running.converge(&view(&[("shop", &objects[..3])])).await;
        assert_eq!(report.counters.pruned, 1, "{off}");
        time_passes(Duration::from_secs(60)).await;
        cluster.forget_requests();
        time_passes(Duration::from_secs(300)).await;
        assert_eq!(cluster.requests().writes(), 0, "{off}");
    }
}
