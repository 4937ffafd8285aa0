//! Holds a document against the form of `driftless.yaml`; tells everything that is wrong, each with its place.

use driftless_model::{
    bundle::upkeep::ServiceAccount,
    name::{DNS_LABEL_RULE, is_dns_label},
    selector::Selector,
};
use serde_json::{Map, Value};

use super::form::{Count, Record, Shape};

/// How like a known name an unknown one has to be for a guess.
const LIKENESS: f64 = 0.8;

/// What is wrong, by JSON pointer.
pub(super) type Wrongs = Vec<(String, String)>;

/// Everything that is wrong with `value`, which stands at `pointer`.
pub(super) fn check(value: &Value, shape: Shape, pointer: &str, wrongs: &mut Wrongs) {
    let mut wrong = |message: String| wrongs.push((pointer.to_owned(), message));
    match (shape, value) {
        (Shape::Any, _) => {}
        (Shape::Selector, Value::String(_) | Value::Object(_)) => {
            let read = serde_json::from_value::<Selector>(value.clone());
            let checked = read.map_err(|error| error.to_string()).and_then(|selector| {
                let checked = selector.check();
                checked.map_err(|error| error.to_string())
            });
            if let Err(message) = checked {
                wrong(message);
            }
        }
        (Shape::Name, Value::String(text)) => {
            if !is_dns_label(text) {
                wrong(format!("`{text}` is not valid: {DNS_LABEL_RULE}"));
            }
        }
        (Shape::Account, Value::String(text)) => {
            if let Err(error) = text.parse::<ServiceAccount>() {
                wrong(error.to_string());
            }
        }
        (Shape::Choice(choices), Value::String(text)) => {
            if !choices.contains(&text.as_str()) {
                wrong(format!("`{text}` is not known: {}", guess(text, choices)));
            }
        }
        (Shape::Version(version), Value::Number(number)) => {
            if number.as_u64() != Some(version) {
                wrong(format!(
                    "version {number} is not known: this program knows {version}; a newer one may be needed"
                ));
            }
        }
        (Shape::List(item), Value::Array(items)) => {
            for (index, value) in items.iter().enumerate() {
                check(value, *item, &format!("{pointer}/{index}"), wrongs);
            }
        }
        (Shape::Map(item), Value::Object(fields)) => {
            for (name, value) in fields {
                check(value, *item, &join(pointer, name), wrongs);
            }
        }
        (Shape::Record(record), Value::Object(fields)) => check_record(fields, record, pointer, wrongs),
        (Shape::Either(one, other), value) => match [one, other].into_iter().find(|shape| fits(**shape, value)) {
            Some(shape) => check(value, *shape, pointer, wrongs),
            None => wrong(mismatch(shape, value)),
        },
        (shape, value) if fits(shape, value) => {}
        (shape, value) => wrong(mismatch(shape, value)),
    }
}

fn check_record(fields: &Map<String, Value>, record: &Record, pointer: &str, wrongs: &mut Wrongs) {
    let names: Vec<_> = record.fields.iter().map(|field| field.name).collect();
    for name in fields.keys().filter(|name| !names.contains(&name.as_str())) {
        let message = format!("unknown field `{name}`: {}", guess(name, &names));
        wrongs.push((join(pointer, name), message));
    }
    let mut wrong = |message: String| wrongs.push((pointer.to_owned(), message));
    for field in record.fields.iter().filter(|field| field.required) {
        if !fields.contains_key(field.name) {
            wrong(format!("`{}` is missing", field.name));
        }
    }
    if let Some((count, names)) = record.one_of {
        let there = names.iter().filter(|name| fields.contains_key(**name)).count();
        let all = quoted(names);
        match count {
            Count::AtLeastOne if there == 0 => wrong(format!("one of {all} has to be there")),
            Count::ExactlyOne if there != 1 => wrong(format!("exactly one of {all} has to be there")),
            _ => {}
        }
    }
    for field in record.fields {
        if let Some(value) = fields.get(field.name) {
            check(value, field.shape, &join(pointer, field.name), wrongs);
        }
    }
}

