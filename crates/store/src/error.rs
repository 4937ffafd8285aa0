//! What can go wrong between a server and its bucket, sorted by what the caller can do about it.

use std::{error::Error as _, fmt, io, sync::Arc};

use driftless_model::{fleet::Refusal, hash::ObjectHash, journal};

/// Why the store could not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The intent stands against the fleet state.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The address names no bucket.
    #[error("`{address}` is not the address of a bucket: {reason}; use a folder, or s3://, gs:// or az:// and a name")]
    Address {
        /// The address as given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The object is not in the bucket.
    #[error("object {0} is not in the bucket")]
    ObjectNotFound(ObjectHash),
    /// The bytes are not the object they were said to be.
    #[error(
        "object {hash} is damaged: {reason}; put back a copy of this file, `driftless verify` lists all that is damaged"
    )]
    ObjectCorrupt {
        /// The object.
        hash: ObjectHash,
        /// How it differs.
        reason: String,
    },
    /// Bytes that were sent as an object under a name that is not theirs.
    #[error("the bytes sent are not object {hash}: {reason}; send them again")]
    ObjectMismatch {
        /// The object they were sent as.
        hash: ObjectHash,
        /// How they differ.
        reason: String,
    },
    /// Larger than an object may be.
    #[error("an object may have {limit} bytes, this one has {actual}: split it")]
    TooLarge {
        /// Bytes at most.
        limit: usize,
        /// How many there are: at least this many.
        actual: usize,
    },
    /// The journal's entries do not form a chain.
    #[error(transparent)]
    BrokenJournal(#[from] journal::Error),
    /// An entry that is well-formed, but not valid after those before it.
    #[error("the bucket was altered, or was written by a newer version: {0}")]
    InvalidEntry(Refusal),
    /// An entry is gone while a later one, or a checkpoint of it, is there.
    #[error("journal entry {seq} is missing, but {later} is there: put entry {seq} back from a copy of the bucket")]
    MissingEntry {
        /// The missing entry.
        seq: u64,
        /// What shows that it existed.
        later: String,
    },
    /// An entry is not the one that a checkpoint was made from.
    #[error(
        "journal entry {seq} is not the one that checkpoint {seq} was made from: one of them was altered; \
        `driftless verify` tells which, a checkpoint may be deleted"
    )]
    CheckpointMismatch {
        /// Number of the entry and of the checkpoint.
        seq: u64,
    },
    /// The bucket overwrites where it should refuse.
    #[error(
        "the bucket ignores put-if-absent (`If-None-Match: *`), so two servers could overwrite each other's \
        journal entries: use a storage service that supports conditional writes"
    )]
    NoPutIfAbsent,
    /// The bucket cannot be written to until somebody does something.
    #[error("{what} cannot be written: {advice}")]
    Unwritable {
        /// What was being written.
        what: String,
        /// What to do about it.
        advice: String,
        /// What the backend said.
        #[source]
        source: Cause,
    },
    /// The bucket cannot be read until somebody does something.
    #[error("{what} cannot be read: {advice}")]
    Unreadable {
        /// What was being read.
        what: String,
        /// What to do about it.
        advice: String,
        /// What the backend said.
        #[source]
        source: Cause,
    },
    /// The bucket did not answer, or not sensibly. Another try may help.
    #[error("{what}: the bucket does not answer as it should; try again")]
    Unavailable {
        /// What was being done.
        what: String,
        /// What the backend said.
        #[source]
        source: Cause,
    },
    /// An entry was sent and no answer came: it may be in the journal, or may yet arrive there.
    #[error("journal entry {seq} could not be confirmed: whether the change was stored is not known; try again")]
    Unconfirmed {
        /// The entry's number.
        seq: u64,
        /// What the backend said last.
        #[source]
        source: Cause,
    },
    /// The journal's task has ended.
    #[error("the server is stopping: whether the change was stored is not known; try again")]
    Stopped,
}

