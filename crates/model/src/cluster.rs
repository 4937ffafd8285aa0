//! What people say of a cluster, its [`Record`], and how that is changed.
//!
//! A [`Change`] says what to set and what to take away, never what the result shall be as a whole unless it says so:
//! two people who set different labels of one cluster at once both get what they want. [`fleet`](crate::fleet) works
//! it out on the newest record when it decides, the CLI to show what will happen before it asks: the same function,
//! the same answer.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    canonical,
    name::{ChannelName, InvalidName, Labels, Vars, check_label},
};

mod path;

pub use path::VarPath;

/// Labels with this prefix are Driftless' own: every cluster has some without anybody setting them.
pub const RESERVED_PREFIX: &str = "driftless.dev/";
/// Most labels of one cluster.
pub const MAX_LABELS: usize = 64;
/// Most variables of one cluster.
pub const MAX_VARS: usize = 256;
/// Most bytes that a cluster's variables may have together, as canonical JSON.
pub const MAX_VARS_BYTES: usize = 64 * 1024;

/// What people say of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The channel it follows.
    pub channel: ChannelName,
    /// Its labels.
    pub labels: Labels,
    /// Its variables.
    pub vars: Vars,
}

/// What shall change of a record. The default changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// The channel it shall follow from now on.
    pub channel: Option<ChannelName>,
    /// Its labels.
    pub labels: LabelEdit,
    /// Its variables.
    pub vars: VarEdit,
}

/// What shall change of a cluster's labels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LabelEdit {
    /// Does every label go that is not set here?
    pub replace: bool,
    /// Labels to set.
    pub set: Labels,
    /// Labels to take away; one that is not there is no problem.
    pub remove: BTreeSet<String>,
    /// May a label that has another value be set?
    pub overwrite: bool,
}

/// What shall change of a cluster's variables.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VarEdit {
    /// Does every variable go that is not set here?
    pub replace: bool,
    /// Values to set.
    pub set: BTreeMap<VarPath, Value>,
    /// Values to take away; one that is not there is no problem.
    pub remove: BTreeSet<VarPath>,
}

/// Why a change cannot be made to a record. Fit to follow the cluster's name and a colon.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A key, value or name that breaks its rule.
    #[error(transparent)]
    Invalid(#[from] InvalidName),
    /// A label that people do not set.
    #[error("label `{0}` is Driftless' own: choose a key without the prefix `driftless.dev/`")]
    Reserved(String),
    /// A label that has another value.
    #[error("label `{key}` is `{value}` already: `--overwrite` replaces it")]
    Taken {
        /// Its key.
        key: String,
        /// Its value.
        value: String,
    },
    /// Set and taken away at once.
    #[error("{what} `{name}` is both set and taken away: do one of them")]
    Contradiction {
        /// `label` or `variable`.
        what: &'static str,
        /// Which.
        name: String,
    },
    /// A path that goes through a value that is no map.
    #[error("variable `{path}` cannot be set, since `{holder}` is no map: set `{holder}` as a whole")]
    NotAMap {
        /// What was to be set.
        path: VarPath,
        /// What stands in the way.
        holder: VarPath,
    },
    /// More labels than a cluster may have.
    #[error("{0} labels are more than the {MAX_LABELS} that a cluster may have")]
    TooManyLabels(usize),
    /// More variables than a cluster may have.
    #[error("{0} variables are more than the {MAX_VARS} that a cluster may have: put some together in a map")]
    TooManyVars(usize),
    /// Variables that are too large.
    #[error("its variables have {0} bytes, more than the {MAX_VARS_BYTES} allowed: large things belong into manifests")]
    VarsTooLarge(usize),
}

impl Record {
    /// Checks a record that comes as a whole.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn check(&self) -> Result<(), Vec<Problem>> {
        let mut problems: Vec<_> = self
            .labels
            .iter()
            .filter_map(|(key, value)| label(key, value))
            .collect();
        let names = self
            .vars
            .keys()
            .map(|name| name.parse::<VarPath>().and_then(VarPath::name));
        problems.extend(names.filter_map(|name| name.err().map(Problem::Invalid)));
        problems.extend(self.excess());
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn excess(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.labels.len() > MAX_LABELS {
            problems.push(Problem::TooManyLabels(self.labels.len()));
        }
        if self.vars.len() > MAX_VARS {
            problems.push(Problem::TooManyVars(self.vars.len()));
        }
        let bytes = canonical::document(&self.vars).len();
        if bytes > MAX_VARS_BYTES {
            problems.push(Problem::VarsTooLarge(bytes));
        }
        problems
    }
}

impl Change {
    /// Does it ask for nothing?
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What it makes of `record`, which may be the very same.
    ///
    /// # Errors
    /// All that stands against it. Whether there is such a channel is for the caller to know.
    pub fn apply(&self, record: &Record) -> Result<Record, Vec<Problem>> {
        let mut problems = Vec::new();
        let after = Record {
            channel: self.channel.clone().unwrap_or_else(|| record.channel.clone()),
            labels: self.labels.apply(&record.labels, &mut problems),
            vars: self.vars.apply(&record.vars, &mut problems),
        };
        if after != *record {
            problems.extend(after.excess());
        }
        if problems.is_empty() { Ok(after) } else { Err(problems) }
    }
}

impl LabelEdit {
    fn apply(&self, before: &Labels, problems: &mut Vec<Problem>) -> Labels {
        let mut after = if self.replace { Labels::new() } else { before.clone() };
        after.retain(|key, _| !self.remove.contains(key));
        for (key, value) in &self.set {
            problems.extend(label(key, value));
            if self.remove.contains(key) {
                let name = key.clone();
                problems.push(Problem::Contradiction { what: "label", name });
            }
            if let Some(other) = before.get(key).filter(|other| *other != value && !self.overwrite) {
                let (key, value) = (key.clone(), other.clone());
                problems.push(Problem::Taken { key, value });
            }
            after.insert(key.clone(), value.clone());
        }
        after
    }
}

impl VarEdit {
    fn apply(&self, before: &Vars, problems: &mut Vec<Problem>) -> Vars {
        let mut after = if self.replace { Vars::new() } else { before.clone() };
        for path in &self.remove {
            path.remove(&mut after);
        }
        for (path, value) in &self.set {
            if self.remove.contains(path) {
                let name = path.to_string();
                problems.push(Problem::Contradiction { what: "variable", name });
            }
            if let Err(holder) = path.set(&mut after, as_stored(value)) {
                let path = path.clone();
                problems.push(Problem::NotAMap { path, holder });
            }
        }
        after
    }
}

/// The value as it comes back from the journal: 1.0 is 1 there.
pub fn as_stored(value: &Value) -> Value {
    serde_json::from_slice(&canonical::to_vec(value)).unwrap_or_else(|_| value.clone())
}

fn label(key: &str, value: &str) -> Option<Problem> {
    if key.starts_with(RESERVED_PREFIX) {
        return Some(Problem::Reserved(key.to_owned()));
    }
    check_label(key, value).err().map(Problem::Invalid)
}

#[cfg(test)]
mod tests;
