//! Changing and retiring clusters.

use serde_json::json;

use super::*;
use crate::cluster::{LabelEdit, Problem, VarEdit};

pub(super) fn labelled(labels: &str) -> Change {
    let pairs = labels.split(',').filter_map(|pair| pair.split_once('='));
    Change {
        labels: LabelEdit {
            set: pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            overwrite: true,
            ..LabelEdit::default()
        },
        ..Change::default()
    }
}

pub(super) fn moved(channel: &str) -> Change {
    Change {
        channel: Some(channel.parse().unwrap()),
        ..Change::default()
    }
}

fn with_var(path: &str, value: serde_json::Value) -> Change {
    Change {
        vars: VarEdit {
            set: [(path.parse().unwrap(), value)].into(),
            ..VarEdit::default()
        },
        ..Change::default()
    }
}

pub(super) fn change(changes: &[(&str, Change)]) -> Intent {
    Intent::ChangeClusters {
        changes: changes
            .iter()
            .map(|(name, change)| (name.parse().unwrap(), change.clone()))
            .collect(),
        author: "ann".to_owned(),
    }
}

pub(super) fn retire(clusters: &[&str]) -> Intent {
    Intent::RetireClusters {
        clusters: clusters.iter().map(|name| name.parse().unwrap()).collect(),
        author: "ann".to_owned(),
    }
}

/// Channels `prod` and `dev`, and cluster `edge-1`, which joined.
fn log() -> Log {
    let mut log = Log::with_channel();
    log.take(&create("dev")).unwrap();
    log.take(&enroll("edge-1", "token", false)).unwrap();
    log.take(&join("token", "key")).unwrap();
    log
}

fn edge(log: &Log) -> &Cluster {
    &log.fleet.clusters[&"edge-1".parse().unwrap()]
}

#[test]
fn different_labels_set_at_once_both_stay() {
    let mut log = log();
    log.take(&change(&[("edge-1", labelled("region=eu"))])).unwrap();
    log.take(&change(&[("edge-1", labelled("tier=edge"))])).unwrap();
    let expected = [
        ("region".to_owned(), "eu".to_owned()),
        ("tier".to_owned(), "edge".to_owned()),
    ];
    assert_eq!(edge(&log).labels, expected.into());
    let changed = edge(&log).changed.clone().unwrap();
    assert_eq!((changed.seq, changed.author.as_str()), (6, "ann"));
    assert_eq!(changed.time, log.entries[5].time);
    assert_eq!(edge(&log).revision(), 6);
}

#[test]
fn change_to_what_is_already_so_changes_nothing() {
    let mut log = log();
    assert!(
        log.take(&change(&[("edge-1", labelled("region=eu"))]))
            .unwrap()
            .is_some()
    );
    assert_eq!(log.take(&change(&[("edge-1", labelled("region=eu"))])), Ok(None));
    assert_eq!(log.take(&change(&[("edge-1", moved("prod"))])), Ok(None));
    assert!(
        log.take(&change(&[("edge-1", with_var("n", json!(1)))]))
            .unwrap()
            .is_some()
    );
    assert_eq!(log.take(&change(&[("edge-1", with_var("n", json!(1.0)))])), Ok(None));
    assert_eq!(log.take(&change(&[])), Ok(None));
}

#[test]
fn bulk_change_happens_at_once_or_not_at_all() {
    let mut log = log();
    for number in 0..50 {
        log.take(&enroll(&format!("c{number}"), &format!("t{number}"), false))
            .unwrap();
    }
    let names: Vec<_> = (0..50).map(|number| format!("c{number}")).collect();
    let mut all: Vec<_> = names.iter().map(|name| (name.as_str(), labelled("wave=1"))).collect();
    let entries = log.entries.len();
    all[7].1 = labelled("driftless.dev/cluster=me,a b=c");
    all[8].1 = labelled("a=b c");
    let refusal = log.take(&change(&all)).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "cluster `c7`: label key `a b` is not valid: use `name` or `dns.prefix/name`, the name with 1 to 63 letters, \
         digits, `-`, `_` or `.`; cluster `c7`: label `driftless.dev/cluster` is Driftless' own: choose a key without \
         the prefix `driftless.dev/`; cluster `c8`: label value `b c` is not valid: use up to 63 letters, digits, `-`, \
         `_` or `.`, and start and end with a letter or digit"
    );
    assert!(refusal.is_bad_input());
    assert_eq!(log.entries.len(), entries);
    all[7].1 = labelled("wave=1");
    all[8].1 = labelled("wave=1");
    log.take(&change(&all)).unwrap();
    assert_eq!(log.entries.len(), entries + 1);
    assert!(
        names
            .iter()
            .all(|name| log.fleet.clusters[&name.parse().unwrap()].labels["wave"] == "1")
    );
}

