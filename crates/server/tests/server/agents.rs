//! The agents' streams.

use bytes::Bytes;
use driftless_model::{hash::ObjectHash, snapshot::Snapshot};
use driftless_proto::v1::{
    self, AgentMessage, agent_message::Message as FromAgent, server_message::Message as ToAgent,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::support::{Rig, assert_refused, bundle, object, soon, upload, wire};

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
    assert_eq!(snapshot.components[&"shop".parse().unwrap()], shop.hash());
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
    let shop = bundle("shop", "1");
    let pushed = rig.push("prod", &shop).await;
    first.directive().await;
    let mut stream = agent.sync_holding(&rig, vec![wire(shop.hash())]).await.unwrap();
    stream.welcome().await;
    let inline: Vec<_> = stream
        .directive()
        .await
        .1
        .objects
        .into_iter()
        .map(|object| object.hash)
        .collect();
    assert_eq!(inline, [pushed.snapshot]);
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
async fn agent_that_does_not_read_skips_to_the_newest() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let mut slow = rig.agent("slow", "prod").await.sync(&rig).await.unwrap();
    let mut quick = rig.agent("quick", "prod").await.sync(&rig).await.unwrap();
    slow.welcome().await;
    quick.welcome().await;
    let mut client = rig.publish().await;
    let mut last = Bytes::new();
    let noise: String = (0..700)
        .map(|n| ObjectHash::of(&[n as u8, (n >> 8) as u8]).to_string())
        .collect();
    for n in 0..60 {
        // As large as may go inline, to fill all buffers on the way.
        let shop = bundle("shop", &format!("{noise}{n}"));
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
    let want = v1::Want { hashes: Vec::new() };
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
