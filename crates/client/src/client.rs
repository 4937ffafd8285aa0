//! One method per question to a server. Cheap to clone; all clones share one connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use driftless_model::{
    bundle::{self, Bundle},
    hash::ObjectHash,
    name::{ChannelName, ClusterName, ComponentName, Labels, Vars},
    snapshot::Snapshot,
};
use driftless_proto::{self as proto, v1};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel as Transport,
};

use crate::{
    connect::{self, Target, Unreachable},
    error::Error,
    retry,
    types::{Channel, ChannelStatus, Enrolled, LogEntry},
};

mod clusters;
mod log;
mod objects;
mod publish;
mod watch;

pub use clusters::DryRunOf;
pub use log::Log;

/// For an answer that takes the server no work to speak of.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

type Connection = InterceptedService<Transport, Bearer>;
type Publish = v1::publish_client::PublishClient<Connection>;
type Fleet = v1::fleet_client::FleetClient<Connection>;

/// A way to one server.
#[derive(Clone)]
pub struct Client {
    server: Arc<str>,
    publish: Publish,
    fleet: Fleet,
    /// Has the server answered anything yet? Tells a restart from a wrong address.
    answered: Arc<AtomicBool>,
}

/// What a new cluster shall be.
#[derive(Debug, Clone)]
pub struct Enroll {
    /// Its name.
    pub cluster: ClusterName,
    /// The channel it shall follow.
    pub channel: ChannelName,
    /// Its labels.
    pub labels: Labels,
    /// Its variables.
    pub vars: Vars,
    /// For how long the join token is good; absent: as the server likes (a day).
    pub ttl: Option<Duration>,
    /// Enrol anew a cluster that is enrolled already; its old credentials become void.
    pub again: bool,
}

impl Client {
    /// Prepares the way to `target`. Nothing is connected before the first request.
    ///
    /// # Errors
    /// [`Error::Target`] when the address, CA or token cannot be used.
    pub fn connect(target: Target) -> Result<Self, Error> {
        let transport = connect::channel(&target)?;
        let bearer = Bearer::new(target.token.as_deref())?;
        let connection = InterceptedService::new(transport, bearer);
        let limit = proto::MAX_MESSAGE_BYTES;
        Ok(Self {
            server: connect::shown(&target.server).into(),
            publish: Publish::new(connection.clone())
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit),
            fleet: Fleet::new(connection)
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit),
            answered: Arc::default(),
        })
    }

    /// The server's address, as given.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Makes a channel.
    ///
    /// # Errors
    /// `is_already_there` when there is one of that name.
    pub async fn create_channel(&self, channel: &ChannelName) -> Result<Channel, Error> {
        // Not repeated: a lost answer to a first try would come back as "exists already".
        let request = v1::CreateChannelRequest {
            name: channel.to_string(),
        };
        let mut publish = self.publish.clone();
        Ok(self
            .once(ANSWER_TIMEOUT, publish.create_channel(request))
            .await?
            .try_into()?)
    }

    /// All channels, by name.
    ///
    /// # Errors
    /// As every request.
    pub async fn channels(&self) -> Result<Vec<Channel>, Error> {
        let response = self
            .repeat(ANSWER_TIMEOUT, || {
                let mut publish = self.publish.clone();
                async move { publish.list_channels(v1::ListChannelsRequest {}).await }
            })
            .await?;
        Ok(response
            .channels
            .into_iter()
            .map(TryInto::try_into)
            .collect::<Result<_, _>>()?)
    }

    /// One channel.
    ///
    /// # Errors
    /// `is_not_found` when there is none of that name.
    pub async fn channel(&self, channel: &ChannelName) -> Result<Channel, Error> {
        let request = v1::GetChannelRequest {
            name: channel.to_string(),
        };
        let response = self
            .repeat(ANSWER_TIMEOUT, || {
                let (mut publish, request) = (self.publish.clone(), request.clone());
                async move { publish.get_channel(request).await }
            })
            .await?;
        Ok(response.try_into()?)
    }

    /// The hashes that start with `prefix`, at least four hexadecimal digits.
    ///
    /// # Errors
    /// When the prefix is too short or no hexadecimal number.
    pub async fn find(&self, prefix: &str) -> Result<Vec<ObjectHash>, Error> {
        let request = v1::FindObjectRequest {
            prefix: prefix.to_owned(),
        };
        let response = self
            .repeat(ANSWER_TIMEOUT, || {
                let (mut publish, request) = (self.publish.clone(), request.clone());
                async move { publish.find_object(request).await }
            })
            .await?;
        Ok(proto::hashes("hashes", &response.hashes)?)
    }

    /// Lets a cluster join.
    ///
    /// # Errors
    /// `is_already_there` when it is enrolled and `again` was not asked for; `is_not_found` without its channel.
    pub async fn enroll(&self, enroll: &Enroll) -> Result<Enrolled, Error> {
        let Enroll {
            cluster,
            channel,
            labels,
            vars,
            ttl,
            again,
        } = enroll;
        let request = v1::EnrollClusterRequest {
            name: cluster.to_string(),
            channel: channel.to_string(),
            labels: labels.clone(),
            token_ttl_seconds: ttl.map_or(0, |ttl| u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)),
            again: *again,
            vars: proto::from_vars(vars),
        };
        let mut fleet = self.fleet.clone();
        Ok(self
            .once(ANSWER_TIMEOUT, fleet.enroll_cluster(request))
            .await?
            .try_into()?)
    }

    /// Awaits a step that is safe to repeat, and repeats it while the server is away for a moment.
    ///
    /// `step` is no async closure: the futures of this crate are to be sent between threads.
    async fn repeat<T, F: Future<Output = Result<tonic::Response<T>, Status>>>(
        &self,
        timeout: Duration,
        mut step: impl FnMut() -> F,
    ) -> Result<T, Error> {
        let mut tried = 0;
        loop {
            let error = match self.once(timeout, step()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            tried += 1;
            match retry::pause(tried, &error, self.answered.load(Ordering::Relaxed)) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
        }
    }

    /// Awaits a step once.
    async fn once<T>(
        &self,
        timeout: Duration,
        step: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Error> {
        let outcome = tokio::time::timeout(timeout, step)
            .await
            .map_err(|_| Error::Unreachable {
                server: self.server.to_string(),
                cause: Unreachable::Timeout(timeout),
            })?;
        let outcome = outcome
            .map(tonic::Response::into_inner)
            .map_err(|status| self.error(status));
        if !outcome.as_ref().is_err_and(Error::is_unreachable) {
            self.answered.store(true, Ordering::Relaxed);
        }
        outcome
    }

    fn error(&self, status: Status) -> Error {
        Error::from_status(&self.server, status)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

/// Puts the token on every request.
#[derive(Clone)]
struct Bearer(Option<MetadataValue<Ascii>>);

impl Bearer {
    fn new(token: Option<&str>) -> Result<Self, Error> {
        let value = token.map(|token| {
            let mut value = MetadataValue::try_from(format!("Bearer {token}")).map_err(|_| {
                Error::Target("the token has characters that no token has: is it the right file?".to_owned())
            })?;
            value.set_sensitive(true);
            Ok(value)
        });
        value.transpose().map(Self)
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}
