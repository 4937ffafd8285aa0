//! `driftless push`: make manifests the new versions of components.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use driftless_client::{Client, Progress, Push, push::Parent, types::Channel};
use driftless_model::{
    bundle::Bundle,
    diff,
    hash::ObjectHash,
    name::{ChannelName, ComponentName},
};
use rayon::prelude::*;
use serde::Serialize;

use crate::{
    app::App,
    failure::{Advice, Outcome},
    followers::Followers,
    output::{
        self,
        changes::{ComponentDiff, GroupDiff},
    },
    prints::{self, Part, Prints, fields},
    provenance, resolve,
    sources::{self, Component, Desired, Problems},
    validation,
};

/// Make manifests the new versions of components
///
/// `driftless push PATH… --component X --channel C` pushes one component. `driftless push` alone pushes all components
/// that driftless.yaml lists, or those named, together and only what changed.
///
/// A PATH may be a file, a folder of manifests, a Kustomize folder (rendered by your kustomize or kubectl) or a Helm
/// chart (rendered by your helm; hooks of tests, deletions and rollbacks are left out). All problems of all sources
/// are told at once, and then nothing is pushed. What the sources no longer hold is removed from the clusters.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// With --component: file, folder (all *.yaml, *.yml and *.json in and below it), Kustomize folder, Helm chart, or
    /// `-` for standard input. Without it: components of driftless.yaml
    #[arg(value_name = "PATH|COMPONENT")]
    what: Vec<String>,
    /// Why, for the log
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// Refuse unless the components are as in this snapshot; `none` for a channel without any
    #[arg(long, value_name = "HASH")]
    expect_parent: Option<String>,
    /// Say what would change, and push nothing
    #[arg(long)]
    dry_run: bool,
    /// Push even if a component has no object: all of its objects are then removed
    #[arg(long)]
    allow_empty: bool,
    /// Remove the channel's components that driftless.yaml does not list
    #[arg(long, conflicts_with_all = ["component", "what"])]
    prune_components: bool,
    #[command(flatten)]
    validation: validation::Flags,
    #[command(flatten)]
    sources: sources::Flags,
}

/// What a push came to, as JSON. With `dryRun` there is no `sequence`, and `snapshot` is the one that stays.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    channel: ChannelName,
    components: Vec<ComponentReport>,
    dry_run: bool,
    unchanged: bool,
    snapshot: Option<ObjectHash>,
    sequence: Option<u64>,
    /// Clusters that follow the channel.
    clusters: u32,
}

pub(crate) const PRINTS: Prints = Prints {
    document: &[
        Part {
            at: "",
            fields: &[
                ("channel", "the channel"),
                ("dryRun", "was nothing pushed, as asked?"),
                ("unchanged", "was everything as asked already?"),
                ("snapshot", "the channel's snapshot now"),
                (
                    "sequence",
                    "the journal entry that holds the push; 0 when nothing changed, `null` with `--dry-run`",
                ),
                ("clusters", "number of clusters that follow the channel"),
            ],
        },
        Part {
            at: "components[].",
            fields: &[
                ("objects", "objects of the component now"),
                ("unchanged", "was it as asked already?"),
            ],
        },
        Part {
            at: "components[].",
            fields: fields::CHANGES,
        },
    ],
    ..prints::NAMED
};

