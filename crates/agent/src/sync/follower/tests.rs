use std::sync::atomic::{AtomicI64, Ordering};

use driftless_model::{
    bundle::Bundle,
    directive::Directive,
    hash::ObjectHash,
    manifest::Manifest,
    snapshot::{self, Components, Provenance, Snapshot},
};
use driftless_proto::{from_time, to_hash};
use serde_json::json;

use super::*;

fn bundle(image: &str) -> Bundle {
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}, "data": {"image": image}});
    Bundle::new("shop".parse().unwrap(), [Manifest::new(object, "default").unwrap()]).unwrap()
}

fn snapshot(bundle: &Bundle) -> Snapshot {
    Snapshot {
        format: snapshot::FORMAT,
        components: Components::unit(bundle.component.clone(), bundle.hash()),
        parent: None,
        time: jiff::Timestamp::UNIX_EPOCH,
        provenance: Provenance::default(),
    }
}

fn wire(message: server_message::Message) -> Bytes {
    v1::ServerMessage { message: Some(message) }.encode_to_vec().into()
}

/// Each is told at another time.
fn welcome(cluster: &str) -> Bytes {
    static TOLD: AtomicI64 = AtomicI64::new(0);
    let seconds = TOLD.fetch_add(1, Ordering::Relaxed);
    let time = from_time(jiff::Timestamp::constant(seconds, 0));
    wire(server_message::Message::Welcome(v1::Welcome {
        cluster: cluster.to_owned(),
        channel: "prod".to_owned(),
        time: Some(time),
        ..v1::Welcome::default()
    }))
}

fn object(name: &[u8], content: &[u8]) -> v1::Object {
    v1::Object {
        hash: to_hash(&ObjectHash::of(name)),
        zstd: zstd::bulk::compress(content, 3).unwrap().into(),
        ..v1::Object::default()
    }
}

fn directive(sequence: u64, image: &str, objects: Vec<v1::Object>) -> Bytes {
    let directive = Directive {
        format: driftless_model::directive::FORMAT,
        channel: "prod".parse().unwrap(),
        sequence,
        snapshot: Some(snapshot(&bundle(image)).hash()),
    };
    wire(server_message::Message::Directive(v1::Directive {
        document: directive.encode().into(),
        objects,
    }))
}

fn whole(sequence: u64, image: &str) -> Bytes {
    let (bundle, snapshot) = (bundle(image).encode(), snapshot(&bundle(image)).encode());
    directive(
        sequence,
        image,
        vec![object(&snapshot, &snapshot), object(&bundle, &bundle)],
    )
}

fn pair() -> (Follower, Follower) {
    let mut first = Follower::new("edge-1".parse().unwrap());
    let second = first.alike("edge-2".parse().unwrap());
    (first, second)
}

fn greeted() -> (Follower, Follower) {
    let (mut first, mut second) = pair();
    for follower in [&mut first, &mut second] {
        follower.hello();
        let cluster = follower.cluster().to_string();
        assert!(follower.receive(welcome(&cluster)).unwrap().verified.is_none());
    }
    (first, second)
}

fn is_same_place(one: &Follower, other: &Follower) -> bool {
    match (&one.place, &other.place) {
        (Place::Shared(one), Place::Shared(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}

#[test]
fn followers_that_are_told_the_same_are_worked_out_once() {
    let (mut first, mut second) = greeted();
    assert_eq!(first.receive(whole(5, "a")).unwrap().verified, Some(5));
    assert!(!is_same_place(&first, &second));
    assert_eq!(second.receive(whole(5, "a")).unwrap().verified, Some(5));
    assert!(is_same_place(&first, &second));
}

#[test]
fn what_was_verified_is_reported_as_applied() {
    let (mut first, mut second) = greeted();
    first.receive(whole(5, "a")).unwrap();
    second.receive(whole(5, "a")).unwrap();
    let Some(agent_message::Message::Status(status)) = second.applied().message else {
        panic!("a status is reported");
    };
    let status = ClusterStatus::try_from(status).unwrap();
    assert!(status.is_converged(&snapshot(&bundle("a")).hash()), "{status:?}");
    assert_eq!(
        (status.sequence, status.components.len(), status.health()),
        (5, 1, Health::Current)
    );
    assert_eq!(first.applied(), second.applied());
}

#[test]
fn objects_that_are_missing_are_asked_for_by_each() {
    let (mut first, mut second) = greeted();
    let snapshot = snapshot(&bundle("a")).encode();
    for follower in [&mut first, &mut second] {
        let heard = follower.receive(directive(5, "a", Vec::new())).unwrap();
        assert_eq!((heard.verified, heard.answers.len()), (None, 1));
        let sent = wire(server_message::Message::Object(object(&snapshot, &snapshot)));
        let heard = follower.receive(sent).unwrap();
        assert_eq!((heard.verified, heard.answers.len(), heard.objects), (None, 1, 1));
        let bundle = bundle("a").encode();
        let sent = wire(server_message::Message::Object(object(&bundle, &bundle)));
        assert_eq!(follower.receive(sent).unwrap().verified, Some(5));
    }
}

#[test]
fn altered_object_is_refused_by_the_one_that_got_it() {
    let (mut first, mut second) = greeted();
    assert_eq!(first.receive(whole(5, "a")).unwrap().verified, Some(5));
    let snapshot = snapshot(&bundle("a")).encode();
    let altered = vec![
        object(&snapshot, &snapshot),
        object(&bundle("a").encode(), &bundle("b").encode()),
    ];
    let refused = second.receive(directive(5, "a", altered)).unwrap_err();
    assert_eq!(refused.reason, "ObjectInvalid");
    assert_eq!(second.receive(whole(5, "a")).unwrap().verified, Some(5));
}

#[test]
fn welcome_of_another_cluster_is_refused() {
    let (mut first, mut second) = pair();
    first.hello();
    second.hello();
    first.receive(welcome("edge-1")).unwrap();
    assert_eq!(second.receive(welcome("edge-1")).unwrap_err().reason, "WrongCluster");
}

#[test]
fn new_stream_verifies_the_same_directive_with_what_is_held() {
    let (mut first, mut second) = greeted();
    first.receive(whole(5, "a")).unwrap();
    second.receive(whole(5, "a")).unwrap();
    for follower in [&mut first, &mut second] {
        let Some(agent_message::Message::Hello(hello)) = follower.hello().message else {
            panic!("a stream begins with hello");
        };
        assert_eq!((hello.sequence, hello.held.len()), (5, 2));
        let cluster = follower.cluster().to_string();
        follower.receive(welcome(&cluster)).unwrap();
        let heard = follower.receive(directive(5, "a", Vec::new())).unwrap();
        assert_eq!((heard.verified, heard.objects), (Some(5), 0));
    }
}

#[test]
fn garbage_is_refused() {
    let (mut first, _) = greeted();
    let refused = first.receive(Bytes::from_static(b"\xff\xff\xff")).unwrap_err();
    assert_eq!(refused.reason, "MessageMalformed");
}
