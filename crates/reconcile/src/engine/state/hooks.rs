//! The hooks of one component, and what is to be done with each of them now.
//!
//! A hook is no ordinary object: it is not counted, not pruned, not repaired, and carries the component's label without
//! being a member of its ApplySet.

use std::collections::BTreeSet;

use driftless_model::{
    hook::{Hook, Phase},
    manifest::ManifestId,
};
use jiff::Timestamp;

use super::{Component, ComponentKey, Desired, Entry, Gate, Key, Live, State};
use crate::{
    health::Outcome,
    hooks::{Run, Stage},
    plan::{Cause, Step},
};

/// The hooks of one component.
pub(crate) struct Hooks {
    pub(crate) keys: Vec<Key>,
    pub(crate) run: Run,
    /// Hooks whose objects were made since the start of the process.
    pub(crate) made: BTreeSet<(Phase, Key)>,
    /// Since when the run is as it is.
    pub(crate) since: Timestamp,
    /// How often the run changed, and what is in the parent.
    changes: u32,
    saved: Option<RunState>,
}

/// A run, by its id, after so many changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RunState(u64, u32);

impl Hooks {
    pub(crate) fn new(run: Run, is_saved: bool, since: Timestamp) -> Self {
        Self {
            keys: Vec::new(),
            saved: is_saved.then_some(RunState(run.id, 0)),
            run,
            made: BTreeSet::new(),
            since,
            changes: 0,
        }
    }

    /// The run changed.
    pub(crate) fn changed(&mut self, now: Timestamp) {
        self.changes += 1;
        self.since = now;
    }

    /// Which state the run is in, to be given back to [`Self::note_saved`].
    pub(crate) fn state(&self) -> RunState {
        RunState(self.run.id, self.changes)
    }

    /// A state is in the parent, which may be one of the run before: it was being written as this one began.
    pub(crate) fn note_saved(&mut self, state: RunState) {
        self.saved = Some(state);
    }

    pub(crate) fn is_saved(&self) -> bool {
        self.saved == Some(self.state())
    }
}

impl Component {
    /// Do its objects wait for hooks?
    pub(crate) fn waits_for_hooks(&self) -> bool {
        self.hooks
            .as_ref()
            .is_some_and(|hooks| hooks.run.stage == Stage::Before)
    }
}

impl State {
    /// The component of which an object is a hook.
    pub(crate) fn hook_owner(&self, key: Key) -> Option<ComponentKey> {
        let (desired, _) = self.entry(key)?.hook()?;
        Some(desired.component)
    }

    /// The component's hooks, each with what it asks for.
    pub(crate) fn hooks_of<'a>(&'a self, component: &'a Component) -> Vec<(Key, &'a ManifestId, &'a Hook)> {
        let keys = component.hooks.iter().flat_map(|hooks| &hooks.keys);
        keys.filter_map(|key| {
            let entry = self.entry(*key)?;
            let desired = entry.desired.as_ref()?;
            Some((*key, &*entry.id, desired.hook.as_deref()?))
        })
        .collect()
    }

    /// The hooks that run now.
    pub(crate) fn active_hooks(&self, component: ComponentKey) -> Vec<(Phase, Key)> {
        let component = self.component(component);
        let Some(hooks) = &component.hooks else {
            return Vec::new();
        };
        let all = self.hooks_of(component);
        let pairs: Vec<_> = all.iter().map(|(_, id, hook)| (*id, *hook)).collect();
        let active = hooks.run.active(&pairs);
        let key_of = |wanted: &ManifestId| all.iter().find(|(_, id, _)| *id == wanted).map(|(key, ..)| *key);
        active
            .into_iter()
            .filter_map(|(phase, id)| Some((phase, key_of(id)?)))
            .collect()
    }

    /// What to do with a hook.
    pub(super) fn hook_step(&self, key: Key, entry: &Entry, desired: &Desired, hook: &Hook) -> Step<Gate> {
        let component = self.component(desired.component);
        let Some(hooks) = &component.hooks else {
            return Step::Rest;
        };
        // Nothing is run, and what has ended is not deleted either.
        if component.paused.is_some() {
            return Step::Await(Gate::Paused(desired.component));
        }
        let unsaved = Gate::Parent(desired.component);
        let active = self.active_hooks(desired.component);
        let Some((phase, _)) = active.into_iter().find(|(_, active)| *active == key) else {
            return match self.is_left_over(entry, &hooks.run, hook) {
                true if hooks.is_saved() => Step::Prune,
                true => Step::Await(unsaved),
                false => Step::Rest,
            };
        };
        if !hooks.is_saved() {
            return Step::Await(unsaved);
        }
        let needed = component
            .needs
            .iter()
            .find(|needed| !self.component(**needed).is_ready());
        if let Some(gate) = self.gate(entry).or(needed.map(|needed| Gate::Component(*needed))) {
            return Step::Await(gate);
        }
        match &entry.live {
            Live::Unknown => Step::Expect,
            Live::Absent { .. } if hooks.made.contains(&(phase, key)) => Step::Rest,
            Live::Absent { .. } => Step::Apply(Cause::Changed),
            Live::Present(present) if present.deleting => Step::Expect,
            Live::Present(present) if present.run.as_deref() == Some(&*hooks.run.mark(phase)) => Step::Rest,
            Live::Present(_) if hook.delete.before => Step::Prune,
            Live::Present(_) => Step::Apply(Cause::Changed),
        }
    }

    /// Did it end in this run, and is its object to be deleted therefore?
    fn is_left_over(&self, entry: &Entry, run: &Run, hook: &Hook) -> bool {
        let Live::Present(present) = &entry.live else {
            return false;
        };
        let phases = [Phase::PreSync, Phase::Sync, Phase::PostSync, Phase::SyncFail];
        let of_run = phases
            .into_iter()
            .find(|phase| present.run.as_deref() == Some(&*run.mark(*phase)));
        let has_ended = of_run.is_some_and(|phase| run.has_ended(phase, &entry.id));
        let asked = match present.outcome {
            Outcome::Done => hook.delete.succeeded,
            Outcome::Failed => hook.delete.failed,
            Outcome::Pending => false,
        };
        has_ended && asked && !present.deleting
    }
}

#[cfg(test)]
mod tests {
    use driftless_model::hash::ObjectHash;

    use super::*;

    #[test]
    fn run_is_not_saved_by_what_was_being_written_of_the_run_before() {
        let hooks = |id, version: &[u8]| {
            let now = "2026-01-01T00:00:00Z".parse().expect("a time");
            Hooks::new(Run::new(id, ObjectHash::of(version), false), false, now)
        };
        let written = hooks(1, b"one").state();
        let mut next = hooks(2, b"two");
        next.note_saved(written);
        assert!(!next.is_saved());
        next.note_saved(next.state());
        assert!(next.is_saved());
        next.changed("2026-01-01T00:00:01Z".parse().expect("a time"));
        assert!(!next.is_saved());
    }
}
