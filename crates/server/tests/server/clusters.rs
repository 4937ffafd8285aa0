//! Changing, moving and retiring clusters, and what their agents are told.

use driftless_proto::v1::{self, agent_message::Message as FromAgent};
use tonic::Code;

use crate::support::{Rig, assert_refused, bundle, components, converged, soon};

fn change(name: &str) -> v1::ClusterChange {
    v1::ClusterChange {
        name: name.to_owned(),
        ..v1::ClusterChange::default()
    }
}

fn labelled(name: &str, key: &str, value: &str) -> v1::ClusterChange {
    v1::ClusterChange {
        set_labels: [(key.to_owned(), value.to_owned())].into(),
        ..change(name)
    }
}

async fn apply(rig: &Rig, changes: Vec<v1::ClusterChange>) -> Result<v1::ChangeClustersResponse, tonic::Status> {
    let request = v1::ChangeClustersRequest { changes };
    let response = rig.fleet().await.change_clusters(request).await?;
    Ok(response.into_inner())
}

async fn retire(rig: &Rig, names: &[&str]) -> Result<u64, tonic::Status> {
    let request = v1::RetireClustersRequest {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
    };
    let response = rig.fleet().await.retire_clusters(request).await?;
    Ok(response.into_inner().sequence)
}

async fn get(rig: &Rig, name: &str) -> v1::Cluster {
    let request = v1::GetClusterRequest { name: name.to_owned() };
    rig.fleet()
        .await
        .get_cluster(request)
        .await
        .expect("the cluster is there")
        .into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn connected_agent_is_told_new_labels_and_variables_at_once() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let mut stream = rig.agent("edge", "prod").await.sync(&rig).await.unwrap();
    assert_eq!(stream.welcome().await.revision, 0);
    stream.directive().await;
    let mut asked = labelled("edge", "tier", "edge");
    asked.set_vars = [("db.port".to_owned(), " 5432 ".to_owned())].into();
    let changed = apply(&rig, vec![asked.clone()]).await.unwrap();
    assert_eq!(changed.changed, ["edge"]);
    let welcome = stream.welcome().await;
    assert_eq!(
        (welcome.labels["region"].as_str(), welcome.labels["tier"].as_str()),
        ("eu", "edge")
    );
    assert_eq!(welcome.vars["db"], r#"{"port":5432}"#);
    assert_eq!((welcome.channel.as_str(), welcome.revision), ("prod", changed.sequence));
    let told = get(&rig, "edge").await;
    assert_eq!(told.vars, welcome.vars);
    let last = told.changed.unwrap();
    assert_eq!((last.sequence, last.author.as_str()), (changed.sequence, "admin"));

    // What is so already changes nothing, and is told to nobody: the next message is about the push.
    assert_eq!(
        apply(&rig, vec![asked]).await.unwrap(),
        v1::ChangeClustersResponse::default()
    );
    let pushed = rig.push("prod", &bundle("shop", "1")).await;
    assert_eq!(stream.directive().await.0.sequence, pushed.sequence);
}

async fn order(
    rig: &Rig,
    names: &[&str],
    order: v1::order_clusters_request::Order,
) -> Result<v1::OrderClustersResponse, tonic::Status> {
    let request = v1::OrderClustersRequest {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        order: Some(order),
    };
    Ok(rig.fleet().await.order_clusters(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn connected_agents_are_told_orders_at_once_and_listings_show_them() {
    use v1::order_clusters_request::Order;
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let mut stream = rig.agent("edge", "prod").await.sync(&rig).await.unwrap();
    assert_eq!(stream.welcome().await.orders, "");
    stream.directive().await;
    rig.enroll("other", "prod", false).await;
    let pause = |seconds, reason: &str| {
        Order::Pause(v1::Pause {
            component: String::new(),
            seconds,
            reason: reason.to_owned(),
        })
    };
    let ordered = order(&rig, &["edge", "other"], pause(3600, "a migration"))
        .await
        .unwrap();
    assert_eq!(ordered.changed, ["edge", "other"]);
    let welcome = stream.welcome().await;
    assert_eq!(welcome.revision, ordered.sequence);
    let orders = driftless_proto::orders("orders", &welcome.orders).unwrap();
    let pause_of_all = orders.pauses.cluster.unwrap();
    assert_eq!(
        (pause_of_all.author.as_str(), pause_of_all.reason.as_str()),
        ("admin", "a migration")
    );
    assert_eq!(get(&rig, "other").await.orders, welcome.orders);

    let resumed = order(&rig, &["edge"], Order::Resume(v1::Resume::default()))
        .await
        .unwrap();
    let welcome = stream.welcome().await;
    assert_eq!((welcome.orders.as_str(), welcome.revision), ("", resumed.sequence));
    let again = order(&rig, &["edge"], Order::Resume(v1::Resume::default()))
        .await
        .unwrap();
    assert_eq!(again, v1::OrderClustersResponse::default());

    assert_refused(
        order(&rig, &["edge"], pause(3600, "")).await,
        Code::InvalidArgument,
        &["a pause needs a reason"],
    );
    assert_refused(
        order(&rig, &["edge", "nope"], pause(3600, "x")).await,
        Code::NotFound,
        &["no cluster `nope`"],
    );
    assert_refused(
        order(&rig, &[], pause(3600, "x")).await,
        Code::InvalidArgument,
        &["names:"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn moved_agent_gets_the_orders_of_its_new_channel_on_the_same_stream() {
    let rig = Rig::start().await;
    rig.create_channel("dev").await;
    rig.create_channel("prod").await;
    let in_dev = rig.push("dev", &bundle("shop", "dev")).await;
    let in_prod = rig.push("prod", &bundle("shop", "prod")).await;
    let mut stream = rig.agent("edge", "prod").await.sync(&rig).await.unwrap();
    stream.welcome().await;
    assert_eq!(stream.directive().await.0.sequence, in_prod.sequence);
    let moving = |channel: &str| v1::ClusterChange {
        channel: Some(channel.to_owned()),
        ..change("edge")
    };
    apply(&rig, vec![moving("dev")]).await.unwrap();
    assert_eq!(stream.welcome().await.channel, "dev");
    let (directive, _) = stream.directive().await;
    assert_eq!(
        (directive.channel.as_str(), directive.sequence),
        ("dev", in_dev.sequence)
    );
    apply(&rig, vec![moving("prod")]).await.unwrap();
    assert_eq!(stream.welcome().await.channel, "prod");
    let (directive, _) = stream.directive().await;
    assert_eq!(
        (directive.channel.as_str(), directive.sequence),
        ("prod", in_prod.sequence)
    );
    assert_refused(
        apply(&rig, vec![moving("none")]).await,
        Code::NotFound,
        &["no channel `none`"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clusters_change_in_one_entry_or_not_at_all() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    for n in 0..20 {
        rig.enroll(&format!("edge-{n}"), "prod", false).await;
    }
    let all = |value: &str| {
        (0..20)
            .map(|n| labelled(&format!("edge-{n}"), "wave", value))
            .collect::<Vec<_>>()
    };
    let first = apply(&rig, all("1")).await.unwrap();
    assert_eq!(first.changed.len(), 20);
    let mut with_bad = all("1");
    with_bad[3] = labelled("edge-3", "other", "x");
    with_bad[7] = labelled("edge-7", "region", "us");
    with_bad[8] = labelled("edge-8", "driftless.dev/cluster", "x");
    let words = [
        "cluster `edge-7`: label `region` is `eu` already",
        "cluster `edge-8`: label `driftless.dev/cluster`",
    ];
    assert_refused(apply(&rig, with_bad).await, Code::InvalidArgument, &words);
    assert!(!get(&rig, "edge-3").await.labels.contains_key("other"));
    let second = apply(&rig, vec![labelled("edge-3", "x", "y")]).await.unwrap();
    assert_eq!(second.sequence, first.sequence + 1, "each change is one entry");
    let twice = vec![labelled("edge-3", "x", "y"), labelled("edge-3", "x", "z")];
    assert_refused(
        apply(&rig, twice).await,
        Code::InvalidArgument,
        &["`edge-3` is in it twice"],
    );
    let unknown = vec![labelled("nope", "x", "y")];
    assert_refused(apply(&rig, unknown).await, Code::NotFound, &["no cluster `nope`"]);
    let mut vars = change("edge-1");
    vars.set_vars = [("a b".to_owned(), "1".to_owned())].into();
    assert_refused(
        apply(&rig, vec![vars]).await,
        Code::InvalidArgument,
        &["variable name `a b`"],
    );

    let list = |selector: &str| v1::ListClustersRequest {
        selector: selector.to_owned(),
        ..v1::ListClustersRequest::default()
    };
    let mut fleet = rig.fleet().await;
    let found = fleet
        .list_clusters(list("x=y,driftless.dev/channel=prod"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        found.clusters.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(),
        ["edge-3"]
    );
    let found = fleet
        .list_clusters(list("driftless.dev/cluster in (edge-1,edge-2)"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(found.clusters.len(), 2);
    assert_refused(
        fleet.list_clusters(list("a in")).await,
        Code::InvalidArgument,
        &["selector `a in`"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_changes_of_one_cluster_all_stay() {
    let rig = std::sync::Arc::new(Rig::start().await);
    rig.create_channel("prod").await;
    rig.enroll("edge", "prod", false).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..30 {
        let rig = rig.clone();
        tasks.spawn(async move {
            apply(&rig, vec![labelled("edge", &format!("l{n}"), "x")])
                .await
                .unwrap()
        });
    }
    soon(tasks.join_all()).await;
    assert_eq!(get(&rig, "edge").await.labels.len(), 31);
}

#[tokio::test(flavor = "multi_thread")]
async fn cluster_has_converged_only_by_its_newest_record() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let shop = bundle("shop", "1");
    let pushed = rig.push("prod", &shop).await;
    let mut stream = rig.agent("edge", "prod").await.sync(&rig).await.unwrap();
    stream.welcome().await;
    let watch = v1::WatchChannelRequest {
        channel: "prod".to_owned(),
    };
    let mut watch = rig.fleet().await.watch_channel(watch).await.unwrap().into_inner();
    let mut until = async |wanted: bool| loop {
        let told = soon(watch.message()).await.unwrap().unwrap();
        if told
            .clusters
            .iter()
            .any(|cluster| cluster.converged == wanted && cluster.status.is_some())
        {
            return;
        }
    };
    let report = |revision: u64| v1::ClusterStatus {
        revision: Some(revision),
        ..converged(&pushed.snapshot, &components(&[&shop]))
    };
    stream.send(FromAgent::Status(report(0))).await;
    until(true).await;
    let changed = apply(&rig, vec![labelled("edge", "a", "b")]).await.unwrap();
    until(false).await;
    stream.send(FromAgent::Status(report(changed.sequence))).await;
    until(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retired_agent_is_told_so_and_its_certificate_is_void() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let token = rig.enroll("unused", "prod", false).await;
    let agent = rig.agent("edge", "prod").await;
    let mut stream = agent.sync(&rig).await.unwrap();
    stream.welcome().await;
    stream.directive().await;
    let watch = v1::WatchChannelRequest {
        channel: "prod".to_owned(),
    };
    let mut watch = rig.fleet().await.watch_channel(watch).await.unwrap().into_inner();
    assert_eq!(soon(watch.message()).await.unwrap().unwrap().clusters.len(), 2);

    assert_refused(retire(&rig, &[]).await, Code::InvalidArgument, &["name the clusters"]);
    assert_refused(
        retire(&rig, &["edge", "nope"]).await,
        Code::NotFound,
        &["no cluster `nope`"],
    );
    retire(&rig, &["edge", "unused"]).await.unwrap();
    let ended = stream.next().await.unwrap_err();
    assert_eq!(ended.code(), Code::PermissionDenied);
    assert!(
        ended.message().starts_with("cluster `edge` was retired by admin at "),
        "{ended:?}"
    );
    assert_eq!(
        ended.metadata().get(driftless_proto::REASON).unwrap(),
        driftless_proto::RETIRED
    );
    let told = soon(watch.message()).await.unwrap().unwrap();
    assert_eq!(told.retired, ["edge", "unused"]);

    let again = agent.sync(&rig).await.map(|_| ());
    assert_refused(
        again,
        Code::PermissionDenied,
        &["cluster `edge` was retired by admin at "],
    );
    assert_refused(
        rig.join(&token).await.map(|_| ()),
        Code::Unauthenticated,
        &["its cluster was retired"],
    );
    assert_refused(retire(&rig, &["edge"]).await, Code::NotFound, &["no cluster `edge`"]);

    // It may come back, as a new one.
    let token = rig.enroll("edge", "prod", false).await;
    let cluster = get(&rig, "edge").await;
    assert!(
        cluster.status.is_none() && cluster.last_seen.is_none(),
        "nothing is known of it"
    );
    rig.join(&token)
        .await
        .unwrap()
        .sync(&rig)
        .await
        .unwrap()
        .welcome()
        .await;
}
