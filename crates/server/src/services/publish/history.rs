//! A channel's history: its snapshots, newest first, each with what it changed.

use std::{collections::BTreeMap, sync::Arc};

use driftless_model::{
    hash::ObjectHash,
    snapshot::{Snapshot, changes},
};
use driftless_proto::{from_time, to_hash, v1};

use super::{Core, read_snapshot};
use crate::failure::Failure;

/// A walk from a channel's newest snapshot back in time.
pub(super) struct Walk {
    core: Arc<Core>,
    /// The next to tell, and its content where it was read already.
    next: Option<(ObjectHash, Option<Snapshot>)>,
    left: u32,
}

impl Walk {
    pub(super) fn new(core: Arc<Core>, head: Option<ObjectHash>, limit: u32) -> Self {
        Self {
            core,
            next: head.map(|hash| (hash, None)),
            left: limit,
        }
    }

    /// Tells one snapshot and goes on to its parent.
    pub(super) async fn step(mut self) -> Result<Option<(v1::LogEntry, Self)>, Failure> {
        let Some((hash, known)) = self.next.take().filter(|_| self.left > 0) else {
            return Ok(None);
        };
        self.left -= 1;
        let snapshot = match known {
            Some(snapshot) => snapshot,
            None => read_snapshot(&self.core, &hash).await?,
        };
        let before = match &snapshot.parent {
            Some(parent) => Some((*parent, read_snapshot(&self.core, parent).await?)),
            None => None,
        };
        let empty = BTreeMap::new();
        let changed = changes(
            before.as_ref().map_or(&empty, |(_, before)| &before.components),
            &snapshot.components,
        );
        let entry = v1::LogEntry {
            snapshot: to_hash(&hash),
            parent: snapshot.parent.as_ref().map(to_hash),
            time: Some(from_time(snapshot.time)),
            author: snapshot.provenance.author,
            message: snapshot.provenance.message,
            source: snapshot.provenance.source,
            changes: changed
                .into_iter()
                .map(|(component, change)| v1::LogChange {
                    component: component.to_string(),
                    before: change.before.as_ref().map(to_hash),
                    after: change.after.as_ref().map(to_hash),
                })
                .collect(),
        };
        self.next = before.map(|(hash, snapshot)| (hash, Some(snapshot)));
        Ok(Some((entry, self)))
    }
}
