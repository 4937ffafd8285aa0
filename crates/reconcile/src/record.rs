//! What was applied, kept in the ApplySet's parent so that a restarted agent writes nothing where nothing changed.
//!
//! Pure: bytes to digests per object and back. JSON Lines in zstd: a header, then one line per object with its id and
//! its two digests; about 45 bytes an object once compressed. It is an optimisation and never the truth: a record that is missing,
//! broken or of another format only means that everything is applied again, which changes nothing.

use std::{collections::BTreeMap, io::Read as _};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use driftless_model::manifest::ManifestId;
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
    /// How far the hooks are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<Run>,
}

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    id: ManifestId,
    /// Digest of the manifest, then of the owned fields.
    digests: String,
}

/// Packs what was applied. Empty when it would not fit into the parent.
pub(crate) fn pack<'a>(applied: impl IntoIterator<Item = (&'a ManifestId, Applied)>, run: Option<Run>) -> Vec<u8> {
    let mut lines = Vec::new();
    let header = Header { format: FORMAT, run };
    push(&mut lines, &header);
    for (id, applied) in applied {
        let Some(owned) = applied.owned else { continue };
        let digests = STANDARD_NO_PAD.encode([*applied.manifest.as_bytes(), *owned.as_bytes()].concat());
        push(
            &mut lines,
            &Line {
                id: id.clone(),
                digests,
            },
        );
    }
    let packed = zstd::bulk::compress(&lines, 1).expect("zstd compresses any bytes into memory");
    match packed.len() {
        0..=MAX_BYTES => packed,
        // The hooks are the truth: nothing else knows of them.
        _ if header.run.is_some() => pack([], header.run),
        _ => Vec::new(),
    }
}

fn push<T: Serialize>(lines: &mut Vec<u8>, line: &T) {
    serde_json::to_writer(&mut *lines, line).expect("a line has text keys and goes into memory");
    lines.push(b'\n');
}

/// Reads back what [`pack`] wrote; empty for whatever it does not understand.
pub(crate) fn unpack(packed: &[u8]) -> (BTreeMap<ManifestId, Applied>, Option<Run>) {
    let mut lines = Vec::new();
    let Ok(decoder) = zstd::stream::read::Decoder::new(packed) else {
        return Default::default();
    };
    if decoder.take(MAX_UNPACKED).read_to_end(&mut lines).is_err() {
        return Default::default();
    }
    let mut lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let run = match lines.next().map(serde_json::from_slice::<Header>) {
        Some(Ok(header)) if header.format == FORMAT => header.run,
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
    (applied, run)
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
        pack(records.iter().map(|(id, applied)| (id, *applied)), None)
    }

    #[test]
    fn ten_thousand_objects_fit_into_the_parent() {
        let records = records(10_000);
        let packed = packed(&records);
        assert!((1..600_000).contains(&packed.len()), "{}", packed.len());
        assert_eq!(unpack(&packed), (records, None));
    }

    #[test]
    fn record_that_would_not_fit_is_left_out() {
        assert!(packed(&records(40_000)).is_empty());
    }

    #[test]
    fn hooks_are_recorded_even_where_the_objects_do_not_fit() {
        let run = Run::new(3, ObjectHash::of(b"1"), true);
        let records = records(40_000);
        let packed = pack(records.iter().map(|(id, applied)| (id, *applied)), Some(run.clone()));
        assert_eq!(unpack(&packed), (BTreeMap::new(), Some(run)));
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
