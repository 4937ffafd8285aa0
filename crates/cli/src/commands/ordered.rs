//! What the commands have in common that ask something of clusters by hand: of which, and what it came to.

use std::collections::BTreeSet;

use anyhow::Result;
use driftless_client::{
    Asked, Client,
    types::{Cluster, ClustersChanged},
};
use driftless_model::name::{ClusterName, ComponentName};
use serde::Serialize;

use super::cluster::Chosen;
use crate::{
    app::App,
    failure::{Advice, Outcome},
    output,
    prints::{self, Part, Prints},
};

pub(crate) const PRINTS: Prints = Prints {
    document: &[Part {
        at: "",
        fields: &[
            ("component", "the component; `null`: all of them"),
            ("sequence", "the journal entry that holds it; 0 when nothing changed"),
            ("changed[]", "a cluster for which it is news"),
            ("unchanged", "number of clusters of which it held already"),
            ("disconnected[]", "a cluster that is told when its agent connects again"),
        ],
    }],
    ..prints::NAMED
};

/// Clusters, and perhaps one component of them.
#[derive(Debug, clap::Args)]
pub(super) struct Subject {
    /// The cluster, unless clusters are chosen by flags
    #[arg(value_name = "CLUSTER")]
    cluster: Option<String>,
    /// One component; without one, everything is meant
    #[arg(value_name = "COMPONENT")]
    component: Option<String>,
    #[command(flatten)]
    chosen: Chosen,
}

/// What a [`Subject`] comes to.
pub(super) struct Found {
    pub(super) clusters: Vec<Cluster>,
    pub(super) component: Option<ComponentName>,
}

/// What was asked for, as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    component: Option<ComponentName>,
    /// The journal entry that holds it; 0 when nothing changed.
    sequence: u64,
    changed: Vec<ClusterName>,
    /// Clusters of which it held already.
    unchanged: usize,
    /// Clusters among the changed that are told when they are back.
    disconnected: Vec<ClusterName>,
}

impl Subject {
    /// Finds the clusters. Where they are chosen by flags, the first word is the component.
    pub(super) async fn find(self, client: &Client) -> Result<Found> {
        let Self {
            cluster,
            component,
            chosen,
        } = self;
        let (cluster, component) = match (chosen.chooses(), cluster, component) {
            (false, cluster, component) => (cluster, component),
            (true, component, None) => (None, component),
            (true, _, Some(_)) => {
                let hint = "give a name, or choose with -l, --channel and --all";
                return Err(Advice::new("clusters are both named and chosen", hint).into());
            }
        };
        let names: BTreeSet<ClusterName> = cluster.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
        let component = component.map(|name| name.parse()).transpose()?;
        let clusters = chosen.find(client, &names).await?;
        Ok(Found { clusters, component })
    }
}

impl Found {
    /// Asks for it, and tells what it came to: `done` is what is said of each cluster.
    pub(super) async fn ask(self, client: &Client, app: &App, asked: &Asked, done: &str) -> Result<Outcome> {
        let Self { clusters, component } = self;
        let names = clusters.iter().map(|cluster| cluster.name.clone()).collect();
        let ClustersChanged { sequence, changed } = client.order_clusters(&names, asked).await?;
        let is_away = |cluster: &&Cluster| !cluster.connected && changed.contains(&cluster.name);
        let document = Document {
            component,
            sequence,
            unchanged: clusters.len() - changed.len().min(clusters.len()),
            disconnected: clusters
                .iter()
                .filter(is_away)
                .map(|cluster| cluster.name.clone())
                .collect(),
            changed,
        };
        let names = |document: &Document| document.changed.iter().map(|name| format!("cluster/{name}")).collect();
        app.output.print_named(&document, names, |document| {
            let what = document
                .component
                .as_ref()
                .map_or_else(String::new, |component| format!("{component} "));
            let changed = document.changed.iter();
            changed.map(|name| format!("{name}: {what}{done}\n")).collect()
        })?;
        if app.output.is_text() {
            document.notes().iter().for_each(|note| output::note(note));
        }
        Ok(Outcome::Success)
    }
}

impl Document {
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        match (self.changed.is_empty(), self.unchanged) {
            (true, _) => notes.push("nothing to change: it is so already".to_owned()),
            (false, 0) => {}
            (false, 1) => notes.push("1 cluster is so already".to_owned()),
            (false, many) => notes.push(format!("{many} clusters are so already")),
        }
        match self.disconnected.as_slice() {
            [] => {}
            [one] => notes.push(format!("{one} is not connected: it is told when its agent is back")),
            many => notes.push(format!(
                "{} are not connected: they are told when their agents are back",
                output::count(many.len(), "cluster")
            )),
        }
        notes
    }
}
