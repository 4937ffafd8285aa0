//! What identifies an object, read from its canonical bytes without building a value of them: bundles of many objects
//! are read on every push, in every agent.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor, value::MapAccessDeserializer},
};

use super::{ManifestId, rules::is_secret, split_api_version};
use crate::canonical;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(borrow)]
    api_version: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    metadata: Map<Metadata<'a>>,
}

#[derive(Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Option<Cow<'a, str>>,
    #[serde(rename = "labels")]
    _labels: Option<Texts>,
    #[serde(rename = "annotations")]
    _annotations: Option<Texts>,
}

/// The id and `apiVersion` of an object whose bytes are plainly canonical, and against which nothing can be said but of
/// its names. Most are so; `None` is no refusal.
pub(super) fn identify(bytes: &[u8]) -> Option<(ManifestId, String)> {
    if !canonical::is_plainly_canonical(bytes) {
        return None;
    }
    let Map(head) = serde_json::from_slice::<Map<Head<'_>>>(bytes).ok()?;
    let Head {
        api_version,
        kind,
        metadata: Map(Metadata { name, namespace, .. }),
    } = head;
    let (group, _) = split_api_version(&api_version);
    if [&api_version, &kind, &name].iter().any(|text| text.is_empty()) || is_secret(group, &kind) {
        return None;
    }
    let id = ManifestId {
        group: group.to_owned(),
        kind: kind.into_owned(),
        namespace: namespace.filter(|text| !text.is_empty()).map(Cow::into_owned),
        name: name.into_owned(),
    };
    Some((id, api_version.into_owned()))
}

/// A mapping, and not a list of the same values, which serde would take for it.
struct Map<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Map<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfMap<T> {
            type Value = Map<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a mapping")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Map<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Map)
            }
        }
        deserializer.deserialize_map(OfMap(PhantomData))
    }
}

/// A map of texts that nobody asks for.
struct Texts;

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap;
        impl<'de> Visitor<'de> for OfMap {
            type Value = Texts;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                while map.next_entry::<IgnoredAny, Text>()?.is_some() {}
                Ok(Texts)
            }
        }
        deserializer.deserialize_map(OfMap)
    }
}

/// A text that nobody asks for.
struct Text;

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfText;
        impl Visitor<'_> for OfText {
            type Value = Text;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a text")
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Text, E> {
                Ok(Text)
            }
        }
        deserializer.deserialize_str(OfText)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::manifest::Manifest;

    fn text(usual: &'static str) -> impl Strategy<Value = Value> {
        let odd = [
            json!(""),
            json!(null),
            json!(1),
            json!([]),
            json!({"name": "a"}),
            json!("A_b"),
            json!("\u{e9}\n"),
        ];
        prop_oneof![4 => Just(json!(usual)), 1 => prop::sample::select(odd.to_vec())]
    }

    fn texts() -> impl Strategy<Value = Value> {
        let any = [
            json!({"a": "b", "c": "d\n"}),
            json!({}),
            json!(null),
            json!({"a": 1}),
            json!({"a": null}),
            json!(["a"]),
            json!("a"),
        ];
        prop::sample::select(any.to_vec())
    }

    prop_compose! {
        fn metadata()(
            name in text("shop"),
            namespace in text("default"),
            labels in texts(),
            annotations in texts(),
            more in prop::sample::select(vec!["generateName", "finalizers", "\u{e9}"]),
            left_out in prop::sample::select(vec!["name", "namespace", "labels", "annotations", "nothing"]),
        ) -> Value {
            let mut fields = json!({
                "name": name, "namespace": namespace, "labels": labels, "annotations": annotations, more: "x",
            });
            fields.as_object_mut().unwrap().remove(left_out);
            fields
        }
    }

    prop_compose! {
        fn object()(
            api_version in prop_oneof![text("v1"), text("rbac.authorization.k8s.io/v1"), text("example.com/v1")],
            kind in prop_oneof![text("ConfigMap"), text("Namespace"), text("Secret"), text("Role")],
            metadata in prop_oneof![8 => metadata(), 1 => Just(json!(["shop", "default", null, null])), 1 => text("a")],
            data in prop::sample::select(vec![json!({"a": "b"}), json!({}), json!(1.5), json!([true, "x"])]),
            left_out in prop::sample::select(vec!["apiVersion", "kind", "metadata", "nothing", "nothing", "nothing"]),
        ) -> Value {
            let mut fields = json!({
                "apiVersion": api_version, "kind": kind, "metadata": metadata, "data": data,
            });
            fields.as_object_mut().unwrap().remove(left_out);
            fields
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn short_way_and_long_way_say_the_same(object in object()) {
            let bytes = canonical::to_vec(&object);
            let (short, long) = (Manifest::from_canonical(&bytes), Manifest::from_unusual(&bytes));
            let told = |read: Result<Manifest, _>| read.map(|it| (it.id().clone(), it.api_version().to_owned(), it.hash()));
            prop_assert_eq!(told(short), told(long));
        }
    }

    #[test]
    fn usual_objects_take_the_short_way_and_lists_of_their_values_do_not() {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 2, "template": {}},
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}, "annotations": {"a": "\"b\"\n"}},
        });
        let (id, api_version) = identify(&canonical::to_vec(&object)).unwrap();
        assert_eq!(
            (id.to_string().as_str(), api_version.as_str()),
            ("Deployment.apps shop/web", "apps/v1")
        );
        for list in [
            json!(["v1", "ConfigMap", {"name": "a"}]),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": ["a", "b", null, null]}),
        ] {
            assert_eq!(identify(&canonical::to_vec(&list)), None);
        }
    }
}
