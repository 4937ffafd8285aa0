//! `driftless channel`: the lines of snapshots that clusters follow.

use anyhow::Result;
use driftless_model::name::ChannelName;

use crate::{
    app::App,
    failure::Outcome,
    now,
    output::{self, Table, age},
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

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let client = app.client()?;
    match args.command {
        Command::Create { name } => {
            let channel = client.create_channel(&name).await?;
            app.output.print(&channel, |_| {
                format!("channel `{name}` is there; `driftless push PATH --component NAME --channel {name}` fills it\n")
            })?;
        }
        Command::List => {
            let channels = client.channels().await?;
            app.output.print(&channels, |channels| {
                if channels.is_empty() {
                    output::note("no channels: `driftless channel create NAME` makes one");
                    return String::new();
                }
                let mut table = Table::new(["NAME", "SNAPSHOT", "COMPONENTS", "CLUSTERS", "CHANGED"]);
                for channel in channels {
                    table.row([
                        channel.name.to_string(),
                        channel.snapshot.map_or_else(|| "-".to_owned(), |hash| hash.short()),
                        channel.components.len().to_string(),
                        channel.clusters.to_string(),
                        format!("{} ago", age(channel.changed, now())),
                    ]);
                }
                table.render()
            })?;
        }
    }
    Ok(Outcome::Success)
}
