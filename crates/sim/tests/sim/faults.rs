//! Faults, the request log, and the cluster over HTTP.

use driftless_sim::{Failure, Matching};
use kube::api::{ListParams, PostParams};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::support::{api, config_map, refusal, sim};

#[tokio::test]
async fn only_matching_requests_fail_and_only_so_many() {
    let cluster = sim();
    let api = api(&cluster, "", "v1", "ConfigMap", "configmaps", Some("default"));
    let matching = Matching::all().verb("create").resource("configmaps");
    cluster.faults().fail_next(2, matching, Failure::TooManyRequests(1));
    assert!(api.list(&ListParams::default()).await.is_ok());
    for _ in 0..2 {
        let refused = refusal(api.create(&PostParams::default(), &config_map("a", json!({}))).await);
        assert_eq!((refused.code, refused.reason.as_str()), (429, "TooManyRequests"));
        assert_eq!(refused.details.map(|details| details.retry_after_seconds), Some(1));
    }
    api.create(&PostParams::default(), &config_map("a", json!({})))
        .await
        .expect("created");
}

#[tokio::test]
async fn a_cut_off_cluster_answers_nothing_until_it_is_back() {
    let cluster = sim();
    let api = api(&cluster, "", "v1", "ConfigMap", "configmaps", Some("default"));
    cluster.faults().cut_off();
    assert!(matches!(
        api.list(&ListParams::default()).await,
        Err(kube::Error::Service(_))
    ));
    cluster.faults().reconnect();
    assert!(api.list(&ListParams::default()).await.is_ok());
}

#[tokio::test]
async fn requests_are_counted_and_logged() {
    let cluster = sim();
    let api = api(&cluster, "", "v1", "ConfigMap", "configmaps", Some("default"));
    api.list(&ListParams::default()).await.expect("listed");
    assert_eq!(
        (
            cluster.requests().writes(),
            cluster.requests().count("list", "configmaps")
        ),
        (0, 1)
    );
    api.create(&PostParams::default(), &config_map("a", json!({})))
        .await
        .expect("created");
    let requests = cluster.requests();
    let last = requests.log().last().expect("logged");
    assert_eq!(
        (last.verb.as_str(), last.resource.as_str(), last.namespace.as_str()),
        ("create", "configmaps", "default")
    );
    assert!(last.is_write() && last.code == 201 && requests.writes_except("configmaps") == 0);
}

/// kubectl against the cluster: its output, or why it failed.
async fn kubectl(config: &std::path::Path, args: &[&str]) -> Option<Result<String, String>> {
    let mut command = Command::new("kubectl");
    command
        .arg("--kubeconfig")
        .arg(config)
        .arg("--cache-dir")
        .arg(config.with_extension("cache"))
        .args(args);
    let output = command.output().await.ok()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    })
}

#[tokio::test]
async fn kubectl_works_against_a_served_cluster() {
    let cluster = sim();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let stop = CancellationToken::new();
    let server = tokio::spawn({
        let (cluster, stop) = (cluster.clone(), stop.clone());
        async move { cluster.serve(listener, stop).await }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("config");
    std::fs::write(&config, cluster.kubeconfig(address)).expect("written");
    let file = folder.path().join("shop.yaml");
    std::fs::write(&file, include_str!("shop.yaml")).expect("written");
    let file = file.to_str().expect("a path of text");
    let Some(version) = kubectl(&config, &["version"]).await else {
        eprintln!("no kubectl here: the test over HTTP was skipped");
        return;
    };
    assert!(version.expect("answers").contains("v1.36.3"));
    for args in [
        vec!["apply", "-f", file],
        vec!["apply", "-f", file],
        vec!["apply", "--server-side", "--force-conflicts", "-f", file],
        vec!["get", "all", "-n", "shop"],
        vec!["get", "deploy", "web", "-n", "shop", "-o", "yaml"],
        vec!["rollout", "status", "deploy/web", "-n", "shop", "--timeout=5s"],
        vec!["scale", "deploy/web", "-n", "shop", "--replicas=2"],
        vec!["set", "image", "deploy/web", "web=nginx:2", "-n", "shop"],
        vec!["label", "configmap", "settings", "a=b", "-n", "shop"],
        vec![
            "wait",
            "--for=condition=Available",
            "deploy/web",
            "-n",
            "shop",
            "--timeout=5s",
        ],
        vec!["api-resources"],
        vec!["delete", "namespace", "shop", "--timeout=5s"],
    ] {
        let done = kubectl(&config, &args).await.expect("kubectl is here");
        assert!(done.is_ok(), "kubectl {args:?}: {}", done.expect_err("failed"));
    }
    stop.cancel();
    server
        .await
        .expect("the server does not panic")
        .expect("the server stops in order");
}
