//! One file per command: its arguments, what it asks for and what it prints.

pub(crate) mod approve_prune;
pub(crate) mod bench;
pub(crate) mod blame;
pub(crate) mod channel;
pub(crate) mod cluster;
pub(crate) mod clusters;
pub(crate) mod completion;
pub(crate) mod context;
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod dry_run;
pub(crate) mod explain;
pub(crate) mod history;
pub(crate) mod log;
pub(crate) mod login;
pub(crate) mod ordered;
pub(crate) mod pause;
pub(crate) mod push;
pub(crate) mod reconcile;
pub(crate) mod remove;
pub(crate) mod resume;
pub(crate) mod schema;
pub(crate) mod server;
pub(crate) mod show;
pub(crate) mod status;
pub(crate) mod verify;
pub(crate) mod version;
pub(crate) mod view;

use anyhow::Result;

use crate::{
    app::App,
    args::{Args, Command},
    failure::Outcome,
    prints::Prints,
};

/// Runs the command that was asked for, which prints this.
pub(crate) async fn run(args: Args, prints: Prints) -> Result<Outcome> {
    let app = App::new(args.global, prints);
    match args.command {
        Command::Demo(args) => Box::pin(demo::run(args)).await.map(|()| Outcome::Success),
        Command::Server(args) => Box::pin(server::run(args)).await,
        Command::Login(args) => login::run(args, &app).await,
        Command::Context(args) => context::run(args, &app),
        Command::Channel(args) => channel::run(args, &app).await,
        Command::Cluster(args) => cluster::run(args, &app).await,
        Command::Push(args) => Box::pin(push::run(args, &app)).await,
        Command::Remove(args) => remove::run(args, &app).await,
        Command::Diff(args) => Box::pin(diff::run(args, &app)).await,
        Command::DryRun(args) => dry_run::run(args, &app).await,
        Command::Log(args) => log::run(args, &app).await,
        Command::Show(args) => show::run(args, &app).await,
        Command::Explain(args) => Box::pin(explain::run(args, &app)).await,
        Command::History(args) => Box::pin(history::run(args, &app)).await,
        Command::Blame(args) => Box::pin(blame::run(args, &app)).await,
        Command::Status(args) => Box::pin(status::run(args, &app)).await,
        Command::Clusters(args) => clusters::run(args, &app).await,
        Command::Pause(args) => pause::run(args, &app).await,
        Command::Resume(args) => resume::run(args, &app).await,
        Command::Reconcile(args) => reconcile::run(args, &app).await,
        Command::ApprovePrune(args) => approve_prune::run(args, &app).await,
        Command::View(args) => view::run(args, &app).await,
        Command::Verify(args) => Box::pin(verify::run(args, &app)).await,
        Command::Bench(args) => Box::pin(bench::run(args, &app)).await,
        Command::Completion(args) => completion::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Version(args) => version::run(args, &app),
    }
}
