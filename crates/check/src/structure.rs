//! Holds one object against the schema of its kind: unknown, mistyped and missing fields, each with its path.
//!
//! The measure is what the API server refuses when it is asked to be strict and to apply on the server's side,
//! which is how the agent applies. Whatever it would take is taken here; where a schema says more than the API
//! server enforces, the API server is right. One thing is refused that an apply takes: an integer too large for its
//! field, which a create refuses and an apply cuts to another number without a word.
//!
//! # Built-in kinds and custom resources
//! The API server decodes built-in kinds into Go types, where `null` is the same as absent, and holds custom resources
//! against their definition, where `null` is a value. Nothing else differs here.

mod guess;
mod scalar;

use std::collections::BTreeSet;

use driftless_model::diff;
use serde_json::{Map, Value};

use crate::{
    finding::{Rule, Severity},
    schema::{Additional, Schema, Type, Types},
    variable,
};

pub(crate) use guess::nearest;

/// One thing that is wrong with an object, before it has a place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fault {
    /// The JSON pointer to what is wrong, or to what should hold it.
    pub(crate) pointer: String,
    /// The path for people.
    pub(crate) field: String,
    pub(crate) severity: Severity,
    pub(crate) rule: Rule,
    pub(crate) message: String,
}

impl Fault {
    /// A fault of the field at `pointer`, which names keys that exist in `object`.
    pub(crate) fn at(pointer: &str, severity: Severity, rule: Rule, message: impl Into<String>) -> Self {
        let mut field = String::new();
        for step in pointer.split('/').skip(1) {
            if step.bytes().all(|byte| byte.is_ascii_digit()) {
                field.push_str(&format!("[{step}]"));
            } else {
                field = diff::join(&field, &step.replace("~1", "/").replace("~0", "~"));
            }
        }
        Self {
            pointer: pointer.to_owned(),
            field,
            severity,
            rule,
            message: message.into(),
        }
    }
}

/// What is wrong with an object of a built-in kind.
pub(crate) fn built_in<'a>(types: &'a Types, schema: &'a Schema, object: &'a Value) -> Vec<Fault> {
    let mut walk = Walk::new(types, object, false);
    walk.value(schema, object);
    walk.faults
}

/// What is wrong with a custom resource, by the schema of its definition.
pub(crate) fn custom<'a>(types: &'a Types, schema: &'a Schema, object: &'a Value) -> Vec<Fault> {
    let mut walk = Walk::new(types, object, true);
    if let Value::Object(fields) = object {
        walk.resource(schema, fields);
    }
    walk.faults
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

struct Walk<'a> {
    types: &'a Types,
    /// Inside a custom resource, its metadata aside.
    custom: bool,
    variables: bool,
    /// The way from the object to the value that is looked at.
    steps: Vec<Step<'a>>,
    faults: Vec<Fault>,
}

