//! A real Kubernetes control plane on this machine, for as long as a test wants one.
//!
//! Suites start one with [`ControlPlane::for_test`], talk to it by [`ControlPlane::client`],
//! [`ControlPlane::kubectl`] or a kubeconfig file, and hurt its parts by [`Component`]. Everything is
//! in one scratch folder and ends when it is dropped. It never touches a cluster it did not start.
//!
//! [`access`] is for users, kubectl and the audit log; [`launch`] knows the command lines, [`nodes`] the
//! fake nodes.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{
    Api, Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tempfile::TempDir;
use tokio::{sync::OnceCell, time::Instant};

use crate::{
    audit,
    binaries::{self, Binaries},
    child::{self, Running},
    identity::{Authority, Credential, write_kubeconfig},
    wait::eventually,
};

mod access;
mod launch;
mod nodes;

pub use launch::free_port;
use launch::{Launch, Ports};

/// Long enough for two cores under a full build; a plane is ready in a few seconds otherwise.
pub const START: Duration = Duration::from_secs(120);
/// How often a start is tried again because another process took a port first.
const ATTEMPTS: usize = 5;

/// A part of a control plane that is a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// The store.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
    /// What plays nodes and kubelets.
    Kwok,
}

impl Component {
    /// Every part, in the order of their start.
    pub const ALL: [Self; 5] = [
        Self::Etcd,
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kwok,
    ];

    /// The name of its process, its logs and its user in the audit log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kwok => "kwok",
        }
    }
}

/// What a control plane is made of.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Audit log, read by [`ControlPlane::audit`].
    pub audit: Option<audit::Level>,
    /// Controllers and scheduler. Without them nothing becomes of a Deployment, as with envtest.
    pub controllers: bool,
    /// Fake nodes on which Pods run at once; any at all brings the controllers with it.
    pub nodes: usize,
    /// Added to kube-apiserver's command line.
    pub api_server_flags: Vec<String>,
}

impl Options {
    /// Deployments roll out on three nodes, and requests are logged.
    pub fn full() -> Self {
        Self {
            audit: Some(audit::Level::Metadata),
            controllers: true,
            nodes: 3,
            ..Self::default()
        }
    }

    fn runs_workloads(&self) -> bool {
        self.controllers || self.nodes > 0
    }
}

/// A running control plane.
#[derive(Debug)]
pub struct ControlPlane {
    /// Dropped before the folder: processes first, then their files.
    running: Mutex<BTreeMap<Component, Arc<Running>>>,
    launch: Launch,
    authority: Authority,
    marks: AtomicU64,
    start_time: Duration,
    folder: TempDir,
}

static SHARED: OnceCell<Option<ControlPlane>> = OnceCell::const_new();

impl ControlPlane {
    /// Starts a control plane, or says that `suite` is skipped and gives none.
    ///
    /// # Errors
    /// Where the programs are there and do not come up.
    ///
    /// # Panics
    /// Where they are not there and must be (see [`binaries::skip`]).
    pub async fn for_test(suite: &str, options: Options) -> Result<Option<Self>> {
        let found = Binaries::find().and_then(|binaries| {
            if options.runs_workloads() {
                binaries.need_controllers()?;
            }
            if options.nodes > 0 {
                binaries.need_kwok()?;
            }
            Ok(binaries)
        });
        match found {
            Ok(binaries) => Self::start(&binaries, options).await.map(Some),
            Err(missing) => {
                binaries::skip(suite, &missing);
                Ok(None)
            }
        }
    }

