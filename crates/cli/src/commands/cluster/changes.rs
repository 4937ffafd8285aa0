//! What a command changes of clusters: worked out with the server's own function, shown, and asked for in one request.

use std::collections::BTreeMap;

use anyhow::Result;
use driftless_client::{Client, types::Cluster};
use driftless_model::{
    cluster::{Change, Problem, Record},
    name::{ChannelName, ClusterName, Labels, Vars},
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    app::App,
    failure::{Advice, Outcome},
    output::{self, bad, good, one_line, warn},
};

/// Problems that are told; the others are counted.
const MAX_TOLD: usize = 20;
/// Longest value shown in a line; `-o json` has all of it.
const MAX_VALUE: usize = 60;

/// What shall change, and what that will come to if nobody else changes anything meanwhile.
pub(super) struct Plan {
    changes: BTreeMap<ClusterName, Change>,
    changed: Vec<ClusterChange>,
    unchanged: usize,
}

/// How one cluster changes, as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClusterChange {
    cluster: ClusterName,
    before: RecordDocument,
    after: RecordDocument,
}

/// A record, as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordDocument {
    channel: ChannelName,
    labels: Labels,
    vars: Vars,
}

/// What a change came to, as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    dry_run: bool,
    /// The journal entry that holds the change; 0 when nothing changed.
    sequence: u64,
    changes: Vec<ClusterChange>,
    /// Clusters that were as asked already.
    unchanged: usize,
}

impl From<Record> for RecordDocument {
    fn from(record: Record) -> Self {
        let Record { channel, labels, vars } = record;
        Self { channel, labels, vars }
    }
}

impl Plan {
    /// The same change for all clusters.
    pub(super) fn same(clusters: &[Cluster], change: &Change) -> Result<Self> {
        let (plan, problems) = Self::of(clusters.iter().map(|cluster| (cluster, change.clone())));
        if problems.is_empty() {
            return Ok(plan);
        }
        for (name, problem) in problems.iter().take(MAX_TOLD) {
            output::note(&format!("cluster `{name}`: {problem}"));
        }
        if problems.len() > MAX_TOLD {
            output::note(&format!("and {} more", problems.len() - MAX_TOLD));
        }
        let told = output::count(problems.len(), "problem");
        Err(Advice::new(
            format!("{told}: nothing was changed"),
            "all clusters change together, or none does",
        )
        .into())
    }

    /// A change for each cluster, and what stands against it.
    pub(super) fn of<'a>(changes: impl Iterator<Item = (&'a Cluster, Change)>) -> (Self, Vec<(ClusterName, Problem)>) {
        let mut problems = Vec::new();
        let mut plan = Self {
            changes: BTreeMap::new(),
            changed: Vec::new(),
            unchanged: 0,
        };
        for (cluster, change) in changes {
            let before = cluster.record();
            match change.apply(&before) {
                Ok(after) if after == before => plan.unchanged += 1,
                Ok(after) => plan.changed.push(ClusterChange {
                    cluster: cluster.name.clone(),
                    before: before.into(),
                    after: after.into(),
                }),
                Err(found) => problems.extend(found.into_iter().map(|problem| (cluster.name.clone(), problem))),
            }
            plan.changes.insert(cluster.name.clone(), change);
        }
        (plan, problems)
    }

    /// Asks for it, unless nothing shall really change, and tells what it came to.
    pub(super) async fn carry_out(self, client: &Client, app: &App, dry_run: bool) -> Result<Outcome> {
        let sequence = if dry_run || self.changed.is_empty() {
            0
        } else {
            client.change_clusters(&self.changes).await?.sequence
        };
        let document = Document {
            dry_run,
            sequence,
            changes: self.changed,
            unchanged: self.unchanged,
        };
        let names = |document: &Document| {
            let changed = document.changes.iter();
            changed.map(|change| format!("cluster/{}", change.cluster)).collect()
        };
        app.output.print_named(&document, names, |document| {
            document.changes.iter().flat_map(ClusterChange::lines).collect()
        })?;
        if app.output.is_text() {
            output::note(&document.summary());
        }
        Ok(Outcome::Success)
    }
}

impl Document {
    fn summary(&self) -> String {
        let changed = output::count(self.changes.len(), "cluster");
        let verb = if self.dry_run { "would change" } else { "changed" };
        let rest = match self.unchanged {
            0 => String::new(),
            1 => "; 1 is as asked already".to_owned(),
            many => format!("; {many} are as asked already"),
        };
        match (self.dry_run, self.changes.is_empty()) {
            (_, true) => format!("nothing to change{rest}"),
            (true, false) => format!("{changed} {verb}{rest} (--dry-run)"),
            (false, false) => format!("{changed} {verb}{rest} (journal entry {})", self.sequence),
        }
    }
}

