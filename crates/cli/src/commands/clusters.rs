//! `driftless clusters`: the fleet, a line each.

use std::str::FromStr;

use anyhow::Result;
use driftless_client::types::Cluster;
use driftless_model::name::{ChannelName, InvalidName, Labels, check_label};
use jiff::Timestamp;

use crate::{
    app::App,
    failure::Outcome,
    now,
    output::{self, Table, age, health},
    prints::{self, Part, Prints, fields},
};

/// List the clusters, and how they do
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only those that follow this channel
    #[arg(long, value_name = "NAME")]
    channel: Option<ChannelName>,
    /// Only those with this label; may be given again, and all have to fit
    #[arg(short = 'l', long = "selector", value_name = "KEY=VALUE")]
    selectors: Vec<Selector>,
}

/// One condition on labels: `key=value`, `key!=value` or `key`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selector {
    /// The label has this value.
    Is(String, String),
    /// It has not.
    IsNot(String, String),
    /// The label is there.
    Has(String),
}

impl FromStr for Selector {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let selector = if let Some((key, value)) = text.split_once("!=") {
            Self::IsNot(key.to_owned(), value.to_owned())
        } else if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
            Self::Is(key.to_owned(), value.to_owned())
        } else {
            Self::Has(text.to_owned())
        };
        match &selector {
            Self::Is(key, value) | Self::IsNot(key, value) => check_label(key, value)?,
            Self::Has(key) => check_label(key, "")?,
        }
        Ok(selector)
    }
}

impl Selector {
    /// Does a cluster with these labels fit?
    pub(crate) fn fits(&self, labels: &Labels) -> bool {
        match self {
            Self::Is(key, value) => labels.get(key) == Some(value),
            Self::IsNot(key, value) => labels.get(key) != Some(value),
            Self::Has(key) => labels.contains_key(key),
        }
    }
}

pub(crate) const PRINTS: Prints = Prints {
    paged: true,
    document: &[Part {
        at: "[].",
        fields: fields::CLUSTER,
    }],
    ..prints::WIDE
};

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args { channel, selectors } = args;
    let mut clusters = app.client()?.clusters(channel.as_ref()).await?;
    clusters.retain(|cluster| selectors.iter().all(|selector| selector.fits(&cluster.labels)));
    let names = |clusters: &Vec<Cluster>| {
        clusters
            .iter()
            .map(|cluster| format!("cluster/{}", cluster.name))
            .collect()
    };
    app.output.print_named(&clusters, names, |clusters| {
        if clusters.is_empty() {
            output::note("no clusters: `driftless cluster enroll NAME --channel CHANNEL` adds one");
            return String::new();
        }
        table(clusters, now())
    })?;
    Ok(Outcome::Success)
}

fn table(clusters: &[Cluster], now: Timestamp) -> String {
    let mut table = Table::new([
        "NAME",
        "CHANNEL",
        "STATE",
        "HEALTH",
        "OBJECTS",
        "SEEN",
        "KUBERNETES",
        "LABELS",
        "ENROLLED",
        "AGENT",
        "PROBLEM",
    ])
    .wide_from(8);
    for cluster in clusters {
        let status = cluster.status.as_ref();
        let dash = || "-".to_owned();
        let objects = status.map(|status| {
            let sum = |of: fn(&driftless_model::status::ComponentStatus) -> u32| -> u32 {
                status.components.values().map(of).sum()
            };
            format!(
                "{}/{}",
                sum(|component| component.applied),
                sum(|component| component.desired)
            )
        });
        let seen = match (cluster.connected, cluster.last_seen) {
            (true, _) => "now".to_owned(),
            (false, Some(time)) => format!("{} ago", age(time, now)),
            (false, None) => dash(),
        };
        table.row([
            cluster.name.to_string(),
            cluster.channel.to_string(),
            health::state(cluster).shown(),
            status.map_or_else(dash, |status| health::shown(status.health())),
            objects.unwrap_or_else(dash),
            seen,
            status
                .map(|status| output::one_line(&status.kubernetes_version))
                .filter(|version| !version.is_empty())
                .unwrap_or_else(dash),
            output::labels(&cluster.labels),
            format!("{} ago", age(cluster.enrolled, now)),
            status
                .map(|status| output::one_line(&status.agent_version))
                .filter(|version| !version.is_empty())
                .unwrap_or_else(dash),
            health::first_problem(cluster).unwrap_or_else(dash),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(selector: &str) -> bool {
        let labels = [("region".to_owned(), "eu".to_owned())].into();
        selector.parse::<Selector>().unwrap().fits(&labels)
    }

    #[test]
    fn selectors_read_as_kubectls_do() {
        assert!(fits("region=eu") && fits("region==eu") && fits("region") && fits("tier!=edge"));
        assert!(!fits("region=us") && !fits("tier") && !fits("region!=eu"));
        assert!("a b=c".parse::<Selector>().is_err());
    }

    #[test]
    fn cluster_that_never_joined_has_dashes() {
        let cluster = Cluster {
            name: "edge-1".parse().unwrap(),
            channel: "prod".parse().unwrap(),
            labels: Labels::new(),
            vars: Default::default(),
            changed: None,
            enrolled: Timestamp::UNIX_EPOCH,
            joined: false,
            connected: false,
            last_seen: None,
            status: None,
            converged: false,
        };
        let plain = anstream::adapter::strip_str(&table(&[cluster], Timestamp::UNIX_EPOCH)).to_string();
        assert!(
            plain.ends_with("edge-1  prod     invited  -       -        -     -           -\n"),
            "{plain}"
        );
    }
}
