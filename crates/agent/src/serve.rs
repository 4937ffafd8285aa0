//! A small HTTP server for Prometheus and for the kubelet's probes: `/metrics`, `/healthz`, `/readyz`. No TLS, nothing
//! secret, nothing that changes anything.
//!
//! Started by the binary where it is told an address; serves the pods that stand by too.

use std::{convert::Infallible, fmt, net::SocketAddr, str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::Semaphore,
    time::{sleep, timeout},
};

use crate::Metrics;

/// Connections served at once: a Prometheus or two, and the kubelet.
const CONNECTIONS: usize = 16;
/// A connection is closed after that long, whatever it does.
const LONGEST: Duration = Duration::from_secs(60);
/// Before the next is accepted when that failed: there may be no file descriptors.
const PAUSE: Duration = Duration::from_millis(200);

/// Where to listen: `127.0.0.1:9464`, or `:9464` for all addresses of whichever family there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    first: SocketAddr,
    otherwise: Option<SocketAddr>,
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address: write ADDRESS:PORT, for example 127.0.0.1:9464, or :9464 for all addresses")]
pub struct InvalidListen(String);

impl FromStr for Listen {
    type Err = InvalidListen;

    fn from_str(text: &str) -> Result<Self, InvalidListen> {
        let invalid = |_| InvalidListen(text.to_owned());
        if let Some(port) = text.strip_prefix(':') {
            let port = port.parse::<u16>().map_err(|_| InvalidListen(text.to_owned()))?;
            return Ok(Self {
                first: (std::net::Ipv6Addr::UNSPECIFIED, port).into(),
                otherwise: Some((std::net::Ipv4Addr::UNSPECIFIED, port).into()),
            });
        }
        let first = text.parse().map_err(invalid)?;
        Ok(Self { first, otherwise: None })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)
    }
}

impl Listen {
    /// Opens the port.
    ///
    /// # Errors
    /// Where the operating system does not give it.
    pub async fn bind(self) -> std::io::Result<TcpListener> {
        let bound = TcpListener::bind(self.first).await;
        let bound = match (bound, self.otherwise) {
            (Err(_), Some(otherwise)) => TcpListener::bind(otherwise).await,
            (bound, _) => bound,
        };
        bound.map_err(|error| std::io::Error::new(error.kind(), format!("--metrics-listen {self}: {error}")))
    }
}

/// Answers until the task is dropped.
pub async fn serve(listener: TcpListener, metrics: Metrics) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        let metrics = metrics.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let answer = answer(&request, &metrics);
                async move { Ok::<_, Infallible>(answer) }
            });
            // What a client does wrong is its own concern.
            let _ = timeout(
                LONGEST,
                http1::Builder::new().serve_connection(TokioIo::new(stream), answer),
            )
            .await;
            drop(place);
        });
    }
}

fn answer(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    let (code, page) = page(request.method(), request.uri().path(), metrics);
    let mut response = Response::new(Full::new(Bytes::from(page)));
    *response.status_mut() = code;
    let kind = if code == StatusCode::OK && request.uri().path() == "/metrics" {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; charset=utf-8"
    };
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

fn page(method: &Method, path: &str, metrics: &Metrics) -> (StatusCode, String) {
    if method != Method::GET && method != Method::HEAD {
        return (StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
    }
    match path {
        "/metrics" => (StatusCode::OK, metrics.encode()),
        // One thread does everything: whoever gets an answer knows that it turns.
        "/healthz" => (StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => match metrics.ready() {
            Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        _ => (
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz and /readyz\n".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;

    #[test]
    fn port_alone_means_all_addresses() {
        let all: Listen = ":9464".parse().unwrap();
        assert_eq!(all.otherwise, Some("0.0.0.0:9464".parse().unwrap()));
        let one: Listen = "127.0.0.1:9464".parse().unwrap();
        assert_eq!((one.to_string(), one.otherwise), ("127.0.0.1:9464".to_owned(), None));
        for bad in ["", "9464", ":", "localhost:1", ":99999"] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn probes_and_metrics_are_answered_and_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Metrics::default()));
        for (asked, code, words) in [
            ("GET /healthz", "200", "ok"),
            ("GET /readyz", "503", "it has not begun"),
            ("GET /metrics", "200", "driftless_agent_leader 0"),
            ("GET /", "404", "/metrics"),
            ("POST /metrics", "405", "only GET"),
        ] {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!("{asked} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with(&format!("HTTP/1.1 {code}")), "{asked}: {text}");
            assert!(text.contains(words), "{asked}: {text}");
        }
    }
}
