//! How two snapshots, channels or clusters differ.

use std::collections::BTreeMap;

use anyhow::Result;
use driftless_client::Client;
use driftless_model::{
    bundle::Bundle,
    diff::{self, Change},
    hash::ObjectHash,
    manifest::Manifests,
    name::{ClusterName, ComponentName},
    snapshot::{Components, Snapshot},
    view::{self, ClusterFacts},
};

use crate::{
    output::{
        self, Table, bad,
        changes::{ComponentDiff, ObjectDiff},
        count, good, warn,
    },
    resolve::{self, Document, Named},
};

/// What names a cluster, rather than a snapshot.
const CLUSTER: &str = "cluster/";

/// How much to tell.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Detail {
    /// Only how many objects differ, a line per component
    #[arg(long)]
    stat: bool,
    /// Only which objects differ, a line per object
    #[arg(long, conflicts_with = "stat")]
    name_only: bool,
}

/// How `before` and `after` differ: as they are pushed, or as `cluster` sees them.
pub(super) async fn between(
    client: &Client,
    before: &str,
    after: &str,
    cluster: Option<&ClusterName>,
    component: Option<&ComponentName>,
) -> Result<Vec<ComponentDiff>> {
    let sees = match cluster {
        Some(name) => Some(resolve::cluster(client, name).await?.facts()),
        None => None,
    };
    let (mut before, mut after) = (Side::find(client, before).await?, Side::find(client, after).await?);
    // A cluster on one side sees the other side, too: anything else would compare two kinds of things.
    let sees = sees.or_else(|| before.cluster.clone().or_else(|| after.cluster.clone()));
    for side in [&mut before, &mut after] {
        side.cluster = side.cluster.take().or_else(|| sees.clone());
        if let Some(component) = component {
            let bundle = side.snapshot.components.remove(component);
            side.snapshot.components = bundle.map(|bundle| (component.clone(), bundle)).into_iter().collect();
        }
    }
    if let (Some(component), true, true) = (
        component,
        before.snapshot.components.is_empty(),
        after.snapshot.components.is_empty(),
    ) {
        let hint = "`driftless show REF` lists the components of a snapshot";
        let message = format!("neither side has a component `{component}`");
        return Err(crate::failure::Advice::new(message, hint).into());
    }
    match (&before.cluster, &after.cluster) {
        (Some(one), Some(other)) => views(client, (&before.snapshot, one), (&after.snapshot, other)).await,
        _ => resolve::differences(client, &before.snapshot.components, &after.snapshot.components).await,
    }
}

/// One side of a comparison.
struct Side {
    snapshot: Snapshot,
    /// Who sees it; absent: as it was pushed.
    cluster: Option<ClusterFacts>,
}

impl Side {
    async fn find(client: &Client, text: &str) -> Result<Self> {
        if let Some(name) = text.strip_prefix(CLUSTER) {
            let cluster = resolve::cluster(client, &name.parse()?).await?;
            let channel = client.channel(&cluster.channel).await?;
            let snapshot = client.snapshot(&resolve::newest(&channel)?).await?;
            let cluster = Some(cluster.facts());
            return Ok(Self { snapshot, cluster });
        }
        let snapshot = match resolve::name(client, text).await? {
            // A channel that nobody has pushed to yet compares as one that is empty.
            Named::Channel(channel) if channel.snapshot.is_none() => empty(),
            Named::Channel(channel) => client.snapshot(&resolve::newest(&channel)?).await?,
            Named::Object(hash) => match resolve::document(client, hash).await? {
                Document::Snapshot(snapshot) => snapshot,
                Document::Bundle(_) => resolve::snapshot(client, text).await?.1,
            },
        };
        Ok(Self {
            snapshot,
            cluster: None,
        })
    }
}

fn empty() -> Snapshot {
    Snapshot {
        format: driftless_model::snapshot::FORMAT,
        components: Components::new(),
        parent: None,
        time: jiff::Timestamp::UNIX_EPOCH,
        provenance: Default::default(),
    }
}

type Seen<'a> = (&'a Snapshot, &'a ClusterFacts);

