//! What `driftless view` and `driftless diff` work out for a large fleet, beside working it out cluster by cluster.
//!
//! `cargo bench -p driftless-benches --bench views [-- --clusters N --sets N]`; see docs/performance.md. Pure: no
//! server, no disk. [`fleet`] makes clusters and bundles, here they are timed.

mod fleet;

use std::{hint::black_box, path::PathBuf, time::Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use driftless_benches::median;
use driftless_model::{
    bundle::Bundle,
    effect::{self, Clusters},
    render::Plan,
    view,
};
use serde::Serialize;

use fleet::Made;

/// What the issue asks of 10,000 clusters with 40 sets of labels, in milliseconds.
const GOAL: f64 = 200.0;

/// Measures views and diffs of a fleet.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// Clusters
    #[arg(long, default_value_t = 10_000)]
    clusters: usize,
    /// Distinct sets of labels and variables among them
    #[arg(long, default_value_t = 40)]
    sets: usize,
    /// Components of the snapshot
    #[arg(long, default_value_t = 60)]
    components: usize,
    /// Objects of each component
    #[arg(long, default_value_t = 20)]
    objects: usize,
    /// Runs of each measurement
    #[arg(long, default_value_t = 9)]
    runs: usize,
    /// Clusters worked out one by one for comparison; scaled up to all
    #[arg(long, default_value_t = 100)]
    one_by_one: usize,
    /// Write the figures to this file as JSON too
    #[arg(long, env = "DRIFTLESS_BENCH_JSON", value_name = "FILE")]
    json: Option<PathBuf>,
    /// What cargo adds
    #[arg(long, hide = true)]
    bench: bool,
}

/// The figures; times in milliseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    clusters: usize,
    sets: usize,
    objects: usize,
    /// Distinct views found.
    groups: usize,
    views: f64,
    diff_of_one_component: f64,
    diff_of_all_components: f64,
    effects: usize,
    shortfalls: f64,
    one_by_one: f64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let made = Made::new(&args);
    let (before, after) = (plans(&made.before), plans(&made.after));
    let milliseconds = |run: &mut dyn FnMut()| {
        let times = (0..args.runs).map(|_| {
            let begun = Instant::now();
            run();
            begun.elapsed().as_secs_f64() * 1000.0
        });
        median(&times.collect::<Vec<_>>())
    };

    let mut groups = 0;
    let views = milliseconds(&mut || {
        groups = 0;
        let all = Clusters::new(&made.clusters);
        for plan in plans(&made.after) {
            for (projection, clusters) in effect::groups(&plan, &all) {
                groups += 1;
                black_box((plan.render(&projection), clusters));
            }
        }
    });
    let diff_of_one_component = milliseconds(&mut || {
        let (before, after) = (Plan::new(&made.before[0]), Plan::new(&made.after[0]));
        black_box(effect::of_bundles(
            Some(&before),
            Some(&after),
            &Clusters::new(&made.clusters),
        ));
    });
    let mut effects = 0;
    let diff_of_all_components = milliseconds(&mut || {
        effects = 0;
        let all = Clusters::new(&made.clusters);
        for (before, after) in before.iter().zip(&after) {
            effects += black_box(effect::of_bundles(Some(before), Some(after), &all)).len();
        }
    });
    let shortfalls = milliseconds(&mut || {
        let all = Clusters::new(&made.clusters);
        for plan in &after {
            black_box(effect::shortfalls(plan, &all));
        }
    });
    let few = args.one_by_one.clamp(1, made.clusters.len());
    let one_by_one = milliseconds(&mut || {
        for cluster in &made.clusters[..few] {
            let found = |hash: &_| made.after_by_hash.get(hash);
            black_box(view::view(&made.snapshot, cluster, found).expect("every bundle is there"));
        }
    }) * made.clusters.len() as f64
        / few as f64;
    let report = Report {
        clusters: args.clusters,
        sets: args.sets,
        objects: args.components * args.objects,
        groups,
        views,
        diff_of_one_component,
        diff_of_all_components,
        effects,
        shortfalls,
        one_by_one,
    };
    print!("{}", report.text());
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn plans(bundles: &[Bundle]) -> Vec<Plan<'_>> {
    bundles.iter().map(Plan::new).collect()
}

impl Report {
    fn text(&self) -> String {
        let line = |what: &str, time: f64| {
            let ratio = self.one_by_one / time.max(f64::EPSILON);
            format!("{what:<58} {time:>9.1} ms   {ratio:>8.0}× faster than one by one\n")
        };
        let mut text = format!(
            "{} clusters with {} sets of labels and variables, {} objects; goal {GOAL} ms\n\n",
            self.clusters, self.sets, self.objects
        );
        text += &line(
            &format!("every distinct view ({} of components)", self.groups),
            self.views,
        );
        text += &line("diff of one changed component", self.diff_of_one_component);
        text += &line(
            &format!("diff of all components changed ({} effects)", self.effects),
            self.diff_of_all_components,
        );
        text += &line("checks of all variables and patches at push", self.shortfalls);
        text += &format!("{:<58} {:>9.1} ms   (scaled up)\n", "views one by one", self.one_by_one);
        text
    }
}
