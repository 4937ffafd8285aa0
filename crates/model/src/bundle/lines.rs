//! A bundle's bytes looked at line by line: what reads many versions of a component need not decode each of them.
//!
//! For bytes that were checked when they came into the store, and whose hash was compared. Called by the history of
//! objects and by the server's log; nothing that is applied to a cluster is read this way.

use std::collections::{BTreeMap, HashSet};

use memchr::memmem;
use serde::{Deserialize, Serialize};

use super::{Header, decode_header};
use crate::manifest::{Manifest, ManifestId, split_api_version};

/// How many objects differ between two versions of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Objects that only the second has.
    pub added: u32,
    /// Objects that both have, with other content.
    pub changed: u32,
    /// Objects that only the first has.
    pub removed: u32,
}

impl Tally {
    /// All of them.
    pub fn total(self) -> u32 {
        self.added + self.changed + self.removed
    }
}

/// The header, if the bytes begin with one.
pub fn header(bytes: &[u8]) -> Option<Header<'static>> {
    decode_header(bytes.split_inclusive(|byte| *byte == b'\n').next()?).ok()
}

/// How many manifests there are.
pub fn count(bytes: &[u8]) -> usize {
    manifests(bytes).count()
}

/// The ids of the manifests, in order.
pub fn ids(bytes: &[u8]) -> Vec<ManifestId> {
    manifests(bytes).filter_map(id).collect()
}

/// The manifest with this id.
pub fn find(bytes: &[u8], wanted: &ManifestId) -> Option<Manifest> {
    // Reading every line to compare its id costs ten times as much as looking for the name first.
    let name = serde_json::to_string(&wanted.name).ok()?;
    let name = memmem::Finder::new(&name);
    let line = manifests(bytes)
        .filter(|line| name.find(line).is_some())
        .find(|line| id(line).as_ref() == Some(wanted))?;
    Manifest::from_canonical(line).ok()
}

/// How many objects differ. Empty bytes stand for a version that is not there.
pub fn tally(before: &[u8], after: &[u8]) -> Tally {
    let old: HashSet<_> = manifests(before).collect();
    let new: HashSet<_> = manifests(after).collect();
    let mut sides: BTreeMap<ManifestId, (bool, bool)> = BTreeMap::new();
    for id in old.difference(&new).filter_map(|line| id(line)) {
        sides.entry(id).or_default().0 = true;
    }
    for id in new.difference(&old).filter_map(|line| id(line)) {
        sides.entry(id).or_default().1 = true;
    }
    let mut tally = Tally::default();
    for side in sides.values() {
        match side {
            (true, true) => tally.changed += 1,
            (true, false) => tally.removed += 1,
            (false, _) => tally.added += 1,
        }
    }
    tally
}

fn manifests(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(|byte| *byte == b'\n')
        .skip(1)
        .filter(|line| !line.is_empty())
}

fn id(line: &[u8]) -> Option<ManifestId> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Object {
        api_version: String,
        kind: String,
        metadata: Metadata,
    }
    #[derive(Deserialize)]
    struct Metadata {
        name: String,
        namespace: Option<String>,
    }
    let Object {
        api_version,
        kind,
        metadata: Metadata { name, namespace },
    } = serde_json::from_slice(line).ok()?;
    Some(ManifestId {
        group: split_api_version(&api_version).0.to_owned(),
        kind,
        namespace: namespace.filter(|namespace| !namespace.is_empty()),
        name,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bundle::Bundle;

    fn bundle(objects: &[(&str, &str)]) -> Vec<u8> {
        let manifests = objects.iter().map(|(name, text)| {
            let object =
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"t": text}});
            Manifest::new(object, "default").unwrap()
        });
        Bundle::new("shop".parse().unwrap(), manifests).unwrap().encode()
    }

    #[test]
    fn lines_say_what_decoding_says() {
        let bytes = bundle(&[("a", "1"), ("b", "a")]);
        let decoded = Bundle::decode(&bytes).unwrap();
        assert_eq!(
            ids(&bytes),
            decoded.manifests().map(|m| m.id().clone()).collect::<Vec<_>>()
        );
        for manifest in decoded.manifests() {
            assert_eq!(find(&bytes, manifest.id()).as_ref(), Some(manifest));
        }
        assert_eq!(count(&bytes), 2);
        assert_eq!(*header(&bytes).unwrap().component, decoded.component);
        let absent = ManifestId {
            name: "c".to_owned(),
            ..ids(&bytes)[0].clone()
        };
        assert_eq!(find(&bytes, &absent), None);
    }

    #[test]
    fn each_object_that_differs_counts_once() {
        let (before, after) = (
            bundle(&[("a", "1"), ("b", "1"), ("c", "1")]),
            bundle(&[("b", "2"), ("c", "1"), ("d", "1"), ("e", "1")]),
        );
        let expected = Tally {
            added: 2,
            changed: 1,
            removed: 1,
        };
        assert_eq!(tally(&before, &after), expected);
        assert_eq!(tally(&after, &after), Tally::default());
        assert_eq!(tally(b"", &before).added, 3);
    }
}
