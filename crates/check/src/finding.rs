//! What a check found, as people read it and as programs do.

use std::fmt;

use driftless_model::{intake::Place, manifest::ManifestId};
use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// A cluster would refuse the object.
    Error,
    /// A cluster takes the object, and it probably does not do what was meant.
    Warning,
}

/// Which rule an object breaks. The names are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rule {
    /// A field that the kind does not have.
    UnknownField,
    /// A field of another type than the kind has there.
    WrongType,
    /// A field that the kind needs.
    MissingField,
    /// A value that the field does not take.
    InvalidValue,
    /// Two elements of a list that is a map or a set.
    DuplicateElement,
    /// A kind, or a version of it, that there is not.
    UnknownKind,
    /// A version of a kind that these Kubernetes versions serve no more.
    RemovedApi,
    /// A version of a kind that is about to go, or is off by default.
    DeprecatedApi,
    /// A workload that does not select its own Pods.
    SelectorMismatch,
    /// A selector that selects nothing in the snapshot.
    SelectsNothing,
    /// A name that nothing in the snapshot has.
    MissingReference,
}

/// One thing that is wrong with one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which rule is broken.
    pub rule: Rule,
    /// Where: the field itself, or what should hold it.
    pub place: Place,
    /// The object.
    pub object: ManifestId,
    /// The field's path, `spec.template.spec.containers[0].image`; empty where it is the whole object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// What is wrong with it and what to do, to be read behind the field's path.
    pub message: String,
}

impl fmt::Display for Finding {
    /// `shop.yaml:12:5: Deployment.apps shop/web: spec.replicas must be an integer, not a text ("3")`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.place, self.object)?;
        if !self.field.is_empty() {
            write!(f, "{} ", self.field)?;
        }
        f.write_str(&self.message)
    }
}
