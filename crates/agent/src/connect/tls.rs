//! TLS towards the server: whom to trust, who we are, and the session that the next connection may go on with.
//!
//! A session is taken up again only by the same identity under the same authority; what the server makes of that is its
//! decision each time.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{dial::Stream, identity::Identity};

const HTTP2: &[u8] = b"h2";
/// There is one server, or a few replicas under one name.
const SESSIONS: usize = 8;

/// Keeps what connections have in common from one to the next. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sessions {
    kept: Arc<Mutex<Option<Kept>>>,
}

#[derive(Debug)]
struct Kept {
    ca: String,
    chain: String,
    config: Arc<ClientConfig>,
}

impl Sessions {
    /// TLS that trusts the authority `ca`, with the sessions of earlier connections as the same identity.
    ///
    /// # Errors
    /// In words, what cannot be used.
    pub(crate) fn config(&self, ca: &str, identity: Option<&Identity>) -> Result<Arc<ClientConfig>, String> {
        let Some((identity, chain)) = identity.and_then(|identity| Some((identity, identity.chain.as_ref()?))) else {
            return configure(ca, None);
        };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = kept.as_ref().filter(|kept| kept.ca == ca && kept.chain == *chain) {
            return Ok(Arc::clone(&kept.config));
        }
        let config = configure(ca, Some((chain, &identity.key)))?;
        *kept = Some(Kept {
            ca: ca.to_owned(),
            chain: chain.clone(),
            config: Arc::clone(&config),
        });
        Ok(config)
    }
}

fn configure(ca: &str, identity: Option<(&String, &String)>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca).map_err(|error| format!("the authority in the join file: {error}"))? {
        let added = roots.add(certificate);
        added.map_err(|error| format!("the authority in the join file is no certificate: {error}"))?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let unusable = |error: String| format!("the cluster's own certificate cannot be used: {error}");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| unusable(error.to_string()))?;
            let chain = certificates(chain).map_err(unusable)?;
            let shown = builder.with_client_auth_cert(chain, key);
            shown.map_err(|error| unusable(error.to_string()))?
        }
    };
    config.alpn_protocols = vec![HTTP2.to_vec()];
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    Ok(Arc::new(config))
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => Err("it holds no certificate in PEM".to_owned()),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("it cannot be read as PEM: {error}")),
    }
}

/// Shakes hands over an open connection, and makes sure that gRPC can be spoken on it.
pub(crate) async fn shake_hands(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    stream: Box<dyn Stream>,
) -> io::Result<TlsStream<Box<dyn Stream>>> {
    let stream = TlsConnector::from(config).connect(name, stream).await?;
    let session = stream.get_ref().1;
    if session.alpn_protocol() != Some(HTTP2) {
        let text = "what listens there does not speak HTTP/2, as gRPC needs";
        return Err(io::Error::new(io::ErrorKind::Unsupported, text));
    }
    tracing::debug!(handshake = ?session.handshake_kind(), "TLS is up");
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::{HandshakeKind, ServerConfig};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };
    use tokio_rustls::TlsAcceptor;

    use super::*;

    fn joined(name: &str) -> Identity {
        let identity = Identity::generate(name.parse().unwrap(), "token").unwrap();
        let key = KeyPair::from_pem(&identity.key).unwrap();
        let chain = CertificateParams::default().self_signed(&key).unwrap().pem();
        identity.with_chain(chain).unwrap()
    }

    #[test]
    fn sessions_are_those_of_one_identity_under_one_authority() {
        let (one, other) = (joined("one"), joined("other"));
        let (ca, other_ca) = (joined("ca").chain.unwrap(), joined("ca").chain.unwrap());
        let sessions = Sessions::default();
        let config = |ca: &str, identity| sessions.config(ca, identity).unwrap();
        let first = config(&ca, Some(&one));
        assert!(Arc::ptr_eq(&first, &config(&ca, Some(&one))));
        assert!(!Arc::ptr_eq(&first, &config(&other_ca, Some(&one))));
        let again = config(&ca, Some(&one));
        assert!(!Arc::ptr_eq(&first, &again), "what was replaced is forgotten");
        assert!(!Arc::ptr_eq(&again, &config(&ca, Some(&other))));
        let strange = config(&ca, None);
        assert!(!Arc::ptr_eq(&strange, &config(&ca, None)), "strangers have no sessions");
    }

    #[tokio::test]
    async fn next_connection_goes_on_with_the_session_of_the_last() {
        let agent = joined("one");
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut server = builder
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        server.alpn_protocols = vec![HTTP2.to_vec()];
        server.ticketer = ring::Ticketer::new().unwrap();
        let server = TlsAcceptor::from(Arc::new(server));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = server.accept(stream).await.unwrap();
                stream.write_all(b"hello").await.unwrap();
                stream.shutdown().await.unwrap();
            }
        });
        let sessions = Sessions::default();
        let mut kinds = Vec::new();
        for _ in 0..3 {
            let config = sessions.config(&certificate.pem(), Some(&agent)).unwrap();
            let stream = TcpStream::connect(address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = shake_hands(config, name, Box::new(stream)).await.unwrap();
            stream.read_to_end(&mut Vec::new()).await.unwrap();
            kinds.push(stream.get_ref().1.handshake_kind().unwrap());
        }
        let (full, resumed) = (HandshakeKind::Full, HandshakeKind::Resumed);
        assert_eq!(kinds, [full, resumed, resumed]);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let sessions = Sessions::default();
        let error = sessions.config("nonsense", None).unwrap_err();
        assert!(
            error.contains("join file") && error.contains("no certificate"),
            "{error}"
        );
        let mut broken = joined("one");
        broken.chain = Some("nonsense".to_owned());
        let ca = joined("ca").chain.unwrap();
        let error = sessions.config(&ca, Some(&broken)).unwrap_err();
        assert!(error.contains("own certificate"), "{error}");
    }
}