impl Error {
    /// Why the intent was refused, if that is what happened.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Is the object not there?
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::ObjectNotFound(_))
    }

    /// Is what is in the bucket not what was put there?
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::ObjectCorrupt { .. }) || self.is_broken_journal()
    }

    /// Did the caller send something that is not what it said?
    pub fn is_bad_input(&self) -> bool {
        matches!(
            self,
            Self::ObjectMismatch { .. } | Self::TooLarge { .. } | Self::Address { .. }
        )
    }

    /// Must nobody write to this bucket before a person has looked at it?
    pub fn is_broken_journal(&self) -> bool {
        matches!(
            self,
            Self::BrokenJournal(_)
                | Self::InvalidEntry(_)
                | Self::MissingEntry { .. }
                | Self::CheckpointMismatch { .. }
                | Self::NoPutIfAbsent
        )
    }

    /// May the same call succeed later with nobody doing anything?
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Unavailable { .. } | Self::Unconfirmed { .. } | Self::Stopped
        )
    }

    /// Does a person have to free space or grant rights first?
    pub fn is_unwritable(&self) -> bool {
        matches!(self, Self::Unwritable { .. })
    }

    /// `error` happened while `what` was written.
    pub(crate) fn writing(what: impl Into<String>, error: object_store::Error) -> Self {
        let (what, source) = (what.into(), Cause::new(&error));
        match advice(&error) {
            Some(advice) => Self::Unwritable {
                what,
                advice: advice.to_owned(),
                source,
            },
            None => Self::Unavailable {
                what: format!("writing {what}"),
                source,
            },
        }
    }

    /// `error` happened while `what` was read.
    pub(crate) fn reading(what: impl Into<String>, error: object_store::Error) -> Self {
        let (what, source) = (what.into(), Cause::new(&error));
        match advice(&error) {
            Some(advice) => Self::Unreadable {
                what,
                advice: advice.to_owned(),
                source,
            },
            None => Self::Unavailable {
                what: format!("reading {what}"),
                source,
            },
        }
    }

    /// The file system refused to prepare the folder of a bucket.
    pub(crate) fn folder(path: &std::path::Path, error: &io::Error) -> Self {
        let advice = io_advice(error).unwrap_or("check that the path is a folder that this user may write to");
        Self::Unwritable {
            what: format!("bucket folder {}", path.display()),
            advice: advice.to_owned(),
            source: Cause(error.to_string().into()),
        }
    }
}

/// What a backend said, in its own words. Ends a chain of sources: backends repeat their causes in their texts.
#[derive(Clone)]
pub struct Cause(Arc<str>);

impl Cause {
    pub(crate) fn new(error: &object_store::Error) -> Self {
        Self(error.to_string().into())
    }

    /// What the backend said that made `error`.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Unwritable { source, .. }
            | Error::Unreadable { source, .. }
            | Error::Unavailable { source, .. }
            | Error::Unconfirmed { source, .. } => source.clone(),
            other => Self(other.to_string().into()),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

/// What a person has to do, where waiting would not help.
fn advice(error: &object_store::Error) -> Option<&'static str> {
    match error {
        object_store::Error::PermissionDenied { .. } => {
            return Some("the credentials may not do this: grant them reading, listing and writing in the bucket");
        }
        object_store::Error::Unauthenticated { .. } => {
            return Some("the credentials are missing or wrong: set those of the storage service in the environment");
        }
        object_store::Error::NotSupported { .. } | object_store::Error::NotImplemented { .. } => {
            return Some("the storage service does not support it: use one with conditional writes");
        }
        _ => {}
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(advice) = cause.downcast_ref::<io::Error>().and_then(io_advice) {
            return Some(advice);
        }
        source = cause.source();
    }
    None
}

fn io_advice(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::StorageFull => Some("the disk is full: free some space"),
        io::ErrorKind::QuotaExceeded => Some("the disk quota is used up: free some space or raise it"),
        io::ErrorKind::ReadOnlyFilesystem => Some("the file system is read-only: mount it for writing"),
        io::ErrorKind::PermissionDenied => Some("permission denied: let this user read and write the bucket folder"),
        io::ErrorKind::NotADirectory => Some("a file is where a folder should be: choose another path"),
        _ => None,
    }
}
