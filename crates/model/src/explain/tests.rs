use std::collections::BTreeMap;

use super::*;
use crate::{
    render::Held,
    view::{Collision, ComponentView, ComponentViews},
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn hash(text: &str) -> ObjectHash {
    ObjectHash::of(text.as_bytes())
}

fn id(name: &str) -> ManifestId {
    ManifestId {
        group: String::new(),
        kind: "ConfigMap".to_owned(),
        namespace: Some("default".to_owned()),
        name: name.to_owned(),
    }
}

fn component() -> ComponentName {
    "shop".parse().unwrap()
}

fn problem(name: Option<&str>, reason: &str, since: i64, blocks: bool) -> Problem {
    Problem {
        object: name.map(id),
        reason: reason.to_owned(),
        message: "told".to_owned(),
        since: at(since),
        blocks,
    }
}

fn view(held: &[&str]) -> View {
    let held = held.iter().map(|name| Held {
        id: id(name),
        reason: "data.x: not defined".to_owned(),
    });
    let shop = ComponentView {
        bundle: hash("new"),
        version: hash("new"),
        spec: Default::default(),
        manifests: Default::default(),
        held: held.collect(),
    };
    View {
        components: ComponentViews::unit(component(), shop.into()),
        collisions: Vec::new(),
    }
}

fn status(snapshot: &str, bundle: &str, change: impl FnOnce(&mut ComponentStatus)) -> ClusterStatus {
    let mut shop = ComponentStatus {
        bundle: Some(hash(bundle)),
        desired: 3,
        applied: 3,
        ..ComponentStatus::default()
    };
    change(&mut shop);
    ClusterStatus {
        snapshot: Some(hash(snapshot)),
        components: [(component(), shop)].into(),
        ..ClusterStatus::default()
    }
}

fn facts<'a>(view: &'a View, status: Option<&'a ClusterStatus>) -> Facts<'a> {
    Facts {
        enrolled: at(1),
        joined: true,
        connected: true,
        last_seen: Some(at(50)),
        status,
        snapshot: Some(hash("s2")),
        changed: at(40),
        view,
    }
}

fn subject(fate: Fate) -> Subject {
    Subject {
        component: component(),
        object: id("a"),
        fate,
        kept: None,
    }
}

fn told(facts: &Facts<'_>, subject: Option<&Subject>) -> Vec<(Reason, Option<i64>)> {
    let causes = causes(facts, subject).into_iter();
    causes
        .map(|cause| (cause.reason, cause.since.map(Timestamp::as_second)))
        .collect()
}

#[test]
fn cluster_that_is_as_it_should_be_has_no_causes() {
    let (view, status) = (view(&[]), status("s2", "new", |_| {}));
    assert_eq!(told(&facts(&view, Some(&status)), None), []);
    assert_eq!(told(&facts(&view, Some(&status)), Some(&subject(Fate::Wanted))), []);
}

#[test]
fn first_cause_comes_first() {
    use Reason::{
        AgentProblem, Behind, Disconnected, Held, NoSnapshot, NotJoined, NotReported, Problem, Progressing, Unhealthy,
    };
    let (well, held) = (view(&[]), view(&["a"]));
    let fresh = status("s2", "new", |_| {});
    let old = status("s1", "old", |_| {});
    let mut troubled = status("s1", "old", |shop| {
        shop.problems = vec![problem(Some("a"), "ApplyFailed", 30, true)]
    });
    troubled.problems = vec![problem(None, "ApiServerUnreachable", 20, true)];
    let ill = status("s2", "new", |shop| {
        shop.problems = vec![
            problem(Some("a"), "Unhealthy", 10, false),
            problem(Some("b"), "ApplyFailed", 30, true),
        ];
    });
    let busy = status("s2", "new", |shop| (shop.applied, shop.to_prune) = (1, 2));
    for (name, facts, expected) in [
        (
            "no push yet",
            Facts {
                snapshot: None,
                ..facts(&well, None)
            },
            vec![(NoSnapshot, None)],
        ),
        (
            "never joined",
            Facts {
                joined: false,
                connected: false,
                ..facts(&well, None)
            },
            vec![(NotJoined, Some(1))],
        ),
        ("silent", facts(&well, None), vec![(NotReported, None)]),
        (
            "away and behind",
            Facts {
                connected: false,
                ..facts(&well, Some(&old))
            },
            vec![(Disconnected, Some(50)), (Behind, Some(40))],
        ),
        (
            "away, all done",
            Facts {
                connected: false,
                ..facts(&well, Some(&fresh))
            },
            vec![(Disconnected, Some(50))],
        ),
        ("behind", facts(&well, Some(&old)), vec![(Behind, Some(40))]),
        ("held", facts(&held, Some(&fresh)), vec![(Held, None)]),
        (
            "agent in trouble",
            facts(&held, Some(&troubled)),
            vec![(AgentProblem, Some(20)), (Held, None), (Behind, Some(40))],
        ),
        (
            "blocked and ill",
            facts(&well, Some(&ill)),
            vec![(Problem, Some(30)), (Unhealthy, Some(10))],
        ),
        ("under way", facts(&well, Some(&busy)), vec![(Progressing, None)]),
    ] {
        assert_eq!(told(&facts, None), expected, "{name}");
    }
}

#[test]
fn object_hears_only_of_what_concerns_it() {
    let wanted = subject(Fate::Wanted);
    let (well, held) = (view(&[]), view(&["b"]));
    let other = status("s2", "new", |shop| {
        shop.problems = vec![problem(Some("b"), "ApplyFailed", 30, true)]
    });
    assert_eq!(told(&facts(&held, Some(&other)), Some(&wanted)), []);
    let component = status("s2", "new", |shop| {
        shop.problems = vec![problem(None, "ApplySetFailed", 30, true)]
    });
    assert_eq!(
        told(&facts(&well, Some(&component)), Some(&wanted)),
        [(Reason::Problem, Some(30))]
    );
    let same_bundle = status("s1", "new", |_| {});
    assert_eq!(
        told(&facts(&well, Some(&same_bundle)), Some(&wanted)),
        [],
        "its component did not change"
    );
    let old_bundle = status("s1", "old", |_| {});
    assert_eq!(
        told(&facts(&well, Some(&old_bundle)), Some(&wanted)),
        [(Reason::Behind, Some(40))]
    );
}

#[test]
fn object_that_is_not_for_the_cluster_has_that_for_its_only_cause() {
    let view = view(&[]);
    let facts = Facts {
        connected: false,
        ..facts(&view, None)
    };
    let message = |fate| {
        let found = causes(&facts, Some(&subject(fate)));
        assert_eq!(found.len(), 1);
        (found[0].reason.clone(), found[0].message.clone())
    };
    assert_eq!(
        message(Fate::NotSelected("region=eu".parse().unwrap())),
        (
            Reason::NotSelected,
            "component `shop` runs where `region=eu` holds, which it does not here".to_owned()
        )
    );
    assert_eq!(
        message(Fate::LeftOut(vec!["edge".to_owned()])),
        (
            Reason::LeftOut,
            "overlay `edge` of component `shop` leaves it out here".to_owned()
        )
    );
    assert_eq!(message(Fate::NotAdded).0, Reason::LeftOut);
    assert_eq!(message(Fate::Dropped("cart".parse().unwrap())).0, Reason::Collision);
    let kept = Subject {
        kept: Some("driftless.dev/prune: disabled".to_owned()),
        ..subject(Fate::NotAdded)
    };
    let next = causes(&facts, Some(&kept))[0].next.clone().unwrap();
    assert!(
        next.ends_with("stays: it is marked `driftless.dev/prune: disabled`"),
        "{next}"
    );
}

#[test]
fn what_view_and_agent_both_say_is_told_once() {
    let mut view = view(&["a"]);
    view.collisions.push(Collision {
        id: id("c"),
        kept: "cart".parse().unwrap(),
        dropped: component(),
    });
    let status = status("s2", "new", |shop| {
        shop.problems = vec![
            problem(Some("a"), "Held", 30, true),
            problem(Some("c"), "Collision", 30, true),
            problem(Some("d"), "ApplyFailed", 35, true),
        ];
    });
    let mut reasons = BTreeMap::new();
    for cause in causes(&facts(&view, Some(&status)), None) {
        reasons.insert(cause.object.unwrap().name, cause.reason);
    }
    let expected = [("a", Reason::Held), ("c", Reason::Collision), ("d", Reason::Problem)];
    assert_eq!(reasons, expected.map(|(name, reason)| (name.to_owned(), reason)).into());
}
