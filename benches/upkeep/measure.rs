//! The measurements: one component of ConfigMaps that grows, or one after the other, and is deleted in the end.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use driftless_benches::{
    cluster::{
        bare,
        observe::{Change, Counter, Reader},
        stage::Stage,
        workload::{Workload, config_map, config_map_name},
    },
    median, quantile,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};
use tokio::time::interval;

use crate::{
    Args,
    report::{Deletion, Drifts, OneChange, Report, Size},
    requests,
};

/// Component and namespace.
const OURS: &str = "maps";
const BARE: &str = "bare-maps";
/// At this number of objects drift is measured.
const DRIFT_AT: usize = 5000;
/// What somebody else writes.
const DRIFTED: &str = "by hand";

/// One run of everything.
pub(crate) struct Measure<'a> {
    stage: &'a Stage,
    args: &'a Args,
}

impl<'a> Measure<'a> {
    pub(crate) fn new(stage: &'a Stage, args: &'a Args) -> Self {
        Self { stage, args }
    }

    /// Measures all. `binary` are the bytes of the agent's program.
    pub(crate) async fn run(&self, binary: u64) -> Result<Report> {
        let mut report = Report::new(binary);
        for namespace in [OURS, BARE] {
            self.stage.namespace(namespace).await?;
        }
        bare::apply(
            &self.client()?,
            &Workload::ConfigMaps.objects(BARE, 10),
            &Workload::ConfigMaps.kinds(),
        )
        .await?;
        for &count in &self.args.objects {
            eprintln!("{count} objects");
            let mut objects = Workload::ConfigMaps.objects(OURS, count);
            self.push(&objects).await?;
            // An agent that has just applied much holds memory that it will not need again.
            self.stage.restart_agent().await?;
            report.sizes.push(self.size(&mut objects).await?);
            if count == DRIFT_AT {
                report.drifts = Some(self.drifts(&objects).await?);
            }
        }
        // Of several components the last would go as a whole: a removal, which is another thing.
        if self.args.objects.iter().all(|count| *count <= self.args.each) {
            report.deletion = Some(self.deletion().await?);
        }
        Ok(report)
    }

    async fn push(&self, objects: &[Value]) -> Result<()> {
        for (number, part) in objects.chunks(self.args.each).enumerate() {
            self.stage.push(self.stage.push_of(&component(number), part)?).await?;
        }
        self.stage.at_rest().await
    }

    /// Rest and single changes at one number of objects.
    async fn size(&self, objects: &mut [Value]) -> Result<Size> {
        self.stage.at_rest().await?;
        let mark = self.stage.plane.audit_mark().await?;
        let (resident, processor) = {
            let agent = self.stage.agent().await;
            let before = agent.cpu_time()?;
            tokio::time::sleep(Duration::from_secs(self.args.idle)).await;
            (agent.resident_bytes()?, agent.cpu_time()? - before)
        };
        let at_rest = requests::since(&self.stage.plane, mark).await?;

        let mark = self.stage.plane.audit_mark().await?;
        let changes = self.changes(objects).await?;
        let asked = requests::since(&self.stage.plane, mark).await?;
        let of = |figure: fn(&OneChange) -> f64| median(&changes.iter().map(figure).collect::<Vec<_>>());
        Ok(Size {
            objects: objects.len(),
            resident,
            processor: processor.as_secs_f64(),
            seconds: self.args.idle,
            requests_at_rest: at_rest,
            change: of(|change| change.ours),
            bare_change: of(|change| change.bare),
            changes: changes.len(),
            requests_of_changes: asked,
        })
    }

