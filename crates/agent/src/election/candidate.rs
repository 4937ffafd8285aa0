//! Stands for leader: reads, watches and writes the Lease as [`State`] says. Decides nothing itself.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::TryStreamExt;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        coordination::v1::{Lease, LeaseSpec},
        core::v1::Namespace,
    },
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams, WatchEvent, WatchParams},
};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{LEASE, Permit, Record, State, Step};
use crate::{
    Error,
    backoff::Backoff,
    error::chain,
    settings::{Clock, Timings},
};

/// A try at renewing the Lease is given at least this long, if there is so much time.
const LEAST_TRY: Duration = Duration::from_secs(1);

impl Record {
    fn of(lease: &Lease) -> Self {
        let spec = lease.spec.clone().unwrap_or_default();
        let seconds = spec
            .lease_duration_seconds
            .and_then(|seconds| u64::try_from(seconds).ok())
            .unwrap_or_default();
        Self {
            holder: spec.holder_identity.unwrap_or_default(),
            duration: Duration::from_secs(seconds),
            acquired: spec.acquire_time.map(|time| time.0),
            renewed: spec.renew_time.map(|time| time.0),
            transitions: spec.lease_transitions.unwrap_or_default(),
            version: lease.metadata.resource_version.clone().unwrap_or_default(),
        }
    }
}

/// The Lease in the API and what is needed to stand for it.
pub(crate) struct Candidate {
    client: Client,
    api: Api<Lease>,
    namespace: String,
    state: State,
    timings: Timings,
    clock: Clock,
    start: Instant,
    backoff: Backoff,
    permit: Arc<Permit>,
}

