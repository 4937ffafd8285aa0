//! Keeps one stream to the server open and does what comes over it: the part of a leader that talks to the server.
//!
//! Starts from what is stored, so that a cluster is looked after with the server away. [`session`] decides,
//! [`stream`] carries one stream; here is what lies between two of them: identity and patience.

mod answer;
mod follower;
mod refusal;
mod session;
mod stream;

use std::{sync::Arc, time::Duration};

use driftless_reconcile::{Handle, Report, probe::Prober};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Error,
    backoff::Backoff,
    error::chain,
    join::Member,
    keeper::Save,
    settings::Settings,
    status::{Composer, Problems, Running},
    storage::Storage,
};
pub use follower::{Follower, Heard, Refused};
pub(crate) use session::Content;
use session::{Adoption, Session};

/// Longest absence that a server may ask for.
const MOST_GOODBYE: Duration = Duration::from_secs(600);

/// A cluster that was retired asks this seldom whether it was enrolled anew.
const RETIRED_PAUSE: Duration = Duration::from_secs(600);

/// Problems of finding and believing what to run.
const PART: &str = "sync";

/// The syncing side of a reign.
pub(crate) struct Sync {
    settings: Arc<Settings>,
    member: Member,
    session: Session,
    desired: Handle,
    prober: Prober,
    report: watch::Receiver<Arc<Report>>,
    problems: Problems,
    work: watch::Sender<Option<Save>>,
    done: watch::Receiver<u64>,
    running: Running,
    composer: Composer,
    backoff: Backoff,
}

/// The ends of what connects this to the other tasks of a reign.
pub(crate) struct Ends {
    pub(crate) desired: Handle,
    /// Answers what would be.
    pub(crate) prober: Prober,
    pub(crate) problems: Problems,
    pub(crate) work: watch::Sender<Option<Save>>,
    pub(crate) done: watch::Receiver<u64>,
    pub(crate) backoff: Backoff,
}

/// Why a stream ended, as far as it matters to when the next begins.
#[derive(Debug)]
enum Ended {
    /// Begin the next at once: with another certificate.
    Renewed,
    /// The server asked to come back after that long.
    Goodbye(Duration),
}

impl Sync {
    /// Reads what is stored and hands it to the reconciler.
    ///
    /// # Errors
    /// Whatever the storage cannot do; the caller tries again.
    pub(crate) async fn restore(settings: Arc<Settings>, ends: &Ends) -> Result<(Member, Session, Running), Error> {
        let storage = &settings.storage;
        let identity = sound(storage.identity().await)?;
        let cluster = match &identity {
            Some(identity) => identity.cluster.clone(),
            None => settings.join.read()?.cluster,
        };
        let member = Member::new(settings.clone(), identity);
        let accepted = sound(storage.accepted().await)?.filter(|accepted| accepted.cluster == cluster);
        let mut session = Session::new(cluster, accepted);
        let mut running = Running::default();
        if let Some(accepted) = session.accepted() {
            ends.desired.set_orders(Arc::new(accepted.orders.clone()));
        }
        if let Err(error) = restore_content(storage, &mut session).await? {
            tracing::warn!(error, "stored objects cannot be used; waiting for the server");
            let message = format!("{error}; the server is asked for it");
            ends.problems.set(PART, "CacheIncomplete", message, true);
        }
        if let (Some(accepted), Some(view)) = (session.accepted(), session.restored()) {
            running = Running::new(accepted, &view);
            tracing::info!(sequence = running.sequence, "going on from what is stored");
            ends.desired.set_desired(view);
        } else if let Some(accepted) = session.accepted() {
            (running.sequence, running.revision) = (accepted.directive().sequence, accepted.revision);
        }
        Ok((member, session, running))
    }

    /// Syncs until `token` is cancelled.
    ///
    /// # Errors
    /// [`Error::Refused`] and the like when the cluster never became a member of the fleet and cannot become one.
    pub(crate) async fn run(settings: Arc<Settings>, mut ends: Ends, token: CancellationToken) -> Result<(), Error> {
        let restored = loop {
            let error = tokio::select! { biased;
                () = token.cancelled() => return Ok(()),
                restored = Self::restore(settings.clone(), &ends) => match restored {
                    Ok(restored) => break restored,
                    Err(error) => error,
                },
            };
            pause("cannot read what is stored", error, &mut ends.backoff, &token).await?;
        };
        let (member, session, running) = restored;
        let report = ends.desired.report();
        let Ends {
            desired,
            prober,
            problems,
            work,
            done,
            mut backoff,
        } = ends;
        backoff.reset();
        let composer = Composer::default();
        let sync = Self {
            settings,
            member,
            session,
            desired,
            prober,
            report,
            problems,
            work,
            done,
            running,
            composer,
            backoff,
        };
        sync.keep_connected(token).await
    }

