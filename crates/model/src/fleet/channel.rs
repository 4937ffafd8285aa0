//! A channel: what its newest snapshot holds, who set it, and how the next one is made.

use std::collections::BTreeMap;

use imbl::OrdMap;

use super::*;

/// A line of snapshots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Channel {
    /// The entry that last changed this channel: the sequence of its directive.
    pub sequence: u64,
    /// When that was.
    pub changed: Timestamp,
    /// The newest snapshot; `None` before the first push.
    pub snapshot: Option<ObjectHash>,
    /// What that snapshot holds.
    pub components: Components,
    /// Who last set each component: what a push that comes too late is told.
    pub setters: OrdMap<ComponentName, Setter>,
    /// The highest schema epoch that each component declared. Kept when it is removed: what it wrote may be there.
    #[serde(default, skip_serializing_if = "OrdMap::is_empty")]
    pub epochs: OrdMap<ComponentName, u64>,
    /// The last pushes that carried a key: one that is repeated is answered as it was the first time.
    #[serde(default, skip_serializing_if = "Recent::is_empty")]
    pub recent: Recent,
}

/// Who last set or removed a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setter {
    /// The author of the push.
    pub author: String,
    /// The snapshot that the push made.
    pub snapshot: ObjectHash,
    /// When.
    pub time: Timestamp,
}

impl Channel {
    /// May these bundles follow, by the schema epochs they declare? One that declares none is of epoch 0.
    pub(super) fn check_epochs(
        &self,
        components: &BTreeMap<ComponentName, Option<ObjectHash>>,
        epochs: &BTreeMap<ComponentName, u64>,
    ) -> Result<(), Refusal> {
        for component in components
            .iter()
            .filter(|(_, bundle)| bundle.is_some())
            .map(|(name, _)| name)
        {
            let pushed = epochs.get(component).copied().unwrap_or_default();
            let reached = self.epochs.get(component).copied().unwrap_or_default();
            if pushed < reached {
                return Err(Refusal::EpochFalls {
                    component: component.clone(),
                    pushed,
                    reached,
                });
            }
        }
        Ok(())
    }

    /// Makes the next snapshot.
    pub(super) fn advance(
        &mut self,
        changes: &BTreeMap<ComponentName, Option<ObjectHash>>,
        provenance: &Provenance,
        time: Timestamp,
        seq: u64,
    ) -> snapshot::Encoded {
        for (name, bundle) in changes {
            match bundle {
                Some(bundle) => self.components.insert(name.clone(), *bundle),
                None => self.components.remove(name),
            };
        }
        let encoded = snapshot::encode(&self.components, self.snapshot, time, provenance);
        let setter = Setter {
            author: provenance.author.clone(),
            snapshot: encoded.hash(),
            time,
        };
        self.setters
            .extend(changes.keys().map(|name| (name.clone(), setter.clone())));
        self.sequence = seq;
        self.changed = time;
        self.snapshot = Some(encoded.hash());
        encoded
    }

    /// Remembers the push that made the newest snapshot. Says whether it was new.
    pub(super) fn remember(&mut self, key: PushKey, seq: u64) -> bool {
        let Some(snapshot) = self.snapshot else { return false };
        self.recent.insert(Done {
            key,
            seq,
            snapshot,
            time: self.changed,
        })
    }
}
