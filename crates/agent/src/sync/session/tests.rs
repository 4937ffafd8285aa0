//! What a session makes of good and of bad servers.

use driftless_model::{
    bundle::Bundle,
    manifest::Manifest,
    name::Labels,
    snapshot::{self, Components, Provenance, Snapshot},
};
use serde_json::json;

use super::*;

mod deltas;
mod probes;
mod records;

fn pack(content: &[u8]) -> Bytes {
    zstd::bulk::compress(content, 3).unwrap().into()
}

fn bundle(component: &str, names: &[&str]) -> Bundle {
    let manifests = names.iter().map(|name| {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        Manifest::new(object, "default").unwrap()
    });
    Bundle::new(component.parse().unwrap(), manifests).unwrap()
}

fn snapshot(bundles: &[&Bundle]) -> Snapshot {
    Snapshot {
        format: snapshot::FORMAT,
        components: bundles
            .iter()
            .map(|bundle| (bundle.component.clone(), bundle.hash()))
            .collect(),
        parent: None,
        time: jiff::Timestamp::UNIX_EPOCH,
        provenance: Provenance::default(),
    }
}

fn object(content: &[u8]) -> v1::Object {
    v1::Object {
        hash: proto::to_hash(&ObjectHash::of(content)),
        zstd: pack(content),
        ..v1::Object::default()
    }
}

fn message(message: v1::server_message::Message) -> v1::ServerMessage {
    v1::ServerMessage { message: Some(message) }
}

fn welcome_to(channel: &str, labels: &[(&str, &str)]) -> v1::ServerMessage {
    message(v1::server_message::Message::Welcome(v1::Welcome {
        cluster: "edge-1".to_owned(),
        channel: channel.to_owned(),
        labels: labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect(),
        ..Default::default()
    }))
}

fn directive(channel: &str, sequence: u64, snapshot: Option<&Snapshot>, inline: &[&[u8]]) -> v1::ServerMessage {
    let directive = Directive {
        format: driftless_model::directive::FORMAT,
        channel: channel.parse().unwrap(),
        sequence,
        snapshot: snapshot.map(Snapshot::hash),
    };
    message(v1::server_message::Message::Directive(v1::Directive {
        document: directive.encode().into(),
        objects: inline.iter().map(|content| object(content)).collect(),
    }))
}

fn sent(object: v1::Object) -> v1::ServerMessage {
    message(v1::server_message::Message::Object(object))
}

/// A session that was welcomed to `prod`.
fn welcomed() -> Session {
    let mut session = Session::new("edge-1".parse().unwrap(), None);
    session.hello("test");
    assert!(session.receive(welcome_to("prod", &[])).unwrap().is_empty());
    session
}

fn wanted(actions: &[Action]) -> Vec<ObjectHash> {
    let wants = actions.iter().filter_map(|action| match action {
        Action::Want(wanted) => Some(wanted.iter().map(|wanted| wanted.hash)),
        _ => None,
    });
    wants.flatten().collect()
}

fn adopted(actions: Vec<Action>) -> Adoption {
    let mut adoptions = actions.into_iter().filter_map(|action| match action {
        Action::Adopt(adoption) => Some(*adoption),
        _ => None,
    });
    adoptions.next().expect("it is adopted")
}

fn kept(content: &Content) -> BTreeSet<ObjectHash> {
    content.hashes().collect()
}

fn names(view: &View) -> Vec<String> {
    let manifests = view.components.values().flat_map(|component| &component.manifests);
    manifests.map(|manifest| manifest.id().name.clone()).collect()
}

/// A session that runs component `shop` with object `a` at sequence 5.
fn at_five() -> Session {
    let mut session = welcomed();
    let shop = bundle("shop", &["a"]);
    let snap = snapshot(&[&shop]);
    let actions = session
        .receive(directive("prod", 5, Some(&snap), &[&snap.encode(), &shop.encode()]))
        .unwrap();
    adopted(actions);
    session
}

#[test]
fn time_of_the_server_comes_before_the_orders_that_end_by_it() {
    let mut session = at_five();
    let time = "2026-01-02T03:04:05.5Z".parse().unwrap();
    let welcome = |message: v1::ServerMessage| match message.message {
        Some(v1::server_message::Message::Welcome(welcome)) => welcome,
        other => panic!("{other:?}"),
    };
    let told = v1::Welcome {
        orders: r#"{"reconcile":1}"#.to_owned(),
        time: Some(proto::from_time(time)),
        ..welcome(welcome_to("prod", &[]))
    };
    let actions = session
        .receive(message(v1::server_message::Message::Welcome(told)))
        .unwrap();
    assert!(
        matches!(&actions[..], [Action::Time(at), Action::Adopt(adoption)]
            if *at == time && adoption.accepted.orders.reconcile == 1),
        "{actions:?}"
    );
}

