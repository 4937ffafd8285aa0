//! Becomes and stays a member of the fleet: exchanges the join token for a certificate, and renews that in time.
//!
//! The only writer of the stored identity. A token that the server refuses ends an agent that has no identity yet;
//! an agent that has one goes on with it.

use std::sync::Arc;

use driftless_model::join::JoinFile;
use driftless_proto::v1::{self, enrollment_client::EnrollmentClient};
use jiff::Timestamp;
use tonic::Code;

use crate::{
    Error,
    connect::{Server, Sessions},
    identity::{Identity, jitter_of},
    settings::Settings,
};

/// The identity in use, and who gets the next.
pub(crate) struct Member {
    settings: Arc<Settings>,
    identity: Option<Identity>,
    /// A token that was refused while there was an identity to go on with: not to be tried again.
    refused: Option<String>,
    sessions: Sessions,
}

/// What to do about the identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing.
    Nothing,
    /// Exchange the join token.
    Join,
    /// Get the next certificate with the present one.
    Renew,
    /// It expired and only a new token helps.
    Expired,
}

/// Decides what `identity` needs at `now`, given the token at hand.
pub(crate) fn due(identity: Option<&Identity>, file: Option<&JoinFile>, now: Timestamp) -> Result<Due, Error> {
    let Some(identity) = identity else { return Ok(Due::Join) };
    let another = file.is_some_and(|file| file.cluster != identity.cluster || !identity.is_of_token(&file.token));
    if another {
        return Ok(Due::Join);
    }
    Ok(match identity.validity()? {
        None => Due::Join,
        Some(validity) if validity.is_expired(now) => Due::Expired,
        Some(validity) if now >= validity.renew_at(jitter_of(&identity.cluster)) => Due::Renew,
        Some(_) => Due::Nothing,
    })
}

impl Member {
    pub(crate) fn new(settings: Arc<Settings>, identity: Option<Identity>) -> Self {
        Self {
            settings,
            identity,
            refused: None,
            sessions: Sessions::default(),
        }
    }

    /// The server as the join file and the settings say.
    pub(crate) fn server(&self) -> Result<Server, Error> {
        let file = self.settings.join.read()?;
        let url = self.settings.server.clone().unwrap_or(file.server);
        let (dialer, sessions) = (self.settings.dialer.clone(), self.sessions.clone());
        Server::new(url, file.ca, dialer, sessions, self.settings.timings)
    }

    /// Did the cluster become a member once?
    pub(crate) fn is_joined(&self) -> bool {
        self.certificate().is_some()
    }

    /// Is there a join token that was not tried yet?
    pub(crate) fn has_new_token(&self) -> bool {
        let Ok(file) = self.settings.join.read() else {
            return false;
        };
        let is_used = |identity: &Identity| identity.cluster == file.cluster && identity.is_of_token(&file.token);
        self.refused.as_ref() != Some(&file.token) && !self.identity.as_ref().is_some_and(is_used)
    }

    /// The certificate in use.
    pub(crate) fn certificate(&self) -> Option<&String> {
        self.identity.as_ref()?.chain.as_ref()
    }

    /// When to look at the certificate again.
    pub(crate) fn renew_at(&self) -> Result<Option<Timestamp>, Error> {
        let Some(identity) = &self.identity else {
            return Ok(None);
        };
        Ok(identity
            .validity()?
            .map(|validity| validity.renew_at(jitter_of(&identity.cluster))))
    }

    /// Joins or renews if that is due, and answers with an identity that can be used.
    ///
    /// # Errors
    /// [`Error::Refused`] when there is no way in with the token at hand.
    pub(crate) async fn ensure(&mut self) -> Result<Identity, Error> {
        let file = self.settings.join.read()?;
        let usable = Some(&file).filter(|file| self.refused.as_ref() != Some(&file.token));
        match due(self.identity.as_ref(), usable, (self.settings.clock)())? {
            Due::Nothing => {}
            Due::Join => self.join(&file).await?,
            Due::Renew => self.renew().await?,
            Due::Expired => {
                return Err(Error::Certificate {
                    cluster: file.cluster.to_string(),
                    message: "it has expired; enrol the cluster again and give the agent the new join file".to_owned(),
                });
            }
        }
        self.identity.clone().ok_or(Error::Ended("joining"))
    }

    async fn join(&mut self, file: &JoinFile) -> Result<(), Error> {
        let before = self.identity.clone();
        let begun = match begun(before.as_ref(), file) {
            Some(identity) => identity.clone(),
            None => Identity::generate(file.cluster.clone(), &file.token)?,
        };
        // Stored before it is sent: a join whose answer is lost is asked again with the same key. An identity that
        // works stays in use meanwhile.
        let stored = match &before {
            Some(before) if before.chain.is_some() => Identity {
                next: Some(Box::new(begun.clone())),
                ..before.clone()
            },
            _ => begun.clone(),
        };
        if before.as_ref() != Some(&stored) {
            self.settings.storage.save_identity(&stored).await?;
            self.identity = Some(stored);
        }
        let server = self.server()?;
        let request = v1::JoinRequest {
            token: file.token.clone(),
            csr: begun.request()?.into(),
        };
        let mut client = EnrollmentClient::new(server.connect(None).await?);
        let answer = match client.join(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if is_refusal(status.code()) => {
                let refused = Error::Refused {
                    cluster: file.cluster.to_string(),
                    server: server.url().to_owned(),
                    message: status.message().to_owned(),
                };
                if before.is_some_and(|before| before.chain.is_some()) {
                    tracing::warn!(error = %refused, "going on with the identity at hand");
                    self.refused = Some(file.token.clone());
                    return Ok(());
                }
                return Err(refused);
            }
            Err(status) => return Err(server.error(&status)),
        };
        self.keep(&begun, answer).await?;
        tracing::info!(cluster = %file.cluster, server = server.url(), "joined");
        Ok(())
    }

