//! Reading entries and folding them. Own entries and others' go through the same [`State::take`].

use bytes::Bytes;

use super::State;
use crate::{bucket::Bucket, error::Error};

impl State {
    /// Folds the entry that must come next.
    ///
    /// # Errors
    /// When it does not fit. The state is then to be dropped.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let entry = self.tip.follow(bytes)?;
        self.fleet.apply(&entry).map_err(Error::InvalidEntry)
    }
}

/// The state after all entries that are now in the journal; `None` when there is none after `state`.
pub(super) async fn newer(bucket: &Bucket, state: &State) -> Result<Option<State>, Error> {
    let Some(first) = bucket.entry(state.tip.next_seq()).await? else {
        return Ok(None);
    };
    newer_from(bucket, state, first).await.map(Some)
}

/// As [`newer`], with the next entry already read.
pub(super) async fn newer_from(bucket: &Bucket, state: &State, first: Bytes) -> Result<State, Error> {
    let mut state = state.clone();
    state.take(&first)?;
    while let Some(bytes) = bucket.entry(state.tip.next_seq()).await? {
        state.take(&bytes)?;
    }
    Ok(state)
}
