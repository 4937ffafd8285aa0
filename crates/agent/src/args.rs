//! Flags and environment of the binary, and the settings they make. Reports everything wrong with them at once.

use std::{path::PathBuf, sync::Arc};

use clap::{Parser, ValueEnum};
use driftless_agent::{
    JoinSource, Listen, Metrics, NAMESPACE, Permit, Settings, Timings, check_url, credentials, dial::Dialer,
    storage::Storage,
};
use driftless_model::name;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

/// Keeps one Kubernetes cluster as its fleet wants it.
#[derive(Debug, Parser)]
#[command(name = "driftless-agent", version)]
pub(crate) struct Args {
    /// The join file that `driftless cluster enroll` wrote
    #[arg(long, env = "DRIFTLESS_JOIN", value_name = "FILE")]
    join: PathBuf,

    /// Reach the cluster with this kubeconfig; otherwise as a pod, or as kubectl does
    #[arg(long, env = "DRIFTLESS_KUBECONFIG", value_name = "FILE")]
    kubeconfig: Option<PathBuf>,

    /// The kubeconfig's context to use instead of its current one
    #[arg(long, env = "DRIFTLESS_CONTEXT", value_name = "NAME")]
    context: Option<String>,

    /// Keep identity and accepted objects in this folder instead of in the cluster
    #[arg(long, env = "DRIFTLESS_STATE", value_name = "DIR")]
    state: Option<PathBuf>,

    /// Use this server instead of the join file's
    #[arg(long, env = "DRIFTLESS_SERVER", value_name = "URL")]
    server: Option<String>,

    /// Namespace of the agent's own objects
    #[arg(long, env = "DRIFTLESS_NAMESPACE", value_name = "NAME", default_value = NAMESPACE)]
    namespace: String,

    /// What this agent calls itself among the agents of the cluster
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pod_name: Option<String>,

    /// Serve /metrics, /healthz and /readyz here, without TLS: 127.0.0.1:9464, or :9464 on all addresses
    #[arg(long, env = "DRIFTLESS_METRICS_LISTEN", value_name = "ADDRESS")]
    pub(crate) metrics_listen: Option<Listen>,

    /// How logs are written to stderr; DRIFTLESS_LOG says which (`info`, `driftless_agent=debug`)
    #[arg(long, env = "DRIFTLESS_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    Text,
    /// Lines of JSON.
    Json,
}

impl Args {
    /// Turns the flags into the clients for the Lease and for all other work, and settings.
    pub(crate) async fn resolve(self) -> anyhow::Result<(Client, Client, Settings)> {
        let Self {
            join,
            kubeconfig,
            context,
            state,
            server,
            namespace,
            pod_name,
            metrics_listen: _,
            log_format: _,
        } = self;
        let mut problems = Vec::new();
        let join = JoinSource::File(join);
        if let Err(error) = join.read() {
            problems.push(format!("{:#}", anyhow::Error::from(error)));
        }
        if let Some(Err(problem)) = server.as_deref().map(check_url) {
            problems.push(format!("--server: {problem}"));
        }
        if !name::is_dns_label(&namespace) {
            problems.push(format!(
                "--namespace: `{namespace}` is not valid: {}",
                name::DNS_LABEL_RULE
            ));
        }
        let seed = rand::random();
        let read: credentials::Read = Arc::new(move || {
            let (kubeconfig, context) = (kubeconfig.clone(), context.clone());
            Box::pin(async move {
                let mut config = config(kubeconfig, context).await?;
                // The reconciler decides itself when to try again, and reports what it waits for.
                config.default_retry = false;
                Ok(config)
            })
        });
        let permit = Arc::new(Permit::new(now));
        let lease = credentials::client(read.clone()).await;
        let work = credentials::gated(read, permit.clone()).await;
        let made = lease.and_then(|lease| Ok((lease, work?)));
        let clients = made.map_err(|error| problems.push(describe(error))).ok();
        let fresh = pod_name.clone().unwrap_or_else(|| fresh_holder(seed));
        let storage = match (&state, &clients) {
            (Some(path), _) => Storage::folder(path)
                .map_err(|error| problems.push(describe(error)))
                .ok(),
            (None, Some((_, work))) => Some(Storage::cluster(work.clone(), &namespace)),
            (None, None) => None,
        };
        let holder = match (&storage, pod_name) {
            (Some(Storage::Folder(folder)), None) => {
                folder.holder(&fresh).map_err(|error| problems.push(describe(error)))
            }
            _ => Ok(fresh),
        };
        let (Some((lease, work)), Some(storage), Ok(holder), []) = (clients, storage, holder, problems.as_slice())
        else {
            anyhow::bail!("{}", problems.join("\n"));
        };
        let settings = Settings {
            join,
            server,
            storage,
            namespace: namespace.clone(),
            holder,
            timings: Timings::default(),
            dialer: Dialer::tcp(),
            clock: now,
            seed,
            permit,
            metrics: Metrics::default(),
            // Agents that keep their own objects apart keep their ApplySets apart too.
            reconcile: driftless_reconcile::Settings {
                namespace,
                ..driftless_reconcile::Settings::default()
            },
        };
        Ok((lease, work, settings))
    }
}

fn describe(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> String {
    format!("{:#}", anyhow::Error::from_boxed(error.into()))
}

async fn config(kubeconfig: Option<PathBuf>, context: Option<String>) -> anyhow::Result<Config> {
    use anyhow::Context;
    let options = KubeConfigOptions {
        context,
        ..KubeConfigOptions::default()
    };
    if let Some(path) = kubeconfig {
        let shown = path.display().to_string();
        let read = Kubeconfig::read_from(path).with_context(|| format!("--kubeconfig: {shown}"))?;
        return Config::from_custom_kubeconfig(read, &options)
            .await
            .with_context(|| format!("--kubeconfig: {shown}"));
    }
    if options.context.is_some() {
        return Config::from_kubeconfig(&options).await.context("--context");
    }
    Config::infer()
        .await
        .context("no cluster: neither a pod's service account nor a kubeconfig; give --kubeconfig")
}

/// The machine's name and a number: two agents on one machine must not take each other for themselves.
fn fresh_holder(seed: u64) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "agent" } else { host.trim() };
    format!("{host}-{:08x}", seed & 0xffff_ffff)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge of the binary, where the clock is read"
)]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
