//! The join file: all that an agent needs to find its server and to become a member of the fleet.
//!
//! `driftless cluster enroll` writes it, to a file or into a Secret of the cluster; the agent reads it. It holds
//! a secret, the one-time join token, which appears in no error and no debug output.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::ClusterName;

/// The join file format written by this version.
pub const FORMAT: u32 = 1;

/// Where the server is, how to recognise it, and the token that lets a cluster in once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JoinFile {
    /// See [`FORMAT`].
    pub format: u32,
    /// URL of the server, `https://host:port`.
    pub server: String,
    /// Certificates of the authority that signed the server's, as PEM text.
    pub ca: String,
    /// The cluster that the token is for.
    pub cluster: ClusterName,
    /// The one-time join token. Secret.
    pub token: String,
}

/// A text that is not a join file. Never shows any of the text, since that may be the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON of the right form.
    #[error(
        "not a join file (line {line}, column {column}): write a new one with `driftless cluster enroll --join-file`"
    )]
    Form {
        /// 1-based line of the first thing not understood.
        line: usize,
        /// 1-based column.
        column: usize,
    },
    /// Written by a newer Driftless.
    #[error("join file format {0} is newer than this program knows ({FORMAT}): upgrade it")]
    NewerFormat(u64),
    /// A field that has to be filled in is empty.
    #[error("the join file's `{0}` is empty: write a new one with `driftless cluster enroll --join-file`")]
    Empty(&'static str),
}

impl JoinFile {
    /// The file's text.
    pub fn encode(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("a struct of texts and numbers is always JSON");
        text.push('\n');
        text
    }

    /// Reads back what [`JoinFile::encode`] wrote.
    ///
    /// # Errors
    /// When the text is no join file, or one of a newer format.
    pub fn decode(text: &str) -> Result<Self, Error> {
        // serde_json's own message may quote the value that it stumbled upon.
        let form = |error: serde_json::Error| Error::Form {
            line: error.line(),
            column: error.column(),
        };
        let value: serde_json::Value = serde_json::from_str(text).map_err(form)?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format > u64::from(FORMAT) => return Err(Error::NewerFormat(format)),
            _ => {}
        }
        let file: Self = serde_json::from_str(text).map_err(form)?;
        for (field, value) in [("server", &file.server), ("ca", &file.ca), ("token", &file.token)] {
            if value.trim().is_empty() {
                return Err(Error::Empty(field));
            }
        }
        Ok(file)
    }
}

impl fmt::Debug for JoinFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            format,
            server,
            ca: _,
            cluster,
            token: _,
        } = self;
        f.debug_struct("JoinFile")
            .field("format", format)
            .field("server", server)
            .field("cluster", cluster)
            .field("token", &"[redacted]")
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> JoinFile {
        JoinFile {
            format: FORMAT,
            server: "https://127.0.0.1:7443".to_owned(),
            ca: "PEM".to_owned(),
            cluster: "edge-1".parse().unwrap(),
            token: "s3cret".to_owned(),
        }
    }

    #[test]
    fn text_is_pinned_and_reads_back() {
        let text = file().encode();
        let expected = concat!(
            "{\n  \"format\": 1,\n  \"server\": \"https://127.0.0.1:7443\",\n  \"ca\": \"PEM\",\n",
            "  \"cluster\": \"edge-1\",\n  \"token\": \"s3cret\"\n}\n"
        );
        assert_eq!(text, expected);
        assert_eq!(JoinFile::decode(&text).unwrap(), file());
    }

    #[test]
    fn token_is_in_no_debug_output() {
        let shown = format!("{:?}", file());
        assert!(!shown.contains("s3cret"), "{shown}");
        assert!(shown.contains("edge-1"));
    }

    #[test]
    fn errors_show_nothing_of_the_text() {
        let broken = [
            "s3cret".to_owned(),
            file().encode().replace("\"token\"", "\"s3cret\""),
            file().encode().replace("\"PEM\"", "[\"s3cret\"]"),
            file().encode().replace("\"PEM\"", "\" \""),
            file().encode().replace("\"format\": 1", "\"format\": 2"),
        ];
        for text in broken {
            let error = JoinFile::decode(&text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        }
    }
}
