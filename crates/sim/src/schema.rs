//! What the fields of an object are: the structure that server-side apply, patches and defaulting walk.
//!
//! `types.txt` holds one built-in type a line, taken from the facts in the API's published OpenAPI document:
//! `name[!] field:type …`, where `!` marks a map that is one atomic value, `+field` one that the server always
//! writes `?field` one that it then writes as null, `-field` one
//! that it leaves out when empty, and a type is `s i n b q x t a` (string, integer, number, boolean, quantity, int-or-string, time, anything),
//! `*T` (map of T), `(|key)T` (atomic list, with the key of strategic merges), `{}T` (set), `[key=default,…]T` (list by keys)
//! or a name. Custom kinds get the same structure from their CRD's schema ([`from_crd`]).
//!
//! Used by `fields`, `apply`, `patch`, `decode`. It never looks at a whole object.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The type of one value.
#[derive(Clone, Debug)]
pub(crate) enum Type {
    /// A leaf.
    Scalar(Scalar),
    /// Anything, taken as one value.
    Opaque,
    /// Anything, its structure taken from the value: maps by key, lists as one value.
    Free,
    /// A built-in type, by its place in [`BUILTIN`].
    Named(usize),
    /// A custom kind's own.
    Struct(Arc<Struct>),
    /// Keys are data.
    Map(Arc<Self>),
    /// A list, and how its items are told apart.
    List(Arc<List>),
    /// A map or struct that is owned and replaced whole.
    Atomic(Arc<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    String,
    Integer,
    Number,
    Boolean,
    Quantity,
    IntOrString,
    Time,
}

/// Named fields.
#[derive(Debug, Default)]
pub(crate) struct Struct {
    pub(crate) name: String,
    pub(crate) atomic: bool,
    /// Fields that it does not name are kept, and are free.
    pub(crate) open: bool,
    /// Fields without which a custom object is refused.
    pub(crate) required: Vec<String>,
    pub(crate) fields: BTreeMap<String, Field>,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) ty: Type,
    /// The server writes it even when nothing was given.
    pub(crate) always: bool,
    /// What it then writes is null.
    null: bool,
    /// The server leaves it out when it is zero, false or empty.
    pub(crate) hollow: bool,
    /// Null is a value of it.
    pub(crate) nullable: bool,
    pub(crate) default: Option<Value>,
}

#[derive(Debug)]
pub(crate) struct List {
    pub(crate) item: Type,
    pub(crate) relation: Relation,
    /// How a strategic merge patch treats it: not merged, merged as a set (`""`), or by this key.
    pub(crate) patch: Option<String>,
}

/// How the items of a list are told apart.
#[derive(Debug, PartialEq)]
pub(crate) enum Relation {
    Atomic,
    Set,
    /// By these fields, each with the value that stands for a missing one.
    Keys(Vec<(String, Option<Value>)>),
}

struct Builtin {
    types: Vec<Struct>,
    by_name: BTreeMap<&'static str, usize>,
}

static BUILTIN: LazyLock<Builtin> = LazyLock::new(|| {
    let text = include_str!("schema/types.txt");
    let mut by_name = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let name = line.split(' ').next().expect("a split has a first part");
        by_name.insert(name.trim_end_matches('!'), index);
    }
    let types = text.lines().map(|line| parse_struct(line, &by_name)).collect();
    Builtin { types, by_name }
});

fn parse_struct(line: &str, names: &BTreeMap<&str, usize>) -> Struct {
    let mut words = line.split(' ');
    let head = words.next().expect("a split has a first part");
    let fields = words
        .filter(|word| !word.is_empty())
        .map(|word| {
            let (name, ty) = word.split_once(':').expect("fields are name:type");
            let null = name.starts_with('?');
            let always = null || name.starts_with('+');
            let hollow = name.starts_with('-');
            let field = Field {
                ty: parse_type(ty, names),
                always,
                null,
                hollow,
                nullable: true,
                default: None,
            };
            (name.trim_start_matches(['+', '?', '-']).to_owned(), field)
        })
        .collect();
    Struct {
        name: head.trim_end_matches('!').to_owned(),
        atomic: head.ends_with('!'),
        open: false,
        required: Vec::new(),
        fields,
    }
}

