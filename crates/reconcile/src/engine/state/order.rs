//! What of a component is not ready yet, by wave, and what may therefore not begin.
//!
//! Kept up by [`State::settle`], one object at a time, so that "may the next wave start?" is a look at the lowest wave
//! that is left and never a look at all objects.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tokio::time::Instant;

use super::{ComponentKey, Desired, Entry, Gate, Key, Live, State};
use crate::health::Outcome;

/// How far a component's waves are.
#[derive(Default)]
pub(crate) struct Waves {
    /// The desired objects that are not as desired or do not do well, by wave.
    unready: BTreeMap<i32, BTreeSet<Key>>,
    /// Waves up to this one are waited for no longer.
    passed: Option<i32>,
    /// When something got ready last, while something waits.
    pub(crate) progress: Option<Instant>,
    /// Since when something waits.
    pub(crate) since: Option<Timestamp>,
}

impl Waves {
    /// The lowest wave that later ones have to wait for.
    pub(crate) fn floor(&self) -> Option<i32> {
        let first = self.passed.map_or(i32::MIN, |passed| passed.saturating_add(1));
        self.unready.range(first..).next().map(|(wave, _)| *wave)
    }

    /// The lowest wave of which something is not ready, waited for or not.
    pub(crate) fn lowest(&self) -> Option<i32> {
        self.unready.first_key_value().map(|(wave, _)| *wave)
    }

    /// May this wave begin?
    pub(crate) fn admits(&self, wave: i32) -> bool {
        self.floor().is_none_or(|floor| wave <= floor)
    }

    /// Is everything as desired and well?
    pub(crate) fn is_ready(&self) -> bool {
        self.unready.is_empty()
    }

    /// What is not ready of a wave.
    pub(crate) fn unready(&self, wave: i32) -> impl ExactSizeIterator<Item = Key> {
        self.unready.get(&wave).map(BTreeSet::iter).unwrap_or_default().copied()
    }

    /// What was not ready when it was waited for no longer, and still is not.
    pub(crate) fn left_behind(&self) -> impl Iterator<Item = (i32, Key)> {
        let waves = self.passed.map(|passed| self.unready.range(..=passed));
        let waves = waves.into_iter().flatten();
        waves.flat_map(|(wave, keys)| keys.iter().map(|key| (*wave, *key)))
    }

    /// Is this wave waited for no longer?
    pub(crate) fn is_passed(&self, wave: i32) -> bool {
        self.passed.is_some_and(|passed| wave <= passed)
    }

    /// Waits for the lowest wave no longer. Says which one that is, and what of it is not ready.
    pub(crate) fn pass(&mut self) -> Option<(i32, Vec<Key>)> {
        let floor = self.floor()?;
        self.passed = Some(floor);
        Some((floor, self.unready(floor).collect()))
    }

    /// A new version: everything is waited for anew.
    pub(crate) fn restart(&mut self) {
        self.passed = None;
        self.progress = None;
        self.since = None;
    }

    pub(super) fn insert(&mut self, wave: i32, key: Key) {
        self.unready.entry(wave).or_default().insert(key);
    }

    pub(super) fn remove(&mut self, wave: i32, key: Key) {
        if let Some(keys) = self.unready.get_mut(&wave) {
            keys.remove(&key);
            if keys.is_empty() {
                self.unready.remove(&wave);
            }
        }
    }
}

impl Entry {
    /// Is it as desired, and does it do well? A Job has to be done.
    pub(crate) fn is_ready(&self) -> bool {
        let well = match &self.live {
            Live::Present(present) => present.outcome == Outcome::Done,
            Live::Unknown | Live::Absent { .. } => self.is_left_alone(),
        };
        well && self.is_synced()
    }
}

impl State {
    /// The first thing that an object has to wait for before something new is made of it. Its repair does not wait.
    pub(super) fn order_gate(&self, entry: &Entry) -> Option<Gate> {
        let desired = entry.desired.as_ref()?;
        let component = self.component(desired.component);
        // Hooks may be in it.
        let is_namespace = entry.id.group.is_empty() && entry.id.kind == "Namespace";
        let needed = component
            .needs
            .iter()
            .find(|needed| !self.component(**needed).is_ready());
        if let Some(needed) = needed {
            return Some(Gate::Component(*needed));
        }
        if component.waits_for_hooks() && !is_namespace {
            return Some(Gate::Hooks(desired.component));
        }
        // What others stand on would else wait for what stands on it.
        if !entry.is_ground() && !component.waves.admits(desired.wave) {
            return Some(Gate::Wave(desired.component, desired.wave));
        }
        let mut after = desired.after.iter().flat_map(|after| after.iter());
        after.find_map(|id| {
            let key = self.find(id)?;
            self.must_wait_for(desired, key).then_some(Gate::After(key))
        })
    }

    fn must_wait_for(&self, desired: &Desired, key: Key) -> bool {
        let Some(entry) = self.entry(key) else { return false };
        let Some(on) = &entry.desired else { return false };
        // What another component has is not in this one's waves.
        let wave = if on.component == desired.component {
            on.wave
        } else {
            desired.wave
        };
        !entry.is_ready() && !self.component(desired.component).waves.is_passed(wave)
    }

    /// The gates of a component's waves that have become open.
    pub(crate) fn open_waves(&mut self, component: ComponentKey) -> BTreeSet<Key> {
        let floor = self.component(component).waves.floor().unwrap_or(i32::MAX);
        let gates = Gate::Wave(component, i32::MIN)..=Gate::Wave(component, floor);
        let gates: Vec<_> = self.waiting.range(gates).map(|(gate, _)| *gate).collect();
        gates.into_iter().flat_map(|gate| self.open(gate)).collect()
    }

    /// Does anything of the component wait for one of its waves?
    pub(crate) fn has_waves_waiting(&self, component: ComponentKey) -> bool {
        let gates = Gate::Wave(component, i32::MIN)..=Gate::Wave(component, i32::MAX);
        self.waiting.range(gates).any(|(_, keys)| !keys.is_empty())
    }
}
