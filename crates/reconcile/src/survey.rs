//! Looks at what exists of some objects before their first apply: metadata alone, in as few requests as make sense.
//!
//! A few objects are read one by one; many are found in lists of their namespaces, or of the whole cluster where they
//! are in many. So a thousand new objects cost a handful of requests. Who cannot wait for lists has each read alone.

use std::collections::{BTreeMap, BTreeSet};

use driftless_model::{field, manifest::ManifestId};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use serde_json::Value;

use crate::api::{Api, Failure, Resource, parse};

/// So many are read one by one.
const SINGLE: usize = 4;
/// And so many of them at once.
const AT_ONCE: usize = 32;
/// So many namespaces are listed one by one.
const NAMESPACES: usize = 8;
/// Objects in one page of a list.
const PAGE: u32 = 500;

#[derive(Deserialize)]
struct List {
    metadata: ListMetadata,
    /// Null where there are none, of some API servers.
    #[serde(default)]
    items: Option<Vec<Value>>,
}

#[derive(Deserialize)]
struct ListMetadata {
    #[serde(default, rename = "continue")]
    next: String,
}

/// How objects are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// With a request for each.
    EachAlone,
    /// With as few requests as make sense.
    Fewest,
}

/// Reads those of the objects that exist, all of one kind.
pub(crate) async fn look(
    api: &Api,
    resource: &Resource,
    ids: Vec<ManifestId>,
    way: Way,
) -> Result<BTreeMap<ManifestId, Value>, Failure> {
    if way == Way::EachAlone || ids.len() <= SINGLE {
        each(api, resource, ids).await
    } else {
        listed(api, resource, &ids).await
    }
}

async fn each(api: &Api, resource: &Resource, ids: Vec<ManifestId>) -> Result<BTreeMap<ManifestId, Value>, Failure> {
    let get = |id: ManifestId| async move {
        match api.get_metadata(&resource.object_path(&resource.version, &id)).await {
            Ok(bytes) => Ok(Some((id, parse(&bytes)?))),
            Err(failure) if failure.code() == Some(404) => Ok(None),
            Err(failure) => Err(failure),
        }
    };
    // Collected, since the compiler cannot tell that a stream over the closure is `Send`.
    let gets: Vec<_> = ids.into_iter().map(get).collect();
    stream::iter(gets)
        .buffer_unordered(AT_ONCE)
        .try_filter_map(|found| async move { Ok(found) })
        .try_collect()
        .await
}

async fn listed(api: &Api, resource: &Resource, ids: &[ManifestId]) -> Result<BTreeMap<ManifestId, Value>, Failure> {
    let mut found = BTreeMap::new();
    let place = |id: &ManifestId| {
        let namespace = id.namespace.as_deref().unwrap_or("default");
        let namespace = if resource.namespaced { namespace } else { "" };
        (namespace.to_owned(), id.name.clone())
    };
    let wanted: BTreeMap<_, _> = ids.iter().map(|id| (place(id), id)).collect();
    let namespaces: BTreeSet<&str> = wanted.keys().map(|(namespace, _)| namespace.as_str()).collect();
    let paths: Vec<_> = if resource.namespaced && namespaces.len() <= NAMESPACES {
        namespaces.into_iter().map(|it| resource.path_in(it)).collect()
    } else {
        vec![resource.path()]
    };
    for path in paths {
        let mut next = String::new();
        loop {
            let bytes = api
                .list_metadata(&format!("{path}?limit={PAGE}&continue={next}"))
                .await?;
            let list: List = serde_json::from_slice(&bytes).map_err(|error| Failure::Malformed(error.to_string()))?;
            for item in list.items.into_iter().flatten() {
                let text = |pointer: &str| {
                    let text = field::at(&item, pointer).and_then(Value::as_str);
                    text.unwrap_or_default().to_owned()
                };
                let place = (text("/metadata/namespace"), text("/metadata/name"));
                if let Some(id) = wanted.get(&place) {
                    found.insert((*id).clone(), item);
                }
            }
            next = list.metadata.next;
            if next.is_empty() {
                break;
            }
        }
    }
    Ok(found)
}
