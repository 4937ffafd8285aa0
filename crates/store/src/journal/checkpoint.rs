//! Checkpoints: the state after an entry, so that a start reads one of them and a tail.
//!
//! They hold nothing that the journal does not; one that cannot be read is passed over.

use std::sync::Arc;

use bytes::Bytes;
use driftless_model::{canonical, hash::ObjectHash};
use futures::{StreamExt, stream};

use super::State;
use crate::{
    bucket::{Bucket, layout},
    error::Error,
};

/// Entries of the tail that are read at once.
const READ_AHEAD: usize = 16;

/// Reads the newest usable checkpoint and all entries after it. Also says which checkpoint that was (0 for none).
pub(super) async fn load(bucket: &Bucket) -> Result<(State, u64), Error> {
    let mut state = newest(bucket).await?;
    let checkpoint = state.tip.seq;
    let (numbers, others) = bucket.numbers(layout::JOURNAL, checkpoint).await?;
    if let Some(other) = others.first() {
        tracing::warn!(name = %other, "there is something else among the journal entries; it is ignored");
    }
    if let Some(&last) = numbers.last() {
        // The listing says only how far to read: an entry that it shows proves that all before it exist.
        let reads = (state.tip.next_seq()..=last).map(|seq| async move { (seq, bucket.entry(seq).await) });
        let mut entries = stream::iter(reads).buffered(READ_AHEAD);
        while let Some((seq, read)) = entries.next().await {
            let bytes = read?.ok_or_else(|| Error::MissingEntry {
                seq,
                later: format!("entry {last}"),
            })?;
            state.take(&bytes)?;
        }
    }
    Ok((state, checkpoint))
}

async fn newest(bucket: &Bucket) -> Result<State, Error> {
    let (numbers, _) = bucket.numbers(layout::CHECKPOINTS, 0).await?;
    for &seq in numbers.iter().rev() {
        let Some(bytes) = bucket.checkpoint(seq).await? else {
            continue;
        };
        match decode(seq, &bytes) {
            Ok(state) => {
                confirm(bucket, &state).await?;
                return Ok(state);
            }
            Err(reason) => tracing::warn!(
                seq,
                reason,
                "a checkpoint cannot be read; an older one or the whole journal is"
            ),
        }
    }
    Ok(State::default())
}

/// Checks that the checkpoint was made from the entry that is there: nothing later would notice another one.
async fn confirm(bucket: &Bucket, state: &State) -> Result<(), Error> {
    let seq = state.tip.seq;
    match bucket.entry(seq).await? {
        None => Err(Error::MissingEntry {
            seq,
            later: format!("checkpoint {seq}"),
        }),
        Some(bytes) if Some(ObjectHash::of(&bytes)) != state.tip.hash => Err(Error::CheckpointMismatch { seq }),
        Some(_) => Ok(()),
    }
}

/// The bytes of a checkpoint of `state`.
pub(crate) fn encode(state: &State) -> Vec<u8> {
    canonical::document(state)
}

/// Reads back what [`encode`] wrote for entry `seq`.
pub(crate) fn decode(seq: u64, bytes: &[u8]) -> Result<State, String> {
    let value = canonical::from_slice_strict(bytes).map_err(|error| error.to_string())?;
    let state: State = serde_json::from_value(value).map_err(|error| error.to_string())?;
    if state.tip.seq != seq {
        return Err(format!("it says that it is of entry {}", state.tip.seq));
    }
    Ok(state)
}

/// Writes the checkpoint of `state`. Best effort: without it the next start reads a longer tail.
pub(super) async fn write(bucket: Bucket, state: Arc<State>) {
    let seq = state.tip.seq;
    let encoded = tokio::task::spawn_blocking(move || Bytes::from(encode(&state))).await;
    match encoded {
        Ok(bytes) => match bucket.put_checkpoint(seq, bytes).await {
            Ok(()) => tracing::debug!(seq, "checkpoint written"),
            Err(error) => tracing::warn!(seq, %error, "the checkpoint was not written"),
        },
        Err(error) => tracing::warn!(seq, %error, "the checkpoint was not encoded"),
    }
}
