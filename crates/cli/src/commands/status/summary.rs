//! A channel's state in a few numbers, and the clusters that need a person.

use std::collections::BTreeMap;

use driftless_client::types::{Channel, Cluster};
use driftless_model::{
    hash::ObjectHash,
    manifest::ManifestId,
    name::{ClusterName, ComponentName},
    status::{Health, Problem},
};
use jiff::Timestamp;
use serde::Serialize;

use crate::output::{
    Table, age, bad, bold, count, dim, good,
    health::{self, State},
    one_line, warn,
};

/// Cells of the progress bar.
const BAR: usize = 30;
/// Most kinds of problems listed in text; JSON has those of every cluster.
const MAX_LISTED: usize = 20;
/// Reason of a problem by which an agent tells of an object that it cannot work out.
const HELD: &str = "Held";

/// How far a channel is, as JSON too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    /// The channel.
    pub(crate) channel: Channel,
    /// Its clusters in numbers.
    pub(crate) clusters: Counts,
    /// Its components in numbers.
    pub(crate) components: Vec<Component>,
    /// Clusters that something is wrong with, and the first thing that is.
    pub(crate) unhealthy: Vec<Unhealthy>,
}

/// Clusters in numbers; each is part of the one before, but `converged` of `joined` only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Counts {
    pub(crate) total: usize,
    pub(crate) joined: usize,
    pub(crate) connected: usize,
    pub(crate) converged: usize,
    /// Clusters that hold objects which cannot be worked out there.
    pub(crate) holding: usize,
}

/// A component in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Component {
    pub(crate) component: ComponentName,
    /// The bundle that the clusters shall have; `null` while a removed component is pruned.
    pub(crate) bundle: Option<ObjectHash>,
    /// Clusters that have it, all of it.
    pub(crate) converged: usize,
    /// Clusters by health.
    pub(crate) health: BTreeMap<Health, usize>,
    /// Objects that were put back on them since their agents started, and when the last one was.
    pub(crate) repaired: u64,
    pub(crate) last_repair: Option<Timestamp>,
}

/// A cluster that something is wrong with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Unhealthy {
    pub(crate) cluster: ClusterName,
    pub(crate) component: Option<ComponentName>,
    pub(crate) object: Option<ManifestId>,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) since: Option<Timestamp>,
    /// Further problems of this cluster.
    pub(crate) more: usize,
}

impl Summary {
    /// Sums up.
    pub(crate) fn of(channel: Channel, clusters: &[Cluster]) -> Self {
        let number = |is: fn(&Cluster) -> bool| clusters.iter().filter(|cluster| is(cluster)).count();
        let counts = Counts {
            total: clusters.len(),
            joined: number(|cluster| cluster.joined),
            connected: number(|cluster| cluster.connected),
            converged: number(|cluster| cluster.converged),
            holding: number(is_holding),
        };
        let mut unhealthy: Vec<_> = clusters.iter().filter_map(Unhealthy::of).collect();
        unhealthy.sort_by(|a, b| a.cluster.cmp(&b.cluster));
        Self {
            clusters: counts,
            components: components(&channel, clusters),
            unhealthy,
            channel,
        }
    }

    /// All of it, for a terminal.
    pub(crate) fn text(&self, now: Timestamp) -> String {
        let mut out = self.head(now);
        if !self.components.is_empty() {
            out.push_str(&format!("\n{}", self.component_table(now).render()));
        }
        if !self.unhealthy.is_empty() {
            out.push_str(&format!("\n{}", problems(&self.unhealthy, now)));
            out.push_str(&self.look_first());
        }
        out
    }

    fn component_table(&self, now: Timestamp) -> Table {
        let mut table = Table::new(["COMPONENT", "BUNDLE", "CONVERGED", "HEALTH", "REPAIRED"]).wide_from(4);
        for component in &self.components {
            table.row([
                component.component.to_string(),
                component
                    .bundle
                    .map_or_else(|| "removed".to_owned(), |hash| hash.short()),
                fraction(component.converged, self.clusters.total),
                healths(&component.health),
                component.repairs(now),
            ]);
        }
        table
    }

    /// Is there nothing left to wait for: every cluster converged, and no component ill?
    pub(crate) fn is_settled(&self) -> bool {
        let well = |health: &Health| matches!(health, Health::Current | Health::Unknown);
        self.clusters.converged == self.clusters.total
            && self
                .components
                .iter()
                .all(|component| component.health.keys().all(well))
    }

