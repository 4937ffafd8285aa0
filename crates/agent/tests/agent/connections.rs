//! Connections that die without a word.

use std::{sync::Arc, time::Duration};

use driftless_sim::{Cluster, Options};

use crate::stage::*;

/// Carries connections to the server. When told to freeze, what is open stays so, and all that either end sends is taken
/// and goes nowhere; what is opened later works.
async fn freezer(server: std::net::SocketAddr) -> (std::net::SocketAddr, Arc<tokio::sync::Notify>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("the stage is sound");
    let address = listener.local_addr().expect("the stage is sound");
    let freeze = Arc::new(tokio::sync::Notify::new());
    let told = freeze.clone();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let told = told.clone();
            tokio::spawn(async move {
                let mut far = tokio::net::TcpStream::connect(server)
                    .await
                    .expect("the stage is sound");
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                    () = told.notified() => {}
                }
                // Both sockets stay open.
                std::future::pending::<()>().await;
                drop((near, far));
            });
        }
    });
    (address, freeze)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agent_finds_that_its_server_is_frozen_and_connects_anew() {
    let stage = Stage::open().await;
    let cluster = Cluster::new(Options::default());
    let server = stage
        .url
        .trim_start_matches("https://")
        .parse()
        .expect("the stage is sound");
    let (address, freeze) = freezer(server).await;
    let mut settings = settings(&cluster, &stage.enroll("edge-1").await, "one");
    settings.server = Some(format!("https://{address}"));
    settings.timings.keep_alive = Duration::from_millis(300);
    settings.timings.connect = Duration::from_secs(2);
    let agent = agent(&cluster, settings);
    let pushed = stage.push(&["a"]).await;
    stage.converged("edge-1", &pushed).await;
    // For the one that is open.
    freeze.notify_waiters();
    let pushed = stage.push(&["a", "b"]).await;
    stage.converged("edge-1", &pushed).await;
    agent.stop().await;
    stage.server.stop().await;
}
