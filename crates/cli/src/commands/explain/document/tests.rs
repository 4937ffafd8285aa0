//! The page of an explanation, and its parts.

use driftless_model::explain::Reason;

use super::*;

fn document(causes: Vec<Cause>) -> Document {
    let hash = |byte: u8| ObjectHash::from([byte; 32]);
    let push = Push {
        snapshot: hash(0x1a),
        time: Timestamp::from_second(0).unwrap(),
        author: "admin".to_owned(),
        message: "first\nmore".to_owned(),
    };
    let object = ObjectDocument {
        object: ManifestId {
            group: "apps".to_owned(),
            kind: "Deployment".to_owned(),
            namespace: Some("shop".to_owned()),
            name: "web".to_owned(),
        },
        component: "shop".parse().unwrap(),
        bundle: Some(hash(2)),
        set: Some(push.clone()),
        selector: "region=eu".to_owned(),
        depends_on: vec!["db".parse().unwrap()],
        overlays: vec![Overlay {
            name: "edge".to_owned(),
            selector: String::new(),
        }],
        variables: vec![Variable {
            field: "spec.replicas".to_owned(),
            variable: "cluster.vars.n".to_owned(),
            value: Some(3.into()),
        }],
        manifest: None,
    };
    Document {
        cluster: "edge-1".parse().unwrap(),
        converged: causes.is_empty(),
        should: Should {
            channel: "prod".parse().unwrap(),
            snapshot: Some(push),
            components: 1,
            not_selected: BTreeMap::new(),
            objects: 1,
            object: Some(object),
        },
        runs: Runs {
            joined: true,
            connected: true,
            last_seen: None,
            agent_version: Some("0.1.0".to_owned()),
            kubernetes_version: Some("v1.36.3".to_owned()),
            snapshot: Some(hash(0x1a)),
            bundle: Some(hash(2)),
            desired: 7,
            applied: 6,
            health: Some(Health::Current),
            repaired: 2,
            repairs: vec![repaired(2, Some("kubectl-edit")), repaired(1, None)],
        },
        causes,
    }
}

fn repaired(count: u64, manager: Option<&str>) -> Repaired {
    let object = ManifestId {
        group: String::new(),
        kind: "ConfigMap".to_owned(),
        namespace: Some("shop".to_owned()),
        name: "a".to_owned(),
    };
    Repaired {
        component: "shop".parse().unwrap(),
        repairs: Repairs {
            count,
            last: Timestamp::from_second(0).unwrap(),
            object,
            manager: manager.map(str::to_owned),
        },
    }
}

#[test]
fn components_put_back_are_told_the_latest_first_and_a_few() {
    let mut document = document(Vec::new());
    document.runs.repairs = (0..9).map(|_| repaired(1, None)).collect();
    let text = document.text(Timestamp::from_second(7200).unwrap());
    let told = anstream::adapter::strip_str(&text).to_string();
    assert_eq!(told.matches("shop  once, 2h ago").count(), MAX_REPAIRED, "{told}");
    assert!(told.ends_with("repaired   and 4 components more\n"), "{told}");
}

fn page(causes: Vec<Cause>) -> String {
    let text = document(causes).text(Timestamp::from_second(7200).unwrap());
    anstream::adapter::strip_str(&text).to_string()
}

#[test]
fn page_tells_all_that_an_object_comes_from() {
    let expected = "\
        Deployment.apps shop/web on edge-1 is as it should be\n\n\
        Should run\n  \
        channel    prod\n  \
        snapshot   1a1a1a1a1a1a  by admin 2h ago: first\n  \
        component  shop at bundle 020202020202\n  \
        set in     1a1a1a1a1a1a  by admin 2h ago: first\n  \
        runs on    region=eu\n  \
        after      db\n  \
        overlay    edge on all clusters\n  \
        variable   spec.replicas: cluster.vars.n = 3\n\n\
        Runs\n  \
        agent      connected  version 0.1.0, Kubernetes v1.36.3\n  \
        snapshot   1a1a1a1a1a1a\n  \
        bundle     020202020202\n  \
        objects    6 of 7 applied\n  \
        health     Current\n  \
        drift      2 objects put back since the agent started\n  \
        repaired   shop  2 times, the last 2h ago: ConfigMap shop/a, changed by kubectl-edit\n  \
        repaired   shop  once, 2h ago: ConfigMap shop/a\n";
    assert_eq!(page(Vec::new()), expected);
}

#[test]
fn first_cause_is_in_the_first_line() {
    let cause = Cause {
        reason: Reason::Problem,
        component: Some("shop".parse().unwrap()),
        object: None,
        message: "ApplyFailed: no".to_owned(),
        since: Some(Timestamp::from_second(0).unwrap()),
        next: Some("it tries again".to_owned()),
    };
    let page = page(vec![cause]);
    assert!(
        page.starts_with("Deployment.apps shop/web on edge-1 is not as it should be: ApplyFailed: no since 2h\n"),
        "{page}"
    );
    assert!(
        page.contains("\nWhy it differs\n  1. ApplyFailed: no (since "),
        "{page}"
    );
    assert!(page.ends_with("     → it tries again\n"), "{page}");
}
