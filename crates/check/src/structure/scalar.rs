//! Texts, numbers and booleans against their schema, and how they are shown to people.

use base64::Engine as _;
use serde_json::Value;

use crate::{
    finding::Rule,
    schema::{Schema, Type},
    variable,
};

/// Longer values are cut in messages.
const SHOWN: usize = 40;

/// Why a value is not taken.
pub(super) struct Refusal {
    pub(super) rule: Rule,
    pub(super) message: String,
}

/// What a schema without fields or items expects, in words.
pub(super) fn expected(schema: &Schema) -> &'static str {
    match (schema.kind, schema.format.as_deref()) {
        _ if is_int_or_string(schema) => "an integer or a text",
        (_, Some("quantity")) => "a quantity (like 500m or 2Gi)",
        (Some(Type::Boolean), _) => "a boolean",
        (Some(Type::Integer), _) => "an integer",
        (Some(Type::Number), _) => "a number",
        (Some(Type::String), Some("byte")) => "a text in base64",
        (Some(Type::String), Some("date-time")) => "a time (like 2026-01-31T12:00:00Z)",
        (Some(Type::String), _) => "a text",
        (Some(Type::Object), _) => "a mapping",
        (Some(Type::Array), _) => "a list",
        (None, _) => "anything",
    }
}

/// Whether `value` is of the type that `schema` names. Texts that hold variables are held against no format: what
/// they will be is not known yet.
pub(super) fn check(schema: &Schema, value: &Value, custom: bool, variables: bool) -> Result<(), Refusal> {
    let wrong = || {
        Err(Refusal {
            rule: Rule::WrongType,
            message: format!("must be {}, not {}", expected(schema), described(value)),
        })
    };
    let fits = |fits: bool| if fits { Ok(()) } else { wrong() };
    let format = schema.format.as_deref();
    let open = |text: &str| variables && variable::is_in(text);
    match (schema.kind, value) {
        _ if is_int_or_string(schema) => fits(value.is_string() || is_integer(value, Some("int32"), custom)),
        (_, Value::String(text)) if format == Some("quantity") => fits(open(text) || is_quantity(text)),
        _ if format == Some("quantity") => fits(value.is_number()),
        (Some(Type::Boolean), _) => fits(value.is_boolean()),
        (Some(Type::Integer), _) if value.is_number() && !custom && is_whole(value) => {
            if is_integer(value, format, custom) {
                return Ok(());
            }
            let bits = if format == Some("int32") { 32 } else { 64 };
            Err(Refusal {
                rule: Rule::InvalidValue,
                message: format!("must be an integer of {bits} bits, and {value} is more than that"),
            })
        }
        (Some(Type::Integer), _) => fits(is_integer(value, format, custom)),
        (Some(Type::Number), _) => fits(value.is_number()),
        (Some(Type::String), Value::String(text)) if !open(text) => match format {
            Some("byte") => fits(is_base64(text)),
            Some("date-time") => fits(text.parse::<jiff::Timestamp>().is_ok()),
            _ => Ok(()),
        },
        (Some(Type::String), _) => fits(value.is_string()),
        (Some(Type::Object | Type::Array) | None, _) => Ok(()),
    }
}

fn is_int_or_string(schema: &Schema) -> bool {
    schema.int_or_string || schema.format.as_deref() == Some("int-or-string")
}

fn is_whole(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

/// Go decodes built-in kinds into integers of so many bits; custom resources may hold any whole number.
fn is_integer(value: &Value, format: Option<&str>, custom: bool) -> bool {
    match (value.as_i64(), format) {
        _ if custom => is_whole(value),
        (Some(number), Some("int32")) => i32::try_from(number).is_ok(),
        (number, _) => number.is_some(),
    }
}

/// Newlines are passed over, as Go's decoder does.
fn is_base64(text: &str) -> bool {
    let text: String = text.chars().filter(|char| !matches!(char, '\n' | '\r')).collect();
    base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

/// `500m`, `2Gi`, `1e3`, `-1.5`: a signed number, then a suffix or an exponent.
pub(super) fn is_quantity(text: &str) -> bool {
    let text = text.trim();
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = rest
        .find(|char: char| !char.is_ascii_digit() && char != '.')
        .unwrap_or(rest.len());
    let (number, suffix) = rest.split_at(end);
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    if digits == 0 || number.len() - digits > 1 {
        return false;
    }
    match suffix {
        "" | "Ki" | "Mi" | "Gi" | "Ti" | "Pi" | "Ei" | "n" | "u" | "m" | "k" | "M" | "G" | "T" | "P" | "E" => true,
        _ => suffix.strip_prefix(['e', 'E']).is_some_and(|exponent| {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            !exponent.is_empty() && exponent.bytes().all(|byte| byte.is_ascii_digit())
        }),
    }
}

/// A value with its type: `a text ("3")`.
pub(super) fn described(value: &Value) -> String {
    match value {
        Value::Null => "empty (null)".to_owned(),
        Value::Bool(flag) => format!("a boolean ({flag})"),
        Value::Number(number) => format!("a number ({number})"),
        Value::String(text) => format!("a text ({:?})", cut(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

/// A value without its type, texts without quotes.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => cut(text),
        other => cut(&other.to_string()),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_what_kubernetes_reads() {
        for text in [
            "0", "1", "500m", "2Gi", "1.5", ".5", "5.", "+1", "-1", "1e3", "1E3", "1e-3", "1E", "12Ki",
        ] {
            assert!(is_quantity(text), "{text}");
        }
        for text in [
            "", "m", "1.2.3", "1gb", "2GiB", "1 Gi", "1e", "Gi", ".", "--1", "0x1", "1K",
        ] {
            assert!(!is_quantity(text), "{text}");
        }
    }

    #[test]
    fn long_values_are_cut() {
        let text = "ä".repeat(200);
        assert!(described(&Value::from(text)).chars().count() < 60);
    }
}
