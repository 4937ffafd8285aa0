//! What happens on the demo's stage, one scene after the other.

use std::{sync::Arc, time::Instant};

use anyhow::{Context as _, Result};
use driftless_model::manifest::ManifestId;
use driftless_sim::fleet::Member;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::json;

use super::{
    screen::{count, time},
    stage::{NAMESPACE, Stage},
};

const WEB_1: &str = "tickets/web:1.0.0";
const WEB_2: &str = "tickets/web:1.1.0";
const API_1: &str = "tickets/api:1.0.0";
const API_2: &str = "tickets/api:1.1.0";

/// Pushes the sample to a fleet that runs nothing yet.
pub(crate) async fn first_push(stage: &mut Stage) -> Result<()> {
    let bundle = stage.bundle(&[])?;
    let (objects, members) = (bundle.manifests().len(), stage.fleet.members().len());
    stage.screen.chapter(&format!(
        "Push {} to {}",
        count(objects, "object"),
        count(members, "cluster")
    ));
    let started = Instant::now();
    let pushed = stage.push(bundle, "first").await?;
    stage.screen.say(&format!(
        "snapshot {} accepted after {}",
        pushed.snapshot.short(),
        time(started.elapsed())
    ));
    let took = stage.converge(pushed.snapshot, None).await?;
    let total = objects * members;
    let rate = total as f64 / took.as_secs_f64();
    stage.screen.done(&format!(
        "every cluster converged after {}: {total} objects, {rate:.0} a second",
        time(took)
    ));
    stage.screen.measured(
        &format!("first push of {objects} objects, all {members} clusters converged"),
        time(took),
    );
    Ok(())
}

/// Changes one image tag and shows that nothing else is touched.
pub(crate) async fn change_one_image(stage: &mut Stage) -> Result<()> {
    stage.screen.chapter("Change one image tag");
    let members = stage.fleet.members().to_vec();
    let before: Vec<_> = members.iter().map(|member| writes(member)).collect();
    let bundle = stage.bundle(&[(WEB_1, WEB_2)])?;
    let pushed = stage.push(bundle, "web 1.1.0").await?;
    let acknowledged = Instant::now();
    let applied = stage
        .observe(&members, "clusters run web 1.1.0", acknowledged, |member| {
            image_of(member, "web").ends_with(WEB_2)
        })
        .await?;
    stage.converge(pushed.snapshot, None).await?;
    let changes = members
        .iter()
        .zip(before)
        .map(|(member, before)| writes(member).saturating_sub(before));
    let (least, most) = changes.fold((usize::MAX, 0), |(least, most), n| (least.min(n), most.max(n)));
    let patched = if least == most {
        format!("{most}")
    } else {
        format!("{least} to {most}")
    };
    stage.screen.done(&format!(
        "from push acknowledged to the last cluster patched: {}; {patched} of the application's objects written in each",
        time(applied)
    ));
    stage
        .screen
        .measured("one image changed, last cluster patched", time(applied));
    stage.screen.measured("objects written per cluster for it", patched);
    Ok(())
}

/// Deletes a Deployment behind the agent's back.
pub(crate) async fn delete_a_deployment(stage: &mut Stage) -> Result<()> {
    let member = pick(stage, 6);
    stage
        .screen
        .chapter(&format!("Somebody deletes Deployment web in {}", member.name));
    let uid = uid_of(&member, "web").context("the Deployment is not there")?;
    deployments(&member).delete("web", &DeleteParams::background()).await?;
    let deleted = Instant::now();
    let back = |member: &Member| uid_of(member, "web").is_some_and(|now| now != uid);
    let took = stage.observe(&[Arc::clone(&member)], "is back", deleted, back).await?;
    stage.screen.done(&format!("it is back after {}", time(took)));
    stage.screen.measured("deleted Deployment is back", time(took));
    Ok(())
}

/// Cuts one cluster off, shows that it still repairs drift, and connects it again.
pub(crate) async fn cut_one_off(stage: &mut Stage) -> Result<()> {
    let member = pick(stage, 2);
    stage.screen.chapter(&format!("{} loses the network", member.name));
    member.set_network(false);
    let pushed = stage
        .push(stage.bundle(&[(WEB_1, WEB_2), (API_1, API_2)])?, "api 1.1.0")
        .await?;
    if stage.fleet.members().len() > 1 {
        let took = stage.converge(pushed.snapshot, Some(&member.name)).await?;
        stage.screen.say(&format!(
            "api 1.1.0 is pushed; all other clusters converge in {}",
            time(took)
        ));
    }
    let patch = Patch::Merge(json!({"spec": {"replicas": 0}}));
    deployments(&member)
        .patch("web", &PatchParams::apply("kubectl-scale"), &patch)
        .await?;
    let scaled = Instant::now();
    let took = stage
        .observe(&[Arc::clone(&member)], "repaired", scaled, |member| {
            replicas_of(member, "web") == Some(3)
        })
        .await?;
    stage.screen.done(&format!(
        "cut off, it still undoes a `kubectl scale --replicas=0` in {}",
        time(took)
    ));
    stage.screen.measured("drift repaired while cut off", time(took));

    member.set_network(true);
    let connected = Instant::now();
    let caught_up = |member: &Member| image_of(member, "api").ends_with(API_2);
    let took = stage
        .observe(&[Arc::clone(&member)], "caught up", connected, caught_up)
        .await?;
    stage.converge(pushed.snapshot, None).await?;
    stage
        .screen
        .done(&format!("back on the network it catches up in {}", time(took)));
    stage.screen.measured("catching up after reconnecting", time(took));
    Ok(())
}

/// One of the members: `index`, or the last in a smaller fleet.
fn pick(stage: &Stage, index: usize) -> Arc<Member> {
    let members = stage.fleet.members();
    Arc::clone(&members[index.min(members.len() - 1)])
}

fn deployments(member: &Member) -> Api<DynamicObject> {
    let kind = ApiResource::erase::<k8s_openapi::api::apps::v1::Deployment>(&());
    Api::namespaced_with(member.cluster.client(), NAMESPACE, &kind)
}

fn deployment(member: &Member, name: &str) -> Option<serde_json::Value> {
    let id = ManifestId {
        group: "apps".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: Some(NAMESPACE.to_owned()),
        name: name.to_owned(),
    };
    member.cluster.object(&id)
}

fn image_of(member: &Member, name: &str) -> String {
    let image = deployment(member, name).and_then(|object| {
        Some(
            object
                .pointer("/spec/template/spec/containers/0/image")?
                .as_str()?
                .to_owned(),
        )
    });
    image.unwrap_or_default()
}

fn replicas_of(member: &Member, name: &str) -> Option<u64> {
    deployment(member, name)?.pointer("/spec/replicas")?.as_u64()
}

fn uid_of(member: &Member, name: &str) -> Option<String> {
    Some(deployment(member, name)?.pointer("/metadata/uid")?.as_str()?.to_owned())
}

/// Writes to the application's objects so far; the agent's own bookkeeping in its namespace is left out.
fn writes(member: &Member) -> usize {
    member
        .cluster
        .requests()
        .log()
        .filter(|request| request.is_write() && request.namespace == NAMESPACE)
        .count()
}
