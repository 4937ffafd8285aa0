//! The real server and the real `driftless push`, with a wire between them that counts.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use driftless_tests::child::{self, Running};
use tempfile::TempDir;

use crate::repository::Repository;

/// For anything that should happen at once, on a machine that is busy.
const SOON: Duration = Duration::from_secs(120);

/// What one push cost.
#[derive(Debug)]
pub(crate) struct Cost {
    /// Seconds.
    pub(crate) wall: f64,
    /// Processor seconds.
    pub(crate) client: f64,
    pub(crate) server: f64,
    /// Bytes on the wire.
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Objects stored.
    pub(crate) stored: usize,
}

/// Bytes that went each way.
#[derive(Default)]
struct Wire {
    sent: AtomicU64,
    received: AtomicU64,
}

/// What runs.
pub(crate) struct Stage {
    home: TempDir,
    program: PathBuf,
    server: Running,
    wire: Arc<Wire>,
    address: String,
}

impl Stage {
    /// Starts a server of `program` with the channel `prod`.
    pub(crate) fn open(program: &Path) -> Result<Self> {
        let home = child::scratch("push")?;
        let mut command = Command::new(program);
        command.args(["server", "--data", "data", "--listen", "127.0.0.1:0"]);
        command.current_dir(home.path()).env("HOME", home.path());
        let server = Running::spawn("server", command, home.path())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let line = runtime.block_on(server.line("listening on https://", SOON))?;
        let port = line.rsplit(':').next().and_then(|port| port.trim().parse::<u16>().ok());
        let wire = Arc::new(Wire::default());
        let counted = listen(
            port.context("the server does not say where it listens")?,
            Arc::clone(&wire),
        )?;
        let stage = Self {
            address: format!("https://127.0.0.1:{counted}"),
            home,
            program: program.to_owned(),
            server,
            wire,
        };
        stage.run(stage.command(&["channel", "create", "prod"]))?;
        Ok(stage)
    }

    /// Pushes the repository.
    pub(crate) fn push(&self, repository: &Repository, more: &[&str]) -> Result<Cost> {
        let mut command = self.command(&["push"]);
        command.args(more).current_dir(repository.folder());
        let (stored, server) = (self.objects()?, self.server.cpu_time()?);
        let (sent, received) = self.wire.so_far();
        let used = child::children_cpu_time()?;
        let begin = Instant::now();
        self.run(command)?;
        let wall = begin.elapsed().as_secs_f64();
        let now = self.wire.so_far();
        Ok(Cost {
            wall,
            client: (child::children_cpu_time()? - used).as_secs_f64(),
            server: (self.server.cpu_time()? - server).as_secs_f64(),
            sent: now.0 - sent,
            received: now.1 - received,
            stored: self.objects()?.saturating_sub(stored),
        })
    }

    fn command(&self, args: &[&str]) -> Command {
        let data = self.home.path().join("data");
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .env("HOME", self.home.path())
            .env("DRIFTLESS_SERVER", &self.address)
            .env("DRIFTLESS_CA", data.join("ca.crt"))
            .env("DRIFTLESS_TOKEN_FILE", data.join("admin.token"));
        command
    }

    fn run(&self, mut command: Command) -> Result<()> {
        let output = command.stdin(Stdio::null()).output()?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "{command:?} failed: {told}{}",
            self.server.tail()
        );
        Ok(())
    }
}

impl Stage {
    /// Objects in the bucket.
    fn objects(&self) -> Result<usize> {
        let folder = self.home.path().join("data/bucket/objects");
        let mut count = 0;
        if folder.exists() {
            for part in std::fs::read_dir(folder)? {
                count += std::fs::read_dir(part?.path())?.count();
            }
        }
        Ok(count)
    }
}

impl Wire {
    fn so_far(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed))
    }
}

/// Passes connections on to `port`; says on which port. Its threads end with the process.
fn listen(port: u16, wire: Arc<Wire>) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let own = listener.local_addr()?.port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                continue;
            };
            // Neither side waits for acknowledgements without a wire between them.
            if client
                .set_nodelay(true)
                .and_then(|()| server.set_nodelay(true))
                .is_err()
            {
                continue;
            }
            let ways = client.try_clone().and_then(|client| Ok((client, server.try_clone()?)));
            let Ok((from_client, to_client)) = ways else { continue };
            let there = Arc::clone(&wire);
            thread::spawn(move || pass(from_client, server, &there.sent));
            let back = Arc::clone(&wire);
            thread::spawn(move || pass(to_client, client, &back.received));
        }
    });
    Ok(own)
}

fn pass(mut from: TcpStream, mut to: TcpStream, count: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return to.shutdown(Shutdown::Write);
        }
        count.fetch_add(read as u64, Ordering::Relaxed);
        to.write_all(&buffer[..read])?;
    }
}
