//! A server in this process, and callers of every kind.

use std::{net::SocketAddr, path::Path, time::Duration};

use bytes::Bytes;
use driftless_model::{bundle::Bundle, hash::ObjectHash, manifest::Manifest, snapshot::Components};
use driftless_proto::v1::{
    self, AgentMessage, ServerMessage, agent_message::Message as FromAgent, enrollment_client::EnrollmentClient,
    fleet_client::FleetClient, publish_client::PublishClient, server_message::Message as ToAgent,
    sync_client::SyncClient,
};
use driftless_server::{Error, Server, Settings};
use jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Code, Request, Status, Streaming,
    metadata::MetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

/// Nothing here takes this long, unless it hangs.
pub(crate) const SOON: Duration = Duration::from_secs(20);

#[expect(
    clippy::disallowed_methods,
    reason = "TLS checks certificates by the real time, so the server must go by it"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

/// A clock by which everything that is good for 30 days is no more.
pub(crate) fn two_months_ago() -> Timestamp {
    now() - SignedDuration::from_hours(60 * 24)
}

pub(crate) struct Rig {
    pub(crate) root: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) ca: String,
    pub(crate) token: String,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

pub(crate) fn settings(data: &Path) -> Settings {
    Settings::new(data.to_owned(), "127.0.0.1:0".parse().unwrap(), now)
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::start_with(tempfile::tempdir().unwrap(), |settings| settings).await
    }

    pub(crate) async fn start_with(root: TempDir, adapt: impl FnOnce(Settings) -> Settings) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_test_writer()
            .with_max_level(tracing::Level::DEBUG)
            .try_init();
        let server = Server::start(adapt(settings(&root.path().join("data")))).await.unwrap();
        let token = std::fs::read_to_string(server.admin_token_path())
            .unwrap()
            .trim()
            .to_owned();
        let (address, ca, stop) = (
            server.local_addr(),
            server.ca_pem().to_owned(),
            CancellationToken::new(),
        );
        let task = tokio::spawn(server.run(stop.clone()));
        Self {
            root,
            address,
            ca,
            token,
            stop,
            task,
        }
    }

    /// Asks the server to stop.
    pub(crate) fn ask_to_stop(&self) {
        self.stop.cancel();
    }

    /// Stops the server, and gives back its folder.
    pub(crate) async fn stop(self) -> TempDir {
        self.stop.cancel();
        soon(self.task).await.unwrap().unwrap();
        self.root
    }

    /// Waits until the server ends by itself.
    pub(crate) async fn ended(self) -> Result<(), Error> {
        self.task.await.unwrap()
    }

    pub(crate) async fn restart(self) -> Self {
        Self::start_with(self.stop().await, |settings| settings).await
    }

    pub(crate) async fn connect(&self, identity: Option<(&str, &KeyPair)>) -> Result<Channel, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca))
            .domain_name("localhost");
        if let Some((certificate, key)) = identity {
            tls = tls.identity(Identity::from_pem(certificate, key.serialize_pem()));
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address)).unwrap();
        // Small windows, so that an agent that does not read is soon felt.
        let endpoint = endpoint
            .initial_stream_window_size(65_535)
            .initial_connection_window_size(65_535);
        endpoint.tls_config(tls).unwrap().connect().await
    }

    async fn channel(&self) -> Channel {
        self.connect(None).await.unwrap()
    }

    pub(crate) async fn publish(&self) -> PublishClient<InterceptedService<Channel, Token>> {
        PublishClient::with_interceptor(self.channel().await, Token(self.token.clone()))
            .max_decoding_message_size(driftless_proto::MAX_MESSAGE_BYTES)
            .max_encoding_message_size(driftless_proto::MAX_MESSAGE_BYTES)
    }

    pub(crate) async fn publish_as(&self, token: &str) -> PublishClient<InterceptedService<Channel, Token>> {
        PublishClient::with_interceptor(self.channel().await, Token(token.to_owned()))
    }

    pub(crate) async fn fleet(&self) -> FleetClient<InterceptedService<Channel, Token>> {
        FleetClient::with_interceptor(self.channel().await, Token(self.token.clone()))
    }

    pub(crate) async fn enrollment(&self) -> EnrollmentClient<Channel> {
        EnrollmentClient::new(self.channel().await)
    }

    pub(crate) async fn create_channel(&self, name: &str) {
        self.publish()
            .await
            .create_channel(v1::CreateChannelRequest { name: name.to_owned() })
            .await
            .unwrap();
    }

    /// What release tooling is told of a channel.
    pub(crate) async fn told_of(&self, channel: &str) -> v1::Channel {
        let told = self.publish().await.get_channel(named(channel)).await;
        told.unwrap().into_inner()
    }

    /// Uploads a bundle and publishes it.
    pub(crate) async fn push(&self, channel: &str, bundle: &Bundle) -> v1::PublishResponse {
        let mut client = self.publish().await;
        upload(&mut client, bundle).await.unwrap();
        client
            .publish(publish_request(channel, bundle))
            .await
            .unwrap()
            .into_inner()
    }

    /// Enrols a cluster and gives its join token.
    pub(crate) async fn enroll(&self, name: &str, channel: &str, again: bool) -> String {
        let request = v1::EnrollClusterRequest {
            name: name.to_owned(),
            channel: channel.to_owned(),
            labels: [("region".to_owned(), "eu".to_owned())].into(),
            token_ttl_seconds: 0,
            again,
            ..v1::EnrollClusterRequest::default()
        };
        self.fleet()
            .await
            .enroll_cluster(request)
            .await
            .unwrap()
            .into_inner()
            .token
    }

    /// Enrols and joins.
    pub(crate) async fn agent(&self, name: &str, channel: &str) -> Agent {
        let token = self.enroll(name, channel, false).await;
        self.join(&token).await.unwrap()
    }

    pub(crate) async fn join(&self, token: &str) -> Result<Agent, Status> {
        let key = KeyPair::generate().unwrap();
        let request = v1::JoinRequest {
            token: token.to_owned(),
            csr: csr(&key),
        };
        let certificate = self.enrollment().await.join(request).await?.into_inner();
        Ok(Agent {
            key,
            certificate: certificate.chain,
        })
    }
}

