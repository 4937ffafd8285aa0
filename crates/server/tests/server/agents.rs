//! The agents' streams.

use bytes::Bytes;
use driftless_model::{
    bundle::{Bundle, MAX_BYTES},
    delta,
    hash::ObjectHash,
    snapshot::Snapshot,
};
use driftless_proto::v1::{
    self, AgentMessage, agent_message::Message as FromAgent, publish_client::PublishClient,
    server_message::Message as ToAgent,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::support::{Rig, assert_refused, bundle, named, object, soon, sync_over, upload, wire};

#[tokio::test(flavor = "multi_thread")]
async fn agent_is_told_its_record_and_every_newer_directive() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let mut stream = rig.agent("edge", "prod").await.sync(&rig).await.unwrap();
    let welcome = stream.welcome().await;
    assert_eq!((welcome.cluster.as_str(), welcome.channel.as_str()), ("edge", "prod"));
    assert_eq!(welcome.labels["region"], "eu");
    assert_eq!(stream.directive().await.0.snapshot, None);

    let shop = bundle("shop", "1");
    let pushed = rig.push("prod", &shop).await;
    let (directive, message) = stream.directive().await;
    assert_eq!(
        (directive.sequence, directive.channel.as_str()),
        (pushed.sequence, "prod")
    );
    // Small objects come along, so that no second trip is needed.
    let inline: Vec<_> = message.objects.iter().map(|object| object.hash.clone()).collect();
    assert_eq!(inline, [pushed.snapshot, wire(shop.hash())]);
    let snapshot = Snapshot::decode(&zstd::decode_all(&message.objects[0].zstd[..]).unwrap()).unwrap();
    assert_eq!(snapshot.components[&shop.component], shop.hash());
    assert_eq!(zstd::decode_all(&message.objects[1].zstd[..]).unwrap(), shop.encode());

    // Of the next push only what is new.
    let mail = bundle("mail", "1");
    let pushed = rig.push("prod", &mail).await;
    let inline: Vec<_> = stream
        .directive()
        .await
        .1
        .objects
        .into_iter()
        .map(|object| object.hash)
        .collect();
    assert_eq!(inline, [pushed.snapshot, wire(mail.hash())]);
}

/// Some hundred lines that do not compress well, and the line `value`.
fn long(value: &str, noise: usize) -> Bundle {
    let line = |n: usize| format!("{}\n", ObjectHash::of(format!("{noise} {n}").as_bytes()));
    let lines: String = (0..700).map(line).collect();
    bundle("shop", &format!("{lines}{value}"))
}

