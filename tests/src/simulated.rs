//! A simulated cluster behind plain HTTP, so that real programs use it like any other.
//!
//! Each test starts its own: it costs next to nothing, so none has to be shared.

use std::path::PathBuf;

use anyhow::Result;
use driftless_sim::{Cluster, Options};
use futures::future::LocalBoxFuture;
use http::{HeaderValue, header};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    child::scratch,
    cluster::{Asked, Mark, TestCluster},
    plane::install_crypto_provider,
};

/// What the harness's own client calls itself: the simulator knows no users, so this tells its requests apart.
const HARNESS: &str = "driftless-tests";
/// More requests than any test makes.
const LOG: usize = 1_000_000;

/// A running simulated cluster; it stops serving when dropped.
pub struct Simulated {
    cluster: Cluster,
    client: Client,
    kubeconfig: PathBuf,
    _serving: DropGuard,
    _folder: TempDir,
}

impl Simulated {
    /// Starts one on a free port.
    pub async fn start() -> Result<Self> {
        install_crypto_provider();
        let cluster = Cluster::new(Options {
            log: LOG,
            history: 10_000,
            ..Options::default()
        });
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let folder = scratch("simulated")?;
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, cluster.kubeconfig(listener.local_addr()?))?;
        let read = Kubeconfig::read_from(&kubeconfig)?;
        let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        let own_name = (header::USER_AGENT, HeaderValue::from_static(HARNESS));
        config.headers.push(own_name);
        let stop = CancellationToken::new();
        let (served, until) = (cluster.clone(), stop.clone());
        // Ends with its guard, or with the test's runtime; a failure of the listener fails every request.
        tokio::spawn(async move { served.serve(listener, until).await });
        Ok(Self {
            client: Client::try_from(config)?,
            cluster,
            kubeconfig,
            _serving: stop.drop_guard(),
            _folder: folder,
        })
    }

    /// The cluster itself, to hurt it.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}

impl TestCluster for Simulated {
    fn kind(&self) -> &'static str {
        "simulator"
    }

    fn client(&self) -> Result<Client> {
        Ok(self.client.clone())
    }

    fn kubeconfig(&self) -> LocalBoxFuture<'_, Result<PathBuf>> {
        Box::pin(std::future::ready(Ok(self.kubeconfig.clone())))
    }

    fn kubeconfig_of<'a>(&'a self, _user: &'a str) -> LocalBoxFuture<'a, Result<PathBuf>> {
        self.kubeconfig()
    }

    fn runs_workloads(&self) -> bool {
        true
    }

    fn mark(&self) -> LocalBoxFuture<'_, Result<Mark>> {
        let requests = self.cluster.requests().log().count();
        Box::pin(std::future::ready(
            u64::try_from(requests).map(Mark).map_err(Into::into),
        ))
    }

    fn asked<'a>(&'a self, _user: &'a str, since: Mark) -> LocalBoxFuture<'a, Result<Vec<Asked>>> {
        let requests = self.cluster.requests();
        let before = usize::try_from(since.0).unwrap_or(usize::MAX);
        let agents = requests.log().skip(before).filter(|request| request.agent != HARNESS);
        let asked = agents.map(|request| Asked {
            verb: if request.verb == "apply" {
                "patch"
            } else {
                &request.verb
            }
            .to_owned(),
            resource: request.resource.clone(),
            namespace: request.namespace.clone(),
            name: request.name.clone(),
            code: request.code,
        });
        Box::pin(std::future::ready(Ok(asked.collect())))
    }
}
