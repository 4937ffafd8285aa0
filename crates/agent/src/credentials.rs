//! Requests to the API server with the credentials that hold now: when they are refused, or no connection can be made,
//! what they were read from is read again, and if it has changed, everything after that goes over new connections.
//!
//! So a token that was replaced, a renewed client certificate and a rotated authority need no restart, whichever way
//! the cluster is reached. `main` makes the clients here; none tries a request again: who made it does.

use std::{
    error::Error as StdError,
    future::poll_fn,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use driftless_model::hash::ObjectHash;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use hyper::rt::Executor;
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
};
use tokio::time::{Instant, timeout};

use crate::Permit;

/// Least time between two looks at what the credentials are read from.
const LOOKS_APART: Duration = Duration::from_secs(1);
/// Least time between two runs of a program that gives credentials.
const RUNS_APART: Duration = Duration::from_secs(10);
/// An answer begins within this time, or never: a connection whose other end is gone may stay silent for good.
const ANSWER: Duration = Duration::from_secs(60);

type BoxError = Box<dyn StdError + Send + Sync>;

/// Reads the configuration anew: the kubeconfig, or the files of the pod's ServiceAccount.
pub type Read = Arc<dyn Fn() -> BoxFuture<'static, Result<Config, BoxError>> + Send + Sync>;

/// A client that goes on with what `read` gives.
///
/// # Errors
/// When the first configuration cannot be read or used.
pub async fn client(read: Read) -> Result<Client, BoxError> {
    connect(read, Arc::new(Client::try_from)).await
}

/// The same, over connections that end when `permit` does: what was asked for before and has not left this process by
/// then never does. So a leader that was frozen, with requests half sent, completes none of them when it goes on.
///
/// # Errors
/// When the first configuration cannot be read or used.
pub async fn gated(read: Read, permit: Arc<Permit>) -> Result<Client, BoxError> {
    let make = move |config| {
        let builder = ClientBuilder::try_from((config, Gated(permit.clone())))?;
        Ok(builder.build())
    };
    connect(read, Arc::new(make)).await
}

/// Drives connections for as long as the permit holds. It is asked whenever one has something to do, before anything is
/// written to its socket; what it is dropped with is lost, and its socket is closed.
#[derive(Clone)]
struct Gated(Arc<Permit>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Gated {
    fn execute(&self, connection: F) {
        let permit = self.0.clone();
        let mut connection = Box::pin(connection);
        tokio::spawn(poll_fn(move |context| {
            if permit.holds() {
                connection.as_mut().poll(context)
            } else {
                Poll::Ready(())
            }
        }));
    }
}

type Make = Arc<dyn Fn(Config) -> Result<Client, kube::Error> + Send + Sync>;

async fn connect(read: Read, make: Make) -> Result<Client, BoxError> {
    let config = read().await?;
    let namespace = config.default_namespace.clone();
    let fingerprint = fingerprint(&config);
    let current = Current {
        client: make(config)?,
        fingerprint,
        made: Instant::now(),
    };
    let connection = Connection {
        read,
        make,
        current: Arc::new(Mutex::new(current)),
        looked: Arc::new(tokio::sync::Mutex::new(None)),
    };
    let service = tower::service_fn(move |request| {
        let connection = connection.clone();
        async move { connection.send(request).await }
    });
    Ok(Client::new(service, namespace))
}

struct Current {
    client: Client,
    fingerprint: ObjectHash,
    made: Instant,
}

#[derive(Clone)]
struct Connection {
    read: Read,
    make: Make,
    current: Arc<Mutex<Current>>,
    /// When the configuration was read last; held while it is being read.
    looked: Arc<tokio::sync::Mutex<Option<Instant>>>,
}

impl Connection {
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let client = self.current(|current| current.client.clone());
        let answer = match timeout(ANSWER, client.send(request)).await {
            Ok(answer) => answer.map_err(BoxError::from),
            Err(_) => Err(format!("no answer within {} s", ANSWER.as_secs()).into()),
        };
        let status = answer.as_ref().ok().map(Response::status);
        if status.is_none_or(|status| status == StatusCode::UNAUTHORIZED) {
            self.renew(status.is_some()).await;
        }
        answer
    }

    fn current<T>(&self, of: impl FnOnce(&mut Current) -> T) -> T {
        of(&mut self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the configuration again, unless that was done just now, and goes on with it if it has changed.
    async fn renew(&self, refused: bool) {
        let Ok(mut looked) = self.looked.try_lock() else {
            return;
        };
        let now = Instant::now();
        if looked.is_some_and(|looked| now < looked + LOOKS_APART) {
            return;
        }
        *looked = Some(now);
        let config = match (self.read)().await {
            Ok(config) => config,
            Err(error) => {
                tracing::warn!(error, "cannot read the cluster's credentials again");
                return;
            }
        };
        let fingerprint = fingerprint(&config);
        let runs = config.auth_info.exec.is_some();
        let same = self.current(|current| {
            let is_fresh = now < current.made + RUNS_APART;
            current.fingerprint == fingerprint && (is_fresh || !runs || !refused)
        });
        if same {
            return;
        }
        match (self.make)(config) {
            Ok(client) => {
                tracing::info!("the cluster's credentials have changed: connections are made anew");
                self.current(|current| {
                    *current = Current {
                        client,
                        fingerprint,
                        made: now,
                    }
                });
            }
            Err(error) => tracing::warn!(
                error = crate::error::chain(&error),
                "cannot use the cluster's new credentials"
            ),
        }
    }
}

/// Names everything by which the cluster is reached and recognised, what is in the files included.
fn fingerprint(config: &Config) -> ObjectHash {
    let info = &config.auth_info;
    let mut parts = vec![config.cluster_url.to_string().into_bytes()];
    // Where it cannot be told, the files alone count.
    parts.extend(serde_json::to_vec(info).ok());
    parts.extend(config.root_cert.iter().flatten().cloned());
    let files = [&info.token_file, &info.client_certificate, &info.client_key];
    let files = files.into_iter().flatten().map(std::path::PathBuf::from);
    for file in files.chain(config.root_cert_file.clone()) {
        parts.push(std::fs::read(file).unwrap_or_default());
    }
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&part.len().to_be_bytes());
        bytes.extend_from_slice(&part);
    }
    ObjectHash::of(&bytes)
}

#[cfg(test)]
mod tests {
    use kube::config::AuthInfo;

    use super::*;

    #[test]
    fn fingerprint_follows_tokens_files_and_authorities() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "one").unwrap();
        let mut config = Config::new("https://127.0.0.1:1".parse().unwrap());
        config.auth_info = AuthInfo {
            token_file: Some(path.display().to_string()),
            ..AuthInfo::default()
        };
        let mut seen = vec![fingerprint(&config)];
        assert_eq!(fingerprint(&config), seen[0]);
        std::fs::write(&path, "two").unwrap();
        seen.push(fingerprint(&config));
        config.root_cert = Some(vec![b"authority".to_vec()]);
        seen.push(fingerprint(&config));
        config.auth_info.token = Some("inline".to_owned().into());
        seen.push(fingerprint(&config));
        config.auth_info.token = Some("other".to_owned().into());
        seen.push(fingerprint(&config));
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 5);
    }
}
