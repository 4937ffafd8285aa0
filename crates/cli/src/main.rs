//! The `driftless` program: reads its arguments, runs one command, and turns the outcome into an exit code.
//!
//! # Layout
//! [`args`] (all flags) → [`app`] (what every command needs: where the server is, how to print) → [`commands`],
//! one file each. They read with [`sources`], [`repository`] and [`resolve`], decide in `driftless_model`, talk through
//! `driftless_client` and print through [`output`], each what it declares in [`prints`]. [`failure`] says what went
//! wrong and what to do next; [`config`] keeps the contexts that `login` makes. [`demo`] is a whole fleet in this
//! process.
//!
//! # Exit codes
//! 0 success; 1 failure, for `diff` differences and for `verify` problems; 2 wrong usage, for `diff` any failure.

mod app;
mod args;
mod commands;
mod complete;
mod config;
mod demo;
mod failure;
mod followers;
mod moment;
mod output;
mod prints;
mod provenance;
mod question;
#[cfg(test)]
mod reference;
mod repository;
mod resolve;
mod scalar;
mod secret_file;
mod sources;
mod target;
mod validation;

use std::process::ExitCode;

use clap::{FromArgMatches as _, error::ErrorKind};

use crate::{args::Args, failure::Outcome, prints::Prints};

fn main() -> ExitCode {
    // Errors of a second call would mean that somebody chose a provider before main.
    let _ = rustls::crypto::ring::default_provider().install_default();
    complete::answer();
    let (args, prints) = arguments();
    let on_failure = args.command.exit_code_of_failure();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(Box::pin(commands::run(args, prints))));
    match outcome {
        Ok(Outcome::Success) => ExitCode::SUCCESS,
        Ok(Outcome::Found) => ExitCode::from(1),
        Ok(Outcome::Refused) => ExitCode::from(2),
        // Whoever read our output has seen enough, as in `driftless log prod | head`.
        Err(error) if output::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            failure::report(&error);
            ExitCode::from(on_failure)
        }
    }
}

/// The arguments, and what the command that they name prints. Ends the process where they are wrong.
fn arguments() -> (Args, Prints) {
    let mut command = prints::command();
    let matches = command.get_matches_mut();
    let args = Args::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit());
    let words = prints::words(&matches);
    let prints = prints::of(&words);
    if let Err(error) = prints.check(&words, &args.global.output) {
        // The usage shown with it is that of the command.
        let command = words
            .split(' ')
            .try_fold(&mut command, |command, word| command.find_subcommand_mut(word));
        let command = command.expect("clap matched the words as commands");
        command.error(ErrorKind::InvalidValue, error).exit();
    }
    (args, prints)
}

/// The clock of the edge: everything below is passed the time.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the edge that reads the clock for everything below it"
)]
pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
