//! JSON values as YAML, the way `kubectl -o yaml` writes them: blocks, lists at their key's indent, `|` for texts of
//! several lines.
//!
//! What is written reads back as the same value for readers of YAML 1.1 and of YAML 1.2: a text is left without
//! quotes only where no reader could take it for anything else. A crate that quotes for both dialects and never
//! folds lines was not to be had; the property test holds this one against the reader of manifests.

use serde_json::Value;

use crate::scalar::quoted;

/// The value as a document, with a line break at its end.
pub(crate) fn document(value: &Value) -> String {
    let mut out = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => entries(map, 0, false, &mut out),
        Value::Array(list) if !list.is_empty() => items(list, 0, false, &mut out),
        Value::String(text) => out.push_str(&format!("{}\n", plain_or_quoted(text))),
        flat => out.push_str(&format!("{flat}\n")),
    }
    out
}

/// The entries of a map. `behind_dash`: the first stands where a list's dash has indented already.
fn entries(map: &serde_json::Map<String, Value>, indent: usize, behind_dash: bool, out: &mut String) {
    for (index, (key, value)) in map.iter().enumerate() {
        if index > 0 || !behind_dash {
            out.extend(std::iter::repeat_n(' ', indent));
        }
        out.push_str(&plain_or_quoted(key));
        out.push(':');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push('\n');
                entries(map, indent + 2, false, out);
            }
            Value::Array(list) if !list.is_empty() => {
                out.push('\n');
                items(list, indent, false, out);
            }
            flat => scalar(flat, indent + 2, out),
        }
    }
}

fn items(list: &[Value], indent: usize, behind_dash: bool, out: &mut String) {
    for (index, value) in list.iter().enumerate() {
        if index > 0 || !behind_dash {
            out.extend(std::iter::repeat_n(' ', indent));
        }
        out.push('-');
        match value {
            Value::Object(map) if !map.is_empty() => {
                out.push(' ');
                entries(map, indent + 2, true, out);
            }
            Value::Array(list) if !list.is_empty() => {
                out.push(' ');
                items(list, indent + 2, true, out);
            }
            flat => scalar(flat, indent + 2, out),
        }
    }
}

/// What goes behind a key or a dash, to the end of its last line. `indent` is that of a block of lines.
pub(crate) fn scalar(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::String(text) if is_block(text) => {
            out.push_str(if text.ends_with('\n') { " |\n" } else { " |-\n" });
            for line in text.lines() {
                if !line.is_empty() {
                    out.extend(std::iter::repeat_n(' ', indent));
                    out.push_str(line);
                }
                out.push('\n');
            }
        }
        Value::String(text) => out.push_str(&format!(" {}\n", plain_or_quoted(text))),
        flat => out.push_str(&format!(" {flat}\n")),
    }
}

/// Can this text stand behind `|` as it is? One that begins with a space would need its indent told, one that ends
/// with several line breaks how many to keep.
fn is_block(text: &str) -> bool {
    let content = text.strip_suffix('\n').unwrap_or(text);
    content.contains('\n')
        && !content.ends_with('\n')
        && !content.starts_with([' ', '\n', '\t'])
        && text
            .chars()
            .all(|char| matches!(char, '\n' | '\t' | ' '..='~' | '\u{a0}'..='\u{d7ff}') && !is_break(char))
        && text
            .lines()
            .all(|line| !line.ends_with([' ', '\t']) && !line.starts_with('\t'))
}

