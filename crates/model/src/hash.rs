//! Names of immutable objects: the sha256 of their canonical bytes.
//!
//! Everything that is stored, sent or signed is referred to by an [`ObjectHash`]; the store, the wire and the
//! agent compare it with the bytes they hold and refuse a mismatch.

use std::{fmt, str::FromStr};

use ring::digest::{Context, SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Identifies an immutable object: the sha256 of its canonical, uncompressed bytes. Never changes.
///
/// Text form: 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectHash([u8; 32]);

impl ObjectHash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = digest(&SHA256, bytes);
        Self(digest.as_ref().try_into().expect("a sha256 has 32 bytes"))
    }

    /// The 32 raw bytes, as sent on the wire.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 digits, for people. Not unique for ever; commands accept any unambiguous prefix.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

/// Works out an [`ObjectHash`] of bytes that come one after the other. A clone goes on from where it was made.
#[derive(Clone)]
pub(crate) struct Hasher(Context);

impl Default for Hasher {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> ObjectHash {
        let digest = self.0.finish();
        ObjectHash(digest.as_ref().try_into().expect("a sha256 has 32 bytes"))
    }
}

impl From<[u8; 32]> for ObjectHash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl TryFrom<&[u8]> for ObjectHash {
    type Error = InvalidHash;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidHash> {
        let raw = <[u8; 32]>::try_from(bytes).map_err(|_| InvalidHash(hex::encode(bytes)))?;
        Ok(Self(raw))
    }
}

/// A text that is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an object hash: it takes 64 lower-case hexadecimal digits")]
pub struct InvalidHash(pub String);

impl FromStr for ObjectHash {
    type Err = InvalidHash;

    fn from_str(text: &str) -> Result<Self, InvalidHash> {
        let invalid = || InvalidHash(text.to_owned());
        if text.len() != 64 || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(invalid());
        }
        let mut raw = [0; 32];
        hex::decode_to_slice(text, &mut raw).map_err(|_| invalid())?;
        Ok(Self(raw))
    }
}

impl fmt::Display for ObjectHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ObjectHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectHash({})", self.short())
    }
}

impl Serialize for ObjectHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn text_form_is_lower_case_hex_of_sha256() {
        assert_eq!(ObjectHash::of(b"").to_string(), EMPTY);
        assert_eq!(EMPTY.parse::<ObjectHash>(), Ok(ObjectHash::of(b"")));
        assert_eq!(ObjectHash::of(b"").short(), &EMPTY[..12]);
    }

    #[test]
    fn other_spellings_are_refused() {
        assert!(EMPTY.to_uppercase().parse::<ObjectHash>().is_err());
        assert!(EMPTY[1..].parse::<ObjectHash>().is_err());
        assert!(format!("{}zz", &EMPTY[2..]).parse::<ObjectHash>().is_err());
    }
}
