//! Turns what a client sent into what the server holds: unknown fields dropped, nulls gone, quantities canonical, the
//! fields that the server always writes present.
//!
//! Called by the write path before defaults. It reports problems and leaves their wording as a response to the caller.

use serde_json::{Map, Value};

use crate::quantity;
use crate::schema::{Scalar, Struct, Type};
use crate::typed;

/// What decoding noticed.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Paths of fields that the schema does not have.
    pub(crate) unknown: Vec<String>,
    /// Paths of fields that a custom object must have and has not.
    pub(crate) missing: Vec<String>,
    /// Values of the wrong kind.
    pub(crate) wrong: Vec<Wrong>,
}

/// One value that does not fit its field.
#[derive(Debug, PartialEq)]
pub(crate) struct Wrong {
    /// `spec.replicas`
    pub(crate) path: String,
    /// The struct that has the field, as the server's code calls it.
    pub(crate) owner: String,
    pub(crate) expected: &'static str,
    pub(crate) got: &'static str,
    pub(crate) value: Value,
}

/// The held form of `value`.
pub(crate) fn decode(ty: &Type, value: Value, notes: &mut Notes) -> Value {
    // Only the schemas of custom kinds say what must be there, and what cannot be null.
    let strict = matches!(ty, Type::Struct(_));
    let mut walk = Walk {
        notes,
        path: String::new(),
        owner: String::new(),
        strict,
    };
    walk.value(ty, value)
}

struct Walk<'a> {
    notes: &'a mut Notes,
    path: String,
    owner: String,
    strict: bool,
}

impl Walk<'_> {
    fn value(&mut self, ty: &Type, value: Value) -> Value {
        match (ty.inner(), value) {
            (Type::Free | Type::Opaque, value) => value,
            (_, Value::Null) => Value::Null,
            (Type::Scalar(scalar), value) => self.scalar(*scalar, value),
            (Type::List(list), Value::Array(items)) => {
                let length = self.path.len();
                let mut out = Vec::with_capacity(items.len());
                for (at, item) in items.into_iter().enumerate() {
                    self.path.push_str(&format!("[{at}]"));
                    out.push(self.value(&list.item, item));
                    self.path.truncate(length);
                }
                Value::Array(out)
            }
            (Type::Map(item), Value::Object(map)) => {
                let mut out = Map::new();
                for (key, value) in map {
                    let value = self.below(&key, |walk| {
                        if walk.strict && value.is_null() && !matches!(**item, Type::Free) {
                            return walk.wrong(word(item), value);
                        }
                        walk.value(item, value)
                    });
                    if !(value.is_null() && matches!(item.inner(), Type::Scalar(_))) {
                        out.insert(key, value);
                    }
                }
                Value::Object(out)
            }
            (inner, Value::Object(map)) => match inner.as_struct() {
                Some(def) => self.fields(def, map),
                None => Value::Object(map),
            },
            (Type::List(_), other) => self.wrong("array", other),
            (_, other) => self.wrong("object", other),
        }
    }

    fn fields(&mut self, def: &Struct, map: Map<String, Value>) -> Value {
        let outer = std::mem::replace(
            &mut self.owner,
            def.name.rsplit('.').next().unwrap_or_default().to_owned(),
        );
        let mut out = Map::new();
        for (key, value) in map {
            match def.fields.get(&key) {
                Some(field) => {
                    let known_null = field.nullable || field.default.is_some() || matches!(field.ty, Type::Free);
                    let value = self.below(&key, |walk| {
                        if walk.strict && value.is_null() && !known_null {
                            return walk.wrong(word(&field.ty), value);
                        }
                        walk.value(&field.ty, value)
                    });
                    if !(value.is_null() || field.hollow && is_hollow(&value)) {
                        out.insert(key, value);
                    }
                }
                None if def.open => {
                    out.insert(key, value);
                }
                None => {
                    let path = if self.path.is_empty() {
                        key
                    } else {
                        format!("{}.{key}", self.path)
                    };
                    self.notes.unknown.push(path);
                }
            }
        }
        for (name, field) in &def.fields {
            let missing = if field.always {
                Some(field.zero())
            } else {
                field.default.clone()
            };
            if let Some(value) = missing.filter(|_| !out.contains_key(name)) {
                let value = if field.always {
                    value
                } else {
                    self.value(&field.ty, value)
                };
                out.insert(name.clone(), value);
            }
        }
        for name in def.required.iter().filter(|name| !out.contains_key(*name)) {
            let wrong = |path: &str| self.notes.wrong.iter().any(|wrong| wrong.path == path);
            let path = if self.path.is_empty() {
                name.clone()
            } else {
                format!("{}.{name}", self.path)
            };
            if !wrong(&path) {
                self.notes.missing.push(path);
            }
        }
        self.owner = outer;
        Value::Object(out)
    }

    fn scalar(&mut self, scalar: Scalar, value: Value) -> Value {
        let expected = match scalar {
            Scalar::String | Scalar::Time | Scalar::Quantity | Scalar::IntOrString => "string",
            Scalar::Integer => "integer",
            Scalar::Number => "number",
            Scalar::Boolean => "boolean",
        };
        // A whole float is how some writers spell an integer.
        if let (Scalar::Integer, Some(float)) = (scalar, value.as_f64().filter(|_| value.is_f64()))
            && float.fract() == 0.0
            && float.abs() < 9e15
        {
            return Value::from(float as i64);
        }
        if typed::mismatch(scalar, &value).is_some() {
            return self.wrong(expected, value);
        }
        if scalar == Scalar::Quantity {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            return match quantity::canonical(&text) {
                Some(text) => Value::String(text),
                None => self.wrong("quantity", value),
            };
        }
        value
    }

    fn below<T>(&mut self, key: &str, run: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(key);
        let out = run(self);
        self.path.truncate(length);
        out
    }

    fn wrong(&mut self, expected: &'static str, value: Value) -> Value {
        let got = match &value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        self.notes.wrong.push(Wrong {
            path: self.path.clone(),
            owner: self.owner.clone(),
            expected,
            got,
            value,
        });
        Value::Null
    }
}

/// What a schema calls values of this type.
fn word(ty: &Type) -> &'static str {
    match ty.inner() {
        Type::Scalar(Scalar::Integer) => "integer",
        Type::Scalar(Scalar::Number) => "number",
        Type::Scalar(Scalar::Boolean) => "boolean",
        Type::Scalar(_) => "string",
        Type::List(_) => "array",
        _ => "object",
    }
}

/// Zero, false or empty, which the server leaves out of fields that say nothing then.
fn is_hollow(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::builtin;

    #[test]
    fn unknown_fields_nulls_and_wrong_values_are_noticed() {
        let mut notes = Notes::default();
        let given = json!({"metadata": {"name": "web", "labels": null}, "spec": {"replicas": "two", "nope": 1}});
        let held = decode(&builtin("apps.v1.Deployment"), given, &mut notes);
        assert_eq!(held["metadata"], json!({"name": "web"}));
        assert_eq!(notes.unknown, ["spec.nope"]);
        let wrong = &notes.wrong[0];
        assert_eq!(
            (wrong.path.as_str(), wrong.owner.as_str()),
            ("spec.replicas", "DeploymentSpec")
        );
        assert_eq!(held["spec"]["strategy"], json!({}));
    }
}
