//! Pushers: each with a connection and a component of its own, pushing one small new bundle after the other.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use driftless_client::{Client, Push};
use driftless_model::{
    bundle::Bundle,
    manifest::Manifest,
    name::{ChannelName, ComponentName},
};
use driftless_tests::child;
use serde_json::json;
use tokio::task::JoinSet;

use crate::stage::Stage;

/// All of them, connected.
pub(crate) struct Pushers {
    pushers: Vec<Pusher>,
    idle: ChannelName,
}

#[derive(Clone)]
struct Pusher {
    client: Client,
    channel: ChannelName,
    component: ComponentName,
}

/// What they did.
pub(crate) struct Load {
    /// Of each answered request, in milliseconds.
    pub(crate) latencies: Vec<f64>,
    pub(crate) seconds: f64,
    /// Processor seconds: of the server, of the pushers (this process), and of the whole machine.
    pub(crate) server: f64,
    pub(crate) pushers: f64,
    pub(crate) machine: f64,
}

impl Pushers {
    /// Connects them, each with one push that does not count.
    pub(crate) async fn connect(stage: &Stage, count: usize) -> Result<Self> {
        let mut pushers = Vec::new();
        for number in 0..count {
            pushers.push(Pusher {
                client: stage.client()?,
                channel: stage.channel.clone(),
                component: format!("team-{number:03}").parse()?,
            });
        }
        let connected = Self {
            pushers,
            idle: stage.idle.clone(),
        };
        let mut tasks = JoinSet::new();
        for pusher in connected.pushers.clone() {
            tasks.spawn(async move { pusher.push(0).await });
        }
        while let Some(pushed) = tasks.join_next().await {
            pushed??;
        }
        Ok(connected)
    }

    /// As many at once ask for something that costs the server nothing: what the round trips alone allow.
    pub(crate) async fn ask(&self, time: Duration) -> Result<f64> {
        let begin = Instant::now();
        let mut tasks = JoinSet::new();
        for pusher in &self.pushers {
            let (client, idle) = (pusher.client.clone(), self.idle.clone());
            tasks.spawn(async move {
                let mut answered = 0_u32;
                while begin.elapsed() < time {
                    client.channel(&idle).await?;
                    answered += 1;
                }
                Ok::<_, driftless_client::Error>(answered)
            });
        }
        let mut answered = 0;
        while let Some(count) = tasks.join_next().await {
            answered += count??;
        }
        Ok(f64::from(answered) / begin.elapsed().as_secs_f64())
    }

    /// All push, for so long. A push that fails ends everything.
    pub(crate) async fn push(&self, stage: &Stage, time: Duration) -> Result<Load> {
        let used = || Ok::<_, anyhow::Error>((stage.server.cpu_time()?, child::cpu_time(std::process::id())?, busy()?));
        let before = used()?;
        let begin = Instant::now();
        let mut tasks = JoinSet::new();
        for pusher in self.pushers.clone() {
            tasks.spawn(async move {
                let mut latencies = Vec::new();
                while begin.elapsed() < time {
                    latencies.push(pusher.push(latencies.len() + 1).await?);
                }
                Ok::<_, anyhow::Error>(latencies)
            });
        }
        let mut latencies = Vec::new();
        while let Some(some) = tasks.join_next().await {
            latencies.extend(some??);
        }
        let (seconds, after) = (begin.elapsed().as_secs_f64(), used()?);
        Ok(Load {
            latencies,
            seconds,
            server: (after.0 - before.0).as_secs_f64(),
            pushers: (after.1 - before.1).as_secs_f64(),
            machine: after.2 - before.2,
        })
    }
}

impl Pusher {
    /// Pushes something that was never there; says how many milliseconds that took.
    async fn push(&self, number: usize) -> Result<f64> {
        let object = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": self.component, "labels": {"app.kubernetes.io/name": self.component}},
            "data": {"release": format!("{}-{number}", self.component), "settings": "key = value\n".repeat(20)},
        });
        let manifest = Manifest::new(object, "default").map_err(|problem| anyhow!("{problem}"))?;
        let push = Push::new(self.channel.clone()).bundle(Bundle::new(self.component.clone(), [manifest])?);
        let begin = Instant::now();
        self.client.push(push, |_| {}).await?;
        Ok(begin.elapsed().as_secs_f64() * 1000.0)
    }
}

/// Processor seconds that the machine spent on anything since it started.
fn busy() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
    let all: f64 = ticks.iter().take(8).sum();
    // Idle and waiting for the disk.
    let rest: f64 = ticks.iter().skip(3).take(2).sum();
    Ok((all - rest) / TICKS)
}

/// Of `/proc/stat`, on every Linux there is.
const TICKS: f64 = 100.0;
