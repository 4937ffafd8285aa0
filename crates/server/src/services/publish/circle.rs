//! Would components wait for each other after a push? The CLI sees that for the components of one file; only the
//! server knows all of the channel.
//!
//! Reads headers of the bundles that the pushed ones depend on, and of no others.

use std::collections::{BTreeMap, BTreeSet};

use driftless_model::{bundle::lines, hash::ObjectHash, name::ComponentName, order, snapshot::Components};

use super::Core;
use crate::failure::Failure;

/// The components besides the pushed ones on which the answer relied, and their bundles then.
pub(super) type Relied = BTreeMap<ComponentName, Option<ObjectHash>>;

/// Refuses a push after which components would go in a circle. `snapshot` is what the channel would be at, `pushed` what
/// the bundles of the push depend on.
pub(super) async fn check(
    core: &Core,
    snapshot: &Components,
    pushed: BTreeMap<ComponentName, BTreeSet<ComponentName>>,
) -> Result<Relied, Failure> {
    let mut relied = Relied::new();
    let mut open: Vec<ComponentName> = pushed.values().flatten().cloned().collect();
    let mut edges = pushed;
    while let Some(name) = open.pop() {
        if edges.contains_key(&name) {
            continue;
        }
        let needs = match snapshot.get(&name) {
            Some(bundle) => {
                let bytes = core.bucket.object(bundle).await?;
                lines::header(&bytes)
                    .map(|header| header.spec.into_owned().depends_on)
                    .unwrap_or_default()
            }
            None => BTreeSet::new(),
        };
        open.extend(needs.iter().cloned());
        relied.insert(name.clone(), snapshot.get(&name).copied());
        edges.insert(name, needs);
    }
    let edges = edges
        .iter()
        .map(|(name, needs)| (name, needs.iter().collect()))
        .collect();
    let Some(circle) = order::circle(&edges) else {
        return Ok(relied);
    };
    let names: Vec<_> = circle.iter().map(|name| name.as_str()).collect();
    Err(Failure::Argument(format!(
        "`dependsOn` goes in a circle: {}: none of them would ever be applied; take one step out",
        names.join(" → ")
    )))
}
