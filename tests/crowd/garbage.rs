//! Agents that break the protocol, in every way that somebody with a certificate can, and some that need none. Each
//! nonsense knows how a server has to take it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use bytes::{BufMut as _, Bytes, BytesMut};
use driftless_agent::Follower;
use driftless_model::hash::ObjectHash;
use driftless_proto::{
    to_hash,
    v1::{
        AgentMessage, ClusterStatus, ComponentStatus, Hello, ProbeResult, Problem, Want,
        agent_message::Message as FromAgent,
    },
};
use rand::{Rng as _, RngCore as _, SeedableRng as _, rngs::SmallRng};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    stage::SOON,
    wire::{Caller, WINDOW, Wire},
};

/// gRPC's codes.
const INVALID: i32 = 3;
const EXHAUSTED: i32 = 8;

/// What those who send nonsense share.
#[derive(Clone)]
pub(crate) struct Garbage {
    /// Those that are at it at once.
    pub(crate) turns: Arc<Semaphore>,
    /// How much was sent.
    pub(crate) rounds: Arc<AtomicU64>,
    pub(crate) stop: CancellationToken,
    /// Where the server listens.
    pub(crate) address: String,
    /// An object that the server has.
    pub(crate) object: ObjectHash,
}

/// The nonsense, in turn.
#[derive(Clone, Copy, Debug)]
enum Nonsense {
    NoTls,
    NoHttp,
    Reset,
    UnknownMethod,
    RandomMessage,
    Compressed,
    Oversized,
    PartOfALargeMessage,
    FirstNoHello,
    HelloTwice,
    HoldsNoHash,
    WantsTooMuch,
    WantsTooMuchBitByBit,
    WantsNoHash,
    WantsWhatIsNotThere,
    ForeignStatus,
    UnaskedAnswer,
}

const ALL: &[Nonsense] = &[
    Nonsense::NoTls,
    Nonsense::NoHttp,
    Nonsense::Reset,
    Nonsense::UnknownMethod,
    Nonsense::RandomMessage,
    Nonsense::Compressed,
    Nonsense::Oversized,
    Nonsense::PartOfALargeMessage,
    Nonsense::FirstNoHello,
    Nonsense::HelloTwice,
    Nonsense::HoldsNoHash,
    Nonsense::WantsTooMuch,
    Nonsense::WantsTooMuchBitByBit,
    Nonsense::WantsNoHash,
    Nonsense::WantsWhatIsNotThere,
    Nonsense::ForeignStatus,
    Nonsense::UnaskedAnswer,
];

impl Garbage {
    /// Sends nonsense until it is told to stop.
    pub(crate) async fn send(self, caller: Caller) -> Result<Caller> {
        let mut rng = SmallRng::seed_from_u64(caller.number as u64);
        let mut next = caller.number;
        while !self.stop.is_cancelled() {
            let _turn = self.turns.acquire().await?;
            let nonsense = ALL[next % ALL.len()];
            self.one(&caller, nonsense, &mut rng)
                .await
                .with_context(|| format!("{}: {nonsense:?}", caller.member.cluster()))?;
            self.rounds.fetch_add(1, Ordering::Relaxed);
            next += 1;
        }
        Ok(caller)
    }

