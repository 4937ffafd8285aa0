//! Clusters for a fleet: enrolled and joined over the public API, many at once, all with one key pair.
//!
//! Certificates may be kept in a folder, so that the next run finds its clusters as they are. Whoever recruited decides
//! when they are [retired](retire).

mod kept;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use driftless_client::{Client, Enroll, Target, types::Cluster};
use driftless_model::name::{ChannelName, ClusterName, Labels};
use driftless_proto::v1::{self, enrollment_client::EnrollmentClient};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    client::ResolvesClientCert,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SigningKey, SingleCertAndKey},
};
use tonic::transport::{Channel, Endpoint};

use self::kept::Kept;
use crate::{Dial, Error, error::chain};

/// Clusters that are enrolled and joined at once.
const AT_ONCE: usize = 128;
/// Clusters that are retired with one request.
const RETIRED_AT_ONCE: usize = 1000;

/// The label of every cluster that is there for load alone.
const LABEL: (&str, &str) = ("bench", "true");

/// A cluster with what it shows to servers.
#[derive(Debug, Clone)]
pub struct Member {
    pub(crate) cluster: ClusterName,
    identity: Arc<SingleCertAndKey>,
}

impl Member {
    /// Its name.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// What it shows to servers.
    pub fn identity(&self) -> Arc<dyn ResolvesClientCert> {
        self.identity.clone()
    }
}

/// Who is to be recruited.
#[derive(Debug, Clone)]
pub struct Recruiting {
    /// The server, and as whom to enrol.
    pub target: Target,
    /// The channel that they follow.
    pub channel: ChannelName,
    /// Number of the first: several processes that hold the clusters of one channel have numbers of their own.
    pub first: usize,
    /// How many.
    pub agents: usize,
    /// Where certificates are kept.
    pub certificates: Option<PathBuf>,
}

/// Who was recruited.
#[derive(Debug)]
pub struct Recruited {
    /// All of them, in order.
    pub members: Vec<Member>,
    /// How many of them were enrolled by this; the others were there.
    pub enrolled: usize,
}

/// The name of cluster `number` of those that follow `channel`.
fn name(channel: &ChannelName, number: usize) -> Result<ClusterName, Error> {
    let name = format!("{channel}-{number:05}");
    name.parse()
        .map_err(|error: driftless_model::name::InvalidName| Error::Channel {
            channel: channel.to_string(),
            why: format!("makes no cluster names: {error}"),
        })
}

