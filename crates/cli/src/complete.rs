//! Completion of command lines: commands and flags by clap, names by asking the server.
//!
//! `driftless completion SHELL` prints what makes a shell call this program again, with [`VARIABLE`] set, at every
//! press of the key; `main` hands such a call to [`answer`]. Names come from the server of the current context, or of
//! the one named on the line, within [`PATIENCE`]: where it cannot say, nothing is offered, and nothing is printed
//! into the line that is being typed.

use std::{ffi::OsStr, time::Duration};

use anyhow::Result;
use clap::{CommandFactory as _, Parser as _};
use clap_complete::{ArgValueCompleter, CompleteEnv, CompletionCandidate, PathCompleter, engine::ValueCompleter as _};
use driftless_client::{Client, types::Channel};

use crate::{
    app::App,
    args::{Args, Global},
    config::Config,
    output::one_line,
    prints,
};

/// Set where a shell asks.
pub(crate) const VARIABLE: &str = "DRIFTLESS_COMPLETE";

/// How long somebody waits who pressed a key.
const PATIENCE: Duration = Duration::from_secs(1);
/// Snapshots offered of each channel.
const SNAPSHOTS: u32 = 10;

/// What an argument names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    Channels,
    Clusters,
    Components,
    Contexts,
    Snapshots,
    /// What `show` takes.
    SnapshotsAndChannels,
    /// What `diff` takes.
    SnapshotsChannelsAndPaths,
}

/// Answers a shell, and then ends the process. Returns where no shell asks.
pub(crate) fn answer() {
    CompleteEnv::with_factory(|| with_names(Args::command(), ""))
        .var(VARIABLE)
        .complete();
}

/// The command with what completes its arguments. They are known by their names, so that a new command need not say.
fn with_names(mut command: clap::Command, words: &str) -> clap::Command {
    let inner: Vec<_> = command
        .get_subcommands()
        .map(|inner| inner.get_name().to_owned())
        .collect();
    for name in inner {
        let words = format!("{words} {name}").trim().to_owned();
        command = command.mut_subcommand(name, |inner| with_names(inner, &words));
    }
    command.mut_args(|argument| match names_of(words, argument.get_id().as_str()) {
        Some(names) => argument.add(ArgValueCompleter::new(move |current: &OsStr| {
            candidates(names, current)
        })),
        None => argument,
    })
}

fn names_of(words: &str, argument: &str) -> Option<Names> {
    match (words, argument) {
        // Their names are new.
        ("channel create" | "cluster enroll", "name" | "cluster") => None,
        ("context use" | "context remove", "name") | (_, "context") => Some(Names::Contexts),
        ("show", "what") => Some(Names::SnapshotsAndChannels),
        ("log", "what") => Some(Names::Channels),
        ("history", "what") => Some(Names::Components),
        ("diff", "what") => Some(Names::SnapshotsChannelsAndPaths),
        (_, "expect_parent") => Some(Names::Snapshots),
        ("cluster move", "to") | (_, "channel") => Some(Names::Channels),
        ("cluster label" | "cluster vars", "words") | (_, "cluster" | "clusters") => Some(Names::Clusters),
        (_, "component") => Some(Names::Components),
        _ => None,
    }
}

fn candidates(names: Names, current: &OsStr) -> Vec<CompletionCandidate> {
    let mut found = match current.to_str() {
        Some(text) => found(names)
            .unwrap_or_default()
            .into_iter()
            .filter(|(name, _)| name.starts_with(text))
            .collect(),
        None => Vec::new(),
    };
    found.sort();
    found.dedup_by(|a, b| a.0 == b.0);
    let mut candidates: Vec<_> = found
        .into_iter()
        .map(|(name, help)| CompletionCandidate::new(name).help(help.map(Into::into)))
        .collect();
    if names == Names::SnapshotsChannelsAndPaths {
        candidates.extend(PathCompleter::any().complete(current));
    }
    candidates
}

