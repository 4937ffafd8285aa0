//! One cluster's stream: opened, served, and opened again when it ends, as an agent does it. A task for each, and
//! nothing else: HTTP/2 is driven in it too.

use std::{future::poll_fn, io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use driftless_agent::{Follower, Heard, Refused, Timings};
use futures::FutureExt as _;
use h2::{
    Ping, PingPong, RecvStream, SendStream,
    client::{Builder, Connection},
};
use http::{HeaderMap, Request, Response};
use rand::{Rng as _, rngs::SmallRng};
use rustls::client::ResolvesClientCert;
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_rustls::client::TlsStream;
use tonic::{Code, Status};

use crate::{
    board::Board,
    dial::{Counted, Dial, Session},
    error::chain,
    frame::{self, Messages, Unreadable},
};

const METHOD: &str = "/driftless.v1.Sync/Sync";
/// As an agent's: a whole small directive with its objects, without waiting for a round trip.
const WINDOW: u32 = 256 * 1024;

/// What the streams of a fleet share.
#[derive(Debug)]
pub(crate) struct Common {
    /// The servers. A stream that one of them ends goes to the next.
    pub(crate) dials: Vec<Arc<Dial>>,
    pub(crate) board: Arc<Board>,
    /// Handshakes at once: this machine has to carry out both ends of them.
    pub(crate) connecting: Semaphore,
    pub(crate) timings: Timings,
    /// Do streams go on with their TLS sessions when they come back?
    pub(crate) resumes: bool,
    /// Do agents report what they have verified?
    pub(crate) reports: bool,
}

/// One cluster's.
pub(crate) struct Stream {
    pub(crate) number: usize,
    /// Which of the servers it goes to.
    pub(crate) turn: usize,
    pub(crate) identity: Arc<dyn ResolvesClientCert>,
    /// Of its last connection, and to which of the servers that was.
    pub(crate) session: Option<(usize, Session)>,
    pub(crate) follower: Follower,
    /// The directive that was reported last on this stream.
    pub(crate) reported: Option<u64>,
    pub(crate) common: Arc<Common>,
    /// Changes whenever all streams are to be dropped.
    pub(crate) cut: watch::Receiver<u64>,
    pub(crate) rng: SmallRng,
}

/// Why a stream ended.
enum Ended {
    /// It was dropped here, to be made anew at once.
    Cut,
    /// The server asked to come back after that long.
    Goodbye(Duration),
}

/// Why a stream failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot connect")]
    Connect(#[source] io::Error),
    #[error("HTTP/2")]
    Http(#[from] h2::Error),
    #[error("the server ended the stream: {0}")]
    Status(String),
    #[error("refused what the server sent: {0}")]
    Refused(#[from] Refused),
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    #[error("the server does not answer")]
    Silent,
}

type Http = Connection<TlsStream<Counted>, Bytes>;

impl Stream {
    /// Keeps the stream open for as long as it is polled.
    pub(crate) async fn run(mut self) {
        let board = Arc::clone(&self.common.board);
        let mut failures = 0;
        loop {
            let begun = Instant::now();
            let ended = self.serve(None).await;
            board.closed(self.number);
            if begun.elapsed() > self.common.timings.reconnect_most {
                failures = 0;
            }
            let pause = match ended {
                Ok(Ended::Cut) => continue,
                Ok(Ended::Goodbye(after)) => self.jitter(after).max(self.backoff(&mut failures)),
                Err(failure) => {
                    self.turn += 1;
                    board.failed(format!("{}: {}", self.follower.cluster(), chain(&failure)));
                    self.backoff(&mut failures)
                }
            };
            sleep(pause).await;
        }
    }

    /// Follows until the first directive is verified with everything it needs, and gives the follower back.
    pub(crate) async fn scout(mut self) -> Result<Follower, String> {
        match self.serve(Some(1)).await {
            Ok(_) => Ok(self.follower),
            Err(failure) => Err(chain(&failure)),
        }
    }

    /// As an agent: between half of and all of a delay that doubles with each failure.
    fn backoff(&mut self, failures: &mut u32) -> Duration {
        let Timings {
            reconnect_first,
            reconnect_most,
            ..
        } = self.common.timings;
        let full = reconnect_first
            .saturating_mul(1 << (*failures).min(20))
            .min(reconnect_most);
        *failures += 1;
        self.jitter(full)
    }

    fn jitter(&mut self, delay: Duration) -> Duration {
        delay.mul_f64(self.rng.random_range(0.5..=1.0))
    }

    /// Opens a stream and serves it until it ends, or until so many directives were verified.
    async fn serve(&mut self, mut enough: Option<u32>) -> Result<Ended, Failure> {
        let common = Arc::clone(&self.common);
        self.cut.mark_unchanged();
        // A server that restarted knows nothing of this cluster.
        self.reported = None;
        let (mut http, mut outgoing, response) = self.open(&common).await?;
        let mut pings = http.ping_pong();
        let response = tokio::select! { biased;
            ended = &mut http => return Err(over(ended)),
            response = response => response?,
        };
        let mut incoming = body(response)?;
        common.board.opened(self.number);
        let mut messages = Messages::default();
        // As an agent: up to a tenth earlier, each at a time of its own.
        let ping_every = common.timings.keep_alive.mul_f64(self.rng.random_range(0.9..=1.0));
        let mut keep_alive = Box::pin(sleep(ping_every));
        let mut is_asked = false;
        // Made once: all streams wait in one list, and whoever joins or leaves it locks it.
        let mut cut = self.cut.clone();
        let mut cut = pin!(cut.changed().fuse());
        loop {
            tokio::select! { biased;
                Ok(()) = &mut cut => return Ok(Ended::Cut),
                ended = &mut http => return Err(over(ended)),
                data = incoming.data() => {
                    let Some(data) = data else { return Err(last_words(&mut incoming, &mut http).await) };
                    let data = data?;
                    // What was taken may be sent again; the connection tells the server when that is worth a frame.
                    incoming.flow_control().release_capacity(data.len())?;
                    messages.push(data);
                    while let Some(message) = messages.next_whole()? {
                        if let Some(ended) = self.take(message, &mut outgoing, &mut enough)? {
                            return Ok(ended);
                        }
                    }
                }
                answered = pong(&mut pings), if is_asked => { answered?; is_asked = false; }
                () = &mut keep_alive => {
                    if is_asked { return Err(Failure::Silent) }
                    is_asked = ask(&mut pings)?;
                    let next = Instant::now() + if is_asked { common.timings.connect } else { ping_every };
                    keep_alive.set(sleep_until(next));
                }
            }
        }
    }

    async fn open(
        &mut self,
        common: &Common,
    ) -> Result<(Http, SendStream<Bytes>, h2::client::ResponseFuture), Failure> {
        let turn = self.turn % common.dials.len();
        let dial = &common.dials[turn];
        let session = match self.session.take() {
            Some((last, session)) if last == turn => session,
            _ => dial.session(Arc::clone(&self.identity), common.resumes),
        };
        let tls = {
            let _permit = common.connecting.acquire().await;
            let opening = dial.open_with(self.number, &session, Some(Arc::clone(&common.board)));
            opening.await.map_err(Failure::Connect)?
        };
        self.session = Some((turn, session));
        let (mut requests, http) = Builder::new()
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .enable_push(false)
            .handshake::<_, Bytes>(tls)
            .await?;
        let request = Request::post(dial.uri(METHOD))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", concat!("driftless-load/", env!("CARGO_PKG_VERSION")))
            .body(())
            .expect("all of this is plain text");
        let (response, mut outgoing) = requests.send_request(request, false)?;
        outgoing.send_data(frame::encode(&self.follower.hello()), false)?;
        Ok((http, outgoing, response))
    }

    /// Takes a message, answers it, and writes on the board what it led to.
    fn take(
        &mut self,
        message: Bytes,
        outgoing: &mut SendStream<Bytes>,
        enough: &mut Option<u32>,
    ) -> Result<Option<Ended>, Failure> {
        let Heard {
            answers,
            verified,
            goodbye,
            objects,
        } = self.follower.receive(message)?;
        for answer in answers {
            outgoing.send_data(frame::encode(&answer), false)?;
        }
        self.common.board.heard(self.number, objects, verified);
        if self.common.reports && verified.is_some() && verified != self.reported {
            outgoing.send_data(frame::encode(&self.follower.applied()), false)?;
            self.reported = verified;
        }
        if let (Some(wanted), Some(_)) = (enough.as_mut(), verified) {
            *wanted = wanted.saturating_sub(1);
            if *wanted == 0 {
                return Ok(Some(Ended::Cut));
            }
        }
        Ok(goodbye.map(Ended::Goodbye))
    }
}

fn over(ended: Result<(), h2::Error>) -> Failure {
    match ended {
        Ok(()) => Failure::Status("the connection was closed".to_owned()),
        Err(error) => Failure::Http(error),
    }
}

/// The body of an answer that is none of refusal.
fn body(response: Response<RecvStream>) -> Result<RecvStream, Failure> {
    if !response.status().is_success() {
        return Err(Failure::Status(response.status().to_string()));
    }
    match refusal(response.headers()) {
        Some(words) => Err(Failure::Status(words)),
        None => Ok(response.into_body()),
    }
}

/// What gRPC says at the end of a stream that failed.
fn refusal(headers: &HeaderMap) -> Option<String> {
    let status = Status::from_header_map(headers)?;
    let code = status.code();
    (code != Code::Ok).then(|| format!("{} ({code})", status.message()))
}

async fn last_words(incoming: &mut RecvStream, http: &mut Http) -> Failure {
    let trailers = tokio::select! { biased;
        trailers = poll_fn(|cx| incoming.poll_trailers(cx)) => trailers,
        ended = http => return over(ended),
    };
    match trailers {
        Ok(trailers) => {
            let words = trailers.as_ref().and_then(refusal);
            Failure::Status(words.unwrap_or_else(|| "without a word".to_owned()))
        }
        Err(error) => error.into(),
    }
}

fn ask(pings: &mut Option<PingPong>) -> Result<bool, h2::Error> {
    match pings {
        Some(pings) => pings.send_ping(Ping::opaque()).map(|()| true),
        None => Ok(false),
    }
}

async fn pong(pings: &mut Option<PingPong>) -> Result<(), h2::Error> {
    match pings {
        Some(pings) => poll_fn(|cx| pings.poll_pong(cx)).await.map(drop),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_is_told_in_the_servers_words() {
        let mut headers = HeaderMap::new();
        assert_eq!(refusal(&headers), None);
        headers.insert("grpc-status", "0".parse().unwrap());
        assert_eq!(refusal(&headers), None);
        headers.insert("grpc-status", "7".parse().unwrap());
        headers.insert("grpc-message", "not%20now".parse().unwrap());
        let told = refusal(&headers).unwrap();
        assert!(told.starts_with("not now ("), "{told}");
    }
}
