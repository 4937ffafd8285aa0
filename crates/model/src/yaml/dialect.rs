//! Where YAML 1.1 as kubectl reads it and the parser beneath us, of YAML 1.2, part ways: how the parser is
//! set up, what its scalars mean, and what to refuse because the two would read it differently.
//!
//! Called by `compose` and `locate`. Every rule here is one line of the table in `tests/kubectl.rs` or of the
//! unit tests.

use std::borrow::Cow;

use granit_parser::{Marker, Options, ScalarStyle, Span, Tag};

use super::scalar::Scalar;
use super::stream::Chunk;
use super::{Error, MAX_DEPTH, Place, end_of};

/// Parser options under which events mean what `compose` and `locate` take them to mean.
pub(super) fn options() -> Options {
    let mut options = granit_parser::options! {
        disallow_directives: true,
        // Beyond our own limit, so that ours gives the message wherever it can.
        flow_nesting_limit: MAX_DEPTH + 2,
        block_nesting_limit: MAX_DEPTH + 2,
    };
    options.set_emit_comments(false);
    options
}

/// What a scalar event means.
pub(super) fn scalar<'t>(text: Cow<'t, str>, style: ScalarStyle, tag: Option<&Tag>) -> Result<Scalar<'t>, String> {
    let Some(tag) = tag else {
        return Ok(if style == ScalarStyle::Plain {
            Scalar::plain(text)
        } else {
            Scalar::Text(text)
        });
    };
    let name = format!("{}{}", tag.handle(), tag.suffix());
    if name == "!" {
        return Ok(Scalar::Text(text));
    }
    Scalar::tagged(&name, text)
}

/// Whether a scalar in the place of a key asks for a merge.
pub(super) fn is_merge(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> bool {
    text == "<<"
        && match tag {
            None => style == ScalarStyle::Plain,
            Some(tag) => matches!(
                (tag.handle(), tag.suffix()),
                ("tag:yaml.org,2002:", "merge") | ("", "!")
            ),
        }
}

/// Why the scalar at `span` is something else for a YAML 1.1 reader than for the parser beneath us.
pub(super) fn read_otherwise(
    source: &str,
    text: &str,
    style: ScalarStyle,
    span: Span,
    in_flow: bool,
) -> Option<&'static str> {
    let from = |marker: Marker| source.get(marker.byte_offset()?..);
    match style {
        ScalarStyle::Plain if in_flow && !span.is_empty() => {
            let next = from(span.end)?.trim_start().strip_prefix(':');
            if next.is_some_and(|next| next.starts_with([',', '[', ']', '{', '}'])) {
                return Some("kubectl takes the colon for part of the text: put a space behind it, or quotes around");
            }
            (text.starts_with(':') || text.contains('?'))
                .then_some("kubectl does not take this between brackets: put text with `?` or a `:` in front in quotes")
        }
        ScalarStyle::Literal | ScalarStyle::Folded => {
            let tab_first = text.trim_start_matches('\n').starts_with('\t');
            (tab_first && !tells_indentation(source, span))
                .then_some("a tab where the indentation of the text is decided: indent with spaces")
        }
        _ => None,
    }
}

/// Whether the block scalar whose content begins at `span` has a digit in its header, as in `|2-`.
fn tells_indentation(source: &str, span: Span) -> bool {
    let before = span
        .start
        .byte_offset()
        .and_then(|at| source.get(..at))
        .unwrap_or_default();
    let line = before.trim_end().rsplit('\n').next().unwrap_or_default();
    let header = line.split(" #").next().unwrap_or_default().trim_end();
    header
        .rsplit(['|', '>'])
        .next()
        .is_some_and(|told| told.contains(|char: char| char.is_ascii_digit()))
}

/// Refuses what kubectl refuses in any place of a YAML text, and the line breaks that YAML 1.1 had beyond
/// those of YAML 1.2: kubectl would end the line there and most people's editors do not show it.
pub(super) fn refuse_odd_characters(chunk: &Chunk<'_>) -> Result<(), Error> {
    let odd = |char: char| match char {
        '\t' | '\n' | '\r' => false,
        '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{7f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => true,
        char => char < ' ' || ('\u{80}'..='\u{9f}').contains(&char),
    };
    // At the very start it marks the byte order, as in files that were concatenated.
    let marked = usize::from(chunk.text.starts_with('\u{feff}'));
    let Some((at, char)) = chunk.text.char_indices().skip(marked).find(|(_, char)| odd(*char)) else {
        return Ok(());
    };
    let Place { line, column } = end_of(&chunk.text[..at]);
    let code = u32::from(char);
    let message =
        format!("character U+{code:04X} cannot stand in YAML: write it as \"\\u{code:04x}\" in double quotes");
    Err(Error::new(
        Place {
            line: line + chunk.line - 1,
            column,
        },
        message,
    ))
}
