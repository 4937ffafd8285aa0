//! What a failed request means, and when its object is tried again.

use std::{borrow::Cow, collections::BTreeSet, time::Duration};

use super::{
    Engine,
    parents::seconds,
    state::{Key, KindKey, Live, Serving},
};
use crate::{
    api::{Conflict, Failure, Refusal},
    immutable, rights,
};

/// A namespace that is missing may come any time, and nobody tells us.
const NAMESPACE_RETRY: Duration = Duration::from_secs(15);

impl Engine {
    /// Decides what a failure means and when the object is tried again.
    pub(super) fn on_failed(&mut self, key: Key, reason: &'static str, failure: &Failure) {
        self.counters.failed += 1;
        let Some(entry) = self.state.entry_mut(key) else { return };
        entry.failures += 1;
        tracing::warn!(object = %entry.id, reason, failures = entry.failures, "{}", failure.text());
        let (failures, kind) = (entry.failures, entry.kind);
        let delay = self.settings.backoff.delay(failures, &mut self.rng);
        if failure.doubts_server() {
            return self.strand(key, reason, failure);
        }
        let Some(refusal) = failure.refusal() else {
            self.retry_in(key, delay);
            let message = format!("{}; tried again in {}", failure.text(), seconds(delay));
            return self.set_issue(key, reason, message);
        };
        let conflicts = refusal.conflicts();
        if !conflicts.is_empty() {
            self.count_conflicts(key, &conflicts);
            if self.take_over(key, &conflicts) {
                return;
            }
            self.retry_in(key, delay);
            let message = format!("{}; tried again in {}", conflicts_text(&conflicts), seconds(delay));
            return self.set_issue(key, "FieldConflict", message);
        }
        if refusal.code == 404 && !refusal.lacks_namespace() && reason == "ApplyFailed" {
            self.retry_in(key, delay);
            return self.on_unknown_path(key, kind, delay);
        }
        if reason == "ApplyFailed" && immutable::is_immutable(refusal) {
            return self.on_immutable(key, refusal, delay);
        }
        let delay = self.delay_after(refusal, delay);
        self.retry_in(key, delay);
        let hint = hint_for(refusal);
        self.set_issue(
            key,
            reason,
            format!("{}; {hint}tried again in {}", failure.text(), seconds(delay)),
        );
    }

    fn count_conflicts(&self, key: Key, conflicts: &[Conflict]) {
        let desired = self.state.entry(key).and_then(|entry| entry.desired.as_ref());
        let Some(component) = desired.map(|desired| self.state.component(desired.component)) else {
            return;
        };
        let managers: BTreeSet<_> = conflicts.iter().map(|conflict| &conflict.manager).collect();
        for manager in managers {
            self.metrics.conflict(&component.name, manager);
        }
    }

    /// It is deleted and made anew where its manifest asks for that, and it is ours.
    fn on_immutable(&mut self, key: Key, refusal: &Refusal, delay: Duration) {
        let Some(entry) = self.state.entry(key) else { return };
        let ours = matches!(&entry.live, Live::Present(present) if present.member.is_some() && !present.deleting);
        let asks = entry.desired.as_ref().is_some_and(|desired| desired.replace);
        if asks && ours {
            tracing::info!(object = %entry.id, "deleted to be made anew: {}", immutable::fields(refusal));
            return self.start_prune(key);
        }
        self.retry_in(key, delay);
        let how = if asks {
            "it is not ours yet, hence not deleted: delete it by hand to have it made anew"
        } else {
            "put the old value back, or annotate the manifest with driftless.dev/replace: \"true\" to have the object \
             deleted and made anew, or delete it by hand"
        };
        let message = format!(
            "{} cannot be changed: the API server answered: {}; {how}; tried again in {}",
            immutable::fields(refusal),
            refusal.status.message.trim(),
            seconds(delay)
        );
        self.set_issue(key, "ImmutableField", message);
    }

    /// Not even the path is known: the kind went away, or the version that the manifest is written in.
    fn on_unknown_path(&mut self, key: Key, kind: KindKey, delay: Duration) {
        let Some(desired) = self.state.entry(key).and_then(|entry| entry.desired.as_ref()) else {
            return;
        };
        let served = match &self.state.kind(kind).serving {
            Serving::Served(resource) => resource.version.clone(),
            Serving::Asked | Serving::Missing | Serving::Broken(_) => return,
        };
        if served == desired.manifest.version() {
            return self.on_not_served(kind, Serving::Missing, None);
        }
        let message = format!(
            "the cluster does not serve this kind in {}, but in version {served}: push a manifest in that version; \
             tried again in {}",
            desired.manifest.api_version(),
            seconds(delay),
        );
        self.set_issue(key, "KindNotServed", message);
    }

    fn delay_after(&self, refusal: &Refusal, delay: Duration) -> Duration {
        match refusal.code {
            429 | 503 | 504 => refusal.delay(delay),
            404 => delay.min(NAMESPACE_RETRY),
            // Two writers met; nothing is wrong.
            409 => delay.min(Duration::from_secs(1)),
            _ => delay,
        }
    }
}

/// Who owns what an apply wants, and what to do about it.
pub(crate) fn conflicts_text(conflicts: &[Conflict]) -> String {
    let mut owners: Vec<(String, Vec<String>)> = Vec::new();
    for conflict in conflicts {
        match owners.last_mut() {
            Some((manager, fields)) if *manager == conflict.manager => fields.push(conflict.field.clone()),
            _ => owners.push((conflict.manager.clone(), vec![conflict.field.clone()])),
        }
    }
    let owners: Vec<_> = owners
        .iter()
        .map(|(manager, fields)| format!("`{manager}` owns {}", fields.join(", ")))
        .collect();
    format!(
        "{}: leave the fields out of the manifest, or annotate it with driftless.dev/force-conflicts: \"true\" to take \
         them",
        owners.join("; "),
    )
}

/// What to do about a refusal: nothing, or something with `; ` behind it.
pub(crate) fn hint_for(refusal: &Refusal) -> Cow<'static, str> {
    let message = refusal.status.message.as_str();
    if refusal.code == 403
        && let Some(advice) = rights::advice(message)
    {
        return advice.into();
    }
    let hint = match refusal.code {
        403 if message.contains("being terminated") => "wait until its namespace is gone, and it is made anew; ",
        403 => "grant the agent's ServiceAccount this right; ",
        404 if refusal.lacks_namespace() => "create the namespace, or push it together with this object; ",
        400 | 422 => "push a manifest that the API server takes; ",
        _ => "",
    };
    hint.into()
}
