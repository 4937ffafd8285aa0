//! What `driftless cluster enroll` prints, as an operator uses it: taken by `kubectl apply`, and enough for an agent.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use driftless_tests::{
    ControlPlane, World,
    child::Running,
    fixture::{definition_and_object, stream},
    process::Program,
    world::CHANNEL,
};

/// Where the shipped manifests put the agent.
pub(crate) const HOME: &str = "driftless-system";

/// Applies what `driftless cluster enroll` prints for the world's cluster.
pub(crate) async fn enroll(plane: &ControlPlane, world: &World<'_>, more: &[&str]) -> Result<()> {
    let mut arguments = vec!["cluster", "enroll", world.name(), "--channel", CHANNEL, "--again"];
    arguments.extend(more);
    let printed = world.driftless(&arguments).await?;
    let file = world.home().path().join("enrolled.yaml");
    fs::write(&file, printed)?;
    let path = file.display().to_string();
    plane.kubectl(&["apply", "-f", &path]).await?.expect_success()?;
    Ok(())
}

/// Starts an agent with what its pods would find: the mounted Secret and the ServiceAccount's token.
pub(crate) async fn start_agent(plane: &ControlPlane, world: &World<'_>, more: &[&str]) -> Result<Running> {
    let get = [
        "-n",
        HOME,
        "get",
        "secret",
        "driftless-join",
        "-o",
        "jsonpath={.data.join}",
    ];
    let mounted = plane.kubectl(&get).await?.expect_success()?;
    let join = world.home().path().join("mounted.join");
    fs::write(
        &join,
        STANDARD.decode(mounted.trim()).context("the Secret is not base64")?,
    )?;
    let account = plane.service_account_kubeconfig(HOME, "driftless-agent").await?;
    let (join, account) = (join.display().to_string(), account.display().to_string());
    let mut arguments = vec![
        "--join",
        &join,
        "--kubeconfig",
        &account,
        "--pod-name",
        "one",
        "--namespace",
        HOME,
    ];
    arguments.extend(more);
    world.home().spawn("enrolled", Program::Agent, &arguments)
}

#[tokio::test(flavor = "multi_thread")]
async fn printed_manifest_is_taken_and_its_account_and_join_secret_suffice() -> Result<()> {
    let Some(plane) = ControlPlane::shared("enrolled").await? else {
        return Ok(());
    };
    let world = World::new(plane, "enrolled").await?;
    enroll(plane, &world, &["--rbac", "cluster-admin"]).await?;
    let daemons = ["-n", HOME, "get", "daemonset", "driftless-agent", "-o", "name"];
    plane.kubectl(&daemons).await?.expect_success()?;
    let _agent = start_agent(plane, &world, &[]).await?;

    let (definition, object) = definition_and_object("enrolled.example.com", "Gadget", "one");
    world.push("gadgets", &stream(&[definition, object])).await?;
    let row = world.converged().await?;
    ensure!(row.problems().is_empty(), "{:?}", row.problems());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn server_manifest_is_taken_as_it_is_shipped() -> Result<()> {
    let Some(plane) = ControlPlane::shared("enrolled").await? else {
        return Ok(());
    };
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/server.yaml");
    let applied = plane.kubectl(&["apply", "-f", shipped]).await?.expect_success()?;
    ensure!(applied.contains("statefulset.apps/driftless created"), "{applied}");
    Ok(())
}
