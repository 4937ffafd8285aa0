//! A fleet that several processes hold: what they did is told together, and each has clusters of its own.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use driftless_load::{Share, Shares, fleet, share};
use tokio::{net::TcpListener, task::JoinSet};

use crate::stage::{SOON, Stage};

/// Of the shares; they need not be alike.
const AGENTS: [usize; 2] = [5, 3];

#[tokio::test(flavor = "multi_thread")]
async fn shares_verify_what_one_pushes_for_all() -> Result<()> {
    let stage = Stage::open().await?;
    let (mut shares, mut holders, mut first) = (Vec::new(), JoinSet::new(), 1);
    for agents in AGENTS {
        let holding = share::Holding {
            target: stage.target.clone(),
            channel: stage.channel.clone(),
            first,
            agents,
            certificates: None,
            fleet: fleet::Settings::default(),
            patience: SOON,
        };
        first += agents;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        holders.spawn(async move {
            share::hold(holding, listener.accept().await?.0)
                .await
                .map_err(anyhow::Error::from)
        });
        shares.push(Share::connect(address).await?);
    }
    let servers = vec![stage.server().pid()];
    let mut fleet = Shares::prepare(&stage.target, &stage.channel, 20_000, shares, servers).await?;
    fleet.recruit().await?;
    let clusters = stage.client.clusters(None).await?;
    let names: BTreeSet<_> = clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    ensure!(names.len() == 8 && names.contains("crowd-00008"), "{names:?}");
    ensure!(fleet.open().await? > 0.0, "opening streams takes time");
    for _ in 0..2 {
        let change = fleet.change().await?;
        let counted: Vec<_> = change.delays.iter().map(Vec::len).collect();
        ensure!(counted == AGENTS && change.report.verified == 8, "{change:?}");
        let (last, all) = (change.report.milliseconds.max, change.delays.concat());
        ensure!(all.iter().all(|delay| *delay <= last), "{change:?}");
        // A change of one line, and not the bytes of everything that came before.
        let bytes = change.report.bytes_per_agent;
        ensure!(bytes > 0.0 && bytes < 2000.0, "{change:?}");
        ensure!(change.report.server_cpu_microseconds.is_some(), "{change:?}");
    }
    drop(fleet);
    while let Some(ended) = holders.join_next().await {
        ended??;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn share_that_fails_says_why() -> Result<()> {
    let stage = Stage::open().await?;
    let holding = share::Holding {
        target: stage.target.clone(),
        channel: "elsewhere".parse()?,
        first: 1,
        agents: 1,
        certificates: None,
        fleet: fleet::Settings::default(),
        patience: SOON,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut share = Share::connect(listener.local_addr()?).await?;
    let (control, _) = listener.accept().await?;
    let holder = tokio::spawn(share::hold(holding, control));
    let error = share
        .recruit()
        .await
        .expect_err("nobody follows a channel that is not there");
    ensure!(error.to_string().contains("elsewhere"), "{error}");
    drop(share);
    Ok(holder.await??)
}