/// What a push made of one component.
#[derive(Serialize)]
struct ComponentReport {
    /// Its objects now.
    objects: usize,
    /// What changed, or would.
    #[serde(flatten)]
    diff: ComponentDiff,
    unchanged: bool,
}

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args {
        what,
        sources,
        message,
        expect_parent,
        dry_run,
        allow_empty,
        prune_components,
        validation,
    } = args;
    let so = ": nothing was pushed";
    let mut desired = tokio::task::block_in_place(|| sources.read(&what, so))?;
    if !allow_empty {
        refuse_empty(&desired.components)?;
    }
    let client = app.client()?;
    let before = client.channel(&desired.channel).await?;
    let remove = surplus(&desired, &before, prune_components);
    desired.settle_namespaces(&client, &before, &remove).await?;
    check_dependencies(&desired, &before, &remove, so)?;
    let followers = Followers::new(&client, &before);
    check(&validation, &desired, &client, &before, &followers, &remove, so).await?;
    let expected_parent = match expect_parent.as_deref() {
        None => None,
        Some("none") => Some(Parent::Empty),
        Some(text) => Some(Parent::Snapshot(resolve::object(&client, text).await?)),
    };
    let (bundles, checked): (Vec<_>, Vec<_>) = desired
        .components
        .into_iter()
        .map(|component| (component.bundle, component.placed))
        .unzip();
    let kept = (checked, bundles.clone());
    let mut report = compare(&client, &before, &followers, &bundles, &remove).await?;
    report.dry_run = dry_run;
    // What is as wanted needs no push; with an expected parent the server has to say whether it still is.
    if report.unchanged && expected_parent.is_none() {
        report.sequence = (!dry_run).then_some(0);
    } else if !dry_run {
        let push = Push {
            channel: desired.channel,
            bundles,
            remove,
            known: before.components.values().copied().collect(),
            expected_parent,
            message,
            source: provenance::of(&desired.paths),
            idempotency_key: None,
        };
        let pushed = client.push(push, show_progress).await;
        output::progress("");
        let pushed = pushed?;
        report.snapshot = Some(pushed.snapshot);
        report.sequence = Some(pushed.sequence);
        report.clusters = pushed.clusters;
        report.unchanged = pushed.unchanged;
    }
    let names = |report: &Report| {
        report
            .snapshot
            .map(|hash| format!("snapshot/{hash}"))
            .into_iter()
            .collect()
    };
    // To free many objects takes as long as a request does: the process ends before that.
    std::thread::spawn(|| drop(kept));
    app.output.print_named(&report, names, text)?;
    Ok(Outcome::Success)
}

fn refuse_empty(components: &[Component]) -> Result<()> {
    let empty: Vec<_> = components
        .iter()
        .filter(|component| component.placed.is_empty())
        .map(|component| format!("`{}`", component.bundle.component))
        .collect();
    if empty.is_empty() {
        return Ok(());
    }
    let hint = "`--allow-empty` pushes it all the same, which removes the component's objects from every cluster";
    Err(Advice::new(format!("there is no object to push to {}", empty.join(", ")), hint).into())
}

/// The channel's components that `driftless.yaml` does not list, where those are to go.
pub(crate) fn surplus(desired: &Desired, channel: &Channel, prune: bool) -> BTreeSet<ComponentName> {
    let Some(listed) = desired.listed.as_ref().filter(|_| prune) else {
        return BTreeSet::new();
    };
    let there = channel.components.keys();
    there.filter(|name| !listed.contains(*name)).cloned().collect()
}

/// Makes all checks that need to know what the channel has, and on which clusters.
pub(crate) async fn check(
    validation: &validation::Flags,
    desired: &Desired,
    client: &Client,
    channel: &Channel,
    followers: &Followers<'_>,
    gone: &BTreeSet<ComponentName>,
    so: &str,
) -> Result<()> {
    followers.check(&desired.components, so).await?;
    validation
        .check(client, channel, followers, &desired.components, gone, so)
        .await
}

fn check_dependencies(desired: &Desired, channel: &Channel, gone: &BTreeSet<ComponentName>, so: &str) -> Result<()> {
    let there = |name: &ComponentName| channel.components.contains_key(name) && !gone.contains(name);
    let lines = desired.unknown_dependencies(there);
    if lines.is_empty() {
        return Ok(());
    }
    sources::told(Err(Problems { lines, hint: None }), so)
}

