//! Our own programs, run as a user runs them: the real binaries, a private home, captured output.
//!
//! Suites make a [`Home`] and run `driftless` and `driftless-agent` in it. The binaries are built once per
//! test process, beside the test itself.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::LazyLock,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::child::{self, Running};

/// A folder with `driftless` and `driftless-agent`, used as they are instead of building them.
pub const BINARIES: &str = "DRIFTLESS_BINARIES";
/// How long a command may take that is expected to end.
const COMMAND: Duration = Duration::from_secs(120);

/// One of our programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The command line, server included.
    Driftless,
    /// The agent.
    Agent,
}

impl Program {
    /// Its file name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Driftless => "driftless",
            Self::Agent => "driftless-agent",
        }
    }

    /// Its file, built first where that is needed.
    ///
    /// # Errors
    /// Where the build fails; with the compiler's output.
    pub fn path(self) -> Result<PathBuf> {
        static FOLDER: LazyLock<Result<PathBuf, String>> =
            LazyLock::new(|| built().map_err(|error| format!("{error:#}")));
        let folder = FOLDER.as_ref().map_err(|error| anyhow!("{error}"))?;
        let path = folder.join(self.name());
        if !path.is_file() {
            bail!(
                "no {} in {}; unset {BINARIES} to build it",
                self.name(),
                folder.display()
            );
        }
        Ok(path)
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// The command line, for messages.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Finished {
    /// Runs a command to its end.
    pub async fn of(name: &str, arguments: &[impl AsRef<OsStr>], mut command: tokio::process::Command) -> Result<Self> {
        let words: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
        let line = format!("{name} {}", words.join(" "));
        let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
        let output = tokio::time::timeout(COMMAND, output)
            .await
            .with_context(|| format!("`{line}` did not end within {COMMAND:?}"))?
            .with_context(|| format!("cannot run `{line}`"))?;
        Ok(Self {
            line,
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Its stdout, where it succeeded.
    ///
    /// # Errors
    /// Where it did not; with all it wrote.
    pub fn expect_success(self) -> Result<String> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        bail!(
            "`{}` failed: {}\n{}{}",
            self.line,
            self.status,
            self.stdout,
            self.stderr
        )
    }

    /// Its stderr, where it failed in an orderly way (an exit code, no signal, no panic).
    ///
    /// # Errors
    /// Where it succeeded or crashed; with all it wrote.
    pub fn expect_failure(self) -> Result<String> {
        let orderly = self.status.code().is_some_and(|code| code != 0) && !self.stderr.contains("panicked at");
        if orderly {
            return Ok(self.stderr);
        }
        bail!(
            "`{}` did not fail as it should: {}\n{}{}",
            self.line,
            self.status,
            self.stdout,
            self.stderr
        )
    }

    /// Its stdout as JSON, where it succeeded.
    pub fn json<T: DeserializeOwned>(self) -> Result<T> {
        let line = self.line.clone();
        let stdout = self.expect_success()?;
        serde_json::from_str(&stdout).with_context(|| format!("`{line}` did not print JSON: {stdout}"))
    }
}

/// The private home folder of one test's user: configuration, output files, anything it writes.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
}

impl Home {
    /// A new, empty one.
    pub fn new() -> Result<Self> {
        Ok(Self {
            folder: child::scratch("home")?,
        })
    }

    /// Its path, which is also the working folder of everything run in it.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `driftless` to its end. A failing command is not an error here.
    pub async fn driftless(&self, arguments: &[&str]) -> Result<Finished> {
        self.run(Program::Driftless, arguments).await
    }

    /// Runs one of our programs to its end.
    pub async fn run(&self, program: Program, arguments: &[&str]) -> Result<Finished> {
        let mut command = tokio::process::Command::from(self.command(program)?);
        command.args(arguments);
        Finished::of(program.name(), arguments, command).await
    }

    /// Starts one of our programs; `name` names its output files. Wait for what it says with [`Running::line`].
    pub fn spawn(&self, name: &str, program: Program, arguments: &[&str]) -> Result<Running> {
        self.spawn_with(name, program, arguments, &[])
    }

    /// As [`Self::spawn`], with additions to its environment.
    pub fn spawn_with(
        &self,
        name: &str,
        program: Program,
        arguments: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Running> {
        let mut command = self.command(program)?;
        command.args(arguments).envs(environment.iter().copied());
        Running::spawn(name, command, self.path())
    }

    /// The program in this home, with none of the caller's settings for it.
    pub fn command(&self, program: Program) -> Result<Command> {
        let mut command = Command::new(program.path()?);
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("DRIFTLESS_") {
                command.env_remove(name);
            }
        }
        // What a push tells of a CI run depends on these alone.
        for marker in [
            "GITHUB_ACTIONS",
            "GITLAB_CI",
            "CIRCLECI",
            "BUILDKITE",
            "TF_BUILD",
            "JENKINS_URL",
        ] {
            command.env_remove(marker);
        }
        command
            .current_dir(self.path())
            .env("HOME", self.path())
            .env("XDG_CONFIG_HOME", self.path().join(".config"))
            .env("USER", "tester")
            .env_remove("KUBECONFIG")
            .env("RUST_BACKTRACE", "1");
        Ok(command)
    }
}

/// Builds both programs with the test's own profile and target folder, and gives the folder they are in.
///
/// By the very command of the README, which has nothing left to do when that is what runs this test: a build of
/// the two programs alone would choose other features for what they depend on, and compile half of it anew.
fn built() -> Result<PathBuf> {
    if let Some(folder) = env::var_os(BINARIES).filter(|value| !value.is_empty()) {
        return std::path::absolute(&folder).context("cannot resolve the folder of binaries");
    }
    let test = env::current_exe().context("cannot tell where this test is")?;
    let layout = Layout::of(&test)?;
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["test", "--quiet", "--workspace", "--no-run"])
        .arg(format!("--profile={}", layout.profile))
        .arg("--target-dir")
        .arg(&layout.target)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .stdin(Stdio::null());
    if let Some(triple) = &layout.triple {
        command.args(["--target", triple]);
    }
    let output = command
        .output()
        .context("cannot run cargo to build driftless and driftless-agent")?;
    if !output.status.success() {
        bail!(
            "cannot build driftless and driftless-agent:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(layout.folder)
}

/// What the place of a test executable says about the build it came from.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    target: PathBuf,
    triple: Option<String>,
    profile: String,
    folder: PathBuf,
}

impl Layout {
    /// Reads `<target>[/<triple>]/<profile>/deps/<test>`.
    fn of(test: &Path) -> Result<Self> {
        let folder = test
            .ancestors()
            .nth(2)
            .with_context(|| format!("not a test of cargo's: {}", test.display()))?;
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let profile = match name(folder).context("a test at the root of the file system")?.as_str() {
            // The folder of the profile `dev` has a name of its own.
            "debug" => String::from("dev"),
            other => other.to_owned(),
        };
        let above = folder.parent().context("a test without a target folder")?;
        let triple = name(above).filter(|name| name.matches('-').count() >= 2 && above.parent().is_some_and(is_target));
        let target = if triple.is_some() {
            above.parent().unwrap_or(above)
        } else {
            above
        };
        Ok(Self {
            target: target.to_owned(),
            triple,
            profile,
            folder: folder.to_owned(),
        })
    }
}

/// Cargo marks its target folder.
fn is_target(folder: &Path) -> bool {
    folder.join("CACHEDIR.TAG").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_tells_profile_and_target_folder() {
        let layout = Layout::of(Path::new("/w/target/debug/deps/suite-1f")).unwrap();
        assert_eq!(layout.target, Path::new("/w/target"));
        assert_eq!(layout.profile, "dev");
        assert_eq!(layout.triple, None);
        assert_eq!(layout.folder, Path::new("/w/target/debug"));
    }

    #[test]
    fn layout_tells_a_target_triple() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("CACHEDIR.TAG"), "").unwrap();
        let test = root.path().join("x86_64-unknown-linux-musl/release/deps/suite-1f");
        let layout = Layout::of(&test).unwrap();
        assert_eq!(layout.target, root.path());
        assert_eq!(layout.triple.as_deref(), Some("x86_64-unknown-linux-musl"));
        assert_eq!(layout.profile, "release");
    }
}
