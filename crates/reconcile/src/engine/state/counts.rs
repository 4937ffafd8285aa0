//! The counts that tell "converged" and "may prune" without looking at all objects.

use std::collections::BTreeSet;

use super::{Component, ComponentKey, Key, Pruning, State, entry::Tally};

/// A component's counts changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recount {
    pub(crate) component: ComponentKey,
    /// What left the desired state may go now, and could not before.
    pub(crate) prune: bool,
    /// Something of it got ready.
    pub(crate) progress: bool,
}

impl State {
    /// Counts an object anew after a change. Says which components' counts changed.
    pub(crate) fn settle(&mut self, key: Key) -> Vec<Recount> {
        let Some(entry) = self.entry_mut(key) else {
            return Vec::new();
        };
        let (old, new, ground) = (entry.tally, entry.tally_now(), entry.is_ground());
        entry.tally = new;
        let first = |(component, _)| component;
        let mut touched: Vec<_> = [
            old.unsynced,
            new.unsynced,
            old.stale.map(first),
            new.stale.map(first),
            old.member,
            new.member,
        ]
        .into_iter()
        .flatten()
        .collect();
        touched.extend(entry.desired.as_ref().map(|desired| desired.component));
        touched.sort_unstable();
        touched.dedup();
        for component in &touched {
            self.component_mut(*component).dirty = true;
        }
        if old == new {
            return Vec::new();
        }
        let before: Vec<_> = touched
            .iter()
            .map(|component| self.component(*component).may_prune())
            .collect();
        if let Some(component) = old.unsynced {
            self.component_mut(component).unsynced -= 1;
            self.unsynced -= 1;
        }
        if let Some(component) = new.unsynced {
            self.component_mut(component).unsynced += 1;
            self.unsynced += 1;
        }
        if let Some(component) = old.member {
            self.component_mut(component).members -= 1;
        }
        if let Some(component) = new.member {
            self.component_mut(component).members += 1;
        }
        if old.stale != new.stale {
            if let Some((component, wave)) = old.stale {
                let component = self.component_mut(component);
                component.stale.remove(&key);
                component.plain_stale -= u32::from(!ground);
                component.uncount_stale(wave, ground);
                self.stale -= 1;
            }
            if let Some((component, wave)) = new.stale {
                let component = self.component_mut(component);
                component.stale.insert(key);
                component.plain_stale += u32::from(!ground);
                component.count_stale(wave, ground);
                self.stale += 1;
            }
        }
        self.count_prune(key, old, new, ground);
        let got_ready = self.settle_wave(key, old, new);
        let recount = |(component, before): (ComponentKey, (Option<i32>, bool))| {
            let now = self.component(component).may_prune();
            Recount {
                component,
                prune: (now.0.is_some() && now.0 != before.0) || (now.1 && !before.1),
                progress: got_ready == Some(component),
            }
        };
        touched.into_iter().zip(before).map(recount).collect()
    }

    /// Has the prunes weighed that this changes.
    fn count_prune(&mut self, key: Key, old: Tally, new: Tally, ground: bool) {
        let stale_of = |tally: Tally, of| tally.stale.is_some_and(|(it, _)| it == of).then_some(tally.asks);
        let components: BTreeSet<_> = [old.stale, new.stale].into_iter().flatten().map(|(it, _)| it).collect();
        for of in components {
            let component = self.component_mut(of);
            if component
                .pruning
                .count(key, stale_of(old, of), stale_of(new, of), ground)
            {
                self.to_weigh.insert(of);
            }
            let component = self.component_mut(of);
            if component.stale.is_empty() {
                component.pruning = Pruning::default();
            }
        }
    }

    /// Counts what is not ready. Says of which component something got ready.
    fn settle_wave(&mut self, key: Key, old: Tally, new: Tally) -> Option<ComponentKey> {
        if old.unready == new.unready {
            return None;
        }
        if let Some((component, wave)) = old.unready {
            self.component_mut(component).waves.remove(wave, key);
        }
        if let Some((component, wave)) = new.unready {
            self.component_mut(component).waves.insert(wave, key);
        }
        old.unready.map(|(component, _)| component)
    }
}

impl Component {
    fn count_stale(&mut self, wave: i32, ground: bool) {
        if !ground {
            *self.stale_waves.entry(wave).or_default() += 1;
        }
    }

    fn uncount_stale(&mut self, wave: i32, ground: bool) {
        if ground {
            return;
        }
        if let Some(count) = self.stale_waves.get_mut(&wave) {
            *count -= 1;
            if *count == 0 {
                self.stale_waves.remove(&wave);
            }
        }
    }
}
