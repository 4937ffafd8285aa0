//! One stream, opened by hand: over the TLS and HTTP/2 of an agent, with whatever on it.

use std::{
    future::{pending, poll_fn},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use driftless_agent::Follower;
use driftless_load::{
    Dial, Member,
    frame::{Messages, encode},
};
use driftless_proto::v1::{
    AgentMessage, Object, ServerMessage, agent_message::Message as FromAgent, server_message::Message as ToAgent,
};
use h2::{RecvStream, SendStream, client::ResponseFuture};
use http::{HeaderMap, Request};
use prost::Message as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

use crate::stage::SOON;

/// As an agent's.
pub(crate) const WINDOW: u32 = 256 * 1024;

/// What somebody has who opens streams.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) dial: Arc<Dial>,
    pub(crate) member: Member,
    /// Chooses the address that it comes from.
    pub(crate) number: usize,
}

impl Caller {
    /// Connects. On a machine this busy that may take longer than either end waits: as an agent would, it tries again.
    pub(crate) async fn connect(&self) -> Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static> {
        let mut tries = 0;
        loop {
            let identity = Some(self.member.identity());
            match self.dial.open(self.number, identity, None).await {
                Err(_) if tries < 20 => tries += 1,
                connected => return Ok(connected?),
            }
        }
    }
}

/// See the module. Its connection ends with it.
pub(crate) struct Wire {
    pub(crate) outgoing: SendStream<Bytes>,
    /// `None` once it was answered.
    response: Option<ResponseFuture>,
    incoming: Option<RecvStream>,
    messages: Messages,
    /// Does anybody read from the socket?
    reading: watch::Sender<bool>,
    driver: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// The gRPC status; `None` where the stream was reset.
    pub(crate) code: Option<i32>,
    pub(crate) message: String,
}

