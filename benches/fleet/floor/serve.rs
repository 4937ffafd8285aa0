//! The servers themselves, in a process of their own. They check certificates as ours does, and do nothing else.

use std::{path::Path, pin::Pin, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use driftless_proto::v1::{AgentMessage, ServerMessage, sync_server};
use futures::Stream;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tokio_rustls::TlsAcceptor;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Certificate, Identity, Server, ServerTlsConfig, server::TcpIncoming},
};

use super::Kind;

/// As many as our server does.
const HANDSHAKES: usize = 128;

/// Serves until it is killed.
pub(crate) async fn serve(kind: Kind, data: &Path) -> Result<()> {
    let control = TcpListener::bind("127.0.0.1:0").await?;
    match kind {
        Kind::Tls => tls(data, control).await,
        Kind::Tonic => tonic(data, control).await,
    }
}

async fn tls(data: &Path, control: TcpListener) -> Result<()> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&data.join("ca.crt"))? {
        roots.add(certificate)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build()?;
    let key = PrivateKeyDer::from_pem_slice(&std::fs::read(data.join("server.key"))?)
        .map_err(|error| anyhow::anyhow!("server.key: {error}"))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&data.join("server.crt"))?, key)?;
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!(
        "floor at {} {}",
        listener.local_addr()?.port(),
        control.local_addr()?.port()
    );
    let (sender, receiver) = watch::channel(Arc::<[u8]>::from([0]));
    tokio::spawn(async move {
        let (mut control, _) = control.accept().await?;
        loop {
            let bytes = control.read_u32().await?;
            sender.send_replace(vec![7; bytes as usize].into());
        }
        #[expect(unreachable_code, reason = "says what the errors are")]
        Ok::<_, std::io::Error>(())
    });
    let turns = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, turns, receiver) = (acceptor.clone(), turns.clone(), receiver.clone());
        tokio::spawn(async move {
            // A client that goes away is the measuring side's to notice.
            drop(hand(stream, acceptor, turns, receiver).await);
        });
    }
}

/// Hands one client whatever comes.
async fn hand(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    turns: Arc<Semaphore>,
    mut payloads: watch::Receiver<Arc<[u8]>>,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut tls = {
        let _turn = turns.acquire().await?;
        acceptor.accept(stream).await?
    };
    payloads.mark_unchanged();
    tls.write_all(&[0]).await?;
    tls.flush().await?;
    while payloads.changed().await.is_ok() {
        let payload = payloads.borrow_and_update().clone();
        tls.write_all(&payload).await?;
        tls.flush().await?;
    }
    Ok(())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let read = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    read.map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))
}

async fn tonic(data: &Path, control: TcpListener) -> Result<()> {
    let read = |name: &str| std::fs::read_to_string(data.join(name));
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(read("server.crt")?, read("server.key")?))
        .client_ca_root(Certificate::from_pem(read("ca.crt")?));
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?.with_nodelay(Some(true));
    println!(
        "floor at {} {}",
        incoming.local_addr()?.port(),
        control.local_addr()?.port()
    );
    Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(60)))
        .tls_config(tls)?
        .add_service(sync_server::SyncServer::new(Bare))
        .serve_with_incoming(incoming)
        .await?;
    drop(control);
    Ok(())
}

/// Holds streams, and says nothing.
struct Bare;

#[tonic::async_trait]
impl sync_server::Sync for Bare {
    type SyncStream = Pin<Box<dyn Stream<Item = Result<ServerMessage, Status>> + Send>>;

    async fn sync(&self, request: Request<Streaming<AgentMessage>>) -> Result<Response<Self::SyncStream>, Status> {
        let inbound = request.into_inner();
        let silence = futures::stream::unfold(inbound, |mut inbound| async move {
            while let Ok(Some(_)) = inbound.message().await {}
            None
        });
        Ok(Response::new(Box::pin(silence)))
    }
}
