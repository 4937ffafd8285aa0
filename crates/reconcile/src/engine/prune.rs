//! Deletions: what of a component may go, what a person has to consent to first, and how an object is deleted.
//!
//! A component's stale objects are weighed together, once per round of events and before anything of them is deleted.

use std::collections::BTreeSet;

use driftless_model::{
    bundle::upkeep::{Budget, Propagation},
    manifest::ManifestId,
    orders,
    status::{MAX_SAMPLE, Problem, PruneBlocked},
};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    Engine,
    parents::seconds,
    state::{Component, ComponentKey, Entry, Key, KindKey, Parent, State},
};
use crate::{
    api::{Api, Failure, parse, version_path},
    budget::Verdict,
};

/// Objects named in a message.
const NAMED: usize = 3;

impl Engine {
    /// Weighs every prune that changed since it was weighed last.
    pub(super) fn weigh_prunes(&mut self) {
        let to_weigh = std::mem::take(&mut self.state.to_weigh);
        if to_weigh.is_empty() {
            return;
        }
        let unknown = self.state.unknown_dependents();
        for key in to_weigh {
            self.weigh_prune(key, unknown);
        }
    }

    fn weigh_prune(&mut self, key: ComponentKey, unknown: Option<KindKey>) {
        let component = self.state.component(key);
        let known = match &component.parent {
            Parent::Ours(scope) => self.is_known(scope),
            Parent::None => true,
        };
        if component.stale.is_empty() || !known {
            // Weighed when the last list is complete.
            let component = self.state.component_mut(key);
            component.dirty |= component.pruning.blocked.take().is_some();
            return;
        }
        let mut verdict = component.weigh();
        let mut waiting = self.state.waiting_for_consent(key, verdict);
        let mut deletions = None;
        if !waiting.is_empty() {
            let consented = self.consented(key, &waiting);
            if !consented.is_empty() {
                self.state.consent(key, &consented);
                verdict = self.state.component(key).weigh();
                waiting = self.state.waiting_for_consent(key, verdict);
            }
            deletions = (!waiting.is_empty()).then(|| self.blocked(&waiting));
        }
        if deletions.is_some() {
            self.note_asked(key, &waiting);
        }
        let now = (self.clock)();
        let component = self.state.component_mut(key);
        component.pruning.since.get_or_insert(now);
        component.pruning.blocked = deletions;
        component.pruning.verdict = verdict;
        component.pruning.unknown = unknown;
        component.dirty = true;
        for key in component.stale.clone() {
            self.consider(key);
        }
        self.telling.changed();
    }

    /// Which of these deletions a person has consented to: all of them, or what is left of all that the person was asked
    /// about before the agent restarted.
    fn consented(&self, key: ComponentKey, waiting: &[Key]) -> Vec<Key> {
        let component = self.state.component(key);
        let (orders, now) = &self.state.orders;
        let recalled = &component.recalled;
        let (consent, keys) = match orders.consent(&component.name, &self.deletions(waiting), *now) {
            Some(consent) => (consent, waiting.to_vec()),
            None if recalled.is_empty() => return Vec::new(),
            None => {
                let asked = orders::deletions(recalled);
                let Some(consent) = orders.consent(&component.name, &asked, *now) else {
                    return Vec::new();
                };
                let recalled: BTreeSet<_> = recalled.iter().collect();
                let is_left = |key: &&Key| self.state.entry(**key).is_some_and(|it| recalled.contains(&*it.id));
                (consent, waiting.iter().filter(is_left).copied().collect())
            }
        };
        tracing::info!(component = %component.name, objects = keys.len(), by = consent.author, "deletions consented to");
        keys
    }

    /// A person is asked about these: that is recorded, since a consent names them all.
    fn note_asked(&mut self, key: ComponentKey, waiting: &[Key]) {
        let mut asked = self.ids(waiting);
        asked.sort();
        let component = self.state.component_mut(key);
        // What is left of what was asked about before is no new question, until the answer to that one is known.
        let is_left =
            !component.recalled.is_empty() && asked.iter().all(|id| component.recalled.binary_search(id).is_ok());
        if !is_left && component.asked != asked {
            component.asked = asked;
            component.recalled = Vec::new();
            self.record_later(key);
        }
    }

    /// There are objects of a CRD's kind, and it would take them along.
    pub(super) fn on_definition_in_use(&mut self, key: Key, used: &str) {
        let Some(entry) = self.state.entry_mut(key) else { return };
        entry.failures += 1;
        let delay = self.settings.backoff.delay(entry.failures, &mut self.rng);
        self.retry_in(key, delay);
        let message = format!(
            "it left the component, but there are objects of its kind, which would go with it: {used}; delete them, or \
             set `prune: {{definitions: true}}` on the component; looked at again in {}",
            seconds(delay)
        );
        self.set_issue(key, "DefinitionInUse", message);
    }

    fn ids(&self, keys: &[Key]) -> Vec<ManifestId> {
        let ids = keys.iter().filter_map(|key| self.state.entry(*key));
        ids.map(|entry| (*entry.id).clone()).collect()
    }

    fn deletions(&self, keys: &[Key]) -> driftless_model::hash::ObjectHash {
        orders::deletions(
            keys.iter()
                .filter_map(|key| self.state.entry(*key))
                .map(|entry| &*entry.id),
        )
    }

    fn blocked(&self, keys: &[Key]) -> PruneBlocked {
        let mut sample = self.ids(keys);
        sample.sort();
        sample.truncate(MAX_SAMPLE);
        PruneBlocked {
            objects: u32::try_from(keys.len()).unwrap_or(u32::MAX),
            deletions: self.deletions(keys),
            sample,
        }
    }

