//! An agent without a cluster: believes a server exactly as an agent does, and does nothing about it.
//!
//! For load tests, which hold thousands of streams in one process and want to know when each of them has verified what
//! it was sent. It is the [`Session`] of a real agent: what that refuses is refused, what it asks for is asked for.
//! Nothing is stored or applied, and what is reported is what a cluster would report that has applied everything. Pure:
//! messages in, answers out; the caller carries them.
//!
//! A session is a function of what it was told. Followers that are made [`alike`](Follower::alike) are therefore worked
//! out together: a message that one of them was told in the same place before, byte for byte, leads where it led then,
//! and is verified once for all of them. So a thousand of them need the memory and the time of a few, where the real
//! ones would have a machine each.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use driftless_model::{
    name::ClusterName,
    shared::Shared,
    status::{ClusterStatus, ComponentStatus, Health},
    view::ComponentView,
};
use driftless_proto::v1::{self, agent_message, server_message};
use prost::Message as _;

use super::{
    refusal::{Refusal, malformed},
    session::{Action, Session},
    stream::want,
};
use crate::status::VERSION;

/// What a message led to.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// To be sent to the server.
    pub answers: Vec<v1::AgentMessage>,
    /// The sequence of the directive that is verified with everything it needs; `None` while objects are to come, and
    /// after messages that are not about that.
    pub verified: Option<u64>,
    /// The server ends the stream; come back after that long.
    pub goodbye: Option<Duration>,
    /// Objects that the message held.
    pub objects: usize,
}

/// A message of the server was not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// In CamelCase, as an agent reports it.
    pub reason: &'static str,
    /// In words.
    pub message: String,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            reason: refusal.reason(),
            message: refusal.to_string(),
        }
    }
}

/// One cluster's end of a stream. See the module.
#[derive(Debug)]
pub struct Follower {
    cluster: ClusterName,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Works everything out for itself.
    Own(Box<Session>),
    /// Where others are, or were.
    Shared(Arc<Point>),
}

/// A place to which the same messages led some followers, and where they went from there.
#[derive(Debug)]
struct Point {
    /// Of whichever cluster; its name is all that it knows of it.
    session: Session,
    after_hello: OnceLock<(Arc<Self>, v1::Hello)>,
    applied: OnceLock<v1::AgentMessage>,
    ways: Mutex<Vec<Way>>,
}

#[derive(Debug)]
struct Way {
    message: Bytes,
    /// A welcome, renamed: not as it was on the wire.
    is_renamed: bool,
    heard: Heard,
    to: Arc<Point>,
}

impl Follower {
    /// A follower that has accepted nothing yet, and works everything out for itself.
    pub fn new(cluster: ClusterName) -> Self {
        let session = Session::new(cluster.clone(), None);
        Self {
            cluster,
            place: Place::Own(Box::new(session)),
        }
    }

    /// One for another cluster, in the same place: as if it had been told the same, been stopped, and stored it. From
    /// here on both are worked out together.
    #[must_use]
    pub fn alike(&mut self, cluster: ClusterName) -> Self {
        let point = match &self.place {
            Place::Own(session) => Arc::new(Point::new((**session).clone())),
            Place::Shared(point) => Arc::clone(point),
        };
        self.place = Place::Shared(Arc::clone(&point));
        Self {
            cluster,
            place: Place::Shared(point),
        }
    }

    /// The cluster.
    pub fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// The first message of a new stream.
    pub fn hello(&mut self) -> v1::AgentMessage {
        let hello = match &mut self.place {
            Place::Own(session) => greet(session),
            Place::Shared(point) => {
                let (after, hello) = point.after_hello();
                *point = after;
                hello
            }
        };
        message(agent_message::Message::Hello(hello))
    }

    /// What an agent reports whose cluster has applied all that was verified last, and is healthy.
    pub fn applied(&self) -> v1::AgentMessage {
        match &self.place {
            Place::Own(session) => applied(session),
            Place::Shared(point) => point.applied.get_or_init(|| applied(&point.session)).clone(),
        }
    }

    /// Takes one message of the server, as it is on the wire.
    ///
    /// # Errors
    /// When an agent would not believe it. The stream is to be ended; what was verified before stays so.
    pub fn receive(&mut self, message: Bytes) -> Result<Heard, Refused> {
        match &mut self.place {
            Place::Own(session) => Ok(take(session, decode(message)?)?),
            Place::Shared(point) => {
                let (next, heard) = point.receive(&self.cluster, message)?;
                *point = next;
                Ok(heard)
            }
        }
    }
}

impl Point {
    fn new(session: Session) -> Self {
        Self {
            session,
            after_hello: OnceLock::new(),
            applied: OnceLock::new(),
            ways: Mutex::default(),
        }
    }

