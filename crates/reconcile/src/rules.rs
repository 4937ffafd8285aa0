//! How components tell the health of kinds that do not follow Kubernetes' conventions.
//!
//! Set by the engine when a bundle comes, read wherever a live object is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
};

use driftless_model::{bundle::HealthRule, name::ComponentName, rule::Rule};

type GroupKind = (String, String);

/// The rules of all components.
#[derive(Debug, Default)]
pub(crate) struct Rules(RwLock<BTreeMap<ComponentName, Component>>);

#[derive(Debug, Default)]
struct Component {
    written: Vec<HealthRule>,
    rules: BTreeMap<GroupKind, Arc<Rule>>,
}

impl Rules {
    /// Sets a component's rules. Says of which kinds they changed.
    pub(crate) fn set(&self, component: &ComponentName, written: &[HealthRule]) -> BTreeSet<GroupKind> {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = all
            .get(component)
            .map(|known| known.written.clone())
            .unwrap_or_default();
        let kind_of = |rule: &HealthRule| (rule.group.clone(), rule.kind.clone());
        let changed: BTreeSet<_> = before
            .iter()
            .filter(|rule| !written.contains(rule))
            .chain(written.iter().filter(|rule| !before.contains(rule)))
            .map(kind_of)
            .collect();
        if written.is_empty() {
            all.remove(component);
        } else if !changed.is_empty() {
            // One that does not compile was refused at the push.
            let rules = written
                .iter()
                .filter_map(|rule| Some((kind_of(rule), Arc::new(Rule::new(rule)?))));
            let component_rules = Component {
                written: written.to_vec(),
                rules: rules.collect(),
            };
            all.insert(component.clone(), component_rules);
        }
        changed
    }

    /// The rule that a component has for a kind.
    pub(crate) fn find(&self, component: &ComponentName, group: &str, kind: &str) -> Option<Arc<Rule>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // Most components have none, and need no text for the search.
        let known = all.get(component)?;
        known.rules.get(&(group.to_owned(), kind.to_owned())).cloned()
    }
}
