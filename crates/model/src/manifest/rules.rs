//! The rules that every manifest keeps, and how a broken one is told.

use serde_json::Value;

use super::{MAX_BYTES, ManifestId, metadata};
use crate::{
    kinds::{self, Scope},
    name::{self, DNS_LABEL_RULE, DNS_SUBDOMAIN_RULE},
};

/// What is wrong with one object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Not a mapping at all.
    #[error("this is {0}, not a Kubernetes object: it needs apiVersion, kind and metadata.name")]
    NotAnObject(&'static str),
    /// A required text field is missing, empty or of another type.
    #[error("`{0}` is missing or not a text")]
    Missing(&'static str),
    /// `generateName` instead of a name.
    #[error("metadata.generateName makes a new object at every apply: give it a fixed metadata.name")]
    GeneratedName,
    /// A field that must be a text, or a map of texts, is not.
    #[error("`{0}` must be {1}")]
    WrongType(&'static str, &'static str),
    /// A name that the API server would refuse.
    #[error("{id}: {field} `{value}` is not valid: {rule}")]
    InvalidName {
        /// The object.
        id: Box<ManifestId>,
        /// The field's path.
        field: &'static str,
        /// What it holds.
        value: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// A namespace on a kind that has none.
    #[error("{0}: this kind is cluster-scoped: remove metadata.namespace")]
    NamespaceOnClusterScoped(ManifestId),
    /// Plaintext in a Secret.
    #[error(
        "{0}: a Secret with plaintext data must not enter the store: leave it out of the push and let the cluster \
         make it (External Secrets, Sealed Secrets, cert-manager), or create it with kubectl"
    )]
    PlaintextSecret(ManifestId),
    /// Larger than a cluster takes.
    #[error("{id}: {bytes} bytes are more than a cluster stores in one object (at most {MAX_BYTES}): split it")]
    TooLarge {
        /// The object.
        id: ManifestId,
        /// Its canonical size.
        bytes: usize,
    },
    /// Bytes that claim to be canonical and are not.
    #[error("{0}: not in canonical form")]
    NotCanonical(String),
}

/// Checks the rules that are about names.
pub(super) fn check_names(id: &ManifestId) -> Result<(), Problem> {
    let invalid = |field, value: &str, rule| {
        Err(Problem::InvalidName {
            id: Box::new(id.clone()),
            field,
            value: value.to_owned(),
            rule,
        })
    };
    if let Some(namespace) = &id.namespace {
        if kinds::scope(&id.group, &id.kind) == Some(Scope::Cluster) {
            return Err(Problem::NamespaceOnClusterScoped(id.clone()));
        }
        if !name::is_dns_label(namespace) {
            return invalid("metadata.namespace", namespace, DNS_LABEL_RULE);
        }
    }
    let (valid, rule) = match (id.group.as_str(), id.kind.as_str()) {
        ("", "Namespace" | "Service") => (name::is_dns_label(&id.name), DNS_LABEL_RULE),
        ("rbac.authorization.k8s.io", _) => (
            !id.name.contains(['/', '%']) && id.name != "." && id.name != "..",
            "it must not be `.` or `..` nor contain `/` or `%`",
        ),
        _ => (name::is_dns_subdomain(&id.name), DNS_SUBDOMAIN_RULE),
    };
    if !valid {
        return invalid("metadata.name", &id.name, rule);
    }
    Ok(())
}

/// Checks the rules that are about what the object holds.
pub(super) fn check_content(id: &ManifestId, object: &Value) -> Result<(), Problem> {
    for (field, label) in [("labels", "metadata.labels"), ("annotations", "metadata.annotations")] {
        match metadata(object, field) {
            None | Some(Value::Null) => {}
            Some(Value::Object(map)) if map.values().all(Value::is_string) => {}
            Some(_) => return Err(Problem::WrongType(label, "a map of texts (quote numbers and booleans)")),
        }
    }
    let holds_data = |field: &str| {
        object
            .get(field)
            .and_then(Value::as_object)
            .is_some_and(|data| !data.is_empty())
    };
    if is_secret(&id.group, &id.kind) && (holds_data("data") || holds_data("stringData")) {
        return Err(Problem::PlaintextSecret(id.clone()));
    }
    Ok(())
}

pub(super) fn is_secret(group: &str, kind: &str) -> bool {
    group.is_empty() && kind == "Secret"
}
