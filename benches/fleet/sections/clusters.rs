//! Whole agents on simulated clusters: from a push until all clusters have it and it is healthy.
//!
//! Each cluster has [`OBJECTS`] objects of one component. "200 of 1,000 changed" is read as clusters: a push changes an
//! overlay that a fifth of them have, and with it the image of each of their [`CHANGED`] Deployments. All agents are told, and
//! work out their view; four fifths find that nothing is to be done. The server is a process of its own; agents and
//! clusters are in this one.
//!
//! The floor is what the clusters themselves cost: the same objects by bare server-side applies, straight to as many
//! simulators in this process, before there is any agent.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, bail};
use driftless_agent::Timings;
use driftless_benches::cluster::bare;
use driftless_client::{Client, Enroll, Push};
use driftless_load::process;
use driftless_model::{
    bundle::{Bundle, Spec},
    join::{self, JoinFile},
    manifest::Manifest,
    name::{ClusterName, Labels},
    overlay::{Overlay, Patch, Target},
};
use driftless_sim::{Cluster, Options, fleet::Fleet};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service},
};
use kube::core::ApiResource;
use serde_json::{Value, json};

use crate::{
    Args,
    report::Report,
    stage::{SOON, Stage},
};

/// Of each cluster.
const OBJECTS: usize = 50;
/// Deployments among them: what a change changes. Each has a Service; the rest are ConfigMaps.
const CHANGED: usize = 10;
/// One in so many clusters has the overlay.
const SHARE: usize = 5;
const LABEL: (&str, &str) = ("ring", "early");
const NAMESPACE: &str = "default";
/// Applies at once over all simulators, in the floor.
const IN_FLIGHT: usize = 256;
/// Clusters that are enrolled at once.
const ENROLLING: usize = 64;
/// How often the server is asked how far the clusters are.
const LOOK: Duration = Duration::from_millis(10);

pub(crate) async fn measure(args: &Args, report: &mut Report) -> Result<()> {
    let clusters = args.clusters.max(1);
    let early = clusters.div_ceil(SHARE);
    let floor = floor(clusters, early, args.changes).await?;
    let stage = Stage::open().await?;
    let mut fleet = populate(&stage, clusters, early).await?;
    let first = push(&stage, &mut fleet, clusters, 0).await?;
    add(
        report,
        &format!("{clusters} clusters: first {OBJECTS} objects each"),
        &first,
        floor.first,
    );
    let mut found = Vec::new();
    for number in 1..=args.changes.max(1) {
        found.push(push(&stage, &mut fleet, clusters, number).await?);
    }
    let median = |figure: fn(&Cost) -> f64| driftless_benches::median(&found.iter().map(figure).collect::<Vec<_>>());
    let change = Cost {
        seconds: median(|cost| cost.seconds),
        own_cpu: median(|cost| cost.own_cpu),
        server_cpu: median(|cost| cost.server_cpu),
    };
    add(
        report,
        &format!("{clusters} clusters, {early} of them changed"),
        &change,
        floor.change,
    );
    // All of this process: what the floor's simulators left to the allocator is used again.
    let resident = own()?.resident_bytes as f64 / clusters as f64;
    let what = format!("{clusters} clusters: memory of each with its agent");
    report.add(what, resident / 1024.0, "KiB", None, None);
    fleet.stop(Duration::from_secs(30)).await;
    stage.close().await
}

/// What something took, in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    seconds: f64,
    /// Processor time of this process: agents, and the clusters themselves.
    own_cpu: f64,
    server_cpu: f64,
}

struct Floor {
    first: Cost,
    change: Cost,
}

fn add(report: &mut Report, what: &str, cost: &Cost, floor: Cost) {
    let Cost {
        seconds,
        own_cpu,
        server_cpu,
    } = *cost;
    let healthy = format!("{what}: acknowledged → all healthy");
    report.add(healthy, seconds * 1e3, "ms", Some(floor.seconds * 1e3), None);
    let agents = format!("{what}: CPU of agents and clusters");
    report.add(agents, own_cpu * 1e3, "ms", Some(floor.own_cpu * 1e3), None);
    report.add(format!("{what}: CPU of the server"), server_cpu * 1e3, "ms", None, None);
}

fn own() -> Result<process::Used> {
    process::used(std::process::id()).context("this process cannot be read")
}

/// The same objects, applied by nothing but a client of each simulator.
async fn floor(clusters: usize, early: usize, changes: usize) -> Result<Floor> {
    let simulators: Vec<_> = (0..clusters).map(simulator).collect();
    let first = applied(&simulators, &objects(0)).await?;
    let mut found = Vec::new();
    for number in 1..=changes.max(1) {
        let changed: Vec<_> = (0..CHANGED).map(|place| deployment(place, number)).collect();
        found.push(applied(&simulators[..early], &changed).await?);
    }
    let median = |figure: fn(&Cost) -> f64| driftless_benches::median(&found.iter().map(figure).collect::<Vec<_>>());
    let change = Cost {
        seconds: median(|cost| cost.seconds),
        own_cpu: median(|cost| cost.own_cpu),
        server_cpu: 0.0,
    };
    Ok(Floor { first, change })
}

async fn applied(simulators: &[Cluster], objects: &[Value]) -> Result<Cost> {
    let kinds = [
        ApiResource::erase::<Deployment>(&()),
        ApiResource::erase::<Service>(&()),
        ApiResource::erase::<ConfigMap>(&()),
    ];
    let clients: Vec<_> = simulators.iter().map(Cluster::client).collect();
    let (begun, cpu) = (Instant::now(), own()?.cpu_seconds);
    let applies = objects
        .iter()
        .flat_map(|object| clients.iter().map(move |client| (client, object)));
    let applies: Vec<_> = applies
        .map(|(client, object)| bare::apply_one(client, object, &kinds))
        .collect();
    let applying = stream::iter(applies).buffer_unordered(IN_FLIGHT);
    applying.try_for_each(|()| std::future::ready(Ok(()))).await?;
    Ok(Cost {
        seconds: begun.elapsed().as_secs_f64(),
        own_cpu: own()?.cpu_seconds - cpu,
        server_cpu: 0.0,
    })
}

