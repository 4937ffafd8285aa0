//! The binary starts. What its commands do is tested in the workspace's `tests/`; that this file is here makes
//! `cargo test` build the binary for them.

use std::process::Command;

#[test]
fn binary_prints_its_version() {
    let output = Command::new(env!("CARGO_BIN_EXE_driftless"))
        .arg("--version")
        .output()
        .expect("cargo has built it");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        concat!("driftless ", env!("CARGO_PKG_VERSION"))
    );
}
