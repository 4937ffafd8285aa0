//! One connection to the server: TLS with the fleet's authority and, once joined, the cluster's certificate.

mod tls;

use std::time::Duration;

use driftless_proto::{MAX_MESSAGE_BYTES, REASON, RETIRED};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::{
    Error,
    dial::Dialer,
    error::chain,
    identity::{Identity, jitter_of},
    settings::Timings,
};
pub(crate) use tls::Sessions;

/// Flow-control window: a whole small directive with its inline objects, without waiting for a round trip.
const WINDOW: u32 = 256 * 1024;

/// Where the server is and how to recognise it.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    url: String,
    ca: String,
    dialer: Dialer,
    sessions: Sessions,
    timings: Timings,
}

impl Server {
    pub(crate) fn new(
        url: String,
        ca: String,
        dialer: Dialer,
        sessions: Sessions,
        timings: Timings,
    ) -> Result<Self, Error> {
        check_url(&url).map_err(|message| Error::Server {
            server: url.clone(),
            message,
        })?;
        Ok(Self {
            url,
            ca,
            dialer,
            sessions,
            timings,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What a call failed with.
    pub(crate) fn error(&self, status: &tonic::Status) -> Error {
        if status.metadata().get(REASON).is_some_and(|reason| reason == RETIRED) {
            let message = status.message().to_owned();
            return Error::Retired { message };
        }
        let message = match std::error::Error::source(status) {
            Some(source) => format!("{}: {}", status.message(), chain(source)),
            None => format!("{} ({:?})", status.message(), status.code()),
        };
        Error::Server {
            server: self.url.clone(),
            message,
        }
    }

    /// Opens a connection, as `identity` if there is one.
    ///
    /// # Errors
    /// [`Error::Server`] when it cannot be reached in time or is not who it should be.
    pub(crate) async fn connect(&self, identity: Option<&Identity>) -> Result<Channel, Error> {
        let failed = |message| Error::Server {
            server: self.url.clone(),
            message,
        };
        let unreachable = |error: tonic::transport::Error| {
            // The outermost text only says that there was a transport error.
            failed(std::error::Error::source(&error).map_or_else(|| error.to_string(), chain))
        };
        let uri: Uri = self.url.parse().map_err(|error| failed(format!("{error}")))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|error| failed(error.to_string()))?;
        let config = self.sessions.config(&self.ca, identity).map_err(failed)?;
        // The plain scheme keeps tonic from adding its own TLS over ours; the origin is what goes on the wire.
        let endpoint = Endpoint::from_static("http://server")
            .origin(uri.clone())
            .connect_timeout(self.timings.connect)
            .http2_keep_alive_interval(ping_every(self.timings.keep_alive, identity))
            .keep_alive_timeout(self.timings.connect)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW);
        let dialer = self.dialer.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let (dialer, uri, name, config) = (dialer.clone(), uri.clone(), name.clone(), config.clone());
            async move {
                let stream = dialer.open(uri).await?;
                tls::shake_hands(config, name, stream).await.map(TokioIo::new)
            }
        });
        let connecting = tokio::time::timeout(self.timings.connect, endpoint.connect_with_connector(connector));
        match connecting.await {
            Ok(connected) => connected.map_err(unreachable),
            Err(_) => Err(failed(format!("no connection within {:?}", self.timings.connect))),
        }
    }
}

/// How long one agent waits before it asks a silent server: those of a fleet were spoken to at the same moment, and must
/// not ask at the same moment.
fn ping_every(most: Duration, identity: Option<&Identity>) -> Duration {
    let early = identity.map_or(0.0, |identity| jitter_of(&identity.cluster));
    most.mul_f64(1.0 - early / 10.0)
}

/// Checks a server's URL.
///
/// # Errors
/// In words, what is wrong with it.
pub fn check_url(url: &str) -> Result<(), String> {
    let uri: Uri = url.parse().map_err(|error| format!("`{url}` is not a URL: {error}"))?;
    if uri.scheme_str() != Some("https") || uri.host().is_none_or(str::is_empty) {
        return Err(format!("`{url}` is not of the form https://host:port"));
    }
    Ok(())
}

/// The most bytes one message of the stream may have.
pub(crate) const fn message_limit() -> usize {
    MAX_MESSAGE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_ask_a_silent_server_at_times_of_their_own() {
        let most = Duration::from_secs(540);
        let every = |n| {
            let identity = Identity::generate(format!("edge-{n}").parse().unwrap(), "token").unwrap();
            ping_every(most, Some(&identity))
        };
        let times: std::collections::BTreeSet<_> = (0..60).map(every).collect();
        assert!(times.len() > 40, "{}", times.len());
        assert!(times.iter().all(|time| (most * 9 / 10..=most).contains(time)));
    }

    #[test]
    fn only_https_urls_are_taken() {
        assert!(check_url("https://127.0.0.1:7443").is_ok());
        for bad in ["http://a:1", "a:1", "https://", "nonsense url"] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