/// What pushing `bundles` and removing `remove` would change of `channel`.
async fn compare(
    client: &Client,
    channel: &Channel,
    followers: &Followers<'_>,
    bundles: &[Bundle],
    remove: &BTreeSet<ComponentName>,
) -> Result<Report> {
    let counts: BTreeMap<_, _> = bundles
        .iter()
        .map(|bundle| (bundle.component.clone(), bundle.manifests().len()))
        .collect();
    let diffs = differences(client, channel, followers, bundles, remove).await?;
    let components: Vec<_> = diffs
        .into_iter()
        .map(|diff| ComponentReport {
            objects: counts.get(&diff.component).copied().unwrap_or_default(),
            unchanged: diff.before == diff.after,
            diff,
        })
        .collect();
    Ok(Report {
        channel: channel.name.clone(),
        unchanged: components.iter().all(|component| component.unchanged),
        components,
        dry_run: false,
        snapshot: channel.snapshot,
        sequence: None,
        clusters: channel.clusters,
    })
}

/// How `bundles` differ from what `channel` has of their components, and what removing `remove` takes away; one for
/// each, equal ones too. Fetches the bundles that differ, and no other.
pub(crate) async fn differences(
    client: &Client,
    channel: &Channel,
    followers: &Followers<'_>,
    bundles: &[Bundle],
    remove: &BTreeSet<ComponentName>,
) -> Result<Vec<ComponentDiff>> {
    let before_of = |name: &ComponentName| channel.components.get(name).copied();
    let hashes: Vec<_> = bundles.iter().map(Bundle::hash).collect();
    let pushed = bundles
        .iter()
        .zip(&hashes)
        .map(|(bundle, hash)| (&bundle.component, Some((bundle, *hash))));
    let all: Vec<_> = pushed.chain(remove.iter().map(|name| (name, None))).collect();
    let differing: BTreeSet<_> = all
        .iter()
        .filter_map(|(name, after)| before_of(name).filter(|before| after.is_none_or(|(_, after)| after != *before)))
        .collect();
    let differing: Vec<_> = differing.into_iter().collect();
    let old: BTreeMap<_, _> = differing
        .iter()
        .copied()
        .zip(client.bundles(&differing).await?)
        .collect();
    let changes: Vec<_> = all
        .iter()
        .map(|(name, after)| match (before_of(name), after) {
            (Some(before), Some((_, after))) if before == *after => (None, None),
            (before, after) => (
                before.and_then(|before| old.get(&before)),
                after.map(|(bundle, _)| bundle),
            ),
        })
        .collect();
    let groups = followers.groups(&changes).await?;
    let work_out = || {
        let sides = all.par_iter().zip(&changes).zip(groups);
        sides.map(|(((name, after), (old, new)), groups)| {
            let hashes = (before_of(name), after.map(|(_, hash)| hash));
            component_diff((*name).clone(), hashes, (*old, *new), groups)
        })
    };
    Ok(tokio::task::block_in_place(|| work_out().collect()))
}

/// How a component differs from what it was, by the hashes of its bundles, the bundles that differ, and what that means
/// for clusters.
fn component_diff(
    name: ComponentName,
    (before, after): (Option<ObjectHash>, Option<ObjectHash>),
    (old, new): (Option<&Bundle>, Option<&Bundle>),
    groups: Vec<GroupDiff>,
) -> ComponentDiff {
    let objects = diff::manifests(
        old.into_iter().flat_map(Bundle::manifests),
        new.into_iter().flat_map(Bundle::manifests),
    );
    ComponentDiff {
        groups,
        ..ComponentDiff::new(name, before, after, objects).with_spec(old, new)
    }
}

fn show_progress(progress: Progress) {
    match progress {
        Progress::Compared { missing, .. } if missing > 0 => output::progress("uploading…"),
        Progress::Compared { .. } => {}
        Progress::Uploaded { objects, of, bytes } => {
            output::progress(&format!(
                "uploaded {objects} of {of} bundles, {} KiB",
                bytes.div_ceil(1024)
            ));
        }
        Progress::Publishing => output::progress("publishing…"),
    }
}

