//! The rights that `driftless cluster enroll` grants an agent unless told otherwise: enough for itself and for components
//! that name a ServiceAccount, and what is missing is said.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result, ensure};
use driftless_tests::{
    ControlPlane, Options, World, audit, eventually,
    fixture::{config_map, stream},
    plane::free_port,
    world::{CHANNEL, Row, SOON, expect_words},
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::enrolled::{HOME, enroll, start_agent};

const AGENT: &str = "system:serviceaccount:driftless-system:driftless-agent";

/// Pushes a component whose objects are written as the namespace's `driftless-deployer`.
async fn push_as_deployer(world: &World<'_>, objects: &[Value]) -> Result<()> {
    let folder = world.home().path().join("shop");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("all.yaml"), stream(objects))?;
    let namespace = world.namespace();
    let file = json!({"version": 1, "channel": CHANNEL, "components": [{
        "name": "shop", "path": "shop", "namespace": namespace, "serviceAccount": format!("{namespace}/driftless-deployer"),
    }]});
    fs::write(world.home().path().join("driftless.yaml"), file.to_string())?;
    world.driftless(&["push"]).await?;
    Ok(())
}

/// A ServiceAccount that may write ConfigMaps of one namespace and nothing else.
async fn make_deployer(plane: &ControlPlane, namespace: &str) -> Result<()> {
    let role = [
        "create",
        "role",
        "deployer",
        "--verb=create,patch,delete",
        "--resource=configmaps",
    ];
    let account = format!("--serviceaccount={namespace}:driftless-deployer");
    let binding = ["create", "rolebinding", "deployer", "--role=deployer", &account];
    for make in [&["create", "serviceaccount", "driftless-deployer"][..], &role, &binding] {
        let make: Vec<_> = ["-n", namespace].iter().chain(make).copied().collect();
        plane.kubectl(&make).await?.expect_success()?;
    }
    Ok(())
}

fn is_applied(row: &Row, component: &str) -> bool {
    let status = row
        .status
        .as_ref()
        .and_then(|status| status.components.get(&component.parse().ok()?));
    status.is_some_and(|status| status.is_synced())
}

