//! Keys and certificates: the server's own CA, its server certificate, and what agents join with.
//!
//! Made on the first start and kept in the data folder; used by the [`crate::listener`] and by the enrolment
//! service. Decisions take the time as an argument. Never writes anything to the bucket.

mod agent;
mod authority;
mod serving;
mod tickets;

use std::{path::Path, sync::Arc, time::Duration};

use driftless_model::hash::ObjectHash;
use jiff::Timestamp;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};

pub(crate) use agent::{Request, cluster_uri};
pub(crate) use authority::Authority;
pub(crate) use serving::{Serving, wanted_names};
pub(crate) use tickets::Tickets;

use crate::Error;

/// The one TLS implementation in use.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Checks certificates of agents against CAs.
pub(crate) struct Verifiers {
    /// Against all CAs: what the TLS handshake asks.
    pub(crate) any: Arc<dyn ClientCertVerifier>,
    /// Against the server's own CA only; absent when there is no other.
    pub(crate) own: Option<Arc<dyn ClientCertVerifier>>,
    /// Names what they trust.
    pub(crate) trust: ObjectHash,
}

impl Verifiers {
    pub(crate) fn new(authority: &Authority, client_ca: Option<&Path>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        let mut trusted = authority.certificate().to_vec();
        let trust = |roots: &mut RootCertStore, certificate, what: &str| {
            roots.add(certificate).map_err(|source| Error::Tls {
                what: what.to_owned(),
                source,
            })
        };
        trust(&mut roots, authority.certificate().clone(), "the server's own CA")?;
        let Some(path) = client_ca else {
            return Ok(Self {
                any: verifier(roots)?,
                own: None,
                trust: ObjectHash::of(&trusted),
            });
        };
        let own = verifier(roots.clone())?;
        for certificate in read_certificates(path)? {
            trusted.extend_from_slice(&certificate);
            trust(
                &mut roots,
                certificate,
                &format!("the client CA in `{}`", path.display()),
            )?;
        }
        Ok(Self {
            any: verifier(roots)?,
            own: Some(own),
            trust: ObjectHash::of(&trusted),
        })
    }

    /// How TLS is spoken at the port.
    pub(crate) fn config(&self, serving: Arc<Serving>, tickets: Arc<Tickets>) -> Result<ServerConfig, Error> {
        let versions = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13, &TLS12]);
        let versions = versions.map_err(|source| Error::Tls {
            what: "TLS 1.2 and 1.3".to_owned(),
            source,
        })?;
        let mut config = versions
            .with_client_cert_verifier(Arc::clone(&self.any))
            .with_cert_resolver(serving);
        // Clients keep their sessions themselves, sealed: nothing is kept here for those that never come back.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = tickets;
        config.send_tls13_tickets = 1;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn verifier(roots: RootCertStore) -> Result<Arc<dyn ClientCertVerifier>, Error> {
    let builder = WebPkiClientVerifier::builder_with_provider(roots.into(), provider());
    // Tooling shows a token instead, and an agent that joins has neither.
    builder.allow_unauthenticated().build().map_err(|error| {
        let source = rustls::Error::General(error.to_string());
        Error::Tls {
            what: "the CAs of its clients".to_owned(),
            source,
        }
    })
}

/// Reads a file with one or more PEM certificates.
fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let text = std::fs::read(path).map_err(Error::file("cannot read", path))?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(Error::content(
            path,
            "holds no certificate: it takes PEM, `-----BEGIN CERTIFICATE-----`",
        )),
        Err(error) => Err(Error::content(
            path,
            format!("cannot be read as PEM certificates: {error}"),
        )),
    }
}

/// Reads a file with one PEM private key.
fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    let text = std::fs::read(path).map_err(Error::file("cannot read", path))?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| {
        Error::content(
            path,
            format!("holds no private key that can be used: {error}; it takes PEM, PKCS#8 best"),
        )
    })
}

/// Sets how long a certificate is good: from a little before `now`, since clocks differ, to `end`.
fn set_validity(params: &mut rcgen::CertificateParams, now: Timestamp, end: Timestamp) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let seconds = |time: Timestamp| Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0));
    params.not_before = epoch + (seconds(now).saturating_sub(Duration::from_secs(3600)));
    params.not_after = epoch + seconds(end);
}

fn after(now: Timestamp, days: i64) -> Timestamp {
    now.checked_add(jiff::SignedDuration::from_hours(24 * days))
        .unwrap_or(Timestamp::MAX)
}

fn failed(what: &'static str) -> impl FnOnce(rcgen::Error) -> Error {
    move |source| Error::Certificate { what, source }
}
