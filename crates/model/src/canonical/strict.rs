//! JSON from outside, read so that no two readers can disagree about it.
//!
//! A repeated key means one thing to a reader that takes the first and another to one that takes the last;
//! deep nesting overflows a reader that recurses. Both are refused here, before anything is decided on them.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::number;

/// The deepest nesting of arrays and objects that is read.
pub const MAX_DEPTH: usize = 100;

/// Starts every message about a key that occurs twice, so that the cause survives serde's text-only errors.
const DUPLICATE: &str = "duplicate key";
/// Starts every message about too deep nesting, for the same reason.
const TOO_DEEP: &str = "nested too deeply";

/// Why bytes are not JSON that we take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct Error {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong, without the position.
    pub message: String,
}

impl Error {
    /// Whether an object holds one key twice.
    #[must_use]
    pub fn is_duplicate_key(&self) -> bool {
        self.message.starts_with(DUPLICATE)
    }

    /// Whether arrays and objects nest deeper than [`MAX_DEPTH`].
    #[must_use]
    pub fn is_too_deep(&self) -> bool {
        self.message.starts_with(TOO_DEEP)
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        let full = error.to_string();
        let suffix = format!(" at line {} column {}", error.line(), error.column());
        let message = full.strip_suffix(&suffix).unwrap_or(&full);
        let message = if message.starts_with("recursion limit") {
            TOO_DEEP
        } else {
            message
        };
        Self {
            line: error.line().max(1),
            column: error.column().max(1),
            message: message.to_owned(),
        }
    }
}

/// Reads one JSON value: duplicate keys, nesting beyond [`MAX_DEPTH`] and anything after the value are errors.
/// Numbers come back in canonical form (see [`super::normalize`]).
pub fn from_slice_strict(bytes: &[u8]) -> Result<Value, Error> {
    let Strict(value) = serde_json::from_slice(bytes)?;
    Ok(value)
}

/// A JSON value read by the rules of [`from_slice_strict`], for use with serde's own readers.
#[derive(Debug, Clone, PartialEq)]
pub struct Strict(
    /// The value.
    pub Value,
);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        AtDepth(0).deserialize(deserializer).map(Self)
    }
}

/// Reads a value that has this many arrays and objects around it.
struct AtDepth(usize);

impl AtDepth {
    fn inner<E: de::Error>(&self) -> Result<Self, E> {
        if self.0 >= MAX_DEPTH {
            return Err(E::custom(format_args!("{TOO_DEEP}: more than {MAX_DEPTH} levels")));
        }
        Ok(Self(self.0 + 1))
    }
}

impl<'de> DeserializeSeed<'de> for AtDepth {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AtDepth {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        number(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self.inner()?)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = fields.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(de::Error::custom(format_args!(
                    "{DUPLICATE} `{key}`: remove one of the two"
                )));
            }
            let field = fields.next_value_seed(self.inner()?)?;
            object.insert(key, field);
        }
        Ok(Value::Object(object))
    }
}

impl From<Strict> for Value {
    fn from(Strict(value): Strict) -> Self {
        value
    }
}
