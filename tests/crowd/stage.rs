//! The server, in a process of its own so that its memory can be read, and the clusters that joined it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use driftless_client::{Client, Push, Target};
use driftless_load::{Dial, Member, Recruiting, crew, workload::Workload};
use driftless_model::{bundle::Bundle, hash::ObjectHash, manifest::Manifest, name::ChannelName};
use driftless_tests::{
    child::Running,
    process::{Home, Program},
};
use serde_json::json;

/// For anything that should happen at once, on a machine that is busy.
pub(crate) const SOON: Duration = Duration::from_secs(300);

/// The one component of the channel.
pub(crate) const COMPONENT: &str = "bench";

/// See the module.
pub(crate) struct Stage {
    home: Home,
    server: Running,
    listen: String,
    pub(crate) target: Target,
    pub(crate) channel: ChannelName,
    pub(crate) client: Client,
}

/// A push that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pushed {
    pub(crate) sequence: u64,
    pub(crate) snapshot: ObjectHash,
    pub(crate) bundle: ObjectHash,
}

impl Stage {
    /// Starts a server and makes the channel.
    pub(crate) async fn open() -> Result<Self> {
        let home = Home::new()?;
        let (server, listen) = start(&home, "127.0.0.1:0").await?;
        let read = |name: &str| std::fs::read_to_string(home.path().join("data").join(name));
        let target = Target {
            server: format!("https://{listen}").parse()?,
            ca: Some(read("ca.crt")?),
            token: Some(read("admin.token")?.trim().to_owned()),
        };
        let (client, channel) = (Client::connect(target.clone())?, "crowd".parse()?);
        client.create_channel(&channel).await?;
        Ok(Self {
            home,
            server,
            listen,
            target,
            channel,
            client,
        })
    }

    /// Kills the server and starts it again where it was: what it had in memory is gone.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.server.kill();
        (self.server, _) = start(&self.home, &self.listen).await?;
        Ok(())
    }

    /// The server's process.
    pub(crate) fn server(&self) -> &Running {
        &self.server
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.listen
    }

    /// A way to it.
    pub(crate) async fn dial(&self) -> Result<Arc<Dial>> {
        Ok(Arc::new(Dial::new(&self.target).await?))
    }

    /// Enrols so many clusters and has them join.
    pub(crate) async fn recruit(&self, agents: usize) -> Result<Vec<Member>> {
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

    /// Publishes a bundle.
    pub(crate) async fn push(&self, bundle: Bundle) -> Result<Pushed> {
        let hash = bundle.hash();
        let push = Push::new(self.channel.clone()).bundle(bundle);
        let pushed = self.client.push(push, |_| {}).await?;
        Ok(Pushed {
            sequence: pushed.sequence,
            snapshot: pushed.snapshot,
            bundle: hash,
        })
    }

    /// Takes an object out of the bucket, as a collection does.
    pub(crate) fn collect(&self, hash: &ObjectHash) -> Result<()> {
        let (name, objects) = (hash.to_string(), self.home.path().join("data/bucket/objects"));
        let file: PathBuf = objects.join(&name[..2]).join(&name);
        std::fs::remove_file(&file).with_context(|| format!("no object {}", file.display()))
    }

    /// From here on the peak of the server's memory is that of what comes; answers what is resident now.
    pub(crate) fn forget_peak(&self) -> Result<u64> {
        let file = format!("/proc/{}/clear_refs", self.server.pid());
        std::fs::write(file, "5").context("cannot reset the peak of memory")?;
        self.server.resident_bytes()
    }
}

async fn start(home: &Home, listen: &str) -> Result<(Running, String)> {
    let arguments = ["server", "--data", "data", "--listen", listen];
    let quiet = [("DRIFTLESS_LOG", "error")];
    let server = home.spawn_with("server", Program::Driftless, &arguments, &quiet)?;
    let line = server.line("listening on https://", SOON).await?;
    let (_, address) = line.rsplit_once("https://").context("no address")?;
    Ok((server, address.trim().to_owned()))
}

/// Versions that differ in one line: a delta of some bytes.
pub(crate) fn small(workload: &Workload, number: usize) -> Result<Bundle> {
    Ok(workload.version(number)?)
}

/// A version that has nothing in common with any other, too large to go along with a directive: every agent asks for it.
pub(crate) fn large(number: usize) -> Result<Bundle> {
    let line = |n: usize| format!("{}\n", ObjectHash::of(format!("{number} {n}").as_bytes()));
    let lines: String = (0..LARGE_LINES).map(line).collect();
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "large"}, "data": {"lines": lines}});
    let manifest = Manifest::new(object, "crowd").map_err(|problem| anyhow!("{problem}"))?;
    Ok(Bundle::new(COMPONENT.parse()?, [manifest])?)
}

/// 65 bytes each, of which compression leaves half: some 75 KB on the wire.
const LARGE_LINES: usize = 2300;