fn parse_type(text: &str, names: &BTreeMap<&str, usize>) -> Type {
    let (first, rest) = text.split_at(1);
    match first {
        "!" => Type::Atomic(Arc::new(parse_type(rest, names))),
        "*" => Type::Map(Arc::new(parse_type(rest, names))),
        "(" | "{" | "[" => {
            let close = rest.find([')', '}', ']']).expect("list brackets close");
            let (keys, patch) = match rest[..close].split_once('|') {
                Some((keys, patch)) => (keys, Some(patch.to_owned())),
                None => (&rest[..close], None),
            };
            let relation = match first {
                "(" => Relation::Atomic,
                "{" => Relation::Set,
                _ => Relation::Keys(keys.split(',').map(parse_key).collect()),
            };
            Type::List(Arc::new(List {
                item: parse_type(&rest[close + 1..], names),
                relation,
                patch,
            }))
        }
        _ => match text {
            "s" => Type::Scalar(Scalar::String),
            "i" => Type::Scalar(Scalar::Integer),
            "n" => Type::Scalar(Scalar::Number),
            "b" => Type::Scalar(Scalar::Boolean),
            "q" => Type::Scalar(Scalar::Quantity),
            "x" => Type::Scalar(Scalar::IntOrString),
            "t" => Type::Scalar(Scalar::Time),
            "a" => Type::Opaque,
            name => Type::Named(*names.get(name).expect("types.txt defines every type that it names")),
        },
    }
}

fn parse_key(text: &str) -> (String, Option<Value>) {
    match text.split_once('=') {
        Some((key, "0")) => (key.to_owned(), Some(json!(0))),
        Some((key, default)) => (key.to_owned(), Some(json!(default))),
        None => (text.to_owned(), None),
    }
}

/// The built-in type of this name, such as `apps.v1.Deployment`.
pub(crate) fn builtin(name: &str) -> Type {
    BUILTIN
        .by_name
        .get(name)
        .map_or(Type::Free, |index| Type::Named(*index))
}

impl Field {
    /// What the server writes when nothing was given.
    pub(crate) fn zero(&self) -> Value {
        if self.null { Value::Null } else { self.ty.zero() }
    }
}

impl Type {
    /// The named fields, for a struct.
    pub(crate) fn as_struct(&self) -> Option<&Struct> {
        match self {
            Self::Named(index) => Some(&BUILTIN.types[*index]),
            Self::Struct(def) => Some(def),
            Self::Atomic(inner) => inner.as_struct(),
            _ => None,
        }
    }

    /// Owned and replaced whole.
    pub(crate) fn is_atomic(&self) -> bool {
        match self {
            Self::Scalar(_) | Self::Opaque | Self::Atomic(_) => true,
            Self::Named(_) | Self::Struct(_) => self.as_struct().is_some_and(|def| def.atomic),
            Self::List(list) => list.relation == Relation::Atomic,
            Self::Free | Self::Map(_) => false,
        }
    }

    /// The type behind an atomic mark.
    pub(crate) fn inner(&self) -> &Self {
        match self {
            Self::Atomic(inner) => inner.inner(),
            other => other,
        }
    }

    /// The type below `key`, and whether that is a named field.
    pub(crate) fn child(&self, key: &str) -> (&Self, bool) {
        match self.inner() {
            Self::Map(item) => (item, false),
            inner @ (Self::Named(_) | Self::Struct(_)) => match inner.as_struct().and_then(|def| def.fields.get(key)) {
                Some(field) => (&field.ty, true),
                None => (&Self::Free, false),
            },
            _ => (&Self::Free, false),
        }
    }

    /// Values of this type are maps by its word.
    pub(crate) fn is_map(&self) -> bool {
        matches!(self.inner(), Self::Named(_) | Self::Struct(_) | Self::Map(_))
    }

    /// The list definition, for a list.
    pub(crate) fn as_list(&self) -> Option<&List> {
        match self.inner() {
            Self::List(list) => Some(list),
            _ => None,
        }
    }

    /// What the server holds before anything was given: every always-written field at its zero.
    pub(crate) fn zero(&self) -> Value {
        match self.inner() {
            inner @ (Self::Named(_) | Self::Struct(_)) => {
                let fields = inner.as_struct().into_iter().flat_map(|def| &def.fields);
                let always = fields.filter(|(_, field)| field.always);
                Value::Object(always.map(|(name, field)| (name.clone(), field.zero())).collect())
            }
            Self::Scalar(Scalar::String) => json!(""),
            Self::Scalar(Scalar::Integer | Scalar::Number | Scalar::IntOrString) => json!(0),
            Self::Scalar(Scalar::Boolean) => json!(false),
            Self::Scalar(Scalar::Quantity) => json!("0"),
            _ => Value::Null,
        }
    }
}

/// [`from_crd`], but one structure for all clusters of the process that have the same schema.
pub(crate) fn shared_from_crd(schema: Option<&Value>) -> Type {
    static SHARED: Mutex<BTreeMap<String, Weak<Struct>>> = Mutex::new(BTreeMap::new());
    let key = schema
        .map(|schema| hex::encode(Sha256::digest(schema.to_string())))
        .unwrap_or_default();
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = shared.get(&key).and_then(Weak::upgrade) {
        return Type::Struct(known);
    }
    let ty = from_crd(schema);
    if let Type::Struct(def) = &ty {
        shared.retain(|_, known| known.strong_count() > 0);
        shared.insert(key, Arc::downgrade(def));
    }
    ty
}

