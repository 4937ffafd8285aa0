//! Connections to a server: from one of many loopback addresses where the server is on one, over TLS, with every byte
//! counted.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use driftless_client::Target;
use http::Uri;
use rustls::{
    ClientConfig, RootCertStore,
    client::{ResolvesClientCert, Resumption},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{Error, board::Board};

/// As an agent waits.
const CONNECT: Duration = Duration::from_secs(10);
/// Each has some 28,000 ports, and keeps those of closed connections for a minute.
const SOURCES: usize = 32;

/// What an agent keeps from one connection to the next: who it is, and its TLS session if it resumes those.
#[derive(Debug, Clone)]
pub struct Session(Arc<ClientConfig>);

/// The way to one server.
#[derive(Debug, Clone)]
pub struct Dial {
    address: SocketAddr,
    name: ServerName<'static>,
    tls: ClientConfig,
    /// `https://host:port`.
    origin: String,
}

impl Dial {
    /// Prepares the way to a server. Its token is not used: streams show certificates.
    ///
    /// # Errors
    /// [`Error::Tls`] when address or CA cannot be used.
    pub async fn new(target: &Target) -> Result<Self, Error> {
        let unusable = |reason: String| Error::Tls(format!("server address `{}`: {reason}", target.server));
        let host = target.server.host_str().unwrap_or_default();
        let port = target.server.port_or_known_default().unwrap_or(443);
        let bare = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let addresses = tokio::net::lookup_host((bare.as_str(), port)).await;
        let address = addresses
            .map_err(|error| unusable(error.to_string()))?
            .next()
            .ok_or_else(|| unusable("the name does not resolve".to_owned()))?;
        let name = ServerName::try_from(bare).map_err(|error| unusable(error.to_string()))?;
        let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Tls(error.to_string()))?
            .with_root_certificates(roots(target.ca.as_deref())?)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec()];
        // One stream must not go on with the session of another: see `Dial::session`.
        tls.resumption = Resumption::disabled();
        Ok(Self {
            address,
            name,
            tls,
            origin: format!("https://{host}:{port}"),
        })
    }

    /// The address of a method.
    pub(crate) fn uri(&self, method: &str) -> Uri {
        let uri = format!("{}{method}", self.origin).parse();
        uri.expect("the address was one already, and methods have plain names")
    }

    /// What an agent keeps that goes this way. One that `resumes` shakes hands in full the first time only, as long as
    /// the server knows its session; others do so every time, like strangers.
    pub fn session(&self, identity: Arc<dyn ResolvesClientCert>, resumes: bool) -> Session {
        let mut tls = self.tls.clone();
        tls.client_auth_cert_resolver = identity;
        if resumes {
            tls.resumption = Resumption::in_memory_sessions(1);
        }
        Session(Arc::new(tls))
    }

    /// Opens a connection: number `stream`, whose bytes go to `counts`, as whom `identity` says.
    ///
    /// # Errors
    /// Whatever TCP or TLS fails with, and when it takes more than ten seconds.
    pub async fn open(
        &self,
        stream: usize,
        identity: Option<Arc<dyn ResolvesClientCert>>,
        counts: Option<Arc<Board>>,
    ) -> io::Result<TlsStream<Counted>> {
        let session = match identity {
            Some(identity) => self.session(identity, false),
            None => Session(Arc::new(self.tls.clone())),
        };
        self.open_with(stream, &session, counts).await
    }

    /// Opens a connection with what is kept of earlier ones.
    ///
    /// # Errors
    /// As [`Dial::open`].
    pub async fn open_with(
        &self,
        stream: usize,
        session: &Session,
        counts: Option<Arc<Board>>,
    ) -> io::Result<TlsStream<Counted>> {
        let connecting = async {
            let tcp = self.tcp(stream).await?;
            driftless_agent::dial::prepare(&tcp)?;
            let counted = Counted { tcp, stream, counts };
            TlsConnector::from(Arc::clone(&session.0))
                .connect(self.name.clone(), counted)
                .await
        };
        let connected = timeout(CONNECT, connecting).await;
        connected.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no connection within 10 s"))?
    }

    async fn tcp(&self, stream: usize) -> io::Result<TcpStream> {
        let SocketAddr::V4(address) = self.address else {
            return TcpStream::connect(self.address).await;
        };
        let socket = TcpSocket::new_v4()?;
        if address.ip().is_loopback() {
            socket.bind(SocketAddr::new(source(stream), 0))?;
        }
        socket.connect(self.address).await
    }
}

/// The loopback address that a stream comes from.
fn source(stream: usize) -> IpAddr {
    let last = u8::try_from(2 + stream % SOURCES).expect("the sources are few");
    Ipv4Addr::new(127, 0, 0, last).into()
}

fn roots(ca: Option<&str>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let Some(pem) = ca else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| Error::Tls(format!("the CA is not PEM: {error}")))?;
        let added = roots.add(certificate);
        added.map_err(|error| Error::Tls(format!("the CA is no certificate: {error}")))?;
    }
    Ok(roots)
}

/// A TCP connection whose bytes are counted: everything that TLS writes and reads.
#[derive(Debug)]
pub struct Counted {
    tcp: TcpStream,
    stream: usize,
    counts: Option<Arc<Board>>,
}

impl Counted {
    fn count(&self, received: usize, sent: usize) {
        if let Some(board) = &self.counts {
            board.moved(self.stream, received, sent);
        }
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.tcp).poll_read(cx, buf);
        self.count(buf.filled().len() - before, 0);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tcp).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = polled {
            self.count(0, written);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_come_from_many_addresses_but_the_servers() {
        let sources: std::collections::BTreeSet<_> = (0..1000).map(source).collect();
        assert_eq!(sources.len(), SOURCES);
        assert!(!sources.contains(&IpAddr::from(Ipv4Addr::LOCALHOST)));
    }
}
