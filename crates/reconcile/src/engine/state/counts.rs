//! The counts that tell "converged" and "may prune" without looking at all objects.

use super::{ComponentKey, Key, State};

/// A component's counts changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recount {
    pub(crate) component: ComponentKey,
    /// What left the desired state may go now, and could not before.
    pub(crate) prune: bool,
}

impl State {
    /// Counts an object anew after a change. Says which components' counts changed.
    pub(crate) fn settle(&mut self, key: Key) -> Vec<Recount> {
        let Some(entry) = self.entry_mut(key) else {
            return Vec::new();
        };
        let (old, new, ground) = (entry.tally, entry.tally_now(), entry.is_ground());
        entry.tally = new;
        let mut touched: Vec<_> = [old.unsynced, new.unsynced, old.stale, new.stale, old.member, new.member]
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
            if let Some(component) = old.stale {
                let component = self.component_mut(component);
                component.stale.remove(&key);
                component.plain_stale -= u32::from(!ground);
                self.stale -= 1;
            }
            if let Some(component) = new.stale {
                let component = self.component_mut(component);
                component.stale.insert(key);
                component.plain_stale += u32::from(!ground);
                self.stale += 1;
            }
        }
        let recount = |(component, before): (ComponentKey, (bool, bool))| {
            let now = self.component(component).may_prune();
            Recount {
                component,
                prune: (now.0 && !before.0) || (now.1 && !before.1),
            }
        };
        touched.into_iter().zip(before).map(recount).collect()
    }
}
