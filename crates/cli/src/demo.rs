//! `driftless demo`: a server and a fleet of simulated clusters in one process, and what they do for you.
//!
//! The server, the client and the agents are the real ones; only the clusters are simulated, in memory. It owns
//! its temporary data folder and removes it at the end.

mod scenes;
mod screen;
mod stage;

use std::path::Path;

use anyhow::{Context as _, Result};
use tokio_util::sync::CancellationToken;

use self::{
    screen::{Screen, count, time},
    stage::{CHANNEL, Stage},
};

/// How many of the clusters `--keep` opens to kubectl.
const OPENED: usize = 3;

/// Plays the demo.
///
/// # Errors
/// When a part fails, or takes longer than it ever should.
pub(crate) async fn play(clusters: usize, keep: bool) -> Result<()> {
    driftless_load::raise_limit();
    let folder = tempfile::Builder::new()
        .prefix("driftless-demo-")
        .tempdir()
        .context("cannot make a folder")?;
    let mut stage = Stage::open(folder.path().join("data"), Screen::new()).await?;
    stage
        .screen
        .chapter(&format!("A server and {}", count(clusters, "cluster")));
    stage.screen.say(&format!(
        "server at {}, its bucket in {}",
        stage.server_url,
        stage.data.display()
    ));
    let took = stage.populate(clusters).await?;
    stage.screen.done(&format!(
        "all clusters enrolled, joined with their own certificate, and connected: {}",
        time(took)
    ));
    stage
        .screen
        .measured(&format!("{clusters} clusters enrolled and connected"), time(took));

    scenes::first_push(&mut stage).await?;
    scenes::change_one_image(&mut stage).await?;
    scenes::delete_a_deployment(&mut stage).await?;
    scenes::cut_one_off(&mut stage).await?;
    stage.screen.summary();

    if keep {
        keep_running(&mut stage, folder.path()).await?;
    }
    stage.close().await
}

/// Prints what can be tried, and waits for Ctrl-C.
async fn keep_running(stage: &mut Stage, folder: &Path) -> Result<()> {
    let stop = CancellationToken::new();
    let mut opened = Vec::new();
    for member in stage.fleet.members().iter().take(OPENED) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let kubeconfig = folder.join(format!("{}.kubeconfig", member.name));
        std::fs::write(&kubeconfig, member.cluster.kubeconfig(listener.local_addr()?))?;
        let (cluster, stop) = (member.cluster.clone(), stop.clone());
        opened.push(tokio::spawn(async move { cluster.serve(listener, stop).await }));
    }
    let sample = folder.join("tickets.yaml");
    std::fs::write(&sample, include_str!("demo/sample.yaml"))?;
    let (data, url) = (stage.data.display(), &stage.server_url);
    let me = std::env::current_exe()?;
    let (me, sample, folder) = (me.display(), sample.display(), folder.display());
    stage.screen.chapter("It keeps running. In another terminal:");
    for line in [
        format!("alias driftless={me}"),
        format!("driftless login {url} --ca {data}/ca.crt --token-file {data}/admin.token --name demo"),
        format!("driftless status {CHANNEL} --watch"),
        "driftless clusters".to_owned(),
        format!("driftless log {CHANNEL}"),
        format!(
            "driftless diff {sample} --component {} --channel {CHANNEL}",
            stage::COMPONENT
        ),
        format!(
            "driftless push {sample} --component {} --channel {CHANNEL} -m 'back to 1.0.0'",
            stage::COMPONENT
        ),
        format!(
            "kubectl --kubeconfig {folder}/edge-001.kubeconfig -n {} delete deployment web",
            stage::NAMESPACE
        ),
        format!(
            "kubectl --kubeconfig {folder}/edge-001.kubeconfig -n {} get deployments",
            stage::NAMESPACE
        ),
    ] {
        stage.screen.say(&line);
    }
    stage.screen.say("");
    stage.screen.say("Ctrl-C ends it and removes its folder.");
    tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        reason = stage.fleet.failed() => anyhow::bail!(reason),
    }
    stop.cancel();
    for task in opened {
        // It only ends because it was told to.
        let _ = task.await;
    }
    Ok(())
}