    async fn keep_connected(mut self, token: CancellationToken) -> Result<(), Error> {
        loop {
            let begun = Instant::now();
            let ended = tokio::select! { biased;
                () = token.cancelled() => return Ok(()),
                ended = Box::pin(self.stream()) => ended,
            };
            // However it ended, a stream that lived long was a good one.
            if begun.elapsed() > self.settings.timings.reconnect_most {
                self.backoff.reset();
            }
            match ended {
                Ok(Ended::Renewed) => {}
                Ok(Ended::Goodbye(after)) => {
                    // A server that sends everybody away at once must not be asked without pause.
                    let delay = self.backoff.jitter(after.min(MOST_GOODBYE)).max(self.backoff.next());
                    tokio::select! { biased;
                        () = token.cancelled() => return Ok(()),
                        () = sleep(delay) => {}
                    }
                }
                Err(error) if error.is_retired() => self.rest(&error, &token).await,
                Err(error) if error.is_fatal() && self.member.is_joined() => {
                    pause_whatever("cannot sync", &error, &mut self.backoff, &token).await;
                }
                Err(error) => pause("cannot sync", error, &mut self.backoff, &token).await?,
            }
        }
    }

    /// Waits long, or until there is another join token. What runs goes on being looked after.
    async fn rest(&mut self, error: &Error, token: &CancellationToken) {
        tracing::warn!(error = chain(error), retry_in = ?RETIRED_PAUSE, "this cluster was retired");
        self.problems.set(PART, "ClusterRetired", chain(error), true);
        let until = Instant::now() + self.backoff.jitter(RETIRED_PAUSE);
        while Instant::now() < until && !self.member.has_new_token() {
            let look = self.settings.timings.reconnect_most;
            tokio::select! { biased;
                () = token.cancelled() => return,
                () = sleep(look.min(until - Instant::now())) => {}
            }
        }
    }

    fn adopt(&mut self, adoption: Adoption) {
        let Adoption {
            accepted,
            view,
            generation,
            unsaved,
            keep,
        } = adoption;
        let directive = accepted.directive();
        // Before the view: what is paused must not be applied in between.
        self.desired.set_orders(Arc::new(accepted.orders.clone()));
        // First what the push waits for; `keeper` says why this order is safe.
        if let Some(view) = view {
            self.running = Running::new(&accepted, &view);
            self.desired.set_desired(view);
        }
        (self.running.sequence, self.running.revision) = (directive.sequence, accepted.revision);
        self.settings.metrics.accepted(directive.sequence);
        tracing::info!(
            sequence = directive.sequence,
            channel = %directive.channel,
            snapshot = accepted.running.map(|hash| hash.short()),
            "accepted a directive"
        );
        self.work.send_replace(Some(Save {
            generation,
            objects: unsaved,
            accepted,
            keep,
        }));
    }
}

/// Damaged content is as good as none: the server has it all.
fn sound<T>(read: Result<Option<T>, Error>) -> Result<Option<T>, Error> {
    match read {
        Err(error @ Error::Damaged(..)) => {
            tracing::warn!(error = chain(&error), "starting without it");
            Ok(None)
        }
        other => other,
    }
}

/// Feeds the session with the stored objects, one at a time. The inner error says what is missing or wrong.
async fn restore_content(storage: &Storage, session: &mut Session) -> Result<Result<(), String>, Error> {
    let Some(snapshot) = session.accepted().and_then(|accepted| accepted.running) else {
        return Ok(Ok(()));
    };
    let Some(zstd) = storage.object(snapshot).await? else {
        return Ok(Err(format!("snapshot {} is not stored", snapshot.short())));
    };
    let bundles = match session.restore_snapshot(snapshot, zstd) {
        Ok(bundles) => bundles,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let mut result = Ok(());
    for hash in bundles {
        let restored = match storage.object(hash).await? {
            Some(zstd) => session.restore_bundle(hash, zstd).map_err(|error| error.to_string()),
            None => Err(format!("bundle {} is not stored", hash.short())),
        };
        // The rest is still worth having: less to ask the server for.
        result = result.and(restored);
    }
    Ok(result)
}

async fn pause(what: &str, error: Error, backoff: &mut Backoff, token: &CancellationToken) -> Result<(), Error> {
    if error.is_fatal() {
        return Err(error);
    }
    pause_whatever(what, &error, backoff, token).await;
    Ok(())
}

async fn pause_whatever(what: &str, error: &Error, backoff: &mut Backoff, token: &CancellationToken) {
    let delay = backoff.next();
    tracing::warn!(error = chain(error), retry_in = ?delay, "{what}");
    tokio::select! { biased;
        () = token.cancelled() => {}
        () = sleep(delay) => {}
    }
}
