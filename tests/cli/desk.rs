//! A person's desk: a running server, a home that is logged in to it, and a channel `prod`.

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use driftless_client::{Client, Target};
use driftless_tests::{
    child::Running,
    process::{Finished, Home, Program},
};

/// Long enough for two cores under a full build.
const START: Duration = Duration::from_secs(60);

/// A ConfigMap `default/greeting` with this text.
pub(crate) fn greeting(text: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: greeting\ndata:\n  text: {text}\n")
}

/// A server and a home.
pub(crate) struct Desk {
    pub(crate) home: Home,
    pub(crate) url: String,
    pub(crate) server: Running,
}

impl Desk {
    /// A server that runs, and nobody logged in.
    pub(crate) async fn new() -> Result<Self> {
        let home = Home::new()?;
        let server = home.spawn(
            "server",
            Program::Driftless,
            &["server", "--data", "data", "--listen", "127.0.0.1:0"],
        )?;
        let line = server.line("listening on", START).await?;
        let url = line
            .split_whitespace()
            .last()
            .context("the line ends with the address")?
            .to_owned();
        Ok(Self { home, url, server })
    }

    /// As [`Desk::new`], logged in, with a channel `prod`.
    pub(crate) async fn ready() -> Result<Self> {
        let desk = Self::new().await?;
        desk.login().await?.expect_success()?;
        desk.succeeds(&["channel", "create", "prod"]).await?;
        Ok(desk)
    }

    /// Logs in with what the server left in its folder.
    pub(crate) async fn login(&self) -> Result<Finished> {
        self.runs(&[
            "login",
            &self.url,
            "--ca",
            "data/ca.crt",
            "--token-file",
            "data/admin.token",
        ])
        .await
    }

    /// A way to the server for who uses the client library.
    pub(crate) fn client(&self) -> Result<Client> {
        let read = |file: &str| fs::read_to_string(self.home.path().join("data").join(file));
        Ok(Client::connect(Target {
            server: self.url.parse()?,
            ca: Some(read("ca.crt")?),
            token: Some(read("admin.token")?.trim().to_owned()),
        })?)
    }

    /// Writes a file below the home.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.home.path().join(path);
        fs::create_dir_all(path.parent().context("a path in the home has a folder")?)?;
        fs::write(&path, content)?;
        Ok(path)
    }

    /// Runs a command to its end.
    pub(crate) async fn runs(&self, arguments: &[&str]) -> Result<Finished> {
        self.home.driftless(arguments).await
    }

    /// Runs a command that must succeed; gives its stdout.
    pub(crate) async fn succeeds(&self, arguments: &[&str]) -> Result<String> {
        self.runs(arguments).await?.expect_success()
    }

    /// Runs a command that must fail with this exit code; gives its stderr, whose last lines are error and hint.
    pub(crate) async fn fails(&self, code: i32, arguments: &[&str]) -> Result<String> {
        let finished = self.runs(arguments).await?;
        ensure!(
            finished.status.code() == Some(code),
            "`{}` ended with {}: {}",
            finished.line,
            finished.status,
            finished.stderr
        );
        ensure!(
            finished.stdout.is_empty(),
            "`{}` failed and printed: {}",
            finished.line,
            finished.stdout
        );
        finished.expect_failure()
    }

    /// Pushes a text as a component of `prod`; gives the snapshot.
    pub(crate) async fn pushes(&self, component: &str, content: &str) -> Result<String> {
        let file = format!("{component}.yaml");
        self.write(&file, content)?;
        let arguments = [
            "push",
            &file,
            "--component",
            component,
            "--channel",
            "prod",
            "-o",
            "json",
        ];
        let report: serde_json::Value = self.runs(&arguments).await?.json()?;
        Ok(report["snapshot"]
            .as_str()
            .context("a push makes a snapshot")?
            .to_owned())
    }
}
