//! The measurements, in the order in which they disturb each other least.

use std::time::{Duration, Instant};

use anyhow::Result;
use driftless_benches::cluster::{
    bare,
    observe::{Change, Counter, Reader},
    stage::Stage,
    workload::{Workload, config_map, config_map_name},
};
use driftless_tests::{Component, child};
use kube::Client;

use crate::{
    Args,
    report::{Apply, OneChange, Report, Rest},
};

/// Enough to have every path taken once before it counts.
const WARM_UP: usize = 40;

/// What the observers' own lists left to do is over by then: the API server asks etcd ten times a second how far it is
/// while lists wait for that, and one that comes right after others would wait for the next time (KEP-2340).
const SETTLE: Duration = Duration::from_millis(300);

/// One run of everything.
pub(crate) struct Measure<'a> {
    stage: &'a Stage,
    args: &'a Args,
}

impl<'a> Measure<'a> {
    pub(crate) fn new(stage: &'a Stage, args: &'a Args) -> Self {
        Self { stage, args }
    }

    /// Measures all.
    pub(crate) async fn run(&self) -> Result<Report> {
        let mut report = Report::new(self.args.objects, self.stage.agent().await.resident_bytes()?);
        self.warm_up().await?;
        for round in 1..=self.args.rounds {
            for workload in Workload::ALL {
                eprintln!(
                    "round {round}: first apply of {} {}",
                    self.args.objects,
                    workload.title()
                );
                let is_first = round == 1 && workload == Workload::Application;
                let is_last = round == self.args.rounds && workload == Workload::ConfigMaps;
                let mut apply = Apply::new(workload);
                // By turns, so that neither always comes first.
                if round % 2 == 0 {
                    self.bare(workload, round, is_last, &mut apply).await?;
                }
                self.pushed(workload, round, &mut apply).await?;
                if is_first {
                    report.after_apply = Some(self.rest().await?);
                }
                if !is_last {
                    self.removed(workload, round, &mut apply).await?;
                }
                if round % 2 == 1 {
                    self.bare(workload, round, is_last, &mut apply).await?;
                }
                report.applies.push(apply);
            }
        }
        self.changes(&mut report).await?;
        eprintln!("agent restarted with {} ConfigMaps", self.args.objects);
        self.stage.restart_agent().await?;
        report.after_restart = Some(self.rest().await?);
        Ok(report)
    }

    async fn warm_up(&self) -> Result<()> {
        eprintln!("warming up");
        for workload in Workload::ALL {
            let (ours, bare) = (
                format!("warm-{}", workload.name()),
                format!("warm-bare-{}", workload.name()),
            );
            self.stage.namespace(&ours).await?;
            self.stage.namespace(&bare).await?;
            bare::apply(&self.client()?, &workload.objects(&bare, WARM_UP), &workload.kinds()).await?;
            self.stage
                .push(self.stage.push_of(&ours, &workload.objects(&ours, WARM_UP))?)
                .await?;
            self.stage.at_rest().await?;
            self.stage.push(self.stage.removal_of(&ours)?).await?;
        }
        self.stage.at_rest().await
    }

    /// First apply by push.
    async fn pushed(&self, workload: Workload, round: usize, apply: &mut Apply) -> Result<()> {
        let (component, count) = (component(workload, round), self.args.objects);
        self.stage.namespace(&component).await?;
        let push = self.stage.push_of(&component, &workload.objects(&component, count))?;
        let counter = Counter::start(&self.client()?, &component, &workload.kinds(), Change::Added).await?;
        tokio::time::sleep(SETTLE).await;
        let (before, api) = (self.stage.agent().await.cpu_time()?, self.api_processor()?);
        let begin = Instant::now();
        self.stage.push(push).await?;
        let acknowledged = Instant::now();
        let seen = counter.all(count).await?;
        apply.api_processor = seconds(self.api_processor()? - api);
        apply.push = seconds(acknowledged - begin);
        apply.acknowledged_to_first = signed_milliseconds(acknowledged, seen.first) / 1000.0;
        apply.acknowledged_to_last = seconds(seen.last - acknowledged);
        apply.first_to_last = seconds(seen.last - seen.first);
        self.stage.at_rest().await?;
        apply.agent_processor = seconds(self.stage.agent().await.cpu_time()? - before);
        Ok(())
    }

