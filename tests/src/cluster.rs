//! What a behaviour suite may ask of a cluster, whichever kind it is.
//!
//! A suite's facts are functions of a [`TestCluster`]; [`behaviour_suite!`](crate::behaviour_suite) makes
//! tests of them. A fact that fails on one kind of cluster only shows a difference, and then the
//! real API server is right.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::Result;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use crate::plane::ControlPlane;

/// A cluster under test.
pub trait TestCluster: Send + Sync {
    /// Its kind, for messages.
    fn kind(&self) -> &'static str;

    /// A client as administrator, for the calling runtime; clone it.
    fn client(&self) -> Result<Client>;

    /// A kubeconfig file of the administrator, for programs.
    fn kubeconfig(&self) -> BoxFuture<'_, Result<PathBuf>>;

    /// Whether controllers act: a Deployment gets Pods, and these become ready.
    fn runs_workloads(&self) -> bool;
}

impl TestCluster for ControlPlane {
    fn kind(&self) -> &'static str {
        "kube-apiserver"
    }

    fn client(&self) -> Result<Client> {
        Self::client(self)
    }

    fn kubeconfig(&self) -> BoxFuture<'_, Result<PathBuf>> {
        Box::pin(std::future::ready(Ok(Self::kubeconfig(self).to_owned())))
    }

    fn runs_workloads(&self) -> bool {
        Self::runs_workloads(self)
    }
}

/// Makes a namespace that no other test uses, and gives its name, which begins with `prefix`.
pub async fn new_namespace(cluster: &dyn TestCluster, prefix: &str) -> Result<String> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!(
        "{prefix}-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let metadata = ObjectMeta {
        name: Some(name.clone()),
        ..ObjectMeta::default()
    };
    let namespace = Namespace {
        metadata,
        ..Namespace::default()
    };
    Api::all(cluster.client()?)
        .create(&PostParams::default(), &namespace)
        .await?;
    Ok(name)
}

/// Makes one test per fact and kind of cluster: `kubernetes::<fact>` runs on the shared control plane, and
/// is skipped loudly where there is none.
///
/// A fact is an `async fn(&dyn TestCluster) -> anyhow::Result<()>` in the calling module.
#[macro_export]
macro_rules! behaviour_suite {
    ($($fact:ident),+ $(,)?) => {
        /// Each fact on a real API server.
        mod kubernetes {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $fact() -> anyhow::Result<()> {
                    match $crate::ControlPlane::shared(concat!(module_path!(), "::", stringify!($fact))).await? {
                        Some(plane) => super::$fact(plane).await,
                        None => Ok(()),
                    }
                }
            )+
        }
    };
}
