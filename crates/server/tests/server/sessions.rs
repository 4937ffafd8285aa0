//! TLS sessions that agents take up again, and what they are not good for.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use driftless_proto::v1;
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use crate::support::{Agent, Rig, Stream, assert_refused, now, sync_over};

/// An agent that keeps its sessions.
struct Keeper {
    config: Arc<ClientConfig>,
    handshakes: Arc<Mutex<Vec<HandshakeKind>>>,
}

impl Keeper {
    fn new(rig: &Rig, agent: &Agent) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(rig.ca.as_bytes()).unwrap())
            .unwrap();
        let chain = CertificateDer::pem_slice_iter(agent.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(agent.key.serialize_pem().as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = builder
            .with_client_auth_cert(chain.map(Result::unwrap).collect(), key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self {
            config: Arc::new(config),
            handshakes: Arc::default(),
        }
    }

    async fn channel(&self, rig: &Rig) -> Result<Channel, tonic::transport::Error> {
        let endpoint = Endpoint::from_static("http://server").origin("https://localhost".parse().unwrap());
        let (address, tls) = (rig.address, TlsConnector::from(Arc::clone(&self.config)));
        let handshakes = Arc::clone(&self.handshakes);
        let connector = tower::service_fn(move |_: http::Uri| {
            let (tls, handshakes) = (tls.clone(), Arc::clone(&handshakes));
            async move {
                let tcp = TcpStream::connect(address).await?;
                let stream = tls.connect(ServerName::try_from("localhost").unwrap(), tcp).await?;
                handshakes
                    .lock()
                    .unwrap()
                    .push(stream.get_ref().1.handshake_kind().unwrap());
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        endpoint.connect_with_connector(connector).await
    }

    /// Opens a stream over a connection of its own.
    async fn sync(&self, rig: &Rig) -> Result<Stream, Status> {
        let channel = self.channel(rig).await;
        let channel = channel.map_err(|error| Status::unavailable(format!("{error:?}")))?;
        sync_over(channel, v1::Hello::default()).await
    }

    async fn is_welcome(&self, rig: &Rig) {
        let mut stream = self.sync(rig).await.unwrap();
        stream.welcome().await;
        stream.directive().await;
    }

    fn last(&self) -> HandshakeKind {
        *self.handshakes.lock().unwrap().last().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agent_resumes_its_session_after_a_restart_of_the_server_too() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let keeper = Keeper::new(&rig, &rig.agent("edge", "prod").await);
    keeper.is_welcome(&rig).await;
    assert_eq!(keeper.last(), HandshakeKind::Full);
    keeper.is_welcome(&rig).await;
    assert_eq!(keeper.last(), HandshakeKind::Resumed);
    let rig = rig.restart().await;
    keeper.is_welcome(&rig).await;
    assert_eq!(keeper.last(), HandshakeKind::Resumed);
    // Without the keys it is as if there had been no session.
    let root = rig.stop().await;
    std::fs::remove_file(root.path().join("data/tickets.key")).unwrap();
    let rig = Rig::start_with(root, |settings| settings).await;
    keeper.is_welcome(&rig).await;
    assert_eq!(keeper.last(), HandshakeKind::Full);
}

#[tokio::test(flavor = "multi_thread")]
async fn session_of_an_agent_that_was_enrolled_anew_or_retired_opens_no_stream() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let keeper = Keeper::new(&rig, &rig.agent("edge", "prod").await);
    keeper.is_welcome(&rig).await;
    rig.enroll("edge", "prod", true).await;
    let refused = keeper.sync(&rig).await.map(|_| ());
    assert_eq!(keeper.last(), HandshakeKind::Resumed);
    assert_refused(refused, Code::PermissionDenied, &["enrolled anew"]);

    let keeper = Keeper::new(&rig, &rig.agent("other", "prod").await);
    keeper.is_welcome(&rig).await;
    let request = v1::RetireClustersRequest {
        names: vec!["other".to_owned()],
    };
    rig.fleet().await.retire_clusters(request).await.unwrap();
    let refused = keeper.sync(&rig).await.map(|_| ());
    assert_eq!(keeper.last(), HandshakeKind::Resumed);
    assert_refused(refused, Code::PermissionDenied, &["was retired"]);
}

/// A CA, and the certificate of an agent from it that is good for an hour.
fn operators(name: &str) -> (String, Agent) {
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, name);
    let pem = ca.self_signed(&ca_key).unwrap().pem();
    let mut leaf = CertificateParams::default();
    leaf.distinguished_name.push(DnType::CommonName, "edge");
    let seconds = u64::try_from((now() + SignedDuration::from_hours(1)).as_second()).unwrap();
    leaf.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    let certificate = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap().pem();
    (pem, Agent { key, certificate })
}

async fn start_trusting(root: TempDir, ca: &str, clock: fn() -> Timestamp) -> Rig {
    let path: PathBuf = root.path().join("client-ca.crt");
    std::fs::write(&path, ca).unwrap();
    let rig = Rig::start_with(root, |mut settings| {
        settings.client_ca = Some(path);
        settings.clock = clock;
        settings
    });
    rig.await
}

#[tokio::test(flavor = "multi_thread")]
async fn session_does_not_outlive_the_certificate_it_began_with() {
    static HOURS: AtomicI64 = AtomicI64::new(0);
    fn clock() -> Timestamp {
        now() + SignedDuration::from_hours(HOURS.load(Ordering::Relaxed))
    }
    let (ca, agent) = operators("Operator");
    let rig = start_trusting(tempfile::tempdir().unwrap(), &ca, clock).await;
    rig.create_channel("prod").await;
    rig.enroll("edge", "prod", false).await;
    let keeper = Keeper::new(&rig, &agent);
    keeper.is_welcome(&rig).await;
    HOURS.store(2, Ordering::Relaxed);
    let refused = keeper.sync(&rig).await.map(|_| ());
    assert_eq!(keeper.last(), HandshakeKind::Resumed);
    assert_refused(refused, Code::Unauthenticated, &["expired", "TLS session"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn session_does_not_outlive_a_change_of_the_trusted_cas() {
    let (ca, agent) = operators("Operator");
    let rig = start_trusting(tempfile::tempdir().unwrap(), &ca, now).await;
    rig.create_channel("prod").await;
    rig.enroll("edge", "prod", false).await;
    let foreign = Keeper::new(&rig, &agent);
    let own = Keeper::new(&rig, &rig.agent("own", "prod").await);
    for keeper in [&foreign, &own] {
        keeper.is_welcome(&rig).await;
        keeper.is_welcome(&rig).await;
        assert_eq!(keeper.last(), HandshakeKind::Resumed);
    }
    let rig = start_trusting(rig.stop().await, &operators("Another").0, now).await;
    assert!(foreign.sync(&rig).await.is_err());
    assert_eq!(foreign.last(), HandshakeKind::Full);
    own.is_welcome(&rig).await;
    assert_eq!(own.last(), HandshakeKind::Full);
}
