//! What must not get into the log: credentials in addresses, and values whose names say that they are secrets.

/// Parts of names whose values nobody else shall see.
const SECRET: [&str; 9] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "api-key",
    "credential",
    "privatekey",
];

/// Stands for what was taken out.
const TAKEN_OUT: &str = "…";

/// What is said of the next word by those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Nothing.
    Plain,
    /// It is the value of an option whose name says that it is secret.
    Secret,
    /// It goes on with a secret that ends with this quotation mark.
    Quoted(char),
}

/// Words of a command line, in one line and without secrets.
pub(super) fn redacted(words: &[String]) -> String {
    let mut next = Next::Plain;
    let shown = words.iter().map(|word| match next {
        Next::Secret if !word.starts_with('-') => {
            next = Next::Plain;
            TAKEN_OUT.to_owned()
        }
        _ => {
            next = after(word);
            let shown = text(word);
            if shown.contains(char::is_whitespace) {
                format!("'{shown}'")
            } else {
                shown
            }
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// A text without credentials in its addresses and without the values of secrets in its assignments and options.
fn text(text: &str) -> String {
    const ENDS: [char; 7] = [' ', '\t', '\n', ',', ';', '&', '|'];
    let mut out = String::new();
    let mut next = Next::Plain;
    for part in text.split_inclusive(ENDS) {
        let word = part.trim_end_matches(ENDS);
        match next {
            Next::Quoted(quote) => {
                if word.ends_with(quote) {
                    next = Next::Plain;
                }
            }
            Next::Secret if word.is_empty() => {}
            Next::Secret => {
                out.push_str(TAKEN_OUT);
                next = opened(word);
            }
            Next::Plain => {
                let (shown, value) = assignment(word);
                out.push_str(&shown);
                next = value.map_or_else(|| after(word), opened);
            }
        }
        if !matches!(next, Next::Quoted(_)) {
            out.push_str(&part[word.len()..]);
        }
    }
    out
}

/// A word as it may be shown, and the secret that was taken out of it.
fn assignment(word: &str) -> (String, Option<&str>) {
    let mut signs = word.match_indices('=').map(|(at, _)| at);
    match signs.find(|at| is_secret(&word[..*at])) {
        Some(at) if at + 1 < word.len() => (format!("{}={TAKEN_OUT}", &word[..at]), Some(&word[at + 1..])),
        _ => (without_credentials(word), None),
    }
}

/// Does a secret that begins so go on behind a space?
fn opened(value: &str) -> Next {
    let quote = value.chars().next().filter(|char| matches!(char, '"' | '\''));
    match quote {
        Some(quote) if value.len() == 1 || !value.ends_with(quote) => Next::Quoted(quote),
        _ => Next::Plain,
    }
}

/// `--password hunter2`; a file with a token is no secret.
fn after(word: &str) -> Next {
    let is_option = word.starts_with("--") && !word.contains('=') && !word.ends_with("-file");
    if is_option && is_secret(word) {
        Next::Secret
    } else {
        Next::Plain
    }
}

fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase().replace('_', "-");
    let plain = name.replace(['-', '.'], "");
    SECRET
        .iter()
        .any(|secret| name.contains(secret) || plain.contains(&secret.replace('-', "")))
}

/// An address without the user and password that it may carry; a text that is no address stays as it is.
pub(super) fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // `ssh://git@host` names an account, not a secret.
    let kept = match authority.rsplit_once('@') {
        Some((user, host)) if scheme.ends_with("ssh") && !user.contains(':') => format!("{user}@{host}"),
        Some((_, host)) => host.to_owned(),
        None => authority.to_owned(),
    };
    format!("{scheme}://{kept}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_their_credentials() {
        for (address, expected) in [
            ("https://ann:hunter2@git.example/a/b.git", "https://git.example/a/b.git"),
            ("https://ghp_hunter2@github.com/a/b", "https://github.com/a/b"),
            ("https://a:p@ss@host/x@y", "https://host/x@y"),
            ("ssh://git@host/a", "ssh://git@host/a"),
            ("ssh://git:hunter2@host/a", "ssh://host/a"),
            ("git@github.com:a/b.git", "git@github.com:a/b.git"),
            ("/srv/git/a.git", "/srv/git/a.git"),
        ] {
            assert_eq!(without_credentials(address), expected);
        }
    }

    #[test]
    fn values_that_look_like_secrets_are_taken_out() {
        for (words, expected) in [
            (
                vec!["--set", "auth.password=hunter2,image.tag=v1"],
                "--set auth.password=…,image.tag=v1",
            ),
            (vec!["--set-string=dbPassword=hunter2"], "--set-string=dbPassword=…"),
            (vec!["--set", "apiKey=hunter2"], "--set apiKey=…"),
            (vec!["--set", "api_key=hunter2"], "--set api_key=…"),
            (vec!["--token-file", "t"], "--token-file t"),
            (vec!["--password", "hunter2", "x"], "--password … x"),
            (vec!["--exec", "TOKEN=hunter2 make"], "--exec 'TOKEN=… make'"),
            (
                vec!["--exec", "gen --token hunter2 -n 3"],
                "--exec 'gen --token … -n 3'",
            ),
            (
                vec!["--exec", "curl https://a:hunter2@h/x"],
                "--exec 'curl https://h/x'",
            ),
            (vec!["-m", "why so"], "-m 'why so'"),
        ] {
            let words: Vec<_> = words.into_iter().map(str::to_owned).collect();
            assert_eq!(redacted(&words), expected);
        }
        let quoted = redacted(&["--exec".to_owned(), "SECRET=\"hunter2 hunter3\" make x".to_owned()]);
        assert!(!quoted.contains("hunter"), "{quoted}");
        assert!(quoted.contains("make x"), "{quoted}");
    }
}
