//! The one port: TCP, TLS, and HTTP/1.1 or HTTP/2 as the client likes, all into one router.
//!
//! A connection that fails hurts nobody else and makes no noise: the internet knocks on every port. The clients of
//! this server are told what is wrong by a TLS alert or a gRPC status.

mod admission;
mod silence;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::Request;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::{
    HandshakeKind, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, UnixTime},
    server::danger::ClientCertVerifier,
};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::OwnedSemaphorePermit,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
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
    silence: settings::Silence,
    http: auto::Builder<TokioExecutor>,
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
            silence: settings.silence,
            http: http_settings(settings),
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
        let (open, kill) = (TaskTracker::new(), CancellationToken::new());
        let _kill_if_dropped = kill.clone().drop_guard();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok((arrival, address)) => {
                    // On the heap: a task that holds a future and then waits for it has room for two.
                    let connection = Box::pin(Arc::clone(&self.connections).serve(arrival, address, stop.clone()));
                    let kill = kill.clone();
                    open.spawn(async move {
                        tokio::select! {
                            biased;
                            () = kill.cancelled() => {}
                            () = connection => {}
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.tcp);
        open.close();
        if tokio::time::timeout(grace, open.wait()).await.is_err() {
            tracing::warn!(connections = open.len(), "ending calls that did not finish in time");
            kill.cancel();
            open.wait().await;
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

fn http_settings(settings: settings::Connections) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    http.http2()
        .timer(TokioTimer::new())
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
    async fn serve(self: Arc<Self>, arrival: Arrival, address: SocketAddr, stop: CancellationToken) {
        let handshake = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            handshake = Box::pin(self.handshake(arrival)) => handshake,
        };
        let tls = match handshake {
            Ok(tls) => tls,
            Err(error) => {
                self.metrics.failed_handshakes.inc();
                tracing::debug!(%address, %error, "TLS handshake failed");
                return;
            }
        };
        let peer = Arc::new(Peer {
            address,
            certificate: self.certificate(tls.get_ref().1),
        });
        let service = hyper::service::service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(Arc::clone(&peer));
            let router = self.router.clone();
            // On the heap, and so gone once there is an answer: what is sent then may take days.
            Box::pin(async move {
                let answer = router.oneshot(request.map(Body::new)).await;
                Ok::<_, Infallible>(answer.unwrap_or_else(|never| match never {}))
            })
        });
        let mut connection = Box::pin(self.http.serve_connection(TokioIo::new(tls), service));
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            ended = connection.as_mut() => ended,
        };
        if let Err(error) = ended {
            tracing::debug!(%address, error = %chain(error.as_ref()), "connection ended");
        }
    }

    async fn handshake(&self, arrival: Arrival) -> io::Result<TlsStream<TcpStream>> {
        let Arrival { stream, room } = arrival;
        stream.set_nodelay(true)?;
        silence::bound(&stream, self.silence)?;
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
    fn certificate(&self, connection: &ServerConnection) -> Option<Certificate> {
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
                Some(certificate)
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

fn is_resumed(connection: &ServerConnection) -> bool {
    connection.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// An error with its causes in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
