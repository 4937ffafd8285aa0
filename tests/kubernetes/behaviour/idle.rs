//! What an agent with nothing to do asks of the API server, from the server's own audit log.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use driftless_tests::{
    ControlPlane, Options, TestCluster, World, audit,
    cluster::{Asked, table},
    eventually,
    fixture::{ONLINE_BOUTIQUE, definition_and_object, stream},
    say,
};

/// For how many seconds the agent is watched; `.ci/run` sets the five minutes that are promised.
const SECONDS: &str = "DRIFTLESS_IDLE_SECONDS";
const DEFAULT: u64 = 30;
/// For what takes a second or two.
const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn idle_agent_only_watches_and_renews_its_lease() -> Result<()> {
    let test = "idle_agent_only_watches_and_renews_its_lease";
    let options = Options {
        audit: Some(audit::Level::Metadata),
        ..Options::default()
    };
    let Some(plane) = ControlPlane::for_test(test, options).await? else {
        return Ok(());
    };
    let seconds = match std::env::var(SECONDS) {
        Ok(text) => text.parse().with_context(|| format!("{SECONDS}={text} is no number"))?,
        Err(_) => DEFAULT,
    };
    let world = World::new(&plane, "idle").await?;
    let agent = world.pod("one").await?;
    let begin = plane.mark().await?;
    let (definition, object) = definition_and_object("idle.example.com", "Widget", "one");
    let custom = stream(&[definition, object]);
    world.push("shop", &format!("{ONLINE_BOUTIQUE}\n---\n{custom}")).await?;
    world.converged().await?;
    world.recorded("shop").await?;
    // The API server may refuse for a moment to watch a kind that was just defined; the agent then lists it anew.
    eventually(SOON, "the new kind to be watched", async || {
        let asked = plane.asked(world.name(), begin).await?;
        let is_watch = |one: &Asked| (one.verb.as_str(), one.resource.as_str(), one.code) == ("watch", "widgets", 200);
        Ok(asked.iter().any(is_watch).then_some(()))
    })
    .await?;

    let mark = plane.mark().await?;
    let watched = Duration::from_secs(seconds);
    let started = tokio::time::Instant::now();
    eventually(watched + Duration::from_secs(10), "the time to pass", async || {
        Ok((started.elapsed() >= watched).then_some(()))
    })
    .await?;
    let asked = plane.asked(world.name(), mark).await?;
    say(&format!(
        "kube-apiserver: what an idle agent asked for in {seconds} s\n{}",
        table(&asked)
    ));
    let others: Vec<_> = asked.iter().filter(|one| !is_idle(one)).map(Asked::summary).collect();
    ensure!(others.is_empty(), "{others:?}{}", agent.tail());
    let renewals = asked
        .iter()
        .filter(|one| one.resource == "leases" && one.is_write())
        .count();
    ensure!(
        renewals as u64 >= seconds / 10,
        "only {renewals} renewals: did it run at all?"
    );
    // Each kind's watch is opened anew every few minutes, never in a loop.
    let watches = asked.iter().filter(|one| one.verb == "watch").count() as u64;
    ensure!(watches <= 10 * (1 + seconds / 240), "{watches} watches were opened");
    Ok(())
}

fn is_idle(one: &Asked) -> bool {
    let on_lease = one.resource == "leases" && matches!(one.verb.as_str(), "get" | "update" | "patch");
    one.verb == "watch" || on_lease
}