/// Line breaks of YAML 1.1.
fn is_break(char: char) -> bool {
    matches!(char, '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// A text as a key or value in one line.
pub(crate) fn plain_or_quoted(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

/// Is this text a string for every reader, without quotes?
fn is_plain(text: &str) -> bool {
    let Some(first) = text.chars().next() else {
        return false;
    };
    let inner = |char: char| {
        char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.' | '/' | '+' | '=' | '@' | '(' | ')')
    };
    // `: ` and ` #` mean something; so does a colon at the end.
    let safe = text
        .chars()
        .zip(text.chars().skip(1).map(Some).chain([None]))
        .all(|(char, next)| match char {
            ' ' => next.is_some_and(inner),
            ':' | ',' => next.is_some_and(|next| inner(next) || (char == ',' && next == ' ')),
            char => inner(char),
        });
    match first {
        'a'..='z' | 'A'..='Z' => safe && !is_word(text),
        '/' | '_' => safe,
        // Hashes, ages and sizes: digits and a letter that no number has.
        '0'..='9' => {
            text.bytes()
                .all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
                && !text.contains('x')
                && text.contains(|char: char| char.is_ascii_lowercase() && !matches!(char, 'b' | 'e' | 'o'))
        }
        _ => false,
    }
}

/// Does some reader take this word for a boolean or for nothing at all?
fn is_word(text: &str) -> bool {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
}

#[cfg(test)]
mod tests {
    use driftless_model::yaml::{self, Limits};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Value {
        let mut documents = yaml::documents(text, &Limits::default()).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(documents.len(), 1, "{text}");
        documents.remove(0).value
    }

    #[test]
    fn document_looks_as_kubectl_prints_it() {
        let value = json!({
            "apiVersion": "v1",
            "data": {"a.conf": "one\n  two\n", "mode": "0644", "on": "off", "empty": ""},
            "list": [{"image": "nginx:1.25", "args": ["-v", "--x=y"]}, [], [1, [2]], {}],
            "hash": "1a2b3c", "number": 1.5, "none": null, "time": "2026-01-02T03:04:05Z",
        });
        let expected = "apiVersion: v1\ndata:\n  a.conf: |\n    one\n      two\n  empty: \"\"\n  mode: \"0644\"\n  \
            \"on\": \"off\"\nhash: 1a2b3c\nlist:\n- args:\n  - \"-v\"\n  - \"--x=y\"\n  image: nginx:1.25\n- []\n- - 1\n  \
            - - 2\n- {}\nnone: null\nnumber: 1.5\ntime: \"2026-01-02T03:04:05Z\"\n";
        assert_eq!(document(&value), expected);
        assert_eq!(read(expected), value);
    }

    #[test]
    fn texts_that_look_like_something_else_stay_texts() {
        for text in [
            "on",
            "Off",
            "y",
            "N",
            "null",
            "Null",
            "~",
            "0644",
            "0o17",
            "0x1f",
            "0b11",
            "1e3",
            "1_000",
            "1:30",
            "12e03",
            ".inf",
            ".nan",
            "-.5",
            "+1",
            "-",
            "- a",
            "?",
            "? a",
            "a: b",
            "a:",
            "a #b",
            "#a",
            "&a",
            "*a",
            "!a",
            "%a",
            "@a",
            "`a",
            "|",
            ">",
            "[a]",
            "{a}",
            "a, b",
            "'a",
            "\"a",
            "=",
            "<<",
            "---",
            "...",
            "2024-01-01",
            " a",
            "a ",
            "",
            "\n",
            "a\n",
            "a\n\n",
            "a\nb",
            "a\nb\n",
            " a\nb",
            "a\n b",
            "a\n\nb\n",
            "a\tb",
            "a\n\tb",
            "a \nb",
            "a\rb",
            "a\r\nb",
            "é",
            "a\u{85}b",
            "a\nb\u{2028}c",
            "\u{feff}",
            "a\nb\u{feff}",
            "🙂\n🙂",
            "a\n---\nb",
            "a\n...\nb\n",
            "null:",
            "a\n# b",
            "{{ x }}",
            "1a2b",
            "30s",
            "e5",
            "0e",
            "a  b",
        ] {
            let value = json!({"k": text, "l": [text, [text]], text: 1});
            assert_eq!(read(&document(&value)), value, "{text:?}");
            assert_eq!(read(&document(&json!(text))), json!(text), "{text:?}");
        }
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            any::<String>(),
            "[ -~\n\t]{0,12}",
            "[0-9a-fxobe_+.:-]{1,8}",
            "([a-z#:|>-]{0,3}[ \n]?){0,6}",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(text.clone(), inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_written_reads_back(value in any_value()) {
            // A document that is null is skipped, as kubectl does; none of ours is.
            let value = Value::from([value]);
            prop_assert_eq!(read(&document(&value)), value);
        }
    }
}
