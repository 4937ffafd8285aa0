//! The `driftless-agent` binary: reads flags and environment, then runs the agent until it is told to stop.
//!
//! The only place that reads the clock, draws a seed or installs process-wide things.

mod args;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use args::{Args, LogFormat};

fn main() -> ExitCode {
    let args = Args::parse();
    start_logs(args.log_format);
    // One TLS stack for everything: the server's connection and the API server's.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed already");
    }
    // One thread: the agent waits for networks, and a second one would cost more memory than it saves time.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "cannot start");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(run(args));
    // File operations may be under way that nobody waits for any more.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let token = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listen = args.metrics_listen;
    let (lease, work, settings) = args.resolve().await?;
    if let Some(listen) = listen {
        let listener = listen.bind().await?;
        tracing::info!(address = %listener.local_addr()?, "serving metrics and health");
        tokio::spawn(driftless_agent::serve(listener, settings.metrics.clone()));
    }
    tracing::info!(version = driftless_agent::VERSION, holder = settings.holder, "starting");
    let mut agent = Box::pin(driftless_agent::run(lease, work, settings, token.clone()));
    tokio::select! { biased;
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = &mut agent => return Ok(ended?),
    }
    tracing::info!("stopping");
    token.cancel();
    Ok(agent.await?)
}

/// Each failed request is told by whoever made it, with what it was for; kube's client tells it too, without.
const LOGGED: &str = "info,kube_client::client::builder=off";

fn start_logs(format: LogFormat) {
    let filter = EnvFilter::try_from_env("DRIFTLESS_LOG").unwrap_or_else(|_| EnvFilter::new(LOGGED));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => logs.with_ansi(false).with_target(false).init(),
        LogFormat::Json => logs.json().init(),
    }
}
