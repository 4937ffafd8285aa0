//! Enrolling clusters and watching them.

use driftless_proto::v1::{self, agent_message::Message as FromAgent};
use tonic::{Code, Streaming};

use crate::support::{Rig, assert_refused, bundle, components, converged, soon};

fn enrol(name: &str, channel: &str) -> v1::EnrollClusterRequest {
    v1::EnrollClusterRequest {
        name: name.to_owned(),
        channel: channel.to_owned(),
        ..v1::EnrollClusterRequest::default()
    }
}

async fn next(watch: &mut Streaming<v1::ChannelStatus>) -> v1::ChannelStatus {
    soon(watch.message()).await.unwrap().unwrap()
}

/// Reads until a message tells this of the cluster; gives the cluster.
async fn until(
    watch: &mut Streaming<v1::ChannelStatus>,
    name: &str,
    is_it: impl Fn(&v1::Cluster) -> bool,
) -> v1::Cluster {
    loop {
        let found = next(watch)
            .await
            .clusters
            .into_iter()
            .find(|cluster| cluster.name == name && is_it(cluster));
        if let Some(cluster) = found {
            return cluster;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_is_seen_from_enrolment_to_convergence_and_after() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let shop = bundle("shop", "1");
    let pushed = rig.push("prod", &shop).await;
    let mut fleet = rig.fleet().await;
    let get = v1::GetClusterRequest {
        name: "edge".to_owned(),
    };

    let token = rig.enroll("edge", "prod", false).await;
    let cluster = fleet.get_cluster(get.clone()).await.unwrap().into_inner();
    assert!(!cluster.joined && !cluster.connected && cluster.last_seen.is_none());
    let request = v1::WatchChannelRequest {
        channel: "prod".to_owned(),
    };
    let mut watch = fleet.watch_channel(request).await.unwrap().into_inner();
    let all = next(&mut watch).await;
    assert_eq!(all.channel.unwrap().snapshot, Some(pushed.snapshot.clone()));
    assert_eq!(all.clusters.len(), 1);

    let mut stream = rig.join(&token).await.unwrap().sync(&rig).await.unwrap();
    stream.welcome().await;
    until(&mut watch, "edge", |cluster| {
        cluster.joined && cluster.connected && !cluster.converged
    })
    .await;
    stream
        .send(FromAgent::Status(converged(&pushed.snapshot, &components(&[&shop]))))
        .await;
    let told = until(&mut watch, "edge", |cluster| cluster.converged).await;
    assert_eq!(told.status.unwrap().components[0].applied, 1);

    // A newer snapshot, and it is behind.
    let newer = rig.push("prod", &bundle("shop", "2")).await;
    let behind = until(&mut watch, "edge", |cluster| !cluster.converged).await;
    assert!(behind.connected && behind.status.is_some());
    let channel = rig
        .publish()
        .await
        .get_channel(v1::GetChannelRequest {
            name: "prod".to_owned(),
        })
        .await;
    assert_eq!(channel.unwrap().into_inner().snapshot, Some(newer.snapshot));

    drop(stream);
    let gone = until(&mut watch, "edge", |cluster| !cluster.connected).await;
    assert!(
        gone.last_seen.is_some() && gone.status.is_some(),
        "the last report stays"
    );
    let list = fleet
        .list_clusters(v1::ListClustersRequest {
            channel: "prod".to_owned(),
            ..v1::ListClustersRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(list.clusters.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_tells_only_what_changed_and_not_too_often() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    rig.create_channel("dev").await;
    for n in 0..5 {
        rig.enroll(&format!("edge-{n}"), "prod", false).await;
    }
    let mut fleet = rig.fleet().await;
    let request = v1::WatchChannelRequest {
        channel: "prod".to_owned(),
    };
    let mut watch = fleet.watch_channel(request).await.unwrap().into_inner();
    assert_eq!(next(&mut watch).await.clusters.len(), 5);
    rig.enroll("elsewhere", "dev", false).await;
    rig.enroll("edge-5", "prod", false).await;
    let news = next(&mut watch).await;
    assert_eq!(
        news.clusters
            .iter()
            .map(|cluster| cluster.name.as_str())
            .collect::<Vec<_>>(),
        ["edge-5"]
    );
    assert_eq!(news.channel.unwrap().clusters, 6);
    // Moved away: told once more, with the other channel's name.
    rig.enroll("edge-5", "dev", true).await;
    assert_eq!(next(&mut watch).await.clusters[0].channel, "dev");

    let began = tokio::time::Instant::now();
    let enrolling = async {
        for n in 6..16 {
            rig.enroll(&format!("edge-{n}"), "prod", false).await;
        }
    };
    let watching = async {
        let (mut messages, mut clusters) = (0, 0);
        while clusters < 10 {
            clusters += next(&mut watch).await.clusters.len();
            messages += 1;
        }
        messages
    };
    let ((), messages) = tokio::join!(enrolling, watching);
    let most = began.elapsed().as_millis() / 200 + 2;
    assert!(messages <= most, "{messages} messages in {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn senseless_enrolments_say_what_is_wrong() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let mut fleet = rig.fleet().await;
    assert_refused(
        fleet.enroll_cluster(enrol("edge", "none")).await,
        Code::NotFound,
        &["`none`", "`prod`"],
    );
    assert_refused(
        fleet.enroll_cluster(enrol("Edge", "prod")).await,
        Code::InvalidArgument,
        &["cluster name `Edge`"],
    );
    let labels = [("bad key".to_owned(), "x".to_owned())].into();
    let request = v1::EnrollClusterRequest {
        labels,
        ..enrol("edge", "prod")
    };
    assert_refused(
        fleet.enroll_cluster(request).await,
        Code::InvalidArgument,
        &["label key `bad key`"],
    );
    let request = v1::EnrollClusterRequest {
        token_ttl_seconds: 31 * 24 * 3600,
        ..enrol("edge", "prod")
    };
    assert_refused(fleet.enroll_cluster(request).await, Code::InvalidArgument, &["30 days"]);
    let get = v1::GetClusterRequest {
        name: "edge".to_owned(),
    };
    assert_refused(
        fleet.get_cluster(get).await,
        Code::NotFound,
        &["`edge`", "cluster enroll"],
    );
    let list = v1::ListClustersRequest {
        channel: "none".to_owned(),
        ..v1::ListClustersRequest::default()
    };
    assert_refused(fleet.list_clusters(list).await, Code::NotFound, &["`none`"]);
    let watch = v1::WatchChannelRequest {
        channel: "none".to_owned(),
    };
    assert_refused(
        fleet.watch_channel(watch).await.map(|_| ()),
        Code::NotFound,
        &["`none`"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn report_that_makes_no_sense_does_not_end_the_stream() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let mut stream = rig.agent("edge", "prod").await.sync(&rig).await.unwrap();
    stream.welcome().await;
    stream.directive().await;
    let broken = v1::ClusterStatus {
        snapshot: Some(vec![1, 2].into()),
        ..v1::ClusterStatus::default()
    };
    stream.send(FromAgent::Status(broken)).await;
    let pushed = rig.push("prod", &bundle("shop", "1")).await;
    assert_eq!(stream.directive().await.0.sequence, pushed.sequence);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_is_known_to_every_server_of_the_bucket_and_survives_a_restart() {
    let one = Rig::start().await;
    one.create_channel("prod").await;
    let shop = bundle("shop", "1");
    let pushed = one.push("prod", &shop).await;
    let bucket = one.root.path().join("data/bucket").display().to_string();
    let other = Rig::start_with(tempfile::tempdir().unwrap(), |settings| driftless_server::Settings {
        bucket: Some(bucket),
        ..settings
    })
    .await;
    let mut stream = one.agent("edge", "prod").await.sync(&one).await.unwrap();
    stream.welcome().await;
    stream
        .send(FromAgent::Status(converged(&pushed.snapshot, &components(&[&shop]))))
        .await;
    let request = || v1::WatchChannelRequest {
        channel: "prod".to_owned(),
    };
    let mut watch = other.fleet().await.watch_channel(request()).await.unwrap().into_inner();
    let told = until(&mut watch, "edge", |cluster| cluster.connected && cluster.converged).await;
    assert_eq!(told.status.unwrap().components[0].applied, 1);
    let named = v1::GetChannelRequest {
        name: "prod".to_owned(),
    };
    for rig in [&one, &other] {
        let channel = rig
            .publish()
            .await
            .get_channel(named.clone())
            .await
            .unwrap()
            .into_inner();
        let progress = channel.progress.unwrap();
        assert_eq!((channel.clusters, progress.connected, progress.healthy), (1, 1, 1));
    }

    drop(stream);
    let one = one.restart().await;
    let get = v1::GetClusterRequest {
        name: "edge".to_owned(),
    };
    let kept = one.fleet().await.get_cluster(get).await.unwrap().into_inner();
    assert!(
        !kept.connected && kept.last_seen.is_some() && kept.converged,
        "{kept:?}"
    );
    until(&mut watch, "edge", |cluster| !cluster.connected && cluster.converged).await;
}
