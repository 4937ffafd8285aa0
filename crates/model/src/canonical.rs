//! The one byte form of a JSON value: what is hashed, signed and stored is always these bytes.
//!
//! RFC 8785 (JCS) with one deviation: an integer that fits 64 bits is written exactly. Kubernetes has 64-bit
//! integers and RFC 8785 would send them through a double, so `9007199254740993` would change on its way to
//! a cluster. Every other number is written as ECMAScript writes it.
//!
//! The form is a fixed point: reading canonical bytes and writing them again gives the same bytes. [`normalize`]
//! brings a value into the shape it will have after such a round trip, so that values too can be compared.
//!
//! Called by everything that names an object by its hash, and by whatever reads bytes from outside
//! ([`from_slice_strict`]). Knows nothing of what the JSON means.

mod plain;
mod strict;

use std::sync::OnceLock;

use memchr::memmem;
use serde_json::{Map, Number, Value};

pub(crate) use plain::is_plainly_canonical;
pub use strict::{Error, MAX_DEPTH, Strict, from_slice_strict};

/// The canonical bytes of a document of ours.
///
/// # Panics
/// Never for the types of this crate: their map keys are texts and their numbers finite.
pub fn document<T: serde::Serialize>(document: &T) -> Vec<u8> {
    to_vec(&serde_json::to_value(document).expect("documents have text keys and finite numbers"))
}

/// The canonical bytes of `value`.
#[must_use]
pub fn to_vec(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write(&mut out, value);
    out
}

/// A text that is looked for in canonical bytes again and again: a look that spares parsing what cannot be concerned.
#[derive(Debug)]
pub struct Needle {
    text: &'static str,
    /// To prepare it takes as long as to look through a short manifest.
    finder: OnceLock<memmem::Finder<'static>>,
}

impl Needle {
    /// Of this text.
    #[must_use]
    pub const fn new(text: &'static str) -> Self {
        Self {
            text,
            finder: OnceLock::new(),
        }
    }

    /// Is it anywhere in these bytes?
    #[must_use]
    pub fn is_in(&self, canonical: &[u8]) -> bool {
        let finder = self.finder.get_or_init(|| memmem::Finder::new(self.text));
        finder.find(canonical).is_some()
    }
}

/// Appends the canonical bytes of `value` to `out`.
pub fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => write_number(out, number),
        Value::String(text) => write_string(out, text),
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(out, item);
            }
            out.push(b']');
        }
        Value::Object(fields) => write_object(out, fields),
    }
}

/// `value` as it reads back from its canonical bytes: numbers without a fraction become integers where 64
/// bits hold them (`1.0` is `1`, `-0.0` is `0`), so that equal canonical bytes mean equal values.
#[must_use]
pub fn normalize(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(normal_number(number)),
        Value::Array(items) => Value::Array(items.into_iter().map(normalize).collect()),
        Value::Object(fields) => {
            Value::Object(fields.into_iter().map(|(key, field)| (key, normalize(field))).collect())
        }
        other => other,
    }
}

/// The number that `float` is in canonical form, or `None` where JSON has none (infinities, not a number).
#[must_use]
pub fn number(float: f64) -> Option<Number> {
    Number::from_f64(float).map(normal_number)
}

fn normal_number(number: Number) -> Number {
    if number.is_i64() || number.is_u64() {
        return number;
    }
    let Some(float) = number.as_f64() else {
        return number;
    };
    let mut buffer = ryu_js::Buffer::new();
    let text = buffer.format(float);
    // Read back from the text, not cast: ECMAScript pads the shortest digits with zeros, so above 2^53 the
    // integer that is written, and that Kubernetes reads, differs from the exact value of the double.
    if let Ok(signed) = text.parse::<i64>() {
        return signed.into();
    }
    text.parse::<u64>().map_or(number, Number::from)
}

fn write_number(out: &mut Vec<u8>, number: &Number) {
    if let Some(signed) = number.as_i64() {
        out.extend_from_slice(signed.to_string().as_bytes());
    } else if let Some(unsigned) = number.as_u64() {
        out.extend_from_slice(unsigned.to_string().as_bytes());
    } else {
        let float = number.as_f64().expect("a JSON number is an i64, a u64 or a finite f64");
        out.extend_from_slice(ryu_js::Buffer::new().format(float).as_bytes());
    }
}

pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    // serde_json escapes exactly what RFC 8785 escapes: the quote, the backslash, and controls below U+0020,
    // with the short forms where JSON has them and lower-case hex elsewhere. The golden vectors hold it to that.
    serde_json::to_writer(out, text).expect("a string written to memory cannot fail");
}

fn write_object(out: &mut Vec<u8>, fields: &Map<String, Value>) {
    let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
    sorted.sort_by(|(left, _), (right, _)| compare_keys(left, right));
    out.push(b'{');
    for (index, (key, field)) in sorted.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, key);
        out.push(b':');
        write(out, field);
    }
    out.push(b'}');
}

/// Order by UTF-16 code units, as RFC 8785 wants. It differs from byte order only where a character above
/// U+FFFF meets one between U+E000 and U+FFFF.
fn compare_keys(left: &str, right: &str) -> std::cmp::Ordering {
    if left.is_ascii() && right.is_ascii() {
        left.cmp(right)
    } else {
        left.encode_utf16().cmp(right.encode_utf16())
    }
}

#[cfg(test)]
mod tests;
