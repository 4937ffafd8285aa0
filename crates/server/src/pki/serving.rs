//! The certificate that the server shows: one from its own CA, or one of the operator's own.
//!
//! Read at start and looked at again from time to time, so that neither kind runs out under a server that never
//! restarts.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
};

use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use rustls::{
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use super::{Authority, after, failed, provider, read_certificates, read_key};
use crate::{
    Error,
    secrets::{DataFolder, Readers},
    settings::OwnTls,
};

const CERTIFICATE: &str = "server.crt";
const KEY: &str = "server.key";
const DAYS: i64 = 365;
const RENEW_DAYS_BEFORE: i64 = 60;

/// The certificate that the server shows. Written by [`Serving::refresh`], read by every handshake.
#[derive(Debug)]
pub(crate) struct Serving {
    source: Source,
    current: RwLock<Arc<CertifiedKey>>,
}

#[derive(Debug)]
enum Source {
    Own(OwnTls),
    Authority {
        folder: DataFolder,
        names: BTreeSet<String>,
    },
}

impl Serving {
    /// Reads the operator's certificate, or the one from the server's CA after making it where needed.
    pub(crate) fn open(
        folder: &DataFolder,
        authority: &Authority,
        own: Option<OwnTls>,
        names: BTreeSet<String>,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let source = match own {
            Some(own) => Source::Own(own),
            None => Source::Authority {
                folder: folder.clone(),
                names,
            },
        };
        let current = RwLock::new(Arc::new(source.load(authority, now)?));
        Ok(Self { source, current })
    }

    /// Looks at the files again: takes what the operator replaced, and replaces what nears its end.
    pub(crate) fn refresh(&self, authority: &Authority, now: Timestamp) -> Result<(), Error> {
        let fresh = Arc::new(self.source.load(authority, now)?);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.cert != fresh.cert {
            tracing::info!("serving with a new certificate");
            *current = fresh;
        }
        Ok(())
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Source {
    fn load(&self, authority: &Authority, now: Timestamp) -> Result<CertifiedKey, Error> {
        match self {
            Self::Own(OwnTls { cert, key }) => {
                let what = format!("the certificate `{}` and the key `{}`", cert.display(), key.display());
                certified(read_certificates(cert)?, read_key(key)?, what)
            }
            Self::Authority { folder, names } => {
                if let (Some(certificate), Some(key)) = (folder.read(CERTIFICATE)?, folder.read_secret(KEY)?) {
                    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.as_bytes())
                        .flatten()
                        .collect();
                    let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
                    if let (Some(leaf), Ok(key)) = (chain.first(), key)
                        && is_good(leaf, authority, names, now)
                        && let Ok(certified) = certified(chain, key, String::new())
                    {
                        return Ok(certified);
                    }
                }
                issue(folder, authority, names, now)
            }
        }
    }
}

fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    what: String,
) -> Result<CertifiedKey, Error> {
    // Also checks that the key belongs to the certificate.
    CertifiedKey::from_der(chain, key, &provider()).map_err(|source| Error::Tls { what, source })
}

fn issue(
    folder: &DataFolder,
    authority: &Authority,
    names: &BTreeSet<String>,
    now: Timestamp,
) -> Result<CertifiedKey, Error> {
    let key = KeyPair::generate().map_err(failed("the server's key"))?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "driftless-server");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for name in names {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.as_str().try_into().map_err(failed("the server's certificate"))?),
        });
    }
    let (pem, _) = authority
        .sign(params, &key, now, after(now, DAYS))
        .map_err(failed("the server's certificate"))?;
    let text = key.serialize_pem();
    folder.write(KEY, &text, Readers::Owner)?;
    folder.write(CERTIFICATE, &pem, Readers::All)?;
    tracing::info!(names = ?names, "made a server certificate");
    let leaf = CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate just written is PEM");
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).expect("a key just written is PEM");
    certified(vec![leaf], key, "the certificate it made".to_owned())
}

/// Is the certificate from this CA, for all these names, and good for a while?
fn is_good(leaf: &CertificateDer<'_>, authority: &Authority, names: &BTreeSet<String>, now: Timestamp) -> bool {
    let Ok((_, certificate)) = parse_x509_certificate(leaf) else {
        return false;
    };
    let covered = match certificate.subject_alternative_name() {
        Ok(Some(extension)) => extension.value.general_names.iter().filter_map(text).collect(),
        _ => BTreeSet::new(),
    };
    certificate.issuer().as_raw() == authority.subject()
        && names.is_subset(&covered)
        && certificate.validity().not_after.timestamp() > after(now, RENEW_DAYS_BEFORE).as_second()
}