    /// One full control plane for all tests of this process, for those that keep to namespaces of
    /// their own and hurt nothing. The first caller starts it, and it ends with the process.
    pub async fn shared(suite: &str) -> Result<Option<&'static Self>> {
        Ok(SHARED
            .get_or_try_init(|| Self::for_test(suite, Options::full()))
            .await?
            .as_ref())
    }

    /// Starts a control plane and waits until it serves.
    ///
    /// # Errors
    /// Where a part ends or is not ready in time; with the end of its log.
    pub async fn start(binaries: &Binaries, options: Options) -> Result<Self> {
        install_crypto_provider();
        let mut last = anyhow!("no attempt was made");
        for _ in 0..ATTEMPTS {
            let begin = Instant::now();
            let mut plane = Self::prepare(binaries, &options).await?;
            match plane.bring_up().await {
                Ok(()) => {
                    plane.start_time = begin.elapsed();
                    return Ok(plane);
                }
                Err(error) if plane.lost_a_port() => last = error,
                Err(error) => return Err(error),
            }
        }
        Err(last.context(format!("ports were taken by others {ATTEMPTS} times")))
    }

    async fn prepare(binaries: &Binaries, options: &Options) -> Result<Self> {
        let folder = child::scratch("kubernetes")?;
        let authority = Authority::new()?;
        let launch = Launch::prepare(folder.path(), binaries, options, &authority, Ports::free()?).await?;
        Ok(Self {
            running: Mutex::default(),
            launch,
            authority,
            marks: AtomicU64::new(0),
            start_time: Duration::ZERO,
            folder,
        })
    }

    async fn bring_up(&self) -> Result<()> {
        self.spawn(Component::Etcd)?;
        self.spawn(Component::ApiServer)?;
        self.ready(START).await?;
        if !self.launch.options.runs_workloads() {
            return self.namespace_exists("default").await;
        }
        self.spawn(Component::ControllerManager)?;
        self.spawn(Component::Scheduler)?;
        if self.launch.options.nodes > 0 {
            self.spawn(Component::Kwok)?;
            nodes::create(self.client()?, self.launch.options.nodes).await?;
        }
        // Pods are refused in a namespace until the controllers have made this.
        self.service_account_exists("default", "default").await?;
        nodes::ready(self.client()?, self.launch.options.nodes, START)
            .await
            .map_err(|error| error.context(self.tails()))
    }

    /// How long it took from nothing to serving.
    pub fn start_time(&self) -> Duration {
        self.start_time
    }

    /// A client as cluster administrator. Each call makes a new one, which belongs to the calling
    /// test's runtime; clone it.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::try_from(self.config())?)
    }

    /// The configuration behind [`Self::client`].
    pub fn config(&self) -> Config {
        self.launch.config.clone()
    }

    /// Whether it was started with what makes Pods of Deployments and runs them.
    pub fn runs_workloads(&self) -> bool {
        self.launch.options.nodes > 0
    }

    /// The administrator's kubeconfig file.
    pub fn kubeconfig(&self) -> &Path {
        &self.launch.kubeconfig
    }

    /// The address of the API server, `https://127.0.0.1:PORT`.
    pub fn server(&self) -> &str {
        &self.launch.server
    }

    /// The certificate of the authority that signed the API server's.
    pub fn authority_file(&self) -> &Path {
        &self.launch.authority_file
    }

    /// The folder of all its files; logs are `<component>.err` in it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until the API server says it is ready, and that no part has ended meanwhile.
    pub async fn ready(&self, within: Duration) -> Result<()> {
        let client = self.client()?;
        let up = eventually(within, "kube-apiserver to be ready", async || {
            if let Some(ended) = self.ended(&[Component::Etcd, Component::ApiServer])? {
                return Ok(Some(Err(ended)));
            }
            // Parts of /readyz?verbose are of no use while connections are refused; the error says so.
            client
                .request_text(http::Request::get("/readyz").body(Vec::new())?)
                .await?;
            Ok(Some(Ok(())))
        })
        .await;
        match up {
            Ok(Ok(())) => Ok(()),
            Ok(Err(ended)) => bail!("{ended} before kube-apiserver was ready{}", self.tails()),
            Err(error) => bail!("{error}{}", self.tails()),
        }
    }

    /// The process of a part: its memory, its processor time, its output; to pause, resume and signal.
    pub fn process(&self, component: Component) -> Result<Arc<Running>> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running
            .get(&component)
            .cloned()
            .with_context(|| format!("{} is not part of this plane", component.name()))
    }

    /// Kills a part (SIGKILL); it stays down until [`Self::restart`].
    pub fn kill(&self, component: Component) -> Result<()> {
        self.process(component)?.kill();
        Ok(())
    }

    /// Kills a part where it still runs, starts it with the same ports and data, and waits for the
    /// API server.
    pub async fn restart(&self, component: Component) -> Result<()> {
        self.kill(component)?;
        self.spawn(component)?;
        self.ready(START).await
    }

    /// Starts the API server anew with a certificate that `authority` signed, and gives a configuration that trusts it.
    /// Clients of this plane that were there before trust it no more, its own included.
    pub async fn rotate(&self, authority: &Authority) -> Result<Config> {
        launch::write_serving_files(self.folder(), authority)?;
        self.kill(Component::ApiServer)?;
        self.spawn(Component::ApiServer)?;
        let file = self.folder().join("rotated.crt");
        std::fs::write(&file, authority.certificate())?;
        let path = self.folder().join("rotated.kubeconfig");
        let token = Credential::Token(launch::ADMINISTRATOR_TOKEN);
        write_kubeconfig(&path, self.server(), &file, "admin", token)?;
        let read = Kubeconfig::read_from(&path)?;
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config.clone())?;
        eventually(START, "kube-apiserver to be ready again", async || {
            client
                .request_text(http::Request::get("/readyz").body(Vec::new())?)
                .await?;
            Ok(Some(()))
        })
        .await?;
        Ok(config)
    }

    fn spawn(&self, component: Component) -> Result<()> {
        let command = self.launch.command(component)?;
        let running = Running::spawn(component.name(), command, self.folder())?;
        let mut all = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(component, Arc::new(running));
        Ok(())
    }

    /// The first of `components` that is not running any more, in words. One killed by a test counts
    /// too, so a test restarts what it killed before it waits for readiness.
    fn ended(&self, components: &[Component]) -> Result<Option<String>> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        for (component, process) in &*running {
            if components.contains(component)
                && let Some(status) = process.exit()?
            {
                return Ok(Some(format!("{} ended ({status})", component.name())));
            }
        }
        Ok(None)
    }

    fn lost_a_port(&self) -> bool {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running
            .values()
            .any(|process| process.stderr().contains("address already in use"))
    }

    fn tails(&self) -> String {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.values().map(|process| process.tail()).collect()
    }

    async fn namespace_exists(&self, name: &str) -> Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client()?);
        eventually(START, &format!("namespace {name}"), async || {
            Ok(namespaces.get_opt(name).await?.map(drop))
        })
        .await
    }

    async fn service_account_exists(&self, namespace: &str, name: &str) -> Result<()> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client()?, namespace);
        let what = format!("ServiceAccount {namespace}/{name}");
        let made = eventually(START, &what, async || {
            if let Some(ended) = self.ended(&Component::ALL)? {
                return Ok(Some(Err(ended)));
            }
            Ok(accounts.get_opt(name).await?.map(|_| Ok(())))
        })
        .await;
        match made {
            Ok(Ok(())) => Ok(()),
            Ok(Err(ended)) => bail!("{ended} before there was {what}{}", self.tails()),
            Err(error) => bail!("{error}{}", self.tails()),
        }
    }
}

/// Ring, as in our own programs; a second call changes nothing.
pub fn install_crypto_provider() {
    drop(rustls::crypto::ring::default_provider().install_default());
}
