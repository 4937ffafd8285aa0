//! Kubernetes Events on what was changed: what is written into them, and how many there may be.
//!
//! Pure. An object has at most one Event for one reason in [`QUIET`]; what is left out is counted into the next. All
//! of them together are bounded by a token bucket, so that a fleet-wide mistake does not become a flood of Events.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use driftless_model::manifest::ManifestId;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

/// One object is told of for one reason that often.
const QUIET: Duration = Duration::from_secs(600);
/// So many may be told at once, and then one in [`REFILL`].
const BURST: u32 = 30;
const REFILL: Duration = Duration::from_secs(2);
/// The API server takes no longer notes.
const MAX_NOTE: usize = 1024;
/// Names of Events are names of their objects with something behind.
const MAX_NAME: usize = 200;

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Happening {
    /// About which object.
    pub(crate) id: Arc<ManifestId>,
    /// In which version it is served.
    pub(crate) version: String,
    /// Its UID, if known: `kubectl describe` asks by it.
    pub(crate) uid: Option<Uid>,
    /// What was done, as a verb: `Repair`.
    pub(crate) action: &'static str,
    /// What happened: `DriftRepaired`.
    pub(crate) reason: &'static str,
    /// The same for a person.
    pub(crate) note: String,
    /// Should somebody look at it?
    pub(crate) warns: bool,
}

/// A UID in 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Uid([u8; 16]);

impl Uid {
    /// Reads one; UIDs of another form are not kept.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_plain = text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        });
        let digits: String = text.split('-').collect();
        let number = u128::from_str_radix(&digits, 16).ok()?;
        (is_plain && text.len() == 36).then(|| Self(number.to_be_bytes()))
    }

    fn text(self) -> String {
        let digits = format!("{:032x}", u128::from_be_bytes(self.0));
        let parts = [
            &digits[..8],
            &digits[8..12],
            &digits[12..16],
            &digits[16..20],
            &digits[20..],
        ];
        parts.join("-")
    }
}

impl Happening {
    /// Where it is created.
    pub(crate) fn path(&self) -> String {
        format!("/apis/events.k8s.io/v1/namespaces/{}/events", self.namespace())
    }

    /// Events about objects without a namespace are in `default`.
    fn namespace(&self) -> &str {
        self.id.namespace.as_deref().unwrap_or("default")
    }

    /// The Event. `unique` tells its name from others'; `missed` is what was left out before it.
    pub(crate) fn body(&self, controller: &str, now: Timestamp, unique: u64, missed: u32) -> Value {
        let api_version = if self.id.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.id.group, self.version)
        };
        let mut regarding = json!({"apiVersion": api_version, "kind": self.id.kind, "name": self.id.name});
        if let Some(namespace) = &self.id.namespace {
            regarding["namespace"] = Value::from(namespace.as_str());
        }
        if let Some(uid) = self.uid {
            regarding["uid"] = Value::from(uid.text());
        }
        let mut note = self.note.clone();
        if missed > 0 {
            note = format!("{note} (and {missed} more times since it was told last)");
        }
        while note.len() > MAX_NOTE {
            note.pop();
        }
        json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": format!("{}.{unique:016x}", plain(&self.id.name)), "namespace": self.namespace()},
            "eventTime": format!("{now:.6}"),
            "reportingController": "driftless.dev/agent",
            "reportingInstance": controller,
            "action": self.action,
            "reason": self.reason,
            "note": note,
            "type": if self.warns { "Warning" } else { "Normal" },
            "regarding": regarding,
        })
    }
}

/// A name as a part of an Event's: RBAC allows more in names than others do.
fn plain(name: &str) -> String {
    let plain: String = name
        .chars()
        .take(MAX_NAME)
        .map(|char| {
            if char.is_ascii_lowercase() || char.is_ascii_digit() || char == '-' {
                char
            } else {
                '-'
            }
        })
        .collect();
    let plain = plain.trim_matches('-');
    if plain.is_empty() {
        "object".to_owned()
    } else {
        plain.to_owned()
    }
}

