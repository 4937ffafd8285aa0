//! The one port: TCP, TLS, and HTTP/1.1 or HTTP/2 as the client likes, all into one router.
//!
//! A connection that fails hurts nobody else and makes no noise: the internet knocks on every port. The clients of
//! this server are told what is wrong by a TLS alert or a gRPC status.

mod admission;

use std::{convert::Infallible, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use driftless_proto::silence;
use futures::future::BoxFuture;
use http::Request;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use rand::{TryRngCore as _, rngs::OsRng};
use rustls::{
    HandshakeKind, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, UnixTime},
    server::danger::ClientCertVerifier,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::OwnedSemaphorePermit,
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{
    Error,
    auth::{Certificate, Issuer, Peer},
    egress,
    metrics::Metrics,
    pki::Verifiers,
    settings::{self, Clock},
};
use admission::Admission;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that the kernel keeps until they are accepted; it may have a lower limit of its own.
const BACKLOG: u32 = 4096;
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
const STREAMS_PER_CONNECTION: u32 = 256;
/// Uploads of a few megabytes go through without waiting for the window.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
/// After an error of `accept`, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the router at one port.
pub(crate) struct Listener {
    tcp: TcpListener,
    connections: Arc<Connections>,
}

/// What all connections share.
struct Connections {
    tls: TlsAcceptor,
    any: Arc<dyn ClientCertVerifier>,
    own: Option<Arc<dyn ClientCertVerifier>>,
    admission: Admission,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    router: Router,
    metrics: Arc<Metrics>,
    clock: Clock,
}

impl Listener {
    pub(crate) fn bind(
        address: SocketAddr,
        tls: ServerConfig,
        verifiers: Verifiers,
        router: Router,
        metrics: Arc<Metrics>,
        settings: settings::Connections,
        clock: Clock,
    ) -> Result<Self, Error> {
        let connections = Connections {
            tls: TlsAcceptor::from(Arc::new(tls)),
            any: verifiers.any,
            own: verifiers.own,
            admission: Admission::new(settings.handshakes_per_second),
            http1: http1_settings(),
            http2: http2_settings(settings),
            router,
            metrics,
            clock,
        };
        let tcp = listen(address).map_err(|source| Error::Listen { address, source })?;
        Ok(Self {
            tcp,
            connections: Arc::new(connections),
        })
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Takes a connection as soon as there is room for one more that waits; the kernel keeps those that come before.
    async fn accept(&self) -> io::Result<(Arrival, SocketAddr)> {
        let room = self.connections.admission.room().await;
        let (stream, address) = self.tcp.accept().await?;
        Ok((Arrival { stream, room }, address))
    }

    /// Serves until `stop`; then takes no more connections, lets open calls finish, and after `grace` ends what is
    /// still open.
    pub(crate) async fn run(self, stop: CancellationToken, grace: Duration) {
        let mut open = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = open.join_next() => continue,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok((arrival, address)) => {
                    open.spawn(Arc::clone(&self.connections).serve(arrival, address, stop.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.tcp);
        let finished = async { while open.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, finished).await.is_err() {
            tracing::warn!(connections = open.len(), "ending calls that did not finish in time");
            open.shutdown().await;
        }
    }
}

/// A connection that has not shaken hands yet, and its place among those that wait for that.
struct Arrival {
    stream: TcpStream,
    room: OwnedSemaphorePermit,
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A server that is restarted gets its port back at once.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn http1_settings() -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    http
}

fn http2_settings(settings: settings::Connections) -> http2::Builder<TokioExecutor> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .keep_alive_interval(settings.ping_every)
        .keep_alive_timeout(settings.ping_answer)
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        // So that a piece of a large object is all but sent when the next is asked for.
        .max_send_buf_size(egress::PIECE);
    http
}

impl Connections {
    /// One connection, for as long as it is open.
    async fn serve(self: Arc<Self>, arrival: Arrival, address: SocketAddr, stop: CancellationToken) {
        // On the heap, and so gone once it is done. There are thousands, and each waits for days: a future has room for
        // all that it ever held.
        if let Some(calls) = Box::pin(self.connect(arrival, address, stop)).await {
            calls.await;
        }
    }

    /// Shakes hands; gives what serves the calls then.
    async fn connect(
        self: Arc<Self>,
        arrival: Arrival,
        address: SocketAddr,
        stop: CancellationToken,
    ) -> Option<BoxFuture<'static, ()>> {
        let handshake = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            handshake = self.handshake(arrival) => handshake,
        };
        let tls = match handshake {
            Ok(tls) => tls,
            Err(error) => {
                self.metrics.failed_handshakes.inc();
                tracing::debug!(%address, %error, "TLS handshake failed");
                return None;
            }
        };
        let is_http2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        let peer = Arc::new(Peer {
            address,
            certificate: self.certificate(tls.get_ref().1),
        });
        let (router, caller) = (self.router.clone(), Arc::clone(&peer));
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Arc::clone(&caller));
            let router = router.clone();
            // On the heap, and so gone once there is an answer: what is sent then may take days.
            Box::pin(async move {
                let answer = router.oneshot(request.map(Body::new)).await;
                Ok::<_, Infallible>(answer.unwrap_or_else(|never| match never {}))
            })
        });
        let tls = TokioIo::new(tls);
        Some(if is_http2 {
            let connection = Box::pin(self.http2.serve_connection(tls, service));
            Box::pin(finish(connection, peer, stop))
        } else {
            let connection = Box::pin(self.http1.serve_connection(tls, service));
            Box::pin(finish(connection, peer, stop))
        })
    }

    async fn handshake(&self, arrival: Arrival) -> io::Result<TlsStream<TcpStream>> {
        let Arrival { stream, room } = arrival;
        stream.set_nodelay(true)?;
        silence::bound(&stream, &mut OsRng.unwrap_err())?;
        let delayed = || {
            self.metrics.delayed_handshakes.inc();
        };
        let _turn = self.admission.turn(delayed).await;
        drop(room);
        let tls = tokio::time::timeout(HANDSHAKE_TIMEOUT, self.tls.accept(stream)).await??;
        if is_resumed(tls.get_ref().1) {
            self.metrics.resumed_handshakes.inc();
            self.admission.resumed();
        }
        Ok(tls)
    }

    /// Reads the certificate that the handshake accepted, if the client showed one.
    fn certificate(&self, connection: &ServerConnection) -> Option<Arc<Certificate>> {
        let (leaf, rest) = connection.peer_certificates()?.split_first()?;
        let issuer = if self.is_own(leaf, rest) {
            Issuer::Own
        } else {
            Issuer::Operator
        };
        match Certificate::read(leaf, issuer) {
            Ok(mut certificate) => {
                // A session that is resumed brings the certificate along that was checked when it began.
                if is_resumed(connection)
                    && let Err(error) = self.any.verify_client_cert(leaf, rest, self.now())
                {
                    let reason = format!("it was good when this TLS session began, and is no more: {error}");
                    certificate.cluster = Err(reason);
                }
                Some(Arc::new(certificate))
            }
            Err(error) => {
                tracing::warn!(error, "cannot read a client certificate that the handshake accepted");
                None
            }
        }
    }

    fn is_own(&self, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> bool {
        let Some(own) = &self.own else {
            return true;
        };
        own.verify_client_cert(leaf, rest, self.now()).is_ok()
    }

    fn now(&self) -> UnixTime {
        let now = Duration::from_secs(u64::try_from((self.clock)().as_second()).unwrap_or(0));
        UnixTime::since_unix_epoch(now)
    }
}

/// Serves a connection until it ends, or for what is open on it at `stop`.
async fn finish<C>(mut connection: Pin<Box<C>>, peer: Arc<Peer>, stop: CancellationToken)
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        ended = connection.as_mut() => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(address = %peer.address, error = %chain(&error), "connection ended");
    }
}

fn is_resumed(connection: &ServerConnection) -> bool {
    connection.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// An error with its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