/// What an agent holds.
pub(crate) struct Agent {
    pub(crate) key: KeyPair,
    pub(crate) certificate: String,
}

impl Agent {
    pub(crate) async fn channel(&self, rig: &Rig) -> Channel {
        rig.connect(Some((&self.certificate, &self.key))).await.unwrap()
    }

    /// Opens the stream and says hello.
    pub(crate) async fn sync(&self, rig: &Rig) -> Result<Stream, Status> {
        self.sync_holding(rig, Vec::new()).await
    }

    pub(crate) async fn sync_holding(&self, rig: &Rig, held: Vec<Bytes>) -> Result<Stream, Status> {
        let hello = v1::Hello {
            agent_version: "test".to_owned(),
            held,
            takes_deltas: true,
            ..v1::Hello::default()
        };
        self.sync_saying(rig, hello).await
    }

    pub(crate) async fn sync_saying(&self, rig: &Rig, hello: v1::Hello) -> Result<Stream, Status> {
        sync_over(self.channel(rig).await, hello).await
    }
}

/// Opens the stream over a connection.
pub(crate) async fn sync_over(channel: Channel, hello: v1::Hello) -> Result<Stream, Status> {
    let (sender, receiver) = mpsc::channel(16);
    sender
        .send(AgentMessage {
            message: Some(FromAgent::Hello(hello)),
        })
        .await
        .unwrap();
    let mut client = SyncClient::new(channel);
    let messages = client.sync(ReceiverStream::new(receiver)).await?.into_inner();
    Ok(Stream { sender, messages })
}

/// An agent's end of its stream.
pub(crate) struct Stream {
    pub(crate) sender: mpsc::Sender<AgentMessage>,
    messages: Streaming<ServerMessage>,
}

