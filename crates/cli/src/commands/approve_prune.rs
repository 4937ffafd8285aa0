//! `driftless approve-prune`: consent to deletions that agents hold back.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use driftless_client::{Asked, types::Cluster};
use driftless_model::{
    hash::ObjectHash,
    manifest::ManifestId,
    name::{ClusterName, ComponentName},
    status::PruneBlocked,
};
use serde::Serialize;

use super::ordered::{Found, Subject};
use crate::{
    app::App,
    failure::{Advice, Outcome},
    followers, output,
    prints::{self, Part, Prints},
    question,
};

/// Consent to the deletion of objects that left a component
///
/// More deletions than a component's budget wait for a person; `driftless status` says so. What would be deleted is shown
/// first. Consent is to just these objects, on just these clusters, and holds for a day: what leaves the component
/// meanwhile needs another.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    subject: Subject,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(crate) const PRINTS: Prints = Prints {
    document: &[Part {
        at: "",
        fields: &[
            ("component", "the component"),
            ("approved[].objects", "number of objects that may be deleted"),
            ("approved[].deletions", "names these objects: the hash of their ids"),
            ("approved[].sample[].**", "the first of them"),
            ("approved[].clusters[]", "a cluster that they may be deleted on"),
            (
                "approved[].sequence",
                "the journal entry that holds the consent; 0 when it was given before",
            ),
            ("nothingWaits[]", "a cluster where nothing waits for consent"),
        ],
    }],
    exits: &[(1, "a failure, or the answer was no")],
    ..prints::NAMED
};

/// The same deletions on some clusters.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Approval {
    objects: u32,
    deletions: ObjectHash,
    sample: Vec<ManifestId>,
    clusters: BTreeSet<ClusterName>,
    sequence: u64,
}

/// What was consented to, as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    component: ComponentName,
    approved: Vec<Approval>,
    nothing_waits: Vec<ClusterName>,
}

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args { subject, yes } = args;
    let client = app.client()?;
    let Found { clusters, component } = subject.find(&client).await?;
    let Some(component) = component else {
        let hint = "`driftless approve-prune CLUSTER COMPONENT`; `driftless status` says of which deletions wait";
        return Err(Advice::new("no component is given", hint).into());
    };
    let mut document = Document::of(component, &clusters);
    if document.approved.is_empty() {
        let component = &document.component;
        let message = format!("no deletion of component `{component}` waits for consent there");
        return Err(Advice::new(message, "`driftless status` says where some do").into());
    }
    if !yes {
        document
            .approved
            .iter()
            .for_each(|approval| output::note(&approval.text()));
        let question = format!("delete them ({})?", document.component);
        if !question::confirmed(&question, "It cannot be taken back.", "--yes consents without asking")? {
            output::note("nothing was changed");
            return Ok(Outcome::Found);
        }
    }
    for approval in &mut document.approved {
        let asked = Asked::Consent {
            component: document.component.clone(),
            deletions: approval.deletions,
        };
        approval.sequence = client.order_clusters(&approval.clusters, &asked).await?.sequence;
    }
    let names = |document: &Document| {
        let clusters = document.approved.iter().flat_map(|approval| &approval.clusters);
        clusters.map(|name| format!("cluster/{name}")).collect()
    };
    app.output.print_named(&document, names, |document| {
        let lines = document.approved.iter().flat_map(|approval| {
            let count = output::count(approval.objects as usize, "object");
            let component = &document.component;
            let clusters = approval.clusters.iter();
            clusters.map(move |name| format!("{name}: {component} may delete {count}\n"))
        });
        lines.collect()
    })?;
    if app.output.is_text() && !document.nothing_waits.is_empty() {
        let count = output::count(document.nothing_waits.len(), "cluster");
        output::note(&format!("nothing waits for consent on {count}"));
    }
    Ok(Outcome::Success)
}

impl Document {
    fn of(component: ComponentName, clusters: &[Cluster]) -> Self {
        let mut approved: BTreeMap<ObjectHash, Approval> = BTreeMap::new();
        let mut nothing_waits = Vec::new();
        for cluster in clusters {
            let status = cluster
                .status
                .as_ref()
                .and_then(|status| status.components.get(&component));
            let Some(PruneBlocked {
                objects,
                deletions,
                sample,
            }) = status.and_then(|status| status.prune_blocked.as_deref())
            else {
                nothing_waits.push(cluster.name.clone());
                continue;
            };
            let approval = approved.entry(*deletions).or_insert_with(|| Approval {
                objects: *objects,
                deletions: *deletions,
                sample: sample.clone(),
                clusters: BTreeSet::new(),
                sequence: 0,
            });
            approval.clusters.insert(cluster.name.clone());
        }
        Self {
            component,
            approved: approved.into_values().collect(),
            nothing_waits,
        }
    }
}

impl Approval {
    fn text(&self) -> String {
        let clusters: Vec<_> = self.clusters.iter().collect();
        let mut text = format!(
            "{} would be deleted {}:",
            output::count(self.objects as usize, "object"),
            followers::on(&clusters)
        );
        for id in &self.sample {
            text.push_str(&format!("\n  {}", output::one_line(&id.to_string())));
        }
        match (self.objects as usize).saturating_sub(self.sample.len()) {
            0 => {}
            more => text.push_str(&format!("\n  and {more} more")),
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use driftless_model::status::{ClusterStatus, ComponentStatus};

    use super::*;

    fn cluster(name: &str, deletions: Option<&[u8]>) -> Cluster {
        let blocked = deletions.map(|deletions| PruneBlocked {
            objects: 12,
            deletions: ObjectHash::of(deletions),
            sample: vec![ManifestId {
                group: String::new(),
                kind: "ConfigMap".to_owned(),
                namespace: Some("shop".to_owned()),
                name: "a".to_owned(),
            }],
        });
        let component = ComponentStatus {
            prune_blocked: blocked.map(Box::new),
            ..ComponentStatus::default()
        };
        Cluster {
            name: name.parse().unwrap(),
            channel: "prod".parse().unwrap(),
            labels: Default::default(),
            vars: Default::default(),
            orders: Default::default(),
            changed: None,
            enrolled: jiff::Timestamp::UNIX_EPOCH,
            joined: true,
            connected: true,
            last_seen: None,
            status: Some(ClusterStatus {
                components: [("shop".parse().unwrap(), component)].into(),
                ..ClusterStatus::default()
            }),
            converged: false,
        }
    }

    #[test]
    fn clusters_with_the_same_deletions_are_one_question_and_others_another() {
        let clusters = [
            cluster("a", Some(b"1")),
            cluster("b", Some(b"2")),
            cluster("c", Some(b"1")),
            cluster("d", None),
        ];
        let document = Document::of("shop".parse().unwrap(), &clusters);
        let mut groups: Vec<_> = document
            .approved
            .iter()
            .map(|approval| approval.clusters.iter().map(ClusterName::as_str).collect::<Vec<_>>())
            .collect();
        groups.sort();
        assert_eq!(groups, [vec!["a", "c"], vec!["b"]]);
        assert_eq!(document.nothing_waits, ["d".parse().unwrap()]);
        let text = document
            .approved
            .iter()
            .find(|it| it.clusters.len() == 2)
            .unwrap()
            .text();
        assert_eq!(
            text,
            "12 objects would be deleted on a, c:\n  ConfigMap shop/a\n  and 11 more"
        );
    }
}