#[test]
fn inline_objects_make_a_view_without_asking() {
    let mut session = welcomed();
    let shop = bundle("shop", &["a", "b"]);
    let snap = snapshot(&[&shop]);
    let message = directive("prod", 5, Some(&snap), &[&snap.encode(), &shop.encode()]);
    let adoption = adopted(session.receive(message).unwrap());
    assert_eq!(names(&adoption.view.unwrap()), ["a", "b"]);
    assert_eq!(adoption.unsaved.len(), 2);
    assert_eq!(kept(&adoption.keep), [snap.hash(), shop.hash()].into());
    assert_eq!(adoption.accepted.running, Some(snap.hash()));
}

#[test]
fn missing_objects_are_asked_for_and_only_those() {
    let mut session = at_five();
    let (shop, cart) = (bundle("shop", &["a"]), bundle("cart", &["c"]));
    let snap = snapshot(&[&cart, &shop]);
    let actions = session.receive(directive("prod", 6, Some(&snap), &[])).unwrap();
    assert_eq!(wanted(&actions), [snap.hash()]);
    let actions = session.receive(sent(object(&snap.encode()))).unwrap();
    assert_eq!(wanted(&actions), [cart.hash()]);
    let adoption = adopted(session.receive(sent(object(&cart.encode()))).unwrap());
    assert_eq!(names(&adoption.view.unwrap()), ["c", "a"]);
}

#[test]
fn thousands_of_objects_are_asked_for_some_at_a_time() {
    let mut session = welcomed();
    let bundles: Vec<_> = (0..5000).map(|n| bundle(&format!("c-{n}"), &["a"])).collect();
    let coming: BTreeMap<_, _> = bundles.iter().map(|bundle| (bundle.hash(), bundle.encode())).collect();
    let snap = snapshot(&bundles.iter().collect::<Vec<_>>());
    let mut actions = session
        .receive(directive("prod", 5, Some(&snap), &[&snap.encode()]))
        .unwrap();
    let mut rounds = Vec::new();
    let adoption = loop {
        let asked = wanted(&actions);
        let (last, others) = asked.split_last().expect("something is asked for");
        for hash in others {
            assert!(session.receive(sent(object(&coming[hash]))).unwrap().is_empty());
        }
        actions = session.receive(sent(object(&coming[last]))).unwrap();
        rounds.push(asked.len());
        if session.is_settled() {
            break adopted(actions);
        }
    };
    assert_eq!(rounds.iter().sum::<usize>(), 5000);
    assert!(rounds.len() == 2 && rounds[0] < 5000, "{rounds:?}");
    assert_eq!(adoption.view.unwrap().components.len(), 5000);

    // Of that many only some are named, the snapshot among them.
    let held = session.hello("test").held;
    assert_eq!(held.len(), proto::MAX_HELD);
    assert!(held.contains(&proto::to_hash(&snap.hash())));
}

#[test]
fn tampered_object_is_refused_and_nothing_changes() {
    let mut session = at_five();
    let cart = bundle("cart", &["c"]);
    let snap = snapshot(&[&cart]);
    session
        .receive(directive("prod", 6, Some(&snap), &[&snap.encode()]))
        .unwrap();
    let tampered = v1::Object {
        zstd: pack(&bundle("cart", &["evil"]).encode()),
        ..object(&cart.encode())
    };
    let refusal = session.receive(sent(tampered)).unwrap_err();
    assert_eq!(refusal.reason(), "ObjectInvalid");
    assert_eq!(names(&session.restored().unwrap()), ["a"]);
    assert_eq!(session.hello("test").sequence, 5);
}

