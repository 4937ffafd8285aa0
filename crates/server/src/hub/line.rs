//! What one stream is told besides its channel's orders: that its cluster's record has changed, a question to its agent,
//! or that it is over. The hub speaks, the stream listens.
//!
//! There is one for each agent, so it holds next to nothing: the record itself is in the fleet state, for all.

use std::sync::{Mutex, MutexGuard, PoisonError};

use driftless_proto::v1;
use tokio::sync::{Notify, oneshot};

/// A question to an agent.
pub(crate) struct Ask {
    pub(crate) probe: v1::Probe,
    pub(crate) answer: oneshot::Sender<v1::ProbeResult>,
}

/// What a stream hears.
pub(crate) enum News {
    /// The cluster left the fleet, or a newer stream of it took over.
    Over,
    /// Its record may have changed.
    Record,
    /// Something to ask its agent.
    Ask(Box<Ask>),
}

/// See the module.
#[derive(Default)]
pub(crate) struct Line {
    untold: Mutex<Untold>,
    rings: Notify,
}

#[derive(Default)]
struct Untold {
    is_over: bool,
    is_changed: bool,
    ask: Option<Box<Ask>>,
}

impl Line {
    /// The next thing there is to hear. Nothing is lost by giving up waiting for it.
    pub(crate) async fn next(&self) -> News {
        loop {
            if let Some(news) = self.lock().take() {
                return news;
            }
            self.rings.notified().await;
        }
    }

    pub(super) fn end(&self) {
        self.lock().is_over = true;
        self.rings.notify_one();
    }

    pub(super) fn record_changed(&self) {
        self.lock().is_changed = true;
        self.rings.notify_one();
    }

    /// Gives the question back when the one before was not heard yet.
    pub(super) fn ask(&self, ask: Box<Ask>) -> Result<(), Box<Ask>> {
        let mut untold = self.lock();
        if untold.ask.is_some() {
            return Err(ask);
        }
        untold.ask = Some(ask);
        drop(untold);
        self.rings.notify_one();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Untold> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Untold {
    fn take(&mut self) -> Option<News> {
        if self.is_over {
            Some(News::Over)
        } else if std::mem::take(&mut self.is_changed) {
            Some(News::Record)
        } else {
            self.ask.take().map(News::Ask)
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn ask(id: u64) -> Box<Ask> {
        let probe = v1::Probe {
            id,
            ..v1::Probe::default()
        };
        let (answer, _) = oneshot::channel();
        Box::new(Ask { probe, answer })
    }

    #[tokio::test]
    async fn everything_is_heard_once_and_the_end_for_good() {
        let line = Line::default();
        assert!(line.next().now_or_never().is_none());
        assert!(line.ask(ask(1)).is_ok());
        assert!(line.ask(ask(2)).is_err(), "one at a time");
        line.record_changed();
        line.record_changed();
        assert!(matches!(line.next().await, News::Record));
        assert!(matches!(line.next().await, News::Ask(ask) if ask.probe.id == 1));
        assert!(line.next().now_or_never().is_none());
        assert!(line.ask(ask(3)).is_ok());
        line.end();
        assert!(matches!(line.next().await, News::Over));
        assert!(matches!(line.next().await, News::Over));
    }

    #[tokio::test]
    async fn listener_that_gave_up_hears_it_later() {
        let line = std::sync::Arc::new(Line::default());
        let mut waiting = Box::pin(line.next());
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        line.record_changed();
        drop(waiting);
        assert!(matches!(line.next().await, News::Record));
        let listening = tokio::spawn({
            let line = line.clone();
            async move { line.next().await }
        });
        tokio::task::yield_now().await;
        line.end();
        assert!(matches!(listening.await.unwrap(), News::Over));
    }
}
