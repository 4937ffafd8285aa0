//! How clusters join, renew, and lose their credentials.

use driftless_proto::v1::{self, enrollment_client::EnrollmentClient, sync_client::SyncClient};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use tonic::Code;

use crate::support::{Agent, Rig, assert_refused, csr, now, two_months_ago};

/// A certificate that says it is `edge`, from somebody's own CA.
fn foreign() -> (Agent, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::default();
    leaf.subject_alt_names = vec![SanType::URI("driftless://cluster/edge".try_into().unwrap())];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap().pem();
    (Agent { key, certificate }, ca_pem)
}

#[tokio::test(flavor = "multi_thread")]
async fn join_token_works_once_for_one_key() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let token = rig.enroll("edge", "prod", false).await;
    assert!(token.starts_with("dlj_") && token.len() == 47);
    let key = KeyPair::generate().unwrap();
    let request = v1::JoinRequest {
        token: token.clone(),
        csr: csr(&key),
    };
    let mut client = rig.enrollment().await;
    let first = client.join(request.clone()).await.unwrap().into_inner();
    assert_eq!(first.cluster, "edge");
    let days = (first.expires.unwrap().seconds - now().as_second()) / 86400;
    assert!((29..=30).contains(&days), "{days}");
    // The answer was lost: the same agent asks again.
    client.join(request).await.unwrap();
    assert_refused(
        rig.join(&token).await.map(|_| ()),
        Code::Unauthenticated,
        &["`edge`", "used already", "--again"],
    );
    assert_refused(
        rig.join("dlj_none").await.map(|_| ()),
        Code::Unauthenticated,
        &["not known"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_signing_request_is_refused_and_the_token_stays_good() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let token = rig.enroll("edge", "prod", false).await;
    let mut client = rig.enrollment().await;
    let mut broken = csr(&KeyPair::generate().unwrap()).to_vec();
    let last = broken.len() - 1;
    broken[last] ^= 1;
    for csr in [vec![], b"no csr".to_vec(), vec![0; 20_000], broken] {
        let request = v1::JoinRequest {
            token: token.clone(),
            csr: csr.into(),
        };
        assert_refused(client.join(request).await, Code::InvalidArgument, &["csr"]);
    }
    rig.join(&token).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_is_renewed_for_the_same_key_only() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let agent = rig.agent("edge", "prod").await;
    let mut client = EnrollmentClient::new(agent.channel(&rig).await);
    let renewed = client
        .renew(v1::RenewRequest { csr: csr(&agent.key) })
        .await
        .unwrap()
        .into_inner();
    let renewed = Agent {
        key: agent.key,
        certificate: renewed.chain,
    };
    renewed.sync(&rig).await.unwrap().welcome().await;
    let other = v1::RenewRequest {
        csr: csr(&KeyPair::generate().unwrap()),
    };
    assert_refused(client.renew(other.clone()).await, Code::InvalidArgument, &["same key"]);
    assert_refused(
        rig.enrollment().await.renew(other).await,
        Code::Unauthenticated,
        &["client certificate"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolling_anew_voids_what_the_cluster_held() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let old = rig.agent("edge", "prod").await;
    let request = v1::EnrollClusterRequest {
        name: "edge".to_owned(),
        channel: "prod".to_owned(),
        ..v1::EnrollClusterRequest::default()
    };
    assert_refused(
        rig.fleet().await.enroll_cluster(request).await,
        Code::AlreadyExists,
        &["`edge`", "--again"],
    );
    let token = rig.enroll("edge", "prod", true).await;
    assert_refused(
        old.sync(&rig).await.map(|_| ()),
        Code::PermissionDenied,
        &["`edge`", "enrolled anew"],
    );
    let mut client = EnrollmentClient::new(old.channel(&rig).await);
    assert_refused(
        client.renew(v1::RenewRequest { csr: csr(&old.key) }).await,
        Code::PermissionDenied,
        &["voids"],
    );
    let new = rig.join(&token).await.unwrap();
    new.sync(&rig).await.unwrap().welcome().await;
    assert_refused(old.sync(&rig).await.map(|_| ()), Code::PermissionDenied, &["`edge`"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_and_foreign_certificates_open_nothing() {
    let old = Rig::start_with(tempfile::tempdir().unwrap(), |mut settings| {
        settings.clock = two_months_ago;
        settings
    });
    let rig = old.await;
    rig.create_channel("prod").await;
    let expired = rig.agent("edge", "prod").await;
    let late = rig.enroll("late", "prod", false).await;
    let rig = rig.restart().await;
    for agent in [expired, foreign().0] {
        let tried = async {
            let channel = rig
                .connect(Some((&agent.certificate, &agent.key)))
                .await
                .map_err(|error| error.to_string())?;
            let request = v1::RenewRequest { csr: csr(&agent.key) };
            EnrollmentClient::new(channel)
                .renew(request)
                .await
                .map_err(|status| status.to_string())
        };
        let error = tried.await.expect_err("must not get in");
        assert!(!error.contains("csr"), "{error}");
    }
    assert_refused(
        rig.join(&late).await.map(|_| ()),
        Code::Unauthenticated,
        &["`late`", "expired"],
    );
    rig.agent("edge-2", "prod")
        .await
        .sync(&rig)
        .await
        .unwrap()
        .welcome()
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_ca_is_trusted_for_enrolled_clusters() {
    let root = tempfile::tempdir().unwrap();
    let (agent, ca) = foreign();
    let path = root.path().join("client-ca.crt");
    std::fs::write(&path, ca).unwrap();
    let rig = Rig::start_with(root, |mut settings| {
        settings.client_ca = Some(path);
        settings
    });
    let rig = rig.await;
    rig.create_channel("prod").await;
    assert_refused(
        agent.sync(&rig).await.map(|_| ()),
        Code::PermissionDenied,
        &["not enrolled"],
    );
    rig.enroll("edge", "prod", false).await;
    assert_eq!(agent.sync(&rig).await.unwrap().welcome().await.cluster, "edge");
    let mut client = EnrollmentClient::new(agent.channel(&rig).await);
    let renewal = client.renew(v1::RenewRequest { csr: csr(&agent.key) }).await;
    assert_refused(renewal, Code::FailedPrecondition, &["where it came from"]);
    // Such a cluster keeps its certificate when it is enrolled into another channel: its stream follows.
    rig.create_channel("dev").await;
    let mut stream = agent.sync(&rig).await.unwrap();
    stream.welcome().await;
    assert_eq!(stream.directive().await.0.channel.as_str(), "prod");
    let token = rig.enroll("edge", "dev", true).await;
    assert_eq!(stream.welcome().await.channel, "dev");
    assert_eq!(stream.directive().await.0.channel.as_str(), "dev");
    // The server's own certificates are still held to the key.
    let own = rig.join(&token).await.unwrap();
    own.sync(&rig).await.unwrap().welcome().await;
    rig.enroll("edge", "prod", true).await;
    assert_refused(
        own.sync(&rig).await.map(|_| ()),
        Code::PermissionDenied,
        &["enrolled anew"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_without_certificate_is_refused() {
    let rig = Rig::start().await;
    let mut client = SyncClient::new(rig.connect(None).await.unwrap());
    let refused = client.sync(tokio_stream::pending()).await;
    assert_refused(
        refused.map(|_| ()),
        Code::Unauthenticated,
        &["client certificate", "join token"],
    );
}