/// The structure of a custom kind: its CRD's schema, with the standard metadata.
pub(crate) fn from_crd(schema: Option<&Value>) -> Type {
    let mut root = match schema.map(|schema| from_openapi(schema, true)) {
        Some(Type::Struct(def)) => Arc::into_inner(def).unwrap_or_default(),
        _ => Struct {
            open: true,
            ..Struct::default()
        },
    };
    let plain = |ty| Field {
        ty,
        always: false,
        null: false,
        hollow: false,
        nullable: true,
        default: None,
    };
    root.fields
        .insert("apiVersion".to_owned(), plain(Type::Scalar(Scalar::String)));
    root.fields
        .insert("kind".to_owned(), plain(Type::Scalar(Scalar::String)));
    root.fields.insert(
        "metadata".to_owned(),
        Field {
            always: true,
            ..plain(builtin("meta.ObjectMeta"))
        },
    );
    Type::Struct(Arc::new(root))
}

fn from_openapi(schema: &Value, root: bool) -> Type {
    let flag = |name: &str| schema[name] == json!(true);
    if flag("x-kubernetes-int-or-string") {
        return Type::Scalar(Scalar::IntOrString);
    }
    let open = flag("x-kubernetes-preserve-unknown-fields");
    if flag("x-kubernetes-embedded-resource") && !schema["properties"].is_object() {
        return Type::Free;
    }
    let ty = match schema["type"].as_str() {
        Some("object") => object_from_openapi(schema, open || root && !schema["properties"].is_object()),
        Some("array") => Type::List(Arc::new(list_from_openapi(schema))),
        Some("string") => Type::Scalar(Scalar::String),
        Some("integer") => Type::Scalar(Scalar::Integer),
        Some("number") => Type::Scalar(Scalar::Number),
        Some("boolean") => Type::Scalar(Scalar::Boolean),
        _ => Type::Free,
    };
    if schema["x-kubernetes-map-type"] == "atomic" {
        Type::Atomic(Arc::new(ty))
    } else {
        ty
    }
}

fn object_from_openapi(schema: &Value, open: bool) -> Type {
    if let Some(properties) = schema["properties"].as_object() {
        let field = |schema: &Value| Field {
            ty: from_openapi(schema, false),
            always: false,
            null: false,
            hollow: false,
            nullable: schema["nullable"] == json!(true),
            default: schema.get("default").cloned(),
        };
        let fields = properties
            .iter()
            .map(|(name, schema)| (name.clone(), field(schema)))
            .collect();
        let names = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        let required = names.map(str::to_owned).collect();
        return Type::Struct(Arc::new(Struct {
            open,
            required,
            fields,
            ..Struct::default()
        }));
    }
    match &schema["additionalProperties"] {
        item @ Value::Object(_) => Type::Map(Arc::new(from_openapi(item, false))),
        _ if open => Type::Free,
        _ => Type::Struct(Arc::new(Struct {
            open: true,
            ..Struct::default()
        })),
    }
}

fn list_from_openapi(schema: &Value) -> List {
    let item = from_openapi(&schema["items"], false);
    let relation = match schema["x-kubernetes-list-type"].as_str() {
        Some("set") => Relation::Set,
        Some("map") => {
            let keys = schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten();
            let default = |key: &str| schema["items"]["properties"][key].get("default").cloned();
            Relation::Keys(
                keys.filter_map(Value::as_str)
                    .map(|key| (key.to_owned(), default(key)))
                    .collect(),
            )
        }
        _ => Relation::Atomic,
    };
    List {
        item,
        relation,
        patch: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_the_table_names_is_defined() {
        assert!(BUILTIN.types.len() > 400);
    }

    #[test]
    fn containers_are_keyed_by_name_and_ports_default_to_tcp() {
        let pod = builtin("core.v1.PodSpec");
        let containers = pod.child("containers").0.as_list().expect("a list");
        assert_eq!(
            containers.relation,
            Relation::Keys(vec![("name".to_owned(), Some(json!("")))])
        );
        let ports = containers.item.child("ports").0.as_list().expect("a list");
        let keys = vec![
            ("containerPort".to_owned(), Some(json!(0))),
            ("protocol".to_owned(), Some(json!("TCP"))),
        ];
        assert_eq!(ports.relation, Relation::Keys(keys));
    }

    #[test]
    fn a_deployments_zero_has_its_always_written_structs() {
        let zero = builtin("apps.v1.Deployment").zero();
        let template = json!({"metadata": {}, "spec": {"containers": null}});
        assert_eq!(
            zero["spec"],
            json!({"selector": null, "strategy": {}, "template": template})
        );
    }
}
