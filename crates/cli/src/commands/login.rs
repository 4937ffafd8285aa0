//! `driftless login`: try a server, and remember it.

use std::path::PathBuf;

use anyhow::Result;
use driftless_client::Client;
use driftless_model::name::ChannelName;
use serde::Serialize;

use crate::{
    app::App,
    config::{Config, Context},
    failure::{Advice, Outcome},
    prints::{self, Part, Prints},
};

/// Check the way to a server, and store it as a context
///
/// Takes --ca and --token-file, or DRIFTLESS_CA and DRIFTLESS_TOKEN. The context becomes the current one. CA and
/// token are copied into the file of contexts, which only you can read.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Address of the server, https://HOST:PORT
    #[arg(value_name = "URL")]
    url: String,
    /// What to call the context [default: the server's host and port]
    #[arg(long, value_name = "CONTEXT")]
    name: Option<String>,
}

/// What a login came to, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    context: String,
    server: String,
    channels: Vec<ChannelName>,
    /// The file of contexts.
    file: PathBuf,
}

pub(crate) const PRINTS: Prints = Prints {
    document: &[Part {
        at: "",
        fields: &[
            ("context", "the context that was stored"),
            ("server", "address of the server"),
            ("channels[]", "names of the server's channels"),
            ("file", "the file of contexts"),
        ],
    }],
    ..prints::NAMED
};

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args { url, name } = args;
    let target = app.target_of(&url)?;
    if target.token.is_none() {
        let hint = "give --token-file FILE (the server's `admin.token`), or set DRIFTLESS_TOKEN";
        return Err(Advice::new("there is no token to log in with", hint).into());
    }
    // Read before the server is asked: a broken file should not be found out afterwards.
    let mut config = Config::load()?;
    let client = Client::connect(target.clone())?;
    let channels = client.channels().await?;
    let server = client.server().to_owned();
    let name = name.unwrap_or_else(|| server.trim_start_matches("https://").to_owned());
    config.put(Context {
        name: name.clone(),
        server: server.clone(),
        ca: target.ca,
        token: target.token,
    });
    let document = Document {
        context: name,
        server,
        channels: channels.into_iter().map(|channel| channel.name).collect(),
        file: config.save()?,
    };
    app.output.print_named(
        &document,
        |document| vec![format!("context/{}", document.context)],
        text,
    )?;
    Ok(Outcome::Success)
}

fn text(document: &Document) -> String {
    let Document {
        context,
        server,
        channels,
        file,
    } = document;
    let names: Vec<_> = channels.iter().map(ChannelName::as_str).collect();
    let found = match names.as_slice() {
        [] => "it has no channels yet: `driftless channel create NAME` makes one".to_owned(),
        names => format!("its channels: {}", names.join(", ")),
    };
    format!(
        "logged in to {server}; {found}\ncontext `{context}` is stored in {} and current\n",
        file.display()
    )
}
