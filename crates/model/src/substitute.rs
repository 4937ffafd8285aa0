//! Variables in manifests: `${cluster.name}` and its like, and what they become on one cluster.
//!
//! Only texts that begin `${cluster.` are variables: dashboards and scripts are full of `${…}` that is not ours to
//! touch. Called by [`render`](crate::render) on objects after their overlays. Pure: the same object and cluster give
//! the same result.
//!
//! # Grammar
//! - `${cluster.name}`, `${cluster.channel}`, `${cluster.labels.KEY}`, `${cluster.vars.NAME}`; dots in what follows
//!   `vars.` go down into maps, a label's key is taken as it stands.
//! - `${…:-DEFAULT}` is the default where the variable is not defined or is the empty text.
//! - A text that is one variable and nothing else takes the variable's type, and a default that of the YAML scalar it
//!   is: `"${cluster.vars.replicas:-3}"` is the number 3. Inside a longer text only scalars make sense.
//! - `$${` is a literal `${`.
//! - What identifies an object (`apiVersion`, `kind`, `metadata.name`, `metadata.namespace`) and the keys of maps hold
//!   no variables.
//! - Objects annotated `driftless.dev/substitute: disabled`, or as Flux has it
//!   `kustomize.toolkit.fluxcd.io/substitute: disabled`, are left alone. A label will do as well.

use std::{collections::BTreeSet, fmt};

use serde_json::Value;

use crate::{canonical::Needle, diff::join, view::ClusterFacts, yaml};

const OPEN: &str = "${cluster.";
const ESCAPED: &str = "$${";
const OPT_OUTS: [&str; 2] = ["driftless.dev/substitute", "kustomize.toolkit.fluxcd.io/substitute"];

/// Something about a cluster that manifests can use.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Variable {
    /// `cluster.name`
    Name,
    /// `cluster.channel`
    Channel,
    /// `cluster.labels.KEY`
    Label(String),
    /// `cluster.vars.NAME`, and further names where it is a map.
    Var(Vec<String>),
}

impl Variable {
    /// Reads what stands between the braces.
    fn parse(text: &str) -> Result<Self, Reason> {
        let unknown = || Reason::Unknown(text.to_owned());
        let path = text.strip_prefix("cluster.").ok_or_else(unknown)?;
        match path.split_once('.') {
            None if path == "name" => Ok(Self::Name),
            None if path == "channel" => Ok(Self::Channel),
            Some(("labels", key)) if !key.is_empty() => Ok(Self::Label(key.to_owned())),
            Some(("vars", names)) if names.split('.').all(|name| !name.is_empty()) => {
                Ok(Self::Var(names.split('.').map(str::to_owned).collect()))
            }
            _ => Err(unknown()),
        }
    }

    /// Its value on a cluster; `None` where it is not defined.
    pub fn value(&self, cluster: &ClusterFacts) -> Option<Value> {
        match self {
            Self::Name => Some(Value::from(cluster.name.as_str())),
            Self::Channel => Some(Value::from(cluster.channel.as_str())),
            Self::Label(key) => cluster.label(key).map(Value::from),
            Self::Var(names) => {
                let (first, rest) = names.split_first()?;
                let value = rest
                    .iter()
                    .try_fold(cluster.vars.get(first)?, |value, name| value.get(name));
                value.cloned()
            }
        }
    }
}

impl fmt::Display for Variable {
    /// As in a manifest, without the braces: `cluster.vars.replicas`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("cluster.name"),
            Self::Channel => f.write_str("cluster.channel"),
            Self::Label(key) => write!(f, "cluster.labels.{key}"),
            Self::Var(names) => write!(f, "cluster.vars.{}", names.join(".")),
        }
    }
}

/// A text in an object that cannot be worked out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct Fault {
    /// The field's path, as [`diff`](crate::diff) writes it.
    pub field: String,
    /// Why.
    pub reason: Reason,
}

