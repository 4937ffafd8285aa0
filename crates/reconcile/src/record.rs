//! What was applied, kept in the ApplySet's parent so that a restarted agent writes nothing where nothing changed; and
//! what nothing else knows once the component is gone from the desired state.
//!
//! Pure: bytes to digests per object and back. JSON Lines in zstd: a header with the [`Notes`], then one line per object
//! with its id and its two digests; about 45 bytes an object once compressed. The digests are an optimisation and never
//! the truth: a record that is missing, broken or of another format only means that everything is applied again, which
//! changes nothing. Where not everything fits the digests are left out first, and then what a person was asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read as _,
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use driftless_model::{
    bundle::upkeep::{Prune, ServiceAccount},
    manifest::ManifestId,
};
use serde::{Deserialize, Serialize};

use crate::{digest::Digest, hooks::Run, plan::Applied};

/// The format written, part of which is how digests are made: change it with them.
const FORMAT: u32 = 1;
/// The largest record stored: a ConfigMap takes 1 MiB with everything in it, base64 included.
const MAX_BYTES: usize = 670_000;
/// The largest record read: what [`MAX_BYTES`] of honest content can unfold to.
const MAX_UNPACKED: u64 = 64 * 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    #[serde(flatten)]
    notes: Notes,
}

/// What is known of a component besides its objects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Notes {
    /// How far the hooks are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) run: Option<Run>,
    /// As whom its objects are written: a component that was removed must not be deleted with other rights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<ServiceAccount>,
    /// How its objects are deleted.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) prune: Prune,
    /// Kinds, by group and name, of its objects that depend on others: those are not deleted before it is known which
    /// objects of these kinds there are.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) dependents: BTreeSet<(String, String)>,
    /// To which deletions a person's consent was asked for: some may be done by now, and consent names all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) asked: Vec<ManifestId>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    id: ManifestId,
    /// Digest of the manifest, then of the owned fields.
    digests: String,
}

/// Packs what was applied, as much as fits into the parent.
pub(crate) fn pack<'a>(applied: impl IntoIterator<Item = (&'a ManifestId, Applied)>, notes: Notes) -> Vec<u8> {
    let mut lines = Vec::new();
    let header = Header { format: FORMAT, notes };
    push(&mut lines, &header);
    let mut has_digests = false;
    for (id, applied) in applied {
        let Some(owned) = applied.owned else { continue };
        let digests = STANDARD_NO_PAD.encode([*applied.manifest.as_bytes(), *owned.as_bytes()].concat());
        has_digests = true;
        push(
            &mut lines,
            &Line {
                id: id.clone(),
                digests,
            },
        );
    }
    let packed = zstd::bulk::compress(&lines, 1).expect("zstd compresses any bytes into memory");
    let notes = header.notes;
    match packed.len() {
        0..=MAX_BYTES => packed,
        // The notes are the truth: nothing else knows of them.
        _ if has_digests && notes != Notes::default() => pack([], notes),
        _ if !notes.asked.is_empty() => pack(
            [],
            Notes {
                asked: Vec::new(),
                ..notes
            },
        ),
        _ => Vec::new(),
    }
}

fn push<T: Serialize>(lines: &mut Vec<u8>, line: &T) {
    serde_json::to_writer(&mut *lines, line).expect("a line has text keys and goes into memory");
    lines.push(b'\n');
}

/// Reads back what [`pack`] wrote; empty for whatever it does not understand.
pub(crate) fn unpack(packed: &[u8]) -> (BTreeMap<ManifestId, Applied>, Notes) {
    let mut lines = Vec::new();
    let Ok(decoder) = zstd::stream::read::Decoder::new(packed) else {
        return Default::default();
    };
    if decoder.take(MAX_UNPACKED).read_to_end(&mut lines).is_err() {
        return Default::default();
    }
    let mut lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let notes = match lines.next().map(serde_json::from_slice::<Header>) {
        Some(Ok(header)) if header.format == FORMAT => header.notes,
        _ => return Default::default(),
    };
    let applied = lines
        .filter_map(|line| {
            let line: Line = serde_json::from_slice(line).ok()?;
            let digests: [u8; 32] = STANDARD_NO_PAD.decode(line.digests).ok()?.try_into().ok()?;
            let (manifest, owned) = digests.split_at(16);
            let digest = |half: &[u8]| <[u8; 16]>::try_from(half).ok().map(Digest::from);
            Some((
                line.id,
                Applied {
                    manifest: digest(manifest)?,
                    owned: digest(owned),
                },
            ))
        })
        .collect();
    (applied, notes)
}

