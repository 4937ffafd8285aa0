//! What people mean by a name on the command line: a channel, a push of one, or an object by any prefix of its hash.
//!
//! - `prod`: the channel, and where a snapshot is wanted its newest
//! - `1a2b3c`: the object whose hash begins so
//! - `prod~2`, `1a2b3c~2`: two pushes back, also spelled `prod^^`
//! - `prod@{2h}`, `prod@{2026-11-01}`: what the channel was at then
//! - `…:shop`, `…:shop/Deployment.apps/default/web`: a component of that snapshot, and an object of that component

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use driftless_client::{
    Client, Log,
    types::{Channel, Cluster, LogEntry},
};
use driftless_model::{
    bundle::Bundle,
    diff,
    hash::ObjectHash,
    manifest::ManifestId,
    name::{ChannelName, ClusterName, ComponentName, closest},
    reference::{self, Reference},
    snapshot::{self, Components, Snapshot},
};
use futures::TryStreamExt as _;

use crate::{
    failure::Advice,
    moment::{self, Moment},
    now,
    output::changes::ComponentDiff,
};

/// Fewest digits that may name an object.
const MIN_PREFIX: usize = 4;

/// What a name turned out to be.
pub(crate) enum Named {
    /// A channel. It wins over an object whose hash begins like its name; more digits reach that.
    Channel(Channel),
    /// An object.
    Object(ObjectHash),
}

/// A name and how to go back from there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Revision<'t> {
    base: &'t str,
    at: Option<Moment>,
    back: u32,
}

/// A revision that does not read as one.
#[derive(Debug, thiserror::Error)]
enum InvalidRevision {
    #[error("`{0}`: write `CHANNEL~2` for two pushes back, or `CHANNEL@{{2h}}` for what it was at two hours ago")]
    Syntax(String),
    #[error(transparent)]
    Moment(#[from] moment::Invalid),
}

impl<'t> Revision<'t> {
    fn parse(text: &'t str) -> Result<Self, InvalidRevision> {
        let syntax = || InvalidRevision::Syntax(text.to_owned());
        let end = text.find(['~', '^', '@']).unwrap_or(text.len());
        let (base, mut rest) = text.split_at(end);
        let mut revision = Self {
            base,
            at: None,
            back: 0,
        };
        if base.is_empty() {
            return Err(syntax());
        }
        if let Some(inner) = rest.strip_prefix("@{") {
            let (moment, behind) = inner.split_once('}').ok_or_else(syntax)?;
            revision.at = Some(moment.parse()?);
            rest = behind;
        }
        while let Some(mark) = rest.chars().next() {
            rest = &rest[1..];
            let digits = rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
            let number = match (mark, &rest[..digits]) {
                ('~' | '^', "") => 1,
                ('~', number) => number.parse().map_err(|_| syntax())?,
                _ => return Err(syntax()),
            };
            revision.back = revision.back.checked_add(number).ok_or_else(syntax)?;
            rest = &rest[digits..];
        }
        Ok(revision)
    }
}

/// Splits `REF:component/object` at its colon. One inside of `@{…}` belongs to a time.
pub(crate) fn split(text: &str) -> (&str, Option<&str>) {
    let behind_time = text.find("@{").and_then(|open| Some(open + text[open..].find('}')?));
    let from = behind_time.unwrap_or(0);
    match text[from..].find(':') {
        Some(at) => (&text[..from + at], Some(&text[from + at + 1..])),
        None => (text, None),
    }
}

/// Finds what `text` names.
pub(crate) async fn name(client: &Client, text: &str) -> Result<Named> {
    let Revision { base, at, back } = Revision::parse(text).map_err(anyhow::Error::from)?;
    let named = base_name(client, base).await?;
    if at.is_none() && back == 0 {
        return Ok(named);
    }
    let mut log = Log {
        skip: back,
        limit: Some(1),
        until: at.map(|at| at.when(now())),
        ..Log::default()
    };
    match &named {
        Named::Channel(channel) => log.channel = Some(channel.name.clone()),
        Named::Object(_) if at.is_some() => {
            let hint = format!("only a channel changes with time: `driftless log {base}` shows what came before it");
            return Err(Advice::new(format!("`{base}` is a hash, which is always at the same"), hint).into());
        }
        Named::Object(hash) => log.from = Some(*hash),
    }
    let entry: Option<LogEntry> = client.history(log).try_next().await?;
    match entry {
        Some(entry) => Ok(Named::Object(entry.snapshot)),
        None => {
            let hint = format!("`driftless log {base} --oneline` lists its pushes");
            let (Some(at), 0) = (at, back) else {
                return Err(Advice::new(format!("`{base}` does not go back as far as `{text}`"), hint).into());
            };
            let then = at.when(now()).to_zoned(jiff::tz::TimeZone::system());
            let told = format!(
                "`{base}` had no snapshot yet on {}",
                then.strftime("%Y-%m-%d at %H:%M:%S %z")
            );
            Err(Advice::new(told, hint).into())
        }
    }
}

async fn base_name(client: &Client, text: &str) -> Result<Named> {
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

/// The snapshot that `text` names, and its hash.
pub(crate) async fn snapshot(client: &Client, text: &str) -> Result<(ObjectHash, Snapshot)> {
    let hash = match name(client, text).await? {
        Named::Object(hash) => hash,
        Named::Channel(channel) => newest(&channel)?,
    };
    match document(client, hash).await? {
        Document::Snapshot(snapshot) => Ok((hash, snapshot)),
        Document::Bundle(bundle) => bail!(
            "{} is a bundle of component `{}`, not a snapshot: `driftless log CHANNEL` lists snapshots",
            hash.short(),
            bundle.component
        ),
    }
}

/// A channel's newest snapshot.
pub(crate) fn newest(channel: &Channel) -> Result<ObjectHash> {
    channel.snapshot.ok_or_else(|| {
        let hint = format!(
            "`driftless push PATH --component NAME --channel {}` makes the first",
            channel.name
        );
        Advice::new(format!("channel `{}` has no snapshot yet", channel.name), hint).into()
    })
}

/// A component's bundle in `components`.
pub(crate) fn bundle_of(components: &Components, component: &ComponentName, place: &str) -> Result<ObjectHash> {
    components.get(component).copied().ok_or_else(|| {
        let hint = match closest(component.as_str(), components.keys().map(ComponentName::as_str)) {
            Some(near) => format!("is it `{near}`?"),
            None => format!("`driftless show {place}` lists its components"),
        };
        Advice::new(format!("`{place}` has no component `{component}`"), hint).into()
    })
}

/// The object of `component` that a name means.
pub(crate) fn object_of<'a>(
    reference: &Reference,
    ids: &'a [ManifestId],
    component: &ComponentName,
) -> Result<&'a ManifestId> {
    reference.find(ids).map_err(|error| {
        let hint = match &error {
            reference::Error::Ambiguous { .. } => "name it with its group or namespace".to_owned(),
            _ => format!("`driftless show REF:{component}` lists the component's objects"),
        };
        Advice::new(error.to_string(), hint).into()
    })
}

