//! Agents that come and go: connections that are dropped at every moment of a stream's life, without a word.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};
use driftless_agent::Follower;
use driftless_load::frame::encode;
use driftless_proto::v1::server_message::Message as ToAgent;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::wire::{Caller, WINDOW, Wire};

/// What those who flap share.
#[derive(Clone)]
pub(crate) struct Flapping {
    /// Those that are connecting at once: this machine has to carry out both ends of a handshake.
    pub(crate) turns: Arc<Semaphore>,
    /// Times that one came and went.
    pub(crate) rounds: Arc<AtomicU64>,
    pub(crate) stop: CancellationToken,
}

impl Flapping {
    /// Comes and goes until it is told to stop; gives the follower back, with what that has verified by then.
    pub(crate) async fn flap(self, caller: Caller, mut follower: Follower) -> Result<(Caller, Follower)> {
        let mut round = caller.number;
        while !self.stop.is_cancelled() {
            let _turn = self.turns.acquire().await?;
            flap(&caller, &mut follower, round % 5)
                .await
                .with_context(|| format!("{} in round {}", follower.cluster(), round % 5))?;
            self.rounds.fetch_add(1, Ordering::Relaxed);
            round += 1;
        }
        Ok((caller, follower))
    }
}

async fn flap(caller: &Caller, follower: &mut Follower, round: usize) -> Result<()> {
    match round {
        // Connected, and said nothing.
        0 => drop(Wire::open(caller, WINDOW).await?),
        // In the middle of Hello.
        1 => {
            let mut wire = Wire::open(caller, WINDOW).await?;
            let mut hello = encode(&follower.hello());
            let begin = hello.split_to(hello.len() / 2);
            wire.put_all(begin).await?;
        }
        // Before the first directive.
        2 => {
            let mut wire = Wire::greeted(caller, WINDOW, follower.hello()).await?;
            while !matches!(wire.message().await?, ToAgent::Welcome(_)) {}
        }
        // With everything verified.
        3 => {
            let mut wire = Wire::greeted(caller, WINDOW, follower.hello()).await?;
            wire.follow(follower, 1, |_| {}).await?;
        }
        // While it is there a second time.
        _ => {
            let _first = Wire::greeted(caller, WINDOW, follower.hello()).await?;
            let mut second = Wire::greeted(caller, WINDOW, follower.hello()).await?;
            second.message().await?;
        }
    }
    Ok(())
}
