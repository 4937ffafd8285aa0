//! The durable side of Driftless: one bucket with immutable objects and the journal.
//!
//! A bucket is a folder, or a bucket of S3, Google Cloud Storage or Azure Blob Storage; this is the only crate
//! that knows `object_store`. Servers hold no durable state: any number of them may work on one bucket at once,
//! since the one write they compete for is put-if-absent.
//!
//! # Layout
//! [`Bucket`] opens one by its address and keeps objects, each under the hash of its content. [`Journal`] is a
//! process's one writer and follower: it takes intents, decides them on the newest state, commits those that
//! arrived together as one entry, and shows the fold of all entries. [`verify`] checks a whole bucket by reading
//! it.
//!
//! # Names in the bucket
//! ```text
//! objects/ab/abcdef…               canonical bytes, zstd, one frame or several; named by the sha256 of the uncompressed
//! journal/00000000000000000042     entry 42, canonical JSON; created once, never changed
//! checkpoints/00000000000000001000 {tip, fleet} after entry 1000, canonical JSON; may be deleted at any time
//! status/edge-0a1b2c3d/07          a part of what one replica knows of its clusters, zstd; soft, overwritten
//! probe                            empty; shows that the bucket honours put-if-absent
//! ```
//!
//! No secret is ever written into the bucket: join tokens are there by hash only.

pub mod bucket;
mod error;
pub mod journal;
pub mod verify;

pub use bucket::{Bucket, Upload};
pub use error::{Cause, Error};
pub use journal::Journal;