impl<'a> Walk<'a> {
    fn new(types: &'a Types, object: &Value, custom: bool) -> Self {
        Self {
            types,
            custom,
            variables: variable::are_filled_in(object),
            steps: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn value(&mut self, schema: &'a Schema, value: &'a Value) {
        let Some(schema) = self.types.resolve(schema) else {
            return;
        };
        match value {
            Value::Null => {
                if self.custom && !schema.nullable && !schema.default && schema.kind.is_some() {
                    self.wrong_type(expected(schema), value);
                }
            }
            Value::String(text) if self.variables && variable::is_whole(text) => {}
            _ => match (schema.kind, value) {
                (Some(Type::Object), Value::Object(fields)) if schema.embedded => self.resource(schema, fields),
                (Some(Type::Object), Value::Object(fields)) => self.fields(schema, fields),
                (Some(Type::Array), Value::Array(items)) => self.items(schema, items),
                (Some(Type::Object | Type::Array), _) => self.wrong_type(expected(schema), value),
                _ => self.scalar(schema, value),
            },
        }
    }

    fn scalar(&mut self, schema: &Schema, value: &Value) {
        if let Err(refusal) = scalar::check(schema, value, self.custom, self.variables) {
            self.fault(refusal.rule, refusal.message);
        } else if !schema.values.is_empty() && !schema.values.contains(value) {
            let open = value
                .as_str()
                .is_some_and(|text| text.is_empty() && !self.custom || variable::is_in(text));
            if !open {
                let known: Vec<_> = schema.values.iter().map(scalar::plain).collect();
                let message = format!("must be one of {}, not {}", known.join(", "), scalar::plain(value));
                self.fault(Rule::InvalidValue, message);
            }
        }
    }

    /// An object with `apiVersion`, `kind` and `metadata`, which its schema need not name.
    fn resource(&mut self, schema: &'a Schema, fields: &'a Map<String, Value>) {
        self.known_fields(schema, fields, |name| {
            matches!(name, "apiVersion" | "kind" | "metadata")
        });
        if let (Some(metadata), Some(schema)) = (fields.get("metadata"), self.types.metadata()) {
            let custom = std::mem::replace(&mut self.custom, false);
            self.step(Step::Key("metadata"), schema, metadata);
            self.custom = custom;
        }
    }

    fn fields(&mut self, schema: &'a Schema, fields: &'a Map<String, Value>) {
        self.known_fields(schema, fields, |_| false);
    }

    fn known_fields(&mut self, schema: &'a Schema, fields: &'a Map<String, Value>, skip: impl Fn(&str) -> bool) {
        for (name, value) in fields.iter().filter(|(name, _)| !skip(name)) {
            if let Some(property) = schema.properties.get(name) {
                self.step(Step::Key(name), property, value);
                continue;
            }
            match &schema.additional_properties {
                Some(Additional::Of(values)) => self.step(Step::Key(name), values, value),
                Some(Additional::Any(true)) => {}
                _ if schema.preserves_unknown || (!self.custom && schema.properties.is_empty()) => {}
                _ => {
                    self.steps.push(Step::Key(name));
                    self.fault(Rule::UnknownField, unknown(name, schema));
                    self.steps.pop();
                }
            }
        }
        for name in schema.required.iter().filter(|name| !skip(name)) {
            let absent = match fields.get(name) {
                None => !schema.properties.get(name).is_some_and(|property| property.default),
                Some(value) => value.is_null() && !self.custom,
            };
            if absent {
                self.missing(name);
            }
        }
    }

    fn items(&mut self, schema: &'a Schema, items: &'a [Value]) {
        if let Some(element) = schema.items.as_deref() {
            for (index, item) in items.iter().enumerate() {
                self.step(Step::Index(index), element, item);
            }
        }
        let is_set = schema.list_type.as_deref() == Some("set");
        if !is_set && schema.list_keys.is_empty() {
            return;
        }
        let mut seen = BTreeSet::new();
        for (index, item) in items.iter().enumerate() {
            let (key, shown) = if is_set {
                (item.to_string(), scalar::plain(item))
            } else {
                keys_of(item, &schema.list_keys)
            };
            let repeated = !seen.insert(key) && !item.is_null();
            let open = self.variables && variable::is_in(&shown);
            if repeated && !open {
                self.steps.push(Step::Index(index));
                self.fault(
                    Rule::DuplicateElement,
                    format!("is there twice in its list ({shown}): remove one"),
                );
                self.steps.pop();
            }
        }
    }

    fn step(&mut self, step: Step<'a>, schema: &'a Schema, value: &'a Value) {
        self.steps.push(step);
        self.value(schema, value);
        self.steps.pop();
    }

    fn wrong_type(&mut self, expected: &str, value: &Value) {
        self.fault(
            Rule::WrongType,
            format!("must be {expected}, not {}", scalar::described(value)),
        );
    }

    /// A field that is not there, so that its place is that of what should hold it.
    fn missing(&mut self, name: &str) {
        let pointer = self.pointer();
        self.faults.push(Fault {
            field: diff::join(&self.path(), name),
            pointer,
            severity: Severity::Error,
            rule: Rule::MissingField,
            message: "is missing".to_owned(),
        });
    }

    fn fault(&mut self, rule: Rule, message: String) {
        self.faults.push(Fault {
            pointer: self.pointer(),
            field: self.path(),
            severity: Severity::Error,
            rule,
            message,
        });
    }

    fn pointer(&self) -> String {
        self.steps.iter().fold(String::new(), |pointer, step| match step {
            Step::Key(key) => format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")),
            Step::Index(index) => format!("{pointer}/{index}"),
        })
    }

    fn path(&self) -> String {
        self.steps.iter().fold(String::new(), |path, step| match step {
            Step::Key(key) => diff::join(&path, key),
            Step::Index(index) => format!("{path}[{index}]"),
        })
    }
}

fn expected(schema: &Schema) -> &'static str {
    match schema.kind {
        Some(Type::Object) => "a mapping",
        Some(Type::Array) => "a list",
        _ => scalar::expected(schema),
    }
}

fn unknown(name: &str, schema: &Schema) -> String {
    match nearest(name, schema.properties.keys().map(String::as_str)) {
        Some(known) => format!("is no known field: did you mean `{known}`?"),
        None => "is no known field".to_owned(),
    }
}

/// What tells an element of a list from the others: to compare, and to show.
fn keys_of(item: &Value, keys: &[String]) -> (String, String) {
    let values: Vec<_> = keys
        .iter()
        .map(|key| match item.get(key) {
            // The one key that API servers fill in before they compare.
            None | Some(Value::Null) if key == "protocol" => (key, Value::from("TCP")),
            None | Some(Value::Null) => (key, Value::Null),
            Some(value) => (key, value.clone()),
        })
        .collect();
    let compared: Vec<_> = values.iter().map(|(_, value)| value.to_string()).collect();
    let shown: Vec<_> = values
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, value)| format!("{key} {}", scalar::plain(value)))
        .collect();
    (compared.join("\n"), shown.join(", "))
}

#[cfg(test)]
mod tests;
