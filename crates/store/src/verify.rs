//! Checks a whole bucket by reading it: what `driftless verify` runs.
//!
//! Collects everything that is wrong instead of stopping at the first. Only reads: it may run on a copy, on a
//! read-only mount, and while servers write (what they add meanwhile is not looked at).

use std::{
    collections::{BTreeMap, BTreeSet, btree_map},
    fmt,
};

use driftless_model::{
    bundle::{self, Bundle},
    canonical,
    event::Event,
    hash::ObjectHash,
    journal::{self, Entry, Tip},
    snapshot::Snapshot,
};
use futures::{StreamExt, stream};

use crate::{
    bucket::{Bucket, layout},
    error::Error,
    journal::{State, decode_checkpoint},
};

/// Objects that are read and checked at once. Each may be decoded to [`bundle::MAX_BYTES`].
const CONCURRENCY: usize = 8;

/// What was checked, and everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Journal entries that were read.
    pub entries: u64,
    /// Referenced objects that are there and whole.
    pub objects: u64,
    /// Checkpoints that equal the fold.
    pub checkpoints: u64,
    /// Objects that no entry leads to. Harmless: uploads that were never published, or snapshots of a writer
    /// that was not the first.
    pub stray_objects: u64,
    /// What is wrong, in the order of entries, checkpoints, objects.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Is nothing wrong?
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// One thing that is wrong in a bucket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// An entry is gone although later ones, or a checkpoint of it, are there.
    #[error("journal entry {seq} is missing, though {later} is there")]
    MissingEntry {
        /// The missing entry.
        seq: u64,
        /// What shows that it existed.
        later: String,
    },
    /// An entry cannot be read, or does not follow the one before.
    #[error("{0}")]
    Chain(journal::Error),
    /// An entry is not valid after those before it. Later ones were not folded.
    #[error("{reason}; the entries after it were read, but not folded")]
    InvalidEntry {
        /// The entry.
        seq: u64,
        /// What does not fit.
        reason: String,
    },
    /// A checkpoint is not what the journal makes.
    #[error("checkpoint {seq} {reason}; it may be deleted, a server writes it anew")]
    Checkpoint {
        /// Its number.
        seq: u64,
        /// How it differs.
        reason: String,
    },
    /// A referenced object is gone or damaged.
    #[error("{kind} {hash}, named by journal entry {seq}, {reason}")]
    Object {
        /// The object.
        hash: ObjectHash,
        /// What it should be.
        kind: Kind,
        /// The first entry that leads to it.
        seq: u64,
        /// What is wrong.
        reason: String,
    },
    /// A file whose name has no meaning where it is.
    #[error("`{name}` is nothing that Driftless wrote; remove it")]
    Unexpected {
        /// Its name in the bucket.
        name: String,
    },
}

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A component's manifests.
    Bundle,
    /// A channel's desired state.
    Snapshot,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bundle => "bundle",
            Self::Snapshot => "snapshot",
        })
    }
}

/// How far a check has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Reading the journal.
    Entries {
        /// Entries read.
        done: u64,
        /// Entries there are.
        total: u64,
    },
    /// Reading referenced objects.
    Objects {
        /// Objects read.
        done: u64,
        /// Objects found so far: snapshots lead to more.
        total: u64,
    },
}

/// Checks `bucket`, calling `progress` now and then.
///
/// # Errors
/// Only when the bucket itself cannot be read; what is wrong in it is in the [`Report`].
pub async fn verify(bucket: &Bucket, mut progress: impl FnMut(Progress)) -> Result<Report, Error> {
    let mut check = Check::new(bucket).await?;
    check.entries(&mut progress).await?;
    check.unreached_checkpoints();
    check.objects(&mut progress).await?;
    check.strays().await?;
    Ok(check.report)
}

struct Check<'a> {
    bucket: &'a Bucket,
    report: Report,
    /// Numbers of the entries there are.
    entries: Vec<u64>,
    /// Numbers of the checkpoints that were not compared yet.
    checkpoints: BTreeSet<u64>,
    /// The fold so far; `None` from the first entry that could not be folded.
    fold: Option<State>,
    /// What entries lead to, with the first entry that does.
    referenced: BTreeMap<(Kind, ObjectHash), u64>,
}

