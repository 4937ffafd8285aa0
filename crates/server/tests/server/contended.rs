//! Pushes that meet each other, or themselves.

use driftless_model::hash::ObjectHash;
use driftless_proto::v1;
use tonic::Code;

use crate::support::{Rig, assert_refused, bundle, object, publish_request, upload};

#[tokio::test(flavor = "multi_thread")]
async fn second_push_upon_the_same_parent_is_told_who_won() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let (a, b) = (bundle("shop", "a"), bundle("shop", "b"));
    let mut client = rig.publish().await;
    upload(&mut client, &b).await.unwrap();
    let base = rig.push("prod", &bundle("shop", "0")).await.snapshot;
    let winner = rig.push("prod", &a).await;
    let late = v1::PublishRequest {
        expected_parent: Some(base.clone()),
        ..publish_request("prod", &b)
    };
    let hash = ObjectHash::try_from(&winner.snapshot[..]).unwrap().short();
    assert_refused(
        client.publish(late).await,
        Code::Aborted,
        &["`shop`", "`prod`", "by admin", &hash],
    );

    let on_top = v1::PublishRequest {
        expected_parent: Some(winner.snapshot),
        ..publish_request("prod", &b)
    };
    client.publish(on_top).await.unwrap();
    // Upon the old parent, but to a component that nobody touched since.
    let other = bundle("mail", "1");
    upload(&mut client, &other).await.unwrap();
    let beside = v1::PublishRequest {
        expected_parent: Some(base),
        ..publish_request("prod", &other)
    };
    client.publish(beside).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_pushes_to_different_components_all_land() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let base = rig.push("prod", &bundle("base", "0")).await.snapshot;
    let client = rig.publish().await;
    let pushes = (0..16).map(|n| {
        let (mut client, base) = (client.clone(), base.clone());
        tokio::spawn(async move {
            let bundle = bundle(&format!("app-{n}"), "1");
            upload(&mut client, &bundle).await.unwrap();
            let request = v1::PublishRequest {
                expected_parent: Some(base),
                ..publish_request("prod", &bundle)
            };
            client.publish(request).await.unwrap();
        })
    });
    for push in pushes.collect::<Vec<_>>() {
        push.await.unwrap();
    }
    let channel = rig.told_of("prod").await;
    assert_eq!(channel.components.len(), 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_pushes_upon_an_empty_channel_have_one_winner() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let client = rig.publish().await;
    let pushes = (0..8).map(|n| {
        let mut client = client.clone();
        tokio::spawn(async move {
            let bundle = bundle("shop", &n.to_string());
            upload(&mut client, &bundle).await.unwrap();
            let expected_parent = Some(bytes::Bytes::new());
            client
                .publish(v1::PublishRequest {
                    expected_parent,
                    ..publish_request("prod", &bundle)
                })
                .await
        })
    });
    let mut won = 0;
    for push in pushes.collect::<Vec<_>>() {
        match push.await.unwrap() {
            Ok(_) => won += 1,
            Err(status) => assert_eq!(status.code(), Code::Aborted, "{status:?}"),
        }
    }
    assert_eq!(won, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn push_whose_answer_was_lost_is_answered_as_the_first_time_by_any_server() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let (a, b) = (bundle("shop", "a"), bundle("shop", "b"));
    let push = v1::PublishRequest {
        idempotency_key: "drawn for this push".to_owned(),
        // Would be a conflict, were it taken for a new push.
        expected_parent: Some(bytes::Bytes::new()),
        objects: vec![object(&a.encode())],
        ..publish_request("prod", &a)
    };
    let first = rig.publish().await.publish(push.clone()).await.unwrap().into_inner();
    let newer = rig.push("prod", &b).await;

    let again = async |rig: &Rig| rig.publish().await.publish(push.clone()).await.unwrap().into_inner();
    let assert_first = |answer: v1::PublishResponse| {
        assert_eq!(
            (&answer.snapshot, answer.sequence, answer.unchanged),
            (&first.snapshot, first.sequence, false)
        );
    };
    assert_first(again(&rig).await);
    let rig = rig.restart().await;
    assert_first(again(&rig).await);
    let bucket = rig.root.path().join("data/bucket").display().to_string();
    let other = Rig::start_with(tempfile::tempdir().unwrap(), |settings| driftless_server::Settings {
        bucket: Some(bucket),
        ..settings
    })
    .await;
    assert_first(again(&other).await);

    let channel = other.told_of("prod").await;
    assert_eq!(channel.snapshot, Some(newer.snapshot), "nothing was undone");
    let different = v1::PublishRequest {
        message: "another push".to_owned(),
        ..push.clone()
    };
    assert_refused(
        other.publish().await.publish(different).await,
        Code::InvalidArgument,
        &["idempotency key", "`prod`", "draw a new key"],
    );
    let endless = v1::PublishRequest {
        idempotency_key: "k".repeat(129),
        ..push
    };
    assert_refused(
        other.publish().await.publish(endless).await,
        Code::InvalidArgument,
        &["idempotency_key", "128"],
    );
}