impl Wire {
    /// Opens a stream that may be sent `window` bytes before it has read any. Nothing is said on it yet.
    pub(crate) async fn open(caller: &Caller, window: u32) -> Result<Self> {
        let tls = caller.connect().await?;
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(window)
            .initial_connection_window_size(window)
            .enable_push(false);
        let (mut requests, connection) = builder.handshake::<_, Bytes>(tls).await?;
        let (reading, mut is_reading) = watch::channel(true);
        let driver = tokio::spawn(async move {
            tokio::pin!(connection);
            loop {
                let may_read = *is_reading.borrow_and_update();
                tokio::select! { biased;
                    changed = is_reading.changed() => if changed.is_err() { return },
                    // However it ends, the stream's own ends tell.
                    _ = async { if may_read { connection.as_mut().await } else { pending().await } } => return,
                }
            }
        });
        let request = Request::post("https://server/driftless.v1.Sync/Sync")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())?;
        let (response, outgoing) = requests.send_request(request, false)?;
        Ok(Self {
            outgoing,
            response: Some(response),
            incoming: None,
            messages: Messages::default(),
            reading,
            driver,
        })
    }

    /// Opens one and says Hello.
    pub(crate) async fn greeted(caller: &Caller, window: u32, hello: AgentMessage) -> Result<Self> {
        let mut wire = Self::open(caller, window).await?;
        wire.say(&hello)?;
        Ok(wire)
    }

    /// Sends a message.
    pub(crate) fn say(&mut self, message: &AgentMessage) -> Result<()> {
        self.put(encode(message))
    }

    /// Sends bytes, whatever they are.
    pub(crate) fn put(&mut self, bytes: Bytes) -> Result<()> {
        Ok(self.outgoing.send_data(bytes, false)?)
    }

    /// Sends bytes as the server has room for them.
    pub(crate) async fn put_all(&mut self, mut bytes: Bytes) -> Result<()> {
        while !bytes.is_empty() {
            self.outgoing.reserve_capacity(bytes.len());
            let room = poll_fn(|cx| self.outgoing.poll_capacity(cx)).await;
            let room = room.context("the stream is closed")??;
            self.put(bytes.split_to(room.min(bytes.len())))?;
        }
        Ok(())
    }

    /// From here on nobody reads from the socket, or somebody does again. Nothing answers then, not even a ping.
    pub(crate) fn read_socket(&self, on: bool) {
        self.reading.send_replace(on);
    }

    /// Is its connection still there, as far as is known here?
    pub(crate) fn is_open(&self) -> bool {
        !self.driver.is_finished()
    }

    /// Has so much come that no more may, since nothing of it was read?
    pub(crate) async fn is_full(&mut self) -> Result<bool> {
        let incoming = self.incoming().await?;
        Ok(incoming.flow_control().used_capacity() >= WINDOW as usize)
    }

    async fn incoming(&mut self) -> Result<&mut RecvStream> {
        if let Some(response) = self.response.take() {
            let response = response.await?;
            if let Some(ended) = ended(response.headers()) {
                bail!("refused at once: {ended:?}");
            }
            self.incoming = Some(response.into_body());
        }
        self.incoming.as_mut().context("it was never answered")
    }

    /// The next message, as it is on the wire; `None` at the end.
    pub(crate) async fn raw(&mut self) -> Result<Option<Bytes>> {
        timeout(SOON, self.next()).await.context("nothing came")?
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(message) = self.messages.next_whole()? {
                return Ok(Some(message));
            }
            let incoming = self.incoming().await?;
            let Some(data) = incoming.data().await else {
                return Ok(None);
            };
            let data = data?;
            incoming.flow_control().release_capacity(data.len())?;
            self.messages.push(data);
        }
    }

    /// The next message; an end is an error.
    pub(crate) async fn message(&mut self) -> Result<ToAgent> {
        let raw = self.raw().await?.context("the stream has ended")?;
        ServerMessage::decode(raw)?.message.context("an empty message")
    }

    /// The next object; what else comes is passed over.
    pub(crate) async fn object(&mut self) -> Result<Object> {
        loop {
            if let ToAgent::Object(object) = self.message().await? {
                return Ok(object);
            }
        }
    }

    /// Reads until the server ends the stream, and says how it did.
    pub(crate) async fn end(mut self) -> Result<Ended> {
        let ending = async {
            loop {
                match self.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(error) => {
                        let message = format!("{error:#}");
                        return Ok(Ended { code: None, message });
                    }
                }
            }
            let incoming = self.incoming().await?;
            let trailers = poll_fn(|cx| incoming.poll_trailers(cx)).await?;
            trailers.as_ref().and_then(ended).context("it ended without a status")
        };
        timeout(SOON, ending)
            .await
            .context("the server does not end the stream")?
    }

    /// Believes what comes until it has verified this directive or a later one. `alter` sees each answer before it is sent.
    pub(crate) async fn follow(
        &mut self,
        follower: &mut Follower,
        sequence: u64,
        mut alter: impl FnMut(&mut FromAgent),
    ) -> Result<()> {
        loop {
            let raw = self.raw().await?.context("the server ended the stream")?;
            let heard = follower.receive(raw)?;
            for mut answer in heard.answers {
                answer.message.iter_mut().for_each(&mut alter);
                self.say(&answer)?;
            }
            ensure!(heard.goodbye.is_none(), "sent away");
            if heard.verified.is_some_and(|verified| verified >= sequence) {
                return Ok(());
            }
        }
    }
}

/// Opens streams as an agent does until the follower has verified a directive; whatever was there before may have to be
/// gone first.
pub(crate) async fn converge(caller: &Caller, follower: &mut Follower, sequence: u64) -> Result<Wire> {
    let mut wire = Wire::greeted(caller, WINDOW, follower.hello()).await?;
    wire.follow(follower, sequence, |_| {}).await?;
    Ok(wire)
}

/// What gRPC says at an end.
fn ended(headers: &HeaderMap) -> Option<Ended> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    Some(Ended {
        code: Some(text("grpc-status")?.parse().ok()?),
        // Of what is escaped spaces are enough to be read.
        message: text("grpc-message").unwrap_or_default().replace("%20", " "),
    })
}
