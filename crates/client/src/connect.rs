//! The way to a server: TCP, TLS, HTTP/2. Every failure on it is told apart, because each needs another remedy.
//!
//! [`crate::Client`] opens one [`channel`] and keeps it; nothing is connected before the first call. The TLS
//! handshake is done here rather than by tonic, which reports all its failures alike.

use std::{io, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint, Uri};
use url::Url;

use crate::error::Error;

/// For TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// An open watch notices a dead peer after at most these two together.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the server is, whom to trust and as whom to speak.
#[derive(Clone)]
pub struct Target {
    /// `https://host[:port]`; the port is 443 where none is named.
    pub server: Url,
    /// Certificates (PEM) of the CA that signed the server's; absent: those that the operating system trusts.
    pub ca: Option<String>,
    /// The bearer token.
    pub token: Option<String>,
}

impl std::fmt::Debug for Target {
    /// Leaves the token out: targets end up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("server", &self.server.as_str())
            .finish_non_exhaustive()
    }
}

/// What stands between this program and an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// The name is not known to DNS.
    #[error("the name `{host}` does not resolve: {reason}")]
    Name {
        /// The name.
        host: String,
        /// The resolver's words.
        reason: String,
    },
    /// Nothing listens there.
    #[error("connection refused")]
    Refused,
    /// Silence.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Something listens there that speaks no TLS.
    #[error("what listens there does not speak TLS")]
    NotTls,
    /// TLS works, HTTP/2 is not offered.
    #[error("what listens there does not speak HTTP/2, as gRPC needs")]
    NotHttp2,
    /// The server's certificate is signed by somebody else.
    #[error("its certificate is not signed by {}", if *.given { "the CA given" } else { "a CA that this machine trusts" })]
    UnknownIssuer {
        /// Was a CA given, or were the operating system's used?
        given: bool,
    },
    /// The server's certificate is for other names.
    #[error("its certificate is not for the name `{0}`")]
    WrongName(String),
    /// The server's certificate is past its time, or not yet valid.
    #[error("its certificate is not valid at this time: {0}")]
    OutOfDate(String),
    /// Another failure of the TLS handshake.
    #[error("the TLS handshake failed: {0}")]
    Tls(String),
    /// The connection broke, or could not be made, for another reason.
    #[error("{0}")]
    Broken(String),
}

impl Unreachable {
    /// May it go away by itself in a moment?
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Refused | Self::Timeout(_) | Self::Broken(_))
    }

    /// Finds the reason in a chain of errors of HTTP libraries.
    pub(crate) fn from_chain(first: &(dyn std::error::Error + 'static)) -> Self {
        if let Some(own) = chain(first).find_map(|error| error.downcast_ref::<Self>()) {
            return own.clone();
        }
        if chain(first).any(|error| error.downcast_ref::<tonic::TimeoutExpired>().is_some()) {
            return Self::Timeout(CONNECT_TIMEOUT);
        }
        let mut words: Vec<String> = Vec::new();
        for error in chain(first) {
            let text = error.to_string();
            // Libraries repeat each other along the chain.
            if text != "transport error" && !words.iter().any(|said| said.contains(&text)) {
                words.push(text);
            }
        }
        Self::Broken(format!("the connection broke ({})", words.join(": ")))
    }

    fn from_tcp(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::Timeout(CONNECT_TIMEOUT),
            _ => Self::Broken(error.to_string()),
        }
    }

    fn from_tls(error: &io::Error, host: &str, ca_given: bool) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(problem)) => match problem {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    Self::UnknownIssuer { given: ca_given }
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    Self::WrongName(host.to_owned())
                }
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. } => Self::OutOfDate(problem.to_string()),
                other => Self::Tls(other.to_string()),
            },
            // What a plain-text answer looks like to a TLS client.
            Some(rustls::Error::InvalidMessage(_)) => Self::NotTls,
            Some(rustls::Error::NoApplicationProtocol) => Self::NotHttp2,
            Some(other) => Self::Tls(other.to_string()),
            // A plain HTTP/1 server may also hang up on the handshake's bytes.
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::NotTls,
            None => Self::Tls(error.to_string()),
        }
    }
}

