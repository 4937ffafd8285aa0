//! A server, a channel and an agent on a real API server: what is measured. Knows no figures.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use driftless_client::{Client, Enroll, Push, Pushed, Target};
use driftless_model::{
    bundle::{
        Bundle, Spec,
        upkeep::{Budget, Prune},
    },
    join::{self, JoinFile},
    manifest::Manifest,
    name::{ChannelName, ClusterName, ComponentName},
};
use driftless_tests::{
    ControlPlane,
    child::{self, Running},
    eventually,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use crate::programs;

/// As whom the agent is known to the API server.
pub const AGENT: &str = "agent";
/// For anything that should happen at once, on a machine that is busy.
const SOON: Duration = Duration::from_secs(120);
/// For all objects to be as pushed.
pub const CONVERGE: Duration = Duration::from_secs(300);
/// An agent that used no more processor time than this...
const STILL: Duration = Duration::from_millis(20);
/// ...over such a time has nothing to do.
const STILL_FOR: Duration = Duration::from_secs(2);

/// What runs: release builds.
#[derive(Debug)]
pub struct Programs {
    /// The server.
    pub driftless: PathBuf,
    /// The agent.
    pub agent: PathBuf,
}

impl Programs {
    /// Builds them.
    ///
    /// # Errors
    /// Where the build fails.
    pub fn release() -> Result<Self> {
        Ok(Self {
            driftless: programs::release("driftless-cli", "driftless")?,
            agent: programs::release("driftless-agent", "driftless-agent")?,
        })
    }
}

/// Everything that runs.
pub struct Stage {
    agent: Mutex<Running>,
    _server: Running,
    /// As administrator.
    pub client: Client,
    channel: ChannelName,
    cluster: ClusterName,
    agent_program: PathBuf,
    kubeconfig: PathBuf,
    home: TempDir,
    /// Last, since the others talk to it.
    pub plane: ControlPlane,
}

impl Stage {
    /// Starts the server, enrols a cluster and starts its agent.
    pub async fn open(plane: ControlPlane, programs: &Programs) -> Result<Self> {
        let home = child::scratch("spine")?;
        let arguments = ["server", "--data", "data", "--listen", "127.0.0.1:0"];
        let server = Running::spawn(
            "server",
            command(&programs.driftless, home.path(), &arguments),
            home.path(),
        )?;
        let line = server.line("listening on https://", SOON).await?;
        let url = line
            .split_whitespace()
            .last()
            .context("the server does not say where it listens")?
            .to_owned();
        let read = |name: &str| std::fs::read_to_string(home.path().join("data").join(name));
        let (ca, token) = (read("ca.crt")?, read("admin.token")?.trim().to_owned());
        let client = Client::connect(Target {
            server: url.parse()?,
            ca: Some(ca.clone()),
            token: Some(token),
        })?;

        let (channel, cluster): (ChannelName, ClusterName) = ("prod".parse()?, "spine".parse()?);
        client.create_channel(&channel).await?;
        let enroll = Enroll {
            cluster: cluster.clone(),
            channel: channel.clone(),
            labels: [].into(),
            vars: [].into(),
            ttl: None,
            again: false,
        };
        let token = client.enroll(&enroll).await?.token;
        let file = JoinFile {
            format: join::FORMAT,
            server: url,
            ca,
            cluster: cluster.clone(),
            token,
        };
        std::fs::write(home.path().join("spine.join"), file.encode())?;
        let kubeconfig = plane.user_kubeconfig(AGENT, &["system:masters"])?;
        let agent = start_agent(&programs.agent, home.path(), &kubeconfig)?;
        let stage = Self {
            agent: Mutex::new(agent),
            _server: server,
            client,
            channel,
            cluster,
            agent_program: programs.agent.clone(),
            kubeconfig,
            home,
            plane,
        };
        stage.connected().await?;
        Ok(stage)
    }

    /// The agent's process.
    pub async fn agent(&self) -> MutexGuard<'_, Running> {
        self.agent.lock().await
    }

    /// Stops the agent and starts it again, on what it kept.
    pub async fn restart_agent(&self) -> Result<()> {
        let mut agent = self.agent.lock().await;
        agent.terminate(SOON).await?;
        *agent = start_agent(&self.agent_program, self.home.path(), &self.kubeconfig)?;
        drop(agent);
        self.connected().await
    }

    /// Makes a namespace.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        };
        let namespace = Namespace {
            metadata,
            ..Namespace::default()
        };
        Api::all(self.plane.client()?)
            .create(&PostParams::default(), &namespace)
            .await?;
        Ok(())
    }

    /// A push of `objects` as all of `component`. They may all be deleted again without a person's consent.
    pub fn push_of(&self, component: &str, objects: &[Value]) -> Result<Push> {
        let manifests = objects
            .iter()
            .map(|object| Manifest::new(object.clone(), "default").map_err(|problem| anyhow!("{problem}")));
        let component: ComponentName = component.parse()?;
        let bundle = Bundle::new(component, manifests.collect::<Result<Vec<_>>>()?)?;
        let budget = Budget {
            objects: u32::MAX,
            percent: 100,
        };
        let prune = Prune {
            budget: Some(budget),
            ..Prune::default()
        };
        let spec = Spec {
            prune,
            ..Spec::default()
        };
        Ok(Push::new(self.channel.clone()).bundle(bundle.with_spec(spec)))
    }

    /// A push that removes `component`.
    pub fn removal_of(&self, component: &str) -> Result<Push> {
        Ok(Push::new(self.channel.clone()).remove(component.parse()?))
    }

    /// Pushes.
    pub async fn push(&self, push: Push) -> Result<Pushed> {
        Ok(self.client.push(push, |_| {}).await?)
    }

    /// Waits until the agent reports that everything is as pushed and has come to rest.
    pub async fn at_rest(&self) -> Result<()> {
        eventually(CONVERGE, "the cluster to converge", async || {
            let cluster = self.client.cluster(&self.cluster).await?;
            if cluster.converged {
                Ok(Some(()))
            } else {
                Err(anyhow!("{:?}", cluster.status))
            }
        })
        .await?;
        let agent = self.agent.lock().await;
        let mut before = agent.cpu_time()?;
        loop {
            tokio::time::sleep(STILL_FOR).await;
            let now = agent.cpu_time()?;
            if now.saturating_sub(before) <= STILL {
                return Ok(());
            }
            before = now;
        }
    }

    async fn connected(&self) -> Result<()> {
        eventually(SOON, "the agent to connect", async || {
            if let Some(status) = self.agent.lock().await.exit()? {
                return Ok(Some(Err(anyhow!(
                    "the agent ended: {status}{}",
                    self.agent.lock().await.tail()
                ))));
            }
            Ok(self.client.cluster(&self.cluster).await?.connected.then_some(Ok(())))
        })
        .await?
    }
}

fn start_agent(program: &Path, home: &Path, kubeconfig: &Path) -> Result<Running> {
    let kubeconfig = kubeconfig.display().to_string();
    let arguments = ["--join", "spine.join", "--kubeconfig", &kubeconfig, "--state", "state"];
    Running::spawn("agent", command(program, home, &arguments), home)
}

fn command(program: &Path, home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(home)
        .env("HOME", home)
        .env_remove("KUBECONFIG");
    command
}
