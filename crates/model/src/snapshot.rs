//! The whole desired state of a channel: which bundle each component is at, and where that came from.
//!
//! Snapshots form a chain by their `parent`; that chain is a channel's history as `driftless log` shows it.

use std::collections::BTreeMap;

use imbl::{OrdMap, ordmap::DiffItem};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{canonical, hash::ObjectHash, name::ComponentName};

mod after;

/// The snapshot format written by this version.
pub const FORMAT: u32 = 1;

/// Which bundle each component is at. A changed copy shares with the first what did not change.
pub type Components = OrdMap<ComponentName, ObjectHash>;

/// An immutable map component → bundle: a channel's desired state after one push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// See [`FORMAT`].
    pub format: u32,
    /// The desired state.
    pub components: Components,
    /// The snapshot this one replaced; `None` for a channel's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<ObjectHash>,
    /// When the push was accepted, by the server's clock.
    pub time: Timestamp,
    /// Who pushed and from what.
    #[serde(flatten)]
    pub provenance: Provenance,
}

/// Who made a change, why, and from what source.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Provenance {
    /// The identity that the server authenticated.
    pub author: String,
    /// What the author says of the change.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Where the manifests came from, as told by the tool that pushed: `host`, `path` and the like.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub source: BTreeMap<String, String>,
}

/// Bytes that are not a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON of the right form.
    #[error("not a snapshot: {0}")]
    Form(String),
    /// Written by a newer Driftless.
    #[error("snapshot format {0} is newer than this program knows ({FORMAT}): upgrade it")]
    NewerFormat(u64),
}

/// A snapshot as bytes, and their hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    hash: ObjectHash,
    bytes: Vec<u8>,
}

impl Encoded {
    /// The snapshot's name.
    pub fn hash(&self) -> ObjectHash {
        self.hash
    }

    /// The canonical bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The canonical bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Encodes a snapshot from its parts: every push makes one of its whole channel, and should not copy that first.
pub(crate) fn encode(
    components: &Components,
    parent: Option<ObjectHash>,
    time: Timestamp,
    provenance: &Provenance,
) -> Encoded {
    let Provenance {
        author,
        message,
        source,
    } = provenance;
    let mut bytes = Vec::with_capacity(512 + components.len() * 96);
    let mut field = |name: &str, write: &dyn Fn(&mut Vec<u8>)| {
        bytes.push(if bytes.is_empty() { b'{' } else { b',' });
        canonical::write_string(&mut bytes, name);
        bytes.push(b':');
        write(&mut bytes);
    };
    field("author", &|out| canonical::write_string(out, author));
    field("components", &|out| write_components(out, components));
    field("format", &|out| out.extend_from_slice(FORMAT.to_string().as_bytes()));
    if !message.is_empty() {
        field("message", &|out| canonical::write_string(out, message));
    }
    if let Some(parent) = parent {
        field("parent", &|out| canonical::write_string(out, &parent.to_string()));
    }
    if !source.is_empty() {
        field("source", &|out| out.extend_from_slice(&canonical::document(source)));
    }
    field("time", &|out| canonical::write_string(out, &time.to_string()));
    bytes.push(b'}');
    Encoded {
        hash: ObjectHash::of(&bytes),
        bytes,
    }
}

/// Names are DNS labels: nothing in them is escaped, and their order is that of canonical keys.
fn write_components(out: &mut Vec<u8>, components: &Components) {
    out.push(b'{');
    for (place, (name, bundle)) in components.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b"\":\"");
        let begin = out.len();
        out.resize(begin + 64, 0);
        hex::encode_to_slice(bundle.as_bytes(), &mut out[begin..]).expect("32 bytes are 64 digits");
        out.push(b'"');
    }
    out.push(b'}');
}

impl Snapshot {
    /// The canonical bytes, whose sha256 names the snapshot.
    pub fn encode(&self) -> Vec<u8> {
        encode(&self.components, self.parent, self.time, &self.provenance).bytes
    }

