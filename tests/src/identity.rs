//! Certificates for a control plane: its authority, its serving certificate, and its users.
//!
//! `plane` keeps one [`Authority`] per control plane. Users are made at any time, without a
//! restart, because the API server takes any client certificate that the authority signed.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};

/// Signs for one control plane; its key never leaves this process.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, both PEM.
#[derive(Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its private key (PKCS 8).
    pub key: String,
}

/// How a kubeconfig says who its user is.
#[derive(Clone, Copy, Debug)]
pub enum Credential<'a> {
    /// A bearer token.
    Token(&'a str),
    /// A file with a bearer token.
    TokenFile(&'a Path),
    /// A client certificate.
    Certificate(&'a Identity),
}

impl Authority {
    /// A new authority with a new key.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "driftless tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::CrlSign,
        ];
        Ok(Self {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate()?)?,
        })
    }

    /// Its certificate, PEM.
    pub fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// A serving certificate for names and addresses.
    pub fn server(&self, names: &[&str]) -> Result<Identity> {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    /// A client certificate: Kubernetes reads the user from its common name, groups from its organisations.
    pub fn user(&self, name: &str, groups: &[&str]) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> Result<Identity> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity {
            certificate,
            key: key.serialize_pem(),
        })
    }
}

/// Writes a kubeconfig for `server`, trusting `authority`, as `user`. Files are referred to by
/// absolute path, so that it works from anywhere.
pub fn write_kubeconfig(
    path: &Path,
    server: &str,
    authority: &Path,
    user: &str,
    credential: Credential<'_>,
) -> Result<()> {
    let credential: Value = match credential {
        Credential::Token(token) => json!({ "token": token }),
        Credential::TokenFile(file) => json!({ "tokenFile": file }),
        Credential::Certificate(identity) => {
            let (certificate, key) = (path.with_extension("crt"), path.with_extension("key"));
            fs::write(&certificate, &identity.certificate)?;
            fs::write(&key, &identity.key)?;
            json!({ "client-certificate": certificate, "client-key": key })
        }
    };
    // JSON is YAML, and needs no writer of its own.
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "tests", "cluster": { "server": server, "certificate-authority": authority } }],
        "users": [{ "name": user, "user": credential }],
        "contexts": [{ "name": user, "context": { "cluster": "tests", "user": user } }],
        "current-context": user,
    });
    fs::write(path, serde_json::to_vec_pretty(&config)?).with_context(|| format!("cannot write {}", path.display()))
}
