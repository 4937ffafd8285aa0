//! A channel's current orders to its clusters, as one document.
//!
//! Every cluster of a channel receives the same bytes and works out for itself what they mean to it. The
//! sequence only grows: an agent refuses a directive below the one it accepted, so that the past cannot be
//! replayed to it.

use serde::{Deserialize, Serialize};

use crate::{canonical, hash::ObjectHash, name::ChannelName};

/// The directive format written by this version.
pub const FORMAT: u32 = 1;

/// A channel's current orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directive {
    /// See [`FORMAT`].
    pub format: u32,
    /// The channel.
    pub channel: ChannelName,
    /// Number of the journal entry that last changed the channel; grows across all channels.
    pub sequence: u64,
    /// What the clusters shall run; `None` before the first push: they then change nothing.
    pub snapshot: Option<ObjectHash>,
}

/// Bytes that are not a directive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON of the right form.
    #[error("not a directive: {0}")]
    Form(String),
    /// Written by a newer Driftless.
    #[error("directive format {0} is newer than this program knows ({FORMAT}): upgrade it")]
    NewerFormat(u64),
}

impl Directive {
    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        canonical::document(self)
    }

    /// Reads back what [`Directive::encode`] wrote.
    ///
    /// # Errors
    /// When the bytes are no directive, or one of a newer format.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let value = canonical::from_slice_strict(bytes).map_err(|error| Error::Form(error.to_string()))?;
        match value.get("format").and_then(serde_json::Value::as_u64) {
            Some(format) if format > u64::from(FORMAT) => return Err(Error::NewerFormat(format)),
            _ => {}
        }
        serde_json::from_value(value).map_err(|error| Error::Form(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_pinned_and_read_back() {
        let directive = Directive {
            format: FORMAT,
            channel: "prod".parse().unwrap(),
            sequence: 7,
            snapshot: None,
        };
        let bytes = directive.encode();
        assert_eq!(bytes, br#"{"channel":"prod","format":1,"sequence":7,"snapshot":null}"#);
        assert_eq!(Directive::decode(&bytes).unwrap(), directive);
    }

    #[test]
    fn newer_directives_are_refused_rather_than_misread() {
        let newer = br#"{"channel":"prod","format":2,"sequence":7,"snapshot":null,"waves":[]}"#;
        assert_eq!(Directive::decode(newer), Err(Error::NewerFormat(2)));
        assert!(Directive::decode(br#"{"format":1}"#).is_err());
    }
}
