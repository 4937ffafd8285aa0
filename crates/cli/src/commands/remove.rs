//! `driftless remove`: take a component out of a channel.

use anyhow::Result;
use driftless_client::{Push, push::Pushed};
use driftless_model::name::{ChannelName, ComponentName};

use super::push::follow;
use crate::{
    app::App,
    failure::{Advice, Outcome},
    prints::{self, Part, Prints},
    provenance,
};

/// Remove a component from a channel, and its objects from the clusters
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The component
    component: ComponentName,
    /// The channel
    #[arg(long, value_name = "NAME")]
    channel: ChannelName,
    /// Why, for the log
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
}

pub(crate) const PRINTS: Prints = Prints {
    document: &[Part {
        at: "",
        fields: &[
            ("snapshot", "the channel's snapshot now"),
            (
                "sequence",
                "the journal entry that holds the change; 0 when nothing changed",
            ),
            ("unchanged", "was everything as asked already?"),
            ("clusters", "number of clusters that follow the channel"),
            ("uploaded", "objects that had to be uploaded"),
        ],
    }],
    ..prints::NAMED
};

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args {
        component,
        channel,
        message,
    } = args;
    let client = app.client()?;
    let before = client.channel(&channel).await?;
    if !before.components.contains_key(&component) {
        let there: Vec<_> = before.components.keys().map(ComponentName::as_str).collect();
        let hint = match there.as_slice() {
            [] => "the channel is empty".to_owned(),
            there => format!("it has {}", there.join(", ")),
        };
        return Err(Advice::new(format!("channel `{channel}` has no component `{component}`"), hint).into());
    }
    let mut push = Push::new(channel.clone()).remove(component.clone()).message(message);
    push.source = provenance::of(&[]);
    let pushed = client.push(push, |_| {}).await?;
    let names = |pushed: &Pushed| vec![format!("snapshot/{}", pushed.snapshot)];
    app.output.print_named(&pushed, names, |pushed| {
        let at = pushed.snapshot.short();
        format!(
            "{component}: removed\n{channel} is now at snapshot {at}, {}\n",
            follow(pushed.clusters)
        )
    })?;
    Ok(Outcome::Success)
}
