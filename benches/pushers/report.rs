//! The figures, as text and as JSON.

use std::fmt::Write as _;

use driftless_benches::quantile;
use serde::Serialize;

use crate::{
    load::Load,
    stage::{Kind, Stored},
};

/// Of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pushers: usize,
    pub(crate) sections: Vec<Section>,
}

/// Of one kind of bucket.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    bucket: String,
    pushes: usize,
    pushes_per_second: f64,
    /// Milliseconds from the begin of a push to its acknowledgement.
    median: f64,
    p90: f64,
    p99: f64,
    worst: f64,
    entries: usize,
    events_per_entry: f64,
    stored: Stored,
    /// Processor seconds.
    server_processor: f64,
    pushers_processor: f64,
    others_processor: f64,
    /// Processor milliseconds of the server for one push.
    server_per_push: f64,
    /// The same files written and flushed by hand: pushes a second.
    bare_puts: f64,
    /// Requests a second that cost the server nothing.
    bare_requests: f64,
}

impl Section {
    pub(crate) fn new(kind: Kind, load: Load, asked: f64, stored: Stored, floor: f64) -> Self {
        let pushes = load.latencies.len();
        let at = |q| quantile(&load.latencies, q);
        Self {
            bucket: kind.to_string(),
            pushes,
            pushes_per_second: pushes as f64 / load.seconds,
            median: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            worst: at(1.0),
            entries: stored.entries,
            events_per_entry: pushes as f64 / stored.entries.max(1) as f64,
            stored,
            server_processor: load.server,
            pushers_processor: load.pushers,
            others_processor: (load.machine - load.server - load.pushers).max(0.0),
            server_per_push: load.server * 1000.0 / pushes.max(1) as f64,
            bare_puts: floor,
            bare_requests: asked,
        }
    }
}

impl Report {
    pub(crate) fn new(pushers: usize) -> Self {
        Self {
            pushers,
            sections: Vec::new(),
        }
    }

    /// As people read it.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{} pushers, each with a component of one channel\n", self.pushers);
        for section in &self.sections {
            section.write(&mut text).expect("a text takes everything");
        }
        text
    }
}

impl Section {
    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "\n{}", self.bucket)?;
        writeln!(
            text,
            "  acknowledged       {:8.0} pushes/s  ({} in all)",
            self.pushes_per_second, self.pushes
        )?;
        writeln!(
            text,
            "  latency            median {:.0} ms, p90 {:.0} ms, p99 {:.0} ms, worst {:.0} ms",
            self.median, self.p90, self.p99, self.worst
        )?;
        writeln!(
            text,
            "  journal            {} entries, {:.1} pushes each",
            self.entries, self.events_per_entry
        )?;
        writeln!(
            text,
            "  processor          server {:.1} s ({:.2} ms a push), pushers {:.1} s, others {:.1} s",
            self.server_processor, self.server_per_push, self.pushers_processor, self.others_processor
        )?;
        writeln!(
            text,
            "  bare puts          {:8.0} pushes/s  ({:.0} % of it reached): the same {} files, {} kB, flushed by hand",
            self.bare_puts,
            100.0 * self.pushes_per_second / self.bare_puts,
            self.stored.objects + self.stored.entries,
            (self.stored.object_bytes + self.stored.entry_bytes) / 1000,
        )?;
        writeln!(
            text,
            "  bare requests      {:8.0} requests/s that ask for next to nothing",
            self.bare_requests
        )
    }
}
