//! `driftless cluster`: who is in the fleet, and what is said of them.

mod apply;
mod changes;
mod edit;
mod enroll;
mod label;
mod relocate;
mod retire;
mod target;
mod vars;

use anyhow::Result;

pub(super) use enroll::parse_ttl;
pub(super) use target::Chosen;

use super::clusters;
use crate::{
    app::App,
    failure::Outcome,
    prints::{self, Part, Prints},
};

/// Let clusters into the fleet, label, move and retire them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Enroll(enroll::Args),
    List(clusters::Args),
    Label(label::Args),
    Vars(vars::Args),
    Move(relocate::Args),
    Apply(apply::Args),
    Retire(retire::Args),
}

pub(crate) const ENROLLED: Prints = Prints {
    document: &[Part {
        at: "",
        fields: &[
            ("cluster", "the cluster"),
            ("channel", "the channel it follows"),
            ("labels.*", "its labels"),
            ("vars.**", "its variables; absent without any"),
            ("expires", "until when the join token is good"),
            (
                "join.format",
                "version of the join file's format; `join` is absent with `--join-file`",
            ),
            ("join.server", "address of the server"),
            ("join.ca", "certificates of the server's CA"),
            ("join.cluster", "the cluster"),
            ("join.token", "the one-time join token: a secret"),
        ],
    }],
    ..prints::NAMED
};

/// Of commands that change clusters' records.
pub(crate) const CHANGED: Prints = Prints {
    document: &[Part {
        at: "",
        fields: &[
            ("dryRun", "was nothing really changed?"),
            (
                "sequence",
                "the journal entry that holds the change; 0 when nothing changed",
            ),
            ("changes[].cluster", "a cluster that changes"),
            ("changes[].before.channel", "the channel it followed"),
            ("changes[].before.labels.*", "its labels before"),
            ("changes[].before.vars.**", "its variables before"),
            ("changes[].after.channel", "the channel it follows then"),
            ("changes[].after.labels.*", "its labels after"),
            ("changes[].after.vars.**", "its variables after"),
            ("unchanged", "number of clusters that are as asked already"),
        ],
    }],
    ..prints::NAMED
};

pub(crate) const RETIRED: Prints = Prints {
    document: &[Part {
        at: "",
        fields: &[
            ("retired[]", "a cluster that left the fleet"),
            ("sequence", "the journal entry that holds it"),
        ],
    }],
    exits: &[(1, "a failure, or the answer was no")],
    ..prints::NAMED
};

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    match args.command {
        Command::Enroll(args) => enroll::run(args, app).await,
        Command::List(args) => clusters::run(args, app).await,
        Command::Label(args) => label::run(args, app).await,
        Command::Vars(args) => vars::run(args, app).await,
        Command::Move(args) => relocate::run(args, app).await,
        Command::Apply(args) => Box::pin(apply::run(args, app)).await,
        Command::Retire(args) => retire::run(args, app).await,
    }
}
