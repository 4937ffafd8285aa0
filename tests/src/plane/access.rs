//! Ways to a running control plane besides its client: users, tokens, kubectl, and the audit log.
//!
//! Suites call these; none of them changes the plane's processes.

use std::{path::PathBuf, sync::atomic::Ordering, time::Duration};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, api::PostParams};

use super::ControlPlane;
use crate::{
    audit,
    identity::{Credential, write_kubeconfig},
    process::Finished,
    wait::eventually,
};

/// The audit log shows the marker requests of [`ControlPlane::audit_mark`] under this parameter.
const MARKER: &str = "driftless-audit-mark";

impl ControlPlane {
    /// Makes a user, with no rights but its groups', and gives its kubeconfig file.
    pub fn user_kubeconfig(&self, name: &str, groups: &[&str]) -> Result<PathBuf> {
        let path = self.kubeconfig_path(name);
        let identity = self.authority.user(name, groups)?;
        let credential = Credential::Certificate(&identity);
        write_kubeconfig(&path, self.server(), self.authority_file(), name, credential)?;
        Ok(path)
    }

    /// Gives a kubeconfig file with a token of an existing ServiceAccount, good for an hour.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let token = self.service_account_token(namespace, name).await?;
        let path = self.kubeconfig_path(&format!("{namespace}-{name}"));
        write_kubeconfig(
            &path,
            self.server(),
            self.authority_file(),
            name,
            Credential::Token(&token),
        )?;
        Ok(path)
    }

    /// A token of an existing ServiceAccount, as a Pod would have it.
    pub async fn service_account_token(&self, namespace: &str, name: &str) -> Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client()?, namespace);
        let request =
            serde_json::from_value(serde_json::json!({ "spec": { "audiences": [], "expirationSeconds": 3600 } }))?;
        let answer = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await?;
        let token = answer.status.and_then(|status| status.token);
        token.context("the API server answered a token request without a token")
    }

    /// Runs kubectl as administrator. A failing command is not an error here; see [`Finished::expect_success`].
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<Finished> {
        self.kubectl_with(arguments, &[]).await
    }

    /// As [`Self::kubectl`], with more in its environment: that is where features of kubectl are switched on.
    pub async fn kubectl_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Finished> {
        let mut command = tokio::process::Command::new(&self.launch.kubectl);
        command
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", self.folder())
            .env("KUBECACHEDIR", self.folder().join("kubectl-cache"))
            .envs(variables.iter().copied());
        Finished::of("kubectl", arguments, command).await
    }

    /// The audit log.
    ///
    /// # Errors
    /// Where the plane was started without one.
    pub fn audit(&self) -> Result<audit::Log> {
        let log = self.launch.audit.as_deref().map(audit::Log::new);
        log.context("this control plane was started without an audit log: set Options::audit")
    }

    /// A place in the audit log behind every request that was answered before this call.
    ///
    /// An event is logged a moment after its answer is sent. So this makes a request of its own and
    /// waits until it is logged.
    pub async fn audit_mark(&self) -> Result<audit::Mark> {
        let log = self.audit()?;
        let number = self.marks.fetch_add(1, Ordering::Relaxed);
        let uri = format!("/version?{MARKER}={number}");
        self.client()?
            .request_text(http::Request::get(&uri).body(Vec::new())?)
            .await?;
        let mut from = audit::Mark::default();
        eventually(
            Duration::from_secs(30),
            "the audit log to hold its marker",
            async || {
                let (events, mark) = log.read(from)?;
                from = mark;
                Ok(events.iter().any(|event| event.request_uri == uri).then_some(mark))
            },
        )
        .await
    }

    /// What was asked between `mark` and now, without the harness's own marker requests.
    pub async fn audit_since(&self, mark: audit::Mark) -> Result<Vec<audit::Event>> {
        self.audit_mark().await?;
        let mut events = self.audit()?.since(mark)?;
        events.retain(|event| !event.request_uri.contains(MARKER));
        Ok(events)
    }

    fn kubeconfig_path(&self, name: &str) -> PathBuf {
        let name = name.replace(|character: char| !character.is_ascii_alphanumeric(), "-");
        self.folder().join(format!("user-{name}.kubeconfig"))
    }
}