    fn after_hello(&self) -> (Arc<Self>, v1::Hello) {
        let (after, hello) = self.after_hello.get_or_init(|| {
            let mut session = self.session.clone();
            let hello = greet(&mut session);
            (Arc::new(Self::new(session)), hello)
        });
        (Arc::clone(after), hello.clone())
    }

    fn receive(&self, cluster: &ClusterName, message: Bytes) -> Result<(Arc<Self>, Heard), Refused> {
        // Held while a message is worked out: whoever was told the same waits for the outcome.
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known(&ways, &message, false) {
            return Ok(found);
        }
        let mut decoded = decode(message.clone())?;
        let (key, is_renamed) = match &mut decoded.message {
            Some(server_message::Message::Welcome(welcome)) => {
                self.rename(cluster, welcome)?;
                let key = Bytes::from(decoded.encode_to_vec());
                if let Some(found) = known(&ways, &key, true) {
                    return Ok(found);
                }
                (key, true)
            }
            // Not a part of the buffer that it came in, which would be kept with it.
            _ => (Bytes::copy_from_slice(&message), false),
        };
        let mut session = self.session.clone();
        let heard = take(&mut session, decoded)?;
        let way = Way {
            message: key,
            is_renamed,
            heard,
            to: Arc::new(Self::new(session)),
        };
        let found = (Arc::clone(&way.to), way.heard.clone());
        ways.push(way);
        Ok(found)
    }

    /// Makes a welcome of `cluster` one of the session's, and of no time, so that those of all clusters are alike.
    fn rename(&self, cluster: &ClusterName, welcome: &mut v1::Welcome) -> Result<(), Refused> {
        if welcome.cluster != cluster.as_str() {
            let refusal = Refusal::WrongCluster {
                ours: cluster.clone(),
                theirs: welcome.cluster.clone(),
            };
            return Err(refusal.into());
        }
        self.session.cluster().as_str().clone_into(&mut welcome.cluster);
        // Nothing is paused here that might end.
        welcome.time = None;
        Ok(())
    }
}

fn known(ways: &[Way], message: &Bytes, is_renamed: bool) -> Option<(Arc<Point>, Heard)> {
    // What came last comes most.
    let is_it = |way: &&Way| way.is_renamed == is_renamed && way.message == *message;
    let way = ways.iter().rev().find(is_it)?;
    Some((Arc::clone(&way.to), way.heard.clone()))
}

fn decode(message: Bytes) -> Result<v1::ServerMessage, Refused> {
    Ok(v1::ServerMessage::decode(message).map_err(malformed)?)
}

fn message(message: agent_message::Message) -> v1::AgentMessage {
    v1::AgentMessage { message: Some(message) }
}

fn greet(session: &mut Session) -> v1::Hello {
    v1::Hello {
        // There is no cluster to ask.
        answers_probes: false,
        ..session.hello(VERSION)
    }
}

fn applied(session: &Session) -> v1::AgentMessage {
    let mut status = ClusterStatus {
        agent_version: VERSION.to_owned(),
        ..ClusterStatus::default()
    };
    if let Some(accepted) = session.accepted() {
        status.sequence = accepted.directive().sequence;
        status.snapshot = accepted.running;
        status.revision = Some(accepted.revision);
    }
    let components = session.restored().map(|view| {
        let component = |(name, component): (&_, &Shared<ComponentView>)| {
            let objects = u32::try_from(component.manifests.len()).unwrap_or(u32::MAX);
            let status = ComponentStatus {
                bundle: Some(component.bundle),
                desired: objects,
                applied: objects,
                health: Health::Current,
                ..ComponentStatus::default()
            };
            (Clone::clone(name), status)
        };
        view.components.iter().map(component).collect()
    });
    status.components = components.unwrap_or_default();
    message(agent_message::Message::Status((&status).into()))
}

/// What an agent's stream does with a message, but for the cluster.
fn take(session: &mut Session, message: v1::ServerMessage) -> Result<Heard, Refusal> {
    use server_message::Message;
    let objects = match &message.message {
        Some(Message::Directive(directive)) => Some(directive.objects.len()),
        Some(Message::Object(_)) => Some(1),
        _ => None,
    };
    let mut heard = Heard {
        objects: objects.unwrap_or_default(),
        ..Heard::default()
    };
    for action in session.receive(message)? {
        match action {
            Action::Want(wanted) => {
                let want = agent_message::Message::Want(want(&wanted));
                heard.answers.push(self::message(want));
            }
            // Nothing is stored here: it counts as stored at once.
            Action::Adopt(adoption) => session.saved(adoption.generation),
            Action::Time(_) | Action::Ask(_) | Action::Answer(_) => {}
            Action::Goodbye { after_ms, .. } => heard.goodbye = Some(Duration::from_millis(after_ms.into())),
        }
    }
    if objects.is_some() && session.is_settled() {
        heard.verified = session.accepted().map(|accepted| accepted.directive().sequence);
    }
    Ok(heard)
}

#[cfg(test)]
mod tests;
