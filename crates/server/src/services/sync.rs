//! The agents' stream: Hello, then directives, objects and reports for as long as the agent runs.
//!
//! Each stream is a state machine that is driven by its connection: [`Agent::poll_next`] looks for whatever comes first
//! and gives the next message. It owns no task and queues nothing of size: an agent that does not read makes only
//! itself wait, and finds the newest directive when it reads again.
//!
//! What goes out does not pass through tonic's encoder, which would copy it for each stream: a [`Frame`] is sent as it
//! is, and [`Flow`] is the body of the response.

mod agent;

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{self, Ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use driftless_model::name::ClusterName;
use driftless_proto::{MAX_HELD, v1};
use futures::future::BoxFuture;
use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_TYPE, DATE},
};
use jiff::fmt::rfc2822::DateTimePrinter;
use tonic::{Status, Streaming, body::Body, codec::BufferSettings, server::NamedService};
use tonic_prost::ProstCodec;
use v1::{agent_message::Message as FromAgent, server_message::Message as ToAgent};

use super::{AGENT_MESSAGE_BYTES, Core, hashes};
use crate::{
    auth::{self, Certificate},
    egress::{self, Turn},
    failure::Failure,
    frame::Frame,
};
use agent::{Agent, Open, Step};

/// The first message must come within this time.
const HELLO_WAIT: Duration = Duration::from_secs(15);
/// What a stream sets aside to read into: agents say little, and there are many. It grows for who says more.
const READ_BUFFER: usize = 128;
/// The one call of the service.
const PATH: &str = "/driftless.v1.Sync/Sync";

/// Tells one stream of this process from another.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The service, as the router has it.
#[derive(Clone)]
pub(super) struct Service(pub(super) Arc<Core>);

impl NamedService for Service {
    const NAME: &'static str = v1::sync_server::SERVICE_NAME;
}

impl tower::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let opened = self.open(request);
        future::ready(Ok(opened.unwrap_or_else(Status::into_http)))
    }
}

impl Service {
    fn open(&self, request: http::Request<Body>) -> Result<http::Response<Body>, Status> {
        let (parts, body) = request.into_parts();
        if parts.uri.path() != PATH {
            return Err(Status::unimplemented("driftless.v1.Sync has one method: Sync"));
        }
        let certificate = auth::certificate(&parts.extensions)?;
        let name = certificate.cluster(&self.0.state().fleet)?.0.clone();
        if self.0.stopping.is_cancelled() {
            return Err(Failure::Stopping.into());
        }
        let buffer = BufferSettings::new(READ_BUFFER, READ_BUFFER);
        let decoder = ProstCodec::<v1::ServerMessage, v1::AgentMessage>::raw_decoder(buffer);
        let greeting = Greeting {
            core: Arc::clone(&self.0),
            name,
            certificate,
            inbound: Streaming::new_request(decoder, body, None, Some(AGENT_MESSAGE_BYTES)),
        };
        let flow = Flow {
            core: Arc::clone(&self.0),
            phase: Some(Phase::Greeting(Box::pin(greeting.hello()))),
            sending: Frame::default(),
            turn: None,
        };
        let mut response = http::Response::new(Body::new(flow));
        let now = DateTimePrinter::new().timestamp_to_rfc9110_string(&(self.0.clock)());
        let date = now.ok().and_then(|now| HeaderValue::try_from(now).ok());
        let kind = HeaderValue::from_static("application/grpc");
        let headers = date.map(|date| (DATE, date)).into_iter().chain([(CONTENT_TYPE, kind)]);
        response.headers_mut().extend(headers.map(|(name, mut value)| {
            // Said once: for whoever may say it again HPACK would keep half a kilobyte.
            value.set_sensitive(true);
            (name, value)
        }));
        Ok(response)
    }
}

/// What goes out on a stream, part by part. Polled by its connection: as a future it would have room for all that it ever
/// waited for, and there are thousands.
struct Flow {
    core: Arc<Core>,
    /// `None` once the stream is over.
    phase: Option<Phase>,
    /// The rest of the message that is being sent.
    sending: Frame,
    /// To send the next piece of a large one.
    turn: Option<Taking>,
}

/// A turn, which may have to be waited for.
enum Taking {
    Waiting(BoxFuture<'static, Turn>),
    Taken { _turn: Turn },
}

impl http_body::Body for Flow {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        let frame = ready!(self.get_mut().poll_next(context));
        Poll::Ready(frame.map(Ok))
    }
}

