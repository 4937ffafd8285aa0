//! One Kubernetes object as desired, and the rules that every manifest must meet before it may be stored.
//!
//! A [`Manifest`] is made once, by [`Manifest::new`] from what a person wrote or by [`Manifest::from_canonical`]
//! from stored bytes; both check the same rules, so server and agent never hold one that breaks them. The
//! object itself is kept as canonical bytes, which are what the agent sends to the API server.

mod head;
mod list;
mod rules;

use std::{
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    canonical,
    hash::ObjectHash,
    hook,
    kinds::{self, Scope},
    substitute,
};

pub use list::Manifests;
pub(crate) use list::{Builder, Chunk, Places};
pub use rules::Problem;

/// The largest manifest in canonical bytes: what etcd takes in one request by default (1.5 MiB), less room for
/// what the API server adds to the object.
pub const MAX_BYTES: usize = 1_400_000;

/// Fields that only a live object has; people paste them in from `kubectl get -o yaml`. They are never part of a
/// desired state.
const SERVER_METADATA: &[&str] = &[
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Identifies a manifest within a cluster: its group (not version), kind, namespace and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ManifestId {
    /// API group; empty for the core group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Kind, for example `Deployment`.
    pub kind: String,
    /// Namespace; `None` for cluster-scoped objects, and for custom kinds that named none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl fmt::Display for ManifestId {
    /// `Deployment.apps shop/frontend`, as kubectl spells a kind with its group.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " {namespace}/{}", self.name),
            None => write!(f, " {}", self.name),
        }
    }
}

/// One Kubernetes object as desired: checked, and in canonical form. Cheap to clone.
#[derive(Clone)]
pub struct Manifest(Arc<Content>);

struct Content {
    id: ManifestId,
    api_version: String,
    canonical: Box<[u8]>,
    /// Of the id: views of many objects are compared by it.
    fingerprint: u64,
    may_be_hook: bool,
    may_hold_variables: bool,
}

impl PartialEq for Manifest {
    fn eq(&self, other: &Self) -> bool {
        // The bytes say everything else. Views of many clusters share most of their manifests.
        self.is_same(other) || self.0.canonical == other.0.canonical
    }
}

impl Eq for Manifest {}

