//! The ApplySets' parents: read at the start, widened before anything is applied, narrowed after the prune, deleted
//! when their component is gone; and the record of what was applied, written into them when things are quiet.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{
    Done, Engine, Timer,
    state::{ComponentKey, Gate, Issue, KindKey, Parent, RunState},
};
use crate::{
    api::Failure,
    applyset::{self, Scope},
    backoff::Backoff,
    parent::Refused,
    record,
};

const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(500),
    most: Duration::from_secs(60),
};
/// A component that changes all the time is recorded this many quiet times apart.
const RECORDS_APART: u32 = 10;

/// How reading the parents goes.
#[derive(Default)]
pub(super) struct Reading {
    under_way: bool,
    failures: u32,
    pub(super) issue: Option<Issue>,
}

/// A parent was written, or not.
pub(super) struct Written {
    component: ComponentKey,
    scope: Scope,
    /// Was it the record's turn? What is only widened delays no record.
    recorded: bool,
    /// Which state of the hooks was recorded.
    hooks: Option<RunState>,
    result: Result<(), Refused>,
}

impl Engine {
    /// Reads all parents: what was applied before the start, and which components may have to be pruned.
    pub(super) fn read_parents(&mut self) {
        if self.records.is_some() || std::mem::replace(&mut self.records_read.under_way, true) {
            return;
        }
        let parents = self.parents.clone();
        self.workers
            .spawn(async move { Done::ParentsRead(parents.read_all().await) });
    }

    pub(super) fn on_parents_read(&mut self, parents: Result<Vec<applyset::Parent>, Failure>) {
        let parents = match parents {
            Ok(parents) => parents,
            Err(failure) => return self.on_parents_unreadable(&failure),
        };
        self.records_read = Reading::default();
        let mut records = BTreeMap::new();
        for parent in parents {
            let applyset::Parent::Ours {
                component,
                scope,
                record,
            } = parent
            else {
                continue;
            };
            let key = self.state.component_named(&component, &self.settings.namespace);
            let (applied, notes) = record.map(|packed| record::unpack(&packed)).unwrap_or_default();
            records.insert(component, applied);
            let component = self.state.component_mut(key);
            component.parent = Parent::Ours(scope);
            component.recorded = true;
            component.recall(notes);
        }
        self.records = Some(records);
        self.on_view();
        self.telling.changed();
    }

    fn on_parents_unreadable(&mut self, failure: &Failure) {
        self.counters.failed += 1;
        let reading = &mut self.records_read;
        reading.under_way = false;
        reading.failures += 1;
        let since = reading.issue.as_ref().map_or_else(self.clock, |issue| issue.since);
        let delay = failure.delay(BACKOFF.delay(reading.failures, &mut self.rng));
        let message = format!(
            "the ApplySets in namespace {} cannot be read, and nothing is changed before they are: {}; tried again in {}",
            self.settings.namespace,
            failure.text(),
            seconds(delay),
        );
        reading.issue = Some(Issue {
            reason: "ApplySetFailed",
            message,
            since,
        });
        self.timers.insert((Instant::now() + delay, Timer::Parents));
        if failure.doubts_server() {
            self.probe();
        }
        self.telling.changed();
    }