impl Candidate {
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        holder: String,
        timings: Timings,
        clock: Clock,
        permit: Arc<Permit>,
        backoff: Backoff,
    ) -> Self {
        let api = Api::namespaced(client.clone(), namespace);
        let state = State::new(holder, timings);
        Self {
            client,
            api,
            namespace: namespace.to_owned(),
            state,
            timings,
            clock,
            start: Instant::now(),
            backoff,
            permit,
        }
    }

    /// Lets the permit be what the state says.
    fn keep_permit(&self) {
        let deadline = self.state.deadline();
        self.permit
            .set(deadline.map(|deadline| deadline.saturating_sub(self.now())));
    }

    /// What this candidate calls itself.
    pub(super) fn holder(&self) -> &str {
        &self.state.holder
    }

    pub(super) fn timings(&self) -> Timings {
        self.timings
    }

    /// Another one leads, whatever the Lease said a moment ago. Waits a while before standing again.
    pub(super) async fn give_way(&mut self) {
        self.state.held = None;
        self.keep_permit();
        sleep(self.backoff.next()).await;
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Waits until this process leads.
    pub(super) async fn campaign(&mut self) {
        while !self.state.is_leader() {
            if let Err(error) = self.stand().await {
                let delay = self.backoff.next();
                tracing::warn!(error = chain(&error), retry_in = ?delay, "cannot stand for leader");
                sleep(delay).await;
            } else {
                self.backoff.reset();
            }
        }
    }

    /// Reads the Lease. A connection whose other end is gone may stay silent for good.
    async fn read(&self) -> Result<Option<Lease>, Error> {
        timeout(self.timings.renew_deadline, self.api.get_opt(LEASE))
            .await
            .unwrap_or_else(|_| Err(silence()))
            .map_err(Error::kubernetes(format!("read Lease {LEASE}")))
    }

    /// Reads the Lease, then waits or writes as the state says.
    async fn stand(&mut self) -> Result<(), Error> {
        let lease = self.read().await?;
        let now = self.now();
        self.state.observe(lease.as_ref().map(Record::of), now);
        self.keep_permit();
        loop {
            match self.state.step(self.now()) {
                Step::Write {
                    acquired,
                    transitions,
                    over,
                } => {
                    return timeout(self.timings.renew_deadline, self.write(acquired, transitions, over))
                        .await
                        .unwrap_or_else(|_| Err(not_written(silence())));
                }
                Step::Wait { until } => {
                    let version = lease.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
                    self.stand_by(until, version.unwrap_or_default()).await?;
                    if self.state.step(self.now()) == (Step::Wait { until }) {
                        // The watch ended early: read again.
                        return Ok(());
                    }
                }
                Step::Stop => return Ok(()),
            }
        }
    }

    /// Follows the Lease until it expires or may be had. A watch sees a release at once and costs a standby nothing
    /// but its holder's renewals.
    async fn stand_by(&mut self, until: Duration, version: String) -> Result<(), Error> {
        let failed = || Error::kubernetes(format!("watch Lease {LEASE}"));
        let params = WatchParams::default().fields(&format!("metadata.name={LEASE}"));
        let wait = until.saturating_sub(self.now());
        let watching = timeout(wait, self.api.watch(&params, &version)).await;
        let Ok(watching) = watching else { return Ok(()) };
        let mut events = pin!(watching.map_err(failed())?);
        let mut until = until;
        loop {
            let wait = until.saturating_sub(self.now());
            let record = match timeout(wait, events.try_next()).await {
                Err(_) => return Ok(()),
                Ok(Err(error)) => return Err(failed()(error)),
                Ok(Ok(None | Some(WatchEvent::Error(_)))) => return Ok(()),
                Ok(Ok(Some(WatchEvent::Bookmark(_)))) => continue,
                Ok(Ok(Some(WatchEvent::Deleted(lease)))) if is_ours(&lease) => None,
                Ok(Ok(Some(WatchEvent::Added(lease) | WatchEvent::Modified(lease)))) if is_ours(&lease) => {
                    Some(Record::of(&lease))
                }
                Ok(Ok(Some(_))) => continue,
            };
            let now = self.now();
            self.state.observe(record, now);
            match self.state.step(now) {
                Step::Wait { until: next } => until = next,
                Step::Write { .. } | Step::Stop => return Ok(()),
            }
        }
    }

    async fn write(&mut self, acquired: bool, transitions: i32, over: Option<Record>) -> Result<(), Error> {
        let begun = self.now();
        let wall = (self.clock)();
        let acquire_time = match &over {
            Some(record) if !acquired => record.acquired.unwrap_or(wall),
            _ => wall,
        };
        let lease = self.lease(&self.state.holder, acquire_time, transitions, over.as_ref());
        let result = match &over {
            Some(_) => self.api.replace(LEASE, &PostParams::default(), &lease).await,
            None => self.create(&lease).await,
        };
        match result {
            Ok(lease) => {
                self.state.wrote(Record::of(&lease), begun);
                self.keep_permit();
                Ok(())
            }
            // Somebody else was faster, or took it away: read again.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {
                let lease = self.read().await?;
                let now = self.now();
                self.state.observe(lease.as_ref().map(Record::of), now);
                self.keep_permit();
                Ok(())
            }
            Err(error) => Err(not_written(error)),
        }
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, kube::Error> {
        match self.api.create(&PostParams::default(), lease).await {
            // An agent outside the cluster may be the first to need the namespace.
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let namespaces: Api<Namespace> = Api::all(self.client.clone());
                let metadata = ObjectMeta {
                    name: Some(self.namespace.clone()),
                    ..ObjectMeta::default()
                };
                let namespace = Namespace {
                    metadata,
                    ..Namespace::default()
                };
                match namespaces.create(&PostParams::default(), &namespace).await {
                    Ok(_) => {}
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    Err(error) => return Err(error),
                }
                self.api.create(&PostParams::default(), lease).await
            }
            other => other,
        }
    }

    fn lease(&self, holder: &str, acquired: Timestamp, transitions: i32, over: Option<&Record>) -> Lease {
        let seconds = i32::try_from(self.timings.lease.as_secs().max(1)).unwrap_or(i32::MAX);
        Lease {
            metadata: ObjectMeta {
                name: Some(LEASE.to_owned()),
                namespace: Some(self.namespace.clone()),
                resource_version: over.map(|record| record.version.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(holder.to_owned()),
                lease_duration_seconds: Some(seconds),
                acquire_time: Some(MicroTime(acquired)),
                renew_time: Some(MicroTime((self.clock)())),
                lease_transitions: Some(transitions),
                ..LeaseSpec::default()
            }),
        }
    }

    /// Keeps renewing, and returns once this process leads no more.
    pub(super) async fn hold(&mut self) {
        loop {
            let now = self.now();
            let Some(deadline) = self.state.deadline() else { return };
            match self.state.step(now) {
                Step::Stop => {
                    tracing::error!("could not renew Lease {LEASE} in time: stopped");
                    self.state.held = None;
                    self.keep_permit();
                    return;
                }
                Step::Wait { until } => sleep_until(self.start + until).await,
                Step::Write {
                    acquired,
                    transitions,
                    over,
                } => {
                    // A connection that hangs must leave time for another.
                    let left = deadline.saturating_sub(now);
                    let limit = (left / 2).max(LEAST_TRY).min(left);
                    match timeout(limit, self.write(acquired, transitions, over)).await {
                        Ok(Ok(())) => self.backoff.reset(),
                        Ok(Err(error)) => {
                            tracing::warn!(error = chain(&error), "cannot renew Lease {LEASE}");
                            let delay = self.backoff.next();
                            sleep(delay.min(deadline.saturating_sub(self.now()))).await;
                        }
                        Err(_) => tracing::warn!("cannot renew Lease {LEASE}: no answer within {limit:?}"),
                    }
                }
            }
        }
    }

    /// Gives the Lease up, so that another pod can take over at once.
    pub(super) async fn release(&mut self) {
        let (Some(_), Some((Some(record), _))) = (self.state.held.take(), self.state.seen.clone()) else {
            return;
        };
        self.keep_permit();
        let acquired = record.acquired.unwrap_or_else(|| (self.clock)());
        let mut lease = self.lease("", acquired, record.transitions, Some(&record));
        if let Some(spec) = &mut lease.spec {
            // As client-go: a released Lease is one that ran for a second.
            spec.lease_duration_seconds = Some(1);
        }
        match timeout(
            self.timings.renew_every,
            self.api.replace(LEASE, &PostParams::default(), &lease),
        )
        .await
        {
            Ok(Ok(_)) => tracing::info!("released Lease {LEASE}"),
            Ok(Err(error)) => tracing::warn!(error = chain(&error), "cannot release Lease {LEASE}"),
            Err(_) => tracing::warn!("cannot release Lease {LEASE} in time"),
        }
    }
}

fn not_written(error: kube::Error) -> Error {
    Error::kubernetes(format!("write Lease {LEASE}"))(error)
}

fn silence() -> kube::Error {
    kube::Error::Service("no answer in time".into())
}

fn is_ours(lease: &Lease) -> bool {
    lease.metadata.name.as_deref() == Some(LEASE)
}