/// Why a text cannot be worked out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Reason {
    /// The cluster lacks it, and no default is given.
    #[error("{}", undefined(.0))]
    Undefined(Variable),
    /// No such variable can be.
    #[error(
        "`${{{0}}}` is no variable: there are cluster.name, cluster.channel, cluster.labels.KEY and \
        cluster.vars.NAME; write `$${{` for a literal `${{`"
    )]
    Unknown(String),
    /// It does not end.
    #[error("`{0}` has no closing `}}`; write `$${{` for a literal `${{`")]
    Open(String),
    /// A list or map in the middle of a text.
    #[error("`${{{0}}}` is a list or a map, which only fits where it is the whole value")]
    NotScalar(Variable),
    /// In a field that says which object this is.
    #[error("`{0}`: what identifies an object must be the same on every cluster: use an overlay that adds and removes")]
    Identity(String),
}

fn undefined(variable: &Variable) -> String {
    let set = match variable {
        Variable::Label(key) => format!("label CLUSTER {key}=VALUE"),
        Variable::Var(names) => format!("vars CLUSTER {}=VALUE", names.join(".")),
        Variable::Name | Variable::Channel => return format!("`${{{variable}}}` is not defined"),
    };
    format!("`${{{variable}}}` is not defined: set it with `driftless cluster {set}`, or give a default, `:-…`")
}

/// Can these canonical bytes hold a variable or an escape at all?
pub fn is_concerned(canonical: &[u8]) -> bool {
    static NEEDLES: [Needle; 2] = [Needle::new(OPEN), Needle::new(ESCAPED)];
    // One byte is found faster than a text, and most manifests have none.
    memchr::memchr(b'$', canonical).is_some() && NEEDLES.iter().any(|needle| needle.is_in(canonical))
}

/// Does the object ask to be left alone?
pub fn is_disabled(object: &Value) -> bool {
    ["annotations", "labels"].iter().any(|place| {
        let Some(map) = object.get("metadata").and_then(|metadata| metadata.get(place)) else {
            return false;
        };
        OPT_OUTS
            .iter()
            .any(|key| map.get(key).and_then(Value::as_str) == Some("disabled"))
    })
}

/// The variables that `value` and everything in it uses.
pub fn variables(value: &Value) -> BTreeSet<Variable> {
    let mut found = BTreeSet::new();
    collect(value, &mut found);
    found
}

fn collect(value: &Value, found: &mut BTreeSet<Variable>) {
    match value {
        Value::String(text) => found.extend(pieces(text).into_iter().flatten().filter_map(|piece| match piece {
            Piece::Variable(variable, _) => Some(variable),
            Piece::Text(_) => None,
        })),
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A variable that was worked out, and where: what `driftless explain` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The field's path.
    pub field: String,
    /// The variable.
    pub variable: Variable,
    /// Its value; `None` where the default was taken.
    pub value: Option<Value>,
}

/// Works out all texts in an object, in place. `lookup` gives a variable's value. Returns which variables were used.
///
/// # Errors
/// All texts that cannot be worked out. The object is then half done and must be dropped.
pub fn object(object: &mut Value, lookup: &dyn Fn(&Variable) -> Option<Value>) -> Result<Vec<Use>, Vec<Fault>> {
    if is_disabled(object) {
        return Ok(Vec::new());
    }
    let mut work = Work {
        lookup,
        uses: Vec::new(),
        faults: Vec::new(),
    };
    work.visit(object, "");
    if work.faults.is_empty() {
        Ok(work.uses)
    } else {
        Err(work.faults)
    }
}

/// What is wrong with an object's texts on every cluster alike.
pub fn check(object: &Value) -> Vec<Fault> {
    // A variable that is defined as a text says nothing of those that are not, and everything of the grammar.
    let mut copy = object.clone();
    self::object(&mut copy, &|_| Some(Value::from("x")))
        .err()
        .unwrap_or_default()
}

struct Work<'a> {
    lookup: &'a dyn Fn(&Variable) -> Option<Value>,
    uses: Vec<Use>,
    faults: Vec<Fault>,
}

