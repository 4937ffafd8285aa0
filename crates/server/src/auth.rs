//! Who calls: the admin by a bearer token, a cluster by its client certificate.
//!
//! The listener makes one [`Peer`] per connection; every handler asks [`Auth`] before it does anything. The TLS
//! handshake has checked chain and dates of a certificate; what it is worth to this fleet is decided here, on the
//! fleet state of the moment, so enrolling a cluster anew voids its old certificate at once.

use std::{net::SocketAddr, sync::Arc};

use driftless_model::{
    fleet::{Cluster, Fleet, Membership, Retired},
    hash::ObjectHash,
    name::ClusterName,
};
use http::{Extensions, header::AUTHORIZATION};
use tonic::{Request, metadata::MetadataMap};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

use crate::{
    Error,
    failure::Failure,
    pki::cluster_uri,
    secrets::{DataFolder, Readers, random_text},
};

const TOKEN_FILE: &str = "admin.token";
const TOKEN_PREFIX: &str = "dla_";
/// What the holder of the admin token is called in the history.
pub(crate) const ADMIN: &str = "admin";

/// The other end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// The certificate it showed; the handshake has checked it against the CAs.
    pub(crate) certificate: Option<Arc<Certificate>>,
}

/// What a client certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    /// The cluster it is for; an error in words when it names none, or is accepted no longer.
    pub(crate) cluster: Result<ClusterName, String>,
    /// sha256 of its public key.
    pub(crate) key: ObjectHash,
    pub(crate) issuer: Issuer,
}

/// Which CA a client certificate is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Issuer {
    /// The server's own: its key must be the one that the cluster joined with.
    Own,
    /// One that the operator trusts besides: it decides itself who gets which name.
    Operator,
}

impl Certificate {
    /// Reads a certificate that the handshake has accepted.
    pub(crate) fn read(der: &[u8], issuer: Issuer) -> Result<Self, String> {
        let (_, certificate) = parse_x509_certificate(der).map_err(|error| error.to_string())?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|error| error.to_string())?;
        let uris = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) => uri.strip_prefix(&cluster_uri("")),
                _ => None,
            });
        let common = certificate
            .subject()
            .iter_common_name()
            .filter_map(|name| name.as_str().ok());
        let name = uris
            .chain(common)
            .next()
            .ok_or_else(|| "it names no cluster".to_owned());
        let cluster = name.and_then(|name| {
            name.parse()
                .map_err(|error: driftless_model::name::InvalidName| error.to_string())
        });
        Ok(Self {
            cluster,
            key: ObjectHash::of(certificate.public_key().raw),
            issuer,
        })
    }

    /// Which cluster its holder is, in this fleet at this moment.
    pub(crate) fn cluster<'a>(&self, fleet: &'a Fleet) -> Result<(&ClusterName, &'a Cluster), Failure> {
        let name = self.cluster.as_ref().map_err(|reason| {
            Failure::Unauthenticated(format!("the client certificate stands for no cluster: {reason}"))
        })?;
        let cluster = fleet.clusters.get(name).ok_or_else(|| not_enrolled(name, fleet))?;
        self.check(name, cluster)?;
        Ok((name, cluster))
    }

    /// Is it good for the cluster it names?
    pub(crate) fn check(&self, name: &ClusterName, cluster: &Cluster) -> Result<(), Failure> {
        match (&cluster.membership, self.issuer) {
            (_, Issuer::Operator) => Ok(()),
            (Membership::Joined { key, .. }, Issuer::Own) if *key == self.key => Ok(()),
            (Membership::Joined { .. } | Membership::Invited { .. }, Issuer::Own) => Err(Failure::Denied(format!(
                "cluster `{name}` was enrolled anew, which voids this certificate: give its agent the new join token, \
                from `driftless cluster enroll {name} --again`"
            ))),
        }
    }
}

/// Why a cluster that is not in the fleet is refused.
pub(crate) fn not_enrolled(name: &ClusterName, fleet: &Fleet) -> Failure {
    match fleet.retired.get(name) {
        Some(Retired { time, author }) => Failure::Retired(format!(
            "cluster `{name}` was retired by {author} at {time}: what runs on it stays as it is; delete the agent, or \
            let it come back with `driftless cluster enroll {name}`"
        )),
        None => Failure::Denied(format!(
            "cluster `{name}` is not enrolled: add it with `driftless cluster enroll {name}`"
        )),
    }
}

/// Decides who a caller is.
#[derive(Debug)]
pub(crate) struct Auth {
    admin: ObjectHash,
}

impl Auth {
    /// Reads the admin token from the data folder, or makes one there. Only its hash stays in memory.
    pub(crate) fn open(folder: &DataFolder) -> Result<Self, Error> {
        let token = match folder.read_secret(TOKEN_FILE)? {
            Some(text) => text.trim().to_owned(),
            None => {
                let token = format!("{TOKEN_PREFIX}{}", random_text());
                folder.write(TOKEN_FILE, &format!("{token}\n"), Readers::Owner)?;
                token
            }
        };
        if token.len() < 32 {
            let reason = "is too short to be a token: delete it and the server makes a new one";
            return Err(Error::content(folder.path(TOKEN_FILE), reason));
        }
        Ok(Self {
            admin: ObjectHash::of(token.as_bytes()),
        })
    }

    /// The caller as the author of changes, if it may make any.
    pub(crate) fn admin<T>(&self, request: &Request<T>) -> Result<String, Failure> {
        self.admin_by(request.metadata(), request.extensions())
    }

