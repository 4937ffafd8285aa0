//! A first install: agents that hold nothing are sent 5 MB each, all at once.

use anyhow::Result;

use crate::{
    Args,
    report::{Goal, Report},
    stage::Stage,
};

/// Canonical and uncompressed.
const SIZE: usize = 5_000_000;

pub(crate) async fn measure(args: &Args, report: &mut Report) -> Result<()> {
    let stage = Stage::open().await?;
    let members = stage.recruit(args.agents).await?;
    let mut held = stage.hold(args, &members, SIZE, true).await?;
    let before = stage.used()?.resident_bytes;
    stage.forget_peak()?;
    let opened = held.open().await?;
    let above = stage.used()?.peak_bytes.saturating_sub(before) as f64;
    let spread = opened.milliseconds;
    held.close().await;
    report.add("first install of 5 MB: median agent", spread.p50 / 1e3, "s", None, None);
    let (slowest, middle) = (spread.max / 1e3, spread.p50 / 1e3);
    report.add(
        "first install of 5 MB: slowest, against the median",
        slowest,
        "s",
        Some(middle),
        Some(Goal::Floors(2.0)),
    );
    report.add(
        "first install of 5 MB: bytes per agent",
        opened.bytes_per_agent / 1e3,
        "KB",
        None,
        None,
    );
    report.add(
        "first install of 5 MB: server RSS at its peak, above before",
        above / 1e6,
        "MB",
        None,
        None,
    );
    stage.close().await
}
