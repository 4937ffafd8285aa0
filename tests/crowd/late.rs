//! Agents that do not get there in time: whoever measures is told how far the others were.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use driftless_load::{Held, Holding, fleet};
use driftless_tests::eventually;
use tokio_util::sync::CancellationToken;

use crate::stage::{SOON, Stage};

const AGENTS: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn late_agent_leaves_the_others_counted() -> Result<()> {
    let stage = Stage::open().await?;
    let members = stage.recruit(AGENTS).await?;
    let holding = Holding {
        target: stage.target.clone(),
        channel: stage.channel.clone(),
        size: 2000,
        fleet: fleet::Settings {
            reports: true,
            ..fleet::Settings::default()
        },
        patience: Duration::from_secs(1),
        server_pid: None,
    };
    let mut held = Held::prepare(holding, &members, vec![stage.dial().await?], CancellationToken::new()).await?;
    // Its stream will be refused, again and again.
    let retired = members.last().context("four of them")?.cluster().clone();
    stage.client.retire_clusters(&BTreeSet::from([retired])).await?;
    let error = held.open().await.err().context("not all of them can be there")?;
    ensure!(error.is_late(), "{error}");
    let all_others = async || Ok((held.reached().verified == AGENTS - 1).then(|| held.reached()));
    let reached = eventually(SOON, "the others", all_others).await?;
    ensure!(
        reached.connected == AGENTS - 1 && reached.sequence > 0 && reached.milliseconds.max > 0.0,
        "{reached:?}"
    );
    let counted = async || {
        let progress = stage.client.channel(&stage.channel).await?.progress;
        Ok((progress.healthy as usize == AGENTS - 1).then_some(()))
    };
    eventually(SOON, "their reports", counted).await?;
    held.close().await;
    Ok(())
}
