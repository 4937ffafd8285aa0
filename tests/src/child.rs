//! Every process that a test starts: where its output goes, how it is watched, how it ends.
//!
//! `plane` and `process` start theirs through [`Running::spawn`]. A child dies with its [`Running`];
//! should this process be killed before that (or hold it in a static), a watchdog ends whatever is
//! left and removes the scratch folders. This module knows nothing of what it runs.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Read as _, Seek as _, SeekFrom},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tempfile::TempDir;

use crate::wait::eventually;

/// Set to anything to keep the scratch folders, with every log, after the tests.
pub const KEEP: &str = "DRIFTLESS_KEEP_LOGS";

/// How much of a log is shown where something failed.
const TAIL_LINES: usize = 30;

/// A started process. Killed and reaped on drop.
#[derive(Debug)]
pub struct Running {
    name: String,
    pid: Pid,
    child: Mutex<Child>,
    stdout: Log,
    stderr: Log,
}

/// One output file, and where this run's part of it begins.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    begin: u64,
}

impl Running {
    /// Starts `command` with its output in `<folder>/<name>.out` and `.err`, appended to.
    ///
    /// # Errors
    /// Where the program or the files cannot be opened.
    pub fn spawn(name: &str, mut command: Command, folder: &Path) -> Result<Self> {
        let (stdout, out) = Log::open(folder.join(format!("{name}.out")))?;
        let (stderr, err) = Log::open(folder.join(format!("{name}.err")))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .process_group(Watchdog::of_this_process()?.group)
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", command.get_program().display()))?;
        Ok(Self {
            name: name.to_owned(),
            pid: Pid::from_child(&child),
            child: Mutex::new(child),
            stdout,
            stderr,
        })
    }

    /// The name it was started under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// What it wrote to stdout so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it wrote to stderr so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// How it ended, if it did.
    pub fn exit(&self) -> Result<Option<ExitStatus>> {
        Ok(self.child().try_wait()?)
    }

    /// Sends a signal. A process that has ended is an error.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if let Some(status) = self.exit()? {
            bail!("{} has ended already: {status}{}", self.name, self.tail());
        }
        kill_process(self.pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Stops it where it is; it neither answers nor lets go of its connections.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused one go on.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills it (SIGKILL) and waits until it is gone. Does nothing where it has ended.
    pub fn kill(&self) {
        let mut child = self.child();
        // Both fail only for a process that was reaped already, which is what is wanted.
        drop(child.kill());
        drop(child.wait());
    }

    /// Asks it to end (SIGTERM) and waits for it.
    pub async fn terminate(&self, within: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.exited(within).await
    }

    /// Waits until it has ended by itself.
    pub async fn exited(&self, within: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.name);
        eventually(within, &what, async || self.exit())
            .await
            .map_err(|error| anyhow!("{error}{}", self.tail()))
    }

    /// Waits for the first line on stdout or stderr that contains `needle`, and gives it.
    ///
    /// # Errors
    /// At the deadline, or as soon as the process ends without having said it; with its last output.
    pub async fn line(&self, needle: &str, within: Duration) -> Result<String> {
        let what = format!("{} to say {needle:?}", self.name);
        let seen = eventually(within, &what, async || {
            // Before the look at the output, so that the last words of an ended process count.
            let exit = self.exit()?;
            let found = [&self.stdout, &self.stderr]
                .iter()
                .find_map(|log| log.text().lines().find(|line| line.contains(needle)).map(str::to_owned));
            Ok(match (found, exit) {
                (Some(line), _) => Some(Ok(line)),
                (None, Some(status)) => Some(Err(status)),
                (None, None) => None,
            })
        })
        .await;
        match seen {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(status)) => bail!("{what}: it ended first, {status}{}", self.tail()),
            Err(error) => bail!("{error}{}", self.tail()),
        }
    }

    /// Resident memory now.
    pub fn resident_bytes(&self) -> Result<u64> {
        self.status_kilobytes("VmRSS:")
    }

    /// The most memory that was ever resident.
    pub fn peak_resident_bytes(&self) -> Result<u64> {
        self.status_kilobytes("VmHWM:")
    }

    /// Processor time used so far, in user and kernel, all threads.
    pub fn cpu_time(&self) -> Result<Duration> {
        cpu_time(self.pid()).with_context(|| format!("{} is gone", self.name))
    }

    /// The end of both outputs, headed and ready to be appended to an error.
    pub fn tail(&self) -> String {
        let mut text = String::new();
        for log in [&self.stdout, &self.stderr] {
            let all = log.text();
            let lines: Vec<_> = all.lines().collect();
            if let Some(last) = lines
                .get(lines.len().saturating_sub(TAIL_LINES)..)
                .filter(|last| !last.is_empty())
            {
                text.push_str(&format!("\n--- end of {}\n{}", log.path.display(), last.join("\n")));
            }
        }
        text
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        // A panic elsewhere must not keep the process alive.
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn status_kilobytes(&self, field: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(&path).with_context(|| format!("{} is gone: {path}", self.name))?;
        let kilobytes = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.split_whitespace().next()?.parse::<u64>().ok())
            .with_context(|| format!("{} has ended: no {field} in {path}", self.name))?;
        Ok(kilobytes * 1024)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{} of the failed test:{}", self.name, self.tail());
        }
    }
}

