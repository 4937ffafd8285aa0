//! The `driftless` program: reads its arguments, runs one command, and turns the outcome into an exit code.
//!
//! # Layout
//! [`args`] (all flags) → [`app`] (what every command needs: where the server is, how to print) → [`commands`],
//! one file each. They read with [`sources`] and [`resolve`], decide in `driftless_model`, talk through
//! `driftless_client` and print through [`output`]. [`failure`] says what went wrong and what to do next;
//! [`config`] keeps the contexts that `login` makes. [`demo`] is a whole fleet in this process.
//!
//! # Exit codes
//! 0 success; 1 failure, for `diff` differences and for `verify` problems; 2 wrong usage, for `diff` any failure.

mod app;
mod args;
mod commands;
mod config;
mod demo;
mod failure;
mod open_files;
mod output;
mod provenance;
mod resolve;
mod scalar;
mod secret_file;
mod sources;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{args::Args, failure::Outcome};

fn main() -> ExitCode {
    // Errors of a second call would mean that somebody chose a provider before main.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let args = Args::parse();
    let on_failure = args.command.exit_code_of_failure();
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(Box::pin(commands::run(args))));
    match outcome {
        Ok(Outcome::Success) => ExitCode::SUCCESS,
        Ok(Outcome::Found) => ExitCode::from(1),
        // Whoever read our output has seen enough, as in `driftless log prod | head`.
        Err(error) if output::is_closed(&error) => ExitCode::SUCCESS,
        Err(error) => {
            failure::report(&error);
            ExitCode::from(on_failure)
        }
    }
}

/// The clock of the edge: everything below is passed the time.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the edge that reads the clock for everything below it"
)]
pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