/// Enrols clusters and has them join, where that was not done before.
///
/// # Errors
/// When the server refuses one, or certificates cannot be kept.
pub async fn recruit(
    recruiting: &Recruiting,
    dial: &Dial,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Recruited, Error> {
    let Recruiting {
        target,
        channel,
        first,
        agents,
        certificates,
    } = recruiting;
    let client = Client::connect(target.clone())?;
    let mut kept = match certificates {
        Some(folder) => Kept::open(folder, target.ca.as_deref())?,
        None => Kept::new(target.ca.as_deref()),
    };
    let keys = kept.keys()?;
    let names = (*first..first + agents)
        .map(|number| name(channel, number))
        .collect::<Result<Vec<_>, _>>()?;
    let fleet = client.clusters(None).await?;
    refuse_real(&names, &fleet, channel)?;
    let there: BTreeSet<_> = fleet
        .into_iter()
        .filter(|cluster| cluster.joined && cluster.channel == *channel)
        .map(|cluster| cluster.name)
        .collect();
    let is_new = |name: &&ClusterName| !(there.contains(*name) && kept.chains.contains_key(*name));
    let new: Vec<_> = names.iter().filter(is_new).cloned().collect();
    let enrolled = new.len();
    let chains = join(&client, channel, dial, &keys, new, progress).await?;
    kept.chains.extend(chains);
    if certificates.is_some() {
        kept.save()?;
    }
    let signing = signing_key(&keys)?;
    let members = names.into_iter().map(|cluster| {
        let chain = kept.chains.get(&cluster).map(String::as_str).unwrap_or_default();
        member(cluster, chain, &signing)
    });
    let members = members.collect::<Result<_, _>>()?;
    Ok(Recruited { members, enrolled })
}

/// Nobody's own cluster is enrolled anew: its agent would be locked out, and it would be retired in the end.
fn refuse_real(names: &[ClusterName], fleet: &[Cluster], channel: &ChannelName) -> Result<(), Error> {
    let is_ours = |cluster: &Cluster| cluster.labels.get(LABEL.0).map(String::as_str) == Some(LABEL.1);
    let meant: BTreeSet<_> = names.iter().collect();
    let real = fleet
        .iter()
        .find(|cluster| meant.contains(&cluster.name) && !is_ours(cluster));
    let Some(Cluster { name, .. }) = real else {
        return Ok(());
    };
    let (key, value) = LABEL;
    Err(Error::Channel {
        channel: channel.to_string(),
        why: format!("makes the name of cluster `{name}`, which is no bench's: it has no label {key}={value}"),
    })
}

/// Lets all clusters leave the fleet.
///
/// # Errors
/// When one of them is not in it.
pub async fn retire(client: &Client, members: &[Member]) -> Result<(), Error> {
    for some in members.chunks(RETIRED_AT_ONCE) {
        let names = some.iter().map(|member| member.cluster.clone()).collect();
        client.retire_clusters(&names).await?;
    }
    Ok(())
}

async fn join(
    client: &Client,
    channel: &ChannelName,
    dial: &Dial,
    keys: &KeyPair,
    clusters: Vec<ClusterName>,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<BTreeMap<ClusterName, String>, Error> {
    let enrollment = EnrollmentClient::new(unauthenticated(dial));
    // Whose certificate it becomes is said by the token alone.
    let request = CertificateParams::default().serialize_request(keys);
    let request = request.map_err(|error| Error::Tls(format!("cannot make a certificate request: {error}")))?;
    let csr: bytes::Bytes = request.der().to_vec().into();
    let one = |cluster: ClusterName| {
        let (client, channel, mut enrollment, csr) = (client, channel, enrollment.clone(), csr.clone());
        async move {
            let enroll = Enroll {
                cluster: cluster.clone(),
                channel: channel.clone(),
                labels: Labels::from([(LABEL.0.to_owned(), LABEL.1.to_owned())]),
                vars: Default::default(),
                ttl: None,
                again: true,
            };
            let token = client.enroll(&enroll).await?.token;
            let joined = enrollment.join(v1::JoinRequest { token, csr }).await;
            let certificate = joined.map_err(|status| Error::Join {
                cluster: cluster.to_string(),
                message: chain(&status),
            })?;
            Ok::<_, Error>((cluster, certificate.into_inner().chain))
        }
    };
    let mut done = 0;
    let counted = |joined| {
        done += 1;
        progress(done);
        joined
    };
    let joining = stream::iter(clusters.into_iter().map(one)).buffer_unordered(AT_ONCE);
    joining.map_ok(counted).try_collect().await
}

/// A way to the server without a certificate.
fn unauthenticated(dial: &Dial) -> Channel {
    let origin = dial.uri("");
    // The plain scheme keeps tonic from adding TLS of its own; the origin is what goes on the wire.
    let endpoint = Endpoint::from_static("http://server").origin(origin);
    let dial = dial.clone();
    endpoint.connect_with_connector_lazy(tower::service_fn(move |_: http::Uri| {
        let dial = dial.clone();
        async move { dial.open(0, None, None).await.map(TokioIo::new) }
    }))
}

fn signing_key(keys: &KeyPair) -> Result<Arc<dyn SigningKey>, Error> {
    let unusable = |error: String| Error::Tls(format!("the agents' key cannot be used: {error}"));
    let der = PrivateKeyDer::try_from(keys.serialize_der()).map_err(|error| unusable(error.to_owned()))?;
    ring::sign::any_ecdsa_type(&der).map_err(|error| unusable(error.to_string()))
}

fn member(cluster: ClusterName, chain: &str, key: &Arc<dyn SigningKey>) -> Result<Member, Error> {
    let certificates = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>();
    let certificates =
        certificates.map_err(|error| Error::Tls(format!("certificate of cluster `{cluster}`: {error}")))?;
    let certified = CertifiedKey::new(certificates, Arc::clone(key));
    Ok(Member {
        cluster,
        identity: Arc::new(SingleCertAndKey::from(certified)),
    })
}

fn new_keys() -> Result<KeyPair, Error> {
    let made = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
    made.map_err(|error| Error::Tls(format!("cannot make a key: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_the_order_of_their_numbers() {
        let channel = "bench".parse().unwrap();
        assert_eq!(name(&channel, 7).unwrap().as_str(), "bench-00007");
        assert!(name(&channel, 9999).unwrap() < name(&channel, 10_000).unwrap());
    }
}
