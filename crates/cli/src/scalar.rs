//! Texts in the YAML that we write: in a form that no reader can take for anything else.

use serde_json::Value;

/// A text as a scalar in double quotes.
pub(crate) fn quoted(text: &str) -> String {
    ascii(&Value::from(text).to_string())
}

/// JSON with what YAML could take for line breaks or for nothing at all escaped. Characters beyond 16 bits stay: JSON
/// escapes them in pairs, which YAML does not know.
pub(crate) fn ascii(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for char in json.chars() {
        match u32::from(char) {
            code @ 0x7f..=0xffff => out.push_str(&format!("\\u{code:04x}")),
            _ => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_hold_nothing_that_breaks_a_line() {
        assert_eq!(quoted("a\"b\n\u{2028}é🙂\x7f"), r#""a\"b\n\u2028\u00e9🙂\u007f""#);
    }
}