    /// The same objects, applied and nothing else. They go as ours do, or the API server would have ever more to hold.
    async fn bare(&self, workload: Workload, round: usize, is_last: bool, apply: &mut Apply) -> Result<()> {
        let (namespace, count) = (format!("bare-{}", component(workload, round)), self.args.objects);
        self.stage.namespace(&namespace).await?;
        let (client, kinds) = (self.client()?, workload.kinds());
        let objects = workload.objects(&namespace, count);
        let counter = Counter::start(&client, &namespace, &kinds, Change::Added).await?;
        tokio::time::sleep(SETTLE).await;
        let own = || child::cpu_time(std::process::id());
        let (before, api) = (own()?, self.api_processor()?);
        let begin = Instant::now();
        bare::apply(&client, &objects, &kinds).await?;
        let seen = counter.all(count).await?;
        apply.bare_client_processor = seconds(own()? - before);
        apply.bare_api_processor = seconds(self.api_processor()? - api);
        apply.bare = seconds(seen.last - begin);
        if is_last {
            Ok(())
        } else {
            bare::delete(&client, &objects, &kinds).await
        }
    }

    /// Removal of the component, from its acknowledgement to the last object's end.
    async fn removed(&self, workload: Workload, round: usize, apply: &mut Apply) -> Result<()> {
        let (component, kinds) = (component(workload, round), workload.kinds());
        let counter = Counter::start(&self.client()?, &component, &kinds, Change::Deleted).await?;
        self.stage.push(self.stage.removal_of(&component)?).await?;
        let acknowledged = Instant::now();
        let seen = counter.all(self.args.objects).await?;
        apply.removal = Some(seconds(seen.last - acknowledged));
        self.stage.at_rest().await
    }

    /// One object of the ConfigMaps that are still there, changed again and again.
    async fn changes(&self, report: &mut Report) -> Result<()> {
        eprintln!("{} changes of one object", self.args.changes);
        let kinds = Workload::ConfigMaps.kinds();
        let ours = component(Workload::ConfigMaps, self.args.rounds);
        let bare = format!("bare-{ours}");
        let client = self.client()?;
        let mut ours_seen = Reader::start(&client, &ours).await?;
        let mut bare_seen = Reader::start(&client, &bare).await?;
        let mut objects = Workload::ConfigMaps.objects(&ours, self.args.objects);
        for run in 0..self.args.changes {
            // A prime step, so that they are spread over the bundle.
            let (number, value) = (run * 7919 % self.args.objects, format!("run-{run}"));
            let name = config_map_name(number);

            let object = config_map(&bare, number, &value);
            let begin = Instant::now();
            bare::apply_one(&client, &object, &kinds).await?;
            let bare = milliseconds(bare_seen.value(&name, &value).await? - begin);

            objects[number] = config_map(&ours, number, &value);
            let push = self.stage.push_of(&ours, &objects)?;
            let begin = Instant::now();
            self.stage.push(push).await?;
            let acknowledged = Instant::now();
            let seen = ours_seen.value(&name, &value).await?;
            report.changes.push(OneChange {
                push: milliseconds(acknowledged - begin),
                acknowledged_to_seen: signed_milliseconds(acknowledged, seen),
                bare,
            });
            self.stage.at_rest().await?;
        }
        Ok(())
    }

    /// What an agent costs that has nothing to do.
    async fn rest(&self) -> Result<Rest> {
        self.stage.at_rest().await?;
        eprintln!("{} s of rest", self.args.idle);
        let agent = self.stage.agent().await;
        let before = agent.cpu_time()?;
        tokio::time::sleep(Duration::from_secs(self.args.idle)).await;
        Ok(Rest {
            seconds: self.args.idle,
            processor: seconds(agent.cpu_time()? - before),
            resident: agent.resident_bytes()?,
            peak: agent.peak_resident_bytes()?,
        })
    }

    /// What API server and etcd have used so far.
    fn api_processor(&self) -> Result<Duration> {
        let plane = &self.stage.plane;
        let of = |component| plane.process(component)?.cpu_time();
        Ok(of(Component::ApiServer)? + of(Component::Etcd)?)
    }

    fn client(&self) -> Result<Client> {
        self.stage.plane.client()
    }
}

/// Names a component and its namespace.
fn component(workload: Workload, round: usize) -> String {
    format!("{}-{round}", workload.name())
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// From one moment to the other, which may be earlier: an agent can be done before the pusher has its answer.
fn signed_milliseconds(from: Instant, to: Instant) -> f64 {
    milliseconds(to.saturating_duration_since(from)) - milliseconds(from.saturating_duration_since(to))
}