impl<'a> Check<'a> {
    async fn new(bucket: &'a Bucket) -> Result<Self, Error> {
        let (entries, unknown) = bucket.numbers(layout::JOURNAL, 0).await?;
        let (checkpoints, more_unknown) = bucket.numbers(layout::CHECKPOINTS, 0).await?;
        let unexpected = unknown
            .into_iter()
            .chain(more_unknown)
            .map(|name| Problem::Unexpected { name: name.into() });
        Ok(Self {
            bucket,
            report: Report {
                problems: unexpected.collect(),
                ..Report::default()
            },
            entries,
            checkpoints: checkpoints.into_iter().collect(),
            fold: Some(State::default()),
            referenced: BTreeMap::new(),
        })
    }

    async fn entries(&mut self, progress: &mut impl FnMut(Progress)) -> Result<(), Error> {
        let total = self.entries.last().copied().unwrap_or_default();
        let bucket = self.bucket;
        let reads = (journal::FIRST_SEQ..=total).map(|seq| async move { (seq, bucket.entry(seq).await) });
        let mut reads = stream::iter(reads).buffered(CONCURRENCY);
        let mut tip = Tip::default();
        while let Some((seq, read)) = reads.next().await {
            match read? {
                Some(bytes) => self.entry(&mut tip, seq, &bytes),
                None => {
                    self.report.problems.push(Problem::MissingEntry {
                        seq,
                        later: format!("entry {total}"),
                    });
                    self.fold = None;
                    tip = Tip { seq, hash: None };
                }
            }
            self.compare_checkpoint(seq).await?;
            progress(Progress::Entries { done: seq, total });
        }
        Ok(())
    }

    /// Checks one entry, and leaves `tip` on it whatever is wrong, so that the next is judged by itself.
    fn entry(&mut self, tip: &mut Tip, seq: u64, bytes: &[u8]) {
        self.report.entries += 1;
        let entry = read_entry(bytes);
        if let Some(entry) = &entry {
            self.collect(entry);
            if tip.hash.is_none() && seq > journal::FIRST_SEQ {
                // The entry before is missing or was no entry: what this one says of it cannot be checked.
                tip.hash = entry.prev;
            }
        }
        match tip.follow(bytes) {
            Ok(entry) => {
                if let Some(fold) = &mut self.fold {
                    fold.tip = *tip;
                    if let Err(refusal) = fold.fleet.apply(&entry) {
                        self.report.problems.push(Problem::InvalidEntry {
                            seq,
                            reason: refusal.to_string(),
                        });
                        self.fold = None;
                    }
                }
            }
            Err(error) => {
                self.report.problems.push(Problem::Chain(error));
                self.fold = None;
                *tip = Tip {
                    seq,
                    hash: Some(ObjectHash::of(bytes)),
                };
            }
        }
    }

    fn collect(&mut self, entry: &Entry) {
        for event in &entry.events {
            if let Event::Published {
                components, snapshot, ..
            } = event
            {
                self.reference(Kind::Snapshot, *snapshot, entry.seq);
                for bundle in components.values().flatten() {
                    self.reference(Kind::Bundle, *bundle, entry.seq);
                }
            }
        }
    }

    fn reference(&mut self, kind: Kind, hash: ObjectHash, seq: u64) {
        self.referenced.entry((kind, hash)).or_insert(seq);
    }

    async fn compare_checkpoint(&mut self, seq: u64) -> Result<(), Error> {
        if !self.checkpoints.contains(&seq) {
            return Ok(());
        }
        // Without a fold there is nothing to compare with; the reason is among the problems already.
        let Some(fold) = &self.fold else {
            self.checkpoints.remove(&seq);
            return Ok(());
        };
        let Some(bytes) = self.bucket.checkpoint(seq).await? else {
            self.checkpoints.remove(&seq);
            return Ok(());
        };
        let reason = match decode_checkpoint(seq, &bytes) {
            Err(reason) => Some(format!("cannot be read: {reason}")),
            Ok(state) if state.tip != fold.tip => Some("was not made from the journal entry of its number".to_owned()),
            Ok(state) if state != *fold => Some("differs from what the journal makes".to_owned()),
            Ok(_) => None,
        };
        self.checkpoints.remove(&seq);
        match reason {
            None => self.report.checkpoints += 1,
            Some(reason) => self.report.problems.push(Problem::Checkpoint { seq, reason }),
        }
        Ok(())
    }

