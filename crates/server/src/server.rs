//! A server's life: start everything in order, own every task, stop in the opposite order.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use driftless_store::{Bucket, Journal, journal};
use rand::{TryRngCore, rngs::OsRng};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    Error, Settings,
    auth::Auth,
    egress::Egress,
    hub::Hub,
    listener::Listener,
    metrics::Metrics,
    objects::Objects,
    pki::{Authority, Serving, Tickets, Verifiers, wanted_names},
    router,
    secrets::{DataFolder, Readers, random_text},
    services::Core,
    status_table::{StatusTable, replicas::Replicas},
};

/// How often the certificate files are looked at again.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(600);

/// A server that is started and listens; [`Server::run`] serves.
pub struct Server {
    folder: DataFolder,
    address: SocketAddr,
    grace: Duration,
    core: Arc<Core>,
    journal: journal::Task,
    replicas: Replicas,
    listener: Listener,
    health: HealthReporter,
    serving: Arc<Serving>,
    tickets: Arc<Tickets>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Prepares the data folder, reads the journal and takes the port. Clients may connect from now on; they are
    /// answered once [`Server::run`] runs.
    ///
    /// # Errors
    /// When a file, the bucket or the port cannot be used; a broken journal is named entry by number.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        let folder = DataFolder::open(&settings.data)?;
        let bucket = match &settings.bucket {
            Some(url) => Bucket::open(url).await?,
            None => Bucket::open(&folder.path("bucket").to_string_lossy()).await?,
        };
        Self::start_on(bucket, settings).await
    }

    /// As [`Server::start`], on a bucket that is open already, whatever `settings` say of it: fakes go in here.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_on(bucket: Bucket, settings: Settings) -> Result<Self, Error> {
        let Settings {
            data,
            listen,
            bucket: _,
            tls,
            client_ca,
            names,
            grace,
            connections,
            clock,
        } = settings;
        let folder = DataFolder::open(&data)?;
        let authority = Arc::new(Authority::open(&folder, clock())?);
        let auth = Auth::open(&folder)?;
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let names = wanted_names(listen, &host, &names)?;
        let serving = Arc::new(Serving::open(&folder, &authority, tls, names, clock())?);
        let verifiers = Verifiers::new(&authority, client_ca.as_deref())?;
        let tickets = Arc::new(Tickets::open(&folder, verifiers.trust, clock)?);
        let tls = verifiers.config(Arc::clone(&serving), Arc::clone(&tickets))?;

        let seed = OsRng
            .try_next_u64()
            .map_err(|error| Error::Setting(format!("no random numbers: {error}")))?;
        let writer = format!("{host}-{:08x}", seed >> 32);
        let settings = journal::Settings::new(writer);
        let (journal, task) = Journal::open(bucket.clone(), settings, Arc::new(clock), seed).await?;

        let metrics = Arc::new(Metrics::new());
        let objects = Arc::new(Objects::new(bucket.clone(), Arc::clone(&metrics)));
        let table = Arc::new(StatusTable::new());
        let mut replicas = Replicas::new(bucket.clone(), Arc::clone(&table), replica(&folder, &host)?);
        replicas.restore().await;
        let hub = Arc::new(Hub::new(Arc::clone(&objects), Arc::clone(&metrics)));
        let expecting = Arc::clone(&hub);
        let task = task.telling(move |coming| expecting.expect_snapshot(coming));
        let core = Arc::new(Core {
            auth,
            authority,
            bucket,
            journal,
            objects,
            egress: Egress::new(),
            hub,
            table,
            metrics: Arc::clone(&metrics),
            clock,
            stopping: CancellationToken::new(),
        });
        let (router, health) = router::new(&core).await;
        let listener = Listener::bind(listen, tls, verifiers, router, metrics, connections, clock)?;
        let address = listener.local_addr().map_err(|source| Error::Listen {
            address: listen,
            source,
        })?;
        Ok(Self {
            folder,
            address,
            grace,
            core,
            journal: task,
            replicas,
            listener,
            health,
            serving,
            tickets,
        })
    }

    /// The address it listens at, with the port it really has.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The certificate of its own CA, as PEM: what clients trust it by, unless it has a certificate of its operator's.
    pub fn ca_pem(&self) -> &str {
        self.core.authority.pem()
    }

    /// The file with that certificate.
    pub fn ca_path(&self) -> PathBuf {
        self.folder.path("ca.crt")
    }

    /// The file with the admin token.
    pub fn admin_token_path(&self) -> PathBuf {
        self.folder.path("admin.token")
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        self.folder.root()
    }

    /// Serves until `shutdown`. Then agents are told to reconnect, open calls and appends finish and are answered,
    /// and what does not finish in time is ended.
    ///
    /// # Errors
    /// When a part of the server ends by itself: the journal's, when somebody has altered the bucket.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let Self {
            core,
            journal,
            replicas,
            listener,
            health,
            serving,
            tickets,
            grace,
            ..
        } = self;
        let (stopping, stop_journal) = (core.stopping.clone(), CancellationToken::new());
        let mut tasks = JoinSet::new();
        {
            let stop = stop_journal.clone();
            tasks.spawn(async move { (JOURNAL, journal.run(stop).await.map_err(Error::from)) });
        }
        {
            // After the last stream has ended, so that the end of each is written.
            let (followed, stop) = (core.journal.clone(), stop_journal.clone());
            tasks.spawn(async move {
                replicas.run(followed, stop).await;
                ("status", Ok(()))
            });
        }
        {
            let (hub, states, stop) = (Arc::clone(&core.hub), core.journal.state(), stopping.clone());
            tasks.spawn(async move {
                hub.run(states, stop).await;
                ("hub", Ok(()))
            });
        }
        {
            let (core, stop) = (Arc::clone(&core), stopping.clone());
            tasks.spawn(async move {
                watch_certificate(&core, &serving, &tickets, stop).await;
                ("watch on its certificate", Ok(()))
            });
        }
        {
            let stop = stopping.clone();
            tasks.spawn(async move {
                listener.run(stop, grace).await;
                (LISTENER, Ok(()))
            });
        }

        let early = tokio::select! {
            biased;
            () = shutdown.cancelled() => None,
            ended = tasks.join_next() => ended,
        };
        let mut result = match early {
            None => Ok(()),
            Some(ended) => ended_early(ended),
        };
        tracing::info!("stopping");
        router::report(&health, ServingStatus::NotServing).await;
        stopping.cancel();
        core.hub.stop();
        let mut is_listening = !matches!(result, Err(Error::TaskEnded(LISTENER)));
        // The journal goes last: calls that are being served may still append.
        while is_listening {
            match tasks.join_next().await {
                Some(Ok((LISTENER, _))) | None => is_listening = false,
                Some(Ok((_, ended))) => result = result.and(ended),
                Some(Err(_)) => result = result.and(Err(Error::TaskEnded("tasks"))),
            }
        }
        stop_journal.cancel();
        while let Some(ended) = tasks.join_next().await {
            result = result.and(ended.map_or(Err(Error::TaskEnded("tasks")), |(_, ended)| ended));
        }
        result
    }
}