/// The names there are, with what is known of each.
fn found(names: Names) -> Result<Vec<(String, Option<String>)>> {
    if names == Names::Contexts {
        let contexts = Config::load()?.contexts.into_iter();
        return Ok(contexts.map(|context| (context.name, Some(context.server))).collect());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = App::new(global(), prints::TEXT).client()?;
        tokio::time::timeout(PATIENCE, ask(&client, names)).await?
    })
}

async fn ask(client: &Client, names: Names) -> Result<Vec<(String, Option<String>)>> {
    if names == Names::Clusters {
        let clusters = client.clusters(None).await?.into_iter();
        return Ok(clusters
            .map(|cluster| (cluster.name.to_string(), Some(cluster.channel.to_string())))
            .collect());
    }
    let channels = client.channels().await?;
    let plain = |name: String| (name, None);
    Ok(match names {
        Names::Components => {
            let components = channels.iter().flat_map(|channel| channel.components.keys());
            components.map(|name| plain(name.to_string())).collect()
        }
        Names::Channels => channels.iter().map(|channel| plain(channel.name.to_string())).collect(),
        Names::Snapshots => snapshots(client, &channels).await?,
        _ => {
            let mut all = snapshots(client, &channels).await?;
            all.extend(channels.iter().map(|channel| plain(channel.name.to_string())));
            all
        }
    })
}

/// The newest snapshots of all channels.
async fn snapshots(client: &Client, channels: &[Channel]) -> Result<Vec<(String, Option<String>)>> {
    let logs = channels.iter().map(|channel| client.log(&channel.name, SNAPSHOTS));
    let logs = futures::future::try_join_all(logs).await?;
    let told = |entry: driftless_client::types::LogEntry| {
        let message = one_line(entry.message.lines().next().unwrap_or_default());
        (entry.snapshot.short(), Some(format!("{} {message}", entry.author)))
    };
    Ok(logs.into_iter().flatten().map(told).collect())
}

/// The flags that say which server is meant, of the line that is being typed and of the environment.
fn global() -> Global {
    #[derive(clap::Parser)]
    struct Only {
        #[command(flatten)]
        global: Global,
    }
    let line = std::env::args().skip_while(|word| word != "--").skip(2);
    let flags = connection(line);
    // Half of a flag may be typed yet; then the environment and the current context are meant.
    Only::try_parse_from([vec!["driftless".to_owned()], flags].concat())
        .unwrap_or_else(|_| Only::parse_from(["driftless"]))
        .global
}

fn connection(words: impl IntoIterator<Item = String>) -> Vec<String> {
    const FLAGS: [&str; 4] = ["--context", "--server", "--ca", "--token-file"];
    let mut words = words.into_iter().peekable();
    let mut flags = Vec::new();
    while let Some(word) = words.next() {
        let is_flag = |flag: &&str| word.strip_prefix(*flag).is_some_and(|rest| rest.starts_with('='));
        if FLAGS.contains(&word.as_str()) {
            let Some(value) = words.next_if(|value| !value.is_empty()) else {
                continue;
            };
            flags.extend([word, value]);
        } else if FLAGS.iter().any(is_flag) {
            flags.push(word);
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_of_the_line_is_asked() {
        let words = |line: &str| connection(line.split(' ').map(str::to_owned)).join(" ");
        assert_eq!(words("log --context a pr"), "--context a");
        assert_eq!(words("--server=https://s:1 log"), "--server=https://s:1");
        assert_eq!(words("log --context "), "");
    }

    #[test]
    fn arguments_are_known_by_their_names() {
        assert_eq!(names_of("history", "channel"), Some(Names::Channels));
        assert_eq!(names_of("log", "what"), Some(Names::Channels));
        assert_eq!(names_of("view", "cluster"), Some(Names::Clusters));
        assert_eq!(names_of("cluster enroll", "cluster"), None);
        assert_eq!(names_of("cluster enroll", "channel"), Some(Names::Channels));
    }
}
