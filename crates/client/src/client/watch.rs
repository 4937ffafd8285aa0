//! Watching: a channel and how its clusters do, and waiting until they run what was pushed.

use tokio::time::Instant;

use super::*;
use crate::{
    convergence::{Convergence, Told},
    push::Pushed,
};

/// Before a watch that ended is opened again.
const AGAIN: Duration = Duration::from_millis(500);
/// For how long a server may tell nothing but that it is away: who waits for clusters has more time than who asks.
const AWAY: Duration = Duration::from_secs(60);

impl Client {
    /// Follows a channel: all its clusters at once, then those that changed. Ends when the server stops; the
    /// caller watches anew, and is told everything again.
    ///
    /// # Errors
    /// `is_not_found` when there is no such channel.
    pub async fn watch_channel(
        &self,
        channel: &ChannelName,
    ) -> Result<impl Stream<Item = Result<ChannelStatus, Error>> + Send + Unpin + use<>, Error> {
        let request = v1::WatchChannelRequest {
            channel: channel.to_string(),
        };
        let stream = self
            .repeat(ANSWER_TIMEOUT, || {
                let (mut fleet, request) = (self.fleet.clone(), request.clone());
                async move { fleet.watch_channel(request).await }
            })
            .await?;
        let server = self.server.clone();
        Ok(stream.map(move |status| {
            let status = status.map_err(|status| Error::from_status(&server, status))?;
            Ok(ChannelStatus::try_from(status)?)
        }))
    }

    /// Waits until every joined cluster of `channel` has applied what was `pushed` to it. `progress` is told how far
    /// they are, at once and whenever the server tells of a change.
    ///
    /// When somebody else pushes in the meantime, the clusters are waited for to be at that newer snapshot, which
    /// [`Convergence::snapshot`] names: no cluster stops at the older one on its way.
    ///
    /// A watch that breaks is opened again; a server may be away for a minute. Clusters that no agent has joined as yet are not waited for; ones that are
    /// offline are, for as long as it takes: put `tokio::time::timeout` around it where that is too long. Dropping it
    /// changes nothing on the server.
    ///
    /// # Errors
    /// `is_unreachable` when the server stays away; `is_not_found` when there is no such channel.
    pub async fn until_converged(
        &self,
        channel: &ChannelName,
        pushed: &Pushed,
        mut progress: impl FnMut(&Convergence),
    ) -> Result<Convergence, Error> {
        let mut heard = Instant::now();
        loop {
            let error = match self.watch_channel(channel).await {
                Err(error) => Some(error),
                Ok(mut watch) => {
                    let mut told = Told::default();
                    loop {
                        match watch.next().await {
                            None => break None,
                            Some(Err(error)) => break Some(error),
                            Some(Ok(status)) => told.add(status),
                        }
                        heard = Instant::now();
                        let Some(convergence) = told.convergence(pushed.sequence) else {
                            continue;
                        };
                        progress(&convergence);
                        if convergence.is_complete() {
                            return Ok(convergence);
                        }
                    }
                }
            };
            if let Some(error) = error {
                let answered = self.answered.load(Ordering::Relaxed);
                if !answered || !error.is_retryable() || heard.elapsed() > AWAY {
                    return Err(error);
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}
