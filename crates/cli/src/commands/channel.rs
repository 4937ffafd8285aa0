//! `driftless channel`: the lines of snapshots that clusters follow.

use anyhow::Result;
use driftless_client::types::Channel;
use driftless_model::{hash::ObjectHash, name::ChannelName};

use crate::{
    app::App,
    failure::Outcome,
    now,
    output::{self, Table, age},
    prints::{self, Part, Prints, fields},
};

/// Create and list channels
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a channel; a channel never comes into being by a typo
    Create {
        /// Its name
        name: ChannelName,
    },
    /// List the channels
    List,
}

pub(crate) const CREATED: Prints = Prints {
    document: &[Part {
        at: "",
        fields: fields::CHANNEL,
    }],
    ..prints::NAMED
};
pub(crate) const LISTED: Prints = Prints {
    document: &[Part {
        at: "[].",
        fields: fields::CHANNEL,
    }],
    ..prints::WIDE
};

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let client = app.client()?;
    match args.command {
        Command::Create { name } => {
            let channel = client.create_channel(&name).await?;
            app.output.print_named(
                &channel,
                |channel| vec![named(channel)],
                |_| {
                    format!(
                        "channel `{name}` is there; `driftless push PATH --component NAME --channel {name}` fills it\n"
                    )
                },
            )?;
        }
        Command::List => {
            let channels = client.channels().await?;
            let names = |channels: &Vec<Channel>| channels.iter().map(named).collect();
            app.output.print_named(&channels, names, |channels| table(channels))?;
        }
    }
    Ok(Outcome::Success)
}

fn named(channel: &Channel) -> String {
    format!("channel/{}", channel.name)
}

fn table(channels: &[Channel]) -> String {
    if channels.is_empty() {
        output::note("no channels: `driftless channel create NAME` makes one");
        return String::new();
    }
    let heads = [
        "NAME",
        "SNAPSHOT",
        "COMPONENTS",
        "CLUSTERS",
        "HEALTHY",
        "FAILED",
        "CHANGED",
        "SEQUENCE",
        "FULL SNAPSHOT",
    ];
    let mut table = Table::new(heads).wide_from(7);
    for channel in channels {
        let hash = |shown: fn(ObjectHash) -> String| channel.snapshot.map_or_else(|| "-".to_owned(), shown);
        table.row([
            channel.name.to_string(),
            hash(|hash| hash.short()),
            channel.components.len().to_string(),
            channel.clusters.to_string(),
            channel.progress.healthy.to_string(),
            channel.progress.failed.to_string(),
            format!("{} ago", age(channel.changed, now())),
            channel.sequence.to_string(),
            hash(|hash| hash.to_string()),
        ]);
    }
    table.render()
}
