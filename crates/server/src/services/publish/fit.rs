//! Does a bundle work out on every cluster of its channel? The same pure check that the CLI makes before a push, made
//! again here because not every pusher is the CLI.

use driftless_model::{
    bundle::Bundle,
    effect::{self, Clusters},
    fleet::Fleet,
    name::{ChannelName, ComponentName},
    order,
    render::{self, Plan},
    rule,
};

use crate::failure::Failure;

/// Problems told in one refusal; the CLI shows them all.
const MAX_TOLD: usize = 20;
/// Clusters named for each.
const MAX_NAMED: usize = 5;

/// Checks the bytes of a bundle that is about to be published to `channel`.
pub(super) fn check(
    component: &ComponentName,
    bytes: &[u8],
    fleet: &Fleet,
    channel: &ChannelName,
) -> Result<(), Failure> {
    let has_spec = !bytes
        .split(|byte| *byte == b'\n')
        .next()
        .is_some_and(|header| header.ends_with(br#""format":1}"#));
    // Most bundles are the same everywhere, and need no second look.
    if !has_spec && !render::is_concerned(bytes) && !order::is_concerned(bytes) {
        return Ok(());
    }
    let bundle = Bundle::decode(bytes)
        .map_err(|error| Failure::Argument(format!("the bundle of component `{component}` is refused: {error}")))?;
    let mut problems: Vec<_> = render::check(&bundle).iter().map(ToString::to_string).collect();
    problems.extend(order::check(&bundle).iter().map(ToString::to_string));
    problems.extend(rule::check(&bundle.spec().health).iter().map(ToString::to_string));
    if problems.is_empty() {
        problems = on_clusters(&bundle, fleet, channel);
    }
    if problems.is_empty() {
        return Ok(());
    }
    let more = problems.len().saturating_sub(MAX_TOLD);
    problems.truncate(MAX_TOLD);
    let more = if more > 0 {
        format!("; and {more} more")
    } else {
        String::new()
    };
    Err(Failure::Argument(format!(
        "component `{component}`: {}{more}",
        problems.join("; ")
    )))
}

fn on_clusters(bundle: &Bundle, fleet: &Fleet, channel: &ChannelName) -> Vec<String> {
    let facts: Vec<_> = fleet.facts(channel).collect();
    let mut problems = Vec::new();
    for shortfall in effect::shortfalls(&Plan::new(bundle), &Clusters::new(&facts)) {
        let names = shortfall
            .clusters
            .iter()
            .take(MAX_NAMED)
            .map(|index| facts[*index].name.as_str());
        let mut names = names.collect::<Vec<_>>().join(", ");
        if shortfall.clusters.len() > MAX_NAMED {
            names.push_str(&format!(" and {} more", shortfall.clusters.len() - MAX_NAMED));
        }
        problems.extend(shortfall.held.iter().map(|held| format!("{held} (on {names})")));
    }
    problems
}
