//! What commands share: which server, which credentials, how to print.
//!
//! A server is found in this order: `--server` (or DRIFTLESS_SERVER) with `--ca` and the token of flags and
//! environment only; else the context of `--context`; else the current context. A context's token is never sent to
//! a server that was named by hand.

use std::path::Path;

use anyhow::{Context as _, Result};
use driftless_client::{Client, Target};

use crate::{
    args::Global,
    config::{Config, Context},
    failure::Advice,
    output::Output,
    prints::Prints,
};

/// What commands share.
pub(crate) struct App {
    global: Global,
    /// How to print.
    pub(crate) output: Output,
}

impl App {
    /// For a command that prints this.
    pub(crate) fn new(global: Global, prints: Prints) -> Self {
        let output = Output::new(
            global.output.clone(),
            global.color,
            global.allow_missing_keys,
            prints.paged && !global.no_pager,
        );
        Self { global, output }
    }

    /// A client for the server that flags, environment or contexts name.
    pub(crate) fn client(&self) -> Result<Client> {
        Ok(Client::connect(self.target()?)?)
    }

    /// Where the server is, whom to trust, as whom to speak.
    pub(crate) fn target(&self) -> Result<Target> {
        let context = match (&self.global.server, &self.global.context) {
            (Some(_), None) => None,
            (_, Some(name)) => Some(Config::load()?.find(name)?.clone()),
            (None, None) => Some(Config::load()?.current()?.clone()),
        };
        self.target_with(context)
    }

    /// As [`App::target`], for a server that a command was given.
    pub(crate) fn target_of(&self, server: &str) -> Result<Target> {
        let context = Context {
            server: server.to_owned(),
            ..Context::default()
        };
        self.target_with(Some(context))
    }

    fn target_with(&self, context: Option<Context>) -> Result<Target> {
        let Context { server, ca, token, .. } = context.unwrap_or_default();
        let named = self.global.server.clone().filter(|_| server.is_empty());
        let ca = self.global.ca.as_deref().map(read_ca).transpose()?.or(ca);
        let token = self.token()?.or(token);
        Ok(Target {
            server: parse_server(&named.unwrap_or(server))?,
            ca,
            token,
        })
    }

    /// The token of flags and environment.
    fn token(&self) -> Result<Option<String>> {
        if let Some(token) = std::env::var("DRIFTLESS_TOKEN").ok().filter(|token| !token.is_empty()) {
            return Ok(Some(token.trim().to_owned()));
        }
        let Some(path) = &self.global.token_file else {
            return Ok(None);
        };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the token file {}", path.display()))?;
        match text.trim() {
            "" => anyhow::bail!("the token file {} is empty", path.display()),
            token => Ok(Some(token.to_owned())),
        }
    }
}

/// Reads a server's address; says what is missing rather than where a parser stopped.
pub(crate) fn parse_server(text: &str) -> Result<url::Url> {
    let hint = "write it as https://HOST:PORT, for example https://127.0.0.1:7443";
    if !text.contains("://") {
        return Err(Advice::new(format!("server address `{text}` has no scheme"), hint).into());
    }
    let parsed = text.parse::<url::Url>();
    parsed.map_err(|error| Advice::new(format!("server address `{text}`: {error}"), hint).into())
}

fn read_ca(path: &Path) -> Result<String> {
    // CI systems hand over certificates as variables; then the value is no path.
    if let Some(pem) = path
        .to_str()
        .filter(|text| text.trim_start().starts_with("-----BEGIN "))
    {
        return Ok(pem.to_owned());
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read the CA file {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        output::{Color, Format},
        prints,
    };

    fn app(server: Option<&str>) -> App {
        let global = Global {
            context: None,
            server: server.map(str::to_owned),
            ca: None,
            token_file: None,
            output: Format::Table,
            allow_missing_keys: true,
            color: Color::Auto,
            no_pager: false,
        };
        App::new(global, prints::TEXT)
    }

    #[test]
    fn token_of_a_context_stays_with_its_server() {
        let context = Context {
            server: "https://a:1".to_owned(),
            token: Some("s".to_owned()),
            ..Context::default()
        };
        let target = app(Some("https://b:1")).target_with(Some(context)).unwrap();
        assert_eq!(target.server.as_str(), "https://a:1/");
        let target = app(Some("https://b:1")).target().unwrap();
        assert_eq!((target.server.as_str(), target.ca), ("https://b:1/", None));
    }

    #[test]
    fn address_without_scheme_is_told_how_to_be_written() {
        let error = parse_server("127.0.0.1:7443").unwrap_err();
        assert_eq!(error.to_string(), "server address `127.0.0.1:7443` has no scheme");
    }
}
