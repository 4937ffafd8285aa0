//! The contexts that `login` makes: servers, whom to trust, and tokens, in one file of mode 0600.
//!
//! It is YAML, so that a person can read and mend it, and is replaced whole at every change.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use driftless_model::yaml;
use serde::Deserialize;

use crate::{failure::Advice, scalar::quoted, secret_file};

/// All contexts, and which one is meant when none is named.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// Name of the current context.
    #[serde(default)]
    pub(crate) current: Option<String>,
    /// The contexts by name.
    #[serde(default)]
    pub(crate) contexts: Vec<Context>,
}

/// One server, and how to speak to it.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// What people call it.
    pub(crate) name: String,
    /// Its address.
    pub(crate) server: String,
    /// Certificates of its CA; absent: what the operating system trusts.
    #[serde(default)]
    pub(crate) ca: Option<String>,
    /// The token. Secret.
    #[serde(default)]
    pub(crate) token: Option<String>,
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("name", &self.name)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// Where the file is: `$DRIFTLESS_CONFIG`, or `driftless/config.yaml` in the user's configuration folder.
pub(crate) fn path() -> Result<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    set("DRIFTLESS_CONFIG")
        .or_else(|| set("XDG_CONFIG_HOME").map(|folder| folder.join("driftless/config.yaml")))
        .or_else(|| set("HOME").map(|home| home.join(".config/driftless/config.yaml")))
        .ok_or_else(|| {
            Advice::new(
                "there is no place for contexts",
                "set HOME, or DRIFTLESS_CONFIG to the path of a file",
            )
            .into()
        })
}

impl Config {
    /// Reads the file; no file is no contexts.
    pub(crate) fn load() -> Result<Self> {
        Self::load_from(&path()?)
    }

    fn load_from(path: &Path) -> Result<Self> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let hint = "mend it, or remove it and log in again";
        // What a parser says of a value may quote it, and it may be the token.
        Self::decode(&bytes).map_err(|place| {
            Advice::new(format!("{}{place}: this is no file of contexts", path.display()), hint).into()
        })
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let place = |error: yaml::Error| format!(":{}:{}", error.line, error.column);
        let text = yaml::decode(bytes).map_err(place)?;
        let mut documents = yaml::documents(&text, &yaml::Limits::default()).map_err(place)?;
        let Some(document) = documents.pop() else {
            return Ok(Self::default());
        };
        serde_json::from_value(document.value).map_err(|_| String::new())
    }

    /// Writes the file.
    pub(crate) fn save(&self) -> Result<PathBuf> {
        let path = path()?;
        self.save_to(&path)?;
        Ok(path)
    }

    fn save_to(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            secret_file::make_folder(folder)?;
        }
        secret_file::write(path, &self.encode())
    }

    fn encode(&self) -> String {
        let mut out = String::from("# Written by `driftless login`. It holds tokens: keep it to yourself.\n");
        // Writing to a String cannot fail.
        if let Some(current) = &self.current {
            let _ = writeln!(out, "current: {}", quoted(current));
        }
        let _ = writeln!(out, "contexts:{}", if self.contexts.is_empty() { " []" } else { "" });
        for Context {
            name,
            server,
            ca,
            token,
        } in &self.contexts
        {
            let _ = writeln!(out, "- name: {}\n  server: {}", quoted(name), quoted(server));
            match ca {
                Some(ca) if is_block(ca) => {
                    let _ = writeln!(out, "  ca: |");
                    for line in ca.lines() {
                        let _ = writeln!(out, "    {line}");
                    }
                }
                Some(ca) => {
                    let _ = writeln!(out, "  ca: {}", quoted(ca));
                }
                None => {}
            }
            if let Some(token) = token {
                let _ = writeln!(out, "  token: {}", quoted(token));
            }
        }
        out
    }

    /// The context of this name.
    pub(crate) fn find(&self, name: &str) -> Result<&Context> {
        self.contexts
            .iter()
            .find(|context| context.name == name)
            .ok_or_else(|| {
                let known: Vec<_> = self.contexts.iter().map(|context| context.name.as_str()).collect();
                let hint = match known.as_slice() {
                    [] => "there are none yet: `driftless login URL --ca FILE --token-file FILE` makes one".to_owned(),
                    known => format!("there are: {}", known.join(", ")),
                };
                Advice::new(format!("there is no context `{name}`"), hint).into()
            })
    }

    /// The current context.
    pub(crate) fn current(&self) -> Result<&Context> {
        let Some(name) = &self.current else {
            let hint = if self.contexts.is_empty() {
                "log in with `driftless login URL --ca FILE --token-file FILE`, or set DRIFTLESS_SERVER"
            } else {
                "choose one with `driftless context use NAME`, or set DRIFTLESS_SERVER"
            };
            return Err(Advice::new("no server was named, and no context is current", hint).into());
        };
        self.find(name)
    }

    /// Adds a context, or replaces the one of its name, and makes it current.
    pub(crate) fn put(&mut self, context: Context) {
        self.current = Some(context.name.clone());
        match self.contexts.iter_mut().find(|other| other.name == context.name) {
            Some(other) => *other = context,
            None => self.contexts.push(context),
        }
        self.contexts.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// Removes a context. No other takes its place as the current one.
    pub(crate) fn remove(&mut self, name: &str) -> Result<()> {
        self.find(name)?;
        self.contexts.retain(|context| context.name != name);
        self.current.take_if(|current| current == name);
        Ok(())
    }
}

