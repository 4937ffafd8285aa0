//! The figures: as a table for people, and as JSON for whoever keeps them. Pure.

use std::fmt::Write as _;

use driftless_benches::{cluster::workload::Workload, median, quantile};
use serde::Serialize;

/// Goals of this version, printed beside what was measured.
const GOAL_SHARE: f64 = 0.9;
const GOAL_CHANGE: f64 = 50.0;
const GOAL_RESIDENT: f64 = 25.0;
/// Flux (kustomize-controller and source-controller of mid 2026, default flags), 1,000 ConfigMaps in one
/// Kustomization on a real API server, on a machine of the same kind: measured separately, not by this bench.
const FLUX: Flux = Flux {
    first_apply: 4.5,
    one_change: 4.3,
    removal: 3.3,
    resident: 93.0 + 100.0,
    processor_per_interval: 1.6,
};

/// Everything that was found. Times in seconds but where said otherwise.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    objects: usize,
    /// Bytes of the agent before anything was pushed.
    resident_empty: u64,
    pub(crate) applies: Vec<Apply>,
    pub(crate) changes: Vec<OneChange>,
    pub(crate) after_apply: Option<Rest>,
    pub(crate) after_restart: Option<Rest>,
    flux: Flux,
}

/// One first apply of an application, with Driftless and without.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Apply {
    pub(crate) workload: Workload,
    /// From the begin of the push to its acknowledgement.
    pub(crate) push: f64,
    /// May be negative: the agent does not wait for the pusher.
    pub(crate) acknowledged_to_first: f64,
    pub(crate) acknowledged_to_last: f64,
    pub(crate) first_to_last: f64,
    /// Processor time of the agent, until it came to rest.
    pub(crate) agent_processor: f64,
    /// Processor time of API server and etcd, until the last object was seen.
    pub(crate) api_processor: f64,
    /// From the removal's acknowledgement to the last object's end.
    pub(crate) removal: Option<f64>,
    /// From the begin of the loop to the last object seen.
    pub(crate) bare: f64,
    /// Processor time of this process meanwhile, its watches included.
    pub(crate) bare_client_processor: f64,
    /// Processor time of API server and etcd meanwhile.
    pub(crate) bare_api_processor: f64,
}

/// One changed object among all, in milliseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OneChange {
    /// From the begin of the push to its acknowledgement.
    pub(crate) push: f64,
    /// May be negative: the agent does not wait for the pusher.
    pub(crate) acknowledged_to_seen: f64,
    /// A bare apply of such an object, from its begin to being seen.
    pub(crate) bare: f64,
}

/// An agent with nothing to do.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Rest {
    pub(crate) seconds: u64,
    /// Processor time over those.
    pub(crate) processor: f64,
    /// Bytes now.
    pub(crate) resident: u64,
    /// Bytes at most so far.
    pub(crate) peak: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Flux {
    first_apply: f64,
    one_change: f64,
    removal: f64,
    /// Megabytes of both controllers.
    resident: f64,
    processor_per_interval: f64,
}

impl Apply {
    pub(crate) fn new(workload: Workload) -> Self {
        Self {
            workload,
            push: 0.0,
            acknowledged_to_first: 0.0,
            acknowledged_to_last: 0.0,
            first_to_last: 0.0,
            agent_processor: 0.0,
            api_processor: 0.0,
            removal: None,
            bare: 0.0,
            bare_client_processor: 0.0,
            bare_api_processor: 0.0,
        }
    }

    /// Processor time of everything under the bare loop beside that with the agent: what the rates would compare like on
    /// processors that never waited.
    fn processor_share(&self) -> f64 {
        share(
            self.bare_api_processor + self.bare_client_processor,
            self.api_processor + self.agent_processor,
        )
    }
}

impl Report {
    pub(crate) fn new(objects: usize, resident_empty: u64) -> Self {
        Self {
            objects,
            resident_empty,
            applies: Vec::new(),
            changes: Vec::new(),
            after_apply: None,
            after_restart: None,
            flux: FLUX,
        }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for workload in Workload::ALL {
            self.write_applies(&mut text, workload);
        }
        self.write_changes(&mut text);
        self.write_rest(&mut text);
        text
    }

