//! Our two programs start at all, in a home of their own.

use anyhow::Result;
use driftless_tests::process::{Home, Program};

#[tokio::test]
async fn both_programs_print_their_version() -> Result<()> {
    let home = Home::new()?;
    for program in [Program::Driftless, Program::Agent] {
        let printed = home.run(program, &["--version"]).await?.expect_success()?;
        assert_eq!(
            printed.trim(),
            format!("{} {}", program.name(), env!("CARGO_PKG_VERSION"))
        );
    }
    Ok(())
}
