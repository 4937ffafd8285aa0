//! Tables for the election's state.

use std::sync::Arc;

use driftless_sim::{Cluster, Failure, Matching, Options};
use rand::{SeedableRng as _, rngs::SmallRng};

use super::*;
use crate::{backoff::Backoff, settings::Clock};

const S: fn(u64) -> Duration = Duration::from_secs;

fn state() -> State {
    State::new("me".to_owned(), Timings::default())
}

fn record(holder: &str, version: &str) -> Record {
    Record {
        holder: holder.to_owned(),
        duration: S(15),
        acquired: None,
        renewed: None,
        transitions: 3,
        version: version.to_owned(),
    }
}

#[test]
fn missing_lease_is_created() {
    let mut state = state();
    state.observe(None, S(100));
    assert_eq!(
        state.step(S(100)),
        Step::Write {
            acquired: true,
            transitions: 0,
            over: None
        }
    );
}

#[test]
fn standby_takes_over_only_after_expiry() {
    let mut state = state();
    state.observe(Some(record("other", "1")), S(100));
    assert_eq!(state.step(S(100)), Step::Wait { until: S(115) });
    // Read again unchanged: the time runs from the first sight.
    state.observe(Some(record("other", "1")), S(110));
    assert_eq!(state.step(S(114)), Step::Wait { until: S(115) });
    let takeover = Step::Write {
        acquired: true,
        transitions: 4,
        over: Some(record("other", "1")),
    };
    assert_eq!(state.step(S(115)), takeover);
}

#[test]
fn renewal_by_the_holder_starts_the_wait_anew() {
    let mut state = state();
    state.observe(Some(record("other", "1")), S(100));
    state.observe(Some(record("other", "2")), S(114));
    assert_eq!(state.step(S(115)), Step::Wait { until: S(129) });
}

#[test]
fn released_lease_is_taken_at_once() {
    let mut state = state();
    state.observe(Some(record("", "1")), S(100));
    assert_eq!(
        state.step(S(100)),
        Step::Write {
            acquired: true,
            transitions: 4,
            over: Some(record("", "1"))
        }
    );
}

#[test]
fn restarted_holder_goes_on_without_a_transition() {
    let mut state = state();
    state.observe(Some(record("me", "1")), S(100));
    assert!(!state.is_leader());
    assert_eq!(
        state.step(S(100)),
        Step::Write {
            acquired: false,
            transitions: 3,
            over: Some(record("me", "1"))
        }
    );
}

#[test]
fn leader_renews_at_a_third_and_stops_at_two_thirds() {
    let mut state = state();
    state.wrote(record("me", "1"), S(100));
    assert!(state.is_leader());
    assert_eq!(state.step(S(104)), Step::Wait { until: S(105) });
    assert!(matches!(
        state.step(S(105)),
        Step::Write {
            acquired: false,
            transitions: 3,
            ..
        }
    ));
    assert!(matches!(state.step(S(109)), Step::Write { .. }));
    assert_eq!(state.step(S(110)), Step::Stop);
}

#[test]
fn frozen_leader_stops_before_it_writes_again() {
    let mut state = state();
    state.wrote(record("me", "1"), S(100));
    assert_eq!(state.step(S(3600)), Step::Stop);
}

#[test]
fn leader_that_sees_another_holder_leads_no_more() {
    let mut state = state();
    state.wrote(record("me", "1"), S(100));
    state.observe(Some(record("other", "2")), S(101));
    assert!(!state.is_leader());
    assert_eq!(state.step(S(101)), Step::Wait { until: S(116) });
}

#[test]
fn lease_deleted_under_a_leader_is_created_again() {
    let mut state = state();
    state.wrote(record("me", "1"), S(100));
    state.observe(None, S(105));
    assert_eq!(
        state.step(S(105)),
        Step::Write {
            acquired: true,
            transitions: 0,
            over: None
        }
    );
}

#[tokio::test(start_paused = true)]
async fn candidate_whose_write_is_never_answered_asks_again() {
    let cluster = Cluster::new(Options::default());
    cluster
        .faults()
        .fail_next(1, Matching::all().verb("create").resource("leases"), Failure::Silence);
    let clock: Clock = || "2026-01-01T00:00:00Z".parse().expect("a time");
    let (timings, rng) = (Timings::default(), SmallRng::seed_from_u64(1));
    let backoff = Backoff::new(timings.reconnect_first, timings.reconnect_most, rng);
    let mut candidate = Candidate::new(
        cluster.client(),
        "default",
        "me".to_owned(),
        timings,
        clock,
        Arc::new(Permit::new(clock)),
        backoff,
    );
    timeout(S(60), candidate.campaign()).await.expect("it leads in the end");
}
