//! What is not gRPC of our own: pages over HTTP/1.1 and HTTP/2, health, reflection.

use std::sync::Arc;

use bytes::Bytes;
use driftless_proto::v1;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::support::{Rig, soon};

async fn tls(rig: &Rig, name: &str, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(rig.ca.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let tcp = TcpStream::connect(rig.address).await?;
    TlsConnector::from(Arc::new(config))
        .connect(ServerName::try_from(name.to_owned()).unwrap(), tcp)
        .await
}

fn request(path: &str) -> Request<Empty<Bytes>> {
    Request::get(format!("https://localhost{path}"))
        .header("host", "localhost")
        .body(Empty::new())
        .unwrap()
}

pub(crate) async fn get(rig: &Rig, path: &str, is_http2: bool) -> (StatusCode, String) {
    let response: Response<Incoming> = if is_http2 {
        let io = TokioIo::new(tls(rig, "localhost", b"h2").await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
            .await
            .unwrap();
        tokio::spawn(connection);
        sender.send_request(request(path)).await.unwrap()
    } else {
        let io = TokioIo::new(tls(rig, "localhost", b"http/1.1").await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(request(path)).await.unwrap()
    };
    let status = response.status();
    (
        status,
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_served_over_both_versions_of_http() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    for is_http2 in [false, true] {
        assert_eq!(
            get(&rig, "/healthz", is_http2).await,
            (StatusCode::OK, "ok\n".to_owned())
        );
        let (status, page) = get(&rig, "/metrics", is_http2).await;
        assert_eq!(status, StatusCode::OK);
        assert!(
            page.contains("driftless_agents_connected 0") && page.ends_with("# EOF\n"),
            "{page}"
        );
        assert!(get(&rig, "/", is_http2).await.1.contains(env!("CARGO_PKG_VERSION")));
        assert_eq!(get(&rig, "/none", is_http2).await.0, StatusCode::NOT_FOUND);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_follow_what_happens() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let mut stream = rig.agent("edge", "prod").await.sync(&rig).await.unwrap();
    stream.welcome().await;
    stream.directive().await;
    let pushed = rig.push("prod", &crate::support::bundle("shop", "1")).await;
    stream.directive_for(&pushed.snapshot).await;
    let page = get(&rig, "/metrics", false).await.1;
    for line in [
        "driftless_agents_connected 1".to_owned(),
        format!("driftless_journal_seq {}", pushed.sequence),
        "driftless_publish_total{result=\"published\"} 1".to_owned(),
        "driftless_directives_sent_total 2".to_owned(),
    ] {
        assert!(page.contains(&line), "{line} is not in\n{page}");
    }
    assert!(!page.contains("driftless_objects_sent_bytes_total 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_need_no_credentials() {
    let rig = Rig::start().await;
    let channel = rig.connect(None).await.unwrap();
    let mut health = HealthClient::new(channel.clone());
    for service in [
        "",
        "driftless.v1.Sync",
        "driftless.v1.Publish",
        "driftless.v1.Fleet",
        "driftless.v1.Enrollment",
    ] {
        let answer = health
            .check(HealthCheckRequest {
                service: service.to_owned(),
            })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service}");
    }
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel.clone());
    let mut answers = reflection
        .server_reflection_info(tokio_stream::iter([ask]))
        .await
        .unwrap()
        .into_inner();
    match answers.message().await.unwrap().unwrap().message_response.unwrap() {
        MessageResponse::ListServicesResponse(list) => {
            let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
            assert!(names.contains(&"driftless.v1.Publish".to_owned()), "{names:?}");
        }
        other => panic!("not a list: {other:?}"),
    }
    let path = http::uri::PathAndQuery::from_static("/driftless.v9.Rollouts/List");
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<v1::ListChannelsRequest, v1::ListChannelsResponse>::default();
    let answer = grpc
        .unary(tonic::Request::new(v1::ListChannelsRequest {}), path, codec)
        .await;
    assert_eq!(answer.unwrap_err().code(), tonic::Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_is_for_the_names_asked_for_and_no_others() {
    let rig = Rig::start_with(tempfile::tempdir().unwrap(), |mut settings| {
        settings.names = vec!["driftless.example.com".to_owned()];
        settings
    });
    let rig = rig.await;
    for name in ["localhost", "127.0.0.1", "::1", "driftless.example.com"] {
        tls(&rig, name, b"h2").await.unwrap();
    }
    assert!(tls(&rig, "example.com", b"h2").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn own_certificate_is_served() {
    let root = tempfile::tempdir().unwrap();
    let own = rcgen::generate_simple_self_signed(vec!["own.example.com".to_owned()]).unwrap();
    let (cert, key) = (root.path().join("tls.crt"), root.path().join("tls.key"));
    std::fs::write(&cert, own.cert.pem()).unwrap();
    std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
    let rig = Rig::start_with(root, |mut settings| {
        settings.tls = Some(driftless_server::OwnTls { cert, key });
        settings
    });
    let mut rig = rig.await;
    rig.ca = own.cert.pem();
    tls(&rig, "own.example.com", b"h2").await.unwrap();
    assert!(!rig.root.path().join("data/server.crt").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_at_the_port_hurt_nobody() {
    let rig = Rig::start().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(rig.address).await.unwrap());
    }
    let mut plain = TcpStream::connect(rig.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = soon(plain.read_to_end(&mut answer)).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    assert_eq!(get(&rig, "/healthz", true).await.0, StatusCode::OK);
    assert!(
        get(&rig, "/metrics", true)
            .await
            .1
            .contains("driftless_tls_handshakes_failed_total 1")
    );
}
