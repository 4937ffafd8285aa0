//! What left a component's desired state, and how much of it may go: counted as objects come and go.

use std::collections::BTreeSet;

use driftless_model::status::PruneBlocked;
use jiff::Timestamp;

use super::{Component, ComponentKey, Entry, Key, KindKey, State};
use crate::budget::{self, Stale, Verdict};

/// How a component's prune stands.
#[derive(Default)]
pub(crate) struct Pruning {
    /// What may go, as weighed last.
    pub(crate) verdict: Verdict,
    /// What a person has consented to, and how many of it are namespaces or CRDs, or ask for consent.
    consented: BTreeSet<Key>,
    consented_ground: usize,
    consented_asking: usize,
    /// How many stale objects ask for consent.
    asking: usize,
    /// Nothing goes before it is known which objects of this kind there are: some may depend on what left.
    pub(crate) unknown: Option<KindKey>,
    /// What waits for consent.
    pub(crate) blocked: Option<PruneBlocked>,
    /// Since when something is stale.
    pub(crate) since: Option<Timestamp>,
}

impl Pruning {
    /// A stale object came or went, asking for consent or not: nothing goes before all is weighed anew, unless less is
    /// left than was weighed. Says whether it is to be weighed.
    pub(super) fn count(&mut self, key: Key, old: Option<bool>, new: Option<bool>, ground: bool) -> bool {
        if old == new {
            return false;
        }
        let consented = new.is_none() && self.consented.remove(&key);
        if consented {
            self.consented_ground -= usize::from(ground);
            self.consented_asking -= usize::from(old == Some(true));
        }
        self.asking -= usize::from(old == Some(true));
        self.asking += usize::from(new == Some(true));
        let shrinks = new.is_none()
            && match self.verdict {
                Verdict::Unknown => false,
                Verdict::Free => true,
                Verdict::AskingWait => old == Some(false) || consented,
                Verdict::AllWait => consented,
            };
        if !shrinks {
            self.verdict = Verdict::Unknown;
        }
        !shrinks
    }

    /// May this stale object go?
    pub(super) fn admits(&self, key: Key, asking: bool) -> bool {
        match self.verdict {
            _ if self.unknown.is_some() => false,
            Verdict::Unknown => false,
            Verdict::Free => true,
            Verdict::AskingWait => !asking || self.consented.contains(&key),
            Verdict::AllWait => self.consented.contains(&key),
        }
    }

    /// Did a person consent to its deletion?
    pub(crate) fn is_consented(&self, key: Key) -> bool {
        self.consented.contains(&key)
    }
}

impl Component {
    /// Weighs what is stale and not consented to.
    pub(crate) fn weigh(&self) -> Verdict {
        let Pruning {
            consented,
            consented_ground,
            consented_asking,
            asking,
            ..
        } = &self.pruning;
        let ground = self.stale.len() - self.plain_stale as usize;
        let stale = Stale {
            objects: self.stale.len() - consented.len(),
            ground: ground - consented_ground,
            asking: asking - consented_asking,
            total: self.stale.len() - consented.len() + self.keys.len(),
        };
        budget::weigh(stale, self.spec.prune.budget.unwrap_or_default())
    }
}

impl State {
    /// What waits for consent under a verdict.
    pub(crate) fn waiting_for_consent(&self, component: ComponentKey, verdict: Verdict) -> Vec<Key> {
        let component = self.component(component);
        let waits = |key: &&Key| match verdict {
            Verdict::Unknown | Verdict::Free => false,
            Verdict::AskingWait => self.entry(**key).is_some_and(Entry::asks_before_prune),
            Verdict::AllWait => true,
        };
        let open = |key: &&Key| !component.pruning.is_consented(**key);
        component.stale.iter().filter(open).filter(waits).copied().collect()
    }

    /// Takes in a person's consent to the deletion of some stale objects.
    pub(crate) fn consent(&mut self, component: ComponentKey, keys: &[Key]) {
        for key in keys {
            let Some(entry) = self.entry(*key) else { continue };
            let (ground, asking) = (entry.is_ground(), entry.asks_before_prune());
            let pruning = &mut self.component_mut(component).pruning;
            if pruning.consented.insert(*key) {
                pruning.consented_ground += usize::from(ground);
                pruning.consented_asking += usize::from(asking);
            }
        }
    }

    /// All components' prunes are to be weighed anew.
    pub(crate) fn weigh_all(&mut self) {
        for key in self.component_keys() {
            if !self.component(key).stale.is_empty() {
                self.to_weigh.insert(key);
            }
        }
    }
}
