//! The Git checkout that a push is made from, as `git` itself tells of it. Only looked at, never changed.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// What is checked out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Checkout {
    pub(super) commit: Option<String>,
    /// Absent where no branch is checked out, as CI does.
    pub(super) branch: Option<String>,
    /// The address that the branch follows, else that of `origin`.
    pub(super) remote: Option<String>,
    /// Are there changes that the commit does not have?
    pub(super) dirty: bool,
}

/// The checkout that `at` is in; `paths` are what is pushed. `None` where there is none, or no git.
pub(super) fn checkout(at: &Path, paths: &[PathBuf]) -> Option<Checkout> {
    let folder = root(at)?;
    let git = |arguments: &[&str]| run(&folder, arguments);
    let commit = git(&["rev-parse", "--verify", "HEAD"]);
    let branch = git(&["symbolic-ref", "--quiet", "--short", "HEAD"]);
    let upstream = branch
        .as_deref()
        .and_then(|branch| git(&["config", "--get", &format!("branch.{branch}.remote")]));
    let remote = git(&["remote", "get-url", upstream.as_deref().unwrap_or("origin")]);
    // Of files that Git does not know only those count that are pushed.
    let tracked = git(&["status", "--porcelain", "--untracked-files=no"]);
    let pushed: Vec<_> = paths
        .iter()
        .filter_map(|path| path.canonicalize().ok())
        .filter(|path| path.starts_with(&folder))
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    let dirty = tracked.is_some() || is_unknown(&folder, &pushed);
    Some(Checkout {
        commit,
        branch,
        remote,
        dirty,
    })
    .filter(|checkout| *checkout != Checkout::default())
}

fn is_unknown(folder: &Path, pushed: &[String]) -> bool {
    if pushed.is_empty() {
        return false;
    }
    let mut arguments = vec!["ls-files", "--others", "--exclude-standard", "--directory", "--"];
    arguments.extend(pushed.iter().map(String::as_str));
    run(folder, &arguments).is_some()
}

/// The folder with `.git` that `path` is in. Looked for here so that git is started only where it has an answer.
fn root(path: &Path) -> Option<PathBuf> {
    let real = path.canonicalize().or_else(|_| Path::new(".").canonicalize()).ok()?;
    real.ancestors()
        .find(|folder| folder.join(".git").exists())
        .map(Path::to_owned)
}

/// What git says, where it says anything.
fn run(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        // A look must neither wait for a lock, nor write, nor start a watcher.
        .env("GIT_OPTIONAL_LOCKS", "0")
        .args(["-c", "core.fsmonitor=false", "--literal-pathspecs", "-C"])
        .arg(folder)
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::*;

    fn git(folder: &Path, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args([
                "-c",
                "user.name=Ann",
                "-c",
                "user.email=ann@example.com",
                "-c",
                "commit.gpgSign=false",
                "-C",
            ])
            .arg(folder)
            .args(arguments)
            .output()
            .expect("git runs");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Makes a repository of what is in the folder; gives its only commit.
    pub(in super::super) fn repository(folder: &Path) -> String {
        fs::write(folder.join("a.yaml"), "a: 1\n").expect("the folder is writable");
        git(folder, &["init", "--quiet", "--initial-branch=main"]);
        git(folder, &["add", "."]);
        git(folder, &["commit", "--quiet", "--message=first"]);
        git(folder, &["rev-parse", "HEAD"])
    }

    #[test]
    fn commit_branch_and_remote_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let commit = repository(folder.path());
        git(folder.path(), &["remote", "add", "origin", "https://git.example/a.git"]);
        let found = checkout(&folder.path().join("a.yaml"), &[folder.path().join("a.yaml")]).unwrap();
        let expected = Checkout {
            commit: Some(commit.clone()),
            branch: Some("main".to_owned()),
            remote: Some("https://git.example/a.git".to_owned()),
            dirty: false,
        };
        assert_eq!(found, expected);

        git(
            folder.path(),
            &["remote", "add", "fork", "https://git.example/fork.git"],
        );
        git(folder.path(), &["config", "branch.main.remote", "fork"]);
        assert_eq!(
            checkout(folder.path(), &[]).unwrap().remote.as_deref(),
            Some("https://git.example/fork.git")
        );
        git(folder.path(), &["checkout", "--quiet", "--detach"]);
        let detached = checkout(folder.path(), &[]).unwrap();
        assert_eq!((detached.commit, detached.branch), (Some(commit), None));
    }

    #[test]
    fn only_what_is_pushed_or_known_to_git_makes_it_dirty() {
        let folder = tempfile::tempdir().unwrap();
        repository(folder.path());
        let path = |name: &str| folder.path().join(name);
        let is_dirty = |name: &str| checkout(folder.path(), &[path(name)]).unwrap().dirty;
        fs::create_dir(path("app")).unwrap();
        fs::write(path("app/new.yaml"), "").unwrap();
        assert!(!is_dirty("a.yaml"), "an unknown file that is not pushed");
        assert!(is_dirty("app"), "an unknown file that is pushed");
        assert!(is_dirty("."));
        fs::write(path("a.yaml"), "a: 2\n").unwrap();
        git(folder.path(), &["add", "app"]);
        assert!(is_dirty("app"), "a change of a known file");
    }

    #[test]
    fn broken_checkout_is_no_reason_to_fail() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(".git")).unwrap();
        assert_eq!(checkout(folder.path(), &[folder.path().to_owned()]), None);
    }
}