/// How what two clusters should run differs.
async fn views(client: &Client, before: Seen<'_>, after: Seen<'_>) -> Result<Vec<ComponentDiff>> {
    let mut hashes: Vec<_> = [before, after]
        .iter()
        .flat_map(|(snapshot, _)| snapshot.components.values().copied())
        .collect();
    hashes.sort_unstable();
    hashes.dedup();
    let bundles: BTreeMap<_, _> = hashes.iter().copied().zip(client.bundles(&hashes).await?).collect();
    let (old, new) = (view(before, &bundles)?, view(after, &bundles)?);
    let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let mut diffs = Vec::new();
    for name in names {
        let (old, new) = (old.get(name), new.get(name));
        let manifests =
            |side: Option<&(ObjectHash, Manifests)>| side.map(|(_, manifests)| manifests.clone()).unwrap_or_default();
        let objects = diff::manifests(&manifests(old), &manifests(new));
        if !objects.is_empty() {
            let hash = |side: Option<&(ObjectHash, Manifests)>| side.map(|(hash, _)| *hash);
            diffs.push(ComponentDiff::new(name.clone(), hash(old), hash(new), objects));
        }
    }
    Ok(diffs)
}

fn view(
    (snapshot, cluster): Seen<'_>,
    bundles: &BTreeMap<ObjectHash, Bundle>,
) -> Result<BTreeMap<ComponentName, (ObjectHash, Manifests)>> {
    let view = view::view(snapshot, cluster, |hash| bundles.get(hash))?;
    for held in view.components.values().flat_map(|component| &component.held) {
        let warning = output::warn("warning:");
        output::note(&format!(
            "{warning} not compared, as it cannot be worked out on {}: {held}",
            cluster.name
        ));
    }
    let components = view.components.iter();
    Ok(components
        .map(|(name, component)| (name.clone(), (component.bundle, component.manifests.clone())))
        .collect())
}

impl Detail {
    /// The differences in brief; `None` where all is to be told.
    pub(super) fn text(self, diffs: &[ComponentDiff]) -> Option<String> {
        match (self.stat, self.name_only) {
            (true, _) => Some(stat(diffs)),
            (_, true) => Some(names(diffs)),
            _ => None,
        }
    }
}

fn names(diffs: &[ComponentDiff]) -> String {
    let objects = diffs
        .iter()
        .flat_map(|diff| diff.objects.iter().map(move |object| (diff, object)));
    objects
        .map(|(diff, ObjectDiff { object, .. })| format!("{} {object}\n", diff.component))
        .collect()
}

fn stat(diffs: &[ComponentDiff]) -> String {
    if diffs.is_empty() {
        return String::new();
    }
    let mut table = Table::new(["COMPONENT", "OBJECTS", "CHANGES"]);
    for diff in diffs {
        let number = |is: fn(&Change) -> bool| diff.objects.iter().filter(|object| is(&object.change)).count();
        let parts = [
            (
                number(|change| matches!(change, Change::Changed { .. })),
                '~',
                warn as fn(String) -> String,
            ),
            (number(|change| matches!(change, Change::Added)), '+', good),
            (number(|change| matches!(change, Change::Removed)), '-', bad),
        ];
        let parts: Vec<_> = parts
            .into_iter()
            .filter(|(number, ..)| *number > 0)
            .map(|(number, sign, colour)| colour(format!("{sign}{number}")))
            .collect();
        let changes = if parts.is_empty() {
            "how it runs".to_owned()
        } else {
            parts.join(" ")
        };
        table.row([diff.component.to_string(), diff.objects.len().to_string(), changes]);
    }
    let objects: usize = diffs.iter().map(|diff| diff.objects.len()).sum();
    let total = format!(
        "{} and {} differ",
        count(diffs.len(), "component"),
        count(objects, "object")
    );
    format!("{}{}\n", table.render(), output::dim(total))
}

#[cfg(test)]
mod tests {
    use driftless_model::manifest::ManifestId;

    use super::*;

    fn diffs() -> Vec<ComponentDiff> {
        let id = |name: &str| ManifestId {
            group: String::new(),
            kind: "Service".to_owned(),
            namespace: Some("shop".to_owned()),
            name: name.to_owned(),
        };
        let objects = [
            (id("a"), Change::Added),
            (id("b"), Change::Removed),
            (id("c"), Change::Changed { fields: Vec::new() }),
        ];
        vec![
            ComponentDiff::new("shop".parse().unwrap(), None, None, objects.into()),
            ComponentDiff::new("cart".parse().unwrap(), None, None, BTreeMap::new()),
        ]
    }

    #[test]
    fn stat_counts_by_component() {
        let plain = anstream::adapter::strip_str(&stat(&diffs())).to_string();
        assert_eq!(
            plain,
            "COMPONENT  OBJECTS  CHANGES\nshop       3        ~1 +1 -1\ncart       0        how it runs\n2 components and 3 objects differ\n"
        );
        assert_eq!(stat(&[]), "");
    }

    #[test]
    fn names_are_objects_with_their_component() {
        assert_eq!(
            names(&diffs()),
            "shop Service shop/a\nshop Service shop/b\nshop Service shop/c\n"
        );
    }
}
