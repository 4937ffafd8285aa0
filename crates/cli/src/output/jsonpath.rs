//! kubectl's JSONPath templates: text with expressions in braces, filled in from a document.
//!
//! It is kubectl's dialect, not RFC 9535's: `{range .items[*]}…{end}`, `{"\n"}`, `\.` for a dot within a key, results
//! joined by spaces, filters that compare two things. As there, `['a.b']` means `.a.b`. Beyond kubectl, `$` is the
//! document's root inside of a `range` too, and where the document is a list, `.items` means the list itself, so that
//! templates look the same for every list.
//!
//! `parse` reads a template, `evaluate` fills it in.

mod evaluate;
mod parse;

use serde_json::Value;

/// A template that was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Template {
    segments: Vec<Segment>,
}

/// A part of a template.
#[derive(Debug, Clone, PartialEq)]
enum Segment {
    /// Printed as it is.
    Text(String),
    /// What is found, joined by spaces.
    Path(Path),
    /// The segments, for each that is found.
    Range(Path, Vec<Self>),
}

/// Where to look.
#[derive(Debug, Clone, PartialEq, Default)]
struct Path {
    /// From the root, rather than from where the `range` or filter around it stands.
    from_root: bool,
    steps: Vec<Step>,
}

/// One step on the way, from everything found before it.
#[derive(Debug, Clone, PartialEq)]
enum Step {
    /// `.name`
    Field(String),
    /// `.*` or `[*]`
    All,
    /// `..`: here and everything below.
    Descend,
    /// `[3]`, `[-1]`
    Index(i64),
    /// `[start:end:step]`
    Slice {
        start: Option<i64>,
        end: Option<i64>,
        step: i64,
    },
    /// `[?(…)]`
    Filter(Filter),
    /// `[a,b]`: what all of the first finds, then all of the second.
    Union(Vec<Vec<Self>>),
}

/// Which elements of a list to take.
#[derive(Debug, Clone, PartialEq)]
enum Filter {
    /// Those in which this is found.
    Has(Path),
    /// Those for which this holds.
    Holds(Operand, Comparison, Operand),
}

#[derive(Debug, Clone, PartialEq)]
enum Operand {
    Path(Path),
    Value(Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[cfg(test)]
mod tests;
