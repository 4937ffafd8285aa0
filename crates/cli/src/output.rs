//! How results reach people and programs: standard output, as tables or as JSON.
//!
//! Colours are written always and removed by `anstream` unless a terminal shows them. JSON is pretty, camelCase and
//! only ever gains fields; its types are those of `driftless_client::types` and of the commands' documents.

mod style;
mod table;

pub(crate) mod changes;
pub(crate) mod health;

use std::io::{IsTerminal as _, Write as _};

use anyhow::Result;
use driftless_model::name::Labels;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

pub(crate) use style::{bad, bold, dim, good, warn};
pub(crate) use table::{Table, cut};

/// Forms of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

/// Where and how to print.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    format: Format,
}

/// Standard output was closed by whoever read it.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
struct Closed;

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self { format }
    }

    /// Prints `document` as JSON, or what `text` makes of it.
    pub(crate) fn print<T: Serialize>(self, document: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
        match self.format {
            Format::Json => write(&format!("{}\n", serde_json::to_string_pretty(document)?)),
            Format::Table => write(&text(document)),
        }
    }
}

/// Writes to standard output as it is.
pub(crate) fn write(text: &str) -> Result<()> {
    let mut stdout = anstream::stdout().lock();
    closed(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// Tells a reader that went away from other failures to write.
pub(crate) fn closed(outcome: std::io::Result<()>) -> Result<()> {
    outcome.map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Closed.into(),
        _ => anyhow::Error::from(error).context("cannot write to standard output"),
    })
}

/// Writes a line to standard error: what people should know and programs need not parse.
pub(crate) fn note(text: &str) {
    // Nobody is left to tell when stderr itself is gone.
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// A line on standard error that replaces the one before it, on a terminal only.
pub(crate) fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        let mut stderr = std::io::stderr().lock();
        let _ = write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush());
    }
}

/// Did the command fail because nobody reads its output any more?
pub(crate) fn is_closed(error: &anyhow::Error) -> bool {
    error.is::<Closed>()
}

/// `1 cluster`, `2 clusters`.
pub(crate) fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// How long ago, as short as it can be said: `12s`, `5m`, `3h`, `9d`.
pub(crate) fn age(time: Timestamp, now: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(time.as_second()).max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

/// A point in time as the user's clock shows it, and how long ago that was.
pub(crate) fn when(time: Timestamp, now: Timestamp) -> String {
    let local = time.to_zoned(TimeZone::system());
    format!("{} ({} ago)", local.strftime("%Y-%m-%d %H:%M:%S %z"), age(time, now))
}

/// `region=eu,tier=edge`, or `-` without any.
pub(crate) fn labels(labels: &Labels) -> String {
    let all: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(",") }
}

/// Text from elsewhere, in one line and without anything that could move a terminal's cursor.
pub(crate) fn one_line(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|char| if char.is_control() { ' ' } else { char })
        .collect();
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn ages_are_short() {
        let said = |seconds: i64| age(at(1_000_000), at(1_000_000 + seconds));
        assert_eq!(
            [0, 119, 120, 7199, 7200, 172_800].map(said),
            ["0s", "119s", "2m", "119m", "2h", "2d"]
        );
        assert_eq!(said(-5), "0s", "a clock that is behind");
    }

    #[test]
    fn text_from_elsewhere_cannot_move_the_cursor() {
        assert_eq!(one_line("a\x1b[2J\nb\r\tc"), "a [2J b c");
    }

    #[test]
    fn one_thing_is_not_many() {
        assert_eq!(
            (count(1, "cluster"), count(0, "cluster")),
            ("1 cluster".to_owned(), "0 clusters".to_owned())
        );
    }
}
