//! What `explain` tells, as a document and as a page.

use std::collections::BTreeMap;

use driftless_model::{
    explain::Cause,
    hash::ObjectHash,
    manifest::ManifestId,
    name::{ChannelName, ClusterName, ComponentName},
    status::{Health, Repairs},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::Push;
use crate::output::{self, age, bad, bold, count, dim, good, health, one_line, warn};

mod fields;

pub(super) use fields::FIELDS;

/// Most components told of on the page of which objects were put back; the document has all.
const MAX_REPAIRED: usize = 5;

/// An explanation, as JSON.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    pub(super) cluster: ClusterName,
    /// Is all as it should be?
    pub(super) converged: bool,
    /// What the cluster should run.
    pub(super) should: Should,
    /// What it runs, by its agent's last report.
    pub(super) runs: Runs,
    /// Why it is not as it should be: the first cause first. Empty when it is.
    pub(super) causes: Vec<Cause>,
}

/// What a cluster should run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Should {
    pub(super) channel: ChannelName,
    /// The channel's newest snapshot; `null` before the first push.
    pub(super) snapshot: Option<Push>,
    /// Components that run here.
    pub(super) components: usize,
    /// Components that do not, with their selectors.
    pub(super) not_selected: BTreeMap<ComponentName, String>,
    /// Objects that run here.
    pub(super) objects: usize,
    /// The object that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) object: Option<ObjectDocument>,
}

/// How an object comes to be as it is on the cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectDocument {
    pub(super) object: ManifestId,
    pub(super) component: ComponentName,
    /// The component's bundle in the channel.
    pub(super) bundle: Option<ObjectHash>,
    /// The push that set the component last.
    pub(super) set: Option<Push>,
    /// The component's selector; empty for all clusters.
    pub(super) selector: String,
    /// Components that have to be healthy before it is applied.
    pub(super) depends_on: Vec<ComponentName>,
    /// The overlays that changed the object here, in order.
    pub(super) overlays: Vec<Overlay>,
    /// The variables put in here.
    pub(super) variables: Vec<Variable>,
    /// The object as it should be here; `null` where it should not be.
    pub(super) manifest: Option<Value>,
}

/// An overlay that changed an object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Overlay {
    pub(super) name: String,
    /// The clusters it is for; empty for all.
    pub(super) selector: String,
}

/// A variable that was put in.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Variable {
    /// The field's path.
    pub(super) field: String,
    /// The variable: `cluster.vars.replicas`.
    pub(super) variable: String,
    /// Its value; `null` where the default was taken.
    pub(super) value: Option<Value>,
}

/// What a cluster runs.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Runs {
    /// Has an agent joined?
    pub(super) joined: bool,
    /// Is it connected?
    pub(super) connected: bool,
    /// When it was last seen.
    pub(super) last_seen: Option<Timestamp>,
    pub(super) agent_version: Option<String>,
    pub(super) kubernetes_version: Option<String>,
    /// The snapshot it works on.
    pub(super) snapshot: Option<ObjectHash>,
    /// The bundle that it has of the object's component.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bundle: Option<ObjectHash>,
    /// Objects that it should have applied, of the object's component or of all.
    pub(super) desired: u32,
    /// Those that it has.
    pub(super) applied: u32,
    /// Their worst health; `null` before the first report.
    pub(super) health: Option<Health>,
    /// Objects put back after somebody changed or deleted them, since the agent started.
    pub(super) repaired: u64,
    /// The same by component, the latest first; of the object's component alone, if one was asked for.
    pub(super) repairs: Vec<Repaired>,
}

/// What was put back of a component.
#[derive(Debug, Serialize)]
pub(super) struct Repaired {
    pub(super) component: ComponentName,
    #[serde(flatten)]
    pub(super) repairs: Repairs,
}

impl Document {
    /// The page.
    pub(super) fn text(&self, now: Timestamp) -> String {
        let mut out = self.headline(now);
        out.push_str(&section("Should run", &self.should.facts(now)));
        out.push_str(&section("Runs", &self.runs.facts(now)));
        if !self.causes.is_empty() {
            out.push_str(&format!("\n{}\n", bold("Why it differs")));
            for (number, cause) in self.causes.iter().enumerate() {
                out.push_str(&self.cause(number + 1, cause, now));
            }
        }
        out
    }

    /// The answer in one line.
    fn headline(&self, now: Timestamp) -> String {
        let what = match &self.should.object {
            Some(object) => format!("{} on {}", bold(object.object.to_string()), bold(self.cluster.as_str())),
            None => bold(self.cluster.as_str()),
        };
        match self.causes.first() {
            None => format!("{what} is {}\n", good("as it should be")),
            Some(cause) => {
                let since = cause
                    .since
                    .map(|since| dim(format!(" since {}", age(since, now))))
                    .unwrap_or_default();
                format!("{what} is {}: {}{since}\n", bad("not as it should be"), summary(cause))
            }
        }
    }

    fn cause(&self, number: usize, cause: &Cause, now: Timestamp) -> String {
        let mut about = String::new();
        // What the whole page is about need not be said again.
        let asked = self.should.object.as_ref().map(|object| &object.object);
        if let Some(object) = cause.object.as_ref().filter(|object| Some(*object) != asked) {
            about = format!("{object}: ");
        } else if let (Some(component), None, None) = (&cause.component, &cause.object, asked) {
            about = format!("{component}: ");
        }
        let mut out = format!("  {number}. {about}{}", one_line(&cause.message));
        if let Some(since) = cause.since {
            out.push_str(&dim(format!(" (since {})", output::when(since, now))));
        }
        out.push('\n');
        if let Some(next) = &cause.next {
            out.push_str(&format!("     {} {}\n", dim("→"), one_line(next)));
        }
        out
    }
}

