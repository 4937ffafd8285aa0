//! What one stream is told: that its channel's orders or its cluster's record have changed, a question to its agent, or
//! that it is over. The hub speaks, the stream listens.
//!
//! There is one for each agent, so it holds next to nothing: record and orders themselves are held once, for all.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use driftless_proto::v1;
use tokio::sync::oneshot;

/// A question to an agent.
pub(crate) struct Ask {
    pub(crate) probe: v1::Probe,
    pub(crate) answer: oneshot::Sender<v1::ProbeResult>,
}

/// What a stream hears.
pub(crate) enum News {
    /// The server stops.
    Stop,
    /// The cluster left the fleet, or a newer stream of it took over.
    Over,
    /// Its record may have changed.
    Record,
    /// Its channel has newer orders.
    Orders,
    /// Something to ask its agent.
    Ask(Box<Ask>),
}

/// See the module.
#[derive(Default)]
pub(crate) struct Line(Mutex<Untold>);

#[derive(Default)]
struct Untold {
    is_stopping: bool,
    is_over: bool,
    has_record: bool,
    has_orders: bool,
    ask: Option<Box<Ask>>,
    /// Who waits to hear it.
    listener: Option<Waker>,
}

impl Line {
    /// The next thing there is to hear, for one listener. Nothing is lost by giving up waiting for it.
    pub(crate) fn poll_next(&self, context: &mut Context<'_>) -> Poll<News> {
        let mut untold = self.lock();
        if let Some(news) = untold.take() {
            return Poll::Ready(news);
        }
        match &untold.listener {
            Some(listener) if listener.will_wake(context.waker()) => {}
            _ => untold.listener = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    pub(super) fn stop(&self) {
        self.tell(|untold| untold.is_stopping = true);
    }

    pub(super) fn end(&self) {
        self.tell(|untold| untold.is_over = true);
    }

    pub(super) fn record_changed(&self) {
        self.tell(|untold| untold.has_record = true);
    }

    pub(super) fn orders_changed(&self) {
        self.tell(|untold| untold.has_orders = true);
    }

    /// Gives the question back when the one before was not heard yet.
    pub(super) fn ask(&self, ask: Box<Ask>) -> Result<(), Box<Ask>> {
        self.tell(|untold| match untold.ask {
            Some(_) => Err(ask),
            None => {
                untold.ask = Some(ask);
                Ok(())
            }
        })
    }

    fn tell<T>(&self, what: impl FnOnce(&mut Untold) -> T) -> T {
        let mut untold = self.lock();
        let told = what(&mut untold);
        let listener = untold.listener.take();
        drop(untold);
        if let Some(listener) = listener {
            listener.wake();
        }
        told
    }

    fn lock(&self) -> MutexGuard<'_, Untold> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Untold {
    fn take(&mut self) -> Option<News> {
        if self.is_stopping {
            Some(News::Stop)
        } else if self.is_over {
            Some(News::Over)
        } else if std::mem::take(&mut self.has_record) {
            Some(News::Record)
        } else if std::mem::take(&mut self.has_orders) {
            Some(News::Orders)
        } else {
            self.ask.take().map(News::Ask)
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    impl Line {
        fn next(&self) -> impl Future<Output = News> + '_ {
            std::future::poll_fn(|context| self.poll_next(context))
        }
    }

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
        line.orders_changed();
        line.record_changed();
        line.record_changed();
        assert!(matches!(line.next().await, News::Record));
        assert!(matches!(line.next().await, News::Orders));
        assert!(matches!(line.next().await, News::Ask(ask) if ask.probe.id == 1));
        assert!(line.next().now_or_never().is_none());
        assert!(line.ask(ask(3)).is_ok());
        line.end();
        assert!(matches!(line.next().await, News::Over));
        assert!(matches!(line.next().await, News::Over));
        line.stop();
        assert!(matches!(line.next().await, News::Stop));
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
