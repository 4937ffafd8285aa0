//! Which clusters a command is about: named, or chosen as kubectl chooses objects.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use driftless_client::{Client, types::Cluster};
use driftless_model::{
    name::{ChannelName, ClusterName},
    selector::Selector,
};

use crate::failure::Advice;

/// Clusters that are chosen rather than named.
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct Chosen {
    /// Every cluster
    #[arg(long, help_heading = "Clusters")]
    all: bool,
    /// Clusters with these labels, as kubectl takes them: region=eu,tier in (edge,core),!canary
    #[arg(short = 'l', long, value_name = "SELECTOR", help_heading = "Clusters")]
    selector: Option<Selector>,
    /// Clusters that follow this channel
    #[arg(long, value_name = "NAME", help_heading = "Clusters")]
    channel: Option<ChannelName>,
}

impl Chosen {
    /// Are clusters chosen, rather than named?
    pub(in crate::commands) fn chooses(&self) -> bool {
        self.all || self.selector.is_some() || self.channel.is_some()
    }

    /// Finds the clusters: those of `names`, or those chosen.
    pub(in crate::commands) async fn find(
        &self,
        client: &Client,
        names: &BTreeSet<ClusterName>,
    ) -> Result<Vec<Cluster>> {
        match (names.is_empty(), self.chooses()) {
            (true, true) => {
                let selector = self.selector.clone().unwrap_or_default();
                let found = client.select_clusters(self.channel.as_ref(), &selector).await?;
                if found.is_empty() {
                    return Err(
                        Advice::new("no cluster is chosen by that", "`driftless clusters` lists them all").into(),
                    );
                }
                Ok(found)
            }
            (false, false) => named(client, names).await,
            (true, false) => {
                let hint = "name them, or choose some with -l SELECTOR, --channel NAME or --all";
                Err(Advice::new("no clusters are given", hint).into())
            }
            (false, true) => {
                let hint = "give names, or choose with -l, --channel and --all";
                Err(Advice::new("clusters are both named and chosen", hint).into())
            }
        }
    }
}

async fn named(client: &Client, names: &BTreeSet<ClusterName>) -> Result<Vec<Cluster>> {
    // A few are asked for one by one, so that a large fleet is not listed for them.
    if names.len() <= 3 {
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            found.push(client.cluster(name).await?);
        }
        return Ok(found);
    }
    let all = client.clusters(None).await?;
    let mut by_name: BTreeMap<_, _> = all.into_iter().map(|cluster| (cluster.name.clone(), cluster)).collect();
    let unknown: Vec<_> = names.iter().filter(|name| !by_name.contains_key(*name)).collect();
    if unknown.is_empty() {
        return Ok(names.iter().filter_map(|name| by_name.remove(name)).collect());
    }
    let unknown: Vec<_> = unknown.iter().map(|name| format!("`{name}`")).collect();
    let hint = "`driftless clusters` lists those there are";
    Err(Advice::new(format!("there is no cluster {}", unknown.join(", ")), hint).into())
}