/// The beginning of a cause's message, for the first line of the page.
fn summary(cause: &Cause) -> String {
    let message = one_line(&cause.message);
    match message.char_indices().nth(72) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}

type Fact = (&'static str, String);

fn section(head: &str, facts: &[Fact]) -> String {
    let mut out = format!("\n{}\n", bold(head));
    for (name, text) in facts {
        out.push_str(&format!("  {name:<10} {text}\n"));
    }
    out
}

/// `1a2b3c4d5e6f  by admin 3h ago: why`.
fn push(push: &Push, now: Timestamp) -> String {
    let message = one_line(push.message.lines().next().unwrap_or_default());
    let why = if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    };
    let by = dim(format!("by {} {} ago", one_line(&push.author), age(push.time, now)));
    format!("{}  {by}{why}", warn(push.snapshot.short()))
}

fn where_it_holds(selector: &str) -> String {
    if selector.is_empty() {
        "all clusters".to_owned()
    } else {
        selector.to_owned()
    }
}

impl Should {
    fn facts(&self, now: Timestamp) -> Vec<Fact> {
        let mut facts = vec![("channel", self.channel.to_string())];
        let snapshot = self
            .snapshot
            .as_ref()
            .map_or_else(|| "none yet".to_owned(), |snapshot| push(snapshot, now));
        facts.push(("snapshot", snapshot));
        if let Some(object) = &self.object {
            facts.extend(object.facts(now));
            return facts;
        }
        let components = output::count(self.components, "component");
        facts.push(("objects", format!("{} of {components}", self.objects)));
        facts.extend(self.not_selected.iter().map(|(component, selector)| {
            (
                "left out",
                format!("{component} {}", dim(format!("runs on {selector}"))),
            )
        }));
        facts
    }
}

impl ObjectDocument {
    fn facts(&self, now: Timestamp) -> Vec<Fact> {
        let bundle = self
            .bundle
            .map(|bundle| format!(" at bundle {}", bundle.short()))
            .unwrap_or_default();
        let mut facts = vec![("component", format!("{}{}", self.component, dim(bundle)))];
        facts.extend(self.set.as_ref().map(|set| ("set in", push(set, now))));
        facts.push(("runs on", where_it_holds(&self.selector)));
        if !self.depends_on.is_empty() {
            let names: Vec<_> = self.depends_on.iter().map(ComponentName::as_str).collect();
            facts.push(("after", names.join(", ")));
        }
        for overlay in &self.overlays {
            let selector = dim(format!("on {}", where_it_holds(&overlay.selector)));
            facts.push(("overlay", format!("{} {selector}", one_line(&overlay.name))));
        }
        for Variable { field, variable, value } in &self.variables {
            let value = value.as_ref().map_or_else(|| dim("its default"), Value::to_string);
            facts.push(("variable", format!("{field}: {variable} = {value}")));
        }
        facts
    }
}

impl Runs {
    fn facts(&self, now: Timestamp) -> Vec<Fact> {
        let agent = match (self.joined, self.connected, self.last_seen) {
            (false, ..) => dim("none has joined"),
            (true, true, _) => good("connected"),
            (true, false, Some(seen)) => bad(format!("not connected, last seen {} ago", age(seen, now))),
            (true, false, None) => bad("not connected, and not seen since the server started"),
        };
        let versions = [
            self.agent_version
                .as_ref()
                .map(|version| format!("version {}", one_line(version))),
            self.kubernetes_version
                .as_ref()
                .filter(|version| !version.is_empty())
                .map(|version| format!("Kubernetes {}", one_line(version))),
        ];
        let versions: Vec<_> = versions.into_iter().flatten().collect();
        let agent = match versions.as_slice() {
            [] => agent,
            versions => format!("{agent}  {}", dim(versions.join(", "))),
        };
        let mut facts = vec![("agent", agent)];
        let Some(health) = self.health else {
            return facts;
        };
        facts.extend(self.snapshot.map(|snapshot| ("snapshot", warn(snapshot.short()))));
        facts.extend(self.bundle.map(|bundle| ("bundle", bundle.short())));
        facts.push(("objects", format!("{} of {} applied", self.applied, self.desired)));
        facts.push(("health", health::shown(health)));
        if self.repaired > 0 {
            let times = count(usize::try_from(self.repaired).unwrap_or(usize::MAX), "object");
            facts.push(("drift", format!("{times} put back since the agent started")));
        }
        facts.extend(
            self.repairs
                .iter()
                .take(MAX_REPAIRED)
                .map(|it| ("repaired", it.line(now))),
        );
        let more = self.repairs.len().saturating_sub(MAX_REPAIRED);
        if more > 0 {
            facts.push(("repaired", dim(format!("and {} more", count(more, "component")))));
        }
        facts
    }
}

impl Repaired {
    /// `shop 3 times, the last 5m ago: ConfigMap shop/a, changed by kubectl-edit`.
    fn line(&self, now: Timestamp) -> String {
        let Repairs {
            count,
            last,
            object,
            manager,
        } = &self.repairs;
        let times = match count {
            1 => "once,".to_owned(),
            _ => format!("{count} times, the last"),
        };
        let by = manager
            .as_ref()
            .map(|manager| format!(", changed by {}", one_line(manager)));
        let last = dim(format!("{times} {} ago", age(*last, now)));
        format!("{}  {last}: {object}{}", self.component, by.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests;
