//! How results reach people and programs: standard output, in the form that `-o` asks for.
//!
//! A command makes a document and says how people should see it; [`Output`] prints the one or the other. Colours are
//! written always and removed by `anstream` unless a terminal shows them or `--color` says so. JSON is pretty,
//! camelCase and only ever gains fields; its types are those of `driftless_client::types` and of the commands'
//! documents. YAML and templates are of the same document. What a command can print is in [`crate::prints`].

mod format;
mod jsonpath;
mod pager;
mod rows;
mod screen;
mod style;
mod table;
pub(crate) mod yaml;

pub(crate) mod changes;
pub(crate) mod health;

use std::io::{IsTerminal as _, Write as _};

use anyhow::Result;
use driftless_model::{manifest::ManifestId, name::Labels};
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

pub(crate) use format::{Format, FormatParser, Kind};
pub(crate) use rows::Rows;
pub(crate) use screen::{Color, Screen, size};
pub(crate) use style::{bad, bold, dim, good, warn};
pub(crate) use table::{Table, cut, visible_width};

/// Where and how to print.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    format: Format,
    allow_missing: bool,
    paged: bool,
}

/// Standard output was closed by whoever read it.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
struct Closed;

impl Output {
    /// Printing in this form. Lines are laid out for standard output as it is from here on.
    pub(crate) fn new(format: Format, color: Color, allow_missing: bool, paged: bool) -> Self {
        Screen::set(format == Format::Wide, color);
        Self {
            format,
            allow_missing,
            paged,
        }
    }

    /// Is it people that read this? Otherwise it is a program.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.format, Format::Table | Format::Wide)
    }

    /// Is there room for all columns and for whole hashes?
    pub(crate) fn is_wide(&self) -> bool {
        self.format == Format::Wide
    }

    /// Prints `document`, or what `text` makes of it for people.
    pub(crate) fn print<T: Serialize>(&self, document: &T, text: impl FnOnce(&T) -> String) -> Result<()> {
        self.print_named(document, |_| Vec::new(), text)
    }

    /// As [`Output::print`], for what has names: `cluster/edge-1`.
    pub(crate) fn print_named<T: Serialize>(
        &self,
        document: &T,
        names: impl FnOnce(&T) -> Vec<String>,
        text: impl FnOnce(&T) -> String,
    ) -> Result<()> {
        let shown = match &self.format {
            Format::Table | Format::Wide => text(document),
            Format::Json => format!("{}\n", serde_json::to_string_pretty(document)?),
            Format::Yaml => yaml::document(&serde_json::to_value(document)?),
            Format::Name => names(document).iter().map(|name| format!("{name}\n")).collect(),
            Format::JsonPath(template) => self.fill(template, document)?,
        };
        if self.paged && pager::show(&shown)? {
            return Ok(());
        }
        write(&shown)
    }

    /// For text that comes bit by bit.
    pub(crate) fn rows(&self) -> Rows {
        Rows::new(self.paged)
    }

    /// Prints one of many documents that follow each other for as long as somebody reads: JSON in one line each,
    /// YAML between `---`, what a template makes of it in a line.
    pub(crate) fn print_next<T: Serialize>(&self, document: &T) -> Result<()> {
        match &self.format {
            Format::Yaml => write(&format!("---\n{}", yaml::document(&serde_json::to_value(document)?))),
            Format::JsonPath(template) => write(&format!("{}\n", self.fill(template, document)?)),
            _ => write(&format!("{}\n", serde_json::to_string(document)?)),
        }
    }

    fn fill(&self, template: &jsonpath::Template, document: &impl Serialize) -> Result<String> {
        let filled = template.evaluate(&serde_json::to_value(document)?, self.allow_missing);
        filled.map_err(|error| {
            let hint = "`-o json` shows the whole document; `--allow-missing-keys` takes a missing key for nothing";
            crate::failure::Advice::new(format!("the template: {error}"), hint).into()
        })
    }
}

/// The name of an object in a cluster, as `kubectl -o name` prints it: `deployment.apps/web`.
pub(crate) fn object_name(id: &ManifestId) -> String {
    let dot = if id.group.is_empty() { "" } else { "." };
    format!("{}{dot}{}/{}", id.kind.to_lowercase(), id.group, id.name)
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