    /// One object changed, again and again: in milliseconds from the acknowledged push to the object seen.
    async fn changes(&self, objects: &mut [Value]) -> Result<Vec<OneChange>> {
        let client = self.client()?;
        let kinds = Workload::ConfigMaps.kinds();
        let mut ours_seen = Reader::start(&client, OURS).await?;
        let mut bare_seen = Reader::start(&client, BARE).await?;
        let mut changes = Vec::new();
        for run in 0..self.args.changes {
            let value = format!("{}-{run}", objects.len());
            let object = config_map(BARE, run % 10, &value);
            let begin = Instant::now();
            bare::apply_one(&client, &object, &kinds).await?;
            let seen = bare_seen.value(&config_map_name(run % 10), &value).await?;
            let bare = milliseconds(seen.saturating_duration_since(begin));

            // A prime step, so that they are spread over the bundle.
            let number = run * 7919 % objects.len();
            objects[number] = config_map(OURS, number, &value);
            let part = number / self.args.each;
            let of_part = objects.chunks(self.args.each).nth(part).context("no such component")?;
            let push = self.stage.push_of(&component(part), of_part)?;
            self.stage.push(push).await?;
            let acknowledged = Instant::now();
            let seen = ours_seen.value(&config_map_name(number), &value).await?;
            changes.push(OneChange {
                ours: milliseconds(seen.saturating_duration_since(acknowledged)),
                bare,
            });
            self.stage.at_rest().await?;
        }
        Ok(changes)
    }

    /// Objects changed by hand at a steady pace: from the change seen to the repair seen.
    async fn drifts(&self, objects: &[Value]) -> Result<Drifts> {
        eprintln!("{} of {} changed by hand", self.args.drifts, objects.len());
        let client = self.client()?;
        let mut seen = Reader::start(&client, OURS).await?;
        let api: Api<ConfigMap> = Api::namespaced(client, OURS);
        let mark = self.stage.plane.audit_mark().await?;
        let processor = self.stage.agent().await.cpu_time()?;
        let names: Vec<_> = (0..self.args.drifts)
            .map(|run| config_map_name(run * 7919 % objects.len()))
            .collect();
        let work = names.clone();
        let mut pace = interval(Duration::from_secs(1) / self.args.drifts_per_second.max(1));
        let writer = tokio::spawn(async move {
            for name in work {
                pace.tick().await;
                let patch = Patch::Merge(json!({"data": {"value": DRIFTED}}));
                api.patch(&name, &PatchParams::default(), &patch).await?;
            }
            anyhow::Ok(())
        });
        let mut changed: BTreeMap<String, Instant> = BTreeMap::new();
        let mut took = Vec::new();
        while took.len() < names.len() {
            let (name, value, at) = seen.next().await?;
            if value == DRIFTED {
                changed.insert(name, at);
            } else if let Some(since) = changed.remove(&name) {
                took.push(milliseconds(at.saturating_duration_since(since)));
            }
        }
        writer.await??;
        self.stage.at_rest().await?;
        let processor = self.stage.agent().await.cpu_time()? - processor;
        Ok(Drifts {
            count: took.len(),
            of: objects.len(),
            per_second: self.args.drifts_per_second,
            median: median(&took),
            p99: quantile(&took, 0.99),
            worst: quantile(&took, 1.0),
            processor: processor.as_secs_f64(),
            requests: requests::since(&self.stage.plane, mark).await?,
        })
    }

    /// Objects deleted because the component lost them, beside a loop of bare deletions.
    async fn deletion(&self) -> Result<Deletion> {
        let count = self.args.deletions;
        eprintln!("{count} deletions");
        let (client, kinds) = (self.client()?, Workload::ConfigMaps.kinds());
        let objects = Workload::ConfigMaps.objects(BARE, count);
        bare::apply(&client, &objects, &kinds).await?;
        let counter = Counter::start(&client, BARE, &kinds, Change::Deleted).await?;
        let begin = Instant::now();
        bare::delete(&client, &objects, &kinds).await?;
        let bare = counter.all(count).await?.last - begin;

        let most = self
            .args
            .objects
            .iter()
            .copied()
            .max()
            .context("no number of objects")?;
        let counter = Counter::start(&client, OURS, &kinds, Change::Deleted).await?;
        let left = Workload::ConfigMaps.objects(OURS, most.saturating_sub(count));
        self.stage.push(self.stage.push_of(OURS, &left)?).await?;
        let acknowledged = Instant::now();
        let ours = counter.all(count.min(most)).await?.last - acknowledged;
        self.stage.at_rest().await?;
        Ok(Deletion {
            count: count.min(most),
            ours: ours.as_secs_f64(),
            bare: bare.as_secs_f64(),
        })
    }

    fn client(&self) -> Result<Client> {
        self.stage.plane.client()
    }
}

/// The name of a component; the first is called as the namespace is.
fn component(number: usize) -> String {
    match number {
        0 => OURS.to_owned(),
        _ => format!("{OURS}-{number}"),
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