    /// Reads back what [`Snapshot::encode`] wrote.
    ///
    /// # Errors
    /// When the bytes are not the canonical form of a snapshot that this version knows.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        // What encodes to these very bytes is canonical, whatever a reader may let pass.
        if let Ok(snapshot) = serde_json::from_slice::<Self>(bytes)
            && snapshot.format == FORMAT
            && snapshot.encode() == bytes
        {
            return Ok(snapshot);
        }
        Err(Self::fault(bytes))
    }

    /// What is wrong with bytes that are no snapshot.
    fn fault(bytes: &[u8]) -> Error {
        let form = |error: &dyn std::fmt::Display| Error::Form(error.to_string());
        let value = match canonical::from_slice_strict(bytes) {
            Ok(value) => value,
            Err(error) => return form(&error),
        };
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format > u64::from(FORMAT) => return Error::NewerFormat(format),
            _ => {}
        }
        match serde_json::from_value::<Self>(value) {
            Ok(_) => form(&"it is not in canonical form"),
            Err(error) => form(&error),
        }
    }

    /// The hash that names this snapshot.
    pub fn hash(&self) -> ObjectHash {
        ObjectHash::of(&self.encode())
    }
}

/// How one component differs between two snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComponentChange {
    /// The bundle before; `None` when the component is new.
    pub before: Option<ObjectHash>,
    /// The bundle after; `None` when the component was removed.
    pub after: Option<ObjectHash>,
}

/// The components at which two snapshots differ. What one took over from the other is not looked at.
pub fn changes(before: &Components, after: &Components) -> BTreeMap<ComponentName, ComponentChange> {
    let change = |item| {
        let (name, before, after) = match item {
            DiffItem::Add(name, after) => (name, None, Some(*after)),
            DiffItem::Update { old, new } => (new.0, Some(*old.1), Some(*new.1)),
            DiffItem::Remove(name, before) => (name, Some(*before), None),
        };
        (ComponentName::clone(name), ComponentChange { before, after })
    };
    before.diff(after).map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        Snapshot {
            format: FORMAT,
            components: Components::unit("shop".parse().unwrap(), ObjectHash::of(b"bundle")),
            parent: None,
            time: "2026-01-02T03:04:05Z".parse().unwrap(),
            provenance: Provenance {
                author: "admin".to_owned(),
                message: "first".to_owned(),
                source: BTreeMap::new(),
            },
        }
    }

    #[test]
    fn bytes_are_pinned() {
        let expected = format!(
            r#"{{"author":"admin","components":{{"shop":"{}"}},"format":1,"message":"first","time":"2026-01-02T03:04:05Z"}}"#,
            ObjectHash::of(b"bundle")
        );
        assert_eq!(String::from_utf8(snapshot().encode()).unwrap(), expected);
    }

    #[test]
    fn bytes_are_the_canonical_form() {
        let mut snapshot = snapshot();
        assert_eq!(snapshot.encode(), canonical::document(&snapshot));
        snapshot.components.insert("a-b".parse().unwrap(), ObjectHash::of(b"x"));
        snapshot.components.insert("a0".parse().unwrap(), ObjectHash::of(b"y"));
        snapshot.parent = Some(ObjectHash::of(b"parent"));
        snapshot.time = "2026-01-02T03:04:05.000600Z".parse().unwrap();
        snapshot.provenance.message = "say \"no\"\n\u{1}\u{20ac}".to_owned();
        for key in ["host", "\u{ffff}", "\u{1f600}", ""] {
            snapshot.provenance.source.insert(key.to_owned(), "v\\".to_owned());
        }
        assert_eq!(snapshot.encode(), canonical::document(&snapshot));
        snapshot.components.clear();
        assert_eq!(snapshot.encode(), canonical::document(&snapshot));
    }

    #[test]
    fn what_was_encoded_reads_back_and_nothing_else_does() {
        let bytes = snapshot().encode();
        assert_eq!(Snapshot::decode(&bytes).unwrap(), snapshot());
        let mut spaced = bytes.clone();
        spaced.insert(1, b' ');
        assert!(Snapshot::decode(&spaced).is_err());
        let newer = String::from_utf8(bytes)
            .unwrap()
            .replace("\"format\":1", "\"format\":2");
        assert_eq!(Snapshot::decode(newer.as_bytes()), Err(Error::NewerFormat(2)));
    }

    #[test]
    fn changes_name_added_removed_and_moved_components() {
        let at = |entries: &[(&str, &[u8])]| -> Components {
            entries
                .iter()
                .map(|(name, bytes)| (name.parse().unwrap(), ObjectHash::of(bytes)))
                .collect()
        };
        let found = changes(
            &at(&[("a", b"1"), ("b", b"1"), ("c", b"1")]),
            &at(&[("b", b"2"), ("c", b"1"), ("d", b"1")]),
        );
        assert_eq!(
            found.keys().map(ComponentName::as_str).collect::<Vec<_>>(),
            ["a", "b", "d"]
        );
        assert_eq!(found[&"a".parse().unwrap()].after, None);
        assert_eq!(found[&"d".parse().unwrap()].before, None);
    }
}