impl ClusterChange {
    fn lines(&self) -> Vec<String> {
        let Self { cluster, before, after } = self;
        let mut lines = Vec::new();
        if before.channel != after.channel {
            lines.push(format!("{} channel: {} → {}", warn("~"), before.channel, after.channel));
        }
        lines.extend(differences("label", &before.labels, &after.labels, |value| {
            value.clone()
        }));
        lines.extend(differences("var", &before.vars, &after.vars, shown));
        lines.into_iter().map(|line| format!("{cluster}  {line}\n")).collect()
    }
}

fn differences<V: PartialEq>(
    what: &str,
    before: &BTreeMap<String, V>,
    after: &BTreeMap<String, V>,
    shown: impl Fn(&V) -> String,
) -> Vec<String> {
    let mut keys: Vec<_> = before.keys().chain(after.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let line = |key: &String| match (before.get(key), after.get(key)) {
        (Some(old), Some(new)) if old == new => None,
        (Some(old), Some(new)) => Some(format!("{} {what} {key}: {} → {}", warn("~"), shown(old), shown(new))),
        (Some(old), None) => Some(format!("{} {what} {key}={}", bad("-"), shown(old))),
        (None, Some(new)) => Some(format!("{} {what} {key}={}", good("+"), shown(new))),
        (None, None) => None,
    };
    keys.into_iter().filter_map(line).collect()
}

/// A variable's value: texts that are no other scalar as they are, all else as JSON.
pub(super) fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) if !text.is_empty() && super::vars::scalar(text) == *value => text.clone(),
        value => value.to_string(),
    };
    output::cut(&one_line(&text), MAX_VALUE)
}

/// Shows labels or variables of clusters: of one a line each, of many a line per cluster.
pub(super) fn show<V: Serialize>(
    app: &App,
    clusters: &[Cluster],
    part: impl Fn(&Cluster) -> &BTreeMap<String, V>,
    shown: impl Fn(&V) -> String,
) -> Result<Outcome> {
    let document: BTreeMap<_, _> = clusters.iter().map(|cluster| (&cluster.name, part(cluster))).collect();
    let names = |document: &BTreeMap<&ClusterName, &BTreeMap<String, V>>| {
        document.keys().map(|name| format!("cluster/{name}")).collect()
    };
    let pairs = |part: &BTreeMap<String, V>| -> Vec<String> {
        part.iter()
            .map(|(key, value)| format!("{key}={}", shown(value)))
            .collect()
    };
    app.output.print_named(&document, names, |document| match clusters {
        [one] => pairs(part(one)).iter().map(|pair| format!("{pair}\n")).collect(),
        _ => document
            .iter()
            .map(|(name, part)| match pairs(part).join(",").as_str() {
                "" => format!("{name}  -\n"),
                all => format!("{name}  {all}\n"),
            })
            .collect(),
    })?;
    Ok(Outcome::Success)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(channel: &str, labels: &str, vars: Value) -> RecordDocument {
        let labels = labels.split(',').filter_map(|pair| pair.split_once('='));
        RecordDocument {
            channel: channel.parse().unwrap(),
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            vars: serde_json::from_value(vars).unwrap(),
        }
    }

    #[test]
    fn every_difference_has_its_line() {
        let change = ClusterChange {
            cluster: "edge-1".parse().unwrap(),
            before: document("dev", "region=eu,tier=edge,zone=a", json!({"n": 1, "old": "x"})),
            after: document(
                "prod",
                "region=us,tier=edge,new=b",
                json!({"n": 2, "text": "2", "db": {"port": 1}}),
            ),
        };
        let lines: String = change.lines().concat();
        assert_eq!(
            anstream::adapter::strip_str(&lines).to_string(),
            "edge-1  ~ channel: dev → prod\n\
             edge-1  + label new=b\n\
             edge-1  ~ label region: eu → us\n\
             edge-1  - label zone=a\n\
             edge-1  + var db={\"port\":1}\n\
             edge-1  ~ var n: 1 → 2\n\
             edge-1  - var old=x\n\
             edge-1  + var text=\"2\"\n"
        );
    }

    #[test]
    fn summary_says_what_happened() {
        let told = |dry_run, changes: usize, unchanged, sequence| {
            let change = |_| ClusterChange {
                cluster: "edge-1".parse().unwrap(),
                before: document("dev", "", json!({})),
                after: document("prod", "", json!({})),
            };
            let changes = (0..changes).map(change).collect();
            Document {
                dry_run,
                sequence,
                changes,
                unchanged,
            }
            .summary()
        };
        assert_eq!(
            told(false, 2, 1, 7),
            "2 clusters changed; 1 is as asked already (journal entry 7)"
        );
        assert_eq!(told(true, 1, 0, 0), "1 cluster would change (--dry-run)");
        assert_eq!(told(false, 0, 3, 0), "nothing to change; 3 are as asked already");
    }
}
