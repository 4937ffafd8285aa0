//! What is kept of a live object: a few hundred bytes instead of the object.
//!
//! Called with every object that a response or a watch brings; the object is dropped afterwards.

use std::sync::Arc;

use driftless_model::{
    manifest::ManifestId,
    marks::{self, Changing, Leaving},
    name::ComponentName,
    order,
    status::Health,
};
use jiff::Timestamp;
use serde_json::Value;

use crate::{
    Clock, applyset,
    change::Expected,
    digest::Digest,
    events::Uid,
    health::{self, Outcome},
    hooks, owned,
    rules::Rules,
};

/// What one look at a live object told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Which object.
    pub(crate) id: ManifestId,
    /// In which version it was read.
    pub(crate) version: String,
    /// Its resource version; 0 where it is no number.
    pub(crate) revision: u64,
    /// Its UID.
    pub(crate) uid: Option<Uid>,
    /// What of it is ours.
    pub(crate) owned: Option<Digest>,
    /// Of which component it is a member.
    pub(crate) component: Option<ComponentName>,
    /// Does it ask to be kept when it leaves the desired state?
    pub(crate) kept: bool,
    /// Does it ask for a person's consent before it is deleted?
    pub(crate) asks: bool,
    /// What may be done to it while it is desired.
    pub(crate) changing: Changing,
    /// Is it being deleted?
    pub(crate) deleting: bool,
    /// How it does.
    pub(crate) health: Health,
    /// Is it done, as far as what waits for it is concerned?
    pub(crate) outcome: Outcome,
    /// Its wave.
    pub(crate) wave: i32,
    /// What it depends on.
    pub(crate) after: Option<Box<[ManifestId]>>,
    /// For which run it was made, if it is a hook.
    pub(crate) run: Option<Box<str>>,
    /// Why, unless it is current.
    pub(crate) message: String,
    /// All of it, where what is ours is not what it should be: to tell who changed what.
    pub(crate) unexpected: Option<Box<Value>>,
}

/// Reads live objects.
#[derive(Debug, Clone)]
pub(crate) struct Reader {
    /// Our field manager.
    pub(crate) manager: String,
    /// Where the parents of our ApplySets are.
    pub(crate) home: String,
    pub(crate) clock: Clock,
    /// How components tell the health of some kinds.
    pub(crate) rules: Arc<Rules>,
}

impl Reader {
    /// Reads an object of the given kind; `None` if it has no name.
    pub(crate) fn read(&self, object: &Value, group: &str, kind: &str) -> Option<Seen> {
        let metadata = object.get("metadata")?;
        let text = |field: &str| metadata.get(field).and_then(Value::as_str);
        let now: Timestamp = (self.clock)();
        let component = applyset::member_of(object, &self.home);
        let rule = component
            .as_ref()
            .and_then(|component| self.rules.find(component, group, kind));
        let assessment = health::assess(object, rule.as_deref(), now);
        let leaving = marks::leaving(object);
        let api_version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
        Some(Seen {
            id: ManifestId {
                group: group.to_owned(),
                kind: kind.to_owned(),
                namespace: text("namespace").filter(|it| !it.is_empty()).map(str::to_owned),
                name: text("name")?.to_owned(),
            },
            version: api_version.rsplit('/').next().unwrap_or_default().to_owned(),
            revision: revision(text("resourceVersion")),
            uid: text("uid").and_then(Uid::parse),
            owned: owned::digest(object, &self.manager),
            component,
            kept: leaving == Leaving::Stays,
            asks: leaving == Leaving::Asks,
            changing: marks::changing(object),
            deleting: text("deletionTimestamp").is_some(),
            health: assessment.health,
            outcome: health::outcome(object, assessment.health),
            wave: order::wave(object).unwrap_or_default(),
            after: order::depends_on(object)
                .ok()
                .filter(|on| !on.is_empty())
                .map(Into::into),
            run: run(metadata),
            message: assessment.message,
            unexpected: None,
        })
    }
}

impl Seen {
    /// Keeps the object it was read from if that is not what was expected.
    pub(crate) fn keep_unexpected(mut self, object: Value, expected: &Expected) -> Self {
        if expected.is_missed(&self.id, self.owned) {
            self.unexpected = Some(Box::new(object));
        }
        self
    }
}

fn run(metadata: &Value) -> Option<Box<str>> {
    Some(metadata.get("annotations")?.get(hooks::RUN)?.as_str()?.into())
}

/// A resource version as a number, which is what every API server of today gives; 0 for anything else.
pub(crate) fn revision(text: Option<&str>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// May what was seen at `new` replace what was seen at `old`? Revisions that are no numbers always may.
pub(crate) fn is_news(old: u64, new: u64) -> bool {
    old == 0 || new == 0 || new >= old
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn object_is_read_once_and_for_all() {
        let reader = Reader {
            manager: "driftless".to_owned(),
            home: "driftless-system".to_owned(),
            clock: || Timestamp::UNIX_EPOCH,
            rules: Arc::default(),
        };
        let shop: ComponentName = "shop".parse().unwrap();
        let object = json!({"apiVersion": "example.com/v1beta1", "kind": "Widget", "metadata": {
            "name": "w", "namespace": "n", "resourceVersion": "17", "annotations": {"driftless.dev/prune": "disabled"},
            "labels": {"driftless.dev/component": "shop", "applyset.kubernetes.io/part-of": applyset::id(&shop, "driftless-system")},
        }});
        let seen = reader.read(&object, "example.com", "Widget").unwrap();
        assert_eq!(seen.id.to_string(), "Widget.example.com n/w");
        assert_eq!(
            (seen.version.as_str(), seen.revision, seen.owned),
            ("v1beta1", 17, None)
        );
        assert_eq!((seen.component, seen.kept, seen.deleting), (Some(shop), true, false));
        assert_eq!(seen.health, Health::Current);
        assert!(reader.read(&json!({"metadata": {}}), "", "X").is_none());
    }

    #[test]
    fn older_revisions_are_no_news() {
        assert!(is_news(5, 5));
        assert!(is_news(5, 6));
        assert!(!is_news(5, 4));
        assert!(is_news(5, revision(Some("opaque"))));
    }
}
