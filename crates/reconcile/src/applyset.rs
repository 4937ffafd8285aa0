//! ApplySets as `kubectl apply --prune --applyset` has them: one per component, so that kubectl and other tools see
//! what belongs together and leave it alone.
//!
//! Pure: ids, labels, the members' bodies, the parent's document and what a live parent or member says. The parent
//! is a ConfigMap; it lists in which kinds and namespaces to look for members, and holds the [`crate::record`].
//! It is widened before anything new is applied and narrowed after the prune, so that nobody who reads it misses a
//! member. Requests are made in [`crate::parent`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use driftless_model::{
    canonical::{self, Needle},
    field,
    manifest::{Manifest, ManifestId},
    name::ComponentName,
};
use serde_json::{
    Map, Value, json,
    value::{RawValue, to_raw_value},
};
use sha2::{Digest as _, Sha256};

use crate::{digest::Digest, hooks};

/// Label of a parent: the set's id.
pub(crate) const ID_LABEL: &str = "applyset.kubernetes.io/id";
/// Label of a member: the set's id.
pub(crate) const PART_OF_LABEL: &str = "applyset.kubernetes.io/part-of";
/// Label of a member: its component, by which watches select.
pub(crate) const COMPONENT_LABEL: &str = "driftless.dev/component";
/// Annotation of a parent: whose it is.
const TOOLING: &str = "applyset.kubernetes.io/tooling";
const GROUP_KINDS: &str = "applyset.kubernetes.io/contains-group-kinds";
const NAMESPACES: &str = "applyset.kubernetes.io/additional-namespaces";
/// Us, as a tool.
const TOOL: &str = "driftless";
const TOOL_VERSION: &str = "driftless/v1";
/// Key of the record in the parent's `binaryData`.
const RECORD: &str = "record";
const FORCE: &str = "driftless.dev/force-conflicts";

/// The name of a component's parent.
pub(crate) fn parent_name(component: &ComponentName) -> String {
    format!("{TOOL}-{component}")
}

/// The id of a component's set, made of its parent's name, namespace, kind and group.
pub(crate) fn id(component: &ComponentName, namespace: &str) -> String {
    let hash = Sha256::digest(format!("{}.{namespace}.ConfigMap.", parent_name(component)));
    format!("applyset-{}-v1", URL_SAFE_NO_PAD.encode(hash))
}

/// Where the members of a set are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Scope {
    /// Group and kind.
    pub(crate) kinds: BTreeSet<(String, String)>,
    /// Namespaces, but for the parent's own, which goes without saying.
    pub(crate) namespaces: BTreeSet<String>,
}

impl Scope {
    /// Takes in an object. `home` is the parent's namespace.
    pub(crate) fn add(&mut self, id: &ManifestId, namespace: Option<&str>, home: &str) {
        if !self
            .kinds
            .iter()
            .any(|(group, kind)| *group == id.group && *kind == id.kind)
        {
            self.kinds.insert((id.group.clone(), id.kind.clone()));
        }
        if let Some(namespace) = namespace
            && namespace != home
            && !self.namespaces.contains(namespace)
        {
            self.namespaces.insert(namespace.to_owned());
        }
    }

    /// Is everything of `other` in it?
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.kinds.is_superset(&other.kinds) && self.namespaces.is_superset(&other.namespaces)
    }

    /// Both together.
    pub(crate) fn union(&self, other: &Self) -> Self {
        Self {
            kinds: self.kinds.union(&other.kinds).cloned().collect(),
            namespaces: self.namespaces.union(&other.namespaces).cloned().collect(),
        }
    }

    fn kinds_annotation(&self) -> String {
        let mut kinds: Vec<_> = self
            .kinds
            .iter()
            .map(|(group, kind)| {
                if group.is_empty() {
                    kind.clone()
                } else {
                    format!("{kind}.{group}")
                }
            })
            .collect();
        kinds.sort_unstable();
        kinds.join(",")
    }

    fn namespaces_annotation(&self) -> String {
        self.namespaces.iter().map(String::as_str).collect::<Vec<_>>().join(",")
    }

    fn parse(annotations: &BTreeMap<String, String>) -> Self {
        let list = |key: &str| {
            annotations
                .get(key)
                .into_iter()
                .flat_map(|text| text.split(','))
                .filter(|part| !part.is_empty())
        };
        Self {
            kinds: list(GROUP_KINDS)
                .map(|text| match text.split_once('.') {
                    Some((kind, group)) => (group.to_owned(), kind.to_owned()),
                    None => (String::new(), text.to_owned()),
                })
                .collect(),
            namespaces: list(NAMESPACES).map(str::to_owned).collect(),
        }
    }
}

