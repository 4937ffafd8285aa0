//! Every flag and command, as clap sees them.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::{
    commands,
    output::{Color, Format, FormatParser},
};

/// GitOps for thousands of Kubernetes clusters, without making any of them talk to Git
#[derive(Debug, Parser)]
#[command(name = "driftless", version, max_term_width = 110)]
#[command(
    after_help = "Exit codes: 0 success, 1 failure (diff, dry-run: differences), 2 wrong usage (diff, dry-run: any failure)."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Global {
    /// Use this context instead of the current one
    #[arg(
        long,
        global = true,
        env = "DRIFTLESS_CONTEXT",
        hide_env_values = true,
        value_name = "NAME",
        help_heading = "Connection"
    )]
    pub(crate) context: Option<String>,
    /// Address of the server, https://HOST:PORT; no context is used then
    #[arg(
        long,
        global = true,
        env = "DRIFTLESS_SERVER",
        hide_env_values = true,
        value_name = "URL",
        help_heading = "Connection"
    )]
    pub(crate) server: Option<String>,
    /// File with the CA that signed the server's certificate
    #[arg(
        long,
        global = true,
        env = "DRIFTLESS_CA",
        hide_env_values = true,
        value_name = "FILE",
        help_heading = "Connection"
    )]
    pub(crate) ca: Option<PathBuf>,
    /// File with the token; the token itself may be in DRIFTLESS_TOKEN
    #[arg(
        long,
        global = true,
        env = "DRIFTLESS_TOKEN_FILE",
        hide_env_values = true,
        value_name = "FILE",
        help_heading = "Connection"
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// How to print
    #[arg(
        short,
        long,
        global = true,
        value_parser = FormatParser,
        default_value = "table",
        value_name = "FORM",
        help_heading = "Output"
    )]
    pub(crate) output: Format,
    /// For -o jsonpath: take keys that are not there for nothing, rather than for a failure
    #[arg(
        long,
        global = true,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = true,
        default_missing_value = "true",
        action = clap::ArgAction::Set,
        help_heading = "Output",
        hide_possible_values = true
    )]
    pub(crate) allow_missing_keys: bool,
    /// When to colour; NO_COLOR and CLICOLOR are honoured
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t = Color::Auto,
        value_name = "WHEN",
        hide_possible_values = false,
        help_heading = "Output"
    )]
    pub(crate) color: Color,
    /// Never show long output with a pager ($DRIFTLESS_PAGER, else $PAGER, else `less -FRX`)
    #[arg(long, global = true, help_heading = "Output")]
    pub(crate) no_pager: bool,
}

/// The commands, in the order in which one meets them.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(commands::demo::Args),
    Server(commands::server::Args),
    Login(commands::login::Args),
    Context(commands::context::Args),
    Channel(commands::channel::Args),
    Cluster(commands::cluster::Args),
    Push(commands::push::Args),
    Remove(commands::remove::Args),
    Diff(commands::diff::Args),
    DryRun(commands::dry_run::Args),
    Log(commands::log::Args),
    Show(commands::show::Args),
    Explain(commands::explain::Args),
    History(commands::history::Args),
    Blame(commands::blame::Args),
    Status(commands::status::Args),
    Clusters(commands::clusters::Args),
    Pause(commands::pause::Args),
    Resume(commands::resume::Args),
    Reconcile(commands::reconcile::Args),
    ApprovePrune(commands::approve_prune::Args),
    View(commands::view::Args),
    Verify(commands::verify::Args),
    Bench(commands::bench::Args),
    Completion(commands::completion::Args),
    Schema(commands::schema::Args),
    Version(commands::version::Args),
}

impl Command {
    /// `diff` and `dry-run` keep 1 for "there are differences", as kubectl does.
    pub(crate) fn exit_code_of_failure(&self) -> u8 {
        if matches!(self, Self::Diff(_) | Self::DryRun(_)) {
            2
        } else {
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn flags_do_not_contradict_each_other() {
        Args::command().debug_assert();
    }
}
