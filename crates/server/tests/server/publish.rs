//! Pushes as release tooling makes them.

use driftless_model::{hash::ObjectHash, snapshot::Snapshot};
use driftless_proto::v1;
use tokio_stream::StreamExt;
use tonic::Code;

use crate::support::{Rig, assert_refused, bundle, named, object, publish_request, upload, wire};

#[tokio::test(flavor = "multi_thread")]
async fn history_is_filtered_and_paged_by_the_server() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let mut snapshots = Vec::new();
    for (component, value) in [
        ("shop", "1"),
        ("cart", "1"),
        ("shop", "2"),
        ("cart", "2"),
        ("shop", "2b"),
    ] {
        snapshots.push(rig.push("prod", &bundle(component, value)).await.snapshot);
    }
    let client = rig.publish().await;
    let ask = async |request: v1::LogRequest| -> Vec<usize> {
        let stream = client.clone().log(request).await.unwrap().into_inner();
        let entries: Vec<v1::LogEntry> = stream.collect::<Result<_, _>>().await.unwrap();
        let place = |entry: &v1::LogEntry| snapshots.iter().position(|known| *known == entry.snapshot).unwrap();
        entries.iter().map(place).collect()
    };
    let prod = || v1::LogRequest {
        channel: "prod".to_owned(),
        ..Default::default()
    };
    let shop = || v1::LogRequest {
        component: "shop".to_owned(),
        ..prod()
    };
    assert_eq!(ask(shop()).await, [4, 2, 0]);
    assert_eq!(
        ask(v1::LogRequest {
            skip: 1,
            limit: 1,
            ..shop()
        })
        .await,
        [2]
    );
    let behind = v1::LogRequest {
        from: Some(snapshots[2].clone()),
        ..shop()
    };
    assert_eq!(ask(behind.clone()).await, [2, 0]);
    let nameless = v1::LogRequest {
        channel: String::new(),
        ..behind
    };
    assert_eq!(ask(nameless).await, [2, 0]);
    assert_eq!(
        ask(v1::LogRequest {
            author: "nobody".to_owned(),
            ..prod()
        })
        .await,
        [0; 0]
    );
    let counted = v1::LogRequest {
        count_objects: true,
        limit: 1,
        ..prod()
    };
    let entry = client
        .clone()
        .log(counted)
        .await
        .unwrap()
        .into_inner()
        .next()
        .await
        .unwrap()
        .unwrap();
    let expected = v1::ObjectCounts {
        changed: 1,
        ..Default::default()
    };
    assert_eq!(entry.changes[0].objects, Some(expected));
    let nothing = v1::LogRequest {
        from: Some(wire(ObjectHash::of(b"absent"))),
        ..prod()
    };
    let first = client
        .clone()
        .log(nothing)
        .await
        .unwrap()
        .into_inner()
        .next()
        .await
        .unwrap();
    assert_refused(first, Code::NotFound, &["is not in the store"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn push_goes_from_upload_to_history() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let mut client = rig.publish().await;
    let (first, second) = (bundle("shop", "1"), bundle("shop", "2"));

    let both = v1::MissingObjectsRequest {
        hashes: vec![wire(first.hash()), wire(second.hash())],
    };
    upload(&mut client, &first).await.unwrap();
    let missing = client.missing_objects(both).await.unwrap().into_inner().hashes;
    assert_eq!(missing, [wire(second.hash())]);

    let one = client
        .publish(publish_request("prod", &first))
        .await
        .unwrap()
        .into_inner();
    assert!(!one.unchanged && one.sequence > 1);
    let again = client
        .publish(publish_request("prod", &first))
        .await
        .unwrap()
        .into_inner();
    assert!(again.unchanged && again.sequence == 0 && again.snapshot == one.snapshot);
    let two = rig.push("prod", &second).await;

    let channel = client.get_channel(named("prod")).await.unwrap().into_inner();
    assert_eq!(channel.snapshot, Some(two.snapshot.clone()));
    assert_eq!(channel.components["shop"], wire(second.hash()));
    let list = client
        .list_channels(v1::ListChannelsRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(list.channels, [channel]);

    let request = v1::LogRequest {
        channel: "prod".to_owned(),
        ..Default::default()
    };
    let log: Vec<_> = client
        .log(request)
        .await
        .unwrap()
        .into_inner()
        .collect::<Result<_, _>>()
        .await
        .unwrap();
    assert_eq!(
        log.iter().map(|entry| &entry.snapshot).collect::<Vec<_>>(),
        [&two.snapshot, &one.snapshot]
    );
    assert_eq!(log[0].parent.as_ref(), Some(&one.snapshot));
    assert_eq!(
        (log[0].author.as_str(), log[0].source["host"].as_str()),
        ("admin", "laptop")
    );
    assert_eq!(log[0].changes[0].before, Some(wire(first.hash())));
    assert_eq!(log[1].changes[0].before, None);
    let request = v1::LogRequest {
        channel: "prod".to_owned(),
        limit: 1,
        ..Default::default()
    };
    let log: Vec<_> = client
        .log(request)
        .await
        .unwrap()
        .into_inner()
        .collect::<Result<_, _>>()
        .await
        .unwrap();
    assert_eq!(log.len(), 1);

    let request = v1::GetObjectsRequest {
        hashes: vec![two.snapshot.clone(), wire(ObjectHash::of(b"none"))],
    };
    let objects: Vec<_> = client
        .get_objects(request)
        .await
        .unwrap()
        .into_inner()
        .collect::<Result<_, _>>()
        .await
        .unwrap();
    let snapshot = Snapshot::decode(&zstd::decode_all(&objects[0].zstd[..]).unwrap()).unwrap();
    assert_eq!(wire(snapshot.hash()), two.snapshot);
    assert!(objects[1].zstd.is_empty());

    let prefix = second.hash().to_string()[..8].to_owned();
    let found = client
        .find_object(v1::FindObjectRequest { prefix })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(found.hashes, [wire(second.hash())]);
    let short = client
        .find_object(v1::FindObjectRequest {
            prefix: "ab".to_owned(),
        })
        .await;
    assert_refused(short, Code::InvalidArgument, &["4 to 64"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_component_leaves_the_snapshot() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let shop = bundle("shop", "1");
    rig.push("prod", &shop).await;
    let mut request = publish_request("prod", &shop);
    request.components[0].bundle = None;
    let mut client = rig.publish().await;
    assert!(!client.publish(request.clone()).await.unwrap().into_inner().unchanged);
    assert!(
        client
            .get_channel(named("prod"))
            .await
            .unwrap()
            .into_inner()
            .components
            .is_empty()
    );
    assert!(client.publish(request).await.unwrap().into_inner().unchanged);
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_that_come_along_are_stored_and_checked_as_uploads_are() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let mut client = rig.publish().await;
    let (shop, mail) = (bundle("shop", "1"), bundle("mail", "1"));
    let with = |objects: Vec<v1::Object>, bundle: &driftless_model::bundle::Bundle| v1::PublishRequest {
        objects,
        ..publish_request("prod", bundle)
    };
    let stored = client
        .publish(with(vec![object(&shop.encode())], &shop))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((stored.stored, stored.unchanged), (1, false));
    let again = client
        .publish(with(vec![object(&shop.encode())], &shop))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((again.stored, again.unchanged), (0, true));

    let stray = client.publish(with(vec![object(&mail.encode())], &shop)).await;
    assert_refused(stray, Code::InvalidArgument, &["objects", &mail.hash().to_string()]);
    let mut altered = object(&mail.encode());
    altered.zstd = object(&bundle("mail", "2").encode()).zstd;
    let altered = client.publish(with(vec![altered], &mail)).await;
    assert_refused(altered, Code::InvalidArgument, &["does not hash to its name"]);
    let mut other_name = with(vec![object(&mail.encode())], &mail);
    other_name.components[0].component = "news".to_owned();
    let other_name = client.publish(other_name).await;
    assert_refused(other_name, Code::InvalidArgument, &["`mail`", "`news`"]);
    // Of two that come along, one of which is refused, neither is kept.
    let next = bundle("shop", "2");
    let mut both = with(vec![object(&next.encode()), object(&mail.encode())], &next);
    both.components.push(v1::ComponentChange {
        component: "news".to_owned(),
        bundle: Some(wire(mail.hash())),
    });
    let both = client.publish(both).await;
    assert_refused(both, Code::InvalidArgument, &["`mail`", "`news`"]);
    let hashes = vec![wire(mail.hash()), wire(next.hash())];
    let missing = client.missing_objects(v1::MissingObjectsRequest { hashes }).await;
    assert_eq!(
        missing.unwrap().into_inner().hashes.len(),
        2,
        "nothing refused was kept"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_sound_bundle_is_not_stored() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let mut client = rig.publish().await;
    let good = bundle("shop", "1");
    let put = async |object: v1::Object| rig.publish().await.put_objects(tokio_stream::iter([object])).await;

    let mut tampered = object(&good.encode());
    tampered.zstd = object(&bundle("shop", "2").encode()).zstd;
    assert_refused(
        put(tampered).await,
        Code::InvalidArgument,
        &["does not hash to its name", &good.hash().to_string()],
    );
    let cut = v1::Object {
        hash: wire(good.hash()),
        zstd: object(&good.encode()).zstd.slice(..10),
        ..v1::Object::default()
    };
    assert_refused(put(cut).await, Code::InvalidArgument, &["decompressed"]);
    assert_refused(put(object(b"hello\n")).await, Code::InvalidArgument, &["header"]);
    let short = v1::Object {
        hash: vec![1].into(),
        ..v1::Object::default()
    };
    assert_refused(put(short).await, Code::InvalidArgument, &["32 bytes"]);
    let secret = concat!(
        "{\"component\":\"shop\",\"format\":1}\n",
        r#"{"apiVersion":"v1","data":{"password":"aHVudGVyMg=="},"kind":"Secret","metadata":{"name":"s","namespace":"d"}}"#,
        "\n"
    );
    assert_refused(put(object(secret.as_bytes())).await, Code::InvalidArgument, &["Secret"]);

    let hashes = vec![
        wire(good.hash()),
        wire(ObjectHash::of(b"hello\n")),
        wire(ObjectHash::of(secret.as_bytes())),
    ];
    let missing = client
        .missing_objects(v1::MissingObjectsRequest { hashes })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(missing.hashes.len(), 3, "nothing was kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn senseless_pushes_say_what_is_wrong() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let mut client = rig.publish().await;
    let shop = bundle("shop", "1");
    let request = publish_request("prod", &shop);
    assert_refused(
        client.publish(request.clone()).await,
        Code::FailedPrecondition,
        &["not in the store", "`shop`"],
    );
    upload(&mut client, &shop).await.unwrap();
    let snapshot = rig.push("prod", &shop).await.snapshot;

    assert_refused(
        client.publish(publish_request("prdo", &shop)).await,
        Code::NotFound,
        &["`prdo`", "`prod`"],
    );
    let mut wrong = request.clone();
    wrong.components[0].component = "mail".to_owned();
    assert_refused(
        client.publish(wrong).await,
        Code::InvalidArgument,
        &["`shop`", "`mail`"],
    );
    let mut no_bundle = request.clone();
    no_bundle.components[0].bundle = Some(snapshot);
    assert_refused(client.publish(no_bundle).await, Code::InvalidArgument, &["no bundle"]);
    let nothing = v1::PublishRequest {
        components: Vec::new(),
        ..request.clone()
    };
    assert_refused(client.publish(nothing).await, Code::InvalidArgument, &["at least one"]);
    let mut twice = request.clone();
    twice.components.push(twice.components[0].clone());
    assert_refused(client.publish(twice).await, Code::InvalidArgument, &["twice"]);
    let mut bad_name = request.clone();
    bad_name.components[0].component = "Shop!".to_owned();
    assert_refused(
        client.publish(bad_name).await,
        Code::InvalidArgument,
        &["component name `Shop!`"],
    );
    let unknown = v1::PublishRequest {
        expected_parent: Some(wire(ObjectHash::of(b"x"))),
        ..request.clone()
    };
    assert_refused(
        client.publish(unknown).await,
        Code::InvalidArgument,
        &["expected_parent"],
    );
    let a_bundle = v1::PublishRequest {
        expected_parent: Some(wire(shop.hash())),
        ..request
    };
    assert_refused(client.publish(a_bundle).await, Code::InvalidArgument, &["no snapshot"]);

    let create = v1::CreateChannelRequest {
        name: "prod".to_owned(),
    };
    assert_refused(client.create_channel(create).await, Code::AlreadyExists, &["`prod`"]);
    let create = v1::CreateChannelRequest {
        name: "Prod Line".to_owned(),
    };
    assert_refused(
        client.create_channel(create).await,
        Code::InvalidArgument,
        &["`Prod Line`"],
    );
    assert_refused(
        client.get_channel(named("none")).await,
        Code::NotFound,
        &["`none`", "channel create"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_admin_token_opens_the_door() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let list = || v1::ListChannelsRequest {};
    let wrong = rig.publish_as("dla_wrong").await.list_channels(list()).await;
    assert_refused(wrong, Code::Unauthenticated, &["admin.token"]);
    let mut none = v1::publish_client::PublishClient::new(rig.connect(None).await.unwrap());
    assert_refused(
        none.list_channels(list()).await,
        Code::Unauthenticated,
        &["driftless login"],
    );
    let agent = rig.agent("edge", "prod").await;
    let mut cluster = v1::publish_client::PublishClient::new(agent.channel(&rig).await);
    assert_refused(
        cluster.list_channels(list()).await,
        Code::PermissionDenied,
        &["admin token"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn bucket_that_cannot_be_written_to_is_told_and_works_again_afterwards() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let (objects, aside) = (
        rig.root.path().join("data/bucket/objects"),
        rig.root.path().join("aside"),
    );
    if objects.exists() {
        std::fs::rename(&objects, &aside).unwrap();
    }
    std::fs::write(&objects, "in the way").unwrap();
    let mut client = rig.publish().await;
    let shop = bundle("shop", "1");
    assert_refused(
        upload(&mut client, &shop).await,
        Code::ResourceExhausted,
        &["cannot be written"],
    );
    std::fs::remove_file(&objects).unwrap();
    if aside.exists() {
        std::fs::rename(&aside, &objects).unwrap();
    }
    assert!(!rig.push("prod", &shop).await.unchanged);
}