fn text(report: &Report) -> String {
    let Report {
        channel,
        components,
        dry_run,
        unchanged,
        snapshot,
        clusters,
        ..
    } = report;
    // One component is told as it is; of many, those that change.
    let (told, same): (Vec<_>, Vec<_>) = components
        .iter()
        .partition(|component| components.len() == 1 || !component.unchanged);
    let mut text: String = told.into_iter().map(line).collect();
    if !same.is_empty() {
        text.push_str(&format!("{} unchanged\n", output::count(same.len(), "component")));
    }
    let follow = follow(*clusters);
    let at = snapshot.map_or_else(|| "no snapshot".to_owned(), |hash| format!("snapshot {}", hash.short()));
    text.push_str(&match (dry_run, unchanged) {
        (true, _) => format!("nothing was pushed (--dry-run); {channel} is at {at}, {follow}\n"),
        (false, true) => format!("{channel} stays at {at}, {follow}\n"),
        (false, false) => format!("{channel} is now at {at}, {follow}\n"),
    });
    text
}

/// `shop: 35 objects, 1 added (Service default/web)`.
fn line(component: &ComponentReport) -> String {
    let ComponentReport {
        objects,
        diff,
        unchanged,
    } = component;
    let name = output::bold(diff.component.as_str());
    if diff.after.is_none() {
        return format!("{name}: removed\n");
    }
    let what = if *unchanged {
        "unchanged".to_owned()
    } else {
        diff.sentence()
    };
    format!("{name}: {}, {what}\n", output::count(*objects, "object"))
}

/// `3 clusters follow it`.
pub(crate) fn follow(clusters: u32) -> String {
    match clusters {
        0 => "no cluster follows it yet".to_owned(),
        1 => "1 cluster follows it".to_owned(),
        many => format!("{many} clusters follow it"),
    }
}

#[cfg(test)]
mod tests {
    use driftless_model::diff::Change;
    use driftless_model::manifest::ManifestId;

    use super::*;

    fn report(unchanged: bool, dry_run: bool) -> Report {
        let id = ManifestId {
            group: "apps".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: Some("default".to_owned()),
            name: "frontend".to_owned(),
        };
        let objects = if unchanged {
            [].into()
        } else {
            [(id, Change::Changed { fields: Vec::new() })].into()
        };
        let hash = ObjectHash::from([0x1a; 32]);
        Report {
            channel: "prod".parse().unwrap(),
            components: vec![ComponentReport {
                objects: 35,
                diff: ComponentDiff::new("shop".parse().unwrap(), None, Some(hash), objects),
                unchanged,
            }],
            dry_run,
            unchanged,
            snapshot: Some(hash),
            sequence: Some(7),
            clusters: 3,
        }
    }

    fn plain(report: &Report) -> String {
        anstream::adapter::strip_str(&text(report)).to_string()
    }

    #[test]
    fn push_tells_what_changed_and_who_follows() {
        assert_eq!(
            plain(&report(false, false)),
            "shop: 35 objects, 1 changed (Deployment.apps default/frontend)\n\
             prod is now at snapshot 1a1a1a1a1a1a, 3 clusters follow it\n"
        );
        assert_eq!(
            plain(&report(true, false)),
            "shop: 35 objects, unchanged\nprod stays at snapshot 1a1a1a1a1a1a, 3 clusters follow it\n"
        );
        assert!(plain(&report(false, true)).contains("nothing was pushed (--dry-run)"));
    }

    #[test]
    fn of_many_components_those_that_change_are_told() {
        let mut many = report(false, false);
        many.components.extend(report(true, false).components);
        let mut removed = report(false, false);
        removed.components[0].diff.after = None;
        many.components.extend(removed.components);
        assert_eq!(
            plain(&many),
            "shop: 35 objects, 1 changed (Deployment.apps default/frontend)\nshop: removed\n1 component unchanged\n\
             prod is now at snapshot 1a1a1a1a1a1a, 3 clusters follow it\n"
        );
    }

    #[test]
    fn json_report_has_a_list_of_components() {
        let document = serde_json::to_value(report(false, false)).unwrap();
        for key in [
            "channel",
            "components",
            "dryRun",
            "unchanged",
            "snapshot",
            "sequence",
            "clusters",
        ] {
            assert!(document.get(key).is_some(), "{key}");
        }
        for key in ["component", "before", "after", "changes", "unchanged"] {
            assert!(document["components"][0].get(key).is_some(), "{key}");
        }
        assert_eq!(document["components"][0]["objects"], 35);
    }
}