/// Processor time that process `pid` used so far, in user and kernel, all threads.
///
/// # Errors
/// Where there is none.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    times(&pid.to_string(), 11)
}

/// Processor time in user and kernel that children of this process had used when they were waited for.
///
/// # Errors
/// Where the machine does not tell.
pub fn children_cpu_time() -> Result<Duration> {
    times("self", 13)
}

/// Two neighbouring times of `/proc/<pid>/stat`, added; `place` is that of the first, counted after the command's name.
fn times(pid: &str, place: usize) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The command, second, may hold spaces and brackets; what follows its last bracket is regular.
    let after = stat.rsplit_once(')').map(|(_, after)| after).unwrap_or_default();
    let fields = after.split_whitespace().skip(place).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(
        ticks * 1000 / rustix::param::clock_ticks_per_second(),
    ))
}

impl Log {
    fn open(path: PathBuf) -> Result<(Self, fs::File)> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let begin = file.metadata()?.len();
        Ok((Self { path, begin }, file))
    }

    /// This run's part; what cannot be read reads as nothing, since it is only ever shown or searched.
    fn text(&self) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = fs::File::open(&self.path)
            && file.seek(SeekFrom::Start(self.begin)).is_ok()
        {
            drop(file.read_to_end(&mut bytes));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A new folder that goes away when dropped, or at the latest with this process.
pub fn scratch(name: &str) -> Result<TempDir> {
    let mut folder = tempfile::Builder::new()
        .prefix(&format!("{name}-"))
        .tempdir_in(&Watchdog::of_this_process()?.folder)
        .context("cannot make a scratch folder")?;
    folder.disable_cleanup(std::env::var_os(KEEP).is_some());
    Ok(folder)
}

/// A shell that waits for the end of this process, then removes the scratch folder and ends
/// the process group that all children are in (its own).
///
/// The end is seen as the closing of a pipe, which also happens when this process is killed.
#[derive(Debug)]
struct Watchdog {
    /// Holds the pipe open.
    _shell: Child,
    group: i32,
    folder: PathBuf,
}

static WATCHDOG: LazyLock<Result<Watchdog, String>> =
    LazyLock::new(|| Watchdog::start().map_err(|error| format!("{error:#}")));

impl Watchdog {
    fn of_this_process() -> Result<&'static Self> {
        WATCHDOG
            .as_ref()
            .map_err(|error| anyhow!("no watchdog over test processes: {error}"))
    }

    fn start() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("driftless-tests-{}", std::process::id()));
        // Left by an earlier process of the same number.
        if let Err(error) = fs::remove_dir_all(&folder)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(error).with_context(|| format!("cannot clear {}", folder.display()));
        }
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let script = if std::env::var_os(KEEP).is_some() {
            eprintln!("{KEEP}: logs stay in {}", folder.display());
            "cat >/dev/null; kill -KILL 0"
        } else {
            r#"cat >/dev/null; rm -rf -- "$1"; kill -KILL 0"#
        };
        let shell = Command::new("sh")
            .args(["-c", script, "driftless-tests-watchdog"])
            .arg(&folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start sh")?;
        let group = i32::try_from(shell.id()).context("process id out of range")?;
        Ok(Self {
            _shell: shell,
            group,
            folder,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> (TempDir, Running) {
        let folder = scratch("child").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let running = Running::spawn("script", command, folder.path()).unwrap();
        (folder, running)
    }

    #[tokio::test]
    async fn line_is_found_on_either_output() {
        let (_folder, running) = shell("echo one; echo two words >&2; exec sleep 60");
        assert_eq!(running.line("two", SOON).await.unwrap(), "two words");
        assert_eq!(running.line("one", SOON).await.unwrap(), "one");
    }

    #[tokio::test]
    async fn early_end_is_reported_with_the_last_words() {
        let (_folder, running) = shell("echo cannot bind >&2; exit 3");
        let error = running.line("listening", SOON).await.unwrap_err().to_string();
        assert!(
            error.contains("ended first") && error.contains("cannot bind"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn dropped_process_is_gone() {
        let (_folder, running) = shell("exec sleep 60");
        let proc = PathBuf::from(format!("/proc/{}", running.pid()));
        assert!(proc.exists());
        assert!(running.resident_bytes().unwrap() > 0);
        drop(running);
        assert!(!proc.exists());
    }

    #[tokio::test]
    async fn paused_process_can_be_killed() {
        let (_folder, running) = shell("echo up; exec sleep 60");
        running.line("up", SOON).await.unwrap();
        running.pause().unwrap();
        running.kill();
        assert!(running.exit().unwrap().is_some());
    }
}
