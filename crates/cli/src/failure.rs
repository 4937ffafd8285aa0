//! What went wrong, on standard error, and what to do about it.

use std::{fmt, io::Write as _};

use driftless_client::{Error, Unreachable};

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// As it should.
    Success,
    /// It found what it was asked to look for: differences, or problems.
    Found,
    /// It found what would be refused.
    Refused,
}

/// A failure with advice.
#[derive(Debug)]
pub(crate) struct Advice {
    message: String,
    hint: String,
}

impl Advice {
    /// `message` says what is wrong, `hint` what to do.
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: hint.into(),
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Advice {}

/// Prints `error: …` with the chain of causes, and a hint where there is one.
pub(crate) fn report(error: &anyhow::Error) {
    let mut stderr = anstream::stderr().lock();
    // Nobody is left to tell when stderr itself is gone.
    let _ = writeln!(stderr, "\x1b[1;31merror:\x1b[0m {}", text(error));
    if let Some(hint) = hint(error) {
        let _ = writeln!(stderr, "\x1b[1;36mhint:\x1b[0m {hint}");
    }
}

/// The chain of causes in one line. A cause that its effect quotes already is not said twice.
fn text(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for link in error.chain() {
        let words = link.to_string();
        if text.is_empty() {
            text = words;
        } else if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
    }
    text
}

fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|link| {
        if let Some(advice) = link.downcast_ref::<Advice>() {
            return Some(advice.hint.clone());
        }
        match link.downcast_ref::<Error>()? {
            Error::Unreachable { cause, .. } => hint_for_connection(cause).map(str::to_owned),
            Error::MissingObject(_) => Some("`driftless log CHANNEL` lists the snapshots there are".to_owned()),
            _ => None,
        }
    })
}

fn hint_for_connection(cause: &Unreachable) -> Option<&'static str> {
    match cause {
        Unreachable::Refused => {
            Some("is the server running, and on that port? `driftless server --data DIR --listen ADDRESS` starts one")
        }
        Unreachable::UnknownIssuer { given: true } => {
            Some("is the CA given by --ca that server's own? it is the `ca.crt` of its data folder")
        }
        Unreachable::UnknownIssuer { given: false } => {
            Some("a server that made its own CA needs `--ca FILE`, with the `ca.crt` of its data folder")
        }
        Unreachable::WrongName(_) => {
            Some("use a name that the certificate has, or start the server with `--tls-san NAME` for this one")
        }
        Unreachable::OutOfDate(_) => Some("compare the clocks of both machines; if they agree, renew the certificate"),
        Unreachable::NotTls => Some("is the port right? another program answers there, in plain text"),
        Unreachable::NotHttp2 => Some("a proxy in between must pass HTTP/2 on, or pass TLS through"),
        Unreachable::Timeout(_) => Some("is the address right, and does a firewall let it through?"),
        Unreachable::Name { .. } => Some("is the name spelled right?"),
        Unreachable::Tls(_) | Unreachable::Broken(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    fn unreachable(cause: Unreachable) -> anyhow::Error {
        Error::Unreachable {
            server: "https://s:1".to_owned(),
            cause,
        }
        .into()
    }

    #[test]
    fn chain_is_one_line_with_every_cause_once() {
        let error = unreachable(Unreachable::Refused).context("cannot log in");
        assert_eq!(
            text(&error),
            "cannot log in: cannot reach https://s:1: connection refused"
        );
        let doubled = anyhow::anyhow!("disk full").context("cannot write: disk full");
        assert_eq!(text(&doubled), "cannot write: disk full");
    }

    #[test]
    fn connection_failures_say_what_to_do() {
        let told = |cause| hint(&unreachable(cause)).unwrap();
        assert!(told(Unreachable::Refused).contains("is the server running"));
        assert!(told(Unreachable::UnknownIssuer { given: true }).contains("the CA given by --ca"));
        assert!(told(Unreachable::WrongName("a".to_owned())).contains("--tls-san"));
    }

    #[test]
    fn advice_survives_context() {
        let error = Err::<(), _>(Advice::new("no", "do")).context("outer").unwrap_err();
        assert_eq!(hint(&error).as_deref(), Some("do"));
    }
}