fn simulator(number: usize) -> Cluster {
    Cluster::new(Options {
        name: format!("edge-{number:04}"),
        seed: number as u64,
        ..Options::default()
    })
}

/// Enrols the clusters and starts an agent on each; returns when all are connected. The first `early` have the label.
async fn populate(stage: &Stage, clusters: usize, early: usize) -> Result<Fleet> {
    eprintln!("{clusters} clusters join with whole agents");
    let ca = stage.target.ca.clone().context("a server of one's own has a CA")?;
    let client = Arc::new(stage.client()?);
    let enrolling = (0..clusters).map(|number| {
        let (client, channel) = (Arc::clone(&client), stage.channel.clone());
        async move {
            let cluster: ClusterName = format!("edge-{number:04}").parse()?;
            let ring = if number < early { LABEL.1 } else { "late" };
            let enroll = Enroll {
                cluster: cluster.clone(),
                channel,
                labels: Labels::from([(LABEL.0.to_owned(), ring.to_owned())]),
                vars: Default::default(),
                ttl: None,
                again: false,
            };
            anyhow::Ok((number, cluster, client.enroll(&enroll).await?.token))
        }
    });
    let enrolled: Vec<_> = stream::iter(enrolling).buffered(ENROLLING).try_collect().await?;
    let mut fleet = Fleet::new(crate::now, Timings::default());
    for (number, cluster, token) in enrolled {
        let join = JoinFile {
            format: join::FORMAT,
            server: stage.target.server.to_string(),
            ca: ca.clone(),
            cluster,
            token,
        };
        fleet.start(simulator(number), join);
    }
    until(stage, &client, &mut fleet, "connected", |progress| {
        progress.connected as usize == clusters
    })
    .await?;
    Ok(fleet)
}

/// Pushes a version; returns when every cluster has all of it, and it is healthy.
async fn push(stage: &Stage, fleet: &mut Fleet, clusters: usize, number: usize) -> Result<Cost> {
    let client = stage.client()?;
    let bundle = bundle(number)?;
    let (cpu, server) = (own()?.cpu_seconds, stage.used()?.cpu_seconds);
    client
        .push(Push::new(stage.channel.clone()).bundle(bundle), |_| {})
        .await?;
    let begun = Instant::now();
    until(stage, &client, fleet, "healthy", |progress| {
        progress.healthy as usize == clusters
    })
    .await?;
    Ok(Cost {
        seconds: begun.elapsed().as_secs_f64(),
        own_cpu: own()?.cpu_seconds - cpu,
        server_cpu: stage.used()?.cpu_seconds - server,
    })
}

async fn until(
    stage: &Stage,
    client: &Client,
    fleet: &mut Fleet,
    what: &str,
    is_there: impl Fn(&driftless_client::types::Progress) -> bool,
) -> Result<()> {
    let begun = Instant::now();
    loop {
        let progress = client.channel(&stage.channel).await?.progress;
        if is_there(&progress) {
            return Ok(());
        }
        if begun.elapsed() > SOON {
            bail!("not all clusters are {what} after {} s: {progress:?}", SOON.as_secs());
        }
        tokio::select! { biased;
            reason = fleet.failed() => bail!(reason),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// The component, with an overlay that changes with every number.
fn bundle(number: usize) -> Result<Bundle> {
    let manifests = objects(0).into_iter().map(|object| {
        let manifest = Manifest::new(object, NAMESPACE);
        manifest.map_err(|problem| anyhow!("{problem}"))
    });
    let manifests = manifests.collect::<Result<Vec<_>>>()?;
    let (key, value) = LABEL;
    let patches = (0..CHANGED).map(|place| Patch {
        target: Target {
            kind: Some("Deployment".to_owned()),
            name: Some(name(place)),
            ..Target::default()
        },
        json: None,
        merge: Some(json!({"spec": deployment(place, number)["spec"]})),
    });
    let overlay = Overlay {
        name: "early".to_owned(),
        selector: format!("{key}={value}").parse()?,
        patches: patches.collect(),
        ..Overlay::default()
    };
    let spec = Spec {
        overlays: vec![overlay],
        ..Spec::default()
    };
    Ok(Bundle::new("shop".parse()?, manifests)?.with_spec(spec))
}

fn objects(number: usize) -> Vec<Value> {
    let deployments = (0..CHANGED).map(|place| deployment(place, number));
    let services = (0..CHANGED).map(|place| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata(&name(place)),
            "spec": {"selector": {"app": name(place)}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}})
    });
    let settings = (0..OBJECTS - 2 * CHANGED).map(|place| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(&format!("settings-{place}")),
            "data": {"text": "a few words, as a settings file would have them", "place": place.to_string()}})
    });
    deployments.chain(services).chain(settings).collect()
}

fn deployment(place: usize, number: usize) -> Value {
    let name = name(place);
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata(&name), "spec": {
    "replicas": 1,
    "selector": {"matchLabels": {"app": name}},
    "template": {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{
            "name": "main",
            "image": format!("registry.example.com/shop/{name}:1.{number}.0"),
            "ports": [{"containerPort": 8080}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        }]},
    }}})
}

fn metadata(name: &str) -> Value {
    json!({"name": name, "namespace": NAMESPACE})
}

fn name(place: usize) -> String {
    format!("service-{place:02}")
}
