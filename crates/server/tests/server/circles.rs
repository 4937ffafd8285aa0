//! Components never depend on each other in a circle, however pushes race.

use std::collections::BTreeMap;

use driftless_model::bundle::{Bundle, Spec, lines};
use driftless_proto::v1;
use tokio::task::JoinSet;
use tonic::Code;

use crate::support::{Rig, assert_refused, bundle, object, publish_request, soon};

/// A version of `component` that waits for another one.
fn waiting(component: &str, value: &str, on: &str) -> Bundle {
    bundle(component, value).with_spec(Spec {
        depends_on: [on.parse().expect("a name")].into(),
        ..Spec::default()
    })
}

/// A push that brings its bundle along.
fn push(channel: &str, bundle: &Bundle) -> v1::PublishRequest {
    v1::PublishRequest {
        objects: vec![object(&bundle.encode())],
        ..publish_request(channel, bundle)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn push_that_closes_a_circle_is_refused_with_the_circle() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let mut publish = rig.publish().await;
    publish.publish(push("prod", &waiting("a", "1", "b"))).await.unwrap();
    publish.publish(push("prod", &waiting("b", "1", "c"))).await.unwrap();
    assert_refused(
        publish.publish(push("prod", &waiting("c", "1", "a"))).await,
        Code::InvalidArgument,
        &["`dependsOn` goes in a circle: a → b → c → a: none of them would ever be applied; take one step out"],
    );
    // With one step out it is none.
    publish.publish(push("prod", &bundle("b", "2"))).await.unwrap();
    publish.publish(push("prod", &waiting("c", "1", "a"))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_pushes_that_are_fine_alone_never_make_a_circle_together() {
    let rig = Rig::start().await;
    let names = ["a", "b", "c"];
    for round in 0..25 {
        let channel = format!("c-{round}");
        rig.create_channel(&channel).await;
        let members = &names[..2 + round % 2];
        let mut pushes = JoinSet::new();
        for (index, name) in members.iter().enumerate() {
            let bundle = waiting(name, &round.to_string(), members[(index + 1) % members.len()]);
            let (mut publish, request) = (rig.publish().await, push(&channel, &bundle));
            pushes.spawn(async move { publish.publish(request).await });
        }
        let outcomes = soon(pushes.join_all()).await;
        let refused: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
        // All but one fit; only the one that comes last closes the circle.
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert_eq!(refused[0].code(), Code::InvalidArgument, "{refused:?}");
        let message = refused[0].message();
        assert!(message.starts_with("`dependsOn` goes in a circle: "), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_pushes_of_one_component_and_of_what_it_waits_for_are_checked_against_what_is_there() {
    let rig = Rig::start().await;
    for round in 0..15 {
        let channel = format!("d-{round}");
        rig.create_channel(&channel).await;
        let mut first = rig.publish().await;
        first.publish(push(&channel, &bundle("a", "1"))).await.unwrap();
        first.publish(push(&channel, &bundle("b", "1"))).await.unwrap();
        let (mut one, mut other) = (rig.publish().await, rig.publish().await);
        let (a, b) = (waiting("a", "2", "b"), waiting("b", "2", "a"));
        let (one, other) = tokio::join!(
            soon(one.publish(push(&channel, &a))),
            soon(other.publish(push(&channel, &b)))
        );
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        let request = v1::GetChannelRequest { name: channel };
        let channel = first.get_channel(request).await.unwrap().into_inner();
        let waits = |bundle: &Bundle| {
            let header = lines::header(&bundle.encode()).unwrap();
            !header.spec.depends_on.is_empty()
        };
        let held: BTreeMap<_, _> = channel.components.iter().collect();
        let is_held = |bundle: &Bundle| held.values().any(|hash| hash[..] == bundle.hash().as_bytes()[..]);
        assert!(waits(&a) && waits(&b) && (is_held(&a) != is_held(&b)));
    }
}
