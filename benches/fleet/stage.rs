//! A server in a process of its own, and the fleet that it knows. It can be killed and started again where it was.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use driftless_benches::programs;
use driftless_client::{Client, Target};
use driftless_load::{
    Dial, Held, Holding, Member, Recruiting, crew,
    fleet::Settings,
    process::{self, Used},
};
use driftless_model::name::ChannelName;
use driftless_tests::child::{self, Running, Signal};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::Args;

/// For anything that should happen at once, on a machine that is busy.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// Another server on the same bucket.
pub(crate) struct Replica {
    pub(crate) server: Running,
    pub(crate) target: Target,
    pub(crate) data: PathBuf,
}

/// What runs.
pub(crate) struct Stage {
    program: PathBuf,
    home: TempDir,
    listen: String,
    server: Running,
    pub(crate) target: Target,
    pub(crate) channel: ChannelName,
}

impl Stage {
    /// Starts a server.
    pub(crate) async fn open() -> Result<Self> {
        let program = programs::release("driftless-cli", "driftless")?;
        let home = child::scratch("fleet")?;
        let (server, listen) = start(&program, home.path(), "data", "127.0.0.1:0", &[]).await?;
        let read = |name: &str| std::fs::read_to_string(home.path().join("data").join(name));
        let target = Target {
            server: format!("https://{listen}").parse()?,
            ca: Some(read("ca.crt")?),
            token: Some(read("admin.token")?.trim().to_owned()),
        };
        let channel: ChannelName = "bench".parse()?;
        let stage = Self {
            program,
            home,
            listen,
            server,
            target,
            channel,
        };
        stage.client()?.create_channel(&stage.channel).await?;
        Ok(stage)
    }

    /// Kills the server as a power cut would, and starts it again; says how long that took.
    pub(crate) async fn restart(&mut self) -> Result<Duration> {
        self.kill();
        self.start().await
    }

    pub(crate) fn kill(&self) {
        self.server.kill();
    }

    pub(crate) async fn start(&mut self) -> Result<Duration> {
        let begun = Instant::now();
        (self.server, _) = start(&self.program, self.home.path(), "data", &self.listen, &[]).await?;
        Ok(begun.elapsed())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    pub(crate) fn client(&self) -> Result<Client> {
        Ok(Client::connect(self.target.clone())?)
    }

    pub(crate) async fn dial(&self) -> Result<Arc<Dial>> {
        Ok(Arc::new(Dial::new(&self.target).await?))
    }

    pub(crate) fn used(&self) -> Result<Used> {
        process::used(self.pid()).with_context(|| format!("the server is gone{}", self.server.tail()))
    }

    /// From here on the peak is that of what comes.
    pub(crate) fn forget_peak(&self) -> Result<()> {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()), "5").context("cannot reset the peak of memory")
    }

    /// Entries in the journal.
    pub(crate) fn entries(&self) -> Result<usize> {
        Ok(std::fs::read_dir(self.data().join("bucket/journal"))?.count())
    }

    /// Enrols so many clusters and has them join.
    pub(crate) async fn recruit(&self, agents: usize) -> Result<Vec<Member>> {
        eprintln!("{agents} clusters join");
        let recruiting = Recruiting {
            target: self.target.clone(),
            channel: self.channel.clone(),
            first: 1,
            agents,
            certificates: None,
        };
        let dial = self.dial().await?;
        Ok(crew::recruit(&recruiting, &dial, &|_| {}).await?.members)
    }

    /// A fleet of members that is not open yet.
    pub(crate) async fn hold(&self, args: &Args, members: &[Member], size: usize, install: bool) -> Result<Held> {
        self.hold_at(args, members, vec![self.dial().await?], size, install)
            .await
    }

    /// The same, spread over several servers.
    pub(crate) async fn hold_at(
        &self,
        args: &Args,
        members: &[Member],
        dials: Vec<Arc<Dial>>,
        size: usize,
        install: bool,
    ) -> Result<Held> {
        let streams = Settings {
            install,
            ..args.streams()
        };
        self.hold_as(streams, members, dials, size).await
    }

    /// The same, in some other way.
    pub(crate) async fn hold_as(
        &self,
        streams: Settings,
        members: &[Member],
        dials: Vec<Arc<Dial>>,
        size: usize,
    ) -> Result<Held> {
        let holding = Holding {
            target: self.target.clone(),
            channel: self.channel.clone(),
            size,
            fleet: streams,
            patience: SOON,
            server_pid: Some(self.pid()),
        };
        Ok(Held::prepare(holding, members, dials, CancellationToken::new()).await?)
    }

    /// Another server on the same bucket, with the same CA and token.
    pub(crate) async fn replica(&self, number: usize) -> Result<Replica> {
        let name = format!("data-{number}");
        let data = self.home.path().join(&name);
        std::fs::create_dir_all(&data)?;
        for file in ["ca.crt", "ca.key", "admin.token"] {
            std::fs::copy(self.data().join(file), data.join(file))?;
        }
        let bucket = self.data().join("bucket");
        let more = [OsStr::new("--bucket"), bucket.as_os_str()];
        let (server, listen) = start(&self.program, self.home.path(), &name, "127.0.0.1:0", &more).await?;
        let target = Target {
            server: format!("https://{listen}").parse()?,
            ..self.target.clone()
        };
        Ok(Replica { server, target, data })
    }

    /// Asks the server to stop, and waits for it.
    pub(crate) async fn close(self) -> Result<()> {
        self.server.signal(Signal::TERM)?;
        self.server.exited(SOON).await?;
        Ok(())
    }
}

impl Replica {
    pub(crate) async fn dial(&self) -> Result<Arc<Dial>> {
        Ok(Arc::new(Dial::new(&self.target).await?))
    }
}

async fn start(program: &Path, home: &Path, data: &str, listen: &str, more: &[&OsStr]) -> Result<(Running, String)> {
    let mut command = Command::new(program);
    command.args(["server", "--data", data, "--listen", listen]).args(more);
    command.current_dir(home).env("HOME", home).env("DRIFTLESS_LOG", "warn");
    let server = Running::spawn(&format!("server-of-{data}"), command, home)?;
    let line = server.line("listening on https://", SOON).await?;
    let address = line
        .rsplit('/')
        .next()
        .context("the server does not say where it listens")?;
    Ok((server, address.trim().to_owned()))
}
