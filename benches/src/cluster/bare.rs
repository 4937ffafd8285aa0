//! What everything is compared with: server-side applies of the same objects by the same client library, as many at
//! once as the agent sends, and nothing else; and deletions.

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams},
};
use serde_json::Value;

/// As the agent's.
const IN_FLIGHT: usize = 32;
const FIELD_MANAGER: &str = "bare";

/// Applies all objects.
pub async fn apply(client: &Client, objects: &[Value], kinds: &[ApiResource]) -> Result<()> {
    let applies: Vec<_> = objects.iter().map(|object| apply_one(client, object, kinds)).collect();
    all(applies).await
}

/// Applies one object, of one of `kinds`.
pub async fn apply_one(client: &Client, object: &Value, kinds: &[ApiResource]) -> Result<()> {
    let (api, name) = place(client, object, kinds)?;
    api.patch(name, &PatchParams::apply(FIELD_MANAGER), &Patch::Apply(object))
        .await?;
    Ok(())
}

/// Deletes all objects.
pub async fn delete(client: &Client, objects: &[Value], kinds: &[ApiResource]) -> Result<()> {
    let delete = async |object| {
        let (api, name) = place(client, object, kinds)?;
        api.delete(name, &DeleteParams::default()).await?;
        Ok(())
    };
    all(objects.iter().map(delete).collect()).await
}

async fn all(requests: Vec<impl Future<Output = Result<()>>>) -> Result<()> {
    stream::iter(requests)
        .buffer_unordered(IN_FLIGHT)
        .try_for_each(|()| async { Ok(()) })
        .await
}

/// Where to ask for an object, and its name.
fn place<'a>(client: &Client, object: &'a Value, kinds: &[ApiResource]) -> Result<(Api<DynamicObject>, &'a str)> {
    let metadata = &object["metadata"];
    let (namespace, name) = metadata["namespace"]
        .as_str()
        .zip(metadata["name"].as_str())
        .context("no name")?;
    let kind = kinds
        .iter()
        .find(|kind| object["kind"] == kind.kind)
        .context("a kind that was not named")?;
    let kind = GroupVersionKind::gvk(&kind.group, &kind.version, &kind.kind);
    let api = Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk(&kind));
    Ok((api, name))
}