#[tokio::test(flavor = "multi_thread")]
async fn minimal_rights_suffice_for_the_agent_and_what_a_component_lacks_is_told_and_can_be_granted() -> Result<()> {
    // The namespace of the shipped manifests is shared by nobody.
    let Some(plane) = ControlPlane::for_test("rights", Options::full()).await? else {
        return Ok(());
    };
    let world = World::new(&plane, "rights").await?;
    enroll(&plane, &world, &[]).await?;
    make_deployer(&plane, world.namespace()).await?;
    let start = plane.audit_mark().await?;
    let metrics = format!("127.0.0.1:{}", free_port()?);
    let _agent = start_agent(&plane, &world, &["--metrics-listen", &metrics]).await?;

    // One component may, and the other may not.
    world.push("bare", &stream(&[config_map("c", "1"), lease()])).await?;
    push_as_deployer(&world, &[config_map("a", "1"), config_map("b", "1")]).await?;
    let row = world
        .row_where("one component applied and the other told", |row| {
            is_applied(row, "shop")
                && row.problem_of("ConfigMap", "c").is_some()
                && row.problem_of("Lease", "l").is_some()
        })
        .await?;
    let place = format!("configmaps in namespace {}", world.namespace());
    let told = row.problem_of("ConfigMap", "c").context("no problem")?;
    let words = [
        "driftless-agent create, patch and delete on",
        &place,
        "aggregate-to-agent",
        "serviceAccount",
    ];
    expect_words(&told.message, &words)?;
    let told = row.problem_of("Lease", "l").context("no problem")?;
    expect_words(
        &told.message,
        &[
            "get, list and watch on leases.coordination.k8s.io",
            "aggregate-to-agent",
        ],
    )?;

    // It repairs and prunes.
    let maps: Api<ConfigMap> = Api::namespaced(plane.client()?, world.namespace());
    let theirs = Patch::Merge(json!({"data": {"key": "theirs"}}));
    maps.patch("a", &PatchParams::default(), &theirs).await?;
    eventually(SOON, "a to be repaired", async || {
        let data = maps.get("a").await?.data.unwrap_or_default();
        Ok((data.get("key").map(String::as_str) == Some("1")).then_some(()))
    })
    .await?;
    push_as_deployer(&world, &[config_map("a", "1")]).await?;
    eventually(SOON, "b to be pruned", async || {
        Ok(maps.get_opt("b").await?.is_none().then_some(()))
    })
    .await?;
    nothing_else_was_refused(&plane, start).await?;
    expect_words(&ask(&metrics, "/readyz").await?, &["200 OK"])?;
    let page = ask(&metrics, "/metrics").await?;
    let measured = [
        "driftless_agent_leader 1",
        "driftless_agent_connected 1",
        "driftless_agent_objects{component=\"bare\",state=\"pending\"} 2",
        "driftless_agent_repairs_total{component=\"shop\",kind=\"ConfigMap\",manager=\"unknown\"} 1",
        "driftless_agent_pruned_total{component=\"shop\"} 1",
        "driftless_agent_requests_total{verb=\"apply\",code=\"403\"}",
    ];
    expect_words(&page, &measured)?;

    // As the comments in the manifest say.
    for (name, verb, resource) in [
        ("maps", "create,patch,delete", "configmaps"),
        (
            "leases",
            "get,list,watch,create,patch,delete",
            "leases.coordination.k8s.io",
        ),
    ] {
        let (verb, resource) = (format!("--verb={verb}"), format!("--resource={resource}"));
        plane
            .kubectl(&["create", "clusterrole", name, &verb, &resource])
            .await?
            .expect_success()?;
        let label = ["label", "clusterrole", name, "driftless.dev/aggregate-to-agent=true"];
        plane.kubectl(&label).await?.expect_success()?;
    }
    eventually(SOON, "the granted rights to be there", async || {
        let can = [
            "auth",
            "can-i",
            "list",
            "leases.coordination.k8s.io",
            "-A",
            "--as",
            AGENT,
        ];
        Ok(plane.kubectl(&can).await?.expect_success().is_ok().then_some(()))
    })
    .await?;
    world.driftless(&["reconcile", world.name()]).await?;
    world.converged().await?;
    eventually(SOON, "the Lease to be renewed", async || {
        let events = plane.audit_since(start).await?;
        let renewed = |event: &audit::Event| event.verb == "update" && event.is_about("leases") && event.code() == 200;
        let mut own = events.iter().filter(|event| event.user.username == AGENT);
        Ok(own.any(renewed).then_some(()))
    })
    .await
}

/// What the agent's own HTTP server answers.
async fn ask(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// Of a kind that the shipped rights do not let the agent see.
fn lease() -> Value {
    json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}})
}

/// The agent was refused nothing for itself, and wrote as itself only what is its own.
async fn nothing_else_was_refused(plane: &ControlPlane, start: audit::Mark) -> Result<()> {
    let events = plane.audit_since(start).await?;
    let mut own: BTreeMap<String, usize> = BTreeMap::new();
    for event in events.iter().filter(|event| event.user.username == AGENT) {
        let object = event.object_ref.clone().unwrap_or_default();
        let impersonates = event.impersonated_user.is_some();
        let expected = match (event.code(), object.resource.as_str()) {
            (403, "leases") => object.namespace != HOME,
            (403, "configmaps") => object.name == "c",
            (403, _) => false,
            _ if !event.is_write() || impersonates => true,
            (_, "events") => true,
            (_, _) => object.namespace == HOME,
        };
        ensure!(expected, "{event:?}");
        if !impersonates && event.code() < 400 {
            *own.entry(format!("{} {}", event.verb, object.resource)).or_default() += 1;
        }
    }
    // Something of each kind was asked for at all.
    for asked in [
        "create events",
        "create secrets",
        "create leases",
        "patch configmaps",
        "watch configmaps",
    ] {
        ensure!(own.contains_key(asked), "{asked} is not among {own:?}");
    }
    Ok(())
}
