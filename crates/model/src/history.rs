//! When objects came to be as they are, and by whom: folds over the pushes that changed them.
//!
//! Whoever calls walks a channel's pushes from the newest to the oldest and passes the object before and after each;
//! what is kept in between is the newest object and nothing of the older ones. `driftless history` and
//! `driftless blame` are these functions and the fetching around them.

use std::{fmt, str::FromStr};

use serde_json::Value;

use crate::diff::{self, Change, FieldChange, join};

mod blame;

pub use blame::{Blame, Line, Node};

/// How a push changed an object; `None` where it did not.
pub fn of_object(before: Option<&Value>, after: Option<&Value>) -> Option<Change> {
    match (before, after) {
        (None, None) => None,
        (None, Some(_)) => Some(Change::Added),
        (Some(_), None) => Some(Change::Removed),
        (Some(before), Some(after)) => {
            let fields = diff::fields(before, after);
            (!fields.is_empty()).then_some(Change::Changed { fields })
        }
    }
}

/// How a push changed one field of an object, or what is below it; empty where it did not.
pub fn of_field(field: &Field, before: Option<&Value>, after: Option<&Value>) -> Vec<FieldChange> {
    let before = before.and_then(|before| field.get(before));
    let after = after.and_then(|after| field.get(after));
    diff::fields_at(&field.to_string(), before, after)
}

/// A field's path as people write it: `spec.template.spec.containers[name=web].image`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Key(String),
    Index(usize),
    /// The element of a list with this `name`.
    Named(String),
}

/// A text that is no path of a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no field: write it as `spec.replicas`, `spec.containers[name=web].image` or \
    `metadata.annotations[\"a.b/c\"]`"
)]
pub struct InvalidField(String);

impl Field {
    /// The field's value in `object`; `None` where it is not there.
    pub fn get<'v>(&self, object: &'v Value) -> Option<&'v Value> {
        self.0.iter().try_fold(object, |value, segment| match segment {
            Segment::Key(key) => value.as_object()?.get(key),
            Segment::Index(index) => value.as_array()?.get(*index),
            Segment::Named(name) => value.as_array()?.iter().find(|element| is_named(element, name)),
        })
    }

    /// The part of the path that `object` has, and what is there: where a path that leads nowhere went wrong.
    pub fn reach<'v>(&self, object: &'v Value) -> (Self, &'v Value) {
        let there = |length: &usize| Self(self.0[..*length].to_vec()).get(object).is_some();
        let length = (0..=self.0.len()).rev().find(there).unwrap_or(0);
        let reached = Self(self.0[..length].to_vec());
        let value = reached.get(object).unwrap_or(object);
        (reached, value)
    }
}

fn is_named(element: &Value, name: &str) -> bool {
    element.get("name").and_then(Value::as_str) == Some(name)
}

impl fmt::Display for Field {
    /// As [`diff`] spells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.iter().fold(String::new(), |path, segment| match segment {
            Segment::Key(key) => join(&path, key),
            Segment::Index(index) => format!("{path}[{index}]"),
            Segment::Named(name) => format!("{path}[name={name}]"),
        });
        f.write_str(&text)
    }
}

impl FromStr for Field {
    type Err = InvalidField;

    fn from_str(text: &str) -> Result<Self, InvalidField> {
        let invalid = || InvalidField(text.to_owned());
        let mut segments = Vec::new();
        let mut rest = text.trim();
        rest = rest.strip_prefix('.').unwrap_or(rest);
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let (segment, behind) = bracket(inner).ok_or_else(invalid)?;
                segments.push(segment);
                rest = behind;
            } else {
                let end = rest.find(['.', '[']).unwrap_or(rest.len());
                if end == 0 || rest[..end].contains(']') {
                    return Err(invalid());
                }
                segments.push(Segment::Key(rest[..end].to_owned()));
                rest = &rest[end..];
            }
            if let Some(behind) = rest.strip_prefix('.') {
                // A dot has something behind it that is no bracket.
                if behind.is_empty() || behind.starts_with(['.', '[']) {
                    return Err(invalid());
                }
                rest = behind;
            } else if !rest.is_empty() && !rest.starts_with('[') {
                return Err(invalid());
            }
        }
        if segments.is_empty() {
            return Err(invalid());
        }
        Ok(Self(segments))
    }
}

/// What stands in brackets, and the rest behind them.
fn bracket(inner: &str) -> Option<(Segment, &str)> {
    if let Some(quoted) = inner.strip_prefix('"') {
        let (key, behind) = unquote(quoted)?;
        return Some((Segment::Key(key), behind.strip_prefix(']')?));
    }
    let end = inner.find(']')?;
    let (text, behind) = (&inner[..end], &inner[end + 1..]);
    let segment = match text.strip_prefix("name=") {
        Some(name) if !name.is_empty() => Segment::Named(name.to_owned()),
        Some(_) => return None,
        None => Segment::Index(text.parse().ok()?),
    };
    Some((segment, behind))
}

/// A key in quotes, escaped as [`join`] does it, and the rest behind them.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut key = String::new();
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((key, &text[at + 1..])),
            '\\' => key.push(match chars.next()?.1 {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                '0' => '\0',
                'u' => {
                    let digits = text[at + 2..].strip_prefix('{')?;
                    let digits = &digits[..digits.find('}')?];
                    // The digits and both braces.
                    chars.by_ref().nth(digits.len() + 1)?;
                    char::from_u32(u32::from_str_radix(digits, 16).ok()?)?
                }
                other => other,
            }),
            char => key.push(char),
        }
    }
    None
}

#[cfg(test)]
mod tests;
