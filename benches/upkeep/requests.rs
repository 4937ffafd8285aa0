//! What the agent asked of the API server, from the audit log.

use std::collections::BTreeMap;

use anyhow::Result;
use driftless_benches::cluster::stage::AGENT;
use driftless_tests::{ControlPlane, audit::Mark};

/// Requests by verb and resource.
pub(crate) type Counts = BTreeMap<String, usize>;

/// What the agent asked since `mark`, its watches and its Lease aside.
pub(crate) async fn since(plane: &ControlPlane, mark: Mark) -> Result<Counts> {
    let mut counts = Counts::new();
    for event in plane.audit_since(mark).await? {
        let counted = event.stage == "ResponseComplete"
            && event.user.username == AGENT
            && event.verb != "watch"
            && !event.is_about("leases");
        if counted {
            let resource = event.object_ref.as_ref().map_or("", |object| object.resource.as_str());
            *counts.entry(format!("{} {resource}", event.verb)).or_default() += 1;
        }
    }
    Ok(counts)
}
