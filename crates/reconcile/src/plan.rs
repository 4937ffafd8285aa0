//! What to do with one object now: a pure function of what is desired, what was applied and what is live.
//!
//! The engine calls [`decide`] whenever one of them changes and carries out the answer. What has to come first
//! (a namespace, a CRD, the ApplySet's parent) arrives as data, so that waves, hooks and `depends-on` are further
//! gates and not further branches.

use driftless_model::bundle::upkeep::Drift;

use crate::digest::Digest;

/// What was applied last, as far as known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Applied {
    /// The manifest, see [`crate::applyset::manifest_digest`].
    pub(crate) manifest: Digest,
    /// What the API server made of it, see [`crate::owned`]; `None` until seen in the version that is watched.
    pub(crate) owned: Option<Digest>,
}

/// What is known of the live object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Live {
    /// Its kind was not listed yet.
    Unknown,
    /// It does not exist, or does not carry our labels.
    Absent,
    /// It waits for its finalizers.
    Deleting,
    /// It is there.
    Present {
        /// What of it is ours.
        owned: Option<Digest>,
        /// Is it in an ApplySet of ours, and without a wish to be kept?
        prunable: bool,
    },
}

/// What is known of one object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts<G> {
    /// The manifest it should be, if it should be.
    pub(crate) desired: Option<Digest>,
    /// What was applied last.
    pub(crate) applied: Option<Applied>,
    /// What is there.
    pub(crate) live: Live,
    /// What has to come first, if something is still missing.
    pub(crate) gate: Option<G>,
    /// What has to come first before something new is made of it; a repair does not wait for that.
    pub(crate) order: Option<G>,
    /// Did its component's other objects get where they should be, so that what left may go?
    pub(crate) may_prune: bool,
    /// What becomes of drift.
    pub(crate) drift: Drift,
    /// Is it to be left as it is, or left away?
    pub(crate) leave: bool,
}

/// Why an object is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The desired state is new, or was never applied.
    Changed,
    /// The live object is no longer what was applied: every field in it was ours, so it is taken back.
    Drifted,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step<G> {
    /// Nothing: it is as desired.
    Rest,
    /// Nothing yet: an event will come (a list, a deletion, the end of others' applies).
    Expect,
    /// Look again when this came to pass.
    Await(G),
    /// Apply it.
    Apply(Cause),
    /// Nothing but telling so: it is not what was applied, and is to stay as it is.
    Leave,
    /// Delete it.
    Prune,
}

