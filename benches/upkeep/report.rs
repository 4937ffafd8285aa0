//! The figures: as a table for people, and as JSON for whoever keeps them. Pure.

use std::fmt::Write as _;

use serde::Serialize;

use crate::requests::Counts;

const MIB: f64 = 1024.0 * 1024.0;
/// Goals, printed beside what was measured.
const GOAL_BINARY: f64 = 20.0;
const GOAL_CHANGE: f64 = 50.0;
const GOAL_DRIFT: f64 = 200.0;
const GOAL_REST: f64 = 0.5;
const GOALS_RESIDENT: [(usize, f64); 3] = [(100, 15.0), (1000, 25.0), (10_000, 60.0)];

/// Everything that was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    /// Bytes of the agent's program.
    binary: u64,
    pub(crate) sizes: Vec<Size>,
    pub(crate) drifts: Option<Drifts>,
    pub(crate) deletion: Option<Deletion>,
}

/// One number of objects.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Size {
    pub(crate) objects: usize,
    /// Bytes.
    pub(crate) resident: u64,
    /// Processor seconds of the agent over so many seconds of rest.
    pub(crate) processor: f64,
    pub(crate) seconds: u64,
    pub(crate) requests_at_rest: Counts,
    /// Milliseconds: medians of so many changes.
    pub(crate) change: f64,
    pub(crate) bare_change: f64,
    pub(crate) changes: usize,
    pub(crate) requests_of_changes: Counts,
}

/// One changed object, in milliseconds.
#[derive(Debug)]
pub(crate) struct OneChange {
    pub(crate) ours: f64,
    pub(crate) bare: f64,
}

/// Objects changed by hand, in milliseconds from change seen to repair seen.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Drifts {
    pub(crate) count: usize,
    pub(crate) of: usize,
    pub(crate) per_second: u32,
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) worst: f64,
    /// Processor seconds of the agent.
    pub(crate) processor: f64,
    pub(crate) requests: Counts,
}

/// Objects deleted, in seconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Deletion {
    pub(crate) count: usize,
    pub(crate) ours: f64,
    pub(crate) bare: f64,
}

impl Report {
    pub(crate) fn new(binary: u64) -> Self {
        Self {
            binary,
            sizes: Vec::new(),
            drifts: None,
            deletion: None,
        }
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text).expect("a text takes everything");
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let binary = self.binary as f64 / MIB;
        writeln!(text, "driftless-agent has {binary:.1} MiB (goal {GOAL_BINARY})\n")?;
        for size in &self.sizes {
            let resident = size.resident as f64 / MIB;
            let goal = GOALS_RESIDENT.iter().find(|(objects, _)| *objects == size.objects);
            let goal = goal.map_or(String::new(), |(_, goal)| format!(" (goal {goal})"));
            let millicores = size.processor * 1000.0 / size.seconds.max(1) as f64;
            let per_thousand = millicores * 1000.0 / size.objects.max(1) as f64;
            writeln!(text, "{} objects", size.objects)?;
            writeln!(text, "  resident          {resident:8.1} MiB{goal}")?;
            writeln!(
                text,
                "  {:>3} s of rest     {millicores:8.2} millicores, {per_thousand:.2} per 1,000 objects (goal {GOAL_REST}); \
                 asked: {}",
                size.seconds,
                told(&size.requests_at_rest)
            )?;
            writeln!(
                text,
                "  one changed       {:8.1} ms (goal {GOAL_CHANGE}), {:.1}× a bare apply's {:.1} ms; {} changes asked: {}",
                size.change,
                size.change / size.bare_change.max(f64::EPSILON),
                size.bare_change,
                size.changes,
                told(&size.requests_of_changes)
            )?;
        }
        if let Some(drifts) = &self.drifts {
            writeln!(
                text,
                "\n{} of {} changed by hand, {} a second\n  change → repair   {:8.1} ms median, p99 {:.1} ms (goal {GOAL_DRIFT}), \
                 worst {:.1} ms\n  processor         {:8.2} s of the agent; asked: {}",
                drifts.count,
                drifts.of,
                drifts.per_second,
                drifts.median,
                drifts.p99,
                drifts.worst,
                drifts.processor,
                told(&drifts.requests)
            )?;
        }
        if let Some(Deletion { count, ours, bare }) = &self.deletion {
            writeln!(
                text,
                "\n{count} deletions\n  acknowledged → last{ours:7.2} s, {:.2}× the bare loop's {bare:.2} s",
                ours / bare
            )?;
        }
        Ok(())
    }
}

/// `13 patch configmaps, 1 list configmaps`.
fn told(counts: &Counts) -> String {
    let told: Vec<_> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    if told.is_empty() {
        return "nothing".to_owned();
    }
    told.join(", ")
}