/// Can this text stand as a YAML block as it is? PEM can.
fn is_block(text: &str) -> bool {
    text.ends_with('\n')
        && !text.ends_with("\n\n")
        && !text.starts_with([' ', '\n'])
        && text.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(name: &str, ca: Option<&str>) -> Context {
        Context {
            name: name.to_owned(),
            server: "https://s:7443".to_owned(),
            ca: ca.map(str::to_owned),
            token: Some("t".to_owned()),
        }
    }

    #[test]
    fn file_is_readable_yaml() {
        let mut config = Config::default();
        config.put(context(
            "local",
            Some("-----BEGIN CERTIFICATE-----\nAAA=\n-----END CERTIFICATE-----\n"),
        ));
        let expected = "# Written by `driftless login`. It holds tokens: keep it to yourself.\n\
            current: \"local\"\ncontexts:\n- name: \"local\"\n  server: \"https://s:7443\"\n  ca: |\n    \
            -----BEGIN CERTIFICATE-----\n    AAA=\n    -----END CERTIFICATE-----\n  token: \"t\"\n";
        assert_eq!(config.encode(), expected);
    }

    #[test]
    fn whatever_was_written_reads_back() {
        let mut config = Config::default();
        for (name, ca) in [
            ("a", None),
            ("no", Some("x: [\n\n")),
            ("é🙂 \"quoted\" #", Some(" \u{2028}\ty")),
            ("n", Some("A\n")),
        ] {
            config.put(context(name, ca));
            assert_eq!(Config::decode(config.encode().as_bytes()).unwrap(), config);
        }
        assert_eq!(
            Config::decode(Config::default().encode().as_bytes()).unwrap(),
            Config::default()
        );
    }

    #[test]
    fn saved_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/config.yaml");
        let mut config = Config::default();
        config.put(context("a", None));
        config.save_to(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert_eq!(Config::load_from(&path).unwrap(), config);
    }

    #[test]
    fn broken_file_is_named_with_its_place_and_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        for (text, place) in [("a: [s3cret", ":"), ("contexts: s3cret", "config.yaml: ")] {
            std::fs::write(&path, text).unwrap();
            let error = Config::load_from(&path).unwrap_err().to_string();
            assert!(error.contains(place) && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn removing_the_current_context_leaves_none_current() {
        let mut config = Config::default();
        config.put(context("a", None));
        config.put(context("b", None));
        assert_eq!(config.current().unwrap().name, "b");
        config.remove("b").unwrap();
        assert!(config.current().is_err());
        assert_eq!(config.find("b").unwrap_err().to_string(), "there is no context `b`");
    }
}
