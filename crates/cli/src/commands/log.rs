//! `driftless log`: who pushed what to a channel, and when.

use std::collections::BTreeMap;

use anyhow::Result;
use driftless_client::{
    Log,
    types::{LogChange, LogEntry},
};
use driftless_model::{bundle::lines::Tally, name::ComponentName};
use futures::TryStreamExt as _;
use jiff::Timestamp;

use crate::{
    app::App,
    failure::Outcome,
    moment::Moment,
    now,
    output::{self, age, bad, bold, count, dim, good, one_line, warn},
    prints::{self, Part, Prints},
    resolve::{self, Named},
};

/// Components of one push that are listed; `driftless show` has all.
const MAX_LISTED: usize = 20;
/// The same in a single line.
const MAX_IN_LINE: usize = 4;

/// Show a channel's history, newest first
///
/// Begins with an older push when given one: `driftless log prod~10`. Filters are for the server to keep, so a
/// component's history is quick however long the channel's is.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The channel, or the snapshot to begin with: its hash, CHANNEL~N or CHANNEL@{2h}
    #[arg(value_name = "CHANNEL|SNAPSHOT")]
    what: String,
    /// One line per push
    #[arg(long)]
    oneline: bool,
    /// At most this many pushes [default: all]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Only pushes since then: `2h`, `3d`, 2026-11-01, 2026-11-01T08:30:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,
    /// Only pushes until then
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
    /// Only pushes by whoever has this in the name
    #[arg(long, value_name = "TEXT")]
    author: Option<String>,
    /// Only pushes that changed this component
    #[arg(long, value_name = "NAME")]
    component: Option<ComponentName>,
    /// Only pushes with this in the message, in any case
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
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
            (
                "changes.*.objects.*",
                "number of objects `added`, `changed` and `removed`; absent with --oneline",
            ),
        ],
    }],
    ..prints::NAMED
};

pub(crate) async fn run(args: Args, app: &App) -> Result<Outcome> {
    let Args {
        what,
        oneline,
        limit,
        since,
        until,
        author,
        component,
        grep,
    } = args;
    let client = app.client()?;
    let now = now();
    let log = Log {
        limit,
        since: since.map(|since| since.when(now)),
        until: until.map(|until| until.when(now)),
        author: author.unwrap_or_default(),
        component,
        message: grep.unwrap_or_default(),
        count_objects: !oneline,
        ..Log::default()
    };
    let start = match resolve::name(&client, &what).await? {
        Named::Channel(channel) => Log {
            channel: Some(channel.name),
            ..log
        },
        Named::Object(hash) => Log {
            from: Some(hash),
            ..log
        },
    };
    let is_filtered = start.component.is_some()
        || start.since.is_some()
        || start.until.is_some()
        || !(start.author.is_empty() && start.message.is_empty());
    let mut entries = client.history(start);
    if !app.output.is_text() {
        let entries: Vec<_> = entries.try_collect().await?;
        let names = |entries: &Vec<LogEntry>| {
            let hashes = entries.iter().map(|entry| entry.snapshot);
            hashes.map(|hash| format!("snapshot/{hash}")).collect()
        };
        app.output.print_named(&entries, names, |_| String::new())?;
        return Ok(Outcome::Success);
    }
    let line = if oneline { one } else { full };
    let mut rows = app.output.rows();
    let mut found = false;
    while let Some(entry) = entries.try_next().await? {
        let gap = if found && !oneline { "\n" } else { "" };
        found = true;
        if !rows.push(&format!("{gap}{}", line(&entry, now)))? {
            break;
        }
    }
    rows.finish()?;
    if !found && is_filtered {
        output::note(&format!("no push to `{what}` fits"));
    } else if !found {
        output::note(&format!("nobody has pushed to channel `{what}` yet"));
    }
    Ok(Outcome::Success)
}

fn one(entry: &LogEntry, now: Timestamp) -> String {
    let mut changes: Vec<_> = entry
        .changes
        .iter()
        .take(MAX_IN_LINE)
        .map(|(name, change)| sign(change).1(format!("{}{name}", sign(change).0)))
        .collect();
    let more = entry.changes.len().saturating_sub(MAX_IN_LINE);
    if more > 0 {
        changes.push(dim(format!("and {more} more")));
    }
    let line = format!(
        "{} {:>4} {} {} {}",
        warn(entry.snapshot.short()),
        age(entry.time, now),
        one_line(&entry.author),
        changes.join(" "),
        one_line(entry.message.lines().next().unwrap_or_default()),
    );
    format!("{}\n", line.trim_end())
}