#[test]
fn unknown_clusters_and_channels_are_named() {
    let mut log = log();
    let refusal = log.take(&change(&[("nope", moved("dev"))])).unwrap_err();
    assert_eq!(refusal, Refusal::UnknownCluster("nope".parse().unwrap()));
    let refusal = log
        .take(&change(&[
            ("edge-1", moved("dev")),
            ("nope", moved("dev")),
            ("nor", moved("dev")),
        ]))
        .unwrap_err();
    assert!(refusal.is_not_found());
    assert_eq!(
        refusal.to_string(),
        "there are no clusters `nope`, `nor`: `driftless clusters` lists them, `driftless cluster enroll` adds one"
    );
    let refusal = log.take(&change(&[("edge-1", moved("stage"))])).unwrap_err();
    assert!(matches!(refusal, Refusal::UnknownChannel { .. }), "{refusal}");
    assert_eq!(
        log.take(&retire(&["nope"])),
        Err(Refusal::UnknownCluster("nope".parse().unwrap()))
    );
}

#[test]
fn cluster_keeps_its_membership_when_it_moves() {
    let mut log = log();
    let before = edge(&log).membership.clone();
    log.take(&change(&[("edge-1", moved("dev"))])).unwrap();
    assert_eq!(edge(&log).channel.as_str(), "dev");
    assert_eq!(edge(&log).membership, before);
    let sequence = |channel: &str| log.fleet.channels[&channel.parse().unwrap()].sequence;
    assert_eq!(
        (sequence("prod"), sequence("dev")),
        (1, 2),
        "no channel changes when a cluster moves"
    );
}

#[test]
fn retired_cluster_is_gone_and_its_token_void() {
    let mut log = log();
    log.take(&enroll("edge-2", "unused", false)).unwrap();
    log.take(&retire(&["edge-1", "edge-2"])).unwrap();
    assert!(log.fleet.clusters.is_empty());
    assert_eq!(log.take(&join("unused", "other")), Err(Refusal::UnknownToken));
    assert_eq!(log.fleet.retired[&"edge-1".parse().unwrap()].author, "ann");
    assert_eq!(
        log.take(&retire(&["edge-1"])),
        Err(Refusal::UnknownCluster("edge-1".parse().unwrap()))
    );
    log.take(&enroll("edge-1", "new", false)).unwrap();
    assert_eq!(
        log.fleet.retired.keys().map(ClusterName::as_str).collect::<Vec<_>>(),
        ["edge-2"]
    );
    let later = at(RETIRED_REMEMBERED.as_secs() + 100);
    log.take_at(&retire(&["edge-1"]), later).unwrap();
    assert_eq!(
        log.fleet.retired.keys().map(ClusterName::as_str).collect::<Vec<_>>(),
        ["edge-1"]
    );
}

#[test]
fn enrolment_is_checked_as_a_change_is() {
    let mut log = Log::with_channel();
    let Intent::EnrollCluster {
        cluster,
        channel,
        join,
        author,
        ..
    } = enroll("edge-1", "token", false)
    else {
        unreachable!("it enrols")
    };
    let intent = Intent::EnrollCluster {
        labels: [("driftless.dev/x".to_owned(), "y".to_owned())].into(),
        vars: [("a.b".to_owned(), json!(1))].into(),
        again: false,
        cluster: cluster.clone(),
        channel,
        join,
        author,
    };
    let Err(Refusal::Clusters(problems)) = log.take(&intent) else {
        panic!("it is refused")
    };
    assert_eq!(problems[0], (cluster, Problem::Reserved("driftless.dev/x".to_owned())));
    assert!(
        problems[1]
            .1
            .to_string()
            .starts_with("variable name `a.b` is not valid"),
        "{}",
        problems[1].1
    );
}

