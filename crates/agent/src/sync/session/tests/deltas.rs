//! Objects that come as deltas.

use driftless_model::delta;

use super::*;

fn delta_from(base: &[u8], target: &[u8]) -> v1::Object {
    v1::Object {
        hash: proto::to_hash(&ObjectHash::of(target)),
        zstd: delta::encode(base, target).into(),
        base: proto::to_hash(&ObjectHash::of(base)),
    }
}

fn with_objects(sequence: u64, snapshot: &Snapshot, objects: Vec<v1::Object>) -> v1::ServerMessage {
    let mut sent = directive("prod", sequence, Some(snapshot), &[]);
    if let Some(v1::server_message::Message::Directive(directive)) = &mut sent.message {
        directive.objects = objects;
    }
    sent
}

/// The objects and bases that are asked for.
fn asked(actions: &[Action]) -> Vec<(ObjectHash, Option<ObjectHash>)> {
    let wants = actions.iter().filter_map(|action| match action {
        Action::Want(wanted) => Some(wanted.iter().map(|wanted| (wanted.hash, wanted.base))),
        _ => None,
    });
    wants.flatten().collect()
}

/// What runs at sequence 5, and a version that comes after it.
fn versions() -> (Bundle, Snapshot, Bundle, Snapshot) {
    let (shop, newer) = (bundle("shop", &["a"]), bundle("shop", &["a", "b"]));
    let (snap, next) = (snapshot(&[&shop]), snapshot(&[&newer]));
    (shop, snap, newer, next)
}

#[test]
fn directive_with_deltas_makes_a_view_without_asking() {
    let mut session = at_five();
    let (shop, snap, newer, next) = versions();
    let deltas = vec![
        delta_from(&snap.encode(), &next.encode()),
        delta_from(&shop.encode(), &newer.encode()),
    ];
    let adoption = adopted(session.receive(with_objects(6, &next, deltas)).unwrap());
    assert_eq!(names(&adoption.view.unwrap()), ["a", "b"]);
    // What is stored needs no base.
    for frame in &adoption.unsaved {
        let stored = object::verify(frame.hash(), frame.zstd()).unwrap().1;
        assert!([newer.encode(), next.encode()].contains(&stored.to_vec()));
    }
    assert_eq!(adoption.unsaved.len(), 2);
}

#[test]
fn agent_without_the_base_asks_with_what_it_has() {
    let mut session = at_five();
    let (shop, snap, newer, next) = versions();
    let between = bundle("shop", &["a", "x"]);
    let between_snap = snapshot(&[&between]);
    let deltas = vec![
        delta_from(&between_snap.encode(), &next.encode()),
        delta_from(&between.encode(), &newer.encode()),
    ];
    let actions = session.receive(with_objects(7, &next, deltas)).unwrap();
    assert_eq!(asked(&actions), [(next.hash(), Some(snap.hash()))]);
    let answer = sent(delta_from(&snap.encode(), &next.encode()));
    let actions = session.receive(answer).unwrap();
    assert_eq!(asked(&actions), [(newer.hash(), Some(shop.hash()))]);
    let answer = sent(delta_from(&shop.encode(), &newer.encode()));
    let adoption = adopted(session.receive(answer).unwrap());
    assert_eq!(names(&adoption.view.unwrap()), ["a", "b"]);
}

#[test]
fn new_component_is_asked_for_without_a_base() {
    let mut session = at_five();
    let (shop, cart) = (bundle("shop", &["a"]), bundle("cart", &["c"]));
    let snap = snapshot(&[&cart, &shop]);
    let actions = session
        .receive(directive("prod", 6, Some(&snap), &[&snap.encode()]))
        .unwrap();
    assert_eq!(asked(&actions), [(cart.hash(), None)]);
}

#[test]
fn delta_that_makes_something_else_is_asked_for_whole_once() {
    let mut session = at_five();
    let (shop, _, newer, next) = versions();
    let evil = bundle("shop", &["evil"]);
    let altered = || v1::Object {
        zstd: delta::encode(&shop.encode(), &evil.encode()).into(),
        ..delta_from(&shop.encode(), &newer.encode())
    };
    let objects = vec![object(&next.encode()), altered()];
    let actions = session.receive(with_objects(6, &next, objects)).unwrap();
    assert_eq!(asked(&actions), [(newer.hash(), None)]);
    let adoption = adopted(session.receive(sent(object(&newer.encode()))).unwrap());
    assert_eq!(names(&adoption.view.unwrap()), ["a", "b"]);
}

#[test]
fn server_that_answers_with_bases_that_nobody_has_is_left() {
    let mut session = at_five();
    let (_, snap, newer, next) = versions();
    let actions = session.receive(directive("prod", 6, Some(&next), &[])).unwrap();
    assert_eq!(asked(&actions), [(next.hash(), Some(snap.hash()))]);
    let stray = || sent(delta_from(&newer.encode(), &next.encode()));
    let actions = session.receive(stray()).unwrap();
    assert_eq!(asked(&actions), [(next.hash(), None)]);
    let refusal = session.receive(stray()).unwrap_err();
    assert_eq!(refusal.reason(), "ObjectInvalid");
    assert_eq!(names(&session.restored().unwrap()), ["a"]);
}
