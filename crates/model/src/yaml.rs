//! Reads YAML and JSON text into JSON values that mean what kubectl says they mean.
//!
//! kubectl reads YAML 1.1 (`0644` is 420, `on` is true), splits a stream at lines that begin with `---`, and
//! takes a text that begins with `{` for JSON first. A reader that differs in one of these changes people's
//! files silently, so every rule here is held against kubectl itself by `tests/kubectl.rs`.
//!
//! # Stricter than kubectl
//! Where kubectl loses part of a file without a word, this is an error: a key given twice (it takes the last),
//! documents behind `...` (it drops them), bytes that are not UTF-8 (it replaces them), the line breaks
//! U+0085, U+2028 and U+2029 as raw characters, and nesting beyond [`MAX_DEPTH`]. Also refused, because the
//! parser beneath follows YAML 1.2 there: `[a:]`, `[-]`, and quoted text whose next line is not indented more
//! than what it belongs to.
//!
//! # More lenient than kubectl
//! `"\/"` in double quotes, tabs that indent nothing, and anchor names with punctuation are taken: each can mean
//! only one thing.
//!
//! # Layout
//! [`documents`] → `stream` (one text into JSON values and YAML chunks) → `compose` (a chunk's events into a
//! value: anchors, merge keys, limits) → `dialect` (where YAML 1.1 and the parser differ) → `scalar` (what an
//! unquoted scalar means). [`locate()`] finds the line of a field afterwards, by reading the text once more.
//!
//! Called by what turns files into manifests. Knows nothing of Kubernetes objects, reads no files.

mod compose;
mod dialect;
mod locate;
mod scalar;
mod stream;

use std::borrow::Cow;

use serde_json::Value;

pub use locate::locate;

/// The deepest nesting of lists and maps that is read. A little below [`crate::canonical::MAX_DEPTH`], so
/// that a document of ours can hold what was read here.
pub const MAX_DEPTH: usize = 90;

/// How much a text may ask for. The defaults fit any real set of manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one text.
    pub text_bytes: usize,
    /// Documents in one text.
    pub documents: usize,
    /// Bytes that anchors and aliases of one document may add to what is written in it.
    pub alias_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            text_bytes: 64 << 20,
            documents: 100_000,
            alias_bytes: 16 << 20,
        }
    }
}

/// One document of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its value, with numbers in canonical form (see [`crate::canonical::normalize`]).
    pub value: Value,
    /// The line, from 1, where its content starts.
    pub line: usize,
}

/// Why a text is not taken. Shown as `line:column: message`, to go behind a file name and a colon.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {message}")]
pub struct Error {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong and what to do about it.
    pub message: String,
}

impl Error {
    fn new(place: Place, message: impl Into<String>) -> Self {
        Self {
            line: place.line,
            column: place.column,
            message: message.into(),
        }
    }

    fn place(&self) -> Place {
        Place {
            line: self.line,
            column: self.column,
        }
    }
}

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Place {
    const START: Self = Self { line: 1, column: 1 };
}

/// Reads every document of `text`, YAML or JSON. Empty documents and those of comments only are left out.
pub fn documents(text: &str, limits: &Limits) -> Result<Vec<Document>, Error> {
    stream::documents(text, limits)
}

/// The text that `bytes` hold: UTF-8, or UTF-16 with a byte order mark as editors on Windows write it.
pub fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, Error> {
    let utf16 = |unit: fn([u8; 2]) -> u16, body: &[u8]| {
        let (pairs, rest) = body.as_chunks::<2>();
        let decoded: Result<String, _> = char::decode_utf16(pairs.iter().copied().map(unit)).collect();
        match decoded {
            Ok(text) if rest.is_empty() => Ok(Cow::Owned(text)),
            _ => Err(Error::new(Place::START, "not valid UTF-16: save the file as UTF-8")),
        }
    };
    match bytes {
        [0xff, 0xfe, body @ ..] => utf16(u16::from_le_bytes, body),
        [0xfe, 0xff, body @ ..] => utf16(u16::from_be_bytes, body),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Cow::Borrowed(text)),
            Err(error) => {
                let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
                let message = "not UTF-8: save the file as UTF-8, or put binary data in base64";
                Err(Error::new(end_of(&before), message))
            }
        },
    }
}

/// The place right behind `text`.
fn end_of(text: &str) -> Place {
    let line = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let last = text.rsplit('\n').next().unwrap_or_default();
    Place {
        line,
        column: last.chars().count() + 1,
    }
}

#[cfg(test)]
mod tests;
