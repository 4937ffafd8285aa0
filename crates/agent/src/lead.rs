//! What a leader runs, for as long as it leads: reconciler, keeper and sync, each a task of one set.

use std::sync::Arc;

use driftless_reconcile::{Permit as MayWrite, Reconciler, probe::Prober};
use kube::Client;
use rand::{SeedableRng, rngs::SmallRng};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    Error,
    backoff::Backoff,
    keeper::Keeper,
    settings::Settings,
    status::Problems,
    sync::{Ends, Sync},
};

/// Leads until `token` is cancelled.
///
/// # Guarantees
/// When the future is dropped, so is everything it runs.
///
/// # Errors
/// Of the first part that ends although it should not.
pub(crate) async fn lead(client: Client, settings: Arc<Settings>, token: CancellationToken) -> Result<(), Error> {
    let problems = Problems::new(settings.clock);
    let may_write = settings.permit.clone();
    let may_write: MayWrite = Arc::new(move || may_write.holds());
    let prober = Prober::new(client.clone(), may_write.clone(), &settings.reconcile);
    let (desired, reconciler) = Reconciler::with_permit(
        client,
        may_write,
        settings.reconcile.clone(),
        settings.clock,
        settings.seed,
    );
    let reconciler = reconciler.measured(settings.metrics.reconciler());
    let _led = settings.metrics.led(desired.report());
    let (work, todo) = watch::channel(None);
    let (stored, done) = watch::channel(0);
    let keeper = Keeper {
        storage: settings.storage.clone(),
        permit: settings.permit.clone(),
        work: todo,
        done: stored,
        problems: problems.clone(),
        backoff: backoff(&settings, 1),
    };
    let ends = Ends {
        desired,
        prober,
        problems,
        work,
        done,
        backoff: backoff(&settings, 2),
    };

    let mut tasks = JoinSet::new();
    tasks.spawn({
        let token = token.clone();
        async move {
            (
                "the reconciler",
                reconciler
                    .run(token)
                    .await
                    .map_err(|error| Error::Reconcile(error.into())),
            )
        }
    });
    tasks.spawn({
        let token = token.clone();
        async move { ("the keeper", keeper.run(token).await) }
    });
    tasks.spawn({
        let token = token.clone();
        async move { ("the sync", Sync::run(settings, ends, token).await) }
    });
    let mut result = Ok(());
    while let Some(ended) = tasks.join_next().await {
        let early = !token.is_cancelled();
        token.cancel();
        let outcome = match ended {
            Ok((part, Ok(()))) if early => Err(Error::Ended(part)),
            Ok((_, outcome)) => outcome,
            Err(_) => Err(Error::Ended("a task")),
        };
        result = result.and(outcome);
    }
    result
}

/// A backoff of its own for each part, from the one seed.
pub(crate) fn backoff(settings: &Settings, part: u64) -> Backoff {
    let rng = SmallRng::seed_from_u64(settings.seed.wrapping_add(part));
    Backoff::new(settings.timings.reconnect_first, settings.timings.reconnect_most, rng)
}
