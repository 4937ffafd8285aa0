//! The server's own CA: two files, made once.

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::parse_x509_certificate;

use super::{after, failed, set_validity};
use crate::{
    Error,
    secrets::{DataFolder, Readers},
};

const CERTIFICATE: &str = "ca.crt";
const KEY: &str = "ca.key";
/// Agents and users pin this CA, so it outlives what it signs by far.
const DAYS: i64 = 10 * 365;

/// The server's own CA.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    /// The subject's DER, to know certificates that it signed.
    subject: Vec<u8>,
    expires: Timestamp,
}

impl Authority {
    /// Reads the CA from the data folder, or makes one there.
    ///
    /// Several servers on one bucket share one CA: copy `ca.crt` and `ca.key` to each before its first start.
    pub(crate) fn open(folder: &DataFolder, now: Timestamp) -> Result<Self, Error> {
        let key = folder.read_secret(KEY)?;
        let pem = folder.read(CERTIFICATE)?;
        let (key, pem) = match (key, pem) {
            (Some(key), Some(pem)) => (read_key(folder, &key)?, pem),
            (None, Some(_)) => {
                return Err(Error::content(
                    folder.path(KEY),
                    "is missing, but its certificate `ca.crt` is there: put it back, or delete both, and then every \
                    cluster has to be enrolled anew",
                ));
            }
            // The key is written first, so a crash in between leaves it alone. Its name depends on nothing but
            // the key, hence what it signed before, if anything, stays good.
            (Some(key), None) => {
                let key = read_key(folder, &key)?;
                let pem = Self::write_certificate(folder, &key, now)?;
                (key, pem)
            }
            (None, None) => {
                let key = KeyPair::generate().map_err(failed("the key of the CA"))?;
                folder.write(KEY, &key.serialize_pem(), Readers::Owner)?;
                let pem = Self::write_certificate(folder, &key, now)?;
                tracing::info!(path = %folder.path(CERTIFICATE).display(), "made a CA");
                (key, pem)
            }
        };
        let authority = Self::new(folder, key, pem)?;
        if authority.expires < after(now, 90) {
            tracing::warn!(expires = %authority.expires, "the CA ends soon: delete its files and enrol every cluster anew");
        }
        Ok(authority)
    }

    fn write_certificate(folder: &DataFolder, key: &KeyPair, now: Timestamp) -> Result<String, Error> {
        let mut params = CertificateParams::default();
        set_validity(&mut params, now, after(now, DAYS));
        let print = driftless_model::hash::ObjectHash::of(&key.subject_public_key_info());
        params.distinguished_name = DistinguishedName::new();
        // Unique, so that a client that knows several CAs never takes one for another.
        params
            .distinguished_name
            .push(DnType::CommonName, format!("Driftless CA {}", print.short()));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let pem = params
            .self_signed(key)
            .map_err(failed("the certificate of the CA"))?
            .pem();
        folder.write(CERTIFICATE, &pem, Readers::All)?;
        Ok(pem)
    }

    fn new(folder: &DataFolder, key: KeyPair, pem: String) -> Result<Self, Error> {
        let path = folder.path(CERTIFICATE);
        let invalid = |reason: String| Error::content(&path, format!("cannot be used as CA: {reason}; restore it"));
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| invalid(error.to_string()))?;
        let (_, parsed) = parse_x509_certificate(&certificate).map_err(|error| invalid(error.to_string()))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(invalid("it does not belong to the key in `ca.key`".to_owned()));
        }
        let subject = parsed.subject().as_raw().to_vec();
        let expires = Timestamp::from_second(parsed.validity().not_after.timestamp()).unwrap_or(Timestamp::MAX);
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(failed("certificates with this CA"))?;
        Ok(Self {
            issuer,
            certificate,
            pem,
            subject,
            expires,
        })
    }

    /// Signs a certificate for a public key, good until `end` at most.
    pub(crate) fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
        now: Timestamp,
        end: Timestamp,
    ) -> Result<(String, Timestamp), rcgen::Error> {
        let end = end.min(self.expires);
        set_validity(&mut params, now, end);
        params.use_authority_key_identifier_extension = true;
        Ok((params.signed_by(key, &self.issuer)?.pem(), end))
    }

    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificate as PEM.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// The DER of the subject: the issuer of what it signed.
    pub(crate) fn subject(&self) -> &[u8] {
        &self.subject
    }
}

fn read_key(folder: &DataFolder, text: &str) -> Result<KeyPair, Error> {
    KeyPair::from_pem(text).map_err(|error| {
        Error::content(
            folder.path(KEY),
            format!("cannot be read as a private key: {error}; restore it"),
        )
    })
}