    /// `38/40`, in the colour of it.
    pub(crate) fn converged(&self) -> String {
        fraction(self.clusters.converged, self.clusters.total)
    }

    /// The problem that most clusters have, in a line.
    pub(crate) fn first_problem(&self) -> Option<String> {
        let groups = groups(&self.unhealthy);
        let group = groups.first()?;
        let first = group.first()?;
        let others = match group.len() - 1 {
            0 => String::new(),
            others => format!(" and {others} more"),
        };
        Some(format!("{}{others}: {}", first.cluster, first.line()))
    }

    /// What explains the first problem.
    fn look_first(&self) -> String {
        let groups = groups(&self.unhealthy);
        let Some(first) = groups.first().and_then(|group| group.first()) else {
            return String::new();
        };
        let object = first.object.as_ref().map(|id| {
            let namespace = id
                .namespace
                .as_ref()
                .map(|namespace| format!("{namespace}/"))
                .unwrap_or_default();
            format!(" {}/{namespace}{}", id.kind.to_lowercase(), id.name)
        });
        let command = format!("driftless explain {}{}", first.cluster, object.unwrap_or_default());
        format!("\n{}\n", dim(format!("more of the first: `{command}`")))
    }

    fn head(&self, now: Timestamp) -> String {
        let Channel {
            name,
            snapshot,
            changed,
            ..
        } = &self.channel;
        let Counts {
            total,
            joined,
            connected,
            converged,
            holding,
        } = self.clusters;
        let at = snapshot.map_or_else(
            || "no snapshot yet".to_owned(),
            |hash| format!("snapshot {}", hash.short()),
        );
        let mut out = format!(
            "{}  {at}  {}\n",
            bold(name.as_str()),
            dim(format!("changed {} ago", age(*changed, now)))
        );
        if total == 0 {
            out.push_str("no cluster follows it yet\n");
            return out;
        }
        out.push_str(&format!(
            "{} {} converged  {}\n",
            bar(converged, total),
            fraction(converged, total),
            dim(format!("{joined} joined, {connected} connected")),
        ));
        let away = joined.saturating_sub(connected);
        let notes = [
            (away > 0).then(|| bad(format!("{away} disconnected"))),
            (holding > 0).then(|| {
                bad(format!(
                    "{} objects that cannot be worked out",
                    count(holding, "cluster") + if holding == 1 { " holds" } else { " hold" }
                ))
            }),
        ];
        let notes: Vec<_> = notes.into_iter().flatten().collect();
        if !notes.is_empty() {
            out.push_str(&format!("{}\n", notes.join(", ")));
        }
        out
    }

    /// All that matters in one line, for a log.
    pub(crate) fn line(&self) -> String {
        let Counts {
            total,
            connected,
            converged,
            ..
        } = self.clusters;
        let at = self
            .channel
            .snapshot
            .map_or_else(|| "-".to_owned(), |hash| hash.short());
        let mut line = format!(
            "{} {at} {converged}/{total} converged, {connected} connected",
            self.channel.name
        );
        if let Some(first) = self.unhealthy.first() {
            let line_of_first = format!("{}: {}", first.cluster, first.line());
            line.push_str(&format!(", {} with problems ({line_of_first})", self.unhealthy.len()));
        }
        line
    }
}

fn components(channel: &Channel, clusters: &[Cluster]) -> Vec<Component> {
    // Components still being pruned are in statuses only.
    let reported = clusters
        .iter()
        .filter_map(|cluster| cluster.status.as_ref())
        .flat_map(|status| status.components.keys());
    let mut names: Vec<_> = channel.components.keys().chain(reported).collect();
    names.sort_unstable();
    names.dedup();
    let sum_up = |name: &ComponentName| {
        let bundle = channel.components.get(name).copied();
        let statuses = clusters.iter().filter_map(|cluster| cluster.status.as_ref());
        let mut component = Component {
            component: name.clone(),
            bundle,
            converged: 0,
            health: BTreeMap::new(),
            repaired: 0,
            last_repair: None,
        };
        for status in statuses {
            match status.components.get(name) {
                Some(reported) => {
                    component.converged += usize::from(reported.bundle == bundle && reported.is_synced());
                    *component.health.entry(reported.health).or_default() += 1;
                    if let Some(repairs) = &reported.repairs {
                        component.repaired += repairs.count;
                        component.last_repair = component.last_repair.max(Some(repairs.last));
                    }
                }
                // A removed component that a cluster no longer tells of is gone from it.
                None => component.converged += usize::from(bundle.is_none()),
            }
        }
        component
    };
    names.into_iter().map(sum_up).collect()
}

