//! A part of what a replica knows of its clusters, as it lies in the bucket.

use std::{collections::BTreeMap, sync::Arc};

use driftless_model::{hash::ObjectHash, name::ClusterName, status::ClusterStatus};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A table is written in so many parts, so that one cluster's news is not the whole table's.
const PARTS: u8 = 64;
/// What is written by this version, and read.
const FORMAT: u32 = 1;
/// What is read of a part at most, decompressed.
const MOST: usize = 64 * 1024 * 1024;

/// Some clusters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Document {
    pub(super) format: u32,
    pub(super) clusters: BTreeMap<ClusterName, Known>,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            format: FORMAT,
            clusters: BTreeMap::new(),
        }
    }
}

/// What is known of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Known {
    #[serde(rename = "connected")]
    pub(super) is_connected: bool,
    pub(super) last_seen: Option<Timestamp>,
    pub(super) status: Option<Arc<ClusterStatus>>,
}

/// The part that a cluster is in.
pub(super) fn part_of(cluster: &ClusterName) -> u8 {
    ObjectHash::of(cluster.as_str().as_bytes()).as_bytes()[0] % PARTS
}

impl Document {
    pub(super) fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("names, texts and numbers are always JSON");
        zstd::bulk::compress(&json, 1).expect("compressing into memory has no way to fail")
    }

    /// Reads a part; in words why not.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let json = zstd::bulk::decompress(bytes, MOST).map_err(|error| error.to_string())?;
        let document: Self = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        match document.format {
            FORMAT => Ok(document),
            other => Err(format!("format {other} is not known here ({FORMAT})")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_read_back_and_damage_is_an_error() {
        let known = Known {
            is_connected: true,
            last_seen: Some(Timestamp::UNIX_EPOCH),
            status: Some(Arc::default()),
        };
        let document = Document {
            clusters: [("edge".parse().unwrap(), known)].into(),
            ..Document::default()
        };
        let bytes = document.encode();
        assert_eq!(Document::decode(&bytes), Ok(document));
        assert!(Document::decode(&bytes[1..]).is_err());
        let newer = zstd::bulk::compress(br#"{"format":2,"clusters":{}}"#, 1).unwrap();
        assert!(Document::decode(&newer).unwrap_err().contains("format 2"));
    }
}