    /// Does whatever a component's parent needs now: widen, record, narrow, delete, or nothing.
    pub(super) fn tend_parent(&mut self, key: ComponentKey) {
        let now = Instant::now();
        let component = self.state.component(key);
        let waits = component.parent_busy || component.parent_retry.is_some() || component.paused.is_some();
        if !self.state.has_view || waits || self.server.down.is_some() {
            return;
        }
        self.forget_asked(key);
        let component = self.state.component(key);
        let settled = component.unsynced == 0 && component.stale.is_empty();
        match (component.bundle.is_some(), &component.parent) {
            (false, Parent::None) => {}
            (false, Parent::Ours(scope)) => {
                if component.members == 0 && self.is_known(scope) {
                    self.delete_parent(key);
                } else if component.record_due.is_some_and(|due| due <= now) {
                    self.write_parent(key, scope.clone());
                }
            }
            (true, Parent::None) => {
                let scope = component.scope.clone();
                self.write_parent(key, scope);
            }
            (true, Parent::Ours(scope)) if !component.is_open() => {
                let scope = scope.union(&component.scope);
                self.write_parent(key, scope);
            }
            (true, Parent::Ours(scope)) => {
                let may_narrow = settled && *scope != component.scope && self.is_known(scope);
                let next = if may_narrow {
                    component.scope.clone()
                } else {
                    scope.clone()
                };
                match component.record_due {
                    Some(due) if due <= now => self.write_parent(key, next),
                    None if may_narrow => self.record_later(key),
                    Some(_) | None => {}
                }
            }
        }
    }

    /// Nothing is left of what a person was asked about: a consent to it shall not hold for anything later.
    fn forget_asked(&mut self, key: ComponentKey) {
        let component = self.state.component(key);
        let is_over = |scope: &Scope| component.stale.is_empty() && self.is_known(scope);
        if !component.asked.is_empty() && matches!(&component.parent, Parent::Ours(scope) if is_over(scope)) {
            let component = self.state.component_mut(key);
            component.asked = Vec::new();
            component.recalled = Vec::new();
            self.record_later(key);
        }
    }

    /// The API server is back: what could not be written to it is written now.
    pub(super) fn retry_parents(&mut self) {
        for key in self.state.component_keys() {
            self.state.component_mut(key).parent_retry = None;
            self.tend_parent(key);
        }
        if self.records.is_none() && self.records_read.issue.is_some() {
            self.read_parents();
        }
    }

    /// Is it known of every kind of a scope which objects there are?
    pub(super) fn is_known(&self, scope: &Scope) -> bool {
        scope.kinds.iter().all(|(group, name)| {
            let kind = self.state.find_kind(group, name);
            kind.is_some_and(|kind| self.state.kind(kind).is_known())
        })
    }

    /// Objects of a kind depend on others: that is recorded.
    pub(super) fn add_dependents(&mut self, key: ComponentKey, kind: KindKey) {
        let place = self.state.kind(kind).place();
        if self.state.component_mut(key).dependents.insert(place) {
            self.record_later(key);
        }
    }

    /// What was applied changed: it is recorded once the component is quiet.
    pub(super) fn record_later(&mut self, key: ComponentKey) {
        let component = self.state.component_mut(key);
        let quiet = Instant::now() + self.settings.record_after;
        let apart = component
            .record_written
            .map(|at| at + self.settings.record_after * RECORDS_APART);
        let due = apart.map_or(quiet, |apart| apart.max(quiet));
        if let Some(old) = component.record_due.replace(due) {
            self.timers.remove(&(old, Timer::Record(key)));
        }
        self.timers.insert((due, Timer::Record(key)));
    }

    fn write_parent(&mut self, key: ComponentKey, scope: Scope) {
        self.state.note_dependents(key);
        let component = self.state.component(key);
        let entries = component.keys.iter().filter_map(|key| self.state.entry(*key));
        let applied = entries.filter_map(|entry| Some((&*entry.id, entry.applied?)));
        let hooks = component.hooks.as_ref().map(|hooks| hooks.state());
        let record = record::pack(applied, component.notes());
        let known = component.parent != Parent::None;
        let component = self.state.component_mut(key);
        component.parent_busy = true;
        let now = Instant::now();
        let recorded = component.record_due.take().is_some_and(|due| due <= now);
        let (name, parents) = (component.name.clone(), self.parents.clone());
        self.workers.spawn(async move {
            let result = parents.write(&name, known, &scope, &record).await;
            Done::ParentWritten(Written {
                component: key,
                scope,
                recorded,
                hooks,
                result,
            })
        });
    }

