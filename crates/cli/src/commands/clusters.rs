//! `driftless clusters`: the fleet, a line each.

use anyhow::Result;
use driftless_client::types::Cluster;
use driftless_model::{name::ChannelName, selector::Selector};
use jiff::Timestamp;

use crate::{
    app::App,
    failure::Outcome,
    now,
    output::{
        self, Table, age,
        health::{self, State},
    },
    prints::{self, Part, Prints, fields},
};

/// List the clusters, and how they do
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only those that follow this channel
    #[arg(long, value_name = "NAME")]
    channel: Option<ChannelName>,
    /// Only those with these labels, as kubectl takes them: region=eu,tier in (edge,core),!canary; may be given again
    #[arg(short = 'l', long = "selector", value_name = "SELECTOR")]
    selectors: Vec<Selector>,
    /// A column for each of these labels; may be given again
    #[arg(short = 'L', long = "label-columns", value_name = "KEY", value_delimiter = ',')]
    label_columns: Vec<String>,
    /// What to sort by
    #[arg(long, value_enum, value_name = "BY", default_value_t = SortBy::Name)]
    sort_by: SortBy,
}

/// What clusters are sorted by; then by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SortBy {
    Name,
    Channel,
    /// Those not seen for the longest time first
    Seen,
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
    let Args {
        channel,
        selectors,
        label_columns,
        sort_by,
    } = args;
    let none = Selector::default();
    let (first, others) = selectors.split_first().unwrap_or((&none, &[]));
    let mut clusters = app.client()?.select_clusters(channel.as_ref(), first).await?;
    clusters.retain(|cluster| {
        let facts = cluster.facts();
        others.iter().all(|selector| selector.matches(|key| facts.label(key)))
    });
    match sort_by {
        SortBy::Name => {}
        SortBy::Channel => clusters.sort_by(|a, b| a.channel.cmp(&b.channel)),
        SortBy::Seen => clusters.sort_by_key(|cluster| (cluster.connected, cluster.last_seen)),
    }
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
        table(clusters, &label_columns, now())
    })?;
    Ok(Outcome::Success)
}

/// The clusters, with all labels in one column, or with a column for each of `labels`.
fn table(clusters: &[Cluster], labels: &[String], now: Timestamp) -> String {
    let upper: Vec<_> = labels.iter().map(|key| head(key)).collect();
    let mut heads = vec!["NAME", "CHANNEL", "STATE", "HEALTH", "OBJECTS", "SEEN", "KUBERNETES"];
    match upper.as_slice() {
        [] => heads.push("LABELS"),
        some => heads.extend(some.iter().map(String::as_str)),
    }
    let narrow = heads.len();
    heads.extend(["ENROLLED", "AGENT", "PROBLEM"]);
    let mut table = Table::of(&heads).wide_from(narrow);
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
        let mut cells = vec![
            cluster.name.to_string(),
            cluster.channel.to_string(),
            state(cluster),
            status.map_or_else(dash, |status| health::shown(status.health())),
            objects.unwrap_or_else(dash),
            seen,
            status
                .map(|status| output::one_line(&status.kubernetes_version))
                .filter(|version| !version.is_empty())
                .unwrap_or_else(dash),
        ];
        let facts = cluster.facts();
        match labels {
            [] => cells.push(output::labels(&cluster.labels)),
            some => cells.extend(some.iter().map(|key| facts.label(key).unwrap_or("-").to_owned())),
        }
        cells.extend([
            format!("{} ago", age(cluster.enrolled, now)),
            status
                .map(|status| output::one_line(&status.agent_version))
                .filter(|version| !version.is_empty())
                .unwrap_or_else(dash),
            health::first_problem(cluster).unwrap_or_else(dash),
        ]);
        table.cells(cells);
    }
    table.render()
}

/// Where it stands; that it is paused also where another word matters more.
fn state(cluster: &Cluster) -> String {
    let state = health::state(cluster);
    if state == State::Paused || cluster.orders.pauses.is_empty() {
        return state.shown();
    }
    format!("{}, {}", state.shown(), State::Paused.shown())
}

/// The head of a label's column, as kubectl has it: the last part of its key.
fn head(key: &str) -> String {
    key.rsplit('/').next().unwrap_or(key).to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Cluster {
        Cluster {
            name: "edge-1".parse().unwrap(),
            channel: "prod".parse().unwrap(),
            labels: [("example.com/region".to_owned(), "eu".to_owned())].into(),
            vars: Default::default(),
            orders: Default::default(),
            changed: None,
            enrolled: Timestamp::UNIX_EPOCH,
            joined: false,
            connected: false,
            last_seen: None,
            status: None,
            converged: false,
        }
    }

    #[test]
    fn cluster_that_never_joined_has_dashes() {
        let plain = anstream::adapter::strip_str(&table(&[cluster()], &[], Timestamp::UNIX_EPOCH)).to_string();
        assert!(
            plain.ends_with("edge-1  prod     invited  -       -        -     -           example.com/region=eu\n"),
            "{plain}"
        );
    }

    #[test]
    fn labels_have_columns_when_asked() {
        let keys = ["example.com/region", "tier", "driftless.dev/channel"].map(str::to_owned);
        let plain = anstream::adapter::strip_str(&table(&[cluster()], &keys, Timestamp::UNIX_EPOCH)).to_string();
        assert_eq!(
            plain,
            "NAME    CHANNEL  STATE    HEALTH  OBJECTS  SEEN  KUBERNETES  REGION  TIER  CHANNEL\n\
             edge-1  prod     invited  -       -        -     -           eu      -     prod\n"
        );
    }
}