/// What a ConfigMap in a parent's place turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parent {
    /// Ours.
    Ours {
        /// Of this component.
        component: ComponentName,
        /// Where the members are, as far as the parent says.
        scope: Scope,
        /// The record as stored, if any.
        record: Option<Vec<u8>>,
    },
    /// Somebody else's; says whose.
    Foreign(String),
}

/// Reads a live parent.
pub(crate) fn read_parent(object: &Value, namespace: &str) -> Parent {
    let annotations = texts(object, "annotations");
    let labels = texts(object, "labels");
    let name = field::at(object, "/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let tooling = annotations.get(TOOLING).map_or("", String::as_str);
    if tooling.rsplit_once('/').map_or(tooling, |(tool, _)| tool) != TOOL {
        return Parent::Foreign(if tooling.is_empty() {
            format!("it has no annotation {TOOLING}")
        } else {
            format!("it belongs to `{tooling}`")
        });
    }
    let Some(component) = name
        .strip_prefix("driftless-")
        .and_then(|name| name.parse::<ComponentName>().ok())
    else {
        return Parent::Foreign("its name is not one that driftless gives".to_owned());
    };
    let id = id(&component, namespace);
    if labels.get(ID_LABEL) != Some(&id) {
        return Parent::Foreign(format!("its label {ID_LABEL} should be {id}"));
    }
    let record = field::at(object, &format!("/binaryData/{RECORD}"))
        .and_then(Value::as_str)
        .and_then(|text| STANDARD.decode(text).ok());
    Parent::Ours {
        component,
        scope: Scope::parse(&annotations),
        record,
    }
}

/// The parent's document, to be applied.
pub(crate) fn parent_body(component: &ComponentName, namespace: &str, scope: &Scope, record: &[u8]) -> Vec<u8> {
    let mut body = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": parent_name(component),
            "namespace": namespace,
            "labels": {ID_LABEL: id(component, namespace)},
            "annotations": {
                TOOLING: TOOL_VERSION,
                GROUP_KINDS: scope.kinds_annotation(),
                NAMESPACES: scope.namespaces_annotation(),
            },
        },
    });
    if !record.is_empty() {
        body["binaryData"] = json!({RECORD: STANDARD.encode(record)});
    }
    body.to_string().into_bytes()
}

/// A manifest as it is applied: with the labels of its set.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) manifest: Manifest,
    pub(crate) component: ComponentName,
    /// The set's id.
    pub(crate) set: Arc<str>,
}

impl Member {
    /// As a value.
    pub(crate) fn value(&self) -> Value {
        let mut object = self.manifest.value();
        let metadata = object["metadata"]
            .as_object_mut()
            .expect("a manifest has a name, hence metadata");
        let labels = metadata.entry("labels").or_insert_with(|| Value::Object(Map::new()));
        if !labels.is_object() {
            *labels = Value::Object(Map::new());
        }
        labels[PART_OF_LABEL] = Value::from(&*self.set);
        labels[COMPONENT_LABEL] = Value::from(self.component.as_str());
        object
    }

    /// As it is sent.
    pub(crate) fn body(&self) -> Vec<u8> {
        // Labels or names that are written with escapes are nobody's but a tester's.
        self.spliced().unwrap_or_else(|_| canonical::to_vec(&self.value()))
    }

