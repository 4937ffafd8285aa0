use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::Client;

fn target(server: &str) -> Target {
    Target {
        server: server.parse().unwrap(),
        ca: None,
        token: None,
    }
}

async fn failure(server: &str) -> Unreachable {
    let client = Client::connect(target(server)).unwrap();
    match client.channels().await.unwrap_err() {
        Error::Unreachable { cause, .. } => cause,
        other => panic!("not a failure to connect: {other:?}"),
    }
}

#[tokio::test]
async fn nothing_listening_is_told_as_refused() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert_eq!(failure(&format!("https://{free}")).await, Unreachable::Refused);
}

#[tokio::test]
async fn plain_text_server_is_told_as_not_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut hello = [0; 64];
        stream.read_exact(&mut hello).await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    assert_eq!(failure(&format!("https://{address}")).await, Unreachable::NotTls);
    server.await.unwrap();
}

#[test]
fn unknown_name_and_expiry_are_told_apart() {
    let told = |error: CertificateError| {
        let error = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(error));
        Unreachable::from_tls(&error, "s", true).to_string()
    };
    assert_eq!(
        told(CertificateError::UnknownIssuer),
        "its certificate is not signed by the CA given"
    );
    assert_eq!(
        told(CertificateError::NotValidForName),
        "its certificate is not for the name `s`"
    );
    assert!(told(CertificateError::Expired).starts_with("its certificate is not valid at this time"));
}

#[tokio::test]
async fn address_that_cannot_be_a_server_is_refused_with_the_reason() {
    for (address, reason) in [
        ("http://localhost:7443", "must begin with https://"),
        ("https://localhost:7443/api", "must end behind the port"),
    ] {
        let error = Client::connect(target(address)).unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[tokio::test]
async fn ca_that_is_no_certificate_is_refused() {
    let with = |ca: &str| Target {
        ca: Some(ca.to_owned()),
        ..target("https://localhost")
    };
    let error = Client::connect(with("")).unwrap_err();
    assert!(error.to_string().contains("BEGIN CERTIFICATE"), "{error}");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(Client::connect(with(broken)).is_err());
}

#[test]
fn token_is_not_in_debug_output() {
    let target = Target {
        token: Some("s3cret".to_owned()),
        ..target("https://localhost")
    };
    assert!(!format!("{target:?}").contains("s3cret"));
}