/// Decides on one object.
pub(crate) fn decide<G>(facts: Facts<G>) -> Step<G> {
    let Some(desired) = facts.desired else {
        return match facts.live {
            Live::Present { prunable: true, .. } if facts.may_prune => Step::Prune,
            Live::Present { prunable: true, .. } | Live::Unknown | Live::Deleting => Step::Expect,
            Live::Present { prunable: false, .. } | Live::Absent => Step::Rest,
        };
    };
    if facts.leave {
        return Step::Rest;
    }
    let cause = match (facts.applied, facts.live) {
        // What is being deleted takes no part in anything; it is made anew when it is gone.
        (_, Live::Deleting) => return Step::Expect,
        (Some(applied), live) if applied.manifest == desired => match (live, applied.owned) {
            (Live::Unknown, _) => return Step::Expect,
            (Live::Present { .. }, None) => return Step::Rest,
            (Live::Present { owned, .. }, Some(_)) if owned == applied.owned => return Step::Rest,
            (Live::Present { .. } | Live::Absent | Live::Deleting, _) => Cause::Drifted,
        },
        _ => Cause::Changed,
    };
    match (cause, facts.drift) {
        (Cause::Drifted, Drift::Ignore) => Step::Rest,
        (Cause::Drifted, Drift::Report) => Step::Leave,
        (Cause::Changed, _) => facts.gate.or(facts.order).map_or(Step::Apply(cause), Step::Await),
        (Cause::Drifted, Drift::Repair) => facts.gate.map_or(Step::Apply(cause), Step::Await),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::from([byte; 16])
    }

    fn present(owned: u8, prunable: bool) -> Live {
        Live::Present {
            owned: Some(digest(owned)),
            prunable,
        }
    }

    fn decided(desired: Option<u8>, applied: Option<(u8, Option<u8>)>, live: Live) -> Step<&'static str> {
        let applied = applied.map(|(manifest, owned)| Applied {
            manifest: digest(manifest),
            owned: owned.map(digest),
        });
        decide(Facts {
            desired: desired.map(digest),
            applied,
            live,
            gate: None,
            order: None,
            may_prune: true,
            drift: Drift::Repair,
            leave: false,
        })
    }

    #[test]
    fn object_is_applied_when_it_is_new_changed_or_drifted_and_else_never() {
        let table = [
            (Some(1), None, Live::Unknown, Step::Apply(Cause::Changed)),
            (Some(1), None, Live::Absent, Step::Apply(Cause::Changed)),
            (Some(1), None, present(9, true), Step::Apply(Cause::Changed)),
            (
                Some(2),
                Some((1, Some(9))),
                present(9, true),
                Step::Apply(Cause::Changed),
            ),
            (Some(2), Some((1, Some(9))), Live::Unknown, Step::Apply(Cause::Changed)),
            (Some(1), Some((1, Some(9))), Live::Unknown, Step::Expect),
            (Some(1), Some((1, Some(9))), present(9, true), Step::Rest),
            (
                Some(1),
                Some((1, Some(9))),
                present(8, true),
                Step::Apply(Cause::Drifted),
            ),
            (
                Some(1),
                Some((1, Some(9))),
                Live::Present {
                    owned: None,
                    prunable: false,
                },
                Step::Apply(Cause::Drifted),
            ),
            (Some(1), Some((1, Some(9))), Live::Absent, Step::Apply(Cause::Drifted)),
            (Some(1), Some((1, None)), present(8, true), Step::Rest),
            (Some(1), Some((1, None)), Live::Absent, Step::Apply(Cause::Drifted)),
            (Some(1), Some((1, Some(9))), Live::Deleting, Step::Expect),
            (Some(1), None, Live::Deleting, Step::Expect),
            (None, Some((1, Some(9))), present(9, true), Step::Prune),
            (None, None, present(9, true), Step::Prune),
            (None, None, present(9, false), Step::Rest),
            (None, None, Live::Absent, Step::Rest),
            (None, None, Live::Deleting, Step::Expect),
            (None, None, Live::Unknown, Step::Expect),
        ];
        for (desired, applied, live, step) in table {
            assert_eq!(
                decided(desired, applied, live),
                step,
                "{desired:?} {applied:?} {live:?}"
            );
        }
    }

    fn any_facts() -> impl Strategy<Value = Facts<u8>> {
        let live = prop_oneof![
            Just(Live::Unknown),
            Just(Live::Absent),
            Just(Live::Deleting),
            (prop::option::of(0..3u8), any::<bool>()).prop_map(|(owned, prunable)| Live::Present {
                owned: owned.map(digest),
                prunable
            }),
        ];
        let applied = prop::option::of((0..3u8, prop::option::of(0..3u8)));
        (
            prop::option::of(0..3u8),
            applied,
            live,
            prop::option::of(0..3u8),
            any::<bool>(),
            prop_oneof![Just(Drift::Repair), Just(Drift::Report), Just(Drift::Ignore)],
        )
            .prop_map(|(desired, applied, live, gate, may_prune, drift)| Facts {
                desired: desired.map(digest),
                applied: applied.map(|(m, o)| Applied {
                    manifest: digest(m),
                    owned: o.map(digest),
                }),
                live,
                gate,
                order: None,
                may_prune,
                drift,
                leave: false,
            })
    }

    proptest! {
        #[test]
        fn what_is_desired_is_never_pruned_and_what_is_not_is_never_applied(facts in any_facts()) {
            match decide(facts) {
                Step::Prune => prop_assert!(facts.desired.is_none() && facts.may_prune),
                Step::Apply(_) => prop_assert!(facts.desired.is_some() && facts.gate.is_none()),
                Step::Await(gate) => prop_assert_eq!(Some(gate), facts.gate),
                Step::Leave => prop_assert!(facts.drift == Drift::Report && facts.applied.is_some()),
                Step::Rest | Step::Expect => {}
            }
        }

        #[test]
        fn what_is_done_about_drift_changes_nothing_else(facts in any_facts(), drift in prop_oneof![Just(Drift::Report), Just(Drift::Ignore)]) {
            let repairing = decide(Facts { drift: Drift::Repair, gate: None::<u8>, ..facts });
            let other = decide(Facts { drift, gate: None::<u8>, ..facts });
            match (repairing, drift) {
                (Step::Apply(Cause::Drifted), Drift::Report) => prop_assert_eq!(other, Step::Leave),
                (Step::Apply(Cause::Drifted), _) => prop_assert_eq!(other, Step::Rest),
                _ => prop_assert_eq!(other, repairing),
            }
        }

        #[test]
        fn a_closed_gate_holds_back_applies_and_nothing_else(facts in any_facts()) {
            let open = decide(Facts { gate: None::<u8>, ..facts });
            match facts.gate {
                Some(gate) if matches!(open, Step::Apply(_)) => prop_assert_eq!(decide(facts), Step::Await(gate)),
                _ => prop_assert_eq!(decide(facts), open),
            }
        }

        #[test]
        fn order_holds_back_what_is_new_and_never_a_repair(facts in any_facts()) {
            let free = decide(facts);
            let held = decide(Facts { order: Some(9), ..facts });
            let expected = if free == Step::Apply(Cause::Changed) { Step::Await(9) } else { free };
            prop_assert_eq!(held, expected);
        }

        #[test]
        fn applying_what_was_asked_for_leads_to_rest(facts in any_facts(), owned in 0..3u8) {
            if let (Step::Apply(_), Some(desired)) = (decide(facts), facts.desired) {
                let owned = Some(digest(owned));
                let after = Facts {
                    applied: Some(Applied { manifest: desired, owned }),
                    live: Live::Present { owned, prunable: true },
                    ..facts
                };
                prop_assert_eq!(decide(after), Step::Rest);
            }
        }
    }
}