/// What this replica is called, now and after a restart.
fn replica(folder: &DataFolder, host: &str) -> Result<String, Error> {
    const FILE: &str = "replica";
    if let Some(name) = folder.read(FILE)? {
        return Ok(name.trim().to_owned());
    }
    let host = host
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    let name = format!("{}-{}", host.collect::<String>(), &random_text()[..8]);
    folder.write(FILE, &format!("{name}\n"), Readers::All)?;
    Ok(name)
}

const JOURNAL: &str = "journal";
const LISTENER: &str = "listener";

fn ended_early(ended: Result<(&'static str, Result<(), Error>), tokio::task::JoinError>) -> Result<(), Error> {
    match ended {
        Ok((_, Err(error))) => Err(error),
        Ok((name, Ok(()))) => Err(Error::TaskEnded(name)),
        Err(panic) => {
            tracing::error!(%panic, "a task failed");
            Err(Error::TaskEnded("tasks"))
        }
    }
}

async fn watch_certificate(core: &Core, serving: &Serving, tickets: &Tickets, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(CERTIFICATE_CHECK) => {}
        }
        if let Err(error) = serving.refresh(&core.authority, (core.clock)()) {
            tracing::error!(%error, "cannot renew the server's certificate; the old one stays in use");
        }
        if let Err(error) = tickets.refresh() {
            tracing::error!(%error, "cannot renew the keys of session tickets; the old ones stay in use");
        }
    }
}
