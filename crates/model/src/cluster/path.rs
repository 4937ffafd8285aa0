//! Where a value is among a cluster's variables.

use std::{fmt, str::FromStr};

use serde_json::{Map, Value};

use crate::name::{InvalidName, Vars};

/// Names a variable, or a value inside one that is a map: `replicas`, `db.host`. As in `${cluster.vars.db.host}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VarPath {
    first: String,
    rest: Vec<String>,
}

const RULE: &str =
    "use letters, digits, `_` or `-`, begin with a letter or `_`, and put dots between the names of maps";
const WHAT: &str = "variable name";

impl FromStr for VarPath {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let is_name = |name: &str| {
            let mut bytes = name.bytes();
            bytes
                .next()
                .is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        };
        if !text.split('.').all(is_name) {
            return Err(InvalidName {
                what: WHAT,
                name: text.to_owned(),
                rule: RULE,
            });
        }
        let mut names = text.split('.').map(str::to_owned);
        Ok(Self {
            first: names.next().unwrap_or_default(),
            rest: names.collect(),
        })
    }
}

impl fmt::Display for VarPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first)?;
        self.rest.iter().try_for_each(|name| write!(f, ".{name}"))
    }
}

impl VarPath {
    /// The name, of a path that is no more than that.
    ///
    /// # Errors
    /// When it goes into a map.
    pub fn name(self) -> Result<String, InvalidName> {
        if self.rest.is_empty() {
            return Ok(self.first);
        }
        Err(InvalidName {
            what: WHAT,
            name: self.to_string(),
            rule: "it has a dot: write a map instead",
        })
    }

    /// Takes the value away, and leaves the map that held it.
    pub(super) fn remove(&self, vars: &mut Vars) {
        let Some((last, holders)) = self.rest.split_last() else {
            vars.remove(&self.first);
            return;
        };
        let first = vars.get_mut(&self.first);
        let holder = first.and_then(|first| holders.iter().try_fold(first, |value, name| value.get_mut(name)));
        if let Some(Value::Object(map)) = holder {
            map.remove(last);
        }
    }

    /// Sets the value, and makes the maps that have to hold it. Otherwise tells what is in the way.
    pub(super) fn set(&self, vars: &mut Vars, value: Value) -> Result<(), Self> {
        let mut place = vars
            .entry(self.first.clone())
            .or_insert_with(|| Value::Object(Map::new()));
        if self.rest.is_empty() {
            *place = value;
            return Ok(());
        }
        for (depth, name) in self.rest.iter().enumerate() {
            let Value::Object(map) = place else {
                return Err(Self {
                    first: self.first.clone(),
                    rest: self.rest[..depth].to_vec(),
                });
            };
            place = map.entry(name.clone()).or_insert_with(|| Value::Object(Map::new()));
        }
        *place = value;
        Ok(())
    }
}
