//! Objects as people name them on a command line, and which of the objects there are is meant.
//!
//! All of kubectl's spellings and our own: `deploy/web`, `deployments web`, `Deployment.apps shop/web`,
//! `deployment.v1.apps/web`, `Deployment.apps/shop/web`. Nothing is asked of a cluster: an object is found among those
//! that are given.

use crate::{manifest::ManifestId, name::closest};

/// kubectl's short names of built-in kinds.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("cm", "configmap"),
    ("crd", "customresourcedefinition"),
    ("crds", "customresourcedefinition"),
    ("cj", "cronjob"),
    ("csr", "certificatesigningrequest"),
    ("deploy", "deployment"),
    ("ds", "daemonset"),
    ("ep", "endpoints"),
    ("ev", "event"),
    ("hpa", "horizontalpodautoscaler"),
    ("ing", "ingress"),
    ("limits", "limitrange"),
    ("netpol", "networkpolicy"),
    ("no", "node"),
    ("ns", "namespace"),
    ("pc", "priorityclass"),
    ("pdb", "poddisruptionbudget"),
    ("po", "pod"),
    ("pv", "persistentvolume"),
    ("pvc", "persistentvolumeclaim"),
    ("quota", "resourcequota"),
    ("rc", "replicationcontroller"),
    ("rs", "replicaset"),
    ("sa", "serviceaccount"),
    ("sc", "storageclass"),
    ("sts", "statefulset"),
    ("svc", "service"),
    ("vap", "validatingadmissionpolicy"),
];

/// Most objects named in an error.
const MAX_NAMED: usize = 5;

/// An object as somebody named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// As written, in lower case: a kind, its plural or its short name.
    kind: String,
    /// The group, or the beginning of it; absent: any.
    group: Option<String>,
    namespace: Option<String>,
    name: String,
    written: String,
}

/// Why a name means no object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not look like an object's name.
    #[error("`{0}` names no object: write it as `deployment/web`, `deployment web`, or `Deployment.apps shop/web`")]
    Syntax(String),
    /// Namespaces that differ.
    #[error("`{written}` is in namespace `{inside}`, and `{given}` was asked for")]
    Namespaces {
        /// The name.
        written: String,
        /// The namespace in the name.
        inside: String,
        /// The one given besides.
        given: String,
    },
    /// No object is called so.
    #[error("there is no {written}{}", near(.nearest))]
    Unknown {
        /// The name.
        written: String,
        /// Those that may have been meant.
        nearest: Vec<ManifestId>,
    },
    /// Several objects are called so.
    #[error("`{written}` may be {}", list(.candidates))]
    Ambiguous {
        /// The name.
        written: String,
        /// The objects.
        candidates: Vec<ManifestId>,
    },
}

fn near(nearest: &[ManifestId]) -> String {
    match nearest {
        [] => String::new(),
        some => format!("; there is {}", list(some)),
    }
}

fn list(ids: &[ManifestId]) -> String {
    let named: Vec<_> = ids.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    let rest = ids.len().saturating_sub(MAX_NAMED);
    match (rest, named.as_slice()) {
        (0, [init @ .., last]) if !init.is_empty() => format!("{} or {last}", init.join(", ")),
        (0, _) => named.join(", "),
        (rest, _) => format!("{} or one of {rest} more", named.join(", ")),
    }
}

