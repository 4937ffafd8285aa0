//! What people ask of one cluster by hand: pauses, another look at everything, consent to deletions.
//!
//! Part of a cluster's record: decided in the journal, sent to its agent, obeyed by the reconciler. None of it changes
//! what the cluster should run. An [`Order`] is what somebody says once, [`Orders`] what holds of all that was said.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{canonical, hash::ObjectHash, manifest::ManifestId, name::ComponentName};

/// Longest time that a pause may last.
pub const LONGEST_PAUSE: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Most bytes of the reason of a pause.
pub const MAX_REASON: usize = 1000;
/// For how long a consent holds: the very same objects may be on their way out again some day, by mistake.
pub const CONSENT_HOLDS: SignedDuration = SignedDuration::from_hours(24);

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
    /// From then on it does not hold any more.
    pub until: Timestamp,
    /// Who consented.
    pub author: String,
}

/// What somebody asks for by hand: the same of all clusters that it is given to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "order",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Order {
    /// Apply, repair and delete nothing for a while.
    Pause {
        /// Of this component; `None`: of all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        component: Option<ComponentName>,
        /// From then on everything goes on.
        until: Timestamp,
        /// Why.
        reason: String,
    },
    /// Go on before the pause ends.
    Resume {
        /// With this component; `None`: with all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        component: Option<ComponentName>,
    },
    /// Look at everything anew, and try at once what failed.
    Reconcile,
    /// Delete these objects of a component, however many they are.
    Consent {
        /// The component.
        component: ComponentName,
        /// Names the objects, see [`deletions`].
        deletions: ObjectHash,
        /// From then on it does not hold any more.
        until: Timestamp,
    },
}

/// Why an order is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nobody could tell why.
    #[error("a pause needs a reason: say why, for everybody who wonders")]
    NoReason,
    /// A reason that is a story.
    #[error("the reason of the pause has {0} bytes, more than the {MAX_REASON} allowed: put it shorter")]
    LongReason(usize),
    /// It would end before it begins.
    #[error("the pause would end at {0}, which is past: choose a later time")]
    Past(Timestamp),
    /// It would be forgotten.
    #[error("the pause would last until {0}, longer than the 30 days allowed: choose an earlier time")]
    TooLong(Timestamp),
}

impl Order {
    /// Can it be given at `now`?
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, now: Timestamp) -> Result<(), Problem> {
        let Self::Pause { until, reason, .. } = self else {
            return Ok(());
        };
        if reason.trim().is_empty() {
            Err(Problem::NoReason)
        } else if reason.len() > MAX_REASON {
            Err(Problem::LongReason(reason.len()))
        } else if *until <= now {
            Err(Problem::Past(*until))
        } else if until.duration_since(now) > LONGEST_PAUSE {
            Err(Problem::TooLong(*until))
        } else {
            Ok(())
        }
    }

    /// What holds once it is given by `author` at `now`.
    pub fn apply(&self, orders: &Orders, author: &str, now: Timestamp) -> Orders {
        let mut after = orders.at(now);
        match self {
            Self::Pause {
                component,
                until,
                reason,
            } => {
                let pause = Pause {
                    until: *until,
                    reason: reason.clone(),
                    author: author.to_owned(),
                };
                match component {
                    Some(component) => drop(after.pauses.components.insert(component.clone(), pause)),
                    None => after.pauses.cluster = Some(pause),
                }
            }
            Self::Resume { component: None } => after.pauses = Pauses::default(),
            Self::Resume {
                component: Some(component),
            } => drop(after.pauses.components.remove(component)),
            Self::Reconcile => after.reconcile += 1,
            Self::Consent {
                component,
                deletions,
                until,
            } => {
                let consent = Consent {
                    deletions: *deletions,
                    until: *until,
                    author: author.to_owned(),
                };
                after.consents.insert(component.clone(), consent);
            }
        }
        after
    }
}

