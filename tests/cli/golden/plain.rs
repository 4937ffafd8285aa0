//! What differs from run to run taken out of what was printed, and what the reference knows of documents.

use std::{collections::BTreeMap, path::Path, sync::LazyLock};

use anyhow::{Context as _, Result};
use regex::{Captures, Regex};
use serde_json::Value;

const REFERENCE: &str = include_str!("../../../docs/reference/cli.md");

/// What is replaced, in this order.
static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    [
        (r"\x1b", r"\e"),
        (
            r"(?s)-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----(\\n|\n)?",
            "CERTIFICATE",
        ),
        (r"dl[a-z]_[A-Za-z0-9_-]+", "TOKEN"),
        (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} \(\d+[smhd] ago\)",
            "TIME (AGE ago)",
        ),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d\b", "DAY HOUR"),
        (r"\bsince \d+[smhd]\b", "since AGE"),
        // With the spaces around it, which depend on its length.
        (r" *\b\d+[smhd] ago\b *", " AGE ago "),
        (r"(hash-\d+-+(?:\\e\[0m)?) +\d+[smhd] ", "${1} AGE "),
        (r"host=\S+", "host=SOMEBODY"),
        (r#"("host": |host: )"?[^",\n]+"?"#, "${1}SOMEBODY"),
    ]
    .map(|(pattern, text)| (Regex::new(pattern).expect("the rules are regular expressions"), text))
    .into()
});

static HASH: LazyLock<Regex> =
    // A colour's escape sequence ends with a letter, which is no boundary.
    LazyLock::new(|| {
        Regex::new(r"(\x1b\[[0-9;]*m|\b)([0-9a-f]{64}|[0-9a-f]{12})\b").expect("it is a regular expression")
    });

/// `text` without what differs from run to run.
pub(super) fn normalize(text: &str, home: &Path) -> String {
    // Progress, which the line that follows takes the place of.
    let lines = text
        .split('\n')
        .map(|line| line.rsplit("\r\x1b[K").next().unwrap_or_default());
    let text = lines.collect::<Vec<_>>().join("\n");
    let mut text = text.replace(&home.display().to_string(), "HOME");
    let mut hashes = BTreeMap::new();
    text = HASH
        .replace_all(&text, |found: &Captures<'_>| {
            let next = hashes.len() + 1;
            let number: usize = *hashes.entry(found[2][..12].to_owned()).or_insert(next);
            // As long as it was, so that columns stay where they are.
            format!(
                "{}{:-<width$}",
                &found[1],
                format!("hash-{number}"),
                width = found[2].len()
            )
        })
        .into_owned();
    for (rule, with) in RULES.iter() {
        text = rule.replace_all(&text, *with).into_owned();
    }
    text
}

/// The fields of a JSON document that the command's section of the reference does not know.
pub(super) fn undocumented(arguments: &[&str], json: &str) -> Result<Option<String>> {
    let (words, known) = section(arguments).with_context(|| format!("the reference has no {arguments:?}"))?;
    let document: Value =
        serde_json::from_str(json).with_context(|| format!("{arguments:?} printed no JSON: {json}"))?;
    let mut leaves = Vec::new();
    walk(&document, &mut Vec::new(), &mut leaves);
    let unknown: Vec<_> = leaves
        .into_iter()
        .filter(|(path, is_empty)| !known.iter().any(|field| fits(field, path, *is_empty)))
        .map(|(path, _)| path.join("."))
        .collect();
    Ok((!unknown.is_empty()).then(|| format!("`{words}`: the reference does not know {}", unknown.join(", "))))
}

/// The longest words that the reference has a section for, and its fields, in steps.
fn section(arguments: &[&str]) -> Option<(String, Vec<Vec<String>>)> {
    (1..=arguments.len().min(3)).rev().find_map(|length| {
        let words = arguments[..length].join(" ");
        let (_, behind) = REFERENCE.split_once(&format!("\n## driftless {words}\n"))?;
        let section = behind.split("\n## ").next()?;
        let fields = section
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
            .map(|field| {
                let steps = field.replace("[]", ".[]");
                steps
                    .split('.')
                    .filter(|step| !step.is_empty())
                    .map(str::to_owned)
                    .collect()
            });
        Some((words, fields.collect()))
    })
}

/// Every value that holds no others, and whether it is nothing: null, or an empty list or map.
fn walk(value: &Value, path: &mut Vec<String>, leaves: &mut Vec<(Vec<String>, bool)>) {
    let inner: Vec<_> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(list) => list.iter().map(|value| ("[]".to_owned(), value)).collect(),
        _ => Vec::new(),
    };
    if inner.is_empty() {
        let is_empty = matches!(value, Value::Object(_) | Value::Array(_) | Value::Null);
        leaves.push((path.clone(), is_empty));
    }
    for (step, value) in inner {
        path.push(step);
        walk(value, path, leaves);
        path.pop();
    }
}

/// Is this path the field's? Of what is nothing, the beginning of one.
fn fits(field: &[String], path: &[String], is_empty: bool) -> bool {
    match (field, path) {
        ([rest], _) if rest == "**" => true,
        ([], []) => true,
        (_, []) => is_empty,
        ([], _) => false,
        ([known, field @ ..], [step, path @ ..]) => (known == "*" || known == step) && fits(field, path, is_empty),
    }
}
