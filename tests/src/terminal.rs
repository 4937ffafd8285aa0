//! A pseudo-terminal, to see what a program shows a person: colours, cut columns, pagers.

use std::{
    io::{ErrorKind, Read as _},
    os::fd::OwnedFd,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use rustix::{
    fs::{Mode, OFlags},
    pty::OpenptFlags,
    termios::Winsize,
};

/// How long a command may take that is expected to end.
const COMMAND: Duration = Duration::from_secs(120);

/// What a command showed on a terminal.
#[derive(Debug)]
pub struct Shown {
    /// How it ended.
    pub status: ExitStatus,
    /// All that it wrote, to stdout and stderr alike, with escape sequences; line ends are plain `\n`.
    pub screen: String,
}

/// Runs a command to its end on a terminal of this size.
///
/// # Errors
/// Where there is no terminal to be had, or the command cannot be run or does not end.
pub async fn show(mut command: Command, columns: u16, rows: u16) -> Result<Shown> {
    let (terminal, program) = open(columns, rows).context("cannot open a pseudo-terminal")?;
    command
        .env("TERM", "xterm-256color")
        .stdin(Stdio::null())
        .stdout(program.try_clone()?)
        .stderr(program);
    let mut command = tokio::process::Command::from(command);
    let mut child = command.kill_on_drop(true).spawn().context("cannot start the command")?;
    // It holds this side of the terminal open, and so would keep the other from its end.
    drop(command);
    let reading = tokio::task::spawn_blocking(move || read(terminal));
    let status = tokio::time::timeout(COMMAND, child.wait())
        .await
        .with_context(|| format!("the command did not end within {COMMAND:?}"))??;
    let screen = reading.await??;
    Ok(Shown {
        status,
        screen: screen.replace("\r\n", "\n"),
    })
}

/// Both sides of a new terminal: the one that sees, and the one for programs.
fn open(columns: u16, rows: u16) -> std::io::Result<(OwnedFd, OwnedFd)> {
    let terminal = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    rustix::pty::grantpt(&terminal)?;
    rustix::pty::unlockpt(&terminal)?;
    let name = rustix::pty::ptsname(&terminal, Vec::new())?;
    let program = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::termios::tcsetwinsize(
        &program,
        Winsize {
            ws_col: columns,
            ws_row: rows,
            ws_xpixel: 0,
            ws_ypixel: 0,
        },
    )?;
    Ok((terminal, program))
}

/// Reads until every program on the terminal has ended.
fn read(terminal: OwnedFd) -> Result<String> {
    let mut file = std::fs::File::from(terminal);
    let mut bytes = Vec::new();
    match file.read_to_end(&mut bytes) {
        Ok(_) => {}
        // How Linux tells that the other side was closed.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => {}
        Err(error) if error.kind() == ErrorKind::Interrupted => {}
        Err(error) => return Err(error).context("cannot read the terminal"),
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
