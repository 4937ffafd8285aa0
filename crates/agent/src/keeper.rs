//! Stores what was accepted, beside and not before it is applied.
//!
//! # Order
//! The reconciler gets a verified view first and the storage a moment later: what a push waits for is the cluster,
//! not the cache. That is safe because of the order in [`crate::storage::Storage::save`]. A process that dies in
//! between starts again from the directive before, whose objects are deleted only after the new directive *and* all
//! its objects are stored; it then runs, for as long as the server is away, what it was running a moment before.
//! Nothing older than that directive is ever accepted again.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    Error, accepted::Accepted, backoff::Backoff, election::Permit, error::chain, object::Frame, status::Problems,
    storage::Storage, sync::Content,
};

const PART: &str = "cache";
/// Storing begins so long after what is to be stored was accepted: compressing a large bundle takes a processor as long as
/// a change takes to be applied, and of changes in quick succession only the last needs to be stored.
const LINGER: Duration = Duration::from_millis(100);

/// What is to be stored. A newer one replaces one that was not begun: it holds all that is not known to be stored.
#[derive(Debug, Clone)]
pub(crate) struct Save {
    pub(crate) generation: u64,
    pub(crate) objects: Vec<Frame>,
    pub(crate) accepted: Accepted,
    pub(crate) keep: Content,
}

/// The storing side of a reign.
pub(crate) struct Keeper {
    pub(crate) storage: Storage,
    pub(crate) permit: Arc<Permit>,
    pub(crate) work: watch::Receiver<Option<Save>>,
    /// The generation stored last.
    pub(crate) done: watch::Sender<u64>,
    pub(crate) problems: Problems,
    pub(crate) backoff: Backoff,
}

impl Keeper {
    /// Stores until `token` is cancelled, then what is left to store once.
    ///
    /// # Errors
    /// [`Error::Overtaken`] when another agent has become the one that stores.
    pub(crate) async fn run(mut self, token: CancellationToken) -> Result<(), Error> {
        loop {
            let lingered = async {
                let changed = self.work.changed().await;
                tokio::time::sleep(LINGER).await;
                changed
            };
            let stop = tokio::select! { biased;
                () = token.cancelled() => true,
                changed = lingered => changed.is_err(),
            };
            let save = self.work.borrow_and_update().clone();
            let Some(save) = save.filter(|save| save.generation > *self.done.borrow()) else {
                if stop {
                    return Ok(());
                } else {
                    continue;
                };
            };
            if !self.permit.holds() {
                // The Lease is lost, and this reign is about to end: who leads now stores what it accepts.
                if stop {
                    return Ok(());
                }
                tokio::time::sleep(self.backoff.next()).await;
                self.work.mark_changed();
                continue;
            }
            let generation = save.generation;
            let keep = save.keep.hashes().collect();
            match self.storage.save(save.objects, save.accepted, keep).await {
                Ok(()) => {
                    self.backoff.reset();
                    self.problems.clear(PART);
                    self.done.send_replace(generation);
                }
                Err(error) if error.is_overtaken() => return Err(error),
                Err(error) if stop => tracing::warn!(error = chain(&error), "cannot store the accepted directive"),
                Err(error) => self.wait(&error, &token).await,
            }
            if stop {
                return Ok(());
            }
        }
    }

    async fn wait(&mut self, error: &Error, token: &CancellationToken) {
        let delay = self.backoff.next();
        tracing::warn!(error = chain(error), retry_in = ?delay, "cannot store the accepted directive");
        let message = format!(
            "{}; applied all the same, and stored as soon as that works",
            chain(error)
        );
        self.problems.set(PART, "CacheFailed", message, false);
        tokio::select! { biased;
            () = token.cancelled() => {}
            () = tokio::time::sleep(delay) => {}
        }
        self.work.mark_changed();
    }
}
