//! The programs that are measured: release builds, each of its own.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use driftless_tests::process::BINARIES;
use serde_json::Value;

/// Where they are.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) driftless: PathBuf,
    pub(crate) agent: PathBuf,
}

impl Programs {
    /// Takes those in the folder that `DRIFTLESS_BINARIES` names, or builds them.
    pub(crate) fn build() -> Result<Self> {
        if let Some(folder) = std::env::var_os(BINARIES).filter(|value| !value.is_empty()) {
            let folder = std::path::absolute(folder)?;
            return Ok(Self {
                driftless: folder.join("driftless"),
                agent: folder.join("driftless-agent"),
            });
        }
        Ok(Self {
            driftless: built("driftless-cli", "driftless")?,
            // Alone: built together, it would get the features that only the server needs.
            agent: built("driftless-agent", "driftless-agent")?,
        })
    }
}

fn built(package: &str, program: &str) -> Result<PathBuf> {
    eprintln!("building {program}");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--release", "--bin", program, "--package", package])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    ensure!(output.status.success(), "cannot build {program}");
    let messages = String::from_utf8(output.stdout)?;
    let mut executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == program).then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    executables
        .next_back()
        .with_context(|| format!("cargo built {program} and did not say where"))
}
