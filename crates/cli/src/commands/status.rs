//! `driftless status`: how far a channel's clusters are, once or as it changes.

mod summary;
mod watch;

use std::time::Duration;

use anyhow::Result;
use driftless_client::{Client, types::Cluster};
use driftless_model::{name::ChannelName, selector::Selector};
use futures::StreamExt as _;
use jiff::Timestamp;

use self::{summary::Summary, watch::Follow};
use super::cluster::parse_ttl;
use crate::{
    app::App,
    failure::Outcome,
    now,
    output::{self, Kind, Table, age},
    prints::{self, Part, Prints, fields},
};

/// Show how far a channel's clusters are, and what to look at first
///
/// Without a channel: all channels, a line each. Problems that clusters share are one line, most spread first.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The channel [default: all]
    channel: Option<ChannelName>,
    /// Only clusters with these labels, as `kubectl -l` takes them
    #[arg(
        short = 'l',
        long,
        value_name = "SELECTOR",
        default_value = "",
        hide_default_value = true
    )]
    selector: Selector,
    /// Go on showing it as it changes: in place on a terminal, a line per change elsewhere
    #[arg(short, long, requires = "channel")]
    watch: bool,
    /// Go on until every cluster is converged and healthy
    #[arg(long, requires = "channel", conflicts_with = "watch")]
    wait: bool,
    /// With --wait: give up after this long, and exit with 1
    #[arg(long, value_name = "DURATION", requires = "wait", value_parser = parse_ttl)]
    timeout: Option<Duration>,
}

pub(crate) const PRINTS: Prints = Prints {
    document: &[
        Part {
            at: "channel.",
            fields: fields::CHANNEL,
        },
        Part {
            at: "clusters.",
            fields: &[
                ("total", "clusters that follow it"),
                ("joined", "those whose agent has used its join token"),
                ("connected", "those whose stream is open"),
                ("converged", "those that have applied all of it"),
                ("holding", "those that hold objects which cannot be worked out there"),
            ],
        },
        Part {
            at: "components[].",
            fields: &[
                ("component", "the component"),
                (
                    "bundle",
                    "the bundle that the clusters shall have; `null` while a removed component is pruned",
                ),
                ("converged", "clusters that have it, all of it"),
                ("health.*", "clusters by health"),
                (
                    "repaired",
                    "objects put back on them after somebody changed them, since their agents started",
                ),
                ("lastRepair", "when the last one was; `null` without one"),
            ],
        },
        Part {
            at: "unhealthy[].",
            fields: &[
                ("cluster", "a cluster that something is wrong with"),
                ("component", "the component concerned, or `null`"),
                (
                    "object.**",
                    "the object concerned (`group`, `kind`, `namespace`, `name`), or `null`",
                ),
                ("reason", "what is wrong, in a word"),
                ("message", "what happened and what will be tried next"),
                ("since", "since when, or `null`"),
                ("more", "number of further problems of this cluster"),
            ],
        },
    ],
    forms: &[Kind::Table, Kind::Wide, Kind::Json, Kind::Yaml, Kind::JsonPath],
    exits: &[
        (
            0,
            "told, whatever there is; with --wait: all clusters are converged and healthy",
        ),
        (1, "any failure; with --timeout: they are not, yet"),
        (2, "wrong usage"),
    ],
    ..prints::DOCUMENT
};

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args {
        channel,
        selector,
        watch,
        wait,
        timeout,
    } = args;
    let client = app.client()?;
    let Some(channel) = channel else {
        let summaries = all(&client, &selector).await?;
        app.output.print(&summaries, |summaries| overview(summaries, now()))?;
        return Ok(Outcome::Success);
    };
    // Asked for first, so that a channel that is not there is told as such.
    let record = client.channel(&channel).await?;
    if watch || wait {
        let follow = Follow {
            client: &client,
            channel: &channel,
            selector: &selector,
            until_settled: wait,
        };
        return follow.run(&app.output, timeout).await;
    }
    let mut stream = client.watch_channel(&channel).await?;
    let (record, mut clusters) = match stream.next().await {
        Some(status) => {
            let status = status?;
            (status.channel, status.clusters)
        }
        None => (record, client.clusters(Some(&channel)).await?),
    };
    clusters.retain(|cluster| is_selected(&selector, cluster));
    let summary = Summary::of(record, &clusters);
    app.output.print(&summary, |summary| summary.text(now()))?;
    Ok(Outcome::Success)
}

/// Is the cluster one of those asked about?
fn is_selected(selector: &Selector, cluster: &Cluster) -> bool {
    let facts = cluster.facts();
    selector.matches(|key| facts.label(key))
}

/// Every channel, summed up.
async fn all(client: &Client, selector: &Selector) -> Result<Vec<Summary>> {
    let mut clusters = client.clusters(None).await?;
    clusters.retain(|cluster| is_selected(selector, cluster));
    let channels = client.channels().await?.into_iter();
    Ok(channels
        .map(|channel| {
            let own: Vec<_> = clusters
                .iter()
                .filter(|cluster| cluster.channel == channel.name)
                .cloned()
                .collect();
            Summary::of(channel, &own)
        })
        .collect())
}

/// The channels, a line each.
fn overview(summaries: &[Summary], now: Timestamp) -> String {
    if summaries.is_empty() {
        output::note("no channels: `driftless channel create NAME` makes one");
        return String::new();
    }
    let mut table = Table::new([
        "CHANNEL",
        "SNAPSHOT",
        "CHANGED",
        "CONVERGED",
        "CONNECTED",
        "FIRST PROBLEM",
    ]);
    for summary in summaries {
        let channel = &summary.channel;
        table.row([
            channel.name.to_string(),
            channel.snapshot.map_or_else(|| "-".to_owned(), |hash| hash.short()),
            format!("{} ago", age(channel.changed, now)),
            summary.converged(),
            format!("{}/{}", summary.clusters.connected, summary.clusters.total),
            summary.first_problem().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table.render()
}
