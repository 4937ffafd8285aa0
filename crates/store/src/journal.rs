//! The journal: one writer and follower per process, shared by everything in it.
//!
//! [`Journal`] is the handle that the server's services and controllers hold; [`Task`] does the work and is run by
//! the binary. The fold is owned and updated by that task alone; everybody else reads it from a watch.
//!
//! # Expected flow
//! A submitted intent waits in a bounded queue while an entry is being put. The task then takes all that wait,
//! decides them in order (`commit`), stores the snapshots they make, and puts one entry with all their events
//! under the next number. If another process was faster, it reads that entry, folds it (`follow`), decides again
//! and tries the number after. Between commits it looks for others' entries a few times a second.
//!
//! # Guarantees
//! - An [`Outcome`] is answered when its event is durable in the journal, and folded here.
//! - Every event is there at most once, decided on the exact state before it; a refusal, too, was decided on a
//!   state that was the newest when the answer was given.
//! - All processes fold the same entries in the same order; one that does not fit stops the task.
//!
//! # Assumptions
//! Put-if-absent is honoured (checked at start), and no entry is ever deleted.

mod checkpoint;
mod commit;
mod follow;
mod packer;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use driftless_model::{
    event::Event,
    fleet::{Fleet, Intent},
    hash::ObjectHash,
    journal::Tip,
    name::ChannelName,
};
use jiff::Timestamp;
use rand::{SeedableRng, rngs::StdRng};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{bucket::Bucket, error::Error};

pub(crate) use checkpoint::decode as decode_checkpoint;
use commit::Ends;
pub use commit::Task;

/// Where the time of day comes from.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How often to look for what other writers add, where there are some.
pub const BESIDE_OTHERS: Duration = Duration::from_millis(200);

/// How a journal behaves. [`Settings::new`] has what servers use.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The name of this process in the entries it writes. Informative.
    pub writer: String,
    /// How often to look for entries of others, until [`Journal::poll_every`] says otherwise.
    pub poll: Duration,
    /// How many entries apart checkpoints are written.
    pub checkpoint_every: u64,
    /// How many intents one entry may carry out.
    pub max_batch: usize,
    /// How many intents may wait; more of them wait in their callers.
    pub queue: usize,
    /// How often one write is tried when the bucket does not answer.
    pub attempts: u32,
    /// The pause after the first failed try; it doubles with each, up to two seconds.
    pub backoff: Duration,
}

impl Settings {
    /// The settings of a server called `writer`.
    pub fn new(writer: impl Into<String>) -> Self {
        Self {
            writer: writer.into(),
            poll: BESIDE_OTHERS,
            checkpoint_every: 1000,
            max_batch: 256,
            queue: 1024,
            attempts: 6,
            backoff: Duration::from_millis(50),
        }
    }
}

/// The journal up to one entry.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The entry.
    pub tip: Tip,
    /// The fold of all entries up to it.
    pub fleet: Fleet,
}

/// What became of an intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The entry that holds the event; when nothing changed, one after which the state is as wanted.
    pub seq: u64,
    /// What was decided; `None` when the state already was as wanted, or it was decided when this was asked first.
    pub event: Option<Event>,
    /// The snapshot that the event names, or named then.
    pub snapshot: Option<ObjectHash>,
}

impl Outcome {
    /// Is there no event of this intent, neither from now nor from when it was asked first?
    pub fn is_unchanged(&self) -> bool {
        self.event.is_none() && self.snapshot.is_none()
    }
}

/// An intent on its way to the task, and where its answer goes.
#[derive(Debug)]
struct Pending {
    intent: Intent,
    answer: oneshot::Sender<Result<Outcome, Error>>,
}

/// What a channel is about to be at, told before that is stored. It may come to nothing.
#[derive(Debug, Clone)]
pub struct Coming {
    /// The channel.
    pub channel: ChannelName,
    /// The snapshot it is at.
    pub before: Option<ObjectHash>,
    /// The snapshot it will be at.
    pub snapshot: ObjectHash,
    /// The canonical bytes of that.
    pub bytes: Bytes,
}

/// A handle to the process's journal. Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    intents: mpsc::Sender<Pending>,
    states: watch::Receiver<Arc<State>>,
    poll: Arc<watch::Sender<Duration>>,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("tip", &self.states.borrow().tip)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Reads the bucket's journal (newest checkpoint, then the tail) and prepares to write to it. `seed` feeds
    /// nonces and jitter: two processes need different ones.
    ///
    /// # Errors
    /// When the bucket cannot be read or written, ignores put-if-absent, or
    /// ([`Error::is_broken_journal`]) its journal has a gap or a broken chain.
    pub async fn open(bucket: Bucket, settings: Settings, clock: Clock, seed: u64) -> Result<(Self, Task), Error> {
        bucket.check_put_if_absent().await?;
        let (state, checkpoint) = checkpoint::load(&bucket).await?;
        let (states, receiver) = watch::channel(Arc::new(state));
        let (sender, intents) = mpsc::channel(settings.queue);
        let (poll, paces) = watch::channel(settings.poll);
        let rng = StdRng::seed_from_u64(seed);
        let ends = Ends { states, intents, paces };
        let task = Task::new(bucket, settings, clock, rng, ends, checkpoint);
        Ok((
            Self {
                intents: sender,
                states: receiver,
                poll: Arc::new(poll),
            },
            task,
        ))
    }

    /// Has entries of others looked for at this pace from now on.
    pub fn poll_every(&self, pace: Duration) {
        self.poll.send_if_modified(|now| std::mem::replace(now, pace) != pace);
    }

    /// The newest folded state, and a signal at every newer one. Level-triggered: a slow reader sees the newest.
    pub fn state(&self) -> watch::Receiver<Arc<State>> {
        self.states.clone()
    }

    /// Has `intent` decided and, if it changes anything, appended. Returns when that is durable. Dropping the
    /// future does not take the intent back.
    ///
    /// # Errors
    /// [`Error::Refused`] when the state stands against it. [`Error::is_retryable`] when the bucket does not
    /// answer: the event may then be in the journal or not. Submitting the same again is safe: a push with a nonce is
    /// answered as it was the first time, whatever came after; any other intent whose effect is there already
    /// changes nothing, or is refused as already there.
    pub async fn submit(&self, intent: Intent) -> Result<Outcome, Error> {
        let (answer, answered) = oneshot::channel();
        self.intents
            .send(Pending { intent, answer })
            .await
            .map_err(|_| Error::Stopped)?;
        answered.await.map_err(|_| Error::Stopped)?
    }
}
