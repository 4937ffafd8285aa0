//! What people mean by a name on the command line: a channel, or an object by any prefix of its hash.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use driftless_client::{Client, types::Channel};
use driftless_model::{
    bundle::Bundle,
    diff,
    hash::ObjectHash,
    name::ChannelName,
    snapshot::{self, Components, Snapshot},
};

use crate::{failure::Advice, output::changes::ComponentDiff};

/// Fewest digits that may name an object.
const MIN_PREFIX: usize = 4;

/// What a name turned out to be.
pub(crate) enum Named {
    /// A channel. It wins over an object whose hash begins like its name; more digits reach that.
    Channel(Channel),
    /// An object.
    Object(ObjectHash),
}

/// Finds what `text` names.
pub(crate) async fn name(client: &Client, text: &str) -> Result<Named> {
    if let Ok(name) = text.parse::<ChannelName>() {
        match client.channel(&name).await {
            Ok(channel) => return Ok(Named::Channel(channel)),
            // Then it may be a hash; if it cannot be one, what the server says of channels is the answer.
            Err(error) if error.is_not_found() && is_prefix(text) => {}
            Err(error) => return Err(error.into()),
        }
    }
    object(client, text).await.map(Named::Object)
}

/// Finds the one object whose hash begins with `text`.
pub(crate) async fn object(client: &Client, text: &str) -> Result<ObjectHash> {
    if !is_prefix(text) {
        let hint =
            format!("use a channel's name, or at least {MIN_PREFIX} digits of a hash from `driftless log CHANNEL`");
        return Err(Advice::new(format!("`{text}` is no hash, and names no channel"), hint).into());
    }
    if let Ok(hash) = text.parse() {
        return Ok(hash);
    }
    let found = client.find(text).await?;
    match found.as_slice() {
        [one] => Ok(*one),
        [] => {
            let hint = "`driftless log CHANNEL` lists the snapshots there are";
            Err(Advice::new(format!("no object's hash begins with `{text}`"), hint).into())
        }
        many => {
            let list: Vec<_> = many.iter().take(8).map(|hash| hash.short()).collect();
            let hint = format!(
                "give more digits: there are {}{}",
                list.join(", "),
                if many.len() > 8 { ", …" } else { "" }
            );
            Err(Advice::new(format!("`{text}` begins the hashes of {} objects", many.len()), hint).into())
        }
    }
}

fn is_prefix(text: &str) -> bool {
    (MIN_PREFIX..=64).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The components of a snapshot that `text` names by its hash or by its channel.
pub(crate) async fn components(client: &Client, text: &str) -> Result<Components> {
    match name(client, text).await? {
        Named::Channel(channel) => Ok(channel.components),
        Named::Object(hash) => match document(client, hash).await? {
            Document::Snapshot(snapshot) => Ok(snapshot.components),
            Document::Bundle(bundle) => bail!(
                "{} is a bundle of component `{}`, not a snapshot: `driftless log CHANNEL` lists snapshots",
                hash.short(),
                bundle.component
            ),
        },
    }
}

/// An object by what it is.
pub(crate) enum Document {
    /// A channel's desired state.
    Snapshot(Snapshot),
    /// One version of a component.
    Bundle(Bundle),
}

/// Reads an object of a kind not known before.
pub(crate) async fn document(client: &Client, hash: ObjectHash) -> Result<Document> {
    let bytes = client.objects(&[hash]).await?.pop().unwrap_or_default();
    // A snapshot is one line of JSON; a bundle's first line ends before its end.
    if bytes.ends_with(b"\n") {
        return Ok(Document::Bundle(Bundle::decode(&bytes)?));
    }
    Ok(Document::Snapshot(Snapshot::decode(&bytes)?))
}

/// How two maps of components differ, down to fields. Fetches the bundles at which they do, and no other.
pub(crate) async fn differences(
    client: &Client,
    before: &Components,
    after: &Components,
) -> Result<Vec<ComponentDiff>> {
    let changes = snapshot::changes(before, after);
    let mut hashes: Vec<_> = changes
        .values()
        .flat_map(|change| [change.before, change.after])
        .flatten()
        .collect();
    hashes.sort_unstable();
    hashes.dedup();
    let bundles: BTreeMap<_, _> = hashes.iter().copied().zip(client.bundles(&hashes).await?).collect();
    let manifests = |hash: Option<ObjectHash>| {
        hash.and_then(|hash| bundles.get(&hash))
            .into_iter()
            .flat_map(Bundle::manifests)
    };
    Ok(changes
        .into_iter()
        .map(|(component, change)| {
            let objects = diff::manifests(manifests(change.before), manifests(change.after));
            let bundle = |hash: Option<ObjectHash>| hash.and_then(|hash| bundles.get(&hash));
            ComponentDiff::new(component, change.before, change.after, objects)
                .with_spec(bundle(change.before), bundle(change.after))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_lower_case_hexadecimal() {
        assert!(is_prefix("beef") && is_prefix("0123456789ab"));
        for no in ["bee", "BEEF", "xyzz", "be ef", &"a".repeat(65)] {
            assert!(!is_prefix(no), "{no}");
        }
    }
}