/// Decides which Events there are.
#[derive(Debug)]
pub(crate) struct Ration {
    told: BTreeMap<(Arc<ManifestId>, &'static str), (Instant, u32)>,
    tokens: u32,
    filled: Option<Instant>,
    /// How many were too many for the bucket.
    pub(crate) dropped: u64,
}

impl Default for Ration {
    fn default() -> Self {
        Self {
            told: BTreeMap::new(),
            tokens: BURST,
            filled: None,
            dropped: 0,
        }
    }
}

impl Ration {
    /// May this be told now? Then says how often it was left out before.
    pub(crate) fn admit(&mut self, id: &Arc<ManifestId>, reason: &'static str, now: Instant) -> Option<u32> {
        // What was left out is told with the next, if that comes soon.
        self.told.retain(|_, (at, _)| now.duration_since(*at) < QUIET * 2);
        if let Some((at, missed)) = self.told.get_mut(&(id.clone(), reason))
            && now.duration_since(*at) < QUIET
        {
            *missed += 1;
            return None;
        }
        let filled = *self.filled.get_or_insert(now);
        let more = u32::try_from(now.duration_since(filled).as_nanos() / REFILL.as_nanos()).unwrap_or(u32::MAX);
        self.tokens = self.tokens.saturating_add(more).min(BURST);
        self.filled = Some(if self.tokens == BURST {
            now
        } else {
            filled + REFILL * more
        });
        let (_, missed) = self.told.get(&(id.clone(), reason)).copied().unwrap_or((now, 0));
        if self.tokens == 0 {
            self.dropped += 1;
            return None;
        }
        self.tokens -= 1;
        self.told.insert((id.clone(), reason), (now, 0));
        Some(missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str, namespace: Option<&str>) -> Arc<ManifestId> {
        Arc::new(ManifestId {
            group: "apps".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        })
    }

    #[test]
    fn uid_is_written_as_it_was_read() {
        let text = "0a1b2c3d-0000-4444-8888-0123456789ab";
        assert_eq!(Uid::parse(text).unwrap().text(), text);
        for other in [
            "",
            "x",
            "0A1B2C3D-0000-4444-8888-0123456789AB",
            "0a1b2c3d00004444-8888-0123456789ab",
        ] {
            assert_eq!(Uid::parse(other), None, "{other}");
        }
    }

    #[test]
    fn event_is_one_that_the_api_server_takes() {
        let happening = Happening {
            id: id("system:a", None),
            version: "v1".to_owned(),
            uid: None,
            action: "Repair",
            reason: "DriftRepaired",
            note: "é".repeat(1000),
            warns: false,
        };
        let body = happening.body("driftless", Timestamp::UNIX_EPOCH, 7, 0);
        assert_eq!(happening.path(), "/apis/events.k8s.io/v1/namespaces/default/events");
        assert_eq!(
            body["metadata"],
            json!({"name": "system-a.0000000000000007", "namespace": "default"})
        );
        assert_eq!(body["eventTime"], "1970-01-01T00:00:00.000000Z");
        assert_eq!(
            body["regarding"],
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "system:a"})
        );
        assert_eq!(body["note"].as_str().unwrap().len(), MAX_NOTE);
    }

    #[test]
    fn one_object_is_told_once_in_ten_minutes_with_what_was_left_out() {
        let (mut ration, start, web) = (Ration::default(), Instant::now(), id("web", Some("shop")));
        assert_eq!(ration.admit(&web, "A", start), Some(0));
        assert_eq!(ration.admit(&web, "B", start), Some(0));
        for second in 1..=5 {
            assert_eq!(ration.admit(&web, "A", start + Duration::from_secs(second)), None);
        }
        assert_eq!(ration.admit(&web, "A", start + QUIET), Some(5));
        assert_eq!(ration.admit(&web, "A", start + QUIET * 2), Some(0));
    }

    #[test]
    fn flood_is_bounded_and_forgotten() {
        let (mut ration, start) = (Ration::default(), Instant::now());
        let flood = |ration: &mut Ration, now| {
            let told = (0..1000).filter(|number| ration.admit(&id(&format!("n{number}"), None), "A", now).is_some());
            told.count()
        };
        assert_eq!(flood(&mut ration, start), BURST as usize);
        assert_eq!(ration.dropped, 970);
        assert_eq!(flood(&mut ration, start), 0);
        assert_eq!(flood(&mut ration, start + REFILL * 4), 4);
        ration.admit(&id("web", None), "A", start + QUIET * 3);
        assert_eq!(ration.told.len(), 1);
    }
}