impl Work<'_> {
    fn visit(&mut self, value: &mut Value, path: &str) {
        match value {
            Value::String(text) => match self.text(text, path) {
                Ok(None) => {}
                Ok(Some(result)) => *value = result,
                Err(reason) => self.faults.push(Fault {
                    field: path.to_owned(),
                    reason,
                }),
            },
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.visit(item, &format!("{path}[{index}]"));
                }
            }
            Value::Object(fields) => {
                for (key, field) in fields {
                    self.visit(field, &join(path, key));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// What `text` becomes; `None` when it stays as it is.
    fn text(&mut self, text: &str, path: &str) -> Result<Option<Value>, Reason> {
        if !(text.contains(OPEN) || text.contains(ESCAPED)) {
            return Ok(None);
        }
        if matches!(path, "apiVersion" | "kind" | "metadata.name" | "metadata.namespace") {
            return Err(Reason::Identity(text.to_owned()));
        }
        let pieces = pieces(text)?;
        if let [Piece::Variable(variable, default)] = pieces.as_slice() {
            return self
                .resolve(variable, default.as_deref(), path)
                .map(|value| Some(value.unwrap_or_else(|| default.as_deref().map(scalar).unwrap_or_default())));
        }
        let mut out = String::with_capacity(text.len());
        for piece in &pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Variable(variable, default) => match self.resolve(variable, default.as_deref(), path)? {
                    Some(Value::String(text)) => out.push_str(&text),
                    Some(Value::Array(_) | Value::Object(_)) => return Err(Reason::NotScalar(variable.clone())),
                    Some(value) => out.push_str(&value.to_string()),
                    None => out.push_str(default.as_deref().unwrap_or_default()),
                },
            }
        }
        Ok(Some(Value::String(out)))
    }

    /// The variable's value; `None` where the default is to be taken.
    fn resolve(&mut self, variable: &Variable, default: Option<&str>, path: &str) -> Result<Option<Value>, Reason> {
        let value = (self.lookup)(variable);
        let value = match (value, default) {
            (None, None) => return Err(Reason::Undefined(variable.clone())),
            (Some(Value::String(text)), Some(_)) if text.is_empty() => None,
            (value, _) => value,
        };
        self.uses.push(Use {
            field: path.to_owned(),
            variable: variable.clone(),
            value: value.clone(),
        });
        Ok(value)
    }
}

/// A default as the scalar that it would be in YAML.
fn scalar(text: &str) -> Value {
    match yaml::documents(text, &yaml::Limits::default()).as_deref() {
        Ok([document]) if !(document.value.is_array() || document.value.is_object()) => document.value.clone(),
        _ => Value::from(text),
    }
}

enum Piece<'t> {
    Text(&'t str),
    Variable(Variable, Option<String>),
}

fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Reason> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some(at) = next_mark(rest) else {
            pieces.push(Piece::Text(rest));
            break;
        };
        if at > 0 {
            pieces.push(Piece::Text(&rest[..at]));
        }
        rest = &rest[at..];
        if rest.starts_with(ESCAPED) {
            pieces.push(Piece::Text(&rest[1..ESCAPED.len()]));
            rest = &rest[ESCAPED.len()..];
            continue;
        }
        let end = rest
            .find('}')
            .ok_or_else(|| Reason::Open(rest.chars().take(40).collect()))?;
        let inner = &rest["${".len()..end];
        let (name, default) = inner
            .split_once(":-")
            .map_or((inner, None), |(name, default)| (name, Some(default)));
        if inner.contains("${") {
            return Err(Reason::Unknown(inner.to_owned()));
        }
        pieces.push(Piece::Variable(Variable::parse(name)?, default.map(str::to_owned)));
        rest = &rest[end + 1..];
    }
    Ok(pieces)
}

/// Where the first variable or escape begins.
fn next_mark(text: &str) -> Option<usize> {
    match (text.find(OPEN), text.find(ESCAPED)) {
        (Some(open), Some(escaped)) => Some(open.min(escaped)),
        (open, escaped) => open.or(escaped),
    }
}

#[cfg(test)]
mod tests;