impl Manifest {
    /// Makes a manifest of an object as written by a person: removes what only a live object has (`status`, and
    /// metadata that the API server sets), fills in `default_namespace` where the kind is known to be namespaced,
    /// and checks the rules.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn new(object: Value, default_namespace: &str) -> Result<Self, Problem> {
        Self::with_value(object, default_namespace).map(|(manifest, _)| manifest)
    }

    /// The same, together with the object as it is then: for those who would read it from the manifest at once.
    ///
    /// # Errors
    /// As [`Manifest::new`].
    pub fn with_value(mut object: Value, default_namespace: &str) -> Result<(Self, Value), Problem> {
        let kind_of = kind_of_json(&object);
        let fields = object.as_object_mut().ok_or(Problem::NotAnObject(kind_of))?;
        fields.remove("status");
        if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
            for field in SERVER_METADATA {
                metadata.remove(*field);
            }
            metadata.retain(|_, value| !value.is_null());
        }
        let (mut id, api_version) = identify(&object)?;
        if id.namespace.is_none() && kinds::scope(&id.group, &id.kind) == Some(Scope::Namespaced) {
            object["metadata"]["namespace"] = Value::from(default_namespace);
            id.namespace = Some(default_namespace.to_owned());
        }
        rules::check_names(&id)?;
        rules::check_content(&id, &object)?;
        let bytes = canonical::to_vec(&object);
        let manifest = Self::checked(id, api_version, bytes.into())?;
        Ok((manifest, object))
    }

    /// Reads back what [`Manifest::canonical`] gave, trusting nothing.
    ///
    /// # Errors
    /// [`Problem::NotCanonical`] unless the bytes are exactly the canonical form of an object that meets the rules.
    pub fn from_canonical(bytes: &[u8]) -> Result<Self, Problem> {
        if let Some((id, api_version)) = head::identify(bytes) {
            rules::check_names(&id)?;
            return Self::checked(id, api_version, bytes.into());
        }
        Self::from_unusual(bytes)
    }

    /// As [`Manifest::from_canonical`], of any bytes and with the reason for every refusal.
    fn from_unusual(bytes: &[u8]) -> Result<Self, Problem> {
        let object =
            canonical::from_slice_strict(bytes).map_err(|error| Problem::NotCanonical(format!("manifest: {error}")))?;
        let (id, api_version) = identify(&object)?;
        rules::check_names(&id)?;
        rules::check_content(&id, &object)?;
        if canonical::to_vec(&object) != bytes {
            return Err(Problem::NotCanonical(id.to_string()));
        }
        Self::checked(id, api_version, bytes.into())
    }

    fn checked(id: ManifestId, api_version: String, canonical: Box<[u8]>) -> Result<Self, Problem> {
        if canonical.len() > MAX_BYTES {
            return Err(Problem::TooLarge {
                id,
                bytes: canonical.len(),
            });
        }
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        Ok(Self(Arc::new(Content {
            fingerprint: hasher.finish(),
            may_be_hook: hook::is_concerned(&canonical),
            may_hold_variables: substitute::is_concerned(&canonical),
            id,
            api_version,
            canonical,
        })))
    }

    /// Is it the very same, in memory? Much faster than comparing; what is not may be equal all the same.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Could it be a hook? Most cannot, and need not be parsed. See [`hook::is_concerned`].
    pub fn may_be_hook(&self) -> bool {
        self.0.may_be_hook
    }

    /// Could it hold variables? See [`substitute::is_concerned`].
    pub fn may_hold_variables(&self) -> bool {
        self.0.may_hold_variables
    }

    /// A hash of its id: manifests with equal ids have equal ones.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.0.fingerprint
    }

    /// Which object this is.
    pub fn id(&self) -> &ManifestId {
        &self.0.id
    }

    /// `apiVersion` as written, for example `apps/v1`.
    pub fn api_version(&self) -> &str {
        &self.0.api_version
    }

    /// The version part of `apiVersion`.
    pub fn version(&self) -> &str {
        self.api_version().rsplit('/').next().unwrap_or(self.api_version())
    }

    /// The object's canonical JSON.
    pub fn canonical(&self) -> &[u8] {
        &self.0.canonical
    }

    /// The hash of the canonical JSON.
    pub fn hash(&self) -> ObjectHash {
        ObjectHash::of(self.canonical())
    }

    /// The object as a value, parsed anew: callers that hold many manifests keep only the bytes.
    pub fn value(&self) -> Value {
        serde_json::from_slice(self.canonical()).expect("canonical bytes were checked when the manifest was made")
    }
}

impl fmt::Debug for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Manifest({}, {})", self.id(), self.hash().short())
    }
}

/// Is this a `List` to be flattened: `kind: List` or `FooList` with `items`?
pub fn list_items(object: &Value) -> Option<&Vec<Value>> {
    let kind = object.get("kind")?.as_str()?;
    kind.ends_with("List")
        .then(|| object.get("items")?.as_array())
        .flatten()
}

/// Group and version of an `apiVersion`.
pub fn split_api_version(api_version: &str) -> (&str, &str) {
    api_version.rsplit_once('/').unwrap_or(("", api_version))
}

fn identify(object: &Value) -> Result<(ManifestId, String), Problem> {
    if !object.is_object() {
        return Err(Problem::NotAnObject(kind_of_json(object)));
    }
    let api_version = text(object.get("apiVersion")).ok_or(Problem::Missing("apiVersion"))?;
    let kind = text(object.get("kind")).ok_or(Problem::Missing("kind"))?;
    let name = match text(metadata(object, "name")) {
        Some(name) => name,
        None if text(metadata(object, "generateName")).is_some() => return Err(Problem::GeneratedName),
        None => return Err(Problem::Missing("metadata.name")),
    };
    let namespace = match metadata(object, "namespace") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.is_empty() => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => return Err(Problem::WrongType("metadata.namespace", "a text")),
    };
    let (group, _) = split_api_version(&api_version);
    Ok((
        ManifestId {
            group: group.to_owned(),
            kind,
            namespace,
            name,
        },
        api_version,
    ))
}

fn metadata<'a>(object: &'a Value, field: &str) -> Option<&'a Value> {
    object.get("metadata")?.get(field)
}

