//! Applies and deletions: handed to workers, and what their results mean.

use std::time::Duration;

use driftless_model::{bundle::upkeep::Drift, definition, kinds};
use tokio::time::Instant;

use super::{
    Done, Engine, Timer,
    prune::{self, Kept},
    state::{Claim, ComponentKey, Key, KindKey, Live, Serving},
};
use crate::{
    api::{Api, Failure, Refusal},
    apply::Apply,
    change::Change,
    digest::Digest,
    live::Seen,
    plan::{self, Cause, Step},
};

/// An apply has ended.
pub(super) struct Applied {
    pub(super) key: Key,
    pub(super) digest: Digest,
    pub(super) cause: Cause,
    /// Its revision when the apply was sent, if known: the watch may bring the new one before the answer comes.
    pub(super) before: Option<u64>,
    pub(super) result: Result<Option<Seen>, Failure>,
}

/// A deletion was asked for.
pub(super) struct Pruned {
    key: Key,
    /// Which revision was to be deleted.
    revision: u64,
    result: Result<(), Kept>,
}

impl Engine {
    /// Hands out work while there is some and room for it. Says whether there was.
    pub(super) fn dispatch(&mut self) -> bool {
        let mut begun = false;
        self.weigh_prunes();
        if !self.server.is_doubtful() {
            self.survey();
        }
        while self.slots.has_room() && !self.server.is_doubtful() {
            let Some(key) = self.state.dequeue() else { break };
            let Some(entry) = self.state.entry(key) else { continue };
            // It failed after it was queued.
            if entry.retry.is_some() {
                continue;
            }
            if !self.slots.admits(entry.kind) {
                self.parked.entry(entry.kind).or_default().insert(key);
                continue;
            }
            let step = self.state.step(key);
            begun |= matches!(step, Step::Apply(_) | Step::Prune);
            match step {
                Step::Apply(_) if self.state.hook_owner(key).is_some() => self.start_hook(key),
                Step::Apply(cause) => self.start_apply(key, cause),
                Step::Prune => self.start_prune(key),
                Step::Rest | Step::Expect | Step::Leave | Step::Await(_) => self.consider(key),
            }
        }
        begun
    }

    fn start_apply(&mut self, key: Key, cause: Cause) {
        let Some(entry) = self.state.entry(key) else { return };
        let Serving::Served(resource) = &self.state.kind(entry.kind).serving else {
            return;
        };
        let Some(desired) = &entry.desired else { return };
        let component = self.state.component(desired.component);
        let (digest, id, resource) = (desired.digest, entry.id.clone(), resource.clone());
        let member = component.member(&desired.manifest);
        let before = match &entry.live {
            Live::Present(present) => Some(present.revision).filter(|revision| *revision != 0),
            Live::Unknown | Live::Absent { .. } => None,
        };
        // In a repair every field is ours already: whoever has it now took it from us.
        let force = desired.force || cause == Cause::Drifted || entry.claim == Claim::TakenOver;
        // What was taken from us while a new manifest came is ours all the same.
        let taken: Box<[String]> = entry.change.iter().flat_map(|change| change.taken()).cloned().collect();
        let unrecorded = entry.is_unrecorded() && desired.drift == Drift::Repair;
        let api = self.api_of(desired.component);
        let (own, reader, manager) = (
            self.api.clone(),
            self.reader.clone(),
            self.settings.field_manager.clone(),
        );
        self.workers.spawn(async move {
            let apply = Apply {
                api,
                reader: own,
                path: resource.object_path(member.manifest.version(), member.manifest.id()),
                manager,
                member,
                force,
                taken,
                unrecorded,
            };
            let answer = apply.carry_out().await;
            let result = answer.map(|object| reader.read(&object, &resource.group, &resource.kind));
            Done::Applied(Box::new(Applied {
                key,
                digest,
                cause,
                before,
                result,
            }))
        });
        // Until the answer comes, the watch may bring either.
        self.expected.set(&id, None);
        self.mark_busy(key);
    }

