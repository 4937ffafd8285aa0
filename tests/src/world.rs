//! A whole fleet around one test cluster: a real server, a channel, and real agents that follow it.
//!
//! Everything is run as a person would: `driftless server`, `login`, `channel create`, `cluster enroll`, `push`,
//! `clusters`, and `driftless-agent` with the join file. Each test makes a world of its own; on a shared cluster its
//! agents keep to a namespace of their own, so that no two worlds see each other.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use driftless_model::{
    hash::ObjectHash,
    status::{ClusterStatus, Health, Problem},
};
use serde::Deserialize;

use crate::{
    child::Running,
    cluster::{Asked, Mark, TestCluster, new_name, new_namespace},
    process::{Finished, Home, Program},
    wait::eventually,
};

/// Long enough for anything that should happen at once, on two cores under a full build.
pub const SOON: Duration = Duration::from_secs(120);
/// The channel that the world's cluster follows.
pub const CHANNEL: &str = "prod";

/// A server, a channel and a cluster in it.
pub struct World<'a> {
    /// The cluster that the agents keep.
    pub cluster: &'a dyn TestCluster,
    name: String,
    namespace: String,
    address: String,
    server: Option<Running>,
    start: Mark,
    home: Home,
}

/// What `driftless clusters -o json` says of a cluster.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Is its stream open?
    pub connected: bool,
    /// Has it applied all of its channel?
    pub converged: bool,
    /// What its agent reported.
    pub status: Option<ClusterStatus>,
}

/// What `driftless push -o json` says.
#[derive(Clone, Debug, Deserialize)]
pub struct Pushed {
    components: Vec<PushedComponent>,
    /// The channel's snapshot now.
    pub snapshot: Option<ObjectHash>,
}

#[derive(Clone, Debug, Deserialize)]
struct PushedComponent {
    objects: usize,
}

impl Pushed {
    /// Objects of the components now.
    pub fn objects(&self) -> usize {
        self.components.iter().map(|component| component.objects).sum()
    }
}

impl Row {
    /// The problems of all components and of the agent itself.
    pub fn problems(&self) -> Vec<&Problem> {
        let status = self.status.iter();
        status
            .flat_map(|status| {
                let components = status.components.values();
                components
                    .flat_map(|component| &component.problems)
                    .chain(&status.problems)
            })
            .collect()
    }

    /// The problem of an object.
    pub fn problem_of(&self, kind: &str, name: &str) -> Option<&Problem> {
        let is_it = |problem: &&Problem| {
            let object = problem.object.as_ref();
            object.is_some_and(|object| object.kind == kind && object.name == name)
        };
        self.problems().into_iter().find(is_it)
    }

    /// The worst health of its components.
    pub fn health(&self) -> Health {
        self.status.as_ref().map_or(Health::Unknown, ClusterStatus::health)
    }

    /// Objects applied, of how many.
    pub fn applied(&self) -> (u32, u32) {
        let components = self.status.iter().flat_map(|status| status.components.values());
        components.fold((0, 0), |(applied, desired), component| {
            (applied + component.applied, desired + component.desired)
        })
    }
}

impl<'a> World<'a> {
    /// Starts a server, logs in, makes the channel and a namespace for what will be pushed.
    pub async fn new(cluster: &'a dyn TestCluster, name: &str) -> Result<Self> {
        let namespace = new_namespace(cluster, name).await?;
        let mut world = Self {
            cluster,
            name: new_name(name),
            namespace,
            address: String::from("127.0.0.1:0"),
            server: None,
            start: cluster.mark().await?,
            home: Home::new()?,
        };
        world.start_server().await?;
        let url = world.url();
        let login = ["login", &url, "--ca", "data/ca.crt", "--token-file", "data/admin.token"];
        world.driftless(&login).await?;
        world.driftless(&["channel", "create", CHANNEL]).await?;
        world.enroll("join", &[]).await?;
        Ok(world)
    }

    /// The name of the cluster, of its agents' user, and of the namespace where they keep their own objects.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace of what is pushed.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The server's address.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The home in which everything runs.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Runs a command that has to succeed, and gives its output.
    pub async fn driftless(&self, arguments: &[&str]) -> Result<String> {
        self.home.driftless(arguments).await?.expect_success()
    }

    /// Starts the server, again where it was before.
    pub async fn start_server(&mut self) -> Result<()> {
        let arguments = ["server", "--data", "data", "--listen", &self.address];
        let server = self.home.spawn("server", Program::Driftless, &arguments)?;
        let line = server.line("listening on https://", SOON).await?;
        let (_, address) = line.rsplit_once("https://").context("no address")?;
        self.address = address.trim().to_owned();
        self.server = Some(server);
        Ok(())
    }

    /// Kills the server.
    pub fn kill_server(&mut self) {
        self.server = None;
    }

    /// Enrols the cluster; the join file is `<file>`.
    pub async fn enroll(&self, file: &str, more: &[&str]) -> Result<PathBuf> {
        let mut arguments = vec![
            "cluster",
            "enroll",
            &self.name,
            "--channel",
            CHANNEL,
            "--join-file",
            file,
        ];
        arguments.extend(more);
        self.driftless(&arguments).await?;
        Ok(self.home.path().join(file))
    }

    /// Starts an agent outside of the cluster: it keeps its state in a folder.
    pub async fn agent(&self) -> Result<Running> {
        self.start_agent("agent", &["--state", "agent-state"]).await
    }

    /// Starts an agent as a pod of that name: it keeps its state in the cluster.
    pub async fn pod(&self, pod: &str) -> Result<Running> {
        self.start_agent(pod, &["--pod-name", pod]).await
    }

    /// Starts an agent; `name` names its output files.
    pub async fn start_agent(&self, name: &str, more: &[&str]) -> Result<Running> {
        self.start_agent_with(name, "join", more).await
    }