fn full(entry: &LogEntry, now: Timestamp) -> String {
    let mut out = format!("{} {}\n", bold("snapshot"), warn(entry.snapshot.to_string()));
    out.push_str(&header(&entry.author, entry.time, &entry.source, &entry.message, now));
    out.push('\n');
    out.push_str(&changes(entry, MAX_LISTED));
    out
}

/// What a push changed, a line for each component.
pub(super) fn changes(entry: &LogEntry, most: usize) -> String {
    let mut out = String::new();
    let changes: Vec<_> = entry.changes.iter().take(most).collect();
    let width = changes
        .iter()
        .map(|(name, _)| name.as_str().len())
        .max()
        .unwrap_or_default();
    for (component, change) in changes {
        out.push_str(&format!("  {}\n", change_line(component, change, width)));
    }
    let more = entry.changes.len().saturating_sub(most);
    if more > 0 {
        let rest = format!(
            "and {more} more; `driftless show {}` lists them",
            entry.snapshot.short()
        );
        out.push_str(&format!("  {}\n", dim(rest)));
    }
    out
}

/// Who, when, from what and why: the lines that `log` and `show` have in common.
pub(super) fn header(
    author: &str,
    time: Timestamp,
    source: &BTreeMap<String, String>,
    message: &str,
    now: Timestamp,
) -> String {
    let mut out = format!("Author: {}\nDate:   {}\n", one_line(author), output::when(time, now));
    for line in origin(source) {
        out.push_str(&line);
        out.push('\n');
    }
    if !message.is_empty() {
        out.push('\n');
        for line in message.lines() {
            out.push_str(&format!("    {}\n", one_line(line)));
        }
    }
    out
}

/// Where a push came from: the commit first, then whatever else was told.
fn origin(source: &BTreeMap<String, String>) -> Vec<String> {
    let get = |key: &str| {
        source
            .get(key)
            .map(|value| one_line(value))
            .filter(|value| !value.is_empty())
    };
    let mut lines = Vec::new();
    if let Some(commit) = get("commit") {
        let branch = get("branch").map(|branch| format!(" on {branch}")).unwrap_or_default();
        let dirty = get("dirty")
            .filter(|dirty| dirty == "true")
            .map(|_| warn(" with changes that are in no commit"));
        let link = link(get("remote").as_deref(), &commit).map(|link| format!("  {}", dim(link)));
        lines.push(format!(
            "Commit: {commit}{branch}{}{}",
            dirty.unwrap_or_default(),
            link.unwrap_or_default()
        ));
    }
    let told = ["commit", "branch", "dirty", "remote"];
    let is_told = |key: &str| source.contains_key("commit") && told.contains(&key);
    let rest: Vec<_> = source
        .iter()
        .filter(|(key, _)| !is_told(key))
        .map(|(key, value)| format!("{}={}", one_line(key), one_line(value)))
        .collect();
    if !rest.is_empty() {
        lines.push(format!("Source: {}", rest.join(" ")));
    }
    lines
}

/// Where a browser shows the commit, for the forges whose addresses are all alike.
fn link(remote: Option<&str>, commit: &str) -> Option<String> {
    let remote = remote?.strip_suffix(".git").unwrap_or(remote?);
    let path = match remote.strip_prefix("git@") {
        Some(rest) => rest.replacen(':', "/", 1),
        None => {
            let rest = remote
                .strip_prefix("https://")
                .or_else(|| remote.strip_prefix("ssh://"))?;
            // Whoever cloned with a password in the address does not want it shown.
            rest.rsplit_once('@').map_or(rest, |(_, rest)| rest).to_owned()
        }
    };
    let page = if path.starts_with("gitlab.") {
        "/-/commit/"
    } else {
        "/commit/"
    };
    let commit = commit.split_whitespace().next().unwrap_or(commit);
    Some(format!("https://{path}{page}{commit}"))
}