fn chain<'a>(
    first: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(first), |error: &&'a (dyn std::error::Error + 'static)| {
        error.source()
    })
}

/// A channel to `target`. Does no I/O.
pub(crate) fn channel(target: &Target) -> Result<Channel, Error> {
    let invalid = |reason: &str| Error::Target(format!("server address `{}`: {reason}", target.server));
    if target.server.scheme() != "https" {
        return Err(invalid(
            "it must begin with https://, as a server speaks nothing but TLS",
        ));
    }
    let host = target
        .server
        .host_str()
        .filter(|host| !host.is_empty())
        .ok_or_else(|| invalid("it names no host"))?;
    if !matches!(target.server.path(), "" | "/") || target.server.query().is_some() {
        return Err(invalid("it must end behind the port: a server has no path"));
    }
    let port = target
        .server
        .port_or_known_default()
        .ok_or_else(|| invalid("it names no port"))?;
    let dial = Arc::new(Dial::new(host, port, target.ca.as_deref())?);
    let parse = |text: String| text.parse::<Uri>().map_err(|error| invalid(&error.to_string()));
    // The plain scheme keeps tonic from adding its own TLS over ours; the origin is what goes on the wire.
    let endpoint = Endpoint::from(parse(format!("http://{host}:{port}"))?)
        .origin(parse(format!("https://{host}:{port}"))?)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(8 << 20)
        .user_agent(concat!("driftless/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| invalid(&error.to_string()))?;
    let connector = tower::service_fn(move |_: Uri| {
        let dial = dial.clone();
        async move { dial.connect().await.map(TokioIo::new) }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// The server's address as people are shown it.
pub(crate) fn shown(server: &Url) -> String {
    server.as_str().trim_end_matches('/').to_owned()
}

/// All that a new connection needs.
struct Dial {
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: TlsConnector,
    ca_given: bool,
}

impl Dial {
    fn new(host: &str, port: u16, ca: Option<&str>) -> Result<Self, Error> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| Error::Target(format!("server address: `{host}` is no host name and no IP address")))?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Target(format!("cannot set up TLS: {error}")))?
            .with_root_certificates(roots(ca)?)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self {
            host: bare.to_owned(),
            port,
            name,
            tls,
            ca_given: ca.is_some(),
        })
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, Unreachable> {
        tokio::time::timeout(CONNECT_TIMEOUT, self.handshake())
            .await
            .unwrap_or(Err(Unreachable::Timeout(CONNECT_TIMEOUT)))
    }

    async fn handshake(&self) -> Result<TlsStream<TcpStream>, Unreachable> {
        let addresses = tokio::net::lookup_host((self.host.as_str(), self.port))
            .await
            .map_err(|error| Unreachable::Name {
                host: self.host.clone(),
                reason: error.to_string(),
            })?;
        let addresses: Vec<_> = addresses.collect();
        let stream = TcpStream::connect(addresses.as_slice())
            .await
            .map_err(|error| Unreachable::from_tcp(&error))?;
        // A failure here costs only latency.
        let _ = stream.set_nodelay(true);
        let stream = self
            .tls
            .connect(self.name.clone(), stream)
            .await
            .map_err(|error| Unreachable::from_tls(&error, &self.host, self.ca_given))?;
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => Ok(stream),
            _ => Err(Unreachable::NotHttp2),
        }
    }
}

fn roots(ca: Option<&str>) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let Some(pem) = ca else {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        return Ok(roots);
    };
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| Error::Target(format!("the CA is not PEM: {error:?}")))?;
        roots
            .add(certificate)
            .map_err(|error| Error::Target(format!("the CA is no certificate: {error}")))?;
    }
    if roots.is_empty() {
        return Err(Error::Target(
            "the CA holds no certificate: it needs a BEGIN CERTIFICATE block".to_owned(),
        ));
    }
    Ok(roots)
}

#[cfg(test)]
mod tests;
