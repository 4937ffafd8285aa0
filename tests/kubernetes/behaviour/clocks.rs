//! Clocks that are wrong: agents an hour ahead and an hour behind lead, apply, repair drift and hand over as any others,
//! and are paused for as long as people said.

use anyhow::{Context as _, Result, anyhow, ensure};
use driftless_tests::{
    ControlPlane, Options, World, audit,
    binaries::{Binaries, skip},
    child::Running,
    eventually,
    world::SOON,
};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::ConfigMap};
use kube::Api;

use crate::frozen::{disturb, leads, objects};

/// What it takes to give a program another clock.
struct Clocks<'a> {
    library: String,
    plane: &'a ControlPlane,
    world: &'a World<'a>,
}

impl Clocks<'_> {
    /// Starts an agent whose clock is off by so many hours. Its monotonic clock runs as any: a clock that is wrong is not
    /// one that was set.
    async fn start(&self, pod: &str, hours: i64) -> Result<Running> {
        let shift = format!("{hours:+}h");
        let environment = [
            ("LD_PRELOAD", self.library.as_str()),
            ("FAKETIME", &shift),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ];
        let kubeconfig = self.plane.user_kubeconfig(pod, &["system:masters"])?;
        self.world.pod_with(pod, &kubeconfig, &environment).await
    }

    /// Waits until `pod` leads by its own clock, which is off by so many hours.
    async fn leads(&self, pod: &str, hours: i64) -> Result<()> {
        leads(self.plane, self.world.name(), pod).await?;
        let leases: Api<Lease> = Api::namespaced(self.plane.client()?, self.world.name());
        let lease = leases.get("driftless-agent").await?;
        let renewed = lease
            .spec
            .and_then(|spec| spec.renew_time)
            .context("the Lease was never renewed")?;
        // The API server says by its own clock when that was written.
        let written = lease
            .metadata
            .managed_fields
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.time);
        let written = written.map(|time| time.0).max().context("nobody wrote the Lease")?;
        let off = renewed.0.duration_since(written).as_secs() - hours * 3600;
        ensure!(off.abs() < 600, "the clock of {pod} is {off} s from what it should be");
        Ok(())
    }

    /// Waits until `pod` has read the Lease, by which it decides whether it may lead.
    async fn stands_by(&self, pod: &str) -> Result<()> {
        eventually(SOON, &format!("{pod} to read the Lease"), async || {
            let events = self.plane.audit()?.all()?;
            let reads = |event: &&audit::Event| event.user.username == pod && event.is_about("leases");
            let read = events.iter().filter(reads).any(|event| event.code() == 200);
            if read { Ok(Some(())) } else { Err(anyhow!("it did not")) }
        })
        .await
    }

    /// Pauses the cluster, and has it go on after a push that waited.
    async fn pause(&self, reason: &str, time: &str) -> Result<()> {
        let name = self.world.name();
        let pause = ["pause", name, "--for", time, "--reason", reason];
        self.world.driftless(&pause).await?;
        self.world.push("web", &objects("paused")).await?;
        let row = self.world.row_where("the pause to be told", |row| {
            let problems = row.problems();
            let mut paused = problems.iter().filter(|problem| problem.reason == "Paused");
            paused.any(|problem| problem.message.contains(reason) && problem.message.contains("for it to end"))
        });
        row.await?;
        self.world.driftless(&["resume", name]).await.map(drop)
    }

    /// Pushes, and has drift repaired.
    async fn work(&self, value: &str) -> Result<()> {
        self.world.push("web", &objects(value)).await?;
        self.world
            .row_where("the push to be applied", |row| row.connected && row.converged)
            .await?;
        let maps: Api<ConfigMap> = Api::namespaced(self.plane.client()?, self.world.namespace());
        disturb(&maps, value).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_whose_clocks_are_an_hour_off_lead_and_hand_over_as_any_others() -> Result<()> {
    let test = "agents_whose_clocks_are_an_hour_off_lead_and_hand_over_as_any_others";
    let library = match Binaries::faketime() {
        Ok(library) => library.display().to_string(),
        Err(missing) => {
            skip(test, &missing);
            return Ok(());
        }
    };
    let options = Options {
        audit: Some(audit::Level::Metadata),
        ..Options::default()
    };
    let Some(plane) = ControlPlane::for_test(test, options).await? else {
        return Ok(());
    };
    let world = World::new(&plane, "clocks").await?;
    let clocks = Clocks {
        library,
        plane: &plane,
        world: &world,
    };

    let behind = clocks.start("behind", -1).await?;
    clocks.leads("behind", -1).await?;
    // By this one's clock that Lease was last renewed two hours ago.
    let ahead = clocks.start("ahead", 1).await?;
    clocks.stands_by("ahead").await?;
    clocks.work("1").await?;
    clocks.leads("behind", -1).await?;
    behind.kill();
    clocks.leads("ahead", 1).await?;
    // By this one's clock that ended before it was ordered.
    clocks.pause("half an hour", "30m").await?;

    // By this one's clock it will be renewed in two hours.
    let later = clocks.start("later", -1).await?;
    clocks.stands_by("later").await?;
    clocks.work("2").await?;
    clocks.leads("ahead", 1).await?;
    ahead.kill();
    clocks.leads("later", -1).await?;
    clocks.work("3").await?;
    ensure!(later.exit()?.is_none(), "the last agent has ended{}", later.tail());

    // Each wrote while it led, and only then.
    let events = plane.audit_since(audit::Mark::default()).await?;
    let is_ours = |event: &&audit::Event| {
        let object = event.object_ref.as_ref();
        event.is_write() && event.code() < 300 && object.is_some_and(|object| object.namespace == world.namespace())
    };
    let mut writers: Vec<_> = events
        .iter()
        .filter(is_ours)
        .map(|event| event.user.username.as_str())
        .filter(|user| ["behind", "ahead", "later"].contains(user))
        .collect();
    writers.dedup();
    ensure!(writers == ["behind", "ahead", "later"], "written by turns: {writers:?}");
    Ok(())
}
