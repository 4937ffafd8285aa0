//! Never two writers: a leader that was frozen for longer than its Lease lasts writes nothing when it goes on.

use anyhow::{Context as _, Result, anyhow, ensure};
use driftless_tests::{
    ControlPlane, Options, World, audit, eventually,
    fixture::{config_map, stream},
    say,
    world::SOON,
};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::ConfigMap};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use serde_json::json;
use tokio::time::Instant;

const OBJECTS: usize = 40;

pub(crate) fn objects(value: &str) -> String {
    let maps: Vec<_> = (0..OBJECTS)
        .map(|number| config_map(&format!("map-{number}"), value))
        .collect();
    stream(&maps)
}

pub(crate) async fn leads(plane: &ControlPlane, namespace: &str, pod: &str) -> Result<()> {
    let leases: Api<Lease> = Api::namespaced(plane.client()?, namespace);
    eventually(SOON, &format!("{pod} to lead"), async || {
        let lease = leases.get_opt("driftless-agent").await?;
        let holder = lease.and_then(|lease| lease.spec?.holder_identity);
        if holder.as_deref() == Some(pod) {
            Ok(Some(()))
        } else {
            Err(anyhow!("{holder:?}"))
        }
    })
    .await
}

/// Changes every object as somebody else, and waits until it is put back.
pub(crate) async fn disturb(maps: &Api<ConfigMap>, wanted: &str) -> Result<()> {
    let theirs = json!({ "data": { "key": "theirs" } });
    for number in 0..OBJECTS {
        maps.patch(
            &format!("map-{number}"),
            &PatchParams::default(),
            &Patch::Merge(&theirs),
        )
        .await?;
    }
    eventually(SOON, "the drift to be repaired", async || {
        let live = maps.list(&Default::default()).await?;
        let is_back = |map: &ConfigMap| {
            map.data
                .as_ref()
                .and_then(|data| data.get("key"))
                .is_some_and(|it| it == wanted)
        };
        let back = live
            .items
            .iter()
            .filter(|map| {
                map.metadata
                    .name
                    .as_deref()
                    .is_some_and(|name| name.starts_with("map-"))
            })
            .filter(|map| is_back(map))
            .count();
        if back == OBJECTS {
            Ok(Some(()))
        } else {
            Err(anyhow!("{back} of {OBJECTS} are back"))
        }
    })
    .await
}

async fn version(maps: &Api<ConfigMap>) -> Result<String> {
    let live = maps.list(&ListParams::default()).await?;
    live.metadata.resource_version.context("a list without a version")
}

/// Every value that an object had since that version.
async fn written_since(maps: &Api<ConfigMap>, version: &str) -> Result<Vec<String>> {
    let mut seen = Vec::new();
    let mut events = maps.watch(&WatchParams::default(), version).await?.boxed();
    let marker = config_map("marker", "end");
    maps.create(&PostParams::default(), &serde_json::from_value(marker)?)
        .await?;
    while let Some(event) = tokio::time::timeout(SOON, events.try_next()).await?? {
        let (WatchEvent::Added(map) | WatchEvent::Modified(map)) = event else {
            continue;
        };
        if map.metadata.name.as_deref() == Some("marker") {
            break;
        }
        seen.extend(map.data.and_then(|mut data| data.remove("key")));
    }
    Ok(seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn leader_that_was_frozen_writes_nothing_when_it_goes_on() -> Result<()> {
    let options = Options {
        audit: Some(audit::Level::Metadata),
        ..Options::default()
    };
    let test = "leader_that_was_frozen_writes_nothing_when_it_goes_on";
    let Some(plane) = ControlPlane::for_test(test, options).await? else {
        return Ok(());
    };
    let world = World::new(&plane, "frozen").await?;
    let user = |name: &str| plane.user_kubeconfig(name, &["system:masters"]);
    let first = world.pod_as("first", &user("first")?).await?;
    leads(&plane, world.name(), "first").await?;
    let second = world.pod_as("second", &user("second")?).await?;
    world.push("web", &objects("1")).await?;
    world.converged().await?;
    let maps: Api<ConfigMap> = Api::namespaced(plane.client()?, world.namespace());

    // Frozen in the middle of its work: a push has come, and part of it is written.
    world.push("web", &objects("2")).await?;
    first.pause()?;
    let frozen = Instant::now();
    leads(&plane, world.name(), "second").await?;
    say(&format!(
        "kube-apiserver: the standby led {:?} after the leader froze",
        frozen.elapsed()
    ));
    // What it had sent is answered by now; from here on it may write nothing.
    let mark = plane.audit_mark().await?;
    world.push("web", &objects("3")).await?;
    world
        .row_where("the standby to apply the next push", |row| {
            row.connected && row.converged
        })
        .await?;
    let before = version(&maps).await?;
    // Its watches bring drift of every object, and what it would do about it is an older push.
    disturb(&maps, "3").await?;
    first.resume()?;
    disturb(&maps, "3").await?;
    first.line("leading no more", SOON).await?;
    disturb(&maps, "3").await?;

    let events = plane.audit_since(mark).await?;
    // What it had begun to send when it froze fails, at the latest when the API server waits no longer for the rest.
    let writes_of = |user: &str| -> Vec<String> {
        let writes = events.iter().filter(|event| {
            event.user.username == user && event.is_write() && !event.is_about("leases") && event.code() < 300
        });
        writes.map(audit::Event::summary).collect()
    };
    let (of_first, of_second) = (writes_of("first"), writes_of("second"));
    ensure!(of_first.is_empty(), "the frozen leader wrote: {of_first:#?}");
    let stale = written_since(&maps, &before)
        .await?
        .into_iter()
        .filter(|value| value == "2")
        .count();
    ensure!(
        stale == 0,
        "what was overtaken by another push was written {stale} times"
    );
    ensure!(
        of_second.len() >= 4 * OBJECTS,
        "the standby wrote only {}",
        of_second.len()
    );
    let lease_kept = events
        .iter()
        .filter(|event| event.user.username == "first" && event.is_about("leases") && event.is_write())
        .all(|event| event.code() == 409);
    ensure!(lease_kept, "the frozen leader took the Lease back");
    ensure!(first.exit()?.is_none(), "the first agent has ended{}", first.tail());
    ensure!(second.exit()?.is_none(), "the second agent has ended{}", second.tail());
    let holder = Api::<Lease>::namespaced(plane.client()?, world.name())
        .get("driftless-agent")
        .await?;
    let holder = holder
        .spec
        .and_then(|spec| spec.holder_identity)
        .context("nobody leads")?;
    ensure!(holder == "second", "{holder} leads");
    Ok(())
}
