//! `driftless push`: make manifests a component's new version.

use anyhow::Result;
use driftless_client::{Client, Progress, Push, push::Parent, types::Channel};
use driftless_model::{
    bundle::Bundle,
    diff,
    hash::ObjectHash,
    name::{ChannelName, ComponentName},
};
use serde::Serialize;

use crate::{
    app::App,
    failure::{Advice, Outcome},
    output::{
        self,
        changes::{self, ComponentDiff},
    },
    prints::{self, Part, Prints, fields},
    provenance, resolve,
    sources::{self, Sources},
};

/// Make manifests the new version of a component
///
/// All problems of all files are told at once, and then nothing is pushed. What the files no longer hold is removed
/// from the clusters.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sources: Sources,
    /// The component, for example the app's name
    #[arg(long, value_name = "NAME")]
    component: ComponentName,
    /// The channel to push to
    #[arg(long, value_name = "NAME")]
    channel: ChannelName,
    /// Why, for the log
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,
    /// Refuse unless the component is as in this snapshot; `none` for a channel without any
    #[arg(long, value_name = "HASH")]
    expect_parent: Option<String>,
    /// Say what would change, and push nothing
    #[arg(long)]
    dry_run: bool,
    /// Push even if there is no object: all of the component's objects are then removed
    #[arg(long)]
    allow_empty: bool,
}

/// What a push came to, as JSON. With `dryRun` there is neither `snapshot` nor `sequence`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    channel: ChannelName,
    /// Objects of the component now.
    objects: usize,
    /// What changed, or would.
    #[serde(flatten)]
    diff: ComponentDiff,
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
                ("objects", "objects of the component now"),
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
            at: "",
            fields: fields::CHANGES,
        },
    ],
    ..prints::NAMED
};

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args {
        sources: Sources { paths, namespace },
        component,
        channel,
        message,
        expect_parent,
        dry_run,
        allow_empty,
    } = args;
    let manifests = sources::read(&paths, &namespace, ": nothing was pushed")?;
    if manifests.is_empty() && !allow_empty {
        let hint = "`--allow-empty` pushes it all the same, which removes the component's objects from every cluster";
        return Err(Advice::new(format!("there is no object to push to `{component}`"), hint).into());
    }
    let bundle = Bundle::new(component.clone(), manifests)?;
    let client = app.client()?;
    let before = client.channel(&channel).await?;
    let expected_parent = match expect_parent.as_deref() {
        None => None,
        Some("none") => Some(Parent::Empty),
        Some(text) => Some(Parent::Snapshot(resolve::object(&client, text).await?)),
    };
    let mut report = compare(&client, &before, &bundle).await?;
    report.dry_run = dry_run;
    if !dry_run {
        let push = Push {
            channel: channel.clone(),
            bundles: vec![bundle],
            remove: [].into(),
            expected_parent,
            message,
            source: provenance::of(&paths),
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
    app.output.print_named(&report, names, text)?;
    Ok(Outcome::Success)
}

/// What pushing `bundle` would change of `channel`.
async fn compare(client: &Client, channel: &Channel, bundle: &Bundle) -> Result<Report> {
    let diff = difference(client, channel, bundle).await?;
    Ok(Report {
        channel: channel.name.clone(),
        objects: bundle.manifests().len(),
        unchanged: diff.before == diff.after,
        diff,
        dry_run: false,
        snapshot: channel.snapshot,
        sequence: None,
        clusters: channel.clusters,
    })
}

/// How `bundle` differs from what `channel` has of its component.
pub(crate) async fn difference(client: &Client, channel: &Channel, bundle: &Bundle) -> Result<ComponentDiff> {
    let (before, after) = (channel.components.get(&bundle.component).copied(), bundle.hash());
    let objects = match before {
        Some(before) if before == after => Default::default(),
        Some(before) => diff::manifests(client.bundle(&before).await?.manifests(), bundle.manifests()),
        None => diff::manifests([], bundle.manifests()),
    };
    Ok(ComponentDiff::new(
        bundle.component.clone(),
        before,
        Some(after),
        objects,
    ))
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
        objects,
        diff,
        dry_run,
        unchanged,
        snapshot,
        clusters,
        ..
    } = report;
    let what = if *unchanged {
        "unchanged".to_owned()
    } else {
        changes::sentence(&diff.objects)
    };
    let first = format!(
        "{}: {}, {what}\n",
        output::bold(diff.component.as_str()),
        output::count(*objects, "object")
    );
    let follow = follow(*clusters);
    let at = snapshot.map_or_else(|| "no snapshot".to_owned(), |hash| format!("snapshot {}", hash.short()));
    let second = match (dry_run, unchanged) {
        (true, _) => format!("nothing was pushed (--dry-run); {channel} is at {at}, {follow}\n"),
        (false, true) => format!("{channel} stays at {at}, {follow}\n"),
        (false, false) => format!("{channel} is now at {at}, {follow}\n"),
    };
    first + &second
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
            objects: 35,
            diff: ComponentDiff::new("shop".parse().unwrap(), None, Some(hash), objects),
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
    fn json_report_is_flat() {
        let document = serde_json::to_value(report(false, false)).unwrap();
        for key in [
            "channel",
            "component",
            "before",
            "after",
            "changes",
            "dryRun",
            "unchanged",
            "snapshot",
            "clusters",
        ] {
            assert!(document.get(key).is_some(), "{key}");
        }
        assert_eq!(document["objects"], 35);
    }
}