/// `+` for a component that is new, `-` for one that was removed, `~` for another version; and its colour.
fn sign(change: &LogChange) -> (char, fn(String) -> String) {
    match (change.before, change.after) {
        (None, _) => ('+', good),
        (_, None) => ('-', bad),
        _ => ('~', warn),
    }
}

fn change_line(component: &ComponentName, change: &LogChange, width: usize) -> String {
    let hashes = match (change.before, change.after) {
        (Some(before), Some(after)) => format!("{} → {}", before.short(), after.short()),
        (None, Some(one)) | (Some(one), None) => one.short(),
        (None, None) => String::new(),
    };
    let (sign, colour) = sign(change);
    let objects = change
        .objects
        .map(|tally| format!("  {}", counts(tally)))
        .unwrap_or_default();
    format!(
        "{} {:width$} {}{objects}",
        colour(sign.to_string()),
        component.as_str(),
        dim(hashes)
    )
}

/// `3 objects: 1 changed, 2 added`; what a component's overlays and the like are about has no objects.
fn counts(tally: Tally) -> String {
    let parts: Vec<_> = [
        (tally.changed, "changed"),
        (tally.added, "added"),
        (tally.removed, "removed"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .collect();
    match parts.as_slice() {
        [] => "how it runs".to_owned(),
        [(number, word)] => format!("{} {word}", count(*number as usize, "object")),
        parts => {
            let parts: Vec<_> = parts.iter().map(|(number, word)| format!("{number} {word}")).collect();
            format!("{}: {}", count(tally.total() as usize, "object"), parts.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use driftless_model::hash::ObjectHash;

    use super::*;

    fn entry() -> LogEntry {
        let hash = |byte: u8| ObjectHash::from([byte; 32]);
        let change = |before, after, changed, added| LogChange {
            before,
            after,
            objects: Some(Tally {
                added,
                changed,
                removed: 0,
            }),
        };
        LogEntry {
            snapshot: hash(0x1a),
            parent: None,
            time: "2026-01-02T03:04:05Z".parse().unwrap(),
            author: "admin".to_owned(),
            message: "first\n\x1b[2Jsecond line".to_owned(),
            source: [("host".to_owned(), "ci".to_owned())].into(),
            changes: [
                ("a".parse().unwrap(), change(None, Some(hash(1)), 0, 2)),
                ("bcd".parse().unwrap(), change(Some(hash(1)), Some(hash(2)), 1, 2)),
                ("e".parse().unwrap(), change(Some(hash(2)), Some(hash(3)), 0, 0)),
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
        assert_eq!(plain(&one(&entry(), now)), "1a1a1a1a1a1a  10m admin +a ~bcd ~e first\n");
        let mut many = entry();
        for name in ["f", "g", "h"] {
            many.changes
                .insert(name.parse().unwrap(), many.changes[&"a".parse().unwrap()]);
        }
        assert_eq!(
            plain(&one(&many, now)),
            "1a1a1a1a1a1a  10m admin +a ~bcd ~e +f and 2 more first\n"
        );
    }

    #[test]
    fn entry_shows_source_message_and_changes() {
        let text = plain(&full(&entry(), entry().time));
        assert!(
            text.ends_with(
                "Source: host=ci\n\n    first\n    [2Jsecond line\n\n\
                \x20 + a   010101010101  2 objects added\n\
                \x20 ~ bcd 010101010101 → 020202020202  3 objects: 1 changed, 2 added\n\
                \x20 ~ e   020202020202 → 030303030303  how it runs\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn commit_is_told_with_branch_and_link() {
        let source = |remote: &str| -> BTreeMap<String, String> {
            [
                ("commit", "1a2b"),
                ("branch", "main"),
                ("dirty", "true"),
                ("remote", remote),
                ("ci", "run 7"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
        };
        let told = |remote| plain(&origin(&source(remote)).join("\n"));
        assert_eq!(
            told("git@github.com:a/b.git"),
            "Commit: 1a2b on main with changes that are in no commit  https://github.com/a/b/commit/1a2b\nSource: ci=run 7"
        );
        assert!(told("https://user:secret@gitlab.com/a/b").contains("  https://gitlab.com/a/b/-/commit/1a2b\n"));
        assert!(told("/srv/repo").contains("in no commit\n"));
    }
}
