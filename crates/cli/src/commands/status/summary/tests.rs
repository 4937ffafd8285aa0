use driftless_client::types::Progress;
use driftless_model::{
    snapshot::Components,
    status::{ClusterStatus, ComponentStatus, Repairs},
};

use super::*;

fn hash(byte: u8) -> ObjectHash {
    ObjectHash::from([byte; 32])
}

fn channel() -> Channel {
    Channel {
        name: "prod".parse().unwrap(),
        sequence: 7,
        changed: Timestamp::UNIX_EPOCH,
        snapshot: Some(hash(0x1a)),
        components: Components::unit("shop".parse().unwrap(), hash(1)),
        clusters: 3,
        progress: Progress::default(),
    }
}

fn problem(reason: &str, second: i64, blocks: bool) -> Problem {
    Problem {
        object: None,
        reason: reason.to_owned(),
        message: "it says\nno".to_owned(),
        since: Timestamp::from_second(second).unwrap(),
        blocks,
    }
}

fn cluster(name: &str, bundle: u8, problems: Vec<Problem>) -> Cluster {
    let component = ComponentStatus {
        bundle: Some(hash(bundle)),
        desired: 2,
        applied: 2,
        health: if problems.is_empty() {
            Health::Current
        } else {
            Health::Failed
        },
        problems,
        ..ComponentStatus::default()
    };
    let status = ClusterStatus {
        snapshot: Some(hash(0x1a)),
        components: [("shop".parse().unwrap(), component)].into(),
        ..ClusterStatus::default()
    };
    Cluster {
        name: name.parse().unwrap(),
        channel: "prod".parse().unwrap(),
        labels: [].into(),
        vars: [].into(),
        orders: Default::default(),
        changed: None,
        enrolled: Timestamp::UNIX_EPOCH,
        joined: true,
        connected: true,
        last_seen: None,
        converged: bundle == 1 && status.is_converged(&hash(0x1a)),
        status: Some(status),
    }
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn text_has_numbers_components_and_problems() {
    let clusters = [
        cluster(
            "b",
            1,
            vec![problem("NotHealthy", 5, false), problem("ApplyFailed", 30, true)],
        ),
        cluster("a", 1, vec![]),
        cluster("c", 2, vec![]),
    ];
    let text = plain(&Summary::of(channel(), &clusters).text(Timestamp::from_second(60).unwrap()));
    let expected = "prod  snapshot 1a1a1a1a1a1a  changed 60s ago\n\
        ██████████░░░░░░░░░░░░░░░░░░░░ 1/3 converged  3 joined, 3 connected\n\n\
        COMPONENT  BUNDLE        CONVERGED  HEALTH\n\
        shop       010101010101  1/3        Current 2, Failed 1\n\n\
        CLUSTER  SINCE  PROBLEM\n\
        b        30s    ApplyFailed: it says no (and 1 more)\n\n\
        more of the first: `driftless explain b`\n";
    assert_eq!(text, expected);
}

#[test]
fn offline_cluster_is_listed_before_its_old_problems() {
    let mut gone = cluster("a", 1, vec![problem("NotHealthy", 5, false)]);
    gone.connected = false;
    let summary = Summary::of(channel(), &[gone]);
    assert_eq!(
        (summary.unhealthy[0].reason.as_str(), summary.unhealthy[0].more),
        ("Offline", 1)
    );
}

#[test]
fn line_is_all_that_matters() {
    let summary = Summary::of(
        channel(),
        &[
            cluster("a", 1, vec![]),
            cluster("b", 1, vec![problem("ApplyFailed", 5, true)]),
        ],
    );
    assert_eq!(
        plain(&summary.line()),
        "prod 1a1a1a1a1a1a 1/2 converged, 2 connected, 1 with problems (b: ApplyFailed: it says no)"
    );
}

#[test]
fn channel_without_clusters_says_so() {
    let text = plain(&Summary::of(channel(), &[]).text(Timestamp::UNIX_EPOCH));
    assert!(text.contains("no cluster follows it yet"), "{text}");
}

#[test]
fn bar_is_full_only_at_the_end() {
    let full = |part| plain(&bar(part, 1000)).matches('█').count();
    assert_eq!([full(0), full(999), full(1000)], [0, BAR - 1, BAR]);
}

#[test]
fn problem_that_many_clusters_share_is_one_line() {
    let failing = |name: &str, second| cluster(name, 1, vec![problem("ApplyFailed", second, true)]);
    let clusters = [
        cluster("a", 1, vec![problem("NotHealthy", 50, false)]),
        failing("b", 40),
        failing("c", 30),
        failing("d", 35),
    ];
    let text = plain(&Summary::of(channel(), &clusters).text(Timestamp::from_second(60).unwrap()));
    let expected = "CLUSTER       SINCE  PROBLEM\n\
        b and 2 more  30s    ApplyFailed: it says no\n\
        a             10s    NotHealthy: it says no\n\n\
        more of the first: `driftless explain b`\n";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn what_is_away_or_held_is_counted_under_the_bar() {
    let mut gone = cluster("a", 1, vec![]);
    gone.connected = false;
    let mut held = problem("Held", 5, true);
    held.object = Some(ManifestId {
        group: "apps".to_owned(),
        kind: "Deployment".to_owned(),
        namespace: Some("shop".to_owned()),
        name: "web".to_owned(),
    });
    let summary = Summary::of(channel(), &[gone, cluster("b", 1, vec![held])]);
    let text = plain(&summary.text(Timestamp::from_second(60).unwrap()));
    assert!(
        text.contains("\n1 disconnected, 1 cluster holds objects that cannot be worked out\n"),
        "{text}"
    );
    assert_eq!(summary.clusters.holding, 1);
    let first = plain(&summary.first_problem().unwrap());
    assert!(
        first.starts_with("a: Offline: ") || first.starts_with("b: Held "),
        "{first}"
    );
}

#[test]
fn settled_is_converged_and_healthy() {
    let summary = |clusters: &[Cluster]| Summary::of(channel(), clusters);
    assert!(summary(&[cluster("a", 1, vec![])]).is_settled());
    assert!(!summary(&[cluster("a", 2, vec![])]).is_settled(), "it is behind");
    assert!(
        !summary(&[cluster("a", 1, vec![problem("Unhealthy", 5, false)])]).is_settled(),
        "it is ill"
    );
    assert!(summary(&[]).is_settled());
}

#[test]
fn repairs_of_a_component_are_summed_up_over_its_clusters() {
    let repaired = |name: &str, count, second| {
        let mut cluster = cluster(name, 1, vec![]);
        let object = ManifestId {
            group: String::new(),
            kind: "ConfigMap".to_owned(),
            namespace: None,
            name: "a".to_owned(),
        };
        let last = Timestamp::from_second(second).unwrap();
        for component in cluster
            .status
            .iter_mut()
            .flat_map(|status| status.components.values_mut())
        {
            component.repairs = Some(Box::new(Repairs {
                count,
                last,
                object: object.clone(),
                manager: None,
            }));
        }
        cluster
    };
    let now = Timestamp::from_second(60).unwrap();
    let told = |clusters: &[Cluster]| Summary::of(channel(), clusters).components[0].repairs(now);
    assert_eq!(told(&[cluster("a", 1, vec![])]), "-");
    let clusters = [cluster("a", 1, vec![]), repaired("b", 2, 30), repaired("c", 3, 20)];
    assert_eq!(told(&clusters), "5, the last 30s ago");
}
