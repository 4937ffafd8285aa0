//! The checks before a push, as flags and as words: which Kubernetes versions they are for, what is told, and whether
//! the push goes on.
//!
//! `push` and `diff` call [`Flags::check`] when they know what the channel has. What is checked is decided in
//! `driftless-check`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::Result;
use driftless_check::{Checks, Finding, Minor, Severity};
use driftless_client::{Client, types::Channel};
use driftless_model::{
    bundle::Bundle,
    intake::{self, Placed, Text},
    manifest::Manifest,
    name::{ClusterName, ComponentName},
};

use crate::{
    failure::Advice,
    followers::{self, Followers, Variant},
    output::{self, count},
    sources::Component,
};

/// How manifests are checked before they leave this machine.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Checks")]
#[group(id = "validation")]
pub(crate) struct Flags {
    /// Check fields, kinds and references against Kubernetes' schemas: refuse what clusters would refuse, only warn, or
    /// do not check
    #[arg(long, value_name = "HOW", default_value = "strict")]
    validate: Mode,
    /// Kubernetes version to check for, as 1.36; may be given again [default: those that the channel's clusters report]
    #[arg(long, value_name = "VERSION")]
    kubernetes_version: Vec<Minor>,
}

/// What becomes of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// Errors refuse the push, warnings are printed
    Strict,
    /// Both are printed
    Warn,
    /// Nothing is checked
    Off,
}

impl Flags {
    /// Checks the components that differ from what `channel` has, as part of the snapshot that they will be in; `gone`
    /// are the channel's components that it will not have. Findings are printed.
    ///
    /// # Errors
    /// With [`Mode::Strict`], where a cluster would refuse an object; ends with `so`.
    pub(crate) async fn check(
        &self,
        client: &Client,
        channel: &Channel,
        followers: &Followers<'_>,
        components: &[Component],
        gone: &BTreeSet<ComponentName>,
        so: &str,
    ) -> Result<()> {
        let is_old = |component: &Component| {
            channel.components.get(&component.bundle.component) == Some(&component.bundle.hash())
        };
        let (old, new): (Vec<_>, Vec<_>) = components.iter().partition(|component| is_old(component));
        if self.validate == Mode::Off || new.is_empty() {
            return Ok(());
        }
        let versions = self.versions(followers).await?;
        let pushed: Vec<Placed> = new.iter().flat_map(|component| &component.placed).cloned().collect();
        // Most of what is pushed hangs together by itself: the rest is looked through only if something is left open, and
        // what is not at hand only if that does not close it.
        let at_hand = || {
            old.iter()
                .flat_map(|component| &component.placed)
                .map(|placed| placed.manifest())
        };
        let mut known: Vec<Manifest> = at_hand()
            .filter(|manifest| Checks::is_definition(manifest))
            .cloned()
            .collect();
        let run = |known: &[Manifest]| {
            let checks = Checks::new(versions.iter().copied(), known.iter().cloned());
            let findings = checks.run(&pushed);
            (checks, findings)
        };
        let (mut checks, mut findings) = tokio::task::block_in_place(|| run(&known));
        for is_near in [true, false] {
            if !Checks::may_depend_on_more(&pushed, &findings) {
                break;
            }
            let before = known.len();
            if is_near {
                known = at_hand().cloned().collect();
            } else {
                let elsewhere = others(client, channel, components, gone).await?;
                known.extend(elsewhere.iter().flat_map(Bundle::manifests).cloned());
            }
            if known.len() > before {
                (checks, findings) = tokio::task::block_in_place(|| run(&known));
            }
        }
        for note in checks.notes() {
            output::note(&format!("note: {note}"));
        }
        let variants = followers.variants(&new).await?;
        let more = tokio::task::block_in_place(|| on_clusters(&checks, &variants, &findings));
        self.tell(&findings, &more, so)
    }

    /// The versions that were asked for, or else those that clusters report.
    async fn versions(&self, followers: &Followers<'_>) -> Result<BTreeSet<Minor>> {
        if !self.kubernetes_version.is_empty() {
            return Ok(self.kubernetes_version.iter().copied().collect());
        }
        let clusters = followers.all().await?;
        let reported = clusters.iter().filter_map(|cluster| cluster.status.as_ref());
        Ok(reported
            .filter_map(|status| status.kubernetes_version.parse().ok())
            .collect())
    }

    /// `more` are errors too, told as they are.
    fn tell(&self, findings: &[Finding], more: &[String], so: &str) -> Result<()> {
        let mut errors = 0;
        for line in more {
            if self.validate == Mode::Strict {
                errors += 1;
                output::note(line);
            } else {
                output::note(&format!("warning: {line}"));
            }
        }
        for finding in findings {
            match (finding.severity, self.validate) {
                (Severity::Error, Mode::Strict) => {
                    errors += 1;
                    output::note(&finding.to_string());
                }
                _ => output::note(&format!("warning: {finding}")),
            }
        }
        if errors == 0 {
            return Ok(());
        }
        let hint = "clusters would refuse this; `--validate=warn` pushes it all the same";
        Err(Advice::new(format!("{} in the manifests{so}", count(errors, "problem")), hint).into())
    }
}

/// What clusters would refuse of manifests as overlays and variables make them, and not of them as they were written.
fn on_clusters(checks: &Checks, variants: &[Variant], known: &[Finding]) -> Vec<String> {
    let mut errors: BTreeMap<String, BTreeSet<&ClusterName>> = BTreeMap::new();
    for variant in variants {
        let text = Text {
            name: String::new(),
            content: variant.manifest.value().to_string(),
        };
        // It was made by the same rules by which it is read here.
        let Ok(placed) = intake::read_placed(&[Arc::new(text)], "default") else {
            continue;
        };
        for found in checks.run(&placed) {
            let is_known = |other: &Finding| (&other.object, &other.field) == (&found.object, &found.field);
            if found.severity != Severity::Error || known.iter().any(is_known) {
                continue;
            }
            let Finding {
                object, field, message, ..
            } = found;
            let gap = if field.is_empty() { "" } else { " " };
            let line = format!("{}{object}: {field}{gap}{message}", variant.place);
            errors.entry(line).or_default().extend(&variant.clusters);
        }
    }
    let told = errors.into_iter().map(|(line, clusters)| {
        let clusters: Vec<_> = clusters.into_iter().collect();
        format!("{line} ({}, after overlays and variables)", followers::on(&clusters))
    });
    told.collect()
}

/// The bundles of the snapshot that are not at hand.
pub(crate) async fn others(
    client: &Client,
    channel: &Channel,
    components: &[Component],
    gone: &BTreeSet<ComponentName>,
) -> Result<Vec<Bundle>> {
    let at_hand: BTreeSet<_> = components.iter().map(|component| &component.bundle.component).collect();
    let elsewhere = channel
        .components
        .iter()
        .filter(|(name, _)| !at_hand.contains(name) && !gone.contains(*name));
    let hashes: Vec<_> = elsewhere.map(|(_, hash)| *hash).collect();
    if hashes.is_empty() {
        return Ok(Vec::new());
    }
    Ok(client.bundles(&hashes).await?)
}
