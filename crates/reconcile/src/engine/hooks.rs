//! Hooks: run once per version, in their phases. What runs when is decided in [`crate::hooks`].

use driftless_model::{
    hash::ObjectHash,
    hook::{self, Phase},
    status::Problem,
};
use rand::RngCore as _;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Done, Engine,
    order::why,
    state::{Component, ComponentKey, Gate, Hooks, Key, Live, Serving, State},
    work,
};
use crate::{
    api, applyset,
    health::Outcome,
    hooks::{Run, Stage},
    ownership::{self, Owner},
    plan::Cause,
};

/// An object that was refused so often in a row makes its version one that fails. What it needed may have come a little
/// later than itself: the tries before are over in some ten seconds.
const REFUSALS: u32 = 5;

impl Engine {
    /// A component's version has hooks: goes on with the run of this version, or begins one.
    pub(super) fn begin_hooks(&mut self, key: ComponentKey, version: ObjectHash, keys: Vec<Key>, was_applied: bool) {
        let (id, now) = (self.rng.next_u64(), (self.clock)());
        let component = self.state.component_mut(key);
        let last = component.last_run.take();
        if keys.is_empty() {
            component.hooks = None;
            return;
        }
        let mut hooks = match (component.hooks.take(), last) {
            (Some(hooks), _) if hooks.run.version == version => *hooks,
            (None, Some(run)) if run.version == version => Hooks::new(run, true, now),
            (hooks, last) => {
                let last = hooks.map(|hooks| hooks.run).or(last);
                Hooks::new(Run::after(last.as_ref(), id, version, was_applied), false, now)
            }
        };
        hooks.keys = keys;
        if !hooks.is_saved() {
            component.record_due = Some(Instant::now());
        }
        component.hooks = Some(Box::new(hooks));
        self.hooks_due.insert(key);
    }

    /// Somebody asked for another look: where hooks failed, their version runs all of its hooks anew.
    pub(super) fn run_again_what_failed(&mut self, key: ComponentKey) {
        let component = self.state.component_mut(key);
        let Some(hooks) = component.hooks.as_mut().filter(|hooks| hooks.run.failed.is_some()) else {
            return;
        };
        let run = hooks.run.next_run(self.rng.next_u64(), hooks.run.version);
        let keys = std::mem::take(&mut hooks.keys);
        **hooks = Hooks::new(run, false, (self.clock)());
        hooks.keys = keys;
        self.hooks_due.insert(key);
        self.record_now(key);
    }

    /// Takes in what became of hooks, and goes on.
    pub(super) fn tend_hooks(&mut self) {
        while let Some(key) = self.hooks_due.pop_first() {
            if self.state.has_view && self.advance_hooks(key) {
                self.record_now(key);
                self.open(Gate::Component(key));
                if !self.state.component(key).waits_for_hooks() {
                    self.open(Gate::Hooks(key));
                }
                self.telling.changed();
            }
            let component = self.state.component_mut(key);
            component.dirty = true;
            let hooks = component.hooks.as_ref();
            for hook in hooks.map(|hooks| hooks.keys.clone()).unwrap_or_default() {
                self.consider(hook);
            }
        }
    }

    fn advance_hooks(&mut self, key: ComponentKey) -> bool {
        let now = (self.clock)();
        let active = self.state.active_hooks(key);
        let ended: Vec<_> = active
            .into_iter()
            .filter_map(|(phase, hook)| {
                let entry = self.state.entry(hook)?;
                Some((phase, (*entry.id).clone(), self.ended(key, phase, hook)?))
            })
            .collect();
        let component = self.state.component(key);
        let all = self.state.hooks_of(component);
        let pairs: Vec<_> = all.iter().map(|(_, id, hook)| (*id, *hook)).collect();
        let ready = component.is_settled();
        let Some(hooks) = &component.hooks else { return false };
        let mut run = hooks.run.clone();
        for (phase, id, failure) in ended {
            tracing::info!(hook = %id, ?phase, failure, "ended");
            run.end(phase, &id, failure);
        }
        run.advance(&pairs, ready);
        let component = self.state.component_mut(key);
        let Some(hooks) = &mut component.hooks else {
            return false;
        };
        if hooks.run == run {
            return false;
        }
        hooks.run = run;
        hooks.changed(now);
        component.dirty = true;
        true
    }

    /// Has an active hook ended? With a reason, if it failed.
    fn ended(&self, component: ComponentKey, phase: Phase, key: Key) -> Option<Option<String>> {
        let hooks = self.state.component(component).hooks.as_ref()?;
        let entry = self.state.entry(key)?;
        match &entry.live {
            Live::Present(present) if present.run.as_deref() == Some(&*hooks.run.mark(phase)) => {
                match present.outcome {
                    Outcome::Done => Some(None),
                    Outcome::Failed => Some(Some(present.message.as_deref().unwrap_or("it failed").to_owned())),
                    Outcome::Pending => None,
                }
            }
            Live::Absent { .. } if hooks.made.contains(&(phase, key)) && !entry.busy => {
                Some(Some("its object was deleted before it had ended".to_owned()))
            }
            _ => None,
        }
    }

    /// An object of the version could not be applied: `refused`, or for want of an answer. When it was refused often
    /// enough, that is a failure as well.
    pub(super) fn note_refused(&mut self, key: Key, refused: bool) {
        let Some(entry) = self.state.entry_mut(key) else { return };
        entry.refused = refused;
        if !refused || entry.failures < REFUSALS {
            return;
        }
        if let Some(component) = entry.desired.as_ref().map(|desired| desired.component) {
            self.note_failing(component);
        }
    }

