//! Orders by hand.

use jiff::SignedDuration;

use super::*;
use crate::orders::{CONSENT_HOLDS, Order, Orders};

fn order(clusters: &[&str], order: Order) -> Intent {
    Intent::OrderClusters {
        clusters: clusters.iter().map(|name| name.parse().unwrap()).collect(),
        order,
        author: "ann".to_owned(),
    }
}

fn pause(component: Option<&str>, until: i64) -> Order {
    Order::Pause {
        component: component.map(|name| name.parse().unwrap()),
        until: at(until),
        reason: "a migration".to_owned(),
    }
}

fn resume(component: Option<&str>) -> Order {
    Order::Resume {
        component: component.map(|name| name.parse().unwrap()),
    }
}

pub(super) fn any(cluster: &str, component: Option<&str>, kind: u32) -> Intent {
    let order_of = match kind {
        0..3 => pause(component, i64::from(kind) * 20),
        3..6 => resume(component),
        6 => Order::Reconcile,
        _ => Order::Consent {
            component: component.unwrap_or("a").parse().unwrap(),
            deletions: ObjectHash::of(b"a"),
            until: at(i64::from(kind) * 5),
        },
    };
    order(&[cluster], order_of)
}

/// A channel with component `shop`, and two clusters.
fn log() -> Log {
    let mut log = Log::with_channel();
    log.take(&publish("shop", bundle("1"), None, "ann")).unwrap();
    log.take(&enroll("edge-1", "one", false)).unwrap();
    log.take(&enroll("edge-2", "two", false)).unwrap();
    log
}

fn orders<'a>(log: &'a Log, cluster: &str) -> &'a Orders {
    &log.fleet.clusters[&cluster.parse().unwrap()].orders
}

#[test]
fn one_entry_orders_many_clusters_and_raises_their_revisions() {
    let mut log = log();
    let event = log
        .take(&order(&["edge-1", "edge-2"], pause(None, 100)))
        .unwrap()
        .unwrap();
    assert_eq!(
        serde_json::to_string(&event).unwrap(),
        concat!(
            r#"{"type":"ClustersOrdered","clusters":["edge-1","edge-2"],"order":{"order":"pause","#,
            r#""until":"2027-01-15T08:01:40Z","reason":"a migration"},"author":"ann"}"#
        )
    );
    let shop = "shop".parse().unwrap();
    for cluster in ["edge-1", "edge-2"] {
        assert_eq!(orders(&log, cluster).pause(&shop, at(99)).unwrap().author, "ann");
        assert_eq!(log.fleet.clusters[&cluster.parse().unwrap()].revision(), 5);
    }
    // Only those for which it is news are in the next.
    log.take(&order(&["edge-1"], resume(None))).unwrap();
    let event = log.take(&order(&["edge-1", "edge-2"], resume(None))).unwrap().unwrap();
    assert!(matches!(event, Event::ClustersOrdered { clusters, .. } if clusters.len() == 1));
    assert_eq!(log.take(&order(&["edge-1", "edge-2"], resume(None))), Ok(None));
    assert!(orders(&log, "edge-2").is_empty());
}

#[test]
fn resuming_a_component_leaves_other_pauses_and_resuming_the_cluster_none() {
    let mut log = log();
    log.take(&publish("web", bundle("1"), None, "ann")).unwrap();
    for component in [None, Some("shop"), Some("web")] {
        log.take(&order(&["edge-1"], pause(component, 100))).unwrap();
    }
    log.take(&order(&["edge-1"], resume(Some("shop")))).unwrap();
    let pauses = &orders(&log, "edge-1").pauses;
    assert_eq!((pauses.cluster.is_some(), pauses.components.len()), (true, 1));
    log.take(&order(&["edge-1"], resume(None))).unwrap();
    assert!(orders(&log, "edge-1").pauses.is_empty());
}

#[test]
fn what_has_ended_is_dropped_by_the_next_order() {
    let mut log = log();
    log.take(&order(&["edge-1"], pause(None, 50))).unwrap();
    let consent = Order::Consent {
        component: "shop".parse().unwrap(),
        deletions: ObjectHash::of(b"a"),
        until: at(10) + CONSENT_HOLDS,
    };
    log.take_at(&order(&["edge-1"], consent), at(10)).unwrap();
    assert!(orders(&log, "edge-1").pauses.cluster.is_some());
    log.take_at(&order(&["edge-1"], Order::Reconcile), at(51)).unwrap();
    let left = orders(&log, "edge-1");
    assert_eq!(
        (left.pauses.is_empty(), left.reconcile, left.consents.len()),
        (true, 1, 1)
    );
    log.take_at(&order(&["edge-1"], Order::Reconcile), at(60) + CONSENT_HOLDS)
        .unwrap();
    let left = orders(&log, "edge-1");
    assert_eq!((left.reconcile, left.consents.len()), (2, 0));
}

#[test]
fn pauses_stay_with_a_cluster_that_is_enrolled_anew_and_go_with_one_that_is_retired() {
    let mut log = log();
    log.take(&order(&["edge-1", "edge-2"], pause(None, 100))).unwrap();
    log.take(&enroll("edge-1", "three", true)).unwrap();
    assert!(orders(&log, "edge-1").pauses.cluster.is_some());
    log.take(&clusters::change(&[("edge-1", clusters::labelled("a=b"))]))
        .unwrap();
    assert!(orders(&log, "edge-1").pauses.cluster.is_some());
    log.take(&clusters::retire(&["edge-2"])).unwrap();
    log.take(&enroll("edge-2", "four", false)).unwrap();
    assert!(orders(&log, "edge-2").is_empty());
}

#[test]
fn order_that_makes_no_sense_is_refused_with_what_to_do() {
    let mut log = log();
    let mut told = |intent: &Intent| log.take(intent).unwrap_err();
    let refusal = told(&order(&["edge-1"], pause(Some("shpo"), 100)));
    assert_eq!(
        refusal.to_string(),
        "channel `prod` has no component `shpo` (there are `shop`): write it as there"
    );
    assert!(refusal.is_not_found());
    assert!(told(&order(&["edge-1"], pause(None, 1))).is_bad_input());
    assert!(told(&order(&["edge-1", "nope"], Order::Reconcile)).is_not_found());
    // Of what was removed there may be something left to delete.
    log.take(&publish("shop", None, None, "ann")).unwrap();
    log.take(&order(&["edge-1"], pause(Some("shop"), 100))).unwrap();
}

#[test]
fn longest_pause_is_thirty_days() {
    let mut log = log();
    let until = 4 + SignedDuration::from_hours(30 * 24).as_secs();
    log.take(&order(&["edge-1"], pause(None, until))).unwrap();
    let refusal = log
        .take_at(&order(&["edge-2"], pause(None, until + 2)), at(4))
        .unwrap_err();
    assert!(
        refusal.to_string().contains("longer than the 30 days allowed"),
        "{refusal}"
    );
}