impl Stream {
    pub(crate) async fn send(&self, message: FromAgent) {
        self.sender.send(AgentMessage { message: Some(message) }).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Result<ToAgent, Status> {
        let message = soon(self.messages.message()).await?;
        Ok(message
            .ok_or_else(|| Status::cancelled("the stream ended"))?
            .message
            .unwrap())
    }

    pub(crate) async fn welcome(&mut self) -> v1::Welcome {
        match self.next().await.unwrap() {
            ToAgent::Welcome(welcome) => welcome,
            other => panic!("not a welcome: {other:?}"),
        }
    }

    pub(crate) async fn directive(&mut self) -> (driftless_model::directive::Directive, v1::Directive) {
        match self.next().await.unwrap() {
            ToAgent::Directive(message) => (
                driftless_model::directive::Directive::decode(&message.document).unwrap(),
                message,
            ),
            other => panic!("not a directive: {other:?}"),
        }
    }

    /// Reads directives until one is for this snapshot.
    pub(crate) async fn directive_for(&mut self, snapshot: &Bytes) -> v1::Directive {
        loop {
            let (directive, message) = self.directive().await;
            if directive
                .snapshot
                .is_some_and(|hash| hash.as_bytes()[..] == snapshot[..])
            {
                return message;
            }
        }
    }
}

/// Adds a bearer token to every call.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Interceptor for Token {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value = MetadataValue::try_from(format!("Bearer {}", self.0)).unwrap();
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

pub(crate) fn csr(key: &KeyPair) -> Bytes {
    let request = CertificateParams::default().serialize_request(key).unwrap();
    Bytes::copy_from_slice(request.der())
}

/// A bundle with one ConfigMap.
pub(crate) fn bundle(component: &str, value: &str) -> Bundle {
    let object = serde_json::json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": component}, "data": {"value": value},
    });
    Bundle::new(component.parse().unwrap(), [Manifest::new(object, "default").unwrap()]).unwrap()
}

pub(crate) fn wire(hash: ObjectHash) -> Bytes {
    Bytes::copy_from_slice(hash.as_bytes())
}

pub(crate) fn object(bytes: &[u8]) -> v1::Object {
    v1::Object {
        hash: wire(ObjectHash::of(bytes)),
        zstd: zstd::encode_all(bytes, 3).unwrap().into(),
        ..v1::Object::default()
    }
}

pub(crate) async fn upload(
    client: &mut PublishClient<InterceptedService<Channel, Token>>,
    bundle: &Bundle,
) -> Result<(), Status> {
    client
        .put_objects(tokio_stream::iter([object(&bundle.encode())]))
        .await
        .map(|_| ())
}

/// A question for the channel of this name.
pub(crate) fn named(name: &str) -> v1::GetChannelRequest {
    v1::GetChannelRequest { name: name.to_owned() }
}

/// A push of this bundle over whatever is there.
pub(crate) fn publish_request(channel: &str, bundle: &Bundle) -> v1::PublishRequest {
    v1::PublishRequest {
        channel: channel.to_owned(),
        components: vec![v1::ComponentChange {
            component: bundle.component.to_string(),
            bundle: Some(wire(bundle.hash())),
        }],
        expected_parent: None,
        message: "test".to_owned(),
        source: [("host".to_owned(), "laptop".to_owned())].into(),
        idempotency_key: String::new(),
        objects: Vec::new(),
    }
}

/// The report of a cluster that has applied all of a snapshot.
pub(crate) fn converged(snapshot: &Bytes, components: &Components) -> v1::ClusterStatus {
    let components = components.iter().map(|(name, bundle)| v1::ComponentStatus {
        component: name.to_string(),
        bundle: Some(wire(*bundle)),
        desired: 1,
        applied: 1,
        health: v1::Health::Current.into(),
        ..v1::ComponentStatus::default()
    });
    v1::ClusterStatus {
        sequence: 1,
        snapshot: Some(snapshot.clone()),
        components: components.collect(),
        ..v1::ClusterStatus::default()
    }
}

/// Fails the test when this takes long.
pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future).await.expect("this takes too long")
}

/// Asserts code and words of a refusal.
#[track_caller]
pub(crate) fn assert_refused<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, words: &[&str]) {
    let status = result.expect_err("must be refused");
    assert_eq!(status.code(), code, "{status:?}");
    for word in words {
        assert!(
            status.message().contains(word),
            "`{word}` is not in `{}`",
            status.message()
        );
    }
}

pub(crate) fn components(bundles: &[&Bundle]) -> Components {
    bundles
        .iter()
        .map(|bundle| (bundle.component.clone(), bundle.hash()))
        .collect()
}