impl Flow {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<http_body::Frame<Bytes>>> {
        // Whoever asks for more has sent what it got.
        self.turn.take_if(|turn| matches!(turn, Taking::Taken { .. }));
        if self.sending.len() == 0 {
            let Some(phase) = &mut self.phase else {
                return Poll::Ready(None);
            };
            let status = match ready!(phase.poll_next(context)) {
                Ok(Some(frame)) => {
                    self.sending = frame;
                    None
                }
                Ok(None) => Some(Status::ok("")),
                Err(failure) => Some(failure.into()),
            };
            if let Some(status) = status {
                self.phase = None;
                return Poll::Ready(Some(trailers(&status)));
            }
        }
        if self.sending.is_beyond(egress::SMALL) {
            let core = &self.core;
            let turn = self.turn.get_or_insert_with(|| {
                let core = Arc::clone(core);
                Taking::Waiting(Box::pin(async move { core.egress.turn().await }))
            });
            if let Taking::Waiting(waiting) = turn {
                let given = ready!(waiting.as_mut().poll(context));
                *turn = Taking::Taken { _turn: given };
            }
        }
        Poll::Ready(self.sending.next(egress::PIECE).map(http_body::Frame::data))
    }
}

/// The end of a stream, as gRPC tells it.
fn trailers(status: &Status) -> http_body::Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // What cannot be said in a header goes unsaid.
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from(status.code() as i32));
    }
    http_body::Frame::trailers(trailers)
}

/// Where a stream is.
enum Phase {
    /// Waits for Hello.
    Greeting(BoxFuture<'static, Result<Greeted, Failure>>),
    /// Serves the agent.
    Open(Box<Agent>),
    /// Has said Goodbye, and ends with this.
    Leaving(Failure),
}

impl Phase {
    /// The next message; `None` when the agent is gone. Not to be asked again after that, or after an error.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Frame>, Failure>> {
        let step = match self {
            Self::Greeting(greeting) => match ready!(greeting.as_mut().poll(context)) {
                Ok(Some((welcome, agent))) => {
                    *self = Self::Open(agent);
                    Step::Send(welcome)
                }
                Ok(None) => Step::End,
                Err(failure) => Step::Fail(failure),
            },
            Self::Open(agent) => ready!(agent.poll_next(context)),
            Self::Leaving(failure) => Step::Fail(std::mem::replace(failure, Failure::Stopping)),
        };
        Poll::Ready(match step {
            Step::Send(frame) => Ok(Some(frame)),
            Step::Leave(goodbye, failure) => {
                *self = Self::Leaving(failure);
                Ok(Some(Frame::new(ToAgent::Goodbye(goodbye))))
            }
            Step::Fail(failure) => Err(failure),
            Step::End => Ok(None),
        })
    }
}

/// What an agent is told first, and the agent; `None` when it went away without a word.
type Greeted = Option<(Frame, Box<Agent>)>;

/// A stream whose agent has not said Hello yet.
struct Greeting {
    core: Arc<Core>,
    name: ClusterName,
    certificate: Arc<Certificate>,
    inbound: Streaming<v1::AgentMessage>,
}

impl Greeting {
    /// Waits for Hello, takes the place of an older stream of this cluster, and answers Welcome.
    async fn hello(mut self) -> Result<Greeted, Failure> {
        let stopping = self.core.stopping.clone();
        let first = tokio::select! {
            biased;
            () = stopping.cancelled() => return Err(Failure::Stopping),
            first = tokio::time::timeout(HELLO_WAIT, self.inbound.message()) => first,
        };
        let hello = match first {
            Ok(Ok(Some(v1::AgentMessage {
                message: Some(FromAgent::Hello(hello)),
            }))) => hello,
            Ok(Ok(Some(_))) => return Err(Failure::Argument("the first message must be hello".to_owned())),
            Ok(Ok(None)) => return Ok(None),
            Ok(Err(status)) => return Err(agent::unreadable(&status)),
            Err(_) => return Err(Failure::Argument("hello did not come in time".to_owned())),
        };
        let held = &hello.held[..hello.held.len().min(MAX_HELD)];
        let held = hashes(held)?.into_iter().collect();
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        self.certificate.cluster(&self.core.state().fleet)?;
        let line = self.core.hub.open(&self.name, id, hello.answers_probes);
        let open = Open {
            core: Arc::clone(&self.core),
            name: self.name.clone(),
            id,
        };
        // Again, now that the hub tells of changes and of the end: what was in between would be missed.
        if stopping.is_cancelled() {
            return Err(Failure::Stopping);
        }
        let state = self.core.state();
        let (_, record) = self.certificate.cluster(&state.fleet)?;
        self.core.table.connected(&self.name, id, (self.core.clock)());
        tracing::debug!(cluster = %self.name, version = hello.agent_version, sequence = hello.sequence, "agent connected");
        let (welcome, told) = agent::welcome(&self.name, record, (self.core.clock)());
        let agent = Agent {
            open,
            certificate: self.certificate,
            inbound: self.inbound,
            orders: self.core.hub.orders(&record.channel, id, &line),
            channel: record.channel.clone(),
            told,
            line,
            is_news: true,
            takes_deltas: hello.takes_deltas,
            held: Some(held),
            wanted: VecDeque::new(),
            loading: None,
            waits: None,
        };
        Ok(Some((welcome, Box::new(agent))))
    }
}