    pub(super) fn start_prune(&mut self, key: Key) {
        let Some(entry) = self.state.entry(key) else { return };
        let Serving::Served(resource) = &self.state.kind(entry.kind).serving else {
            return;
        };
        let Live::Present(present) = &entry.live else { return };
        let revision = present.revision;
        let options = self.delete_options(present.member, revision);
        let careful = entry.id.kind == "CustomResourceDefinition"
            && !present
                .member
                .is_some_and(|member| self.state.component(member).spec.prune.definitions);
        let path = resource.object_path(&resource.version, &entry.id);
        let api = present
            .member
            .map_or_else(|| self.api.clone(), |member| self.api_of(member));
        self.workers.spawn(async move {
            let result = prune::delete(&api, &path, &options, careful).await;
            Done::Pruned(Pruned { key, revision, result })
        });
        // The watch may confirm it before the answer comes.
        if let Some(entry) = self.state.entry_mut(key) {
            entry.pruning = true;
        }
        self.mark_busy(key);
    }

    /// Makes requests about a component's objects.
    pub(super) fn api_of(&self, component: ComponentKey) -> Api {
        let account = self.state.component(component).spec.service_account.as_ref();
        account.map_or_else(|| self.api.clone(), |account| self.api.acting_as(account))
    }

    pub(super) fn mark_busy(&mut self, key: Key) {
        let now = Instant::now();
        let Some(entry) = self.state.entry_mut(key) else { return };
        entry.busy = true;
        entry.retry = None;
        self.slots.begin(key, entry.kind, now);
        self.timers.extend(self.slots.next_slow().map(|at| (at, Timer::Slots)));
    }

    /// The request about an object has ended. Says when it began.
    pub(super) fn free_slot(&mut self, key: Key) -> Instant {
        let begun = self.slots.end(key).unwrap_or_else(Instant::now);
        if let Some(kind) = self.state.entry(key).map(|entry| entry.kind)
            && self.slots.admits(kind)
        {
            for parked in self.parked.remove(&kind).unwrap_or_default() {
                self.consider(parked);
            }
        }
        begun
    }

    /// Some requests may have hung for long.
    pub(super) fn on_slots_due(&mut self, now: Instant) {
        self.slots.free_slow(now);
        self.timers.extend(self.slots.next_slow().map(|at| (at, Timer::Slots)));
    }

    /// Has the API server too much to do? An API behind it that does not answer says nothing of that.
    pub(super) fn heed(&mut self, kind: KindKey, failure: &Failure, begun: Instant) {
        let kind = self.state.kind(kind);
        let is_own = kinds::scope(&kind.group, &kind.name).is_some();
        let is_too_much = match failure.code() {
            Some(429) => true,
            Some(503 | 504) => is_own,
            _ => is_own && matches!(failure, Failure::Unreachable(_)),
        };
        if is_too_much && self.slots.narrow(begun, Instant::now()) {
            tracing::debug!(
                window = self.slots.window(),
                "fewer requests at once: {}",
                failure.text()
            );
        }
    }

    pub(super) fn on_applied(&mut self, done: Applied) {
        let Applied {
            key,
            digest,
            cause,
            before,
            result,
        } = done;
        let begun = self.free_slot(key);
        match result {
            Ok(seen) => {
                self.slots.widen();
                let changed = seen.as_ref().is_none_or(|seen| before != Some(seen.revision));
                self.on_apply_succeeded(key, digest, cause, seen, changed);
            }
            Err(failure) => {
                if let Some(entry) = self.state.entry_mut(key) {
                    entry.busy = false;
                    entry.claim = Claim::Unasked;
                    let owned = entry.applied.and_then(|applied| applied.owned);
                    self.expected.set(&entry.id, owned);
                    let kind = entry.kind;
                    self.heed(kind, &failure, begun);
                }
                self.on_failed(key, "ApplyFailed", &failure);
                // What fails as drift is repaired is none of the version's own.
                let refused = cause == Cause::Changed && failure.refusal().is_some_and(Refusal::rejects_object);
                self.note_refused(key, refused);
                self.touch(key);
            }
        }
    }

