//! How an agent gets its identity, and keeps it.

use std::sync::atomic::{AtomicI64, Ordering};

use driftless_agent::{Error, Settings};
use driftless_sim::{Cluster, Options};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::stage::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spent_token_ends_an_agent_without_identity() {
    let stage = Stage::open().await;
    let join = stage.enroll("edge-1").await;
    let first = Cluster::new(Options::default());
    let joined = agent(&first, settings(&first, &join, "one"));
    let pushed = stage.push(&["a"]).await;
    stage.converged("edge-1", &pushed).await;
    let second = Cluster::new(Options::default());
    let token = CancellationToken::new();
    let error = driftless_agent::run(second.client(), second.client(), settings(&second, &join, "one"), token)
        .await
        .unwrap_err();
    assert!(error.is_fatal() && matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(!error.to_string().contains(&join.token));
    assert_eq!(holder(&second).as_deref(), Some(""));
    assert!(config_map(&second, "a").is_none());
    joined.stop().await;
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_is_renewed_with_the_same_key() {
    static LATER: AtomicI64 = AtomicI64::new(0);
    fn later() -> Timestamp {
        now() + SignedDuration::from_hours(LATER.load(Ordering::Relaxed))
    }
    let stage = Stage::open().await;
    let cluster = Cluster::new(Options::default());
    let join = stage.enroll("edge-1").await;
    let with_clock = || Settings {
        clock: later,
        ..settings(&cluster, &join, "one")
    };
    let first = agent(&cluster, with_clock());
    let pushed = stage.push(&["a"]).await;
    stage.converged("edge-1", &pushed).await;
    first.stop().await;
    let before = identity(&cluster).expect("the stage is sound");
    LATER.store(25 * 24, Ordering::Relaxed);
    let second = agent(&cluster, with_clock());
    let renewed = eventually("another certificate is stored", async || {
        identity(&cluster).filter(|now| now["chain"] != before["chain"])
    });
    assert_eq!(renewed.await["key"], before["key"]);
    let pushed = stage.push(&["a", "b"]).await;
    stage.converged("edge-1", &pushed).await;
    second.stop().await;
    stage.server.stop().await;
}
