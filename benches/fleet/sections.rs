//! What is measured, section by section. Each leaves its figures in the report.

mod change;
mod clusters;
mod install;
mod law;
mod replicas;
mod scale;

use anyhow::Result;

pub(crate) use change::{CPU, IDLE};

use crate::{Args, Section, git, report::Report};

/// All sections that were asked for.
pub(crate) async fn all(args: &Args, report: &mut Report) -> Result<()> {
    let is_asked = |section: Section| args.sections.contains(&section);
    if [Section::Change, Section::Idle, Section::Blob, Section::Reconnect]
        .into_iter()
        .any(is_asked)
    {
        Box::pin(change::measure(args, report)).await?;
    }
    if is_asked(Section::Git) {
        Box::pin(git::measure(args, report)).await?;
    }
    if is_asked(Section::Law) {
        Box::pin(law::measure(args, report)).await?;
    }
    if is_asked(Section::Components) {
        Box::pin(scale::components(args, report)).await?;
    }
    if is_asked(Section::Journal) {
        Box::pin(scale::journal(args, report)).await?;
    }
    if is_asked(Section::Install) {
        Box::pin(install::measure(args, report)).await?;
    }
    if is_asked(Section::Replicas) {
        Box::pin(replicas::measure(args, report)).await?;
    }
    if is_asked(Section::Clusters) {
        Box::pin(clusters::measure(args, report)).await?;
    }
    Ok(())
}
