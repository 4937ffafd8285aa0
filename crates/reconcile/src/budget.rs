//! May what left the desired state go without a person's consent? Pure; asked whenever a component's stale objects
//! change.
//!
//! A component that left the snapshot as a whole is measured like any other: all of it goes, so that only the number
//! counts, and whether there are namespaces or CRDs among it.

use driftless_model::bundle::upkeep::Budget;

/// What of a component is stale, without what a person has consented to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stale {
    /// How many objects.
    pub(crate) objects: usize,
    /// Those of them that are namespaces or CRDs.
    pub(crate) ground: usize,
    /// Those of them that ask for a person's consent.
    pub(crate) asking: usize,
    /// How many objects the component has, stale ones included.
    pub(crate) total: usize,
}

/// What may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Verdict {
    /// Nothing: it is not known yet what there is.
    #[default]
    Unknown,
    /// Everything.
    Free,
    /// What does not ask for consent.
    AskingWait,
    /// Only what a person has consented to.
    AllWait,
}

/// Weighs stale objects against the budget.
pub(crate) fn weigh(stale: Stale, budget: Budget) -> Verdict {
    let Budget { objects, percent } = budget;
    let beyond_objects = stale.objects > objects as usize;
    let beyond_percent = stale.objects * 100 > percent as usize * stale.total;
    if stale.ground > 0 || beyond_objects && beyond_percent {
        Verdict::AllWait
    } else if stale.asking > 0 {
        Verdict::AskingWait
    } else {
        Verdict::Free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_more_than_both_limits_or_ground_needs_consent() {
        for (objects, ground, asking, total, verdict) in [
            (0, 0, 0, 0, Verdict::Free),
            (10, 0, 0, 10, Verdict::Free),
            (11, 0, 0, 11, Verdict::AllWait),
            (11, 0, 0, 55, Verdict::Free),
            (11, 0, 0, 54, Verdict::AllWait),
            (1, 1, 0, 1000, Verdict::AllWait),
            (2, 0, 1, 1000, Verdict::AskingWait),
            (12, 0, 1, 12, Verdict::AllWait),
        ] {
            let stale = Stale {
                objects,
                ground,
                asking,
                total,
            };
            assert_eq!(weigh(stale, Budget::default()), verdict, "{stale:?}");
        }
    }
}