    fn write_applies(&self, text: &mut String, workload: Workload) {
        let all: Vec<_> = self.applies.iter().filter(|apply| apply.workload == workload).collect();
        let middle = |of: fn(&Apply) -> f64| median(&all.iter().map(|apply| of(apply)).collect::<Vec<_>>());
        let removals: Vec<_> = all.iter().filter_map(|apply| apply.removal).collect();
        let (ours, bare) = (middle(|apply| apply.acknowledged_to_last), middle(|apply| apply.bare));
        let shares: Vec<_> = all
            .iter()
            .map(|apply| share(apply.bare, apply.acknowledged_to_last))
            .collect();
        let processor: Vec<_> = all.iter().map(|apply| apply.processor_share()).collect();
        let rate = |seconds: f64| self.objects as f64 / seconds.max(f64::EPSILON);
        let seconds = |of: fn(&Apply) -> f64| list(all.iter().map(|apply| format!("{:.2}", of(apply))));
        let percent = |shares: &[f64]| list(shares.iter().map(|share| format!("{share:.0}")));
        head(
            text,
            &format!(
                "first apply of {} objects: {}; medians of {}",
                self.objects,
                workload.title(),
                all.len()
            ),
        );
        row(
            text,
            "acknowledged → last object",
            format!(
                "{ours:.2} s, {:.0} objects/s   ({})",
                rate(ours),
                seconds(|apply| apply.acknowledged_to_last)
            ),
        );
        row(
            text,
            "bare applies, 32 in flight",
            format!(
                "{bare:.2} s, {:.0} objects/s   ({})",
                rate(bare),
                seconds(|apply| apply.bare)
            ),
        );
        row(
            text,
            "share of the bare rate",
            format!(
                "{:.0} % of the same round's, median ({})   (goal {:.0} %)",
                median(&shares),
                percent(&shares),
                GOAL_SHARE * 100.0
            ),
        );
        row(
            text,
            "first object → last object",
            format!(
                "{:.2} s; first {:.0} ms after the acknowledgement",
                middle(|apply| apply.first_to_last),
                middle(|apply| apply.acknowledged_to_first) * 1000.0,
            ),
        );
        row(text, "push itself", format!("{:.2} s", middle(|apply| apply.push)));
        row(
            text,
            "processor time of the agent",
            format!(
                "{:.2} s; of the bare loop and what watches it {:.2} s",
                middle(|apply| apply.agent_processor),
                middle(|apply| apply.bare_client_processor)
            ),
        );
        row(
            text,
            "of API server and etcd",
            format!(
                "{:.2} s; under the bare loop {:.2} s",
                middle(|apply| apply.api_processor),
                middle(|apply| apply.bare_api_processor)
            ),
        );
        row(
            text,
            "share by processor time",
            format!("{:.0} %, median ({})", median(&processor), percent(&processor)),
        );
        if !removals.is_empty() {
            row(text, "removal of all", format!("{:.2} s", median(&removals)));
        }
        if workload == Workload::ConfigMaps {
            row(
                text,
                "Flux, measured separately",
                format!("first apply {} s, removal {} s", FLUX.first_apply, FLUX.removal),
            );
        }
    }

    fn write_changes(&self, text: &mut String) {
        let column = |of: fn(&OneChange) -> f64| self.changes.iter().map(of).collect::<Vec<_>>();
        let spread = |of: fn(&OneChange) -> f64| {
            let values = column(of);
            format!("median {:.1} ms, p90 {:.1} ms", median(&values), quantile(&values, 0.9))
        };
        head(
            text,
            &format!("one changed object of {}; {} runs", self.objects, self.changes.len()),
        );
        row(
            text,
            "acknowledged → seen",
            format!(
                "{}   (goal {GOAL_CHANGE:.0} ms)",
                spread(|change| change.acknowledged_to_seen)
            ),
        );
        row(
            text,
            "push begun → seen",
            spread(|change| change.push + change.acknowledged_to_seen),
        );
        row(text, "push itself", spread(|change| change.push));
        row(text, "bare apply → seen", spread(|change| change.bare));
        row(
            text,
            "Flux, measured separately",
            format!("{} s, told to look at once", FLUX.one_change),
        );
    }

    fn write_rest(&self, text: &mut String) {
        head(text, "the agent at rest");
        row(
            text,
            "before anything was pushed",
            format!("{:.1} MiB", mebibytes(self.resident_empty)),
        );
        for (when, rest) in [
            ("after a first apply", &self.after_apply),
            ("after a restart", &self.after_restart),
        ] {
            if let Some(rest) = rest {
                row(
                    text,
                    when,
                    format!(
                        "{:.1} MiB, peak {:.1} MiB   (goal {GOAL_RESIDENT:.0} MiB); {:.2} s of processor in {} s",
                        mebibytes(rest.resident),
                        mebibytes(rest.peak),
                        rest.processor,
                        rest.seconds,
                    ),
                );
            }
        }
        row(
            text,
            "Flux, measured separately",
            format!(
                "{:.0} MB; {} s of processor at every interval",
                FLUX.resident, FLUX.processor_per_interval
            ),
        );
    }
}

fn head(text: &mut String, words: &str) {
    // Writing to a text cannot fail, here and below.
    let _ = writeln!(text, "\n{words}");
}

fn row(text: &mut String, name: &str, value: String) {
    let _ = writeln!(text, "  {name:<30} {value}");
}

fn list(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

/// Which part of `bare` speed `ours` is, in percent.
fn share(bare: f64, ours: f64) -> f64 {
    100.0 * bare / ours.max(f64::EPSILON)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
