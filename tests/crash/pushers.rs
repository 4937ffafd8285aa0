//! What keeps the server busy while it is killed: pushers of several kinds, each with an account of what it sent and
//! was told.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use driftless_client::{Client, Push, push::Parent};
use driftless_model::{
    bundle::Bundle,
    manifest::Manifest,
    name::{ChannelName, ComponentName},
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;

use crate::history::{Account, Acknowledged};

/// Every so many pushes carry a large object, so that kills meet uploads too.
const LARGE_EVERY: u64 = 8;
/// Hexadecimal digits of a large object: they compress to half.
const LARGE: usize = 32 * 1024;

/// One that pushes again and again.
pub(crate) struct Pusher {
    pub(crate) client: Client,
    pub(crate) channel: ChannelName,
    /// All set by every push.
    pub(crate) components: Vec<ComponentName>,
    /// Shares its components with others, and so says what each push is built upon.
    pub(crate) has_rivals: bool,
    /// Tells its content from the others'.
    pub(crate) number: u64,
    pub(crate) stop: Arc<AtomicBool>,
}

impl Pusher {
    /// Pushes without pause until it is stopped.
    ///
    /// # Errors
    /// Where an answer is anything but success, "not now", or the conflict that a rival made.
    pub(crate) async fn run(self) -> Result<Account> {
        let mut rng = StdRng::seed_from_u64(self.number);
        let mut account = Account::default();
        let mut generation = 0;
        while !self.stop.load(Ordering::Relaxed) {
            generation += 1;
            let mut push = Push::new(self.channel.clone()).message(format!("{}: {generation}", self.number));
            for component in &self.components {
                push = push.bundle(bundle(component, self.number, generation, &mut rng)?);
            }
            if self.has_rivals {
                match self.client.channel(&self.channel).await {
                    Ok(channel) => {
                        push.expected_parent = Some(channel.snapshot.map_or(Parent::Empty, Parent::Snapshot))
                    }
                    Err(error) if error.is_unreachable() || error.is_retryable() => continue,
                    Err(error) => return Err(error).context("cannot read the channel"),
                }
            }
            self.push(push, &mut account)
                .await
                .with_context(|| format!("pusher {}, push {generation}", self.number))?;
        }
        Ok(account)
    }

    async fn push(&self, push: Push, account: &mut Account) -> Result<()> {
        let content: crate::history::Content = push
            .bundles
            .iter()
            .map(|bundle| (bundle.component.clone(), bundle.hash()))
            .collect();
        account.sent.insert(content.clone());
        match self.client.push(push, |_| {}).await {
            Ok(pushed) => {
                ensure!(!pushed.unchanged, "a repeated request was taken for a new push");
                account.acknowledged.push(Acknowledged {
                    content,
                    snapshot: pushed.snapshot,
                    sequence: pushed.sequence,
                });
            }
            Err(error) if error.is_conflict() && self.has_rivals => account.conflicts += 1,
            Err(error) if error.is_unreachable() || error.is_retryable() => account.unanswered += 1,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// A component's version that nobody else pushes, and this pusher only once.
pub(crate) fn bundle(component: &ComponentName, pusher: u64, generation: u64, rng: &mut StdRng) -> Result<Bundle> {
    let filling = if generation.is_multiple_of(LARGE_EVERY) {
        (0..LARGE / 16)
            .map(|_| format!("{:016x}", rng.random::<u64>()))
            .collect()
    } else {
        String::new()
    };
    let object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": component.as_str() },
        "data": { "pusher": pusher.to_string(), "generation": generation.to_string(), "filling": filling },
    });
    let manifest = Manifest::new(object, "default").map_err(|problem| anyhow::anyhow!("{problem}"))?;
    Ok(Bundle::new(component.clone(), [manifest])?)
}
