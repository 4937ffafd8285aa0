//! Other people's programs: started, read to their end, and ended when this one is interrupted.
//!
//! [`render`](super::render) says which. Nothing here knows what they print.

use std::{
    collections::BTreeSet,
    io::{self, Read},
    process::{Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use driftless_model::yaml::Limits;
use tokio::{
    runtime::Handle,
    signal::unix::{SignalKind, signal},
};

/// The programs that run now.
#[derive(Debug, Default)]
pub(crate) struct Programs {
    running: Arc<Mutex<Running>>,
}

#[derive(Debug, Default)]
struct Running {
    ids: BTreeSet<u32>,
    watched: bool,
}

/// Whether people see what a program says on stderr at once, or only when it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stderr {
    /// At once, as it is.
    PassedThrough,
    /// Kept, and told when it ends.
    Kept,
}

/// Why a program gave nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It is not there.
    Missing,
    /// It could not be started or read.
    Io(io::Error),
    /// It failed, and this is what it said where that was kept.
    Failed(ExitStatus, String),
    /// It printed more than any set of manifests has.
    TooMuch(usize),
}

impl Programs {
    /// Runs a program to its end; gives what it printed on stdout and, where kept, on stderr.
    pub(crate) fn run(&self, mut command: Command, stderr: Stderr) -> Result<(Vec<u8>, String), Failure> {
        self.end_with_us().map_err(Failure::Io)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(match stderr {
            Stderr::PassedThrough => Stdio::inherit(),
            Stderr::Kept => Stdio::piped(),
        });
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::Missing,
            _ => Failure::Io(error),
        })?;
        let id = child.id();
        self.running().ids.insert(id);
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let limit = Limits::default().text_bytes;
        let (printed, said) = thread::scope(|scope| {
            let said = scope.spawn(|| read(stderr, limit));
            let printed = read(stdout, limit);
            if !printed.as_ref().is_ok_and(|bytes| bytes.len() <= limit) {
                // It would wait for ever for somebody to read the rest.
                let _ = child.kill();
            }
            (printed, said.join().unwrap_or_else(|_| Ok(Vec::new())))
        });
        let status = child.wait();
        self.running().ids.remove(&id);
        let (printed, said) = (printed.map_err(Failure::Io)?, said.map_err(Failure::Io)?);
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        match status.map_err(Failure::Io)? {
            _ if printed.len() > limit => Err(Failure::TooMuch(limit)),
            status if status.success() => Ok((printed, said)),
            status => Err(Failure::Failed(status, said)),
        }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From the first program on, a signal that ends this one ends all that run. A terminal sends its own to all
    /// of them; this is for whoever signals this process alone.
    fn end_with_us(&self) -> io::Result<()> {
        let Ok(runtime) = Handle::try_current() else {
            return Ok(());
        };
        let mut running = self.running();
        if std::mem::replace(&mut running.watched, true) {
            return Ok(());
        }
        for (kind, code) in [(SignalKind::interrupt(), 130), (SignalKind::terminate(), 143)] {
            let mut signals = signal(kind)?;
            let programs = Arc::clone(&self.running);
            // Lives as long as the process, which is what it ends.
            drop(runtime.spawn(async move {
                signals.recv().await;
                for id in &programs.lock().unwrap_or_else(PoisonError::into_inner).ids {
                    end(*id);
                }
                std::process::exit(code);
            }));
        }
        Ok(())
    }
}

fn end(id: u32) {
    let id = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw);
    // One that has ended by itself needs no ending.
    let _ = id.map(|id| rustix::process::kill_process(id, rustix::process::Signal::TERM));
}

fn read(from: Option<impl Read>, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> Result<(Vec<u8>, String), Failure> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Programs::default().run(command, Stderr::Kept)
    }

    #[test]
    fn both_streams_are_read_to_their_end() {
        let (printed, said) = run("seq 1 100000; seq 1 100000 >&2; echo end >&2").unwrap();
        assert!(printed.ends_with(b"\n100000\n"));
        assert!(said.ends_with("\nend"));
    }

    #[test]
    fn failure_keeps_what_was_said() {
        let Err(Failure::Failed(status, said)) = run("echo half; echo why >&2; exit 3") else {
            panic!("it failed");
        };
        assert_eq!((status.code(), said.as_str()), (Some(3), "why"));
    }

    #[test]
    fn program_that_never_stops_printing_is_ended() {
        assert!(matches!(run("yes"), Err(Failure::TooMuch(_))));
    }

    #[test]
    fn absent_program_is_told_from_one_that_fails() {
        let found = Programs::default().run(Command::new("driftless-no-such-program"), Stderr::Kept);
        assert!(matches!(found, Err(Failure::Missing)));
    }
}