    /// The options by which an object of this component is deleted.
    pub(super) fn delete_options(&self, component: Option<ComponentKey>, revision: u64) -> Value {
        let propagation = component.map(|key| self.state.component(key).spec.prune.propagation);
        let policy = match propagation.unwrap_or_default() {
            Propagation::Background => "Background",
            Propagation::Foreground => "Foreground",
            Propagation::Orphan => "Orphan",
        };
        let mut options = json!({"propagationPolicy": policy});
        // Deleted as it was seen, labels included, or not at all.
        if revision != 0 {
            options["preconditions"] = json!({"resourceVersion": revision.to_string()});
        }
        options
    }
}

/// Why an object was not deleted.
pub(super) enum Kept {
    /// The request failed.
    Failed(Failure),
    /// It is a CRD, and there are objects of its kind.
    InUse(String),
}

/// Deletes an object. `careful` spares a CRD of whose kind there are objects.
pub(super) async fn delete(api: &Api, path: &str, options: &Value, careful: bool) -> Result<(), Kept> {
    if careful && let Some(used) = uses(api, path).await.map_err(Kept::Failed)? {
        return Err(Kept::InUse(used));
    }
    api.delete(path, options).await.map_err(Kept::Failed)
}

/// The objects of a CRD's kind, for a person, if there are any.
async fn uses(api: &Api, path: &str) -> Result<Option<String>, Failure> {
    let definition = parse(&api.get(path).await?)?;
    let text = |pointer: &str| definition.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
    let served = |version: &&Value| version.get("served") == Some(&Value::Bool(true));
    let Some(version) = versions.into_iter().flatten().find(served) else {
        return Ok(None);
    };
    let version = version.get("name").and_then(Value::as_str).unwrap_or_default();
    let prefix = version_path(text("/spec/group"), version);
    let list = match api
        .list_metadata(&format!("{prefix}/{}?limit=1", text("/spec/names/plural")))
        .await
    {
        Ok(bytes) => parse(&bytes)?,
        // It is not established, or not any more.
        Err(failure) if failure.code() == Some(404) => return Ok(None),
        Err(failure) => return Err(failure),
    };
    let Some(first) = list.pointer("/items/0/metadata") else {
        return Ok(None);
    };
    let text = |field: &str| first.get(field).and_then(Value::as_str).unwrap_or_default();
    let rest = list.pointer("/metadata/remainingItemCount").and_then(Value::as_u64);
    let rest = match rest {
        Some(rest) if rest > 0 => format!(" and {rest} more"),
        _ if list
            .pointer("/metadata/continue")
            .and_then(Value::as_str)
            .is_some_and(|it| !it.is_empty()) =>
        {
            " and others".to_owned()
        }
        _ => String::new(),
    };
    let name = match text("namespace") {
        "" => text("name").to_owned(),
        namespace => format!("{namespace}/{}", text("name")),
    };
    Ok(Some(format!("{name}{rest}")))
}

/// What is told of deletions that wait.
pub(super) fn problems(state: &State, key: ComponentKey, component: &Component) -> Vec<Problem> {
    let Some(since) = component.pruning.since else {
        return Vec::new();
    };
    let Some(blocked) = &component.pruning.blocked else {
        return waits(state, component, since).into_iter().collect();
    };
    let command = format!("`driftless approve-prune <cluster> {}`", component.name);
    if component.pruning.verdict == Verdict::AskingWait {
        let told = |id: &ManifestId| Problem {
            object: Some(id.clone()),
            reason: "PruneNeedsConfirmation".to_owned(),
            message: format!(
                "it left the component, and asks for a person's consent before it is deleted: consent with {command}, or \
                 put it back"
            ),
            since,
            blocks: true,
        };
        return blocked.sample.iter().map(told).collect();
    }
    let Budget { objects, percent } = component.spec.prune.budget.unwrap_or_default();
    let grounds = state
        .waiting_for_consent(key, Verdict::AllWait)
        .iter()
        .filter(|key| state.entry(**key).is_some_and(Entry::is_ground))
        .count();
    let why = if grounds > 0 {
        format!("{grounds} of them are namespaces or CRDs, which take along whatever is in them")
    } else {
        format!("more than {objects} and more than {percent} % may not go without a person's consent")
    };
    let count = blocked.objects as usize;
    let more = count.saturating_sub(NAMED);
    let mut named: Vec<_> = blocked.sample.iter().take(NAMED).map(ToString::to_string).collect();
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    vec![Problem {
        object: None,
        reason: "PruneBlocked".to_owned(),
        message: format!(
            "{count} of {} objects left the component and would be deleted, {}: {why}; they stay until somebody consents \
             with {command}, or puts them back",
            component.keys.len() + component.stale.len(),
            named.join(", "),
        ),
        since,
        blocks: true,
    }]
}

/// What may go goes when the rest does well, and when it is known that nothing depends on it.
fn waits(state: &State, component: &Component, since: Timestamp) -> Option<Problem> {
    let unknown = component.pruning.unknown.map(|kind| state.kind(kind));
    let until = if component.unsynced == 0 && !component.waves.is_ready() {
        "all others of it are healthy".to_owned()
    } else {
        let kind = unknown.filter(|kind| !kind.is_being_learnt())?;
        let why = kind.complaint().unwrap_or("it is not listed yet");
        format!(
            "it is known which objects of kind {} there are, as some may depend on them: {why}",
            kind.name
        )
    };
    (!component.stale.is_empty()).then(|| Problem {
        object: None,
        reason: "PruneWaits".to_owned(),
        message: format!(
            "{} objects left the component; they are deleted when {until}",
            component.stale.len()
        ),
        since,
        blocks: false,
    })
}