impl Reference {
    /// Reads a name of one word (`deploy/web`, `deploy/shop/web`) or two (`deploy web`, `deploy shop/web`).
    ///
    /// # Errors
    /// [`Error::Syntax`], and [`Error::Namespaces`] when `namespace` is not the one in the name.
    pub fn parse(words: &[&str], namespace: Option<&str>) -> Result<Self, Error> {
        let written = words.join(" ");
        let syntax = || Error::Syntax(written.clone());
        let (kind, place) = match words {
            [word] => word.split_once('/').ok_or_else(syntax)?,
            [kind, place] if !kind.contains('/') => (*kind, *place),
            _ => return Err(syntax()),
        };
        let (inside, name) = match place.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, place),
        };
        if kind.is_empty() || name.is_empty() || name.contains('/') || inside == Some("") {
            return Err(syntax());
        }
        if let (Some(inside), Some(given)) = (inside, namespace)
            && inside != given
        {
            return Err(Error::Namespaces {
                written,
                inside: inside.to_owned(),
                given: given.to_owned(),
            });
        }
        let (kind, group) = split_kind(kind);
        Ok(Self {
            kind,
            group,
            namespace: inside.or(namespace).map(str::to_owned),
            name: name.to_owned(),
            written,
        })
    }

    /// Does it name this object?
    pub fn names(&self, id: &ManifestId) -> bool {
        self.name == id.name && self.is_kind_of(id) && self.is_place_of(id)
    }

    /// The one object of `ids` that it names.
    ///
    /// # Errors
    /// [`Error::Unknown`] with those that are spelled alike, and [`Error::Ambiguous`].
    pub fn find<'a>(&self, ids: impl IntoIterator<Item = &'a ManifestId> + Clone) -> Result<&'a ManifestId, Error> {
        let mut found: Vec<_> = ids.clone().into_iter().filter(|id| self.names(id)).collect();
        found.sort_unstable();
        found.dedup();
        match found.as_slice() {
            [one] => Ok(one),
            [] => Err(Error::Unknown {
                written: self.to_string(),
                nearest: self.nearest(ids),
            }),
            many => Err(Error::Ambiguous {
                written: self.written.clone(),
                candidates: many.iter().map(|id| (*id).clone()).collect(),
            }),
        }
    }

    /// Objects that may have been meant: of that name and another kind or place, or of that kind and a like name.
    fn nearest<'a>(&self, ids: impl IntoIterator<Item = &'a ManifestId>) -> Vec<ManifestId> {
        let ids: Vec<_> = ids.into_iter().collect();
        let of_kind = ids.iter().filter(|id| self.is_kind_of(id));
        let like = closest(&self.name, of_kind.map(|id| id.name.as_str())).map(str::to_owned);
        let mut near: Vec<_> = ids
            .into_iter()
            .filter(|id| id.name == self.name || (self.is_kind_of(id) && Some(&id.name) == like.as_ref()))
            .cloned()
            .collect();
        near.sort_by_key(|id| (!self.is_kind_of(id), id.clone()));
        near.dedup();
        near.truncate(MAX_NAMED);
        near
    }

    fn is_kind_of(&self, id: &ManifestId) -> bool {
        let kind = id.kind.to_lowercase();
        let named = self.kind == kind || is_plural(&self.kind, &kind) || short(&self.kind) == Some(kind.as_str());
        let in_group = self.group.as_ref().is_none_or(|group| {
            let whole = id.group.to_lowercase();
            // kubectl takes `deployment.v1.apps` as well: the version says nothing here.
            let group = group
                .split_once('.')
                .filter(|(version, _)| is_version(version))
                .map_or(group.as_str(), |(_, rest)| rest);
            group == whole || (is_version(group) && whole.is_empty())
        });
        named && in_group
    }

    fn is_place_of(&self, id: &ManifestId) -> bool {
        self.namespace.is_none() || self.namespace == id.namespace
    }
}

impl std::fmt::Display for Reference {
    /// As in a sentence: `deployment `web` in namespace `shop``.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = short(&self.kind).unwrap_or(&self.kind);
        match &self.group {
            Some(group) => write!(f, "{kind}.{group} `{}`", self.name)?,
            None => write!(f, "{kind} `{}`", self.name)?,
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace `{namespace}`"),
            None => Ok(()),
        }
    }
}

/// Is it kubectl's name, long or short, of a built-in kind?
pub fn is_built_in(word: &str) -> bool {
    let word = word.to_lowercase();
    const OTHERS: [&str; 5] = ["job", "secret", "role", "rolebinding", "clusterrole"];
    let mut kinds = SHORT_NAMES.iter().map(|(_, kind)| *kind).chain(OTHERS);
    short(&word).is_some() || kinds.any(|kind| kind == word || is_plural(&word, kind))
}

fn split_kind(text: &str) -> (String, Option<String>) {
    let lower = text.to_lowercase();
    match lower.split_once('.') {
        Some((kind, group)) => (kind.to_owned(), Some(group.to_owned())),
        None => (lower, None),
    }
}

fn short(text: &str) -> Option<&'static str> {
    SHORT_NAMES
        .iter()
        .find(|(short, _)| *short == text)
        .map(|(_, kind)| *kind)
}