fn text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(v4) => Some(IpAddr::from(v4).to_string()),
            Err(_) => Some(IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string()),
        },
        _ => None,
    }
}

/// The names that the server's certificate must be good for.
///
/// # Errors
/// When one of `further` is neither a DNS name nor an IP address.
pub(crate) fn wanted_names(listen: SocketAddr, host: &str, further: &[String]) -> Result<BTreeSet<String>, Error> {
    let mut names: BTreeSet<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    if !listen.ip().is_unspecified() {
        names.insert(listen.ip().to_string());
    }
    if is_dns_name(host) {
        names.insert(host.to_ascii_lowercase());
    }
    for name in further {
        match name.parse::<IpAddr>() {
            Ok(address) => names.insert(address.to_string()),
            Err(_) if is_dns_name(name) => names.insert(name.to_ascii_lowercase()),
            Err(_) => {
                let text = format!("`{name}` is neither a DNS name nor an IP address: correct it in --tls-san");
                return Err(Error::Setting(text));
            }
        };
    }
    Ok(names)
}

/// May `name` stand in a certificate as DNS name? A wildcard may, as the first part.
fn is_dns_name(name: &str) -> bool {
    let rest = name.strip_prefix("*.").unwrap_or(name);
    let part = |part: &str| {
        (1..=63).contains(&part.len())
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    rest.len() <= 253 && rest.split('.').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().unwrap()
    }

    fn names(further: &[&str]) -> BTreeSet<String> {
        let further: Vec<_> = further.iter().map(|&name| name.to_owned()).collect();
        wanted_names("10.0.0.1:0".parse().unwrap(), "Host", &further).unwrap()
    }

    #[test]
    fn names_are_those_a_client_may_use() {
        let found: Vec<_> = names(&["x.example.com", "FD00::1"]).into_iter().collect();
        assert_eq!(
            found,
            [
                "10.0.0.1",
                "127.0.0.1",
                "::1",
                "fd00::1",
                "host",
                "localhost",
                "x.example.com"
            ]
        );
        assert!(wanted_names("0.0.0.0:1".parse().unwrap(), "", &["a b".to_owned()]).is_err());
        assert!(
            !wanted_names("0.0.0.0:1".parse().unwrap(), "", &[])
                .unwrap()
                .contains("0.0.0.0")
        );
    }

    #[test]
    fn certificate_is_kept_until_a_name_is_missing_or_its_end_is_near() {
        let root = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(root.path()).unwrap();
        let authority = Authority::open(&folder, now()).unwrap();
        let open = |names, now| {
            let serving = Serving::open(&folder, &authority, None, names, now).unwrap();
            serving.current.into_inner().unwrap().cert.clone()
        };
        let first = open(names(&[]), now());
        assert_eq!(open(names(&[]), after(now(), 200)), first);
        assert_ne!(open(names(&[]), after(now(), 320)), first);
        let second = open(names(&[]), after(now(), 320));
        let third = open(names(&["more"]), after(now(), 320));
        assert_ne!(third, second);
        assert_eq!(
            open(names(&[]), after(now(), 320)),
            third,
            "more names than needed do no harm"
        );
    }

    #[test]
    fn certificate_from_another_ca_is_replaced() {
        let root = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(root.path()).unwrap();
        let authority = Authority::open(&folder, now()).unwrap();
        Serving::open(&folder, &authority, None, names(&[]), now()).unwrap();
        let before = folder.read(CERTIFICATE).unwrap();
        std::fs::remove_file(folder.path("ca.crt")).unwrap();
        std::fs::remove_file(folder.path("ca.key")).unwrap();
        let other = Authority::open(&folder, now()).unwrap();
        Serving::open(&folder, &other, None, names(&[]), now()).unwrap();
        assert_ne!(folder.read(CERTIFICATE).unwrap(), before);
    }

    #[test]
    fn lost_ca_certificate_is_made_again_under_the_same_name_and_a_lost_key_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(root.path()).unwrap();
        let subject = Authority::open(&folder, now()).unwrap().subject().to_vec();
        std::fs::remove_file(folder.path("ca.crt")).unwrap();
        assert_eq!(Authority::open(&folder, now()).unwrap().subject(), subject);
        std::fs::remove_file(folder.path("ca.key")).unwrap();
        let error = Authority::open(&folder, now()).err().unwrap().to_string();
        assert!(error.contains("ca.key") && error.contains("is missing"), "{error}");
    }
}
