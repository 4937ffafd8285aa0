//! Where a push comes from, for the log: host, user, command, in a Git checkout the commit, in CI the run.
//!
//! All of it is a courtesy to readers: what cannot be found out is left out, and nothing needs Git. Nothing secret is
//! told: credentials in addresses and values that look like secrets are taken out.

mod ci;
mod git;
mod secrets;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// What the log shall say of a push of `paths`.
pub(crate) fn of(paths: &[PathBuf]) -> BTreeMap<String, String> {
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let words: Vec<_> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    told(paths, &words, &env)
}

fn told(paths: &[PathBuf], words: &[String], env: &impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let shown: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    let mut source = BTreeMap::new();
    let mut tell = |key: &str, value: Option<String>| {
        if let Some(value) = value.map(limited).filter(|value| !value.is_empty()) {
            source.insert(key.to_owned(), value);
        }
    };
    tell("host", host(env));
    tell("user", env("USER").or_else(|| env("LOGNAME")));
    tell("path", Some(secrets::redacted(&shown)));
    tell("command", Some(format!("driftless {}", secrets::redacted(words))));
    let run = ci::run(env);
    let checkout = paths.iter().find(|path| *path != Path::new("-"));
    // A command or a chart from elsewhere is pushed from the folder one is in.
    let checkout = git::checkout(checkout.map_or(Path::new("."), PathBuf::as_path), paths);
    if let Some(ci::Run {
        system,
        url,
        actor,
        pipeline,
        commit,
        branch,
    }) = run
    {
        tell("ci", Some(system));
        tell("run", url.as_deref().map(secrets::without_credentials));
        tell("actor", actor);
        tell("pipeline", pipeline);
        tell("commit", commit);
        tell("branch", branch);
    }
    if let Some(git::Checkout {
        commit,
        branch,
        remote,
        dirty,
    }) = checkout
    {
        tell("commit", commit);
        tell("branch", branch);
        tell("remote", remote.as_deref().map(secrets::without_credentials));
        tell("dirty", dirty.then(|| "true".to_owned()));
    }
    source
}

/// No longer than anybody reads; the server takes 16 KiB in all.
fn limited(value: String) -> String {
    const LONGEST: usize = 1000;
    match value.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.trim().to_owned(),
    }
}

fn host(env: &impl Fn(&str) -> Option<String>) -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    name.or_else(|| env("HOSTNAME"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn paths_are_told_as_given_and_nothing_needs_git() {
        let folder = tempfile::tempdir().unwrap();
        let command = words("push x --component a --set db.password=hunter2,a=b");
        let source = told(&[folder.path().to_owned(), PathBuf::from("-")], &command, &|_| None);
        assert_eq!(source["path"], format!("{} -", folder.path().display()));
        assert_eq!(
            source["command"],
            "driftless push x --component a --set db.password=…,a=b"
        );
        for absent in ["commit", "branch", "remote", "dirty", "ci", "run"] {
            assert!(!source.contains_key(absent), "{absent}");
        }
    }

    #[test]
    fn run_of_ci_is_told_and_git_knows_better_which_commit_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let env = |name: &str| {
            let values = [
                ("GITHUB_ACTIONS", "true"),
                ("GITHUB_SHA", "c0ffee"),
                ("GITHUB_ACTOR", "ann"),
                ("USER", "runner"),
            ];
            let found = values.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let source = told(&[folder.path().to_owned()], &[], &env);
        assert_eq!(
            ["ci", "actor", "commit", "user"].map(|key| source[key].as_str()),
            ["github-actions", "ann", "c0ffee", "runner"]
        );
        let commit = git::tests::repository(folder.path());
        let source = told(&[folder.path().to_owned()], &[], &env);
        assert_eq!(source["commit"], commit);
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(limited("é".repeat(2000)).chars().count(), 1001);
    }
}
