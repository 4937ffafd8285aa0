//! What this machine cannot do without: a bare TLS server that hands bytes to all its clients, and a bare tonic server
//! that holds a stream for each. Their clients are those of the fleet: the same TLS, certificates and addresses.

pub(crate) mod serve;

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use driftless_client::Target;
use driftless_load::{Dial, Member, process};
use driftless_tests::child::{self, Running};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
};

use crate::stage::{SOON, Stage};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Hands bytes to all.
    Tls,
    /// Holds streams.
    Tonic,
}

/// A floor's server.
pub(crate) struct Floor {
    server: Running,
    pub(crate) target: Target,
    control: TcpStream,
    _home: TempDir,
}

/// Clients of a bare TLS server.
pub(crate) struct Clients {
    count: usize,
    shared: Arc<Shared>,
    tasks: JoinSet<Result<()>>,
}

/// What clients write.
struct Shared {
    began: Instant,
    /// Bytes that every client should have read by now.
    expected: AtomicU64,
    /// Clients that have.
    done: AtomicUsize,
    /// When the last one had.
    last: AtomicU64,
}

impl Floor {
    /// Starts one that uses the certificates of a server of ours.
    pub(crate) async fn start(kind: Kind, stage: &Stage) -> Result<Self> {
        let home = child::scratch("floor")?;
        let mut command = Command::new(std::env::current_exe()?);
        let word = kind.to_possible_value().context("every kind has a name")?;
        command.args(["--floor", word.get_name(), "--data"]).arg(stage.data());
        let server = Running::spawn("floor", command, home.path())?;
        let line = server.line("floor at", SOON).await?;
        let mut words = line.split_whitespace().skip(2);
        let port = words.next().context("the floor's server says its port")?;
        let control = words.next().context("the floor's server says its other port")?;
        let target = Target {
            server: format!("https://127.0.0.1:{port}").parse()?,
            ..stage.target.clone()
        };
        let control = TcpStream::connect(("127.0.0.1", control.parse::<u16>()?)).await?;
        control.set_nodelay(true)?;
        Ok(Self {
            server,
            target,
            control,
            _home: home,
        })
    }

    pub(crate) fn used(&self) -> Result<process::Used> {
        process::used(self.server.pid()).with_context(|| format!("the floor's server is gone{}", self.server.tail()))
    }

    /// Connects a client for each member; says how long it took until the server had let in the last.
    pub(crate) async fn connect(&self, members: &[Member], connecting: usize) -> Result<(Clients, Duration)> {
        let dial = Arc::new(Dial::new(&self.target).await?);
        let shared = Arc::new(Shared {
            began: Instant::now(),
            // The server says one byte to whom it has let in.
            expected: AtomicU64::new(1),
            done: AtomicUsize::new(0),
            last: AtomicU64::new(0),
        });
        let turns = Arc::new(Semaphore::new(connecting));
        let mut tasks = JoinSet::new();
        let begun = Instant::now();
        for (number, member) in members.iter().enumerate() {
            let (dial, shared, turns, member) = (dial.clone(), shared.clone(), turns.clone(), member.clone());
            tasks.spawn(async move {
                let turn = turns.acquire_owned().await?;
                let mut tls = dial.open(number, Some(member.identity()), None).await?;
                drop(turn);
                let (mut buffer, mut read, mut reached) = (vec![0; 8192], 0, 0);
                loop {
                    let some = tls.read(&mut buffer).await?;
                    ensure!(some > 0, "the floor's server has closed a connection");
                    read += some as u64;
                    let expected = shared.expected.load(Ordering::Acquire);
                    if read >= expected && reached < expected {
                        reached = expected;
                        let at = u64::try_from(shared.began.elapsed().as_nanos())?;
                        shared.last.fetch_max(at, Ordering::Relaxed);
                        shared.done.fetch_add(1, Ordering::Release);
                    }
                }
            });
        }
        let mut clients = Clients {
            count: members.len(),
            shared,
            tasks,
        };
        clients.all().await?;
        let took = clients.last().saturating_duration_since(begun);
        Ok((clients, took))
    }

    /// Hands so many bytes to all; says how long it took until the last client had read them, and what processor time of
    /// the server's each cost, in seconds.
    pub(crate) async fn push(&mut self, clients: &mut Clients, bytes: u32) -> Result<(Duration, f64)> {
        clients.shared.done.store(0, Ordering::Release);
        clients.shared.expected.fetch_add(bytes.into(), Ordering::AcqRel);
        let (before, begun) = (self.used()?, Instant::now());
        self.control.write_u32(bytes).await?;
        clients.all().await?;
        let took = clients.last().saturating_duration_since(begun);
        let used = self.used()?.cpu_seconds - before.cpu_seconds;
        Ok((took, used / clients.count as f64))
    }
}

impl Clients {
    /// Waits for all of them.
    async fn all(&mut self) -> Result<()> {
        let begun = Instant::now();
        while self.shared.done.load(Ordering::Acquire) < self.count {
            tokio::select! { biased;
                Some(ended) = self.tasks.join_next() => ended??,
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
            ensure!(
                begun.elapsed() < SOON,
                "the floor's clients do not get what they are sent"
            );
        }
        Ok(())
    }

    /// Closes all connections.
    pub(crate) async fn close(mut self) {
        self.tasks.shutdown().await;
    }

    fn last(&self) -> Instant {
        self.shared.began + Duration::from_nanos(self.shared.last.load(Ordering::Relaxed))
    }
}
