//! Waves and dependencies: who may go on when something got ready, and what happens when it does not.
//!
//! Nothing here looks at all objects but a deadline that passes, which is rare.

use driftless_model::status::Problem;
use tokio::time::Instant;

use super::{
    Engine, Timer,
    state::{Component, ComponentKey, Entry, Gate, Key, Live, Recount, State},
};

impl Engine {
    /// An object waits for others of its component: not for ever.
    pub(super) fn note_waiting(&mut self, key: Key, gate: Gate) {
        if !matches!(gate, Gate::Wave(..) | Gate::After(_) | Gate::Component(_)) {
            return;
        }
        let (now, clock) = (Instant::now(), (self.clock)());
        let Some(desired) = self.state.entry(key).and_then(|entry| entry.desired.as_ref()) else {
            return;
        };
        let key = desired.component;
        let component = self.state.component_mut(key);
        component.waves.since.get_or_insert(clock);
        component.dirty = true;
        if gate_has_deadline(gate) && component.waves.progress.is_none() {
            component.waves.progress = Some(now);
            self.timers
                .insert((now + self.settings.wave_deadline, Timer::Waves(key)));
        }
        self.telling.changed();
    }

    /// Opens what a component's new counts have opened.
    pub(super) fn on_recount(&mut self, recount: Recount) {
        let key = recount.component;
        if recount.progress {
            let component = self.state.component_mut(key);
            if component.waves.progress.is_some() {
                component.waves.progress = Some(Instant::now());
            }
            for key in self.state.open_waves(key) {
                self.consider(key);
            }
        }
        let component = self.state.component_mut(key);
        if component.is_ready() {
            component.waves.since = None;
            component.waves.progress = None;
            self.open(Gate::Component(key));
        }
        if self.state.component(key).hooks.is_some() {
            self.hooks_due.insert(key);
        }
    }

    /// It may be time to wait no longer.
    pub(super) fn on_waves_due(&mut self, key: ComponentKey) {
        let deadline = self.settings.wave_deadline;
        let component = self.state.component_mut(key);
        let Some(progress) = component.waves.progress else {
            return;
        };
        let now = Instant::now();
        // Nothing can get ready while it is paused.
        if component.paused.is_some() {
            component.waves.progress = Some(now);
            self.timers.insert((now + deadline, Timer::Waves(key)));
            return;
        }
        if progress + deadline > now {
            self.timers.insert((progress + deadline, Timer::Waves(key)));
            return;
        }
        component.dirty = true;
        component.waves.progress = None;
        let passed = component.waves.pass();
        if passed.is_some() {
            self.note_failing(key);
        }
        let component = self.state.component(key);
        tracing::warn!(component = %component.name, wave = passed.as_ref().map(|(wave, _)| wave), "not waited for any longer");
        for left in passed.into_iter().flat_map(|(_, left)| left) {
            self.consider(left);
            self.open(Gate::After(left));
        }
        for waiting in self.state.open_waves(key) {
            self.consider(waiting);
        }
        if self.state.has_waves_waiting(key) {
            let waves = &mut self.state.component_mut(key).waves;
            waves.progress.get_or_insert(now);
            self.timers.insert((now + deadline, Timer::Waves(key)));
        }
        self.telling.changed();
    }
}

/// Components wait for each other as long as it takes.
fn gate_has_deadline(gate: Gate) -> bool {
    matches!(gate, Gate::Wave(..) | Gate::After(_))
}

/// What a component waits for, and what it waited for too long.
pub(super) fn problems(state: &State, key: ComponentKey, component: &Component) -> Vec<Problem> {
    let since = component.waves.since;
    let told = |reason: &str, message: String, blocks: bool| {
        Some(Problem {
            object: None,
            reason: reason.to_owned(),
            message,
            since: since?,
            blocks,
        })
    };
    let mut problems = Vec::new();
    let waits = component.unsynced > 0;
    let missing = |needed: &Component| needed.bundle.is_none();
    for needed in component.needs.iter().map(|needed| state.component(*needed)) {
        let text = if missing(needed) {
            format!(
                "it depends on component `{}`, which is not on this cluster: push that one, or take it out of dependsOn",
                needed.name
            )
        } else {
            format!(
                "it depends on component `{}`, which is not as desired and healthy yet: {}",
                needed.name,
                shortfall(state, needed)
            )
        };
        if waits && !needed.is_ready() {
            problems.extend(told("WaitingForDependency", text, true));
        }
    }
    if let Some(floor) = component.waves.floor()
        && state.has_waves_waiting(key)
    {
        let text = format!(
            "later waves wait for wave {floor}: {}",
            first_of(state, component.waves.unready(floor))
        );
        problems.extend(told("WaitingForWave", text, true));
    }
    let left: Vec<_> = component.waves.left_behind().collect();
    if let Some((wave, _)) = left.first() {
        let text = format!(
            "wave {wave} was waited for no longer, because nothing of it got ready any more: {}",
            first_of(state, left.iter().map(|(_, key)| *key))
        );
        problems.extend(told("WaveDeadline", text, false));
    }
    problems
}

/// Why a component is not ready.
fn shortfall(state: &State, component: &Component) -> String {
    if let Some(held) = component.held.keys().next() {
        return format!("{held} cannot be worked out");
    }
    let floor = component.waves.lowest();
    let Some(floor) = floor else {
        return format!("{} objects are not applied", component.unsynced);
    };
    first_of(state, component.waves.unready(floor))
}

/// The first of some objects that are not ready and why, and how many others there are.
fn first_of(state: &State, keys: impl ExactSizeIterator<Item = Key>) -> String {
    let more = keys.len().saturating_sub(1);
    let mut entries = keys.filter_map(|key| state.entry(key));
    let Some(entry) = entries.next() else {
        return String::new();
    };
    let more = if more > 0 {
        format!(" (and {more} more)")
    } else {
        String::new()
    };
    format!("{}: {}{more}", entry.id, why(entry))
}

pub(super) fn why(entry: &Entry) -> String {
    if let Some(issue) = &entry.issue {
        return issue.message.clone();
    }
    match &entry.live {
        Live::Present(present) => match &present.message {
            Some(message) => format!("{}, {message}", present.health),
            None if entry.is_synced() => "it has not ended yet".to_owned(),
            None => "it is not applied yet".to_owned(),
        },
        Live::Absent { .. } | Live::Unknown => "it is not applied yet".to_owned(),
    }
}
