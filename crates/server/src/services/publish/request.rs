//! What a push asks for, read from its message, and the limits of that.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use driftless_model::{
    hash::ObjectHash,
    name::{ChannelName, ComponentName},
};
use driftless_proto::{hash, opt_hash, v1};

use crate::failure::Failure;

const MAX_COMPONENTS: usize = 1000;
const MAX_MESSAGE: usize = 16 * 1024;
const MAX_SOURCE_ENTRIES: usize = 64;
const MAX_SOURCE_BYTES: usize = 16 * 1024;
const MAX_KEY: usize = 128;

/// The objects that come along with a push, by their hashes. Each has to be one of its bundles.
pub(super) fn read_objects(
    objects: Vec<v1::Object>,
    components: &BTreeMap<ComponentName, Option<ObjectHash>>,
) -> Result<Vec<(ObjectHash, Bytes)>, Failure> {
    if objects.is_empty() {
        return Ok(Vec::new());
    }
    let bundles: BTreeSet<_> = components.values().flatten().collect();
    let mut read = BTreeMap::new();
    for object in objects {
        let hash = hash("objects.hash", &object.hash)?;
        if !bundles.contains(&hash) {
            let text = format!("objects: {hash} is not a bundle that this push sets: upload it by itself");
            return Err(Failure::Argument(text));
        }
        read.insert(hash, object.zstd);
    }
    Ok(read.into_iter().collect())
}

pub(super) fn read_key(key: &str) -> Result<Option<ObjectHash>, Failure> {
    if key.len() > MAX_KEY {
        let text = format!(
            "idempotency_key: {} bytes are more than the {MAX_KEY} allowed",
            key.len()
        );
        return Err(Failure::Argument(text));
    }
    Ok((!key.is_empty()).then(|| ObjectHash::of(key.as_bytes())))
}

pub(super) fn parse_channel(name: &str) -> Result<ChannelName, Failure> {
    Ok(name.parse::<ChannelName>()?)
}

pub(super) fn read_components(
    components: &[v1::ComponentChange],
) -> Result<BTreeMap<ComponentName, Option<ObjectHash>>, Failure> {
    if components.is_empty() {
        return Err(Failure::Argument(
            "components: name at least one to set or to remove".to_owned(),
        ));
    }
    if components.len() > MAX_COMPONENTS {
        let text = format!(
            "components: {} in one push are more than the {MAX_COMPONENTS} allowed",
            components.len()
        );
        return Err(Failure::Argument(text));
    }
    let mut read = BTreeMap::new();
    for change in components {
        let name: ComponentName = change.component.parse()?;
        let bundle = opt_hash("components.bundle", change.bundle.as_ref())?;
        if read.insert(name, bundle).is_some() {
            return Err(Failure::Argument(format!(
                "components: `{}` is there twice",
                change.component
            )));
        }
    }
    Ok(read)
}

pub(super) fn check_provenance(message: &str, source: &BTreeMap<String, String>) -> Result<(), Failure> {
    if message.len() > MAX_MESSAGE {
        let text = format!(
            "message: {} bytes are more than the {MAX_MESSAGE} allowed",
            message.len()
        );
        return Err(Failure::Argument(text));
    }
    let bytes: usize = source.iter().map(|(key, value)| key.len() + value.len()).sum();
    if source.len() > MAX_SOURCE_ENTRIES || bytes > MAX_SOURCE_BYTES {
        let text = format!(
            "source: {} entries of {bytes} bytes are more than the {MAX_SOURCE_ENTRIES} of {MAX_SOURCE_BYTES} allowed",
            source.len()
        );
        return Err(Failure::Argument(text));
    }
    Ok(())
}