/// A cluster by its name.
pub(crate) async fn cluster(client: &Client, name: &ClusterName) -> Result<Cluster> {
    let error = match client.cluster(name).await {
        Ok(cluster) => return Ok(cluster),
        Err(error) if error.is_not_found() => error,
        Err(error) => return Err(error.into()),
    };
    let clusters = client.clusters(None).await?;
    let hint = match closest(name.as_str(), clusters.iter().map(|cluster| cluster.name.as_str())) {
        Some(near) => format!("is it `{near}`?"),
        None => "`driftless clusters` lists them".to_owned(),
    };
    Err(Advice::new(error.to_string(), hint).into())
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

/// What an agent tells, with the commands in it as they are to be typed: agents do not say there which cluster they are of.
pub(crate) fn commands_for(cluster: &ClusterName, message: &str) -> String {
    message.replace("<cluster>", cluster.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_read_as_gits() {
        let read = |text| {
            let Revision { base, at, back } = Revision::parse(text).unwrap();
            (base, at, back)
        };
        let hours = |hours| Some(Moment::Ago(jiff::SignedDuration::from_hours(hours)));
        assert_eq!(read("prod"), ("prod", None, 0));
        assert_eq!(read("prod~2"), ("prod", None, 2));
        assert_eq!(read("prod~"), ("prod", None, 1));
        assert_eq!(read("prod^^~3"), ("prod", None, 5));
        assert_eq!(read("1a2b~10"), ("1a2b", None, 10));
        assert_eq!(read("prod@{2h}"), ("prod", hours(2), 0));
        assert_eq!(read("prod@{2h ago}~1"), ("prod", hours(2), 1));
        for bad in [
            "",
            "~1",
            "prod@",
            "prod@2h",
            "prod@{2h",
            "prod@{soon}",
            "prod~x",
            "prod~1x",
            "prod~99999999999",
            "prod^2",
        ] {
            assert!(Revision::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn colon_of_a_time_splits_nothing() {
        assert_eq!(split("prod"), ("prod", None));
        assert_eq!(split("prod:shop/svc/web"), ("prod", Some("shop/svc/web")));
        assert_eq!(
            split("prod@{2026-11-01 08:30}~1:shop"),
            ("prod@{2026-11-01 08:30}~1", Some("shop"))
        );
        assert_eq!(split("prod@{2026-11-01 08:30}"), ("prod@{2026-11-01 08:30}", None));
    }

    #[test]
    fn prefixes_are_lower_case_hexadecimal() {
        assert!(is_prefix("beef") && is_prefix("0123456789ab"));
        for no in ["bee", "BEEF", "xyzz", "be ef", &"a".repeat(65)] {
            assert!(!is_prefix(no), "{no}");
        }
    }
}
