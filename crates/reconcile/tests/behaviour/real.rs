//! The core of it on a real API server, with the times.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use driftless_model::view::View;
use driftless_tests::{ControlPlane, Options};
use kube::{
    Api, Client, Config,
    api::{DynamicObject, Patch, PatchParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::rig::*;

pub(crate) fn client(plane: &ControlPlane) -> Result<Client> {
    let mut config: Config = plane.config();
    // The reconciler decides itself when to try again.
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_api_server_is_kept_as_desired() -> Result<()> {
    // Without controllers a deleted namespace stays.
    let options = Options {
        controllers: true,
        ..Options::default()
    };
    let Some(plane) = ControlPlane::for_test("reconcile", options).await? else {
        return Ok(());
    };
    let other = Other(client(&plane)?);
    let running = Running::start(client(&plane)?);
    let mut objects = vec![namespace("shop"), definition(), widget("w")];
    objects.extend((0..20).map(|number| config_map(&format!("n{number}"), "1")));
    let all = view(&[("shop", &objects)]);
    let report = running.converge(&all).await;
    // A request may fail: a kind that was just established may still start its storage (429).
    assert_eq!(report.counters.repaired, 0, "{report:#?}");

    other
        .patch(&config_map("n1", ""), json!({"data": {"key": "theirs"}}))
        .await;
    let report = running
        .until("repaired", |report| {
            report.counters.repaired == 1 && is_converged(report, &all)
        })
        .await;
    println!(
        "repaired in {:?}",
        report.last_repair.as_ref().map(|repair| repair.took)
    );
    other.delete(&widget("w")).await;
    running
        .until("made again", |report| {
            report.counters.repaired == 2 && is_converged(report, &all)
        })
        .await;
    assert_eq!(other.get(&config_map("n1", "")).await.unwrap()["data"]["key"], "1");

    // Until the record is written, a restart would apply again what was repaired.
    let recorded = || async { other.get(&parent("shop")).await.unwrap()["metadata"]["resourceVersion"].clone() };
    let mut last = recorded().await;
    loop {
        tokio::time::sleep(Duration::from_secs(12)).await;
        let now = recorded().await;
        if std::mem::replace(&mut last, now.clone()) == now {
            break;
        }
    }
    running.stop().await;
    let running = Running::start(client(&plane)?);
    let report = running.converge(&all).await;
    assert_eq!(
        (report.counters.applied, report.counters.repaired),
        (0, 0),
        "{report:#?}"
    );
    assert_eq!(recorded().await, last);

    let left = view(&[("ground", &[namespace("stays")])]);
    running.handle.set_desired(left.clone());
    running.consent("shop").await;
    let report = running.converge(&left).await;
    assert_eq!((report.counters.pruned, report.counters.failed), (23, 0), "{report:#?}");
    assert!(other.get(&parent("shop")).await.is_none());
    running.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_first_apply_is_about_as_fast_as_a_bare_loop() -> Result<()> {
    let Some(plane) = ControlPlane::for_test("reconcile", Options::default()).await? else {
        return Ok(());
    };
    let other = Other(client(&plane)?);
    other.create(&namespace("shop")).await;
    other.create(&namespace("bare")).await;
    let count = 1000;
    let mut components: Vec<(String, Vec<Value>)> = Vec::new();
    for round in 0..3 {
        let begin = Instant::now();
        bare_loop(client(&plane)?, round, count).await?;
        let bare = begin.elapsed();
        let running = Running::start(client(&plane)?);
        running.converge(&view_of(&components)).await;
        let name = format!("round{round}");
        let objects = (0..count)
            .map(|number| config_map(&format!("{name}-{number}"), "1"))
            .collect();
        components.push((name, objects));
        let desired = view_of(&components);
        let begin = Instant::now();
        running.converge(&desired).await;
        let ours = begin.elapsed();
        components[round].1[7]["data"]["key"] = json!("2");
        let desired = view_of(&components);
        let begin = Instant::now();
        running.converge(&desired).await;
        println!(
            "{count} objects: bare {bare:?}, reconciler {ours:?}; one changed: {:?}",
            begin.elapsed()
        );
        running.stop().await;
    }
    Ok(())
}

fn view_of(components: &[(String, Vec<Value>)]) -> Arc<View> {
    let components: Vec<_> = components
        .iter()
        .map(|(name, objects)| (name.as_str(), objects.as_slice()))
        .collect();
    view(&components)
}

async fn bare_loop(client: Client, round: usize, count: usize) -> Result<()> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    let api: Api<DynamicObject> = Api::namespaced_with(client, "bare", &resource);
    let mut tasks = JoinSet::new();
    for number in 0..count {
        if tasks.len() == 32 {
            tasks.join_next().await.expect("there are 32")??;
        }
        let api = api.clone();
        tasks.spawn(async move {
            let name = format!("bare{round}-{number}");
            let labels = json!({"applyset.kubernetes.io/part-of": "bare", "bare": "bare"});
            let body: Value = json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": name, "labels": labels}, "data": {"key": "1"}});
            api.patch(&name, &PatchParams::apply("bare"), &Patch::Apply(body)).await
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}