    /// The body, made without reading more of the manifest than its metadata.
    fn spliced(&self) -> serde_json::Result<Vec<u8>> {
        type Fields<'a> = BTreeMap<&'a str, &'a RawValue>;
        let mut object: Fields<'_> = serde_json::from_slice(self.manifest.canonical())?;
        let mut metadata: Fields<'_> = object
            .get("metadata")
            .map_or(Ok(Fields::new()), |it| serde_json::from_str(it.get()))?;
        let mut labels: Fields<'_> = metadata
            .get("labels")
            .map_or(Ok(Fields::new()), |it| serde_json::from_str(it.get()))?;
        let (set, component) = (to_raw_value(&*self.set)?, to_raw_value(&self.component)?);
        labels.insert(PART_OF_LABEL, &set);
        labels.insert(COMPONENT_LABEL, &component);
        let labels = to_raw_value(&labels)?;
        metadata.insert("labels", &labels);
        let metadata = to_raw_value(&metadata)?;
        object.insert("metadata", &metadata);
        serde_json::to_vec(&object)
    }
}

/// A hook as it is made: with its component, so that it is watched, and no member of the set; and for which run.
pub(crate) fn hook_body(manifest: &Manifest, component: &ComponentName, run: &str) -> Vec<u8> {
    let mut object = manifest.value();
    for (field, key, value) in [
        ("labels", COMPONENT_LABEL, component.as_str()),
        ("annotations", hooks::RUN, run),
    ] {
        let map = &mut object["metadata"][field];
        if !map.is_object() {
            *map = Value::Object(Map::new());
        }
        map[key] = Value::from(value);
    }
    object.to_string().into_bytes()
}

/// What identifies a manifest as applied: its bytes and, because of the labels, its component.
pub(crate) fn manifest_digest(manifest: &Manifest, component: &ComponentName) -> Digest {
    Digest::of(&[component.as_str().as_bytes(), manifest.canonical()])
}

