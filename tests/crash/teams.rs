//! Two hundred teams that push to their components at once, through two servers on one bucket.

use anyhow::{Context as _, Result, ensure};
use driftless_client::{Client, Push};
use driftless_model::name::{ChannelName, ComponentName};
use driftless_tests::{eventually, world::SOON};
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::task::JoinSet;

use crate::{
    history::{Account, Acknowledged, History},
    pushers::bundle,
    served::Served,
};

const TEAMS: u64 = 200;
/// Each team's, one after the other, through either server by turns.
const PUSHES: u64 = 4;
/// More than all pushes.
const LOG: u32 = 1000;

#[tokio::test(flavor = "multi_thread")]
async fn teams_push_at_once_through_two_servers_and_nobody_notices_the_others() -> Result<()> {
    let channel: ChannelName = "prod".parse()?;
    let mut one = Served::new(None)?;
    one.start().await?;
    one.client()?.create_channel(&channel).await?;
    let mut other = Served::new(Some(one.bucket()))?;
    other.start().await?;

    let mut teams = JoinSet::new();
    for team in 0..TEAMS {
        let (servers, channel) = ([one.client()?, other.client()?], channel.clone());
        teams.spawn(async move {
            push(team, servers, channel)
                .await
                .with_context(|| format!("team {team}"))
        });
    }
    let mut accounts = Vec::new();
    while let Some(account) = teams.join_next().await {
        accounts.push(account??);
    }

    let acknowledged = accounts.iter().flat_map(|account| &account.acknowledged);
    let newest = acknowledged.map(|push| push.sequence).max().context("nobody pushed")?;
    let mut histories = Vec::new();
    for server in [&one, &other] {
        // A server hears of what the other took a moment later.
        eventually(SOON, "the server to know all pushes", async || {
            Ok((server.client()?.channel(&channel).await?.sequence >= newest).then_some(()))
        })
        .await?;
        let mut history = History::default();
        history.extend(server.client()?.log(&channel, LOG).await?)?;
        history.check(&accounts)?;
        ensure!(history.len() as u64 == TEAMS * PUSHES, "{} snapshots", history.len());
        histories.push(server.client()?.channel(&channel).await?);
    }
    ensure!(histories[0].snapshot == histories[1].snapshot, "the servers differ");
    for account in &accounts {
        let last = account.acknowledged.last().context("every team pushed")?;
        for (component, bundle) in &last.content {
            ensure!(histories[0].components.get(component) == Some(bundle), "lost: {last:?}");
        }
    }
    drop(other);
    one.verify().await
}

/// One team's pushes. No error is expected, and no try is made twice.
async fn push(team: u64, servers: [Client; 2], channel: ChannelName) -> Result<Account> {
    let component: ComponentName = format!("team-{team}").parse()?;
    let mut rng = StdRng::seed_from_u64(team);
    let mut account = Account::default();
    for (generation, server) in (1..=PUSHES).zip(servers.iter().cycle()) {
        let bundle = bundle(&component, team, generation, &mut rng)?;
        let content: crate::history::Content = [(component.clone(), bundle.hash())].into();
        account.sent.insert(content.clone());
        let pushed = server.push(Push::new(channel.clone()).bundle(bundle), |_| {}).await?;
        account.acknowledged.push(Acknowledged {
            content,
            snapshot: pushed.snapshot,
            sequence: pushed.sequence,
        });
    }
    Ok(account)
}