    /// A checkpoint beyond the last entry shows that entries are gone from the end.
    fn unreached_checkpoints(&mut self) {
        for seq in std::mem::take(&mut self.checkpoints) {
            self.report.problems.push(Problem::MissingEntry {
                seq,
                later: format!("checkpoint {seq}"),
            });
        }
    }

    async fn objects(&mut self, progress: &mut impl FnMut(Progress)) -> Result<(), Error> {
        let mut done = 0;
        let mut pending: Vec<_> = self.referenced.keys().copied().collect();
        // Snapshots lead to bundles, so there may be a second round, and a third for parents that no entry names.
        while !pending.is_empty() {
            let bucket = self.bucket;
            let reads = std::mem::take(&mut pending)
                .into_iter()
                .map(|(kind, hash)| async move { (kind, hash, examine(bucket, kind, hash).await) });
            let mut reads = stream::iter(reads).buffered(CONCURRENCY);
            while let Some((kind, hash, found)) = reads.next().await {
                let seq = self.referenced[&(kind, hash)];
                match found? {
                    Ok(leads_to) => {
                        self.report.objects += 1;
                        for reference in leads_to {
                            if let btree_map::Entry::Vacant(place) = self.referenced.entry(reference) {
                                place.insert(seq);
                                pending.push(reference);
                            }
                        }
                    }
                    Err(reason) => self.report.problems.push(Problem::Object {
                        hash,
                        kind,
                        seq,
                        reason,
                    }),
                }
                done += 1;
                progress(Progress::Objects {
                    done,
                    total: self.referenced.len() as u64,
                });
            }
        }
        Ok(())
    }

    async fn strays(&mut self) -> Result<(), Error> {
        let (objects, unknown) = self.bucket.all_objects().await?;
        let known: BTreeSet<ObjectHash> = self.referenced.keys().map(|(_, hash)| *hash).collect();
        self.report.stray_objects = objects.iter().filter(|hash| !known.contains(hash)).count() as u64;
        let unknown = unknown
            .into_iter()
            .map(|name| Problem::Unexpected { name: name.into() });
        self.report.problems.extend(unknown);
        Ok(())
    }
}

fn read_entry(bytes: &[u8]) -> Option<Entry> {
    serde_json::from_value(canonical::from_slice_strict(bytes).ok()?).ok()
}

/// Reads one object. Returns what it leads to, or what is wrong with it.
async fn examine(
    bucket: &Bucket,
    kind: Kind,
    hash: ObjectHash,
) -> Result<Result<Vec<(Kind, ObjectHash)>, String>, Error> {
    let bytes = match bucket.object(&hash).await {
        Ok(bytes) => bytes,
        Err(Error::ObjectNotFound(_)) => return Ok(Err("is missing".to_owned())),
        Err(Error::ObjectCorrupt { reason, .. }) => return Ok(Err(format!("is damaged: {reason}"))),
        Err(error) => return Err(error),
    };
    let decoded = tokio::task::spawn_blocking(move || match kind {
        Kind::Bundle => Bundle::decode(&bytes)
            .map(|_| Vec::new())
            .map_err(|error: bundle::Error| error.to_string()),
        Kind::Snapshot => Snapshot::decode(&bytes)
            .map(leads_to)
            .map_err(|error| error.to_string()),
    });
    match decoded.await {
        Ok(Ok(leads_to)) => Ok(Ok(leads_to)),
        Ok(Err(reason)) => Ok(Err(format!("cannot be decoded: {reason}"))),
        Err(_) => Ok(Err("cannot be decoded".to_owned())),
    }
}

fn leads_to(snapshot: Snapshot) -> Vec<(Kind, ObjectHash)> {
    let bundles = snapshot.components.values().map(|hash| (Kind::Bundle, *hash));
    bundles
        .chain(snapshot.parent.map(|hash| (Kind::Snapshot, hash)))
        .collect()
}
