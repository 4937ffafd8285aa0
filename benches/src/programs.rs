//! The programs that are measured: release builds, each of its own.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use driftless_tests::process::BINARIES;
use serde_json::Value;

/// The file of `program` of `package`: in the folder that `DRIFTLESS_BINARIES` names, or built.
///
/// Built one by one: built together, a small program would get the features that only a large one needs.
///
/// # Errors
/// Where the build fails; cargo has told why by then.
pub fn release(package: &str, program: &str) -> Result<PathBuf> {
    match std::env::var_os(BINARIES).filter(|value| !value.is_empty()) {
        Some(folder) => Ok(std::path::absolute(folder)?.join(program)),
        None => built(package, program),
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
