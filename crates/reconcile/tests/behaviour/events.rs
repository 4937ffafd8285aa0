//! Kubernetes Events say what was changed, seldom enough for everybody, and in a quiet cluster nothing.

use std::time::Duration;

use anyhow::Result;
use driftless_sim::{Failure, Matching};
use driftless_tests::{ControlPlane, Options};
use kube::{Api, Client, api::ListParams};
use serde_json::{Value, json};

use crate::{real, rig::*};

type Event = k8s_openapi::api::events::v1::Event;

/// What was told: reason, object and note.
async fn told(client: &Client) -> Vec<(String, String, String)> {
    let events: Api<Event> = Api::all(client.clone());
    let list = events.list(&ListParams::default()).await.expect("the cluster answers");
    let mut told: Vec<_> = list
        .into_iter()
        .filter(|event| event.reporting_controller.as_deref() == Some("driftless.dev/agent"))
        .map(|event| {
            let name = event.regarding.and_then(|object| object.name);
            (
                event.reason.unwrap_or_default(),
                name.unwrap_or_default(),
                event.note.unwrap_or_default(),
            )
        })
        .collect();
    told.sort();
    told
}

fn has(told: &[(String, String, String)], reason: &str, name: &str, note: &str) -> bool {
    told.iter()
        .any(|(its, object, text)| its == reason && object == name && text.contains(note))
}

async fn what_is_changed_is_told(client: Client) {
    let other = Other(client.clone());
    let running = Running::start(client.clone());
    let two = [namespace("shop"), config_map("a", "1"), config_map("b", "1")];
    running.converge(&view(&[("shop", &two)])).await;
    other
        .patch(&config_map("a", ""), json!({"data": {"key": "theirs"}}))
        .await;
    running.until("repaired", |report| report.counters.repaired == 1).await;
    running.converge(&view(&[("shop", &two[..2])])).await;
    for _ in 0..100 {
        if told(&client).await.len() >= 3 {
            break;
        }
        time_passes(Duration::from_millis(100)).await;
    }
    let told = told(&client).await;
    assert_eq!(told.len(), 3, "{told:?}");
    assert!(
        has(&told, "Applied", "driftless-shop", "3 of 3 objects changed"),
        "{told:?}"
    );
    assert!(
        has(
            &told,
            "DriftRepaired",
            "a",
            "`somebody` changed .data.key; it was put back"
        ),
        "{told:?}"
    );
    assert!(has(&told, "Pruned", "b", "it left the desired state"), "{told:?}");
    assert_eq!(running.handle.report().borrow().events_lost, 0);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn changes_are_told() {
    what_is_changed_is_told(simulated().0.client()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_api_server_takes_what_is_told() -> Result<()> {
    let Some(plane) = ControlPlane::for_test("events", Options::default()).await? else {
        return Ok(());
    };
    what_is_changed_is_told(real::client(&plane)?).await;
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn failure_is_told_once_however_often_it_is_tried() {
    let (cluster, _) = simulated();
    cluster.faults().fail_share(
        1.0,
        Matching::all().verb("apply").resource("secrets"),
        Failure::Internal,
    );
    let running = Running::start(cluster.client());
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a", "namespace": "shop"}});
    running
        .handle
        .set_desired(view(&[("shop", &[namespace("shop"), secret])]));
    time_passes(Duration::from_secs(500)).await;
    let told = told(&cluster.client()).await;
    let failures = told.iter().filter(|(reason, ..)| reason == "ApplyFailed");
    assert_eq!(failures.count(), 1, "{told:?}");
    assert!(has(&told, "ApplyFailed", "a", "HTTP 500"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn flood_is_bounded_and_holds_nothing_up() {
    let (cluster, other) = simulated();
    let objects: Vec<Value> = (0..200)
        .map(|number| config_map(&format!("n{number}"), "1"))
        .chain([namespace("shop")])
        .collect();
    let running = Running::start(cluster.client());
    running.converge(&view(&[("shop", &objects)])).await;
    assert!(told(&cluster.client()).await.len() <= 1);
    cluster.faults().fail_share(
        0.5,
        Matching::all().verb("create").resource("events"),
        Failure::Internal,
    );
    for number in 0..200 {
        let object = config_map(&format!("n{number}"), "");
        other.patch(&object, json!({"data": {"key": "theirs"}})).await;
    }
    let report = running
        .until("repaired", |report| report.counters.repaired == 200)
        .await;
    assert_eq!(report.counters.failed, 0);
    time_passes(Duration::from_secs(60)).await;
    let events = told(&cluster.client()).await.len();
    assert!((5..=40).contains(&events), "{events}");
    running.until("counted", |report| report.events_lost > 0).await;
    cluster.forget_requests();
    time_passes(Duration::from_secs(3000)).await;
    assert_eq!(cluster.requests().writes(), 0);
}