#[test]
fn object_that_was_not_asked_for_is_ignored() {
    let mut session = at_five();
    assert!(
        session
            .receive(sent(object(&bundle("cart", &["c"]).encode())))
            .unwrap()
            .is_empty()
    );
    assert!(
        session
            .receive(sent(v1::Object {
                zstd: Bytes::new(),
                ..object(b"x")
            }))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn object_that_the_server_lacks_is_refused_by_name() {
    let mut session = welcomed();
    let snap = snapshot(&[]);
    session.receive(directive("prod", 5, Some(&snap), &[])).unwrap();
    let gone = v1::Object {
        zstd: Bytes::new(),
        ..object(&snap.encode())
    };
    assert_eq!(
        session.receive(sent(gone)).unwrap_err(),
        Refusal::Missing(snap.hash().short())
    );
}

#[test]
fn lower_sequence_is_refused() {
    let mut session = at_five();
    let refusal = session
        .receive(directive("prod", 4, Some(&snapshot(&[])), &[]))
        .unwrap_err();
    assert_eq!(
        refusal,
        Refusal::Replayed {
            channel: "prod".parse().unwrap(),
            sequence: 4,
            accepted: 5
        }
    );
}

#[test]
fn same_sequence_must_be_the_same_directive() {
    let mut session = at_five();
    let same = snapshot(&[&bundle("shop", &["a"])]);
    assert!(
        session
            .receive(directive("prod", 5, Some(&same), &[]))
            .unwrap()
            .is_empty()
    );
    let refusal = session
        .receive(directive("prod", 5, Some(&snapshot(&[])), &[]))
        .unwrap_err();
    assert_eq!(refusal.reason(), "DirectiveForked");
}

#[test]
fn other_channel_and_other_cluster_are_refused() {
    let mut session = at_five();
    assert_eq!(
        session.receive(directive("dev", 9, None, &[])).unwrap_err().reason(),
        "WrongChannel"
    );
    let mut session = Session::new("edge-2".parse().unwrap(), None);
    assert_eq!(
        session.receive(welcome_to("prod", &[])).unwrap_err().reason(),
        "WrongCluster"
    );
    assert_eq!(
        session.receive(directive("prod", 1, None, &[])).unwrap_err().reason(),
        "MessageMalformed"
    );
}

#[test]
fn channel_that_changed_longer_ago_is_followed_but_its_past_is_not_replayed() {
    let mut session = at_five();
    session.receive(welcome_to("dev", &[])).unwrap();
    let empty = snapshot(&[]);
    let adoption = adopted(
        session
            .receive(directive("dev", 3, Some(&empty), &[&empty.encode()]))
            .unwrap(),
    );
    assert_eq!(
        adoption.accepted.sequences,
        [("dev".parse().unwrap(), 3), ("prod".parse().unwrap(), 5)].into()
    );
    session.receive(welcome_to("prod", &[])).unwrap();
    let refusal = session.receive(directive("prod", 4, Some(&empty), &[])).unwrap_err();
    assert_eq!(refusal.reason(), "DirectiveReplayed");
}

#[test]
fn directive_without_snapshot_changes_nothing() {
    let mut session = at_five();
    let adoption = adopted(session.receive(directive("prod", 6, None, &[])).unwrap());
    assert!(adoption.view.is_none());
    assert_eq!(
        adoption.accepted.running,
        Some(snapshot(&[&bundle("shop", &["a"])]).hash())
    );
    assert_eq!(kept(&adoption.keep).len(), 2);
    assert_eq!(session.hello("test").sequence, 6);
}

/// Removals, returns and changes, told in one step or overtaken on the way: what is held is what the last one names.
#[test]
fn one_directive_after_the_other_leaves_what_the_last_one_names() {
    let [shop, later] = [bundle("shop", &["a"]), bundle("shop", &["a", "b"])];
    let [cart, news] = [bundle("cart", &["c"]), bundle("news", &["n"])];
    let rounds: [&[&Bundle]; 6] = [
        &[&shop, &cart],
        &[&later, &cart, &news],
        &[&news],
        &[],
        &[&shop, &news],
        &[&shop, &cart, &news],
    ];
    let mut session = welcomed();
    for (sequence, bundles) in (5..).zip(rounds) {
        let snap = snapshot(bundles);
        // Overtaken while it waits for a bundle.
        let other = snapshot(&[&shop, &bundle("never", &["x"])]);
        let waiting = directive("prod", sequence, Some(&other), &[&other.encode(), &shop.encode()]);
        assert!(!wanted(&session.receive(waiting).unwrap()).is_empty());
        let mut inline = vec![snap.encode()];
        inline.extend(bundles.iter().map(|bundle| bundle.encode()));
        let inline: Vec<_> = inline.iter().map(Vec::as_slice).collect();
        let actions = session
            .receive(directive("prod", sequence, Some(&snap), &inline))
            .unwrap();
        let adoption = adopted(actions);
        let expected = bundles.iter().map(|bundle| bundle.hash()).chain([snap.hash()]);
        assert_eq!(kept(&adoption.keep), expected.collect());
        let objects = bundles.iter().flat_map(|bundle| bundle.manifests());
        let mut objects: Vec<_> = objects.map(|manifest| manifest.id().name.clone()).collect();
        let mut found = names(&adoption.view.unwrap());
        objects.sort();
        found.sort();
        assert_eq!(found, objects);
    }
}

#[test]
fn bundle_of_another_component_than_the_snapshot_says_is_refused() {
    let shop = bundle("shop", &["a"]);
    let mut snap = snapshot(&[&shop]);
    snap.components = Components::unit("cart".parse().unwrap(), shop.hash());
    let message = directive("prod", 5, Some(&snap), &[&snap.encode(), &shop.encode()]);
    let mut session = welcomed();
    for _ in 0..2 {
        let refusal = session.receive(message.clone()).unwrap_err();
        assert_eq!(refusal.reason(), "ObjectInvalid");
        assert!(refusal.to_string().contains("of component `shop`"), "{refusal}");
    }
    // Nor for two at once, be it held or not.
    snap.components.insert("shop".parse().unwrap(), shop.hash());
    let message = directive("prod", 6, Some(&snap), &[&snap.encode()]);
    for mut session in [welcomed(), at_five()] {
        assert_eq!(session.receive(message.clone()).unwrap_err().reason(), "ObjectInvalid");
    }
}

#[test]
fn newest_directive_wins_over_one_that_still_waits() {
    let mut session = at_five();
    let (old, new) = (snapshot(&[&bundle("old", &["o"])]), snapshot(&[&bundle("new", &["n"])]));
    session.receive(directive("prod", 6, Some(&old), &[])).unwrap();
    let actions = session
        .receive(directive("prod", 7, Some(&new), &[&new.encode()]))
        .unwrap();
    assert_eq!(wanted(&actions), [bundle("new", &["n"]).hash()]);
    assert!(session.receive(sent(object(&old.encode()))).unwrap().is_empty());
    let adoption = adopted(session.receive(sent(object(&bundle("new", &["n"]).encode()))).unwrap());
    assert_eq!(names(&adoption.view.unwrap()), ["n"]);
    assert_eq!(kept(&adoption.keep), [new.hash(), bundle("new", &["n"]).hash()].into());
}

#[test]
fn what_came_before_the_stream_broke_is_not_asked_for_again() {
    let mut session = welcomed();
    let (shop, cart) = (bundle("shop", &["a"]), bundle("cart", &["c"]));
    let snap = snapshot(&[&cart, &shop]);
    session
        .receive(directive("prod", 5, Some(&snap), &[&snap.encode()]))
        .unwrap();
    session.receive(sent(object(&shop.encode()))).unwrap();
    let hello = session.hello("test");
    assert!(hello.held.contains(&proto::to_hash(&shop.hash())));
    session.receive(welcome_to("prod", &[])).unwrap();
    let actions = session.receive(directive("prod", 5, Some(&snap), &[])).unwrap();
    assert_eq!(wanted(&actions), [cart.hash()]);
}

#[test]
fn stored_objects_are_unsaved_until_their_adoption_is_stored() {
    let mut session = at_five();
    let (a, b) = (snapshot(&[&bundle("shop", &["a"])]), bundle("cart", &["c"]));
    let snap = snapshot(&[&b, &bundle("shop", &["a"])]);
    let second = session
        .receive(directive("prod", 6, Some(&snap), &[&snap.encode(), &b.encode()]))
        .unwrap();
    let second = adopted(second);
    assert_eq!((second.generation, second.unsaved.len()), (2, 3));
    assert!(!kept(&second.keep).contains(&a.hash()));
    session.saved(1);
    let third = adopted(session.receive(directive("prod", 7, Some(&snap), &[])).unwrap());
    assert_eq!(third.unsaved.len(), 2);
    session.saved(3);
    let fourth = adopted(session.receive(directive("prod", 8, Some(&snap), &[])).unwrap());
    assert!(fourth.unsaved.is_empty());
}

#[test]
fn restored_session_runs_without_a_server_and_asks_for_what_is_damaged() {
    let accepted = at_five().accepted().unwrap().clone();
    let shop = bundle("shop", &["a"]);
    let snap = snapshot(&[&shop]);
    let mut session = Session::new("edge-1".parse().unwrap(), Some(accepted));
    assert!(session.restored().is_none());
    assert_eq!(
        session.restore_snapshot(snap.hash(), pack(&snap.encode())).unwrap(),
        [shop.hash()]
    );
    assert!(session.restore_bundle(shop.hash(), pack(b"damaged")).is_err());
    assert!(session.restored().is_none());
    // The server, once it is there, fills the gap.
    session.hello("test");
    session.receive(welcome_to("prod", &[])).unwrap();
    let actions = session.receive(directive("prod", 5, Some(&snap), &[])).unwrap();
    assert_eq!(wanted(&actions), [shop.hash()]);
    let adoption = adopted(session.receive(sent(object(&shop.encode()))).unwrap());
    assert_eq!(names(&adoption.view.unwrap()), ["a"]);
    assert_eq!(adoption.unsaved.len(), 1);
}
