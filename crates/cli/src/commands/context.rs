//! `driftless context`: the servers that `login` remembered.

use anyhow::Result;
use serde::Serialize;

use crate::{
    app::App,
    config::Config,
    failure::Outcome,
    output::{self, Table},
    prints::{self, Part, Prints},
};

/// List, choose and forget the servers you logged in to
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the contexts
    List,
    /// Make a context the current one
    Use {
        /// Name of the context
        name: String,
    },
    /// Forget a context, with its token
    Remove {
        /// Name of the context
        name: String,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed<'a> {
    name: &'a str,
    server: &'a str,
    current: bool,
}

/// A context that something was done with, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Chosen {
    name: String,
    /// Is it the current one now?
    current: bool,
}

pub(crate) const LISTED: Prints = Prints {
    document: &[Part {
        at: "[].",
        fields: &[
            ("name", "its name"),
            ("server", "address of its server"),
            ("current", "is it the current one?"),
        ],
    }],
    ..prints::NAMED
};
pub(crate) const CHOSEN: Prints = Prints {
    document: &[Part {
        at: "",
        fields: &[("name", "its name"), ("current", "is it the current one now?")],
    }],
    ..prints::NAMED
};

pub(crate) fn run(args: Args, app: &App) -> Result<Outcome> {
    let mut config = Config::load()?;
    match args.command {
        Command::List => list(&config, app)?,
        Command::Use { name } => {
            config.find(&name)?;
            config.current = Some(name.clone());
            config.save()?;
            done(app, name, true)?;
        }
        Command::Remove { name } => {
            config.remove(&name)?;
            config.save()?;
            done(app, name, false)?;
        }
    }
    Ok(Outcome::Success)
}

fn done(app: &App, name: String, current: bool) -> Result<()> {
    let word = if current { "current" } else { "forgotten" };
    app.output.print_named(
        &Chosen { name, current },
        |chosen| vec![format!("context/{}", chosen.name)],
        |chosen| format!("context `{}` is {word}\n", chosen.name),
    )
}

fn list(config: &Config, app: &App) -> Result<()> {
    let contexts = config.contexts.iter().map(|context| Listed {
        name: &context.name,
        server: &context.server,
        current: config.current.as_ref() == Some(&context.name),
    });
    let names = |contexts: &Vec<Listed>| contexts.iter().map(|one| format!("context/{}", one.name)).collect();
    app.output
        .print_named(&contexts.collect::<Vec<_>>(), names, |contexts| {
            if contexts.is_empty() {
                output::note("no contexts: `driftless login URL --ca FILE --token-file FILE` makes one");
                return String::new();
            }
            let mut table = Table::new(["CURRENT", "NAME", "SERVER"]);
            for Listed { name, server, current } in contexts {
                table.row([
                    if *current { "*" } else { "" }.to_owned(),
                    (*name).to_owned(),
                    (*server).to_owned(),
                ]);
            }
            table.render()
        })
}
