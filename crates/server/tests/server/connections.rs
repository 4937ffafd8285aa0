//! Connections whose other end has nothing to say, or cannot.

use std::{net::SocketAddr, time::Duration};

use driftless_proto::v1;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use crate::{
    pages,
    support::{Rig, SOON, soon},
};

/// Does the server think that the cluster's stream is open?
async fn is_connected(rig: &Rig) -> bool {
    let request = v1::GetClusterRequest {
        name: "edge".to_owned(),
    };
    let cluster = rig.fleet().await.get_cluster(request).await.unwrap();
    cluster.into_inner().connected
}

/// Carries one connection to the server, until told to freeze: then both ends find that all they send is taken, and
/// hear nothing any more.
async fn freezer(server: SocketAddr) -> (SocketAddr, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (freeze, frozen) = oneshot::channel();
    tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        let mut far = TcpStream::connect(server).await.unwrap();
        tokio::select! {
            _ = copy_bidirectional(&mut near, &mut far) => return,
            _ = frozen => {}
        }
        // Both sockets stay open.
        std::future::pending::<()>().await;
        drop((near, far));
    });
    (address, freeze)
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_that_is_frozen_is_found_by_a_question_to_its_program() {
    let mut rig = Rig::start_with(tempfile::tempdir().unwrap(), |mut settings| {
        settings.connections.ping_every = Duration::from_millis(200);
        settings.connections.ping_answer = Duration::from_secs(2);
        settings
    })
    .await;
    rig.create_channel("prod").await;
    let agent = rig.agent("edge", "prod").await;
    let server = rig.address;
    let (address, freeze) = freezer(server).await;
    rig.address = address;
    let mut stream = agent.sync(&rig).await.unwrap();
    stream.welcome().await;
    stream.directive().await;
    rig.address = server;
    // It is asked meanwhile, and answers.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(is_connected(&rig).await);
    freeze.send(()).unwrap();
    soon(async {
        while is_connected(&rig).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn storm_of_connections_waits_its_turn_and_nobody_is_turned_away() {
    let rig = Rig::start_with(tempfile::tempdir().unwrap(), |mut settings| {
        settings.connections.handshakes_per_second = 20;
        settings
    })
    .await;
    let connecting = (0..30).map(|_| rig.connect(None));
    for connected in soon(futures::future::join_all(connecting)).await {
        connected.unwrap();
    }
    let (_, page) = pages::get(&rig, "/metrics", true).await;
    let delayed = page
        .lines()
        .find_map(|line| line.strip_prefix("driftless_tls_handshakes_delayed_total "));
    let delayed: u32 = delayed.unwrap().parse().unwrap();
    assert!((1..=31).contains(&delayed), "{delayed}");
    assert!(page.contains("driftless_tls_handshakes_failed_total 0"), "{page}");
}

/// What the kernel waits for on the connections at a local port: (the timer's kind, hundredths of a second).
#[cfg(target_os = "linux")]
fn timers(port: u16) -> Vec<(u8, u64)> {
    const ESTABLISHED: &str = "01";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!(":{port:04X}");
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[1].ends_with(&local) && row[3] == ESTABLISHED)
        .map(|row| {
            let (kind, left) = row[5].split_once(':').unwrap();
            (kind.parse().unwrap(), u64::from_str_radix(left, 16).unwrap())
        })
        .collect()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn kernel_watches_over_every_connection_of_the_server_each_at_a_time_of_its_own() {
    const KEEP_ALIVE: u8 = 2;
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let mut stream = rig.agent("edge", "prod").await.sync(&rig).await.unwrap();
    stream.welcome().await;
    stream.directive().await;
    let connecting = (0..30).map(|_| TcpStream::connect(rig.address));
    let _silent = futures::future::try_join_all(connecting).await.unwrap();
    // Until what was sent is acknowledged another timer runs.
    let looking = async {
        loop {
            let timers = timers(rig.address.port());
            let is_watched = |&(kind, left): &(u8, u64)| kind == KEEP_ALIVE && left <= 9000;
            if timers.len() > 30 && timers.iter().all(is_watched) {
                return timers;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let Ok(timers) = tokio::time::timeout(SOON, looking).await else {
        panic!("connections that nobody watches: {:?}", timers(rig.address.port()));
    };
    let (least, most) = (timers.iter().min().unwrap().1, timers.iter().max().unwrap().1);
    assert!(most - least >= 1000, "all within ten seconds: {timers:?}");
}
