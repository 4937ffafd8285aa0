//! Start, stop, restart, and two servers on one bucket.

use std::{error::Error as _, fs, os::unix::fs::PermissionsExt, path::Path};

use driftless_proto::v1::{self, server_message::Message as ToAgent};
use driftless_server::Server;
use tonic::Code;

use crate::support::{Rig, assert_refused, bundle, publish_request, settings, soon, upload, wire};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

async fn start_error(root: &Path) -> String {
    let error = Server::start(settings(&root.join("data")))
        .await
        .expect_err("must not start");
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn first_start_makes_the_folder_with_secrets_for_the_owner_only() {
    let rig = Rig::start().await;
    let data = rig.root.path().join("data");
    assert_eq!(mode(&data), 0o700);
    for secret in ["ca.key", "server.key", "admin.token", "tickets.key"] {
        assert_eq!(mode(&data.join(secret)), 0o600, "{secret}");
    }
    assert!(data.join("ca.crt").exists() && data.join("bucket").is_dir());
    rig.create_channel("prod").await;
    let join = rig.enroll("edge", "prod", false).await;
    let key = fs::read_to_string(data.join("ca.key")).unwrap();
    let secrets = [rig.token.as_str(), join.as_str(), key.lines().nth(1).unwrap()];
    let mut folders = vec![data.join("bucket")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let content = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
            assert!(
                !secrets.iter().any(|secret| content.contains(secret)),
                "a secret is in {}",
                path.display()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_keeps_everything() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let agent = rig.agent("edge", "prod").await;
    let pushed = rig.push("prod", &bundle("shop", "1")).await;
    let (ca, token) = (rig.ca.clone(), rig.token.clone());
    let rig = rig.restart().await;
    assert_eq!((&rig.ca, &rig.token), (&ca, &token));
    let mut stream = agent.sync(&rig).await.unwrap();
    stream.welcome().await;
    assert_eq!(stream.directive().await.0.sequence, pushed.sequence);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_server_says_goodbye_and_ends_in_time() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let mut stream = rig.agent("edge", "prod").await.sync(&rig).await.unwrap();
    stream.welcome().await;
    stream.directive().await;
    // Says nothing: nobody waits for it either.
    let _silent = tokio::net::TcpStream::connect(rig.address).await.unwrap();
    let mut fleet = rig.fleet().await;
    let request = v1::WatchChannelRequest {
        channel: "prod".to_owned(),
    };
    let mut watch = fleet.watch_channel(request).await.unwrap().into_inner();
    watch.message().await.unwrap();
    rig.ask_to_stop();
    match stream.next().await.unwrap() {
        ToAgent::Goodbye(goodbye) => assert!(goodbye.reconnect_after_ms < 3000),
        other => panic!("not a goodbye: {other:?}"),
    }
    assert_refused(stream.next().await, Code::Unavailable, &["stopping"]);
    let end = soon(async {
        loop {
            match watch.message().await {
                Ok(Some(_)) => {}
                other => return other,
            }
        }
    });
    assert_refused(end.await, Code::Unavailable, &["stopping"]);
    let began = tokio::time::Instant::now();
    rig.stop().await;
    assert!(
        began.elapsed().as_secs() < 5,
        "it waited for callers that were told to go"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn push_that_was_acknowledged_while_stopping_is_there_afterwards() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let mut client = rig.publish().await;
    let bundles: Vec<_> = (0..40).map(|n| bundle(&format!("app-{n}"), "1")).collect();
    for bundle in &bundles {
        upload(&mut client, bundle).await.unwrap();
    }
    let pushes: Vec<_> = bundles
        .iter()
        .map(|bundle| {
            let (mut client, request) = (client.clone(), publish_request("prod", bundle));
            tokio::spawn(async move { client.publish(request).await })
        })
        .collect();
    client.publish(publish_request("prod", &bundles[0])).await.unwrap();
    rig.ask_to_stop();
    let mut acknowledged = Vec::new();
    for (push, bundle) in pushes.into_iter().zip(&bundles) {
        match soon(push).await.unwrap() {
            Ok(_) => acknowledged.push(bundle),
            Err(status) => assert!(
                matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled),
                "{status:?}"
            ),
        }
    }
    let rig = rig.restart().await;
    let request = v1::GetChannelRequest {
        name: "prod".to_owned(),
    };
    let channel = rig.publish().await.get_channel(request).await.unwrap().into_inner();
    assert!(!acknowledged.is_empty());
    for bundle in acknowledged {
        assert_eq!(channel.components[bundle.component.as_str()], wire(bundle.hash()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn push_to_one_server_reaches_the_agents_of_another_on_the_same_bucket() {
    let one = Rig::start().await;
    one.create_channel("prod").await;
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    fs::create_dir(&data).unwrap();
    for shared in ["ca.crt", "ca.key", "admin.token"] {
        fs::copy(one.root.path().join("data").join(shared), data.join(shared)).unwrap();
    }
    let bucket = one.root.path().join("data/bucket").to_string_lossy().into_owned();
    let other = Rig::start_with(root, |mut settings| {
        settings.bucket = Some(bucket);
        settings
    });
    let other = other.await;
    // Joined here, at home there.
    let agent = one.agent("edge", "prod").await;
    let mut stream = loop {
        match agent.sync(&other).await {
            Ok(stream) => break stream,
            Err(status) => assert_eq!(status.code(), Code::PermissionDenied, "{status:?}"),
        }
    };
    stream.welcome().await;
    let pushed = one.push("prod", &bundle("shop", "1")).await;
    stream.directive_for(&pushed.snapshot).await;
    let pushed = other.push("prod", &bundle("shop", "2")).await;
    stream.directive_for(&pushed.snapshot).await;
    let bundles = ["a", "b", "c"].map(|component| bundle(component, "1"));
    tokio::join!(
        one.push("prod", &bundles[0]),
        other.push("prod", &bundles[1]),
        one.push("prod", &bundles[2])
    );
    let mut seen = Vec::new();
    for rig in [&one, &other] {
        let request = v1::GetChannelRequest {
            name: "prod".to_owned(),
        };
        seen.push(rig.publish().await.get_channel(request).await.unwrap().into_inner());
    }
    // Whoever wrote last has seen all.
    let newest = seen.into_iter().max_by_key(|channel| channel.sequence).unwrap();
    assert_eq!(newest.components.len(), 4);
    stream.directive_for(&newest.snapshot.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bucket_with_a_broken_chain_is_refused_and_the_entry_named() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    rig.create_channel("dev").await;
    let root = rig.stop().await;
    let entry = root.path().join("data/bucket/journal/00000000000000000001");
    let text = fs::read_to_string(&entry).unwrap();
    fs::write(&entry, text.replace("prod", "drop")).unwrap();
    let error = start_error(root.path()).await;
    assert!(error.contains("journal entry 2 breaks the hash chain"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn journal_altered_under_a_running_server_ends_it() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let next = rig.root.path().join("data/bucket/journal/00000000000000000002");
    fs::write(next, "{}").unwrap();
    let error = soon(rig.ended()).await.expect_err("must end");
    assert!(
        error.source().unwrap().to_string().contains("journal entry 2"),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_used_is_named_with_what_to_do() {
    let rig = Rig::start().await;
    let address = rig.address;
    let mut taken = settings(&rig.root.path().join("other"));
    taken.listen = address;
    let error = Server::start(taken).await.expect_err("the port is taken").to_string();
    assert!(
        error.contains(&address.to_string()) && error.contains("--listen"),
        "{error}"
    );

    let root = rig.stop().await;
    let token = root.path().join("data/admin.token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(start_error(root.path()).await.contains("chmod 600"));
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(root.path().join("data/ca.crt"), "no certificate").unwrap();
    assert!(start_error(root.path()).await.contains("ca.crt"));

    let mut own = settings(&root.path().join("third"));
    own.tls = Some(driftless_server::OwnTls {
        cert: "/none.crt".into(),
        key: "/none.key".into(),
    });
    let error = Server::start(own).await.expect_err("there is no such file").to_string();
    assert!(error.contains("/none.crt"), "{error}");
}