impl Component {
    /// `12, the last 3m ago`.
    fn repairs(&self, now: Timestamp) -> String {
        self.last_repair.map_or_else(
            || "-".to_owned(),
            |last| format!("{}, the last {} ago", self.repaired, age(last, now)),
        )
    }
}

impl Unhealthy {
    fn of(cluster: &Cluster) -> Option<Self> {
        let mut problems: Vec<(Option<&ComponentName>, &Problem)> = Vec::new();
        let mut uncounted = 0;
        if let Some(status) = &cluster.status {
            problems.extend(status.problems.iter().map(|problem| (None, problem)));
            for (name, component) in &status.components {
                problems.extend(component.problems.iter().map(|problem| (Some(name), problem)));
                uncounted += component.more_problems as usize;
            }
        }
        // What blocks matters more than health, and what began first is more likely the cause.
        problems.sort_by_key(|(_, problem)| (!problem.blocks, problem.since));
        if health::state(cluster) == State::Offline {
            let known = problems.len() + uncounted;
            return Some(Self {
                cluster: cluster.name.clone(),
                component: None,
                object: None,
                reason: "Offline".to_owned(),
                message: "its agent is not connected; it keeps what it accepted and catches up by itself".to_owned(),
                since: cluster.last_seen,
                more: known,
            });
        }
        let (component, first) = problems.first()?;
        Some(Self {
            cluster: cluster.name.clone(),
            component: component.cloned(),
            object: first.object.clone(),
            reason: first.reason.clone(),
            message: first.message.clone(),
            since: Some(first.since),
            more: problems.len() - 1 + uncounted,
        })
    }

    fn line(&self) -> String {
        let mut line = bad(one_line(&self.reason));
        if let Some(object) = &self.object {
            line.push_str(&format!(" {object}"));
        }
        line.push_str(&format!(": {}", one_line(&self.message)));
        if self.more > 0 {
            line.push_str(&dim(format!(" (and {} more)", self.more)));
        }
        line
    }
}

fn is_holding(cluster: &Cluster) -> bool {
    let mut components = cluster.status.iter().flat_map(|status| status.components.values());
    components.any(|component| component.problems.iter().any(|problem| problem.reason == HELD))
}

/// The problems by what they are about, worst spread first.
fn groups(unhealthy: &[Unhealthy]) -> Vec<Vec<&Unhealthy>> {
    let mut groups: BTreeMap<_, Vec<&Unhealthy>> = BTreeMap::new();
    for one in unhealthy {
        groups
            .entry((&one.component, &one.object, &one.reason))
            .or_default()
            .push(one);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    groups
}

/// The problems, worst spread first: what many clusters share is one line.
fn problems(unhealthy: &[Unhealthy], now: Timestamp) -> String {
    let groups = groups(unhealthy);
    let mut table = Table::new(["CLUSTER", "SINCE", "PROBLEM"]);
    for group in groups.iter().take(MAX_LISTED) {
        let [first, others @ ..] = group.as_slice() else {
            continue;
        };
        let cluster = match others.len() {
            0 => first.cluster.to_string(),
            others => format!("{} {}", first.cluster, dim(format!("and {others} more"))),
        };
        let since = group.iter().filter_map(|one| one.since).min();
        table.row([
            cluster,
            since.map_or_else(|| "-".to_owned(), |since| age(since, now)),
            first.line(),
        ]);
    }
    let more = groups.len().saturating_sub(MAX_LISTED);
    let rest = if more > 0 {
        format!("{}\n", dim(format!("and {more} more")))
    } else {
        String::new()
    };
    table.render() + &rest
}

fn fraction(part: usize, of: usize) -> String {
    let text = format!("{part}/{of}");
    if part == of { good(text) } else { warn(text) }
}

fn healths(health: &BTreeMap<Health, usize>) -> String {
    let parts: Vec<_> = health
        .iter()
        .map(|(health, number)| format!("{} {number}", health::shown(*health)))
        .collect();
    if parts.is_empty() {
        "-".to_owned()
    } else {
        parts.join(", ")
    }
}

fn bar(part: usize, of: usize) -> String {
    let full = (part * BAR).checked_div(of).unwrap_or(0).min(BAR);
    format!("{}{}", good("█".repeat(full)), dim("░".repeat(BAR - full)))
}

#[cfg(test)]
mod tests;
