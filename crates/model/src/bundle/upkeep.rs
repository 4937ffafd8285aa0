//! How a cluster keeps a component's objects: what it may take over, put back and delete, and as whom it acts.
//!
//! Parts of a [`Spec`](super::Spec), obeyed by the agent. Nothing here decides anything.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::manifest::ManifestId;

/// What becomes of an object that somebody else changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Drift {
    /// It is put back at once.
    #[default]
    Repair,
    /// It is told, and left as it is until the desired state changes.
    Report,
    /// It is nobody's concern until the desired state changes.
    Ignore,
}

/// How objects that left the desired state are deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Prune {
    /// What becomes of what they own.
    #[serde(skip_serializing_if = "Propagation::is_default")]
    pub propagation: Propagation,
    /// May a CustomResourceDefinition go while there are objects of its kind, and take them with it?
    #[serde(skip_serializing_if = "is_false")]
    pub definitions: bool,
    /// How much may go without a person's consent; the default budget unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
}

/// What becomes of the objects that a deleted one owns, in the words of Kubernetes'
/// [`propagationPolicy`](https://kubernetes.io/docs/concepts/architecture/garbage-collection/).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Propagation {
    /// They are deleted after it.
    #[default]
    Background,
    /// They are deleted before it.
    Foreground,
    /// They stay.
    Orphan,
}

/// How many objects of a component may be deleted without a person's consent: more than `objects` and more than
/// `percent` of the component need it. Namespaces and CustomResourceDefinitions always do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// So many always may.
    #[serde(default = "Budget::default_objects")]
    pub objects: u32,
    /// So many of a hundred always may.
    #[serde(default = "Budget::default_percent")]
    pub percent: u32,
}

/// What a component may hold. An empty set allows everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Allow {
    /// Kinds, as `Deployment.apps`; those of the core group without a group.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub kinds: BTreeSet<String>,
    /// Namespaces. Objects without one are not allowed where there are some here.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub namespaces: BTreeSet<String>,
}

/// A ServiceAccount of the cluster, written `namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// An object that its component may not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// Its kind.
    #[error(
        "{id}: its kind is not among the component's `allow.kinds` ({allowed}): add {kind} there, or take the object out"
    )]
    Kind {
        /// The object.
        id: ManifestId,
        /// The kind, as it would be written there.
        kind: String,
        /// What is there.
        allowed: String,
    },
    /// Its namespace.
    #[error(
        "{id}: namespace {namespace} is not among the component's `allow.namespaces` ({allowed}): add it there, or move the object"
    )]
    Namespace {
        /// The object.
        id: ManifestId,
        /// Its namespace.
        namespace: String,
        /// What is there.
        allowed: String,
    },
    /// It has none.
    #[error(
        "{id}: it has no namespace, and the component's `allow.namespaces` ({allowed}) allow nothing else: take the object out, or lift the limit"
    )]
    NoNamespace {
        /// The object.
        id: ManifestId,
        /// What is there.
        allowed: String,
    },
}

/// A text that names no ServiceAccount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no ServiceAccount: write `namespace/name`")]
pub struct InvalidServiceAccount(String);

impl Drift {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Prune {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Propagation {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            objects: Self::default_objects(),
            percent: Self::default_percent(),
        }
    }
}

impl Budget {
    const fn default_objects() -> u32 {
        10
    }

    const fn default_percent() -> u32 {
        20
    }
}

impl Allow {
    /// May a component hold this object?
    ///
    /// # Errors
    /// When it may not; says why and what to do.
    pub fn check(&self, id: &ManifestId) -> Result<(), Box<NotAllowed>> {
        let list = |set: &BTreeSet<String>| set.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let kind = if id.group.is_empty() {
            id.kind.clone()
        } else {
            format!("{}.{}", id.kind, id.group)
        };
        if !self.kinds.is_empty() && !self.kinds.contains(&kind) {
            return Err(Box::new(NotAllowed::Kind {
                id: id.clone(),
                kind,
                allowed: list(&self.kinds),
            }));
        }
        let allowed = || list(&self.namespaces);
        match &id.namespace {
            _ if self.namespaces.is_empty() => Ok(()),
            Some(namespace) if self.namespaces.contains(namespace) => Ok(()),
            Some(namespace) => Err(Box::new(NotAllowed::Namespace {
                id: id.clone(),
                namespace: namespace.clone(),
                allowed: allowed(),
            })),
            None => Err(Box::new(NotAllowed::NoNamespace {
                id: id.clone(),
                allowed: allowed(),
            })),
        }
    }

    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl From<ServiceAccount> for String {
    fn from(account: ServiceAccount) -> Self {
        account.to_string()
    }
}

impl TryFrom<String> for ServiceAccount {
    type Error = InvalidServiceAccount;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for ServiceAccount {
    type Err = InvalidServiceAccount;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Both are DNS subdomains; the API server judges them in full.
        let is_name = |part: &str| {
            let allowed = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || matches!(char, '-' | '.');
            !part.is_empty() && part.len() <= 253 && part.chars().all(allowed)
        };
        match text.split_once('/') {
            Some((namespace, name)) if is_name(namespace) && is_name(name) => Ok(Self {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err(InvalidServiceAccount(text.to_owned())),
        }
    }
}

pub(super) fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_account_is_namespace_and_name() {
        let account: ServiceAccount = "shop/deployer".parse().unwrap();
        assert_eq!(
            (account.namespace.as_str(), account.name.as_str()),
            ("shop", "deployer")
        );
        assert_eq!(account.to_string(), "shop/deployer");
        for wrong in ["", "deployer", "/x", "x/", "a/b/c", "A/b", "system:serviceaccount:a:b"] {
            assert!(wrong.parse::<ServiceAccount>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_not_allowed_is_named_with_what_is() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let allow = Allow {
            kinds: set(&["Deployment.apps", "Namespace", "Service"]),
            namespaces: set(&["shop"]),
        };
        let id = |group: &str, kind: &str, namespace: Option<&str>| ManifestId {
            group: group.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: "x".to_owned(),
        };
        assert_eq!(allow.check(&id("apps", "Deployment", Some("shop"))), Ok(()));
        assert_eq!(Allow::default().check(&id("", "Namespace", None)), Ok(()));
        let text = |id| allow.check(&id).unwrap_err().to_string();
        assert_eq!(
            text(id("", "Deployment", Some("shop"))),
            "Deployment shop/x: its kind is not among the component's `allow.kinds` (Deployment.apps, Namespace, Service): add \
             Deployment there, or take the object out"
        );
        assert!(text(id("", "Service", Some("kube-system"))).contains("namespace kube-system is not among"));
        assert!(text(id("", "Namespace", None)).contains("it has no namespace"));
    }

    #[test]
    fn half_a_budget_has_the_other_default() {
        let budget: Budget = serde_json::from_str(r#"{"objects": 50}"#).unwrap();
        assert_eq!((budget.objects, budget.percent), (50, 20));
    }
}