    async fn renew(&mut self) -> Result<(), Error> {
        let Some(identity) = self.identity.clone() else {
            return Ok(());
        };
        let server = self.server()?;
        let request = v1::RenewRequest {
            csr: identity.request()?.into(),
        };
        let mut client = EnrollmentClient::new(server.connect(Some(&identity)).await?);
        let answer = client
            .renew(request)
            .await
            .map_err(|status| server.error(&status))?
            .into_inner();
        self.keep(&identity, answer).await?;
        tracing::info!(cluster = %identity.cluster, "renewed the certificate");
        Ok(())
    }

    async fn keep(&mut self, identity: &Identity, answer: v1::Certificate) -> Result<(), Error> {
        if answer.cluster != identity.cluster.as_str() {
            return Err(Error::Certificate {
                cluster: identity.cluster.to_string(),
                message: format!("the server sent one for cluster `{}`", answer.cluster),
            });
        }
        let next = identity.with_chain(answer.chain)?;
        self.settings.storage.save_identity(&next).await?;
        self.identity = Some(next);
        Ok(())
    }
}

/// The identity that was begun with the file's token.
fn begun<'a>(identity: Option<&'a Identity>, file: &JoinFile) -> Option<&'a Identity> {
    let identity = identity?;
    let candidates = [
        Some(identity).filter(|identity| identity.chain.is_none()),
        identity.next.as_deref(),
    ];
    let of_file = |found: &&Identity| found.cluster == file.cluster && found.is_of_token(&file.token);
    candidates.into_iter().flatten().find(of_file)
}

/// Would the server answer the same again?
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::Unauthenticated
            | Code::PermissionDenied
            | Code::NotFound
            | Code::InvalidArgument
            | Code::FailedPrecondition
            | Code::AlreadyExists
    )
}

#[cfg(test)]
mod tests {
    use driftless_model::join::FORMAT;

    use super::*;

    fn file(cluster: &str, token: &str) -> JoinFile {
        JoinFile {
            format: FORMAT,
            server: "https://s".to_owned(),
            ca: "PEM".to_owned(),
            cluster: cluster.parse().unwrap(),
            token: token.to_owned(),
        }
    }

    fn joined() -> Identity {
        let identity = Identity::generate("edge-1".parse().unwrap(), "t").unwrap();
        let key = rcgen::KeyPair::from_pem(&identity.key).unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 1, 31);
        let chain = params.self_signed(&key).unwrap().pem();
        identity.with_chain(chain).unwrap()
    }

    #[test]
    fn identity_is_joined_renewed_and_given_up_in_time() {
        let at = |day: &str| day.parse().unwrap();
        let file = file("edge-1", "t");
        let begun = Identity {
            chain: None,
            ..joined()
        };
        assert_eq!(due(None, Some(&file), at("2026-01-01T00:00:00Z")).unwrap(), Due::Join);
        assert_eq!(
            due(Some(&begun), Some(&file), at("2026-01-01T00:00:00Z")).unwrap(),
            Due::Join
        );
        assert_eq!(
            due(Some(&joined()), Some(&file), at("2026-01-17T00:00:00Z")).unwrap(),
            Due::Nothing
        );
        assert_eq!(
            due(Some(&joined()), Some(&file), at("2026-01-21T00:00:00Z")).unwrap(),
            Due::Renew
        );
        assert_eq!(
            due(Some(&joined()), Some(&file), at("2026-01-31T00:00:00Z")).unwrap(),
            Due::Expired
        );
    }

    #[test]
    fn join_that_was_begun_is_gone_on_with() {
        let file = file("edge-1", "new");
        let next = Identity::generate("edge-1".parse().unwrap(), "new").unwrap();
        assert_eq!(begun(Some(&next), &file), Some(&next));
        let both = Identity {
            next: Some(Box::new(next.clone())),
            ..joined()
        };
        assert_eq!(begun(Some(&both), &file), Some(&next));
        assert_eq!(begun(Some(&joined()), &file), None);
        assert_eq!(begun(None, &file), None);
    }

    #[test]
    fn new_token_asks_for_a_new_identity_until_it_was_refused() {
        let now = "2026-01-02T00:00:00Z".parse().unwrap();
        assert_eq!(
            due(Some(&joined()), Some(&file("edge-1", "new")), now).unwrap(),
            Due::Join
        );
        assert_eq!(
            due(Some(&joined()), Some(&file("edge-2", "t")), now).unwrap(),
            Due::Join
        );
        assert_eq!(due(Some(&joined()), None, now).unwrap(), Due::Nothing);
    }
}
