//! The cluster's identity towards the server: a key that never leaves the agent and the certificate for it.
//!
//! The key is stored before it is first sent to be certified, so that a join whose answer was lost can be asked
//! again with the same key; the server then recognises who asks. [`super::join`] does the asking.

use std::{fmt, time::Duration};

use driftless_model::{hash::ObjectHash, name::ClusterName};
use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use serde::{Deserialize, Serialize};
use x509_parser::{parse_x509_certificate, pem::Pem};

use crate::Error;

/// Key and, once joined, certificate of a cluster, as they are stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// The cluster it stands for.
    pub cluster: ClusterName,
    /// Private key, PEM. Secret.
    pub key: String,
    /// Certificate chain, PEM, leaf first; `None` until the server answered the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// Hash of the join token that it was, or is being, got with: another token asks for another identity.
    pub token: ObjectHash,
    /// The identity asked for with another token, until the server has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Box<Self>>,
}

/// When a certificate is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

impl Validity {
    /// When to ask for the next certificate: at two thirds of the lifetime, or up to a tenth of it earlier, by
    /// `jitter` from 0 to 1, so that a fleet enrolled together does not renew together.
    pub(crate) fn renew_at(&self, jitter: f64) -> Timestamp {
        let lifetime = self.until.duration_since(self.from).as_secs_f64().max(0.0);
        let share = 2.0 / 3.0 - 0.1 * jitter.clamp(0.0, 1.0);
        let wait = Duration::try_from_secs_f64(lifetime * share).unwrap_or_default();
        self.from.checked_add(wait).unwrap_or(self.until)
    }

    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.until
    }
}

impl Identity {
    /// A new key for `cluster`, not certified yet.
    ///
    /// # Errors
    /// When the system has no randomness to give.
    pub(crate) fn generate(cluster: ClusterName, token: &str) -> Result<Self, Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| certificate(&cluster, error))?;
        Ok(Self {
            key: key.serialize_pem(),
            cluster,
            chain: None,
            token: ObjectHash::of(token.as_bytes()),
            next: None,
        })
    }

    /// Was it got, or begun, with this token?
    pub(crate) fn is_of_token(&self, token: &str) -> bool {
        self.token == ObjectHash::of(token.as_bytes())
    }

    /// The certificate signing request for the key, DER.
    pub(crate) fn request(&self) -> Result<Vec<u8>, Error> {
        let fail = |error| certificate(&self.cluster, error);
        let key = KeyPair::from_pem(&self.key).map_err(fail)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, self.cluster.as_str());
        Ok(params.serialize_request(&key).map_err(fail)?.der().to_vec())
    }

    /// The same identity with a certificate from the server, once it is clear that it belongs to the key.
    ///
    /// # Errors
    /// When the chain cannot be read or is for another key.
    pub(crate) fn with_chain(&self, chain: String) -> Result<Self, Error> {
        let key = KeyPair::from_pem(&self.key).map_err(|error| certificate(&self.cluster, error))?;
        let pem = leaf(&self.cluster, &chain)?;
        let (_, parsed) = parse_x509_certificate(&pem.contents).map_err(|error| certificate(&self.cluster, error))?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(certificate(&self.cluster, "the server certified another key than ours"));
        }
        Ok(Self {
            chain: Some(chain),
            ..self.clone()
        })
    }

    /// When its certificate is good; `None` without one.
    pub(crate) fn validity(&self) -> Result<Option<Validity>, Error> {
        let Some(chain) = &self.chain else { return Ok(None) };
        let pem = leaf(&self.cluster, chain)?;
        let (_, parsed) = parse_x509_certificate(&pem.contents).map_err(|error| certificate(&self.cluster, error))?;
        let time = |seconds| Timestamp::from_second(seconds).map_err(|error| certificate(&self.cluster, error));
        let validity = parsed.validity();
        Ok(Some(Validity {
            from: time(validity.not_before.timestamp())?,
            until: time(validity.not_after.timestamp())?,
        }))
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cluster,
            key: _,
            chain,
            token: _,
            next: _,
        } = self;
        f.debug_struct("Identity")
            .field("cluster", cluster)
            .field("certified", &chain.is_some())
            .finish_non_exhaustive()
    }
}

fn leaf(cluster: &ClusterName, chain: &str) -> Result<Pem, Error> {
    match Pem::iter_from_buffer(chain.as_bytes()).next() {
        Some(Ok(pem)) => Ok(pem),
        Some(Err(error)) => Err(certificate(cluster, error)),
        None => Err(certificate(cluster, "it is no PEM text")),
    }
}

fn certificate(cluster: &ClusterName, message: impl ToString) -> Error {
    Error::Certificate {
        cluster: cluster.to_string(),
        message: message.to_string(),
    }
}

/// Where among the agents of a fleet this one renews, from 0 to 1; stable, so that restarts do not change it.
pub(crate) fn jitter_of(cluster: &ClusterName) -> f64 {
    f64::from(ObjectHash::of(cluster.as_str().as_bytes()).as_bytes()[0]) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certified(identity: &Identity, days: i64) -> String {
        let key = KeyPair::from_pem(&identity.key).unwrap();
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = params.not_before + Duration::from_secs(u64::try_from(days).unwrap() * 86_400);
        params.self_signed(&key).unwrap().pem()
    }

    fn identity() -> Identity {
        Identity::generate("edge-1".parse().unwrap(), "t0ken").unwrap()
    }

    #[test]
    fn certificate_for_another_key_is_refused() {
        let ours = identity();
        assert!(ours.with_chain(certified(&ours, 30)).is_ok());
        let error = ours.with_chain(certified(&identity(), 30)).unwrap_err();
        assert!(error.to_string().contains("another key"), "{error}");
        assert!(ours.with_chain("nonsense".to_owned()).is_err());
    }

    #[test]
    fn renewal_is_due_around_two_thirds_of_the_lifetime() {
        let ours = identity();
        let joined = ours.with_chain(certified(&ours, 30)).unwrap();
        let validity = joined.validity().unwrap().unwrap();
        assert_eq!(validity.renew_at(0.0).to_string(), "2026-01-21T00:00:00Z");
        assert_eq!(validity.renew_at(1.0).to_string(), "2026-01-18T00:00:00Z");
        assert!(validity.is_expired("2026-01-31T00:00:00Z".parse().unwrap()));
        assert!(!validity.is_expired("2026-01-30T23:59:59Z".parse().unwrap()));
    }

    #[test]
    fn key_is_in_no_debug_output() {
        let ours = identity();
        let secret = ours.key.lines().nth(1).unwrap();
        assert!(!format!("{ours:?}").contains(secret));
    }

    #[test]
    fn another_token_is_told_apart() {
        assert!(identity().is_of_token("t0ken"));
        assert!(!identity().is_of_token("other"));
    }
}
