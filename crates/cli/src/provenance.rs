//! Where a push comes from, for the log: host, user, paths and, inside a Git checkout, the commit.
//!
//! All of it is a courtesy to readers: what cannot be found out is left out.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

/// What the log shall say of a push of `paths`.
pub(crate) fn of(paths: &[PathBuf]) -> BTreeMap<String, String> {
    let shown: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    let found = [
        ("host", host()),
        ("user", user()),
        ("path", Some(shown.join(" ")).filter(|path| !path.is_empty())),
    ];
    let mut source: BTreeMap<_, _> = found
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect();
    let folder = paths
        .iter()
        .find(|path| *path != Path::new("-"))
        .and_then(|path| checkout(path));
    if let Some(commit) = folder.and_then(|folder| commit(&folder)) {
        source.insert("commit".to_owned(), commit);
    }
    source
}

fn host() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok());
    name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
}

fn user() -> Option<String> {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    set("USER").or_else(|| set("LOGNAME"))
}

/// The folder with `.git` that `path` is in. Looked for here so that git is started only where it has an answer.
fn checkout(path: &Path) -> Option<PathBuf> {
    let real = path.canonicalize().ok()?;
    real.ancestors()
        .find(|folder| folder.join(".git").exists())
        .map(Path::to_owned)
}

fn commit(folder: &Path) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(["rev-parse", "--verify", "HEAD"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|commit| output.status.success() && !commit.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_as_given_and_nothing_needs_git() {
        let folder = tempfile::tempdir().unwrap();
        let source = of(&[folder.path().to_owned(), PathBuf::from("-")]);
        assert_eq!(source["path"], format!("{} -", folder.path().display()));
        assert!(!source.contains_key("commit"));
    }

    #[test]
    fn broken_checkout_is_no_reason_to_fail() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".git")).unwrap();
        assert!(!of(&[folder.path().to_owned()]).contains_key("commit"));
    }
}
