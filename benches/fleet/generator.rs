//! Shares of a fleet, each held by a process of its own: one may not open files for more than some 19,900 streams. Such a
//! process is this very program, started again with `--share`; what it is told and answers is `driftless_load`'s.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result};
use driftless_client::Target;
use driftless_load::{
    Share,
    share::{self, Holding},
};
use driftless_model::name::ChannelName;
use driftless_tests::child::Running;
use tokio::net::TcpListener;
use url::Url;

use crate::{Args, stage::SOON};

/// What the process of a share is told when it starts.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Task {
    /// Hold a share instead of measuring: this is the number of its first cluster
    #[arg(long, hide = true, requires_all = ["server", "channel"])]
    share: Option<usize>,
    /// The server
    #[arg(long, hide = true)]
    server: Option<Url>,
    /// The channel that is followed
    #[arg(long, hide = true)]
    channel: Option<ChannelName>,
}

/// Starts the process of a share of `agents` clusters from number `first` on, which follow a server with this data folder.
pub(crate) async fn start(
    args: &Args,
    target: &Target,
    channel: &ChannelName,
    data: &Path,
    first: usize,
    agents: usize,
) -> Result<(Running, Share)> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--share", &first.to_string(), "--agents", &agents.to_string()]);
    command.args([
        "--server",
        target.server.as_str(),
        "--channel",
        channel.as_str(),
        "--data",
    ]);
    command.arg(data).args(["--connecting", &args.connecting.to_string()]);
    if args.reports {
        command.arg("--reports");
    }
    let process = Running::spawn(&format!("share-{first}"), command, data)?;
    let line = process.line("holding at", SOON).await?;
    let port = line.split_whitespace().nth(2).context("a share says its port")?;
    let share = Share::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse()?))).await?;
    Ok((process, share))
}

/// Holds a share until whoever started it is gone. Says whether that was the task.
pub(crate) async fn hold(args: &Args) -> Result<bool> {
    let Task {
        share: Some(first),
        server: Some(server),
        channel: Some(channel),
    } = args.task.clone()
    else {
        return Ok(false);
    };
    let data = args
        .data
        .as_deref()
        .context("a share reads the CA and the token of its server")?;
    let read = |name: &str| std::fs::read_to_string(data.join(name));
    let holding = Holding {
        target: Target {
            server,
            ca: Some(read("ca.crt")?),
            token: Some(read("admin.token")?.trim().to_owned()),
        },
        channel,
        first,
        agents: args.agents,
        certificates: None,
        fleet: args.streams(),
        patience: SOON,
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!("holding at {}", listener.local_addr()?.port());
    let (control, _) = listener.accept().await?;
    share::hold(holding, control).await?;
    Ok(true)
}