impl Orders {
    /// Was nothing asked for?
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Without what has ended by `now`.
    pub fn at(&self, now: Timestamp) -> Self {
        let mut orders = self.clone();
        orders.pauses.cluster.take_if(|pause| pause.until <= now);
        orders.pauses.components.retain(|_, pause| pause.until > now);
        orders.consents.retain(|_, consent| consent.until > now);
        orders
    }

    /// The consent to just these deletions of a component that holds at `now`.
    pub fn consent(&self, component: &ComponentName, deletions: &ObjectHash, now: Timestamp) -> Option<&Consent> {
        let consent = self.consents.get(component)?;
        (consent.deletions == *deletions && consent.until > now).then_some(consent)
    }

    /// The pause that holds for a component at `now`.
    pub fn pause(&self, component: &ComponentName, now: Timestamp) -> Option<&Pause> {
        let pauses = [self.pauses.cluster.as_ref(), self.pauses.components.get(component)];
        pauses
            .into_iter()
            .flatten()
            .filter(|pause| pause.until > now)
            .max_by_key(|pause| pause.until)
    }

    /// When the next pause ends, or the next consent.
    pub fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        let pauses = self.pauses.cluster.iter().chain(self.pauses.components.values());
        let consents = self.consents.values().map(|consent| consent.until);
        let ends = pauses.map(|pause| pause.until).chain(consents);
        ends.filter(|until| *until > now).min()
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
    fn pause_needs_a_reason_and_an_end_that_is_not_far() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let check = |until: Timestamp, reason: &str| {
            let order = Order::Pause {
                component: None,
                until,
                reason: reason.to_owned(),
            };
            order.check(now)
        };
        let (hour, month) = (now + SignedDuration::from_hours(1), now + LONGEST_PAUSE);
        assert_eq!(check(hour, "a migration"), Ok(()));
        assert_eq!(check(month, "a migration"), Ok(()));
        assert_eq!(check(hour, " "), Err(Problem::NoReason));
        assert_eq!(check(hour, &"x".repeat(1001)), Err(Problem::LongReason(1001)));
        assert_eq!(check(now, "a migration"), Err(Problem::Past(now)));
        let late = month + SignedDuration::from_secs(1);
        assert_eq!(check(late, "a migration"), Err(Problem::TooLong(late)));
    }

    #[test]
    fn consent_holds_for_its_objects_until_its_end() {
        let shop: ComponentName = "shop".parse().unwrap();
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let (deletions, others) = (ObjectHash::of(b"a"), ObjectHash::of(b"b"));
        let until = now + CONSENT_HOLDS;
        let order = Order::Consent {
            component: shop.clone(),
            deletions,
            until,
        };
        let orders = order.apply(&Orders::default(), "ann", now);
        assert!(orders.consent(&shop, &deletions, now).is_some());
        assert_eq!(orders.consent(&shop, &others, now), None);
        assert_eq!(orders.consent(&shop, &deletions, until), None);
        assert_eq!(orders.next_end(now), Some(until));
        assert!(orders.at(until).is_empty());
    }

    #[test]
    fn bytes_of_orders_and_of_an_order_are_pinned() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let order = Order::Pause {
            component: Some("shop".parse().unwrap()),
            until: now + SignedDuration::from_hours(2),
            reason: "a migration".to_owned(),
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let expected = r#"{"component":"shop","order":"pause","reason":"a migration","until":"2026-01-01T02:00:00Z"}"#;
        assert_eq!(text(canonical::document(&order)), expected);
        assert_eq!(serde_json::from_str::<Order>(expected).unwrap(), order);
        let orders = Order::Reconcile.apply(&order.apply(&Orders::default(), "ann", now), "bob", now);
        let expected = concat!(
            r#"{"pauses":{"components":{"shop":{"author":"ann","reason":"a migration","#,
            r#""until":"2026-01-01T02:00:00Z"}}},"reconcile":1}"#
        );
        assert_eq!(text(canonical::document(&orders)), expected);
        assert_eq!(serde_json::from_str::<Orders>(expected).unwrap(), orders);
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
