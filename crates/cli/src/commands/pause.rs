//! `driftless pause`: leave clusters, or components of them, alone for a while.

use std::time::Duration;

use anyhow::Result;
use driftless_client::Asked;

use super::ordered::Subject;
use crate::{
    app::App,
    failure::{Advice, Outcome},
    output,
};

/// Leave a cluster, or a component of it, alone for a while
///
/// Nothing is applied, repaired or deleted until the pause ends by itself, or with `driftless resume`; the agent goes on
/// watching, and does then at once what there is to do. Pauses hold with the server away, and everybody sees them and
/// their reason in `clusters`, `status` and `explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    subject: Subject,
    /// For how long, at most 30d
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = super::cluster::parse_ttl)]
    duration: Duration,
    /// Why, for everybody who wonders
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args {
        subject,
        duration,
        reason,
    } = args;
    let Ok(seconds) = u32::try_from(duration.as_secs()) else {
        return Err(Advice::new("--for is longer than a pause may last", "the longest is 30d").into());
    };
    let client = app.client()?;
    let found = subject.find(&client).await?;
    let asked = Asked::Pause {
        component: found.component.clone(),
        seconds,
        reason,
    };
    let done = format!("paused for {}", length(duration.as_secs()));
    let outcome = found.ask(&client, app, &asked, &done).await?;
    if app.output.is_text() {
        output::note("it goes on by itself then; `driftless resume` ends the pause before");
    }
    Ok(outcome)
}

/// A length of time in the largest unit that it is a multiple of.
fn length(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "m")];
    let unit = units.iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
    let (unit, letter) = unit.copied().unwrap_or((1, "s"));
    format!("{}{letter}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_told_as_they_are_given() {
        let told = [86_400, 7200, 5400, 61].map(length);
        assert_eq!(told, ["1d", "2h", "90m", "61s"]);
    }
}
