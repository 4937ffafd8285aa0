//! `driftless status`: how far a channel's clusters are, once or as it changes.

mod summary;
mod watch;

use anyhow::Result;
use driftless_model::name::ChannelName;
use futures::StreamExt as _;

use self::summary::Summary;
use crate::{
    app::App,
    failure::Outcome,
    now,
    output::Kind,
    prints::{self, Part, Prints, fields},
};

/// Show how far a channel's clusters are
///
/// Exits with 0 whatever it finds.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The channel
    channel: ChannelName,
    /// Go on showing it as it changes: in place on a terminal, a line per change elsewhere
    #[arg(short, long)]
    watch: bool,
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
    ..prints::DOCUMENT
};

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args { channel, watch } = args;
    let client = app.client()?;
    if watch {
        watch::follow(&client, &channel, &app.output).await?;
        return Ok(Outcome::Success);
    }
    // Asked for first, so that a channel that is not there is told as such.
    let record = client.channel(&channel).await?;
    let mut stream = client.watch_channel(&channel).await?;
    let summary = match stream.next().await {
        Some(status) => {
            let status = status?;
            Summary::of(status.channel, &status.clusters)
        }
        None => Summary::of(record, &client.clusters(Some(&channel)).await?),
    };
    app.output.print(&summary, |summary| summary.text(now()))?;
    Ok(Outcome::Success)
}
