//! Agents that stop reading: with everything that HTTP/2 lets the server send unread, or with the socket itself.

use anyhow::{Context as _, Result, ensure};
use driftless_agent::Follower;
use driftless_model::{directive::Directive, hash::ObjectHash};
use driftless_proto::{
    to_hash,
    v1::{AgentMessage, Want, agent_message::Message as FromAgent, server_message::Message as ToAgent},
};
use driftless_tests::eventually;

use crate::{
    stage::SOON,
    wire::{Caller, WINDOW, Wire},
};

/// How often each has asked for the same large object: together more than all buffers on the way hold.
const WANTED: usize = 200;
/// More than TCP takes: it is TCP that is full.
const WIDE: u32 = 64 * 1024 * 1024;

/// What it does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stall {
    /// What came: its HTTP/2 answers pings, and lets no more come.
    Window,
    /// The socket: it does not answer anything.
    Socket,
}

/// A stream on which much was asked for, and nothing is read any more.
pub(crate) struct Stalled {
    wire: Wire,
    stall: Stall,
}

impl Stalled {
    /// Asks for `object` many times, and stops to read. Returns when it is stuck.
    pub(crate) async fn begin(caller: &Caller, stall: Stall, object: &ObjectHash) -> Result<Self> {
        let window = match stall {
            Stall::Window => WINDOW,
            Stall::Socket => WIDE,
        };
        let hello = Follower::new(caller.member.cluster().clone()).hello();
        let mut wire = Wire::greeted(caller, window, hello).await?;
        let want = Want {
            hashes: vec![to_hash(object); WANTED],
            ..Want::default()
        };
        wire.say(&AgentMessage {
            message: Some(FromAgent::Want(want)),
        })?;
        if stall == Stall::Socket {
            // It is being sent what it asked for.
            wire.object().await?;
            wire.read_socket(false);
        } else {
            eventually(SOON, "a full window", async || Ok(wire.is_full().await?.then_some(()))).await?;
        }
        Ok(Self { wire, stall })
    }

    /// Is it still open, and as stuck as it was?
    pub(crate) async fn is_stuck(&mut self) -> Result<bool> {
        Ok(match self.stall {
            Stall::Window => self.wire.is_open() && self.wire.is_full().await?,
            // Nobody looks.
            Stall::Socket => self.wire.is_open(),
        })
    }

    /// Reads again until the directive of `sequence` comes; says how many came on the way to it. Of one that answered
    /// no pings the connection may be gone: `None`.
    pub(crate) async fn resume(mut self, sequence: u64) -> Result<Option<usize>> {
        self.wire.read_socket(true);
        let mut directives = 0;
        loop {
            let message = match self.wire.message().await {
                Err(_) if self.stall == Stall::Socket => return Ok(None),
                message => message.context("a stream that stalled and answers pings stays open")?,
            };
            if let ToAgent::Directive(directive) = message {
                directives += 1;
                let found = Directive::decode(&directive.document)?.sequence;
                ensure!(found <= sequence, "a directive {found} of the future");
                if found == sequence {
                    return Ok(Some(directives));
                }
            }
        }
    }
}
