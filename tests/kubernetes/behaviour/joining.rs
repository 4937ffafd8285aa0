//! Ways into the fleet that are closed: each says why, and what to do.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use driftless_tests::{
    Simulated, World,
    world::{CHANNEL, SOON, expect_words},
};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

#[tokio::test(flavor = "multi_thread")]
async fn join_token_is_good_once() -> Result<()> {
    let simulated = Simulated::start().await?;
    let world = World::new(&simulated, "twice").await?;
    let agent = world.agent().await?;
    world.row_where("the agent to connect", |row| row.connected).await?;

    let said = world.failing_agent("join", "elsewhere").await?.expect_failure()?;
    expect_words(
        &said,
        &["refused the join token", world.name(), "driftless cluster enroll"],
    )?;
    ensure!(agent.exit()?.is_none(), "the member was thrown out{}", agent.tail());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn join_token_of_an_older_enrolment_is_void() -> Result<()> {
    let simulated = Simulated::start().await?;
    let world = World::new(&simulated, "void").await?;
    world.enroll("newer", &["--again"]).await?;
    let said = world.failing_agent("join", "elsewhere").await?.expect_failure()?;
    expect_words(&said, &["refused the join token", "driftless cluster enroll"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_join_token_is_refused() -> Result<()> {
    let simulated = Simulated::start().await?;
    let world = World::new(&simulated, "late").await?;
    let again = world.enroll("late", &["--again", "--ttl", "1s"]).await;
    ensure!(again.is_ok(), "{again:?}");
    let started = tokio::time::Instant::now();
    driftless_tests::eventually(SOON, "the token to expire", async || {
        Ok((started.elapsed().as_secs() >= 2).then_some(()))
    })
    .await?;
    let said = world.failing_agent("late", "elsewhere").await?.expect_failure()?;
    expect_words(
        &said,
        &["refused the join token", "expired", "driftless cluster enroll"],
    )?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_certificate_is_told_and_a_new_join_file_mends_it() -> Result<()> {
    let simulated = Simulated::start().await?;
    let world = World::new(&simulated, "expired").await?;
    let agent = world.agent().await?;
    world.row_where("the agent to connect", |row| row.connected).await?;
    agent.terminate(SOON).await?;
    expire(&world.home().path().join("agent-state/identity.json"))?;

    let agent = world.agent().await?;
    let line = agent.line("expired", SOON).await?;
    expect_words(&line, &[world.name(), "enrol the cluster again"])?;
    ensure!(!world.row().await?.connected, "connected with an expired certificate");
    world.enroll("join", &["--again"]).await?;
    world.row_where("the agent to join anew", |row| row.connected).await?;
    Ok(())
}

/// Replaces the certificate of a stored identity by one of its key that was good in the year 2020.
fn expire(file: &Path) -> Result<()> {
    let mut identity: serde_json::Value = serde_json::from_slice(&std::fs::read(file)?)?;
    let key = KeyPair::from_pem(identity["key"].as_str().context("no key")?)?;
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2020, 12, 31);
    identity["chain"] = params.self_signed(&key)?.pem().into();
    std::fs::write(file, identity.to_string())?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_that_is_enrolled_needs_again_to_be_enrolled_anew() -> Result<()> {
    let simulated = Simulated::start().await?;
    let world = World::new(&simulated, "again").await?;
    let name = world.name();
    let arguments = ["cluster", "enroll", name, "--channel", CHANNEL, "--join-file", "second"];
    let said = world.home().driftless(&arguments).await?.expect_failure()?;
    expect_words(&said, &[name, "--again"])?;
    ensure!(
        !world.home().path().join("second").exists(),
        "a join file was written all the same"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn server_with_a_foreign_certificate_is_not_told_the_token() -> Result<()> {
    let simulated = Simulated::start().await?;
    let world = World::new(&simulated, "foreign").await?;
    let stranger = World::new(&simulated, "stranger").await?;
    // The right token and the right address, but another authority.
    let ours = std::fs::read_to_string(world.home().path().join("join"))?;
    let theirs = std::fs::read_to_string(stranger.home().path().join("join"))?;
    let (mut ours, theirs): (serde_json::Value, serde_json::Value) =
        (serde_json::from_str(&ours)?, serde_json::from_str(&theirs)?);
    ours["ca"] = theirs["ca"].clone();
    std::fs::write(world.home().path().join("mixed"), ours.to_string())?;

    let agent = world
        .start_agent_with("mixed", "mixed", &["--state", "mixed-state"])
        .await?;
    let line = agent.line("certificate", SOON).await?;
    expect_words(&line, &[&world.url()])?;
    ensure!(
        !world.row().await?.connected,
        "connected to a server it should not trust"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_join_file_and_kubeconfig_are_told_at_once() -> Result<()> {
    let simulated = Simulated::start().await?;
    let world = World::new(&simulated, "broken").await?;
    std::fs::write(world.home().path().join("torn"), "{\"format\": 1, \"server\"")?;
    let more = ["--join", "torn", "--kubeconfig", "absent.yaml"];
    let said = world
        .home()
        .run(driftless_tests::process::Program::Agent, &more)
        .await?
        .expect_failure()?;
    expect_words(&said, &["join file torn", "absent.yaml"])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn login_fails_with_a_foreign_authority_or_a_wrong_token() -> Result<()> {
    let simulated = Simulated::start().await?;
    let world = World::new(&simulated, "login").await?;
    let stranger = World::new(&simulated, "stranger").await?;
    let foreign = stranger.home().path().join("data/ca.crt").display().to_string();
    std::fs::write(world.home().path().join("wrong.token"), "no token of yours")?;
    let url = world.url();
    for (authority, token, word) in [
        (foreign.as_str(), "data/admin.token", "certificate"),
        ("data/ca.crt", "wrong.token", "token"),
    ] {
        let login = ["login", &url, "--ca", authority, "--token-file", token];
        let said = world.home().driftless(&login).await?.expect_failure()?;
        expect_words(&said, &[word])?;
    }
    Ok(())
}
