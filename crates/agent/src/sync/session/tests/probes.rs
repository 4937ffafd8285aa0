use super::*;

fn probe(id: u64, snapshot: &Snapshot, component: &str) -> v1::ServerMessage {
    message(v1::server_message::Message::Probe(v1::Probe {
        id,
        snapshot: proto::to_hash(&snapshot.hash()),
        component: component.to_owned(),
        deadline_seconds: 30,
    }))
}

#[test]
fn probe_fetches_what_is_missing_and_changes_nothing_of_what_is_accepted() {
    let (web, cart) = (bundle("web", &["a"]), bundle("cart", &["b"]));
    let (now, next) = (snapshot(&[&web]), snapshot(&[&web, &cart]));
    let mut session = Session::new("edge-1".parse().unwrap(), None);
    assert!(session.hello("1").answers_probes);
    session.receive(welcome_to("prod", &[])).unwrap();
    session
        .receive(directive("prod", 1, Some(&now), &[&now.encode(), &web.encode()]))
        .unwrap();
    let accepted = session.accepted().cloned();

    let actions = session.receive(probe(7, &next, "cart")).unwrap();
    assert!(matches!(&actions[..], [Action::Want(_)] if wanted(&actions) == [next.hash()]));
    let actions = session.receive(sent(object(&next.encode()))).unwrap();
    assert!(
        matches!(&actions[..], [Action::Want(_)] if wanted(&actions) == [cart.hash()]),
        "{actions:?}"
    );
    let actions = session.receive(sent(object(&cart.encode()))).unwrap();
    let [Action::Ask(question)] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!((question.id, question.view.components.len()), (7, 2));
    assert_eq!(question.only, Some("cart".parse().unwrap()));
    assert_eq!(session.accepted().cloned(), accepted);
    // What it runs is asked about without fetching anything.
    let actions = session.receive(probe(8, &now, "")).unwrap();
    assert!(
        matches!(&actions[..], [Action::Ask(question)] if question.id == 8),
        "{actions:?}"
    );
}

#[test]
fn probe_that_cannot_be_answered_says_why_and_ends_no_stream() {
    let web = bundle("web", &["a"]);
    let next = snapshot(&[&web]);
    let mut session = Session::new("edge-1".parse().unwrap(), None);
    session.hello("1");
    session.receive(welcome_to("prod", &[])).unwrap();
    let answered = |actions: Vec<Action>| match &actions[..] {
        [Action::Answer(result)] => (result.id, result.failure.clone()),
        other => panic!("{other:?}"),
    };
    session.receive(probe(1, &next, "")).unwrap();
    let nothing = v1::Object {
        hash: proto::to_hash(&next.hash()),
        ..v1::Object::default()
    };
    let missing = session
        .receive(message(v1::server_message::Message::Object(nothing)))
        .unwrap();
    let (id, why) = answered(missing);
    assert!(id == 1 && why.starts_with("the server does not have object"), "{why}");

    session.receive(probe(2, &next, "")).unwrap();
    let altered = v1::Object {
        hash: proto::to_hash(&next.hash()),
        zstd: pack(b"something else"),
        ..v1::Object::default()
    };
    let (id, why) = answered(
        session
            .receive(message(v1::server_message::Message::Object(altered)))
            .unwrap(),
    );
    assert!(id == 2 && why.contains("altered on its way"), "{why}");
    let (_, why) = answered(session.receive(probe(3, &next, "No Component")).unwrap());
    assert!(!why.is_empty());
}

#[test]
fn probe_of_a_bundle_reads_as_no_snapshot() {
    let web = bundle("web", &["a"]);
    let mut session = Session::new("edge-1".parse().unwrap(), None);
    session.hello("1");
    session.receive(welcome_to("prod", &[])).unwrap();
    let asked = v1::Probe {
        id: 1,
        snapshot: proto::to_hash(&web.hash()),
        ..v1::Probe::default()
    };
    session
        .receive(message(v1::server_message::Message::Probe(asked)))
        .unwrap();
    let actions = session.receive(sent(object(&web.encode()))).unwrap();
    assert!(
        matches!(&actions[..], [Action::Answer(result)] if !result.failure.is_empty()),
        "{actions:?}"
    );
}