    pub(super) fn on_parent_written(&mut self, written: Written) {
        let Written {
            component: key,
            scope,
            recorded,
            hooks,
            result,
        } = written;
        let component = self.state.component_mut(key);
        component.parent_busy = false;
        component.dirty = true;
        match result {
            Ok(()) => {
                component.parent = Parent::Ours(scope);
                component.parent_failures = 0;
                component.issue = None;
                if let (Some(kept), Some(state)) = (&mut component.hooks, hooks) {
                    kept.note_saved(state);
                }
                if recorded {
                    component.record_written = Some(Instant::now());
                }
                self.refresh_kinds();
                if self.state.component(key).is_open() {
                    self.open(Gate::Parent(key));
                }
                self.tend_parent(key);
            }
            Err(refused) => {
                let name = applyset::parent_name(&component.name);
                let what = format!(
                    "ConfigMap {}/{name}, the parent of its ApplySet,",
                    self.settings.namespace
                );
                self.on_parent_failed(key, &what, &refused);
            }
        }
        self.telling.changed();
    }

    fn on_parent_failed(&mut self, key: ComponentKey, what: &str, refused: &Refused) {
        self.counters.failed += 1;
        let now = (self.clock)();
        let component = self.state.component_mut(key);
        component.parent_failures += 1;
        let mut delay = BACKOFF.delay(component.parent_failures, &mut self.rng);
        if let Refused::Failed(failure) = refused {
            delay = failure.delay(delay);
        }
        let since = component.issue.as_ref().map_or(now, |issue| issue.since);
        let message = match refused {
            Refused::Foreign(whose) => {
                format!(
                    "{what} is not ours: {whose}; delete or rename it; tried again in {}",
                    seconds(delay)
                )
            }
            Refused::Failed(failure) => {
                format!(
                    "{what} cannot be written: {}; tried again in {}",
                    failure.text(),
                    seconds(delay)
                )
            }
        };
        let doubtful = matches!(refused, Refused::Failed(failure) if failure.doubts_server());
        // Whether it is this request's concern alone, a look at the API server and the next try will show.
        if !doubtful || component.parent_failures > 1 {
            component.issue = Some(Issue {
                reason: "ApplySetFailed",
                message,
                since,
            });
        }
        let at = Instant::now() + delay;
        component.parent_retry = Some(at);
        // Whatever the write was to record is still to be recorded.
        component.record_due = component.record_due.or(Some(at));
        component.dirty = true;
        self.timers.insert((at, Timer::Parent(key)));
        if doubtful {
            self.probe();
        }
    }

    fn delete_parent(&mut self, key: ComponentKey) {
        let component = self.state.component_mut(key);
        component.parent_busy = true;
        let (name, parents) = (component.name.clone(), self.parents.clone());
        self.workers
            .spawn(async move { Done::ParentDeleted(key, parents.delete(&name).await) });
    }

    pub(super) fn on_parent_deleted(&mut self, key: ComponentKey, result: Result<(), Failure>) {
        let component = self.state.component_mut(key);
        component.parent_busy = false;
        component.dirty = true;
        match result {
            Ok(()) => {
                component.parent = Parent::None;
                component.parent_failures = 0;
                component.issue = None;
                component.record_due = None;
                self.refresh_kinds();
                // It may have been asked for again meanwhile.
                self.tend_parent(key);
            }
            Err(failure) => {
                let name = applyset::parent_name(&component.name);
                let what = format!(
                    "ConfigMap {}/{name}, the parent of a removed component,",
                    self.settings.namespace
                );
                self.on_parent_failed(key, &what, &Refused::Failed(failure));
            }
        }
        self.telling.changed();
    }
}

/// A delay, for a person.
pub(super) fn seconds(delay: Duration) -> String {
    if delay >= Duration::from_secs(120) {
        return format!("{} min", delay.as_secs() / 60);
    }
    if delay >= Duration::from_secs(2) {
        format!("{} s", delay.as_secs())
    } else {
        format!("{:.1} s", delay.as_secs_f64())
    }
}