#[cfg(test)]
mod tests {
    use driftless_model::hash::ObjectHash;
    use proptest::prelude::*;
    use rand::{RngCore as _, SeedableRng as _, rngs::SmallRng};

    use super::*;

    fn applied(rng: &mut SmallRng) -> Applied {
        let mut digest = || {
            let mut bytes = [0; 16];
            rng.fill_bytes(&mut bytes);
            Digest::from(bytes)
        };
        Applied {
            manifest: digest(),
            owned: Some(digest()),
        }
    }

    fn records(count: usize) -> BTreeMap<ManifestId, Applied> {
        let mut rng = SmallRng::seed_from_u64(1);
        let ids = (0..count).map(|number| ManifestId {
            group: if number % 2 == 0 {
                String::new()
            } else {
                "apps".to_owned()
            },
            kind: "Deployment".to_owned(),
            namespace: (number % 3 > 0).then(|| format!("namespace-{}", number % 50)),
            name: format!("some-longer-name-of-an-object-{number}"),
        });
        ids.map(|id| (id, applied(&mut rng))).collect()
    }

    fn packed(records: &BTreeMap<ManifestId, Applied>) -> Vec<u8> {
        pack(records.iter().map(|(id, applied)| (id, *applied)), Notes::default())
    }

    #[test]
    fn ten_thousand_objects_fit_into_the_parent() {
        let records = records(10_000);
        let packed = packed(&records);
        assert!((1..600_000).contains(&packed.len()), "{}", packed.len());
        assert_eq!(unpack(&packed), (records, Notes::default()));
    }

    #[test]
    fn record_that_would_not_fit_is_left_out() {
        assert!(packed(&records(40_000)).is_empty());
    }

    #[test]
    fn notes_are_recorded_even_where_the_objects_do_not_fit() {
        let notes = notes();
        let records = records(40_000);
        let packed = pack(records.iter().map(|(id, applied)| (id, *applied)), notes.clone());
        assert_eq!(unpack(&packed), (BTreeMap::new(), notes));
    }

    fn notes() -> Notes {
        Notes {
            run: Some(Run::new(3, ObjectHash::of(b"1"), true)),
            account: Some("shop/deployer".parse().unwrap()),
            prune: Prune {
                definitions: true,
                ..Prune::default()
            },
            dependents: [("apps".to_owned(), "Deployment".to_owned())].into(),
            asked: records(3).into_keys().collect(),
        }
    }

    #[test]
    fn account_is_recorded_however_much_a_person_was_asked() {
        let mut rng = SmallRng::seed_from_u64(1);
        let asked = (0..40_000).map(|_| ManifestId {
            name: format!("{:032x}{:032x}", rng.next_u64(), rng.next_u64()),
            ..records(1).into_keys().next().unwrap()
        });
        let notes = Notes {
            asked: asked.collect(),
            ..notes()
        };
        let (_, unpacked) = unpack(&pack([], notes.clone()));
        assert_eq!(
            unpacked,
            Notes {
                asked: Vec::new(),
                ..notes
            }
        );
    }

    #[test]
    fn record_of_an_older_agent_has_no_notes() {
        let older = zstd::bulk::compress(b"{\"format\":1}\n", 1).unwrap();
        assert_eq!(unpack(&older), Default::default());
    }

    #[test]
    fn object_whose_owned_fields_are_not_known_is_left_out() {
        let mut records = records(2);
        records.first_entry().unwrap().get_mut().owned = None;
        assert_eq!(unpack(&packed(&records)).0.len(), 1);
    }

    #[test]
    fn another_format_reads_as_nothing() {
        let newer = zstd::bulk::compress(b"{\"format\":2}\n{}", 1).unwrap();
        assert!(unpack(&newer).0.is_empty());
    }

    proptest! {
        #[test]
        fn broken_records_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..100usize) {
            unpack(&bytes);
            let mut broken = packed(&records(5));
            let at = at % broken.len();
            broken[at] ^= 1;
            unpack(&broken);
        }
    }
}