fn text(field: Option<&Value>) -> Option<String> {
    let text = field?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

fn kind_of_json(value: &Value) -> &'static str {
    match value {
        Value::Null => "empty",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problem(object: Value) -> String {
        Manifest::new(object, "default")
            .expect_err("must be refused")
            .to_string()
    }

    #[test]
    fn identity_leaves_the_version_out() {
        let of = |version: &str| {
            let object = json!({"apiVersion": version, "kind": "Ingress", "metadata": {"name": "web"}});
            Manifest::new(object, "shop").unwrap().id().clone()
        };
        assert_eq!(of("networking.k8s.io/v1"), of("networking.k8s.io/v1beta1"));
        assert_eq!(
            of("networking.k8s.io/v1").to_string(),
            "Ingress.networking.k8s.io shop/web"
        );
    }

    #[test]
    fn default_namespace_goes_to_namespaced_kinds_only() {
        let of = |api_version: &str, kind: &str| {
            let object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}});
            Manifest::new(object, "shop").unwrap().id().namespace.clone()
        };
        assert_eq!(of("v1", "ConfigMap").as_deref(), Some("shop"));
        assert_eq!(of("v1", "Namespace"), None);
        assert_eq!(of("example.com/v1", "Widget"), None);
    }

    #[test]
    fn what_only_a_live_object_has_is_left_out() {
        let live = json!({"apiVersion": "v1", "kind": "ConfigMap", "status": {}, "metadata": {"name": "a",
            "namespace": "n", "uid": "1", "resourceVersion": "2", "creationTimestamp": null, "managedFields": []}});
        let manifest = Manifest::new(live, "default").unwrap();
        let metadata = json!({"name": "a", "namespace": "n"});
        assert_eq!(
            manifest.value(),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
        );
    }

    #[test]
    fn canonical_bytes_read_back_and_nothing_else_does() {
        let object = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a", "namespace": "b"}});
        let manifest = Manifest::new(object.clone(), "default").unwrap();
        assert_eq!(Manifest::from_canonical(manifest.canonical()).unwrap(), manifest);
        let spaced = serde_json::to_vec_pretty(&object).unwrap();
        assert!(matches!(
            Manifest::from_canonical(&spaced),
            Err(Problem::NotCanonical(_))
        ));
    }

    #[test]
    fn broken_objects_are_refused_with_the_reason() {
        assert_eq!(problem(json!({"kind": "A"})), "`apiVersion` is missing or not a text");
        assert_eq!(problem(json!({"apiVersion": "v1"})), "`kind` is missing or not a text");
        assert_eq!(
            problem(json!([1])),
            "this is a list, not a Kubernetes object: it needs apiVersion, kind and metadata.name"
        );
        let named = |name: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        assert!(problem(named("Upper")).contains("metadata.name `Upper` is not valid"));
        assert_eq!(
            problem(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "a-"}})),
            "metadata.generateName makes a new object at every apply: give it a fixed metadata.name"
        );
        let number = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"a": 1}}});
        assert!(problem(number).contains("`metadata.labels` must be a map of texts"));
        let scoped = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "namespace": "b"}});
        assert!(problem(scoped).contains("cluster-scoped"));
    }

    #[test]
    fn rbac_names_may_hold_colons() {
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": {"name": "system:aggregated-reader"}});
        assert!(Manifest::new(role, "default").is_ok());
    }

    #[test]
    fn secrets_are_refused_with_data_and_taken_without() {
        let secret = |field: &str, data: Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, (field): data});
        assert!(problem(secret("data", json!({"k": "dg=="}))).contains("plaintext"));
        assert!(problem(secret("stringData", json!({"k": "v"}))).contains("plaintext"));
        assert!(Manifest::new(secret("data", json!({})), "default").is_ok());
        assert!(!problem(secret("stringData", json!({"k": "hunter2"}))).contains("hunter2"));
    }

    #[test]
    fn too_large_objects_are_refused() {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"},
            "data": {"blob": "x".repeat(2_000_000)}});
        assert!(problem(object).contains("more than a cluster stores"));
    }

    #[test]
    fn lists_are_recognised_by_kind_and_items() {
        assert_eq!(
            list_items(&json!({"kind": "List", "items": [1]})),
            Some(&vec![json!(1)])
        );
        assert_eq!(list_items(&json!({"kind": "RoleList", "items": []})), Some(&vec![]));
        assert_eq!(list_items(&json!({"kind": "AllowList"})), None);
    }
}