    /// Never says Hello, again and again. The server ends that in its own time, so this is nobody's turn.
    pub(crate) async fn keep_silent(self, caller: Caller) -> Result<Caller> {
        loop {
            let silent = Wire::open(&caller, WINDOW).await?;
            tokio::select! { biased;
                () = self.stop.cancelled() => return Ok(caller),
                ended = silent.end() => {
                    let ended = ended?;
                    ensure!(ended.code == Some(INVALID) && ended.message.contains("hello"), "{ended:?}");
                    self.rounds.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    async fn one(&self, caller: &Caller, nonsense: Nonsense, rng: &mut SmallRng) -> Result<()> {
        match nonsense {
            Nonsense::NoTls => self.no_tls(rng).await,
            Nonsense::NoHttp => no_http(caller, rng).await,
            Nonsense::Reset => reset(caller).await,
            Nonsense::UnknownMethod => unknown_method(caller).await,
            Nonsense::RandomMessage => {
                refused(caller, &[framed(0, 40, &noise(rng, 40))], INVALID, "cannot be read").await
            }
            Nonsense::Compressed => refused(caller, &[framed(1, 9, b"no gzip!")], INVALID, "compress").await,
            Nonsense::Oversized => {
                let begin = framed(0, 1 << 30, &noise(rng, 10_000));
                refused(caller, &[begin], INVALID, "too large").await
            }
            Nonsense::PartOfALargeMessage => part(caller, rng).await,
            Nonsense::FirstNoHello => {
                let mut wire = Wire::open(caller, WINDOW).await?;
                wire.say(&want(vec![to_hash(&self.object)]))?;
                ended(wire, INVALID, "first").await
            }
            Nonsense::HelloTwice => says(caller, &[hello(caller)], INVALID, "once").await,
            Nonsense::HoldsNoHash => {
                let hello = FromAgent::Hello(Hello {
                    held: vec!["no hash".into()],
                    ..Hello::default()
                });
                let wire = Wire::greeted(caller, WINDOW, AgentMessage { message: Some(hello) }).await?;
                ended(wire, INVALID, "hashes").await
            }
            Nonsense::WantsTooMuch => says(caller, &[want(unknown(rng, 10_001))], EXHAUSTED, "10001").await,
            Nonsense::WantsTooMuchBitByBit => {
                let wants: Vec<_> = (0..4).map(|_| want(vec![to_hash(&self.object); 9000])).collect();
                says(caller, &wants, EXHAUSTED, "wait").await
            }
            Nonsense::WantsNoHash => says(caller, &[want(vec![Bytes::from_static(b"short")])], INVALID, "hash").await,
            Nonsense::WantsWhatIsNotThere => self.wants_what_is_not_there(caller, rng).await,
            Nonsense::ForeignStatus => self.still_served_after(caller, &foreign_statuses(rng)).await,
            Nonsense::UnaskedAnswer => {
                let answer = ProbeResult {
                    id: rng.random(),
                    ..ProbeResult::default()
                };
                let answer = FromAgent::ProbeResult(answer);
                let nothing = AgentMessage { message: None };
                self.still_served_after(caller, &[AgentMessage { message: Some(answer) }, nothing])
                    .await
            }
        }
    }

    /// Bytes that begin no TLS: they are answered with an alert or nothing, and the end.
    async fn no_tls(&self, rng: &mut SmallRng) -> Result<()> {
        let mut tcp = TcpStream::connect(&self.address).await?;
        let bytes = match rng.random_range(0..3) {
            0 => noise(rng, 500).to_vec(),
            1 => b"GET / HTTP/1.1\r\nhost: server\r\n\r\n".to_vec(),
            // A record of TLS that holds nothing of it.
            _ => [&[22, 3, 1, 1, 0][..], &noise(rng, 256)].concat(),
        };
        // The server may hang up in between.
        let _ = tcp.write_all(&bytes).await;
        until_closed(&mut tcp).await
    }

    async fn wants_what_is_not_there(&self, caller: &Caller, rng: &mut SmallRng) -> Result<()> {
        let mut wire = Wire::greeted(caller, WINDOW, hello(caller)).await?;
        let mut hashes = unknown(rng, 40);
        hashes.push(to_hash(&self.object));
        let bases = unknown(rng, hashes.len());
        let want = Want { hashes, bases };
        wire.say(&AgentMessage {
            message: Some(FromAgent::Want(want)),
        })?;
        let (mut empty, mut whole) = (0, 0);
        while empty + whole < 41 {
            let object = wire.object().await?;
            ensure!(object.base.is_empty(), "a delta from what is not there");
            if object.zstd.is_empty() { empty += 1 } else { whole += 1 }
        }
        ensure!((empty, whole) == (40, 1), "{empty} empty, {whole} whole");
        Ok(())
    }

    /// Says what makes no sense but is no reason to stop; what it asks for then is sent.
    async fn still_served_after(&self, caller: &Caller, messages: &[AgentMessage]) -> Result<()> {
        let mut wire = Wire::greeted(caller, WINDOW, hello(caller)).await?;
        for message in messages {
            wire.say(message)?;
        }
        wire.say(&want(vec![to_hash(&self.object)]))?;
        let object = wire.object().await?;
        ensure!(
            object.hash == to_hash(&self.object) && !object.zstd.is_empty(),
            "not what was asked for"
        );
        Ok(())
    }
}

/// TLS with a certificate, and no HTTP in it.
async fn no_http(caller: &Caller, rng: &mut SmallRng) -> Result<()> {
    let mut tls = caller.connect().await?;
    let _ = tls.write_all(&noise(rng, 2000)).await;
    // The server waits for the rest of a request until the other end is closed.
    let _ = tls.shutdown().await;
    until_closed(&mut tls).await
}

/// Streams that are reset as soon as they were begun, many on one connection.
async fn reset(caller: &Caller) -> Result<()> {
    let tls = caller.connect().await?;
    let (mut requests, connection) = h2::client::handshake(tls).await?;
    let driver = tokio::spawn(connection);
    for _ in 0..100 {
        let request = http::Request::post("https://server/driftless.v1.Sync/Sync").body(())?;
        // A server that has had enough ends the connection.
        let Ok(ready) = requests.ready().await else { break };
        requests = ready;
        let Ok((_, mut outgoing)) = requests.send_request(request, false) else {
            break;
        };
        outgoing.send_reset(h2::Reason::CANCEL);
    }
    driver.abort();
    Ok(())
}

async fn unknown_method(caller: &Caller) -> Result<()> {
    let tls = caller.connect().await?;
    let (mut requests, connection) = h2::client::handshake(tls).await?;
    let driver = tokio::spawn(connection);
    let request = http::Request::post("https://server/driftless.v1.Sync/Anything")
        .header("content-type", "application/grpc")
        .body(())?;
    let (response, _) = requests.send_request(request, true)?;
    let response = timeout(SOON, response).await.context("no answer")??;
    driver.abort();
    let status = response.headers().get("grpc-status").context("no gRPC status")?;
    ensure!(status == "12", "{status:?}");
    Ok(())
}

/// A part of a message that is as large as one may be, which then does not go on.
async fn part(caller: &Caller, rng: &mut SmallRng) -> Result<()> {
    let mut wire = Wire::greeted(caller, WINDOW, hello(caller)).await?;
    wire.put_all(framed(0, 4 << 20, &noise(rng, 1 << 20))).await
}

/// Opens a stream, sends these bytes, and is told why that is the end.
async fn refused(caller: &Caller, parts: &[Bytes], code: i32, words: &str) -> Result<()> {
    let mut wire = Wire::greeted(caller, WINDOW, hello(caller)).await?;
    for part in parts {
        // Bytes for which there is no room any more are as good as sent.
        let _ = wire.put(part.clone());
    }
    ended(wire, code, words).await
}

/// The same with messages.
async fn says(caller: &Caller, messages: &[AgentMessage], code: i32, words: &str) -> Result<()> {
    let mut wire = Wire::greeted(caller, WINDOW, hello(caller)).await?;
    for message in messages {
        wire.say(message)?;
    }
    ended(wire, code, words).await
}

async fn ended(wire: Wire, code: i32, words: &str) -> Result<()> {
    let ended = wire.end().await?;
    ensure!(
        ended.code == Some(code) && ended.message.contains(words),
        "{ended:?}, and not {code} with {words:?}"
    );
    Ok(())
}

async fn until_closed(connection: &mut (impl tokio::io::AsyncRead + Unpin)) -> Result<()> {
    let mut rest = [0; 4096];
    // An error is an end too.
    let reading = async { while matches!(connection.read(&mut rest).await, Ok(1..)) {} };
    timeout(SOON, reading).await.context("the server keeps it open")
}

fn hello(caller: &Caller) -> AgentMessage {
    Follower::new(caller.member.cluster().clone()).hello()
}

fn want(hashes: Vec<Bytes>) -> AgentMessage {
    let want = Want {
        hashes,
        ..Want::default()
    };
    AgentMessage {
        message: Some(FromAgent::Want(want)),
    }
}

/// Statuses of a snapshot and of components that nobody knows, and one that cannot be.
fn foreign_statuses(rng: &mut SmallRng) -> [AgentMessage; 2] {
    let problem = |n: usize| Problem {
        reason: "Nonsense".to_owned(),
        message: format!("this is problem number {n}"),
        ..Problem::default()
    };
    let component = |n: usize| ComponentStatus {
        component: format!("never-heard-of-{n}"),
        desired: 1,
        problems: (0..200).map(problem).collect(),
        ..ComponentStatus::default()
    };
    let status = ClusterStatus {
        sequence: u64::MAX,
        snapshot: Some(to_hash(&ObjectHash::of(&noise(rng, 8)))),
        components: (0..10).map(component).collect(),
        ..ClusterStatus::default()
    };
    let impossible = ClusterStatus {
        snapshot: Some(Bytes::from_static(b"short")),
        ..ClusterStatus::default()
    };
    [status, impossible].map(|status| AgentMessage {
        message: Some(FromAgent::Status(status)),
    })
}

fn unknown(rng: &mut SmallRng, count: usize) -> Vec<Bytes> {
    (0..count).map(|_| to_hash(&ObjectHash::of(&noise(rng, 8)))).collect()
}

fn noise(rng: &mut SmallRng, bytes: usize) -> Bytes {
    let mut noise = BytesMut::zeroed(bytes);
    rng.fill_bytes(&mut noise);
    noise.freeze()
}

/// A message of gRPC that says of itself what need not be true.
fn framed(compressed: u8, length: u32, content: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(5 + content.len());
    frame.put_u8(compressed);
    frame.put_u32(length);
    frame.put_slice(content);
    frame.freeze()
}
