//! Certificates of agents: what is in them, and how a signing request becomes one.

use driftless_model::{hash::ObjectHash, name::ClusterName};
use jiff::Timestamp;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

use super::{Authority, after};

/// Long enough to be offline for weeks, short enough that a lost one is soon worth nothing.
const DAYS: i64 = 30;

/// The largest signing request that is looked at.
const CSR_MAX_BYTES: usize = 16 * 1024;

/// The name by which an agent's certificate says which cluster it is.
pub(crate) fn cluster_uri(cluster: &str) -> String {
    format!("driftless://cluster/{cluster}")
}

/// A signing request whose signature is right: whoever made it holds the key.
pub(crate) struct Request {
    request: CertificateSigningRequestParams,
    /// sha256 of the public key, by which the fleet state knows the agent.
    pub(crate) key: ObjectHash,
}

/// A certificate for an agent.
pub(crate) struct Issued {
    pub(crate) pem: String,
    pub(crate) expires: Timestamp,
}

impl Request {
    /// Reads a PKCS#10 request. Its subject and names are ignored.
    pub(crate) fn decode(der: &[u8]) -> Result<Self, String> {
        if der.len() > CSR_MAX_BYTES {
            return Err(format!("it has {} bytes, more than {CSR_MAX_BYTES}", der.len()));
        }
        let request = CertificateSigningRequestParams::from_der(&der.into()).map_err(|error| error.to_string())?;
        let info = request.public_key.subject_public_key_info();
        // The library concludes the kind of key from the signature's algorithm: they may differ.
        let (_, parsed) = X509CertificationRequest::from_der(der).map_err(|error| error.to_string())?;
        if parsed.certification_request_info.subject_pki.raw != info {
            return Err("its key is of a kind that is not supported: use ECDSA P-256".to_owned());
        }
        Ok(Self {
            request,
            key: ObjectHash::of(&info),
        })
    }

    /// Issues the certificate by which `cluster` is known.
    pub(crate) fn sign(
        &self,
        cluster: &ClusterName,
        authority: &Authority,
        now: Timestamp,
    ) -> Result<Issued, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, cluster.as_str());
        params.subject_alt_names = vec![SanType::URI(cluster_uri(cluster.as_str()).try_into()?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (pem, expires) = authority.sign(params, &self.request.public_key, now, after(now, DAYS))?;
        Ok(Issued { pem, expires })
    }
}
