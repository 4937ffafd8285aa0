//! Splits a text into documents where kubectl does: JSON values one behind the other, or chunks of YAML
//! between lines that begin with `---`.
//!
//! The splitting comes before any YAML is read, as in kubectl: what follows `---` on its line is an error
//! there, never content, and each chunk is read on its own.

use std::borrow::Cow;

use crate::canonical::{self, Strict};

use super::{Document, Error, Limits, Place, compose, end_of};

const SEPARATOR: &str = "---";

/// One YAML document and where it starts in the text.
pub(super) struct Chunk<'t> {
    /// Its lines, the last one ended too.
    pub(super) text: &'t str,
    /// The number, from 1, of its first line.
    pub(super) line: usize,
}

pub(super) fn documents(text: &str, limits: &Limits) -> Result<Vec<Document>, Error> {
    if text.len() > limits.text_bytes {
        let message = format!(
            "{} bytes, more than the {} allowed: split the file",
            text.len(),
            limits.text_bytes
        );
        return Err(Error::new(Place::START, message));
    }
    let text = normal_lines(text);
    let mut found = Found {
        documents: Vec::new(),
        limits,
    };
    if !text.trim_start().starts_with('{') {
        yaml(&text, 1, &mut found)?;
        return Ok(found.documents);
    }
    let Some((rest, json_error)) = json(&text, &mut found)? else {
        return Ok(found.documents);
    };
    // It began like JSON and is not, or not to its end: flow YAML, or JSON and then YAML. If it is neither, the
    // reading that got further knows better what is wrong; a first key without quotes was never meant as JSON.
    let quoted = text.trim_start()[1..].trim_start().starts_with(['"', '}']);
    let line = end_of(&text[..rest]).line;
    match yaml(&text[rest..], line, &mut found) {
        Ok(()) => Ok(found.documents),
        Err(yaml_error) if !quoted || yaml_error.place() >= json_error.place() => Err(yaml_error),
        Err(_) => Err(json_error),
    }
}

/// The text without a byte order mark, with `\n` behind every line, the last one included: a block scalar at
/// the end of a file without a final newline still ends in one for kubectl.
pub(super) fn normal_lines(text: &str) -> Cow<'_, str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut normal = if text.contains("\r\n") {
        Cow::Owned(text.replace("\r\n", "\n"))
    } else {
        Cow::Borrowed(text)
    };
    if !normal.ends_with('\n') {
        normal.to_mut().push('\n');
    }
    normal
}

/// What was read so far.
struct Found<'l> {
    documents: Vec<Document>,
    limits: &'l Limits,
}

impl Found<'_> {
    fn push(&mut self, document: Document) -> Result<(), Error> {
        if document.value.is_null() {
            return Ok(());
        }
        if self.documents.len() >= self.limits.documents {
            let place = Place {
                line: document.line,
                column: 1,
            };
            let message = format!(
                "more than the {} documents allowed: split the file",
                self.limits.documents
            );
            return Err(Error::new(place, message));
        }
        self.documents.push(document);
        Ok(())
    }
}

/// Reads JSON values from the start of `text`. `None` if that is all there is, or else the byte where YAML may
/// begin and why it was not read as JSON.
fn json(text: &str, found: &mut Found<'_>) -> Result<Option<(usize, Error)>, Error> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Strict>();
    let mut count = 0;
    let mut start = 0;
    let (mut counted, mut line) = (0, 1);
    while let Some(next) = values.next() {
        let error = match next {
            Ok(Strict(value)) => {
                let content = start + (text[start..].len() - text[start..].trim_start().len());
                line += newlines(&text[counted..content]);
                counted = content;
                found.push(Document { value, line })?;
                count += 1;
                start = values.byte_offset();
                continue;
            }
            Err(error) => canonical::Error::from(error),
        };
        let settled = count > 1 || error.is_too_deep() || error.is_duplicate_key();
        let error = duplicate_with_both_places(text, start, error);
        if settled {
            return Err(error);
        }
        return Ok(Some((if count == 0 { 0 } else { next_line(text, start) }, error)));
    }
    Ok(None)
}

/// JSON readers do not say where the first of two equal keys is; the YAML reader does, and nearly all JSON is
/// YAML.
fn duplicate_with_both_places(text: &str, start: usize, error: canonical::Error) -> Error {
    if error.is_duplicate_key() {
        let content = start + (text[start..].len() - text[start..].trim_start().len());
        let line = end_of(&text[..content]).line;
        let begin = text[..content].rfind('\n').map_or(0, |newline| newline + 1);
        let begin = begin.max(start);
        let chunk = Chunk {
            text: &text[begin..],
            line,
        };
        if let Err(better) = compose::document(&chunk, &Limits::default())
            && better.message.contains("already set")
        {
            return better;
        }
    }
    Error {
        line: error.line,
        column: error.column,
        message: error.message,
    }
}

/// The byte behind the white space at `start`, at most up to the next line.
fn next_line(text: &str, start: usize) -> usize {
    for (offset, char) in text[start..].char_indices() {
        if char == '\n' {
            return start + offset + 1;
        }
        if !char.is_whitespace() {
            return start + offset;
        }
    }
    text.len()
}

fn yaml(text: &str, first_line: usize, found: &mut Found<'_>) -> Result<(), Error> {
    let mut chunk_start = 0;
    let mut chunk_line = first_line;
    let mut line_start = 0;
    for (number, line) in (first_line..).zip(text.split_inclusive('\n')) {
        if let Some(rest) = line.strip_prefix(SEPARATOR) {
            let rest = rest.trim();
            if !rest.is_empty() && !rest.starts_with('#') {
                let message = "`---` must be alone on its line: put what follows it on the next line";
                return Err(Error::new(
                    Place {
                        line: number,
                        column: SEPARATOR.len() + 1,
                    },
                    message,
                ));
            }
            if line_start > chunk_start {
                document(&text[chunk_start..line_start], chunk_line, found)?;
                chunk_start = line_start + line.len();
                chunk_line = number + 1;
            }
        }
        line_start += line.len();
    }
    document(&text[chunk_start..], chunk_line, found)
}

fn document(text: &str, line: usize, found: &mut Found<'_>) -> Result<(), Error> {
    if let Some(document) = compose::document(&Chunk { text, line }, found.limits)? {
        found.push(document)?;
    }
    Ok(())
}

fn newlines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}
