//! What a behaviour suite may ask of a cluster, whichever kind it is.
//!
//! A suite's facts are functions of a [`TestCluster`]; [`behaviour_suite!`](crate::behaviour_suite) makes
//! tests of them. A fact that fails on one kind of cluster only shows a difference, and then the
//! real API server is right.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::Result;
use futures::future::LocalBoxFuture;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use crate::{audit, plane::ControlPlane};

/// A cluster under test.
pub trait TestCluster: Send + Sync {
    /// Its kind, for messages.
    fn kind(&self) -> &'static str;

    /// A client as administrator, for the calling runtime; clone it.
    fn client(&self) -> Result<Client>;

    /// A kubeconfig file of the administrator, for programs.
    fn kubeconfig(&self) -> LocalBoxFuture<'_, Result<PathBuf>>;

    /// A kubeconfig file of a user who may do everything, so that its requests can be told from others'.
    fn kubeconfig_of<'a>(&'a self, user: &'a str) -> LocalBoxFuture<'a, Result<PathBuf>>;

    /// Whether controllers act: a Deployment gets Pods, and these become ready.
    fn runs_workloads(&self) -> bool;

    /// A place in the log of requests, behind every request that was answered before this call.
    fn mark(&self) -> LocalBoxFuture<'_, Result<Mark>>;

    /// What `user`, of [`Self::kubeconfig_of`], asked for since then.
    fn asked<'a>(&'a self, user: &'a str, since: Mark) -> LocalBoxFuture<'a, Result<Vec<Asked>>>;
}

/// A place in a cluster's log of requests.
#[derive(Clone, Copy, Debug)]
pub struct Mark(pub(crate) u64);

/// One request, as both kinds of cluster log it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// As RBAC calls it; `patch` for server-side applies too.
    pub verb: String,
    /// In the plural, with its subresource; empty for documents of the API itself.
    pub resource: String,
    /// Empty for cluster-wide ones.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    /// The status of the answer.
    pub code: u16,
}

impl Asked {
    /// Whether it could have changed something.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch")
    }

    /// `patch deployments shop/cart 200`.
    pub fn summary(&self) -> String {
        let object: Vec<_> = [&self.namespace, &self.name]
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(String::as_str)
            .collect();
        format!("{} {} {} {}", self.verb, self.resource, object.join("/"), self.code)
    }
}

/// The requests that could have changed something, Leases and what the agent keeps for itself aside.
///
/// Its own are the ApplySets' parents and the accepted objects, all of them in `home`.
pub fn writes(asked: &[Asked], home: &str) -> Vec<String> {
    let is_own = |one: &&Asked| one.resource == "leases" || one.namespace == home;
    let writes = asked.iter().filter(|one| one.is_write());
    writes.filter(|one| !is_own(one)).map(Asked::summary).collect()
}

/// How often each verb was used on each resource, as a table for people.
pub fn table(asked: &[Asked]) -> String {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for one in asked {
        *counts.entry((&one.verb, &one.resource)).or_default() += 1;
    }
    let line = |((verb, resource), count)| format!("  {verb:<8} {resource:<32} {count:>5}\n");
    counts.into_iter().map(line).collect()
}

impl TestCluster for ControlPlane {
    fn kind(&self) -> &'static str {
        "kube-apiserver"
    }

    fn client(&self) -> Result<Client> {
        Self::client(self)
    }

    fn kubeconfig(&self) -> LocalBoxFuture<'_, Result<PathBuf>> {
        Box::pin(std::future::ready(Ok(Self::kubeconfig(self).to_owned())))
    }

    fn kubeconfig_of<'a>(&'a self, user: &'a str) -> LocalBoxFuture<'a, Result<PathBuf>> {
        Box::pin(std::future::ready(self.user_kubeconfig(user, &["system:masters"])))
    }

    fn runs_workloads(&self) -> bool {
        Self::runs_workloads(self)
    }

    fn mark(&self) -> LocalBoxFuture<'_, Result<Mark>> {
        Box::pin(async { Ok(Mark(self.audit_mark().await?.0)) })
    }

    fn asked<'a>(&'a self, user: &'a str, since: Mark) -> LocalBoxFuture<'a, Result<Vec<Asked>>> {
        Box::pin(async move {
            let events = self.audit_since(audit::Mark(since.0)).await?;
            let ours = events.iter().filter(|event| event.user.username == user);
            // A watch is logged when it begins and when it ends.
            let once = ours.filter(|event| event.verb != "watch" || event.stage == "ResponseStarted");
            Ok(once.map(asked).collect())
        })
    }
}

fn asked(event: &audit::Event) -> Asked {
    let object = event.object_ref.clone().unwrap_or_default();
    let slash = if object.subresource.is_empty() { "" } else { "/" };
    Asked {
        verb: event.verb.clone(),
        resource: format!("{}{slash}{}", object.resource, object.subresource),
        namespace: object.namespace,
        name: object.name,
        code: event.code(),
    }
}

/// A name that begins with `prefix` and that no other test uses.
pub fn new_name(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}-{}-{number}", std::process::id())
}

/// Makes a namespace that no other test uses, and gives its name, which begins with `prefix`.
pub async fn new_namespace(cluster: &dyn TestCluster, prefix: &str) -> Result<String> {
    let name = new_name(prefix);
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

/// Makes one test per fact and kind of cluster: `simulated::<fact>` runs on a simulated cluster of its own;
/// `kubernetes::<fact>` runs on the shared control plane, and is skipped loudly where there is none.
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

        /// Each fact on a simulated API server, behind HTTP.
        mod simulated {
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $fact() -> anyhow::Result<()> {
                    super::$fact(&$crate::Simulated::start().await?).await
                }
            )+
        }
    };
}
