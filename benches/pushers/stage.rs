//! A server with an empty channel, in a process of its own, and what it left in its bucket. Knows no figures.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use driftless_benches::programs;
use driftless_client::{Client, Target};
use driftless_model::name::ChannelName;
use driftless_tests::child::{self, Running};
use serde::Serialize;
use tempfile::TempDir;

/// For anything that should happen at once, on a machine that is busy.
const SOON: Duration = Duration::from_secs(120);

/// What the bucket is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// A folder, served by the real program.
    Folder,
    /// The same with this added to every put, as an object store has.
    Slow(Duration),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder => f.write_str("folder bucket"),
            Self::Slow(delay) => write!(f, "folder bucket with {} ms added to every put", delay.as_millis()),
        }
    }
}

/// What runs.
pub(crate) struct Stage {
    pub(crate) server: Running,
    target: Target,
    /// All push here.
    pub(crate) channel: ChannelName,
    /// Nobody pushes here.
    pub(crate) idle: ChannelName,
    home: TempDir,
}

/// Files of a bucket.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Stored {
    pub(crate) objects: usize,
    pub(crate) object_bytes: u64,
    pub(crate) entries: usize,
    pub(crate) entry_bytes: u64,
}

impl Stored {
    /// What was added to `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            objects: self.objects - before.objects,
            object_bytes: self.object_bytes - before.object_bytes,
            entries: self.entries - before.entries,
            entry_bytes: self.entry_bytes - before.entry_bytes,
        }
    }
}

impl Stage {
    /// Starts the server and makes the channels.
    pub(crate) async fn open(kind: Kind) -> Result<Self> {
        let home = child::scratch("pushers")?;
        let mut command = match kind {
            Kind::Folder => {
                let mut command = Command::new(programs::release("driftless-cli", "driftless")?);
                command.args(["server", "--data", "data", "--listen", "127.0.0.1:0"]);
                command
            }
            Kind::Slow(delay) => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["--serve", "data", "--delay", &delay.as_millis().to_string()]);
                command
            }
        };
        command.current_dir(home.path()).env("HOME", home.path());
        let server = Running::spawn("server", command, home.path())?;
        let line = server.line("listening on https://", SOON).await?;
        let url = line.split_whitespace().last();
        let read = |name: &str| std::fs::read_to_string(home.path().join("data").join(name));
        let target = Target {
            server: url.context("the server does not say where it listens")?.parse()?,
            ca: Some(read("ca.crt")?),
            token: Some(read("admin.token")?.trim().to_owned()),
        };
        let stage = Self {
            server,
            target,
            channel: "prod".parse()?,
            idle: "idle".parse()?,
            home,
        };
        let client = stage.client()?;
        client.create_channel(&stage.channel).await?;
        client.create_channel(&stage.idle).await?;
        Ok(stage)
    }

    /// A connection of its own.
    pub(crate) fn client(&self) -> Result<Client> {
        Ok(Client::connect(self.target.clone())?)
    }

    /// What is in the bucket now.
    pub(crate) fn stored(&self) -> Result<Stored> {
        let bucket = self.home.path().join("data/bucket");
        let (objects, object_bytes) = files(&bucket.join("objects"))?;
        let (entries, entry_bytes) = files(&bucket.join("journal"))?;
        Ok(Stored {
            objects,
            object_bytes,
            entries,
            entry_bytes,
        })
    }

    /// An empty folder on the same disk.
    pub(crate) fn folder(&self) -> Result<TempDir> {
        child::scratch("floor")
    }
}

fn files(folder: &Path) -> Result<(usize, u64)> {
    let (mut count, mut bytes) = (0, 0);
    let mut folders: Vec<PathBuf> = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        if !folder.exists() {
            continue;
        }
        for item in std::fs::read_dir(&folder)? {
            let metadata = item?;
            if metadata.file_type()?.is_dir() {
                folders.push(metadata.path());
            } else {
                count += 1;
                bytes += metadata.metadata()?.len();
            }
        }
    }
    Ok((count, bytes))
}