    /// The version does not get where it should be: something of it is refused, or was waited for too long.
    pub(super) fn note_failing(&mut self, key: ComponentKey) {
        let now = (self.clock)();
        if let Some(hooks) = &mut self.state.component_mut(key).hooks
            && hooks.run.stage != Stage::Over
            && !hooks.run.failing
        {
            hooks.run.failing = true;
            hooks.changed(now);
            self.hooks_due.insert(key);
            self.record_now(key);
        }
    }

    /// A hook's object was made.
    pub(super) fn note_made(&mut self, key: Key) {
        let Some(desired) = self.state.entry(key).and_then(|entry| entry.desired.as_ref()) else {
            return;
        };
        let component = desired.component;
        let active = self.state.active_hooks(component);
        if let Some(hooks) = &mut self.state.component_mut(component).hooks {
            hooks.made.extend(active.into_iter().filter(|(_, hook)| *hook == key));
        }
    }

    fn record_now(&mut self, key: ComponentKey) {
        self.state.component_mut(key).record_due = Some(Instant::now());
        self.tend_parent(key);
    }

    /// Makes a hook's object. It is created, not applied: one that is there already is another run's, or no hook at all.
    pub(super) fn start_hook(&mut self, key: Key) {
        let Some(entry) = self.state.entry(key) else { return };
        if entry.objects_to_it() {
            return self.object(key);
        }
        let Serving::Served(resource) = &self.state.kind(entry.kind).serving else {
            return;
        };
        let Some(desired) = &entry.desired else { return };
        let component = self.state.component(desired.component);
        let active = self.state.active_hooks(desired.component);
        let phase = active.into_iter().find(|(_, hook)| *hook == key);
        let (Some((phase, _)), Some(hooks), Some(hook)) = (phase, &component.hooks, &desired.hook) else {
            return;
        };
        let body = applyset::hook_body(&desired.manifest, &component.name, &hooks.run.mark(phase));
        let path = resource.object_path(desired.manifest.version(), &entry.id);
        let (resource, clears, digest) = (resource.clone(), hook.delete.before, desired.digest);
        let (home, set, adopts) = (
            self.settings.namespace.clone(),
            component.set.clone(),
            component.spec.adopt,
        );
        let (api, reader, manager) = (
            self.api_of(desired.component),
            self.reader.clone(),
            self.settings.field_manager.clone(),
        );
        self.workers.spawn(async move {
            let collection = path
                .rsplit_once('/')
                .map_or(path.as_str(), |(collection, _)| collection);
            let answer = api.create(collection, &manager, body).await;
            if answer.as_ref().is_err_and(|failure| failure.code() == Some(409))
                && let Some(live) = in_place(&api, &path).await
            {
                match ownership::owner(&live, &home, &set) {
                    Owner::Other(whose) if !adopts => return Done::HookTaken(key, whose),
                    Owner::Ours | Owner::Nobody | Owner::Other(_) if clears => clear(&api, &path, &live).await,
                    Owner::Ours | Owner::Nobody | Owner::Other(_) => {}
                }
            }
            let result = answer.map(|object| reader.read(&object, &resource.group, &resource.kind));
            Done::Applied(Box::new(work::Applied {
                key,
                digest,
                cause: Cause::Changed,
                before: None,
                result,
            }))
        });
        self.mark_busy(key);
    }

    /// In a hook's place is an object of another tool, which stays.
    pub(super) fn on_hook_taken(&mut self, key: Key, whose: &str) {
        self.free_slot(key);
        self.counters.failed += 1;
        if let Some(entry) = self.state.entry_mut(key) {
            entry.busy = false;
        }
        self.on_foreign(key, whose);
        self.touch(key);
    }
}

/// What is in a hook's place.
async fn in_place(api: &api::Api, path: &str) -> Option<Value> {
    api::parse(&api.get(path).await.ok()?).ok()
}

/// Deletes what is in a hook's place, if it is a hook too: of an installation by another tool. Whether that works is
/// seen when the hook is made again.
async fn clear(api: &api::Api, path: &str, live: &Value) {
    if hook::is_marked(live) {
        let options = json!({"propagationPolicy": "Background", "preconditions": {"uid": live["metadata"]["uid"]}});
        if let Err(failure) = api.delete(path, &options).await {
            tracing::debug!(path, "{}", failure.text());
        }
    }
}

/// What stands in the way of a component's hooks, or what they stand in the way of.
pub(super) fn problems(state: &State, key: ComponentKey, component: &Component) -> Vec<Problem> {
    let Some(hooks) = &component.hooks else {
        return Vec::new();
    };
    let told = |id, reason: &str, message: String| Problem {
        object: Some(id),
        reason: reason.to_owned(),
        message,
        since: hooks.since,
        blocks: true,
    };
    if let Some(failed) = &hooks.run.failed {
        let so = match failed.phase {
            Phase::PreSync => "nothing of this version is applied",
            Phase::Sync | Phase::PostSync | Phase::SyncFail => "the version's objects stay applied",
        };
        let message = format!(
            "{:?} hook failed: {}: {so}; push a version that works, or have all hooks of this one run anew with `driftless reconcile`",
            failed.phase, failed.why
        );
        return vec![told(failed.id.clone(), "HookFailed", message)];
    }
    let active = state.active_hooks(key).into_iter();
    let running = active.filter_map(|(phase, hook)| {
        let entry = state.entry(hook).filter(|entry| entry.issue.is_none())?;
        let message = format!("the {phase:?} hook has not ended: {}", why(entry));
        Some(told((*entry.id).clone(), "WaitingForHook", message))
    });
    let mut problems: Vec<_> = running.collect();
    for (_, id, _) in state.hooks_of(component) {
        let issue = state.find(id).and_then(|key| state.entry(key)?.issue.as_ref());
        problems.extend(issue.map(|issue| super::report::problem(Some(id), issue)));
    }
    problems
}