    fn admin_by(&self, metadata: &MetadataMap, extensions: &Extensions) -> Result<String, Failure> {
        let Some(header) = metadata.get(AUTHORIZATION.as_str()) else {
            let is_agent = peer(extensions).is_some_and(|peer| peer.certificate.is_some());
            return Err(if is_agent {
                Failure::Denied("a cluster's certificate does not allow this: it takes the admin token".to_owned())
            } else {
                Failure::Unauthenticated(
                    "this needs a token: log in with `driftless login`, or set DRIFTLESS_TOKEN".to_owned(),
                )
            });
        };
        let token = header.to_str().ok().and_then(|text| text.split_once(' '));
        let token = token
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        match token {
            Some(token) if is_same(&ObjectHash::of(token.as_bytes()), &self.admin) => Ok(ADMIN.to_owned()),
            Some(_) => Err(Failure::Unauthenticated(
                "this token is not valid at this server: log in again with the one in its file `admin.token`"
                    .to_owned(),
            )),
            None => Err(Failure::Unauthenticated(
                "the authorization header must be `Bearer TOKEN`".to_owned(),
            )),
        }
    }
}

/// The certificate that the caller showed.
pub(crate) fn certificate(extensions: &Extensions) -> Result<Arc<Certificate>, Failure> {
    let certificate = peer(extensions).and_then(|peer| peer.certificate.clone());
    certificate.ok_or_else(|| {
        let text = "this needs the client certificate of a cluster: an agent gets one with its join token";
        Failure::Unauthenticated(text.to_owned())
    })
}

/// The other end of the connection that a request came by.
pub(crate) fn peer(extensions: &Extensions) -> Option<&Arc<Peer>> {
    extensions.get::<Arc<Peer>>()
}

/// Compares in a time that does not tell where they differ.
fn is_same(a: &ObjectHash, b: &ObjectHash) -> bool {
    a.as_bytes()
        .iter()
        .zip(b.as_bytes())
        .fold(0, |differing, (a, b)| differing | (a ^ b))
        == 0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use driftless_model::event::JoinToken;

    use super::*;

    fn fleet(membership: Membership) -> Fleet {
        let cluster = Cluster {
            channel: "prod".parse().unwrap(),
            labels: [].into(),
            vars: [].into(),
            orders: Default::default(),
            enrolled: "2026-01-02T03:04:05Z".parse().unwrap(),
            changed: None,
            membership,
        };
        Fleet {
            clusters: BTreeMap::from([("edge".parse().unwrap(), cluster)]).into(),
            ..Fleet::default()
        }
    }

    fn joined(key: &[u8]) -> Fleet {
        let time = "2026-01-02T03:04:05Z".parse().unwrap();
        fleet(Membership::Joined {
            token: ObjectHash::of(b"token"),
            key: ObjectHash::of(key),
            time,
        })
    }

    fn certificate(cluster: &str, key: &[u8], issuer: Issuer) -> Certificate {
        Certificate {
            cluster: Ok(cluster.parse().unwrap()),
            key: ObjectHash::of(key),
            issuer,
        }
    }

    #[test]
    fn own_certificate_is_good_for_the_key_that_joined_only() {
        let own = |fleet: &Fleet, key: &[u8]| certificate("edge", key, Issuer::Own).cluster(fleet).is_ok();
        assert!(own(&joined(b"key"), b"key"));
        assert!(!own(&joined(b"key"), b"old"));
        let join = JoinToken {
            hash: ObjectHash::of(b"t"),
            expires: "2026-01-02T03:04:05Z".parse().unwrap(),
        };
        assert!(!own(&fleet(Membership::Invited { join }), b"key"));
        assert!(!own(&Fleet::default(), b"key"));
    }

    #[test]
    fn certificate_of_the_operators_ca_needs_an_enrolled_cluster() {
        let by = |fleet: &Fleet, name: &str| certificate(name, b"any", Issuer::Operator).cluster(fleet).is_ok();
        assert!(by(&joined(b"key"), "edge"));
        assert!(!by(&joined(b"key"), "other"));
    }

    #[test]
    fn retired_cluster_is_told_by_whom_and_when() {
        let mut fleet = Fleet::default();
        let retired = Retired {
            time: "2026-01-02T03:04:05Z".parse().unwrap(),
            author: "ann".to_owned(),
        };
        fleet.retired.insert("edge".parse().unwrap(), retired);
        let failure = certificate("edge", b"key", Issuer::Own).cluster(&fleet).unwrap_err();
        let status = tonic::Status::from(failure);
        assert_eq!(
            status.message(),
            "cluster `edge` was retired by ann at 2026-01-02T03:04:05Z: what runs on it stays as it is; delete the \
             agent, or let it come back with `driftless cluster enroll edge`"
        );
        assert_eq!(status.metadata().get("driftless-reason").unwrap(), "retired");
    }

    #[test]
    fn token_is_kept_and_is_the_only_one_that_is_good() {
        let root = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(root.path()).unwrap();
        Auth::open(&folder).unwrap();
        let auth = Auth::open(&folder).unwrap();
        let token = folder.read_secret("admin.token").unwrap().unwrap();
        let token = token.trim();
        assert!(token.starts_with("dla_") && token.len() == 47, "{token}");
        let ask = |header: Option<&str>| {
            let mut request = Request::new(());
            if let Some(header) = header {
                request.metadata_mut().insert("authorization", header.parse().unwrap());
            }
            auth.admin(&request)
        };
        assert_eq!(ask(Some(&format!("Bearer {token}"))).unwrap(), "admin");
        for bad in [None, Some("Bearer x"), Some(token), Some("Basic YTpi"), Some("Bearer ")] {
            assert!(matches!(ask(bad), Err(Failure::Unauthenticated(_))), "{bad:?}");
        }
    }
}
