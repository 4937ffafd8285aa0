//! Label and field selectors, as queries write them.
//!
//! Used by list, watch and deletecollection.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kinds::Kind;
use crate::status::Refusal;
use crate::store::Stored;

#[derive(Clone, Debug, PartialEq)]
enum Rule {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

/// Which objects a request means.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    labels: Vec<Rule>,
    /// Path, value, and whether they must be equal.
    fields: Vec<(String, String, bool)>,
}

impl Selector {
    /// Refuses fields that the kind cannot be selected by.
    pub(crate) fn check(&self, kind: &Kind) -> Result<(), Refusal> {
        let more: &[&str] = match (kind.group.as_str(), kind.kind.as_str()) {
            ("", "Pod") => &[
                "spec.nodeName",
                "spec.restartPolicy",
                "spec.schedulerName",
                "status.phase",
                "status.podIP",
            ],
            ("", "Event") => &[
                "involvedObject.kind",
                "involvedObject.name",
                "involvedObject.namespace",
                "involvedObject.uid",
                "reason",
                "type",
            ],
            ("events.k8s.io", "Event") => &[
                "regarding.kind",
                "regarding.name",
                "regarding.namespace",
                "reason",
                "type",
            ],
            ("", "Namespace") => &["status.phase"],
            ("", "Secret") => &["type"],
            ("", "Service") => &["spec.clusterIP", "spec.type"],
            ("", "Node") => &["spec.unschedulable"],
            ("batch", "Job") => &["status.successful"],
            ("", "ReplicationController") | ("apps", "ReplicaSet") => &["status.replicas"],
            _ => &[],
        };
        let known = |path: &str| matches!(path, "metadata.name" | "metadata.namespace") || more.contains(&path);
        match self.fields.iter().find(|(path, _, _)| !known(path)) {
            None => Ok(()),
            Some((path, _, _)) if kind.custom => {
                Err(Refusal::bad_request(format!("field label not supported: {path}")))
            }
            Some((path, _, _)) => Err(Refusal::bad_request(format!(
                "{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
            ))),
        }
    }

    /// Reads both selectors of a query.
    pub(crate) fn parse(labels: Option<&str>, fields: Option<&str>) -> Result<Self, Refusal> {
        let labels = parse_labels(labels.unwrap_or_default())
            .map_err(|problem| Refusal::bad_request(format!("unable to parse requirement: {problem}")))?;
        let mut out = Self {
            labels,
            fields: Vec::new(),
        };
        for term in fields.unwrap_or_default().split(',').filter(|term| !term.is_empty()) {
            let (path, value, equal) = if let Some((path, value)) = term.split_once("!=") {
                (path, value, false)
            } else if let Some((path, value)) = term.split_once('=') {
                (path, value.trim_start_matches('='), true)
            } else {
                return Err(Refusal::bad_request(format!(
                    "invalid selector: {term:?}; can't understand {term:?}"
                )));
            };
            out.fields.push((path.to_owned(), value.to_owned(), equal));
        }
        Ok(out)
    }

    pub(crate) fn matches(&self, object: &Stored) -> bool {
        self.labels.iter().all(|rule| rule.holds(&object.labels)) && self.fields_match(object)
    }

    fn fields_match(&self, object: &Stored) -> bool {
        let mut parsed: Option<Value> = None;
        self.fields.iter().all(|(path, value, equal)| {
            let found = match path.as_str() {
                "metadata.name" => object.key.1.clone(),
                "metadata.namespace" => object.key.0.clone(),
                path => {
                    let fields = parsed.get_or_insert_with(|| object.value());
                    let pointer = format!("/{}", path.replace('.', "/"));
                    match fields.pointer(&pointer) {
                        Some(Value::String(text)) => text.clone(),
                        Some(Value::Null) | None => String::new(),
                        Some(other) => other.to_string(),
                    }
                }
            };
            (found == *value) == *equal
        })
    }
}

impl Rule {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Self::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
            Self::Exists(key) => labels.contains_key(key),
            Self::Missing(key) => !labels.contains_key(key),
        }
    }
}

fn parse_labels(text: &str) -> Result<Vec<Rule>, String> {
    let mut out = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (term, after) = split_term(rest);
        if !term.trim().is_empty() {
            out.push(parse_rule(term.trim())?);
        }
        rest = after.trim();
    }
    Ok(out)
}

/// The first term: commas inside parentheses do not end it.
fn split_term(text: &str) -> (&str, &str) {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => return (&text[..at], &text[at + 1..]),
            _ => {}
        }
    }
    (text, "")
}

fn parse_rule(term: &str) -> Result<Rule, String> {
    let one = |key: &str, value: &str| (key.trim().to_owned(), vec![value.trim().to_owned()]);
    if let Some((key, values)) = term.split_once('(') {
        let values: Vec<String> = values
            .trim_end_matches(')')
            .split(',')
            .map(|value| value.trim().to_owned())
            .collect();
        return match key.split_whitespace().collect::<Vec<_>>().as_slice() {
            [key, "in"] => Ok(Rule::In((*key).to_owned(), values)),
            [key, "notin"] => Ok(Rule::NotIn((*key).to_owned(), values)),
            _ => Err(format!("found '{term}', expected: in, notin, =, ==, !=, gt, lt")),
        };
    }
    if let Some((key, value)) = term.split_once("!=") {
        let (key, values) = one(key, value);
        return Ok(Rule::NotIn(key, values));
    }
    if let Some((key, value)) = term.split_once('=') {
        let (key, values) = one(key, value.trim_start_matches('='));
        return Ok(Rule::In(key, values));
    }
    match term.strip_prefix('!') {
        Some(key) => Ok(Rule::Missing(key.trim().to_owned())),
        None if term.contains(char::is_whitespace) => {
            let last = term.split_whitespace().last().unwrap_or_default();
            Err(format!("found '{last}', expected: in, notin, =, ==, !=, gt, lt"))
        }
        None => Ok(Rule::Exists(term.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_selectors_select() {
        let labels = BTreeMap::from([
            ("app".to_owned(), "web".to_owned()),
            ("tier".to_owned(), "1".to_owned()),
        ]);
        let holds = |text: &str| {
            parse_labels(text)
                .map(|rules| rules.iter().all(|rule| rule.holds(&labels)))
                .expect(text)
        };
        for yes in [
            "app=web",
            "app==web,tier",
            "app in (db, web)",
            "app notin (db),!x",
            "app!=db",
            "x!=1",
            "",
        ] {
            assert!(holds(yes), "{yes}");
        }
        for no in ["app=db", "!app", "x", "app in (db)", "app notin (web,db)", "app!=web"] {
            assert!(!holds(no), "{no}");
        }
        assert!(parse_labels("app is web").is_err());
    }
}