/// Is the value of the shape's type?
fn fits(shape: Shape, value: &Value) -> bool {
    match shape {
        Shape::Text | Shape::Name | Shape::Account | Shape::Choice(_) => value.is_string(),
        Shape::Whole => value.is_u64(),
        Shape::Version(_) => value.is_number(),
        Shape::Flag => value.is_boolean(),
        Shape::Selector => value.is_string() || value.is_object(),
        Shape::Object | Shape::Map(_) | Shape::Record(_) => value.is_object(),
        Shape::Any => true,
        Shape::Scalar => !value.is_object() && !value.is_array(),
        Shape::List(_) => value.is_array(),
        Shape::Either(one, other) => fits(*one, value) || fits(*other, value),
    }
}

fn mismatch(shape: Shape, value: &Value) -> String {
    let is = match value {
        Value::Null => "empty",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    let quotes = matches!(shape, Shape::Text | Shape::Name) && (value.is_number() || value.is_boolean());
    let advice = if quotes { ": put it in quotes" } else { "" };
    format!("this has to be {}, and is {is}{advice}", wanted(shape))
}

/// What a shape is, in words.
pub(super) fn wanted(shape: Shape) -> String {
    match shape {
        Shape::Text => "a text".to_owned(),
        Shape::Name => "a name".to_owned(),
        Shape::Account => "a text `namespace/name`".to_owned(),
        Shape::Choice(choices) => format!("one of {}", quoted(choices)),
        Shape::Whole => "a whole number".to_owned(),
        Shape::Version(version) => format!("the number {version}"),
        Shape::Flag => "`true` or `false`".to_owned(),
        Shape::Selector => "a selector".to_owned(),
        Shape::Object | Shape::Record(_) => "an object".to_owned(),
        Shape::Map(_) => "an object with names of your own".to_owned(),
        Shape::Any => "anything".to_owned(),
        Shape::Scalar => "a text, a number, `true`, `false` or `null`".to_owned(),
        Shape::List(_) => "a list".to_owned(),
        Shape::Either(one, other) => format!("{} or {}", wanted(*one), wanted(*other)),
    }
}

/// The name that was probably meant, or all there are.
pub(crate) fn guess(name: &str, known: &[&str]) -> String {
    let likeness = |known: &&&str| strsim::jaro_winkler(&name.to_lowercase(), &known.to_lowercase());
    let best = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match best {
        Some(best) if likeness(&best) >= LIKENESS => format!("did you mean `{best}`?"),
        _ => format!("there are {}", quoted(known)),
    }
}

fn quoted(names: &[&str]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn join(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::form::FILE, *};

    fn wrongs(components: Value) -> Vec<String> {
        let mut wrongs = Wrongs::new();
        let file = json!({ "version": 1, "components": components });
        check(&file, Shape::Record(&FILE), "", &mut wrongs);
        wrongs
            .into_iter()
            .map(|(pointer, message)| format!("{pointer}: {message}"))
            .collect()
    }

    #[test]
    fn every_wrong_part_is_told_with_its_place() {
        let found = wrongs(json!([
            { "nmae": "shop", "path": 3, "epoch": -1, "selector": "a in (", "namespace": "A" },
            { "name": "b", "helm": { "values": [true], "kubeVersion": 1.31 } },
            { "path": "x", "overlays": [{ "name": "o", "patches": [{ "target": {}, "json": [{ "op": "ad", "path": "/a" }], "merge": {} }] }] },
            {},
        ]));
        let expected = [
            "/components/0/nmae: unknown field `nmae`: did you mean `name`?",
            "/components/0/path: this has to be a text, and is a number: put it in quotes",
            "/components/0/namespace: `A` is not valid: use 1 to 63",
            "/components/0/selector: selector `a in (`",
            "/components/0/epoch: this has to be a whole number, and is a number",
            "/components/1/helm: `chart` is missing",
            "/components/1/helm/values/0: this has to be a text or an object, and is true or false",
            "/components/1/helm/kubeVersion: this has to be a text, and is a number: put it in quotes",
            "/components/2/overlays/0/patches/0: exactly one of `json`, `merge` has to be there",
            "/components/2/overlays/0/patches/0/target: one of `group`, `kind`,",
            "/components/2/overlays/0/patches/0/json/0/op: `ad` is not known: did you mean `add`?",
            "/components/3: one of `path`, `paths`, `kustomize`, `helm`, `exec` has to be there",
        ];
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}\n{expected}");
        }
    }

    #[test]
    fn name_like_no_other_is_answered_with_all() {
        assert_eq!(guess("zzz", &["a", "b"]), "there are `a`, `b`");
    }
}
