//! The demo's stage: a real server on a folder bucket, real agents on simulated clusters, and an operator's client.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use driftless_agent::Timings;
use driftless_client::{Client, Enroll, Push, Pushed, Target, types::Cluster};
use driftless_model::{
    bundle::Bundle,
    hash::ObjectHash,
    intake,
    join::{self, JoinFile},
    name::{ChannelName, ClusterName, Labels},
};
use driftless_server::Server;
use driftless_sim::fleet::{Fleet, Member};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::screen::{Screen, bar, count, time};

/// The application that is pushed.
const SAMPLE: &str = include_str!("sample.yaml");

/// How long any one thing may take before the demo gives up and says what it waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often clusters in memory are looked at while something is timed.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Requests that each simulated cluster remembers: more than the demo makes.
const REMEMBERED: usize = 1000;

pub(crate) const CHANNEL: &str = "demo";
pub(crate) const COMPONENT: &str = "tickets";
pub(crate) const NAMESPACE: &str = "tickets";

/// Everything the scenes play on.
pub(crate) struct Stage {
    pub(crate) screen: Screen,
    pub(crate) fleet: Fleet,
    pub(crate) client: Client,
    pub(crate) channel: ChannelName,
    pub(crate) server_url: String,
    pub(crate) data: PathBuf,
    server: JoinHandle<Result<(), driftless_server::Error>>,
    stop: CancellationToken,
}

impl Stage {
    /// Starts the server in `data` and a client for it.
    pub(crate) async fn open(data: PathBuf, screen: Screen) -> Result<Self> {
        let settings = driftless_server::Settings::new(data.clone(), "127.0.0.1:0".parse()?, crate::now);
        let server = Server::start(settings).await.context("cannot start the server")?;
        let server_url = format!("https://{}", server.local_addr());
        let stop = CancellationToken::new();
        let server = tokio::spawn(server.run(stop.clone()));
        let client = Client::connect(Target {
            server: server_url.parse()?,
            ca: Some(std::fs::read_to_string(data.join("ca.crt"))?),
            token: Some(std::fs::read_to_string(data.join("admin.token"))?.trim().to_owned()),
        })?;
        let channel: ChannelName = CHANNEL.parse()?;
        client.create_channel(&channel).await?;
        let fleet = Fleet::new(crate::now, Timings::default());
        Ok(Self {
            screen,
            fleet,
            client,
            channel,
            server_url,
            data,
            server,
            stop,
        })
    }

    /// Enrols `number` clusters and starts an agent in each; returns when all streams are open.
    pub(crate) async fn populate(&mut self, number: usize) -> Result<Duration> {
        let started = Instant::now();
        let ca = std::fs::read_to_string(self.data.join("ca.crt"))?;
        let names: Vec<ClusterName> = (1..=number)
            .map(|index| format!("edge-{index:03}").parse())
            .collect::<Result<_, _>>()?;
        let enrolments = names.into_iter().map(|cluster| {
            let (client, channel) = (self.client.clone(), self.channel.clone());
            async move {
                let labels = Labels::from([("demo".to_owned(), "true".to_owned())]);
                let enroll = Enroll {
                    cluster: cluster.clone(),
                    channel,
                    labels,
                    vars: Default::default(),
                    ttl: None,
                    again: false,
                };
                client.enroll(&enroll).await.map(|enrolled| (cluster, enrolled.token))
            }
        });
        let enrolled: Vec<_> = futures::stream::iter(enrolments).buffered(64).try_collect().await?;
        for (index, (cluster, token)) in enrolled.into_iter().enumerate() {
            let options = driftless_sim::Options {
                name: cluster.to_string(),
                seed: index as u64,
                log: REMEMBERED,
                ..driftless_sim::Options::default()
            };
            let server = self.server_url.clone();
            let join = JoinFile {
                format: join::FORMAT,
                server,
                ca: ca.clone(),
                cluster,
                token,
            };
            self.fleet.start(driftless_sim::Cluster::new(options), join);
        }
        self.follow(|clusters| {
            let connected = clusters.values().filter(|cluster| cluster.connected).count();
            (
                connected == number,
                format!("{} {connected}/{number} clusters connected", bar(connected, number, 24)),
            )
        })
        .await
        .context("waiting for the clusters to connect")?;
        Ok(started.elapsed())
    }

