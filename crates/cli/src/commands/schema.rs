//! `driftless schema`: the form of `driftless.yaml`, for editors and for readers.

use anyhow::Result;

use crate::{failure::Outcome, output, repository::schema};

/// Print the JSON schema of driftless.yaml
///
/// Editors that know the YAML language server complete and check a file that begins with
/// `# yaml-language-server: $schema=PATH`, the path or address of what this prints.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the reference page instead, in Markdown
    #[arg(long)]
    page: bool,
}

pub(crate) fn run(args: Args) -> Result<Outcome> {
    let Args { page } = args;
    let text = if page {
        schema::page()
    } else {
        format!("{:#}\n", schema::document())
    };
    output::write(&text)?;
    Ok(Outcome::Success)
}
