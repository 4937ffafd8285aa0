//! One `driftless server` that may be killed at any moment and started again on the same data and port.
//!
//! Both suites own one each. It knows how to reach the server and its bucket, and nothing of what is pushed.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use driftless_client::{Client, Target};
use driftless_tests::{
    child::Running,
    plane::free_port,
    process::{Finished, Home, Program},
};

/// Long enough for two cores under a full build.
pub(crate) const START: Duration = Duration::from_secs(60);

/// Between two looks at whether it serves.
const LOOK: Duration = Duration::from_millis(5);

/// A server and its folders.
#[derive(Debug)]
pub(crate) struct Served {
    running: Option<Running>,
    home: Home,
    data: PathBuf,
    bucket: PathBuf,
    address: String,
}

impl Served {
    /// A server that is not started yet, with its bucket in `bucket` or else among its data.
    pub(crate) fn new(bucket: Option<&Path>) -> Result<Self> {
        let home = Home::new()?;
        let data = home.path().join("data");
        Ok(Self {
            running: None,
            bucket: bucket.map_or_else(|| data.join("bucket"), Path::to_owned),
            data,
            home,
            // Not one of those that outgoing connections get: a client that dials a dead server could take it.
            address: format!("127.0.0.1:{}", free_port()?),
        })
    }

    /// Starts it, without waiting for anything.
    pub(crate) fn spawn(&mut self) -> Result<()> {
        let (data, bucket) = (self.data.display().to_string(), self.bucket.display().to_string());
        let arguments = [
            "server",
            "--data",
            &data,
            "--bucket",
            &bucket,
            "--listen",
            &self.address,
        ];
        self.running = Some(self.home.spawn("server", Program::Driftless, &arguments)?);
        Ok(())
    }

    /// Starts it and waits until it serves; says how long that took.
    pub(crate) async fn start(&mut self) -> Result<Duration> {
        let begin = Instant::now();
        self.spawn()?;
        let running = self.running()?;
        // Looked at closely: most of a start's time would else be spent between two looks.
        while !running.stdout().contains("listening on") {
            if let Some(status) = running.exit()? {
                bail!("the server ended while it started: {status}{}", running.tail());
            }
            ensure!(begin.elapsed() < START, "no server within {START:?}{}", running.tail());
            tokio::time::sleep(LOOK).await;
        }
        Ok(begin.elapsed())
    }

    /// Kills it (SIGKILL), if it runs.
    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    /// The process.
    pub(crate) fn running(&self) -> Result<&Running> {
        self.running.as_ref().context("the server is not running")
    }

    /// The folder of its bucket.
    pub(crate) fn bucket(&self) -> &Path {
        &self.bucket
    }

    /// The folder that commands run in.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// A way to it as administrator. It has to have been started once.
    pub(crate) fn client(&self) -> Result<Client> {
        let read = |name: &str| {
            let path = self.data.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        Ok(Client::connect(Target {
            server: format!("https://{}", self.address).parse()?,
            ca: Some(read("ca.crt")?),
            token: Some(read("admin.token")?.trim().to_owned()),
        })?)
    }

    /// Runs a command against it as administrator.
    pub(crate) async fn driftless(&self, arguments: &[&str]) -> Result<Finished> {
        let server = format!("https://{}", self.address);
        let (ca, token) = (self.data.join("ca.crt"), self.data.join("admin.token"));
        let (ca, token) = (ca.display().to_string(), token.display().to_string());
        let target = ["--server", &server, "--ca", &ca, "--token-file", &token];
        self.home.driftless(&[arguments, &target].concat()).await
    }

    /// Checks the whole bucket, as a person would.
    ///
    /// # Errors
    /// Where it is not clean; with all that is wrong.
    pub(crate) async fn verify(&self) -> Result<()> {
        let bucket = self.bucket.display().to_string();
        let report = self.home.driftless(&["verify", "--bucket", &bucket]).await?;
        report.expect_success().context("the bucket is not clean").map(drop)
    }
}
