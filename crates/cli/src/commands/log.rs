//! `driftless log`: who pushed what to a channel, and when.

use anyhow::Result;
use driftless_client::types::LogEntry;
use driftless_model::{
    name::{ChannelName, ComponentName},
    snapshot::ComponentChange,
};
use jiff::Timestamp;

use crate::{
    app::App,
    failure::Outcome,
    now,
    output::{self, age, bad, bold, dim, good, one_line, warn},
    prints::{self, Part, Prints},
};

/// Show a channel's history, newest first
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The channel
    channel: ChannelName,
    /// One line per push
    #[arg(long)]
    oneline: bool,
    /// At most this many pushes
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

pub(crate) const PRINTS: Prints = Prints {
    paged: true,
    document: &[Part {
        at: "[].",
        fields: &[
            ("snapshot", "the snapshot it made"),
            ("parent", "the one it replaced; `null` for a channel's first"),
            ("time", "when"),
            ("author", "who"),
            ("message", "why, in the author's words"),
            ("source.*", "from what: `host`, `user`, `path`, `commit` and the like"),
            (
                "changes.*.before",
                "of each component that it changed, the bundle before; `null` when it is new",
            ),
            ("changes.*.after", "the bundle after; `null` when it was removed"),
        ],
    }],
    ..prints::NAMED
};

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args {
        channel,
        oneline,
        limit,
    } = args;
    let entries = app.client()?.log(&channel, limit).await?;
    let names = |entries: &Vec<LogEntry>| {
        let hashes = entries.iter().map(|entry| entry.snapshot);
        hashes.map(|hash| format!("snapshot/{hash}")).collect()
    };
    app.output.print_named(&entries, names, |entries| {
        if entries.is_empty() {
            output::note(&format!("nobody has pushed to channel `{channel}` yet"));
        }
        let line = if oneline { one } else { full };
        entries.iter().map(|entry| line(entry, now())).collect()
    })?;
    Ok(Outcome::Success)
}

fn one(entry: &LogEntry, now: Timestamp) -> String {
    let changes: Vec<_> = entry
        .changes
        .iter()
        .map(|(name, change)| format!("{}{name}", sign(change)))
        .collect();
    let line = format!(
        "{} {:>4} {} {} {}",
        warn(entry.snapshot.short()),
        age(entry.time, now),
        one_line(&entry.author),
        changes.join(" "),
        one_line(&entry.message),
    );
    format!("{}\n", line.trim_end())
}

fn full(entry: &LogEntry, now: Timestamp) -> String {
    let mut out = format!("{} {}\n", bold("snapshot"), warn(entry.snapshot.to_string()));
    out.push_str(&format!(
        "Author: {}\nDate:   {}\n",
        one_line(&entry.author),
        output::when(entry.time, now)
    ));
    out.push_str(&source(entry));
    if !entry.message.is_empty() {
        out.push('\n');
        for line in entry.message.lines() {
            out.push_str(&format!("    {}\n", one_line(line)));
        }
    }
    out.push('\n');
    for (component, change) in &entry.changes {
        out.push_str(&format!("  {}\n", change_line(component, change)));
    }
    out.push('\n');
    out
}

fn source(entry: &LogEntry) -> String {
    if entry.source.is_empty() {
        return String::new();
    }
    let parts: Vec<_> = entry
        .source
        .iter()
        .map(|(key, value)| format!("{}={}", one_line(key), one_line(value)))
        .collect();
    format!("Source: {}\n", parts.join(" "))
}

/// `+` for a component that is new, `-` for one that was removed, `~` for another version.
fn sign(change: &ComponentChange) -> char {
    match (change.before, change.after) {
        (None, _) => '+',
        (_, None) => '-',
        _ => '~',
    }
}

fn change_line(component: &ComponentName, change: &ComponentChange) -> String {
    match (change.before, change.after) {
        (Some(before), Some(after)) => format!(
            "{} {component} {}",
            warn("~"),
            dim(format!("{} → {}", before.short(), after.short()))
        ),
        (None, Some(after)) => format!("{} {component} {}", good("+"), dim(after.short())),
        (Some(before), None) => format!("{} {component} {}", bad("-"), dim(before.short())),
        (None, None) => format!("  {component}"),
    }
}

#[cfg(test)]
mod tests {
    use driftless_model::hash::ObjectHash;

    use super::*;

    fn entry() -> LogEntry {
        let hash = |byte: u8| ObjectHash::from([byte; 32]);
        let change = |before, after| ComponentChange { before, after };
        LogEntry {
            snapshot: hash(0x1a),
            parent: None,
            time: "2026-01-02T03:04:05Z".parse().unwrap(),
            author: "admin".to_owned(),
            message: "first\n\x1b[2Jsecond line".to_owned(),
            source: [("host".to_owned(), "ci".to_owned())].into(),
            changes: [
                ("a".parse().unwrap(), change(None, Some(hash(1)))),
                ("b".parse().unwrap(), change(Some(hash(1)), Some(hash(2)))),
                ("c".parse().unwrap(), change(Some(hash(2)), None)),
            ]
            .into(),
        }
    }

    fn plain(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn one_line_holds_all_that_matters() {
        let now = "2026-01-02T03:14:05Z".parse().unwrap();
        assert_eq!(
            plain(&one(&entry(), now)),
            "1a1a1a1a1a1a  10m admin +a ~b -c first [2Jsecond line\n"
        );
    }

    #[test]
    fn entry_shows_source_message_and_changes() {
        let text = plain(&full(&entry(), entry().time));
        assert!(
            text.contains("Source: host=ci\n\n    first\n    [2Jsecond line\n\n  + a 010101010101\n"),
            "{text}"
        );
        assert!(
            text.contains("  ~ b 010101010101 → 020202020202\n  - c 020202020202\n"),
            "{text}"
        );
    }
}