/// Is `text` the English plural by which an API server calls `kind`?
fn is_plural(text: &str, kind: &str) -> bool {
    match text.strip_prefix(kind) {
        Some("s" | "es") => true,
        _ => kind
            .strip_suffix('y')
            .and_then(|stem| text.strip_prefix(stem))
            .is_some_and(|rest| rest == "ies"),
    }
}

fn is_version(text: &str) -> bool {
    let mut chars = text.chars();
    chars.next() == Some('v') && chars.next().is_some_and(|char| char.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(group: &str, kind: &str, namespace: Option<&str>, name: &str) -> ManifestId {
        ManifestId {
            group: group.to_owned(),
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    fn ids() -> Vec<ManifestId> {
        vec![
            id("apps", "Deployment", Some("shop"), "web"),
            id("apps", "Deployment", Some("shop"), "worker"),
            id("", "Service", Some("shop"), "web"),
            id("", "Service", Some("cart"), "web"),
            id("networking.k8s.io", "NetworkPolicy", Some("shop"), "deny"),
            id("networking.k8s.io", "Ingress", Some("shop"), "front"),
            id("", "Namespace", None, "shop"),
            id("", "Endpoints", Some("shop"), "db"),
        ]
    }

    fn find(words: &[&str], namespace: Option<&str>) -> Result<String, String> {
        let reference = Reference::parse(words, namespace).map_err(|error| error.to_string())?;
        let ids = ids();
        reference
            .find(&ids)
            .map(ToString::to_string)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn every_spelling_of_kubectl_finds_the_object() {
        for words in [
            &["deployment/web"][..],
            &["deploy/web"],
            &["deploy", "web"],
            &["Deployments", "web"],
            &["deployments.apps/web"],
            &["Deployment.apps", "shop/web"],
            &["deployment.v1.apps/web"],
            &["Deployment.apps/shop/web"],
        ] {
            assert_eq!(
                find(words, None).as_deref(),
                Ok("Deployment.apps shop/web"),
                "{words:?}"
            );
        }
        assert_eq!(
            find(&["netpol/deny"], None).as_deref(),
            Ok("NetworkPolicy.networking.k8s.io shop/deny")
        );
        assert_eq!(
            find(&["networkpolicies", "deny"], Some("shop")).as_deref(),
            Ok("NetworkPolicy.networking.k8s.io shop/deny")
        );
        assert_eq!(
            find(&["ingresses/front"], None).as_deref(),
            Ok("Ingress.networking.k8s.io shop/front")
        );
        assert_eq!(find(&["ns/shop"], None).as_deref(), Ok("Namespace shop"));
        assert_eq!(find(&["ep/db"], None).as_deref(), Ok("Endpoints shop/db"));
        assert_eq!(
            find(&["service.v1/web"], Some("cart")).as_deref(),
            Ok("Service cart/web")
        );
    }

    #[test]
    fn built_in_kinds_are_known_by_all_their_names() {
        assert!(
            ["svc", "Deployments", "networkpolicies", "job"]
                .iter()
                .all(|word| is_built_in(word))
        );
        assert!(["shop", "web", "prometheus"].iter().all(|word| !is_built_in(word)));
    }

    #[test]
    fn what_is_not_there_is_told_with_what_was_meant() {
        let told = |words: &[&str], namespace| find(words, namespace).unwrap_err();
        assert_eq!(
            told(&["svc/web"], None),
            "`svc/web` may be Service cart/web or Service shop/web"
        );
        assert_eq!(
            told(&["deploy/wbe"], None),
            "there is no deployment `wbe`; there is Deployment.apps shop/web"
        );
        assert_eq!(
            told(&["deploy/web"], Some("cart")),
            "there is no deployment `web` in namespace `cart`; there is Deployment.apps shop/web, Service cart/web or Service shop/web"
        );
        assert_eq!(told(&["job/nothing"], None), "there is no job `nothing`");
        assert_eq!(
            told(&["deploy/shop/web"], Some("cart")),
            "`deploy/shop/web` is in namespace `shop`, and `cart` was asked for"
        );
        for bad in [
            &["web"][..],
            &["/web"],
            &["deploy/"],
            &["deploy//web"],
            &["a/b/c/d"],
            &["a", "b", "c"],
            &["a/b", "c"],
        ] {
            assert!(told(bad, None).contains("names no object: write it as"), "{bad:?}");
        }
    }
}