/// What an object of a message makes of `base`.
fn made(object: &v1::Object, base: &Bundle) -> Vec<u8> {
    assert_eq!(object.base, wire(base.hash()));
    delta::decode(&base.encode(), &object.zstd, MAX_BYTES).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_component_comes_as_a_delta_from_what_the_channel_had() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let mut stream = rig.agent("edge", "prod").await.sync(&rig).await.unwrap();
    let old = rig
        .agent("old", "prod")
        .await
        .sync_saying(&rig, v1::Hello::default())
        .await;
    let mut old = old.unwrap();
    stream.welcome().await;
    old.welcome().await;
    let (first, second) = (long("1", 0), long("2", 0));
    let before = rig.push("prod", &first).await;
    stream.directive_for(&before.snapshot).await;
    let after = rig.push("prod", &second).await;
    let message = stream.directive_for(&after.snapshot).await;
    let [snapshot, shop] = &message.objects[..] else {
        panic!("{} objects", message.objects.len());
    };
    assert_eq!((&snapshot.hash, &snapshot.base), (&after.snapshot, &before.snapshot));
    assert_eq!(shop.hash, wire(second.hash()));
    assert!(shop.zstd.len() < 100, "{}", shop.zstd.len());
    assert_eq!(made(shop, &first), second.encode());
    // Agents from before there were deltas ask for what they lack.
    assert!(old.directive_for(&after.snapshot).await.objects.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_with_any_base_gets_what_it_lacks() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let versions = [long("1", 0), long("2", 0), long("3", 0), long("4", 0)];
    let mut snapshots = Vec::new();
    for version in &versions {
        snapshots.push(rig.push("prod", version).await.snapshot);
    }
    let agent = rig.agent("edge", "prod").await;
    // Three versions behind.
    let held = vec![snapshots[0].clone(), wire(versions[0].hash())];
    let mut stream = agent.sync_holding(&rig, held).await.unwrap();
    let last = snapshots[3].clone();
    stream.welcome().await;
    assert!(stream.directive_for(&last).await.objects.is_empty());
    let target = wire(versions[3].hash());
    let none = Bytes::new();
    let collected = wire(ObjectHash::of(b"collected long ago"));
    for base in [wire(versions[0].hash()), none, collected] {
        let want = v1::Want {
            hashes: vec![target.clone()],
            bases: vec![base.clone()],
        };
        stream.send(FromAgent::Want(want)).await;
        let ToAgent::Object(object) = stream.next().await.unwrap() else {
            panic!("not an object");
        };
        assert_eq!(object.hash, target);
        if base == wire(versions[0].hash()) {
            assert_eq!(made(&object, &versions[0]), versions[3].encode());
        } else {
            assert!(object.base.is_empty());
            assert_eq!(zstd::decode_all(&object.zstd[..]).unwrap(), versions[3].encode());
        }
    }
    let lopsided = v1::Want {
        hashes: vec![target.clone()],
        bases: vec![target.clone(), target],
    };
    stream.send(FromAgent::Want(lopsided)).await;
    assert_refused(stream.next().await, Code::InvalidArgument, &["want.bases", "2 for 1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn push_to_another_channel_does_not_reach_the_agent() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    rig.create_channel("dev").await;
    let mut stream = rig.agent("edge", "prod").await.sync(&rig).await.unwrap();
    stream.welcome().await;
    stream.directive().await;
    rig.push("dev", &bundle("shop", "1")).await;
    let pushed = rig.push("prod", &bundle("shop", "2")).await;
    assert_eq!(stream.directive().await.0.sequence, pushed.sequence);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_agent_holds_is_not_sent_again() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let agent = rig.agent("edge", "prod").await;
    let mut first = agent.sync(&rig).await.unwrap();
    first.welcome().await;
    first.directive().await;
    let before = rig.push("prod", &bundle("shop", "1")).await.snapshot;
    first.directive_for(&before).await;
    let shop = bundle("shop", "2");
    let current = rig.push("prod", &shop).await.snapshot;
    first.directive_for(&current).await;
    for (held, sent) in [
        (vec![current.clone(), wire(shop.hash())], vec![]),
        (vec![before.clone()], vec![current.clone(), wire(shop.hash())]),
        // Of a cluster with very many components.
        (
            [vec![current.clone()], vec![wire(shop.hash()); 20_000]].concat(),
            vec![],
        ),
    ] {
        let mut stream = agent.sync_holding(&rig, held).await.unwrap();
        stream.welcome().await;
        let (_, message) = stream.directive().await;
        let inline: Vec<_> = message.objects.into_iter().map(|object| object.hash).collect();
        assert_eq!(inline, sent);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_fetched_by_hash_large_ones_too() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let mut stream = rig.agent("edge", "prod").await.sync(&rig).await.unwrap();
    stream.welcome().await;
    stream.directive().await;
    // Digits of hashes do not compress well.
    let noise: String = (0..4000)
        .map(|n| ObjectHash::of(&[n as u8, (n >> 8) as u8]).to_string())
        .collect();
    let large = bundle("shop", &noise);
    assert!(object(&large.encode()).zstd.len() > 64 * 1024);
    let pushed = rig.push("prod", &large).await;
    let message = stream.directive_for(&pushed.snapshot).await;
    assert_eq!(message.objects.len(), 1, "the snapshot only");
    let none = wire(ObjectHash::of(b"none"));
    let want = v1::Want {
        hashes: vec![wire(large.hash()), none.clone()],
        ..v1::Want::default()
    };
    stream.send(FromAgent::Want(want)).await;
    for _ in 0..2 {
        match stream.next().await.unwrap() {
            ToAgent::Object(object) if object.hash == none => assert!(object.zstd.is_empty()),
            ToAgent::Object(object) => assert_eq!(zstd::decode_all(&object.zstd[..]).unwrap(), large.encode()),
            other => panic!("not an object: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_small_objects_is_not_taken_for_an_attack() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let shop = bundle("shop", "1");
    rig.push("prod", &shop).await;
    let channel = rig.agent("edge", "prod").await.channel(&rig).await;
    let mut stream = sync_over(channel.clone(), v1::Hello::default()).await.unwrap();
    stream.welcome().await;
    stream.directive().await;
    let want = v1::Want {
        hashes: vec![wire(shop.hash()); 2000],
        ..v1::Want::default()
    };
    stream.send(FromAgent::Want(want)).await;
    // Meanwhile nothing is read of what comes, though the connection takes it in.
    let mut other = PublishClient::new(channel);
    for _ in 0..100 {
        let told = other.get_channel(named("prod")).await.unwrap_err();
        assert_eq!(told.code(), Code::PermissionDenied);
    }
    for _ in 0..2000 {
        match stream.next().await.unwrap() {
            ToAgent::Object(object) => assert_eq!(object.hash, wire(shop.hash())),
            other => panic!("not an object: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_does_not_read_skips_to_the_newest() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let mut slow = rig.agent("slow", "prod").await.sync(&rig).await.unwrap();
    let mut quick = rig.agent("quick", "prod").await.sync(&rig).await.unwrap();
    slow.welcome().await;
    quick.welcome().await;
    let mut client = rig.publish().await;
    let mut last = Bytes::new();
    for n in 0..60 {
        // As large as may go inline, and of no use to each other, to fill all buffers on the way.
        let shop = long("", n);
        upload(&mut client, &shop).await.unwrap();
        last = client
            .publish(crate::support::publish_request("prod", &shop))
            .await
            .unwrap()
            .into_inner()
            .snapshot;
        quick.directive_for(&last).await;
    }
    let mut read = 0;
    loop {
        read += 1;
        let snapshot = slow.directive().await.0.snapshot;
        if snapshot.is_some_and(|hash| wire(hash) == last) {
            break;
        }
    }
    assert!(read < 60, "it read {read} directives");
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_stream_of_a_cluster_takes_over() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let agent = rig.agent("edge", "prod").await;
    let mut old = agent.sync(&rig).await.unwrap();
    old.welcome().await;
    old.directive().await;
    let mut new = agent.sync(&rig).await.unwrap();
    new.welcome().await;
    new.directive().await;
    match old.next().await.unwrap() {
        ToAgent::Goodbye(goodbye) => assert!(goodbye.reconnect_after_ms > 10_000),
        other => panic!("not a goodbye: {other:?}"),
    }
    assert_refused(old.next().await, Code::Aborted, &["newer stream"]);
    let pushed = rig.push("prod", &bundle("shop", "1")).await;
    assert_eq!(new.directive().await.0.sequence, pushed.sequence);
    let request = v1::GetClusterRequest {
        name: "edge".to_owned(),
    };
    assert!(
        rig.fleet()
            .await
            .get_cluster(request)
            .await
            .unwrap()
            .into_inner()
            .connected
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolling_anew_ends_the_stream() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let mut stream = rig.agent("edge", "prod").await.sync(&rig).await.unwrap();
    stream.welcome().await;
    stream.directive().await;
    rig.enroll("edge", "prod", true).await;
    assert!(matches!(stream.next().await.unwrap(), ToAgent::Goodbye(_)));
    assert_refused(stream.next().await, Code::PermissionDenied, &["enrolled anew"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_that_moves_gets_the_orders_of_its_new_channel() {
    let root = tempfile::tempdir().unwrap();
    let rig = Rig::start_with(root, |settings| settings).await;
    rig.create_channel("prod").await;
    rig.create_channel("dev").await;
    let agent = rig.agent("edge", "prod").await;
    let (key, certificate) = (agent.key, agent.certificate);
    // Enrolled anew into another channel, and joined with the key it has.
    let token = rig.enroll("edge", "dev", true).await;
    let request = v1::JoinRequest {
        token,
        csr: crate::support::csr(&key),
    };
    rig.enrollment().await.join(request).await.unwrap();
    let mut stream = crate::support::Agent { key, certificate }.sync(&rig).await.unwrap();
    assert_eq!(stream.welcome().await.channel, "dev");
    assert_eq!(stream.directive().await.0.channel.as_str(), "dev");
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_begins_with_one_hello() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let agent = rig.agent("edge", "prod").await;
    let (sender, receiver) = mpsc::channel(4);
    let want = v1::Want::default();
    sender
        .send(AgentMessage {
            message: Some(FromAgent::Want(want)),
        })
        .await
        .unwrap();
    let mut client = v1::sync_client::SyncClient::new(agent.channel(&rig).await);
    let mut messages = client.sync(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    assert_refused(soon(messages.message()).await, Code::InvalidArgument, &["hello"]);

    let mut stream = agent.sync(&rig).await.unwrap();
    stream.welcome().await;
    stream.directive().await;
    stream.send(FromAgent::Hello(v1::Hello::default())).await;
    assert_refused(stream.next().await, Code::InvalidArgument, &["hello comes once"]);
}
