//! Patterns of paths: `*` stands for any part of a name, `?` for one character. Neither crosses a `/`, and neither
//! finds a name that begins with a dot unless the pattern does.

use std::{fs, io, path::Path};

/// A path that a pattern found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Match {
    /// The path, relative as the pattern is.
    pub(super) path: String,
    /// What the last part with a `*` or `?` in it found.
    pub(super) name: String,
}

/// Is it more than a path?
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// All that `pattern` finds below `folder`, in order of their paths.
pub(super) fn find(folder: &Path, pattern: &str) -> io::Result<Vec<Match>> {
    let root = if pattern.starts_with('/') { "/" } else { "" };
    let mut found = vec![Match {
        path: root.to_owned(),
        name: String::new(),
    }];
    for part in pattern.split('/').filter(|part| !part.is_empty() && *part != ".") {
        let mut next = Vec::new();
        for Match { path, name } in found {
            let path_of = |part: &str| match path.as_str() {
                "" | "/" => format!("{path}{part}"),
                path => format!("{path}/{part}"),
            };
            if is_pattern(part) {
                let at = folder.join(&path);
                if !at.is_dir() && !path.is_empty() {
                    continue;
                }
                for entry in fs::read_dir(at)? {
                    let entry = entry?.file_name();
                    if let Some(entry) = entry.to_str().filter(|entry| matches(part, entry)) {
                        next.push(Match {
                            path: path_of(entry),
                            name: entry.to_owned(),
                        });
                    }
                }
            } else if folder.join(path_of(part)).exists() {
                next.push(Match {
                    path: path_of(part),
                    name,
                });
            }
        }
        found = next;
    }
    found.sort();
    Ok(found)
}

/// Does a part of a pattern stand for this name?
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    fn rest(pattern: &[char], name: &[char]) -> bool {
        match (pattern, name) {
            ([], name) => name.is_empty(),
            (['*', pattern @ ..], name) => (0..=name.len()).any(|skipped| rest(pattern, &name[skipped..])),
            (['?', pattern @ ..], [_, name @ ..]) => rest(pattern, name),
            ([wanted, pattern @ ..], [char, name @ ..]) => wanted == char && rest(pattern, name),
            _ => false,
        }
    }
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let mut chars: Vec<_> = pattern.chars().collect();
    // Two in a row say no more than one, and would be tried in every way.
    chars.dedup_by(|next, before| *next == '*' && *before == '*');
    rest(&chars, &name.chars().collect::<Vec<_>>())
}

/// Does a whole pattern stand for this path?
pub(super) fn matches_path(pattern: &str, path: &str) -> bool {
    let (pattern, path) = (normal(pattern), normal(path));
    pattern.split('/').count() == path.split('/').count()
        && pattern
            .split('/')
            .zip(path.split('/'))
            .all(|(pattern, part)| matches(pattern, part))
}

/// `./apps/shop/` is `apps/shop`.
pub(super) fn normal(path: &str) -> String {
    let parts: Vec<_> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_stay_within_a_name() {
        for (pattern, name, expected) in [
            ("*", "shop", true),
            ("*", ".git", false),
            (".*", ".git", true),
            ("a*c", "abbc", true),
            ("a**c", "ac", true),
            ("a?c", "ac", false),
            ("*-web", "shop-web", true),
            ("*é?", "caféx", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        assert!(matches_path("apps/*", "./apps/shop/"));
        assert!(!matches_path("apps/*", "apps/shop/base"));
    }

    #[test]
    fn matches_are_in_order_and_named_by_the_last_pattern() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["apps/b/prod", "apps/a/prod", "apps/c/dev", "other"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        fs::write(folder.path().join("apps/file.yaml"), "").unwrap();
        let found = find(folder.path(), "./apps/*/prod").unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|found| (found.path.as_str(), found.name.as_str()))
            .collect();
        assert_eq!(found, [("apps/a/prod", "a"), ("apps/b/prod", "b")]);
        assert_eq!(find(folder.path(), "apps/*.yaml").unwrap()[0].name, "file.yaml");
        assert!(find(folder.path(), "none/*").unwrap().is_empty());
    }
}