/// Has the manifest any annotations? A look at the bytes spares parsing many a manifest.
pub(crate) fn has_annotations(manifest: &Manifest) -> bool {
    static NEEDLE: Needle = Needle::new(r#""annotations":{"#);
    NEEDLE.is_in(manifest.canonical())
}

/// Does the manifest ask to take fields from other managers?
pub(crate) fn forces_conflicts(manifest: &Manifest) -> bool {
    // A look at the bytes spares parsing nearly every manifest.
    static NEEDLE: Needle = Needle::new(FORCE);
    NEEDLE.is_in(manifest.canonical())
        && texts(&manifest.value(), "annotations")
            .get(FORCE)
            .is_some_and(|value| value == "true")
}

/// The component whose member a live object is: both labels must say so.
pub(crate) fn member_of(object: &Value, namespace: &str) -> Option<ComponentName> {
    let label = |key: &str| object.get("metadata")?.get("labels")?.get(key)?.as_str();
    let component = label(COMPONENT_LABEL)?.parse::<ComponentName>().ok()?;
    (label(PART_OF_LABEL)? == id(&component, namespace)).then_some(component)
}

fn texts(object: &Value, field: &str) -> BTreeMap<String, String> {
    let map = object
        .get("metadata")
        .and_then(|metadata| metadata.get(field))
        .and_then(Value::as_object);
    map.into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOME: &str = "driftless-system";

    fn component(name: &str) -> ComponentName {
        name.parse().unwrap()
    }

    fn scope(kinds: &[(&str, &str)], namespaces: &[&str]) -> Scope {
        Scope {
            kinds: kinds
                .iter()
                .map(|(group, kind)| ((*group).to_owned(), (*kind).to_owned()))
                .collect(),
            namespaces: namespaces.iter().map(|it| (*it).to_owned()).collect(),
        }
    }

    #[test]
    fn id_is_made_as_kubectl_makes_it() {
        // `printf driftless-shop.driftless-system.ConfigMap. | sha256sum`, base64url without padding.
        assert_eq!(
            id(&component("shop"), HOME),
            "applyset-CJvN6_MhJQMlTAPrE9T05on480sDHLNqJcjQo8uPsFU-v1"
        );
    }

    #[test]
    fn parent_reads_back_what_was_written() {
        let wide = scope(
            &[("", "ConfigMap"), ("apps", "Deployment"), ("a.b.c", "X")],
            &["shop", "a"],
        );
        let body: Value = serde_json::from_slice(&parent_body(&component("shop"), HOME, &wide, b"rec")).unwrap();
        assert_eq!(
            body["metadata"]["annotations"][GROUP_KINDS],
            "ConfigMap,Deployment.apps,X.a.b.c"
        );
        assert_eq!(body["metadata"]["annotations"][NAMESPACES], "a,shop");
        assert_eq!(body["metadata"]["annotations"][TOOLING], "driftless/v1");
        let ours = Parent::Ours {
            component: component("shop"),
            scope: wide,
            record: Some(b"rec".to_vec()),
        };
        assert_eq!(read_parent(&body, HOME), ours);
    }

    #[test]
    fn parent_of_another_tool_is_foreign() {
        let body = parent_body(&component("shop"), HOME, &Scope::default(), b"");
        let parent: Value = serde_json::from_slice(&body).unwrap();
        for (pointer, value, reason) in [
            (
                "/metadata/annotations/applyset.kubernetes.io~1tooling",
                "kubectl/v1.36",
                "it belongs to `kubectl/v1.36`",
            ),
            (
                "/metadata/annotations/applyset.kubernetes.io~1tooling",
                "",
                "it has no annotation",
            ),
            (
                "/metadata/labels/applyset.kubernetes.io~1id",
                "x",
                "its label applyset.kubernetes.io/id should be",
            ),
            ("/metadata/name", "shop", "its name is not one"),
        ] {
            let mut other = parent.clone();
            *other.pointer_mut(pointer).unwrap() = json!(value);
            let Parent::Foreign(text) = read_parent(&other, HOME) else {
                panic!("{pointer} was taken for ours")
            };
            assert!(text.starts_with(reason), "{text}");
        }
    }

    #[test]
    fn scope_covers_what_it_has_and_home_goes_without_saying() {
        let wide = scope(&[("", "ConfigMap"), ("apps", "Deployment")], &["shop"]);
        let mut narrow = scope(&[("", "ConfigMap")], &["shop"]);
        narrow.add(manifest(json!({"name": "a"})).id(), Some(HOME), HOME);
        assert!(wide.covers(&narrow));
        assert!(!wide.covers(&scope(&[("", "Service")], &[])));
        assert!(!wide.covers(&scope(&[], &["other"])));
    }

    fn manifest(metadata: Value) -> Manifest {
        Manifest::new(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}),
            "shop",
        )
        .unwrap()
    }

    #[test]
    fn member_carries_both_labels_and_keeps_its_own() {
        let shop = component("shop");
        for metadata in [
            json!({"name": "a"}),
            json!({"name": "a", "labels": {"app": "x", COMPONENT_LABEL: "other"}, "annotations": {"a": "\"\u{1}é"}}),
            json!({"name": "a", "labels": {"a\"b": "is written with an escape"}}),
        ] {
            let member = Member {
                manifest: manifest(metadata.clone()),
                component: shop.clone(),
                set: id(&shop, HOME).into(),
            };
            let value = member.value();
            assert_eq!(value["metadata"]["labels"].get("app"), metadata.pointer("/labels/app"));
            assert_eq!(member_of(&value, HOME), Some(shop.clone()));
            assert_eq!(member_of(&value, "other"), None);
            assert_eq!(serde_json::from_slice::<Value>(&member.body()).unwrap(), value);
        }
    }

    #[test]
    fn moving_to_another_component_changes_the_digest() {
        let manifest = manifest(json!({"name": "a"}));
        assert_ne!(
            manifest_digest(&manifest, &component("a")),
            manifest_digest(&manifest, &component("b"))
        );
    }

    #[test]
    fn only_the_annotation_forces_conflicts() {
        let of = |metadata| forces_conflicts(&manifest(metadata));
        assert!(of(
            json!({"name": "a", "annotations": {"driftless.dev/force-conflicts": "true"}})
        ));
        assert!(!of(
            json!({"name": "a", "annotations": {"driftless.dev/force-conflicts": "false"}})
        ));
        assert!(!of(
            json!({"name": "a", "labels": {"driftless.dev/force-conflicts": "true"}})
        ));
        assert!(!of(json!({"name": "a"})));
    }
}
