//! The one who pushes: a thread with a runtime and a connection of its own, so that an acknowledgement is seen when it
//! comes and not after the streams that were told meanwhile.

use std::time::Instant;

use driftless_client::{Client, Push, Pushed, Target};
use driftless_model::{bundle::Bundle, name::ChannelName};
use tokio::sync::{mpsc, oneshot};

use crate::Error;

/// A push, and when it was begun and acknowledged.
#[derive(Debug)]
pub(crate) struct Acknowledged {
    pub(crate) pushed: Pushed,
    pub(crate) begun: Instant,
    pub(crate) acknowledged: Instant,
}

type Outcome = Result<Acknowledged, driftless_client::Error>;

/// See the module. Its thread ends with it.
pub(crate) struct Pusher {
    orders: mpsc::Sender<(Bundle, oneshot::Sender<Outcome>)>,
}

impl Pusher {
    pub(crate) fn start(target: Target, channel: ChannelName) -> Result<Self, Error> {
        let (orders, mut ordered) = mpsc::channel::<(Bundle, oneshot::Sender<Outcome>)>(1);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::Workload(error.to_string()))?;
        let work = async move {
            let client = match Client::connect(target) {
                Ok(client) => client,
                // Whoever orders is told that nobody is here; the target was tried before.
                Err(_) => return,
            };
            while let Some((bundle, answer)) = ordered.recv().await {
                let push = Push::new(channel.clone()).bundle(bundle).message("bench");
                let begun = Instant::now();
                let pushed = client.push(push, |_| {}).await;
                let acknowledged = Instant::now();
                let outcome = pushed.map(|pushed| Acknowledged {
                    pushed,
                    begun,
                    acknowledged,
                });
                // Whoever ordered may have been interrupted.
                let _ = answer.send(outcome);
            }
        };
        let thread = std::thread::Builder::new().name("pusher".to_owned());
        let spawned = thread.spawn(move || runtime.block_on(work));
        spawned.map_err(|error| Error::Workload(error.to_string()))?;
        Ok(Self { orders })
    }

    pub(crate) async fn push(&self, bundle: Bundle) -> Result<Acknowledged, Error> {
        let gone = || Error::Workload("the pusher has ended".to_owned());
        let (answer, outcome) = oneshot::channel();
        self.orders.send((bundle, answer)).await.map_err(|_| gone())?;
        Ok(outcome.await.map_err(|_| gone())??)
    }
}
