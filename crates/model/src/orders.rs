//! What people ask of one cluster by hand: pauses, another look at everything, consent to deletions.
//!
//! Part of a cluster's record: decided in the journal, sent to its agent, obeyed by the reconciler. None of it changes
//! what the cluster should run.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{canonical, hash::ObjectHash, manifest::ManifestId, name::ComponentName};

/// What was asked for and still holds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Orders {
    /// What is paused.
    #[serde(skip_serializing_if = "Pauses::is_empty")]
    pub pauses: Pauses,
    /// How often another look at everything was asked for.
    #[serde(skip_serializing_if = "is_zero")]
    pub reconcile: u64,
    /// Deletions that a person consented to.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub consents: BTreeMap<ComponentName, Consent>,
}

/// What is paused: nothing of it is applied, repaired or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pauses {
    /// Everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Pause>,
    /// Single components.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<ComponentName, Pause>,
}

/// A pause. It ends by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// From then on everything goes on.
    pub until: Timestamp,
    /// Why, for everybody who wonders.
    pub reason: String,
    /// Who asked for it.
    pub author: String,
}

/// A person's consent to deleting some objects of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consent {
    /// Names the objects, see [`deletions`]: consent is to these, and to no other.
    pub deletions: ObjectHash,
    /// Who consented.
    pub author: String,
}

impl Orders {
    /// The pause that holds for a component at `now`.
    pub fn pause(&self, component: &ComponentName, now: Timestamp) -> Option<&Pause> {
        let pauses = [self.pauses.cluster.as_ref(), self.pauses.components.get(component)];
        pauses
            .into_iter()
            .flatten()
            .filter(|pause| pause.until > now)
            .max_by_key(|pause| pause.until)
    }

    /// When the next pause ends.
    pub fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        let pauses = self.pauses.cluster.iter().chain(self.pauses.components.values());
        pauses.map(|pause| pause.until).filter(|until| *until > now).min()
    }
}

impl Pauses {
    /// Is nothing paused?
    pub fn is_empty(&self) -> bool {
        self.cluster.is_none() && self.components.is_empty()
    }
}

/// Names a set of objects to be deleted: the sha256 of the canonical JSON list of their ids, in order.
pub fn deletions<'a>(ids: impl IntoIterator<Item = &'a ManifestId>) -> ObjectHash {
    let ids: BTreeSet<_> = ids.into_iter().map(ToString::to_string).collect();
    ObjectHash::of(&canonical::document(&ids))
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause(until: &str) -> Pause {
        Pause {
            until: until.parse().unwrap(),
            reason: "a migration".to_owned(),
            author: "ann".to_owned(),
        }
    }

    #[test]
    fn pause_holds_until_its_end_and_the_longer_one_counts() {
        let shop: ComponentName = "shop".parse().unwrap();
        let orders = Orders {
            pauses: Pauses {
                cluster: Some(pause("2026-01-01T01:00:00Z")),
                components: [(shop.clone(), pause("2026-01-01T02:00:00Z"))].into(),
            },
            ..Orders::default()
        };
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let end = |component: &ComponentName, now| orders.pause(component, at(now)).map(|pause| pause.until);
        assert_eq!(end(&shop, "2026-01-01T00:00:00Z"), Some(at("2026-01-01T02:00:00Z")));
        let other: ComponentName = "other".parse().unwrap();
        assert_eq!(end(&other, "2026-01-01T00:00:00Z"), Some(at("2026-01-01T01:00:00Z")));
        assert_eq!(end(&other, "2026-01-01T01:00:00Z"), None);
        assert_eq!(
            orders.next_end(at("2026-01-01T01:30:00Z")),
            Some(at("2026-01-01T02:00:00Z"))
        );
        assert_eq!(orders.next_end(at("2026-01-01T02:00:00Z")), None);
    }

    #[test]
    fn deletions_are_named_by_what_they_are_not_by_their_order() {
        let id = |name: &str| ManifestId {
            group: String::new(),
            kind: "ConfigMap".to_owned(),
            namespace: Some("shop".to_owned()),
            name: name.to_owned(),
        };
        let (a, b) = (id("a"), id("b"));
        assert_eq!(deletions([&a, &b]), deletions([&b, &a]));
        assert_ne!(deletions([&a]), deletions([&a, &b]));
    }
}
