//! `driftless version`.

use anyhow::Result;
use serde::Serialize;

use crate::{
    app::App,
    failure::Outcome,
    prints::{self, Part, Prints},
};

/// Print the version of this program
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    version: &'static str,
}

pub(crate) const PRINTS: Prints = Prints {
    document: &[Part {
        at: "",
        fields: &[("version", "version of this program")],
    }],
    ..prints::DOCUMENT
};

pub(crate) fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args {} = args;
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
    };
    app.output
        .print(&version, |version| format!("driftless {}\n", version.version))?;
    Ok(Outcome::Success)
}