    fn on_apply_succeeded(&mut self, key: Key, digest: Digest, cause: Cause, seen: Option<Seen>, changed: bool) {
        let Some(entry) = self.state.entry(key) else { return };
        let watched = match &self.state.kind(entry.kind).serving {
            Serving::Served(resource) => resource.version.clone(),
            _ => String::new(),
        };
        let owned = seen
            .as_ref()
            .filter(|seen| seen.version == watched)
            .and_then(|seen| seen.owned);
        let drifted = entry.drifted;
        let component = entry.desired.as_ref().map(|desired| desired.component);
        if let Some(seen) = seen {
            let now = (self.clock)();
            // That a kind is defined is told by its definition's event.
            let comes_again = !definition::is_definition(&entry.id) && !entry.is_known_at(seen.revision);
            if comes_again && seen.version == watched && seen.revision != 0 {
                self.expected.answered(&entry.id, seen.revision);
            }
            self.state.note_seen(key, seen, &self.settings.namespace, None, now);
        }
        let Some(entry) = self.state.entry_mut(key) else { return };
        entry.busy = false;
        entry.claim = Claim::Unasked;
        entry.failures = 0;
        entry.refused = false;
        entry.issue = None;
        entry.drifted = None;
        let change = entry.change.take();
        let id = entry.id.clone();
        if component.is_some() {
            entry.is_remembered = false;
            entry.applied = Some(plan::Applied {
                manifest: digest,
                owned,
            });
            self.expected.set(&entry.id, owned);
        }
        tracing::debug!(object = %entry.id, ?cause, changed, "applied");
        match cause {
            Cause::Changed => {
                self.counters.applied += u64::from(changed);
                if let Some(component) = component {
                    if changed {
                        self.metrics.applied(&self.state.component(component).name);
                    }
                    self.state.component_mut(component).fresh += u32::from(changed);
                }
            }
            Cause::Drifted => {
                self.counters.repaired += u64::from(changed);
                if let Some(component) = component.filter(|_| changed) {
                    let took = drifted.map(|at| at.elapsed());
                    let now = (self.clock)();
                    let component = self.state.component_mut(component);
                    component.count_repair(&id, change.as_deref().and_then(Change::manager), now);
                    self.metrics.repaired(&component.name, &id, change.as_deref(), took);
                }
                self.on_repaired(key, drifted, change);
            }
        }
        if let Some(component) = component {
            self.record_later(component);
        }
        self.note_made(key);
        self.touch(key);
        if let Some(component) = component {
            self.announce_applied(component);
        }
    }

    pub(super) fn on_pruned(&mut self, done: Pruned) {
        let Pruned { key, revision, result } = done;
        let begun = self.free_slot(key);
        let Some(entry) = self.state.entry_mut(key) else { return };
        entry.busy = false;
        let kind = entry.kind;
        match result {
            Ok(()) => {
                tracing::info!(object = %entry.id, "pruned");
                entry.failures = 0;
                entry.issue = None;
                // Confirmed by the watch; until then it must not be deleted again.
                if let Live::Present(present) = &mut entry.live
                    && present.revision == revision
                {
                    present.deleting = true;
                }
                self.slots.widen();
            }
            Err(Kept::InUse(used)) => {
                entry.pruning = false;
                self.on_definition_in_use(key, &used);
            }
            Err(Kept::Failed(failure)) if failure.code() == Some(404) => {
                entry.pruning = false;
                self.state.note_gone(key, revision);
            }
            // It has changed since it was seen: the watch will bring it, or has.
            Err(Kept::Failed(failure)) if failure.code() == Some(409) => {
                entry.pruning = false;
                entry.failures += 1;
                let delay = self.settings.backoff.delay(entry.failures, &mut self.rng);
                self.retry_in(key, delay);
            }
            Err(Kept::Failed(failure)) => {
                entry.pruning = false;
                self.heed(kind, &failure, begun);
                self.on_failed(key, "PruneFailed", &failure);
            }
        }
        self.touch(key);
    }

    pub(super) fn retry_in(&mut self, key: Key, delay: Duration) {
        let at = Instant::now() + delay;
        if let Some(entry) = self.state.entry_mut(key) {
            entry.retry = Some(at);
            self.timers.insert((at, Timer::Entry(key)));
        }
    }
}