#[test]
fn change_of_more_than_an_entry_holds_is_refused() {
    let mut log = Log::with_channel();
    let names: Vec<_> = (0..140).map(|number| format!("c{number}")).collect();
    for name in &names {
        log.take(&enroll(name, name, false)).unwrap();
    }
    let large = with_var("text", json!("x".repeat(60_000)));
    let all: Vec<_> = names.iter().map(|name| (name.as_str(), large.clone())).collect();
    let refusal = log.take(&change(&all)).unwrap_err();
    assert!(refusal.to_string().ends_with("change them in parts"), "{refusal}");
    log.take(&change(&all[..100])).unwrap();
}

#[test]
fn stored_events_are_pinned_and_older_ones_read() {
    let mut change = labelled("region=eu");
    change.channel = Some("dev".parse().unwrap());
    change.vars = with_var("db.port", json!(5432)).vars;
    let mut log = log();
    let event = log
        .take(&super::clusters::change(&[("edge-1", change)]))
        .unwrap()
        .unwrap();
    assert_eq!(
        serde_json::to_string(&event).unwrap(),
        concat!(
            r#"{"type":"ClustersChanged","clusters":{"edge-1":{"channel":"dev","labels":{"region":"eu"},"#,
            r#""vars":{"db":{"port":5432}}}},"author":"ann"}"#
        )
    );
    let event = log.take(&retire(&["edge-1"])).unwrap().unwrap();
    assert_eq!(
        serde_json::to_string(&event).unwrap(),
        r#"{"type":"ClustersRetired","clusters":["edge-1"],"author":"ann"}"#
    );
    let enrolled = concat!(
        r#"{"type":"ClusterEnrolled","cluster":"edge-1","channel":"prod","labels":{"region":"eu"},"#,
        r#""join":{"hash":"0000000000000000000000000000000000000000000000000000000000000000","#,
        r#""expires":"2026-01-02T03:04:05Z"},"author":"ann"}"#
    );
    let event: Event = serde_json::from_str(enrolled).unwrap();
    assert!(matches!(&event, Event::ClusterEnrolled { vars, .. } if vars.is_empty()));
    assert_eq!(serde_json::to_string(&event).unwrap(), enrolled);
}

#[test]
fn fleet_state_from_before_there_were_variables_reads_and_writes_the_same() {
    let stored = concat!(
        r#"{"channels":{},"clusters":{"edge-1":{"channel":"prod","labels":{},"enrolled":"2026-01-02T03:04:05Z","#,
        r#""membership":{"state":"invited","join":{"#,
        r#""hash":"0000000000000000000000000000000000000000000000000000000000000000","#,
        r#""expires":"2026-01-03T03:04:05Z"}}}}}"#
    );
    let fleet: Fleet = serde_json::from_str(stored).unwrap();
    assert_eq!(serde_json::to_string(&fleet).unwrap(), stored);
}

#[test]
fn event_that_does_not_fit_is_refused() {
    let log = log();
    let told = |event: &Event| log.fleet.clone().apply_event(event, 9, at(9)).unwrap_err().to_string();
    let mut other = Log::with_channel();
    other.take(&create("stage")).unwrap();
    other.take(&enroll("edge-1", "t", false)).unwrap();
    other.take(&enroll("edge-2", "u", false)).unwrap();
    let event = other.take(&change(&[("edge-1", moved("stage"))])).unwrap().unwrap();
    assert_eq!(
        told(&event),
        "journal entry 9 is not valid: it moves a cluster to no channel"
    );
    let event = other.take(&change(&[("edge-2", labelled("a=b"))])).unwrap().unwrap();
    assert_eq!(
        told(&event),
        "journal entry 9 is not valid: it changes an unknown cluster"
    );
    let event = other.take(&retire(&["edge-2"])).unwrap().unwrap();
    assert_eq!(
        told(&event),
        "journal entry 9 is not valid: it retires an unknown cluster"
    );
}
