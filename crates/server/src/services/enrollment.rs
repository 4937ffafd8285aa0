//! How agents get and renew their certificates.
//!
//! `Join` is the one call that needs no credentials but the token in it. A lost answer does no harm: the same
//! token with the same key gets another certificate.

use std::{net::SocketAddr, sync::Arc};

use driftless_model::{
    event::Event,
    fleet::{Fleet, Intent, Membership},
    hash::ObjectHash,
    name::ClusterName,
};
use driftless_proto::{from_time, v1};
use tonic::{Request, Response, Status};

use super::Core;
use crate::{
    auth::{Issuer, certificate, peer},
    failure::Failure,
    pki,
};

pub(super) struct Service(pub(super) Arc<Core>);

#[tonic::async_trait]
impl v1::enrollment_server::Enrollment for Service {
    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::Certificate>, Status> {
        let address = peer(request.extensions()).map(|peer| peer.address);
        Ok(Response::new(self.join(address, request.into_inner()).await?))
    }

    async fn renew(&self, request: Request<v1::RenewRequest>) -> Result<Response<v1::Certificate>, Status> {
        Ok(Response::new(self.renew(request)?))
    }
}

impl Service {
    async fn join(&self, address: Option<SocketAddr>, request: v1::JoinRequest) -> Result<v1::Certificate, Failure> {
        let csr = read(&request.csr)?;
        let token = ObjectHash::of(request.token.trim().as_bytes());
        let outcome = self
            .0
            .journal
            .submit(Intent::JoinCluster { token, key: csr.key })
            .await?;
        let cluster = match outcome.event {
            Some(Event::ClusterJoined { cluster, .. }) => cluster,
            // Nothing to append: this key has used this token before.
            _ => joined_with(&self.0.state().fleet, &token)
                .ok_or_else(|| Failure::Internal("the cluster was enrolled anew just now: join again".to_owned()))?,
        };
        tracing::info!(%cluster, address = address.map(tracing::field::display), "cluster joined");
        self.issue(&csr, &cluster)
    }

    fn renew(&self, request: Request<v1::RenewRequest>) -> Result<v1::Certificate, Failure> {
        let shown = certificate(request.extensions())?;
        let state = self.0.state();
        let (cluster, _) = shown.cluster(&state.fleet)?;
        if shown.issuer == Issuer::Operator {
            let text = "this certificate is not from this server: renew it where it came from";
            return Err(Failure::Precondition(text.to_owned()));
        }
        let csr = read(&request.get_ref().csr)?;
        if csr.key != shown.key {
            let text = "csr: it has another key than the certificate shown: renew with the same key, \
                or enrol the cluster anew for a new one";
            return Err(Failure::Argument(text.to_owned()));
        }
        self.issue(&csr, cluster)
    }

    fn issue(&self, csr: &pki::Request, cluster: &ClusterName) -> Result<v1::Certificate, Failure> {
        let issued = csr.sign(cluster, &self.0.authority, (self.0.clock)());
        let issued = issued.map_err(|error| Failure::Internal(format!("cannot sign the certificate: {error}")))?;
        Ok(v1::Certificate {
            chain: issued.pem,
            expires: Some(from_time(issued.expires)),
            cluster: cluster.to_string(),
        })
    }
}

fn read(csr: &[u8]) -> Result<pki::Request, Failure> {
    pki::Request::decode(csr)
        .map_err(|reason| Failure::Argument(format!("csr: not a certificate signing request: {reason}")))
}

/// The cluster that joined with this token.
fn joined_with(fleet: &Fleet, token: &ObjectHash) -> Option<ClusterName> {
    let found = fleet.clusters.iter().find(|(_, cluster)| match &cluster.membership {
        Membership::Joined { token: used, .. } => used == token,
        Membership::Invited { .. } => false,
    });
    found.map(|(name, _)| name.clone())
}