    /// The sample as a bundle, with `from` replaced by `to` in its text.
    pub(crate) fn bundle(&self, edits: &[(&str, &str)]) -> Result<Bundle> {
        let content = edits
            .iter()
            .fold(SAMPLE.to_owned(), |text, (from, to)| text.replace(from, to));
        let text = intake::Text {
            name: "sample.yaml".to_owned(),
            content,
        };
        let manifests = intake::read(&[text], NAMESPACE)
            .map_err(|problems| anyhow::anyhow!("{}", problems.iter().map(ToString::to_string).collect::<String>()))?;
        Ok(Bundle::new(COMPONENT.parse()?, manifests)?)
    }

    /// Pushes a bundle, as `driftless push` does.
    pub(crate) async fn push(&self, bundle: Bundle, message: &str) -> Result<Pushed> {
        Ok(self
            .client
            .push(Push::new(self.channel.clone()).bundle(bundle).message(message), |_| {})
            .await?)
    }

    /// Waits until `members` have reported that they are at `snapshot`, showing how far they are.
    pub(crate) async fn converge(&mut self, snapshot: ObjectHash, except: Option<&ClusterName>) -> Result<Duration> {
        let started = Instant::now();
        let expected = self.fleet.members().len() - usize::from(except.is_some());
        self.follow(|clusters| {
            let others = clusters.values().filter(|cluster| Some(&cluster.name) != except);
            let (mut converged, mut objects) = (0, 0);
            for status in others.filter_map(|cluster| cluster.status.as_ref()) {
                converged += usize::from(status.is_converged(&snapshot));
                objects += status
                    .components
                    .values()
                    .map(|component| component.applied as usize)
                    .sum::<usize>();
            }
            let bar = bar(converged, expected, 24);
            let elapsed = time(started.elapsed());
            let objects = count(objects, "object");
            (
                converged == expected,
                format!("{bar} {converged}/{expected} clusters converged, {objects} applied, {elapsed}"),
            )
        })
        .await
        .context("waiting for the clusters to converge")?;
        Ok(started.elapsed())
    }

    /// Follows the channel's clusters as the server tells of them, until `step` says that it is enough.
    async fn follow(&mut self, mut step: impl FnMut(&BTreeMap<ClusterName, Cluster>) -> (bool, String)) -> Result<()> {
        let mut watch = Box::pin(self.client.watch_channel(&self.channel).await?);
        let mut clusters = BTreeMap::new();
        let deadline = tokio::time::sleep(PATIENCE);
        tokio::pin!(deadline);
        loop {
            let status = tokio::select! {
                biased;
                reason = self.fleet.failed() => bail!(reason),
                () = &mut deadline => {
                    bail!("this took more than {}: {}", time(PATIENCE), slowest(&clusters));
                }
                status = watch.next() => status.context("the server ended the watch")??,
            };
            clusters.extend(
                status
                    .clusters
                    .into_iter()
                    .map(|cluster| (cluster.name.clone(), cluster)),
            );
            let (enough, line) = step(&clusters);
            self.screen.show(&line);
            if enough {
                return Ok(());
            }
        }
    }

    /// Looks at clusters in memory until `seen` holds in all of `members`; how long that took.
    pub(crate) async fn observe(
        &mut self,
        members: &[Arc<Member>],
        what: &str,
        since: Instant,
        seen: impl Fn(&Member) -> bool,
    ) -> Result<Duration> {
        let mut waiting: Vec<_> = members.to_vec();
        loop {
            waiting.retain(|member| !seen(member));
            if waiting.is_empty() {
                return Ok(since.elapsed());
            }
            if since.elapsed() > PATIENCE {
                bail!("{} still lacks {what} after {}", waiting[0].name, time(PATIENCE));
            }
            let (missing, all) = (waiting.len(), members.len());
            self.screen.show(&format!(
                "{} {}/{all} {what}",
                bar(all - missing, all, 24),
                all - missing
            ));
            tokio::select! {
                biased;
                reason = self.fleet.failed() => bail!(reason),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Stops agents and server.
    pub(crate) async fn close(self) -> Result<()> {
        self.fleet.stop(Duration::from_secs(5)).await;
        self.stop.cancel();
        self.server
            .await
            .context("the server panicked")?
            .context("the server failed")
    }
}

/// Why one of the clusters is not there yet.
fn slowest(clusters: &BTreeMap<ClusterName, Cluster>) -> String {
    let Some(cluster) = clusters.values().find(|cluster| !cluster.converged) else {
        return "no cluster".to_owned();
    };
    let problem = cluster.status.as_ref().and_then(|status| {
        let components = status.components.values().flat_map(|component| &component.problems);
        status
            .problems
            .iter()
            .chain(components)
            .next()
            .map(|problem| problem.message.clone())
    });
    format!(
        "{} {}",
        cluster.name,
        problem.unwrap_or_else(|| "has reported no problem".to_owned())
    )
}