    /// Starts an agent as a pod that reaches the cluster by a kubeconfig of its own.
    pub async fn pod_as(&self, pod: &str, kubeconfig: &std::path::Path) -> Result<Running> {
        self.pod_with(pod, kubeconfig, &[]).await
    }

    /// As [`Self::pod_as`], with additions to its environment.
    pub async fn pod_with(
        &self,
        pod: &str,
        kubeconfig: &std::path::Path,
        environment: &[(&str, &str)],
    ) -> Result<Running> {
        let kubeconfig = kubeconfig.display().to_string();
        let arguments = [
            "--join",
            "join",
            "--kubeconfig",
            &kubeconfig,
            "--namespace",
            &self.name,
            "--pod-name",
            pod,
        ];
        let mut all = vec![("DRIFTLESS_LOG", "info,driftless_agent=debug,driftless_reconcile=debug")];
        all.extend(environment);
        self.home.spawn_with(pod, Program::Agent, &arguments, &all)
    }

    /// As [`Self::start_agent`], with another join file.
    pub async fn start_agent_with(&self, name: &str, join: &str, more: &[&str]) -> Result<Running> {
        let arguments = self.agent_arguments(join, &self.name, more).await?;
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let log = [("DRIFTLESS_LOG", "info,driftless_agent=debug,driftless_reconcile=debug")];
        self.home.spawn_with(name, Program::Agent, &arguments, &log)
    }

    /// Runs an agent that is expected to give up by itself, with this join file, as the only one in `namespace`.
    pub async fn failing_agent(&self, join: &str, namespace: &str) -> Result<Finished> {
        let state = ["--state", namespace];
        let arguments = self.agent_arguments(join, namespace, &state).await?;
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        self.home.run(Program::Agent, &arguments).await
    }

    async fn agent_arguments(&self, join: &str, namespace: &str, more: &[&str]) -> Result<Vec<String>> {
        let kubeconfig = self.cluster.kubeconfig_of(&self.name).await?;
        let kubeconfig = kubeconfig.display().to_string();
        let arguments = ["--join", join, "--kubeconfig", &kubeconfig, "--namespace", namespace];
        Ok(arguments.iter().chain(more).map(|word| (*word).to_owned()).collect())
    }

    /// Pushes a stream of YAML documents as a component's new version.
    pub async fn push(&self, component: &str, manifests: &str) -> Result<Pushed> {
        self.try_push(component, manifests).await?.json()
    }

    /// As [`Self::push`], without the checks that would refuse what clusters refuse.
    pub async fn push_unchecked(&self, component: &str, manifests: &str) -> Result<Pushed> {
        self.push_with(component, manifests, "--validate=off").await?.json()
    }

    /// As [`Self::push`]; a refusal is not an error here.
    pub async fn try_push(&self, component: &str, manifests: &str) -> Result<Finished> {
        self.push_with(component, manifests, "--validate=strict").await
    }

    async fn push_with(&self, component: &str, manifests: &str, validate: &str) -> Result<Finished> {
        let file = format!("{component}.yaml");
        fs::write(self.home.path().join(&file), manifests)?;
        let namespace = &self.namespace;
        let arguments = [
            "push",
            &file,
            "--component",
            component,
            "--channel",
            CHANNEL,
            "-n",
            namespace,
            validate,
            "-o",
            "json",
        ];
        self.home.driftless(&arguments).await
    }

    /// The cluster as the server sees it.
    pub async fn row(&self) -> Result<Row> {
        let rows: Vec<Row> = self.home.driftless(&["clusters", "-o", "json"]).await?.json()?;
        let ours = rows.into_iter().find(|row| row.name == self.name);
        ours.with_context(|| format!("`driftless clusters` does not know {}", self.name))
    }

    /// Waits until what the server says of the cluster is as `wanted`; `what` is for the error.
    pub async fn row_where(&self, what: &str, wanted: impl Fn(&Row) -> bool) -> Result<Row> {
        eventually(SOON, what, async || {
            let row = self.row().await?;
            if wanted(&row) {
                Ok(Some(row))
            } else {
                Err(anyhow!("{row:?}"))
            }
        })
        .await
    }

    /// Waits until the agent has applied the channel's newest snapshot.
    pub async fn converged(&self) -> Result<Row> {
        self.row_where("the cluster to converge", |row| row.converged).await
    }

    /// Waits until all is applied and healthy.
    pub async fn healthy(&self) -> Result<Row> {
        let is_healthy = |row: &Row| row.converged && row.health() == Health::Current;
        self.row_where("the cluster to converge and be healthy", is_healthy)
            .await
    }

    /// Waits until the agent has recorded in the cluster what it applied of `component`, the last one that was
    /// pushed: after that it has nothing more to write.
    pub async fn recorded(&self, component: &str) -> Result<()> {
        let parent = format!("driftless-{component}");
        eventually(SOON, &format!("{parent} to be written last"), async || {
            let mut asked = self.cluster.asked(&self.name, self.start).await?;
            asked.retain(|one| one.is_write() && one.resource != "leases");
            let is_record = |one: &Asked| one.namespace == self.name && one.name == parent && one.verb == "patch";
            // The first write of a parent comes before what is applied.
            let applied = asked.iter().rposition(|one| one.namespace != self.name).unwrap_or(0);
            let recorded = asked.iter().rposition(is_record).is_some_and(|record| record > applied);
            if recorded {
                Ok(Some(()))
            } else {
                Err(anyhow!("{:?}", asked.last()))
            }
        })
        .await
    }
}

/// Fails unless `text` contains every one of `words`.
pub fn expect_words(text: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(text.contains(word), "no {word:?} in: {text}");
    }
    Ok(())
}
