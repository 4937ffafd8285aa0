//! The task behind the journal: takes the intents that wait, and makes one entry of them.
//!
//! What an entry will say is worked out by [`Plan::new`], a pure function of the state, the intents and the time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use driftless_model::{
    event::Event,
    fleet::{Append, Decision, Fleet, Intent, Refusal},
    hash::ObjectHash,
    journal::Entry,
    name::ChannelName,
};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use rand::{Rng, rngs::StdRng};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{Clock, Coming, Outcome, Pending, Settings, State, checkpoint, follow, packer::Packer};
use crate::{
    bucket::{Bucket, Put},
    error::{Cause, Error},
};

/// No pause between tries is longer.
const MAX_BACKOFF: Duration = Duration::from_secs(2);
/// Snapshots of one entry that are stored at once: as many as an object store takes without complaint, since each
/// round of them is waited for by all whose pushes are in the entry.
const CONCURRENCY: usize = 128;

type Answer = Result<Outcome, Error>;

/// Who is told of what is coming.
type Listener = Box<dyn Fn(Coming) + Send>;

/// The writer and follower of one process. Somebody has to [`run`](Task::run) it.
pub struct Task {
    bucket: Bucket,
    settings: Settings,
    clock: Clock,
    rng: StdRng,
    states: watch::Sender<Arc<State>>,
    intents: mpsc::Receiver<Pending>,
    /// How often to look for entries of others.
    paces: watch::Receiver<Duration>,
    /// Checkpoints that are being written.
    checkpoints: JoinSet<()>,
    /// The newest checkpoint that was read or begun.
    checkpoint: u64,
    listener: Option<Listener>,
    packer: Packer,
}

/// The task's ends of what handles hold.
pub(super) struct Ends {
    pub(super) states: watch::Sender<Arc<State>>,
    pub(super) intents: mpsc::Receiver<Pending>,
    pub(super) paces: watch::Receiver<Duration>,
}

fn every(pace: Duration) -> Interval {
    let mut interval = tokio::time::interval(pace);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task")
            .field("tip", &self.states.borrow().tip)
            .finish_non_exhaustive()
    }
}

impl Task {
    pub(super) fn new(
        bucket: Bucket,
        settings: Settings,
        clock: Clock,
        rng: StdRng,
        ends: Ends,
        checkpoint: u64,
    ) -> Self {
        let Ends { states, intents, paces } = ends;
        Self {
            bucket,
            settings,
            clock,
            rng,
            states,
            intents,
            paces,
            checkpoints: JoinSet::new(),
            checkpoint,
            listener: None,
            packer: Packer::default(),
        }
    }

    /// Has `listener` told what channels are about to be at, while that waits for the bucket. It must not block.
    #[must_use]
    pub fn telling(mut self, listener: impl Fn(Coming) + Send + 'static) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// Writes and follows until `stop`; then carries out what is still waiting, and ends.
    ///
    /// # Errors
    /// [`Error::is_broken_journal`], when an entry appears that does not fit. Everything that waits is answered with
    /// the same, and nothing more may be written to the bucket.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        self.write_due_checkpoint();
        let mut result = self.serve(&stop).await;
        self.intents.close();
        let mut batch = Vec::new();
        while self.intents.recv_many(&mut batch, self.settings.max_batch).await > 0 {
            match &result {
                Ok(()) => result = self.commit(std::mem::take(&mut batch)).await,
                Err(error) => answer_all(std::mem::take(&mut batch), error),
            }
        }
        while self.checkpoints.join_next().await.is_some() {}
        result
    }

    async fn serve(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        let mut poll = every(*self.paces.borrow_and_update());
        let mut batch = Vec::new();
        let mut handles_left = true;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                taken = self.intents.recv_many(&mut batch, self.settings.max_batch), if handles_left => {
                    handles_left = taken > 0;
                    self.commit(std::mem::take(&mut batch)).await?;
                }
                _ = poll.tick() => match self.follow().await {
                    Err(error) if error.is_broken_journal() => return Err(error),
                    Err(error) => tracing::warn!(%error, "the journal could not be followed; the next poll tries again"),
                    Ok(_) => {}
                },
                Ok(()) = self.paces.changed() => poll = every(*self.paces.borrow_and_update()),
                Some(_) = self.checkpoints.join_next() => {}
            }
        }
    }

    /// Carries out a batch and answers all of it. Fails only where the task has to end.
    async fn commit(&mut self, batch: Vec<Pending>) -> Result<(), Error> {
        if batch.is_empty() {
            return Ok(());
        }
        let intents: Vec<&Intent> = batch.iter().map(|pending| &pending.intent).collect();
        match self.settle(&intents).await {
            Ok(answers) => {
                for (pending, answer) in batch.into_iter().zip(answers) {
                    // A caller that has gone away wants no answer.
                    let _gone = pending.answer.send(answer);
                }
                self.write_due_checkpoint();
                Ok(())
            }
            Err(error) => {
                answer_all(batch, &error);
                if error.is_broken_journal() {
                    return Err(error);
                }
                tracing::warn!(%error, "a batch of changes was not committed");
                Ok(())
            }
        }
    }

    /// Decides `intents` on the newest state, until an entry with their events is in the journal.
    async fn settle(&mut self, intents: &[&Intent]) -> Result<Vec<Answer>, Error> {
        loop {
            let state = Arc::clone(&self.states.borrow());
            let plan = Plan::new(&state, intents, (self.clock)());
            if plan.events.is_empty() {
                // Nothing to append, so no put shows whether the state was the newest.
                match self.follow().await? {
                    true => continue,
                    false => return Ok(plan.answers),
                }
            }
            let entry = Entry {
                seq: state.tip.next_seq(),
                prev: state.tip.hash,
                time: plan.time,
                writer: self.settings.writer.clone(),
                nonce: hex::encode(self.rng.random::<[u8; 16]>()),
                events: plan.events,
            };
            let bytes = Bytes::from(entry.encode());
            // Read before it is written: an entry that does not fit must never reach the journal.
            let mut tip = state.tip;
            let read = tip.follow(&bytes)?;
            debug_assert_eq!(read, entry);
            let next = State { tip, fleet: plan.fleet };
            debug_assert!(folds_to(&state, &bytes, &next), "deciding and folding differ");
            if let Some(tell) = &self.listener {
                coming(&state.fleet, &next.fleet, &plan.snapshots).for_each(tell);
            }
            let packed = plan.snapshots.iter();
            let packed = packed.map(|(hash, made)| (*hash, self.packer.pack(made.channel.as_ref(), &made.bytes)));
            let packed = packed.collect();
            self.put_snapshots(packed).await?;
            match self.append(entry.seq, &bytes).await? {
                None => {
                    self.states.send_replace(Arc::new(next));
                    return Ok(plan.answers);
                }
                Some(winner) => {
                    tracing::debug!(seq = entry.seq, "another writer was faster");
                    self.states
                        .send_replace(Arc::new(follow::newer_from(&self.bucket, &state, winner).await?));
                }
            }
        }
    }

    /// Puts entry `seq`. Returns `None` when it is in the journal, or the entry of the writer that was faster.
    ///
    /// An answer that was lost is made up for by reading: an entry with these very bytes, the nonce included,
    /// can only be this one, whichever try put it there.
    async fn append(&mut self, seq: u64, bytes: &Bytes) -> Result<Option<Bytes>, Error> {
        let mut attempt = 0;
        loop {
            let put = self.bucket.put_entry(seq, bytes.clone()).await;
            if matches!(put, Ok(Put::Created)) {
                return Ok(None);
            }
            let failure = match (self.bucket.entry(seq).await, put) {
                (Ok(Some(found)), _) => return Ok((found != *bytes).then_some(found)),
                // A write that the bucket refused for good did not happen, and will not later.
                (Ok(None), Err(error)) if error.is_unwritable() => return Err(error),
                (_, Err(error)) | (Err(error), Ok(_)) => error,
                (Ok(None), Ok(_)) => Error::MissingEntry {
                    seq,
                    later: "the bucket says that its name is taken".to_owned(),
                },
            };
            attempt += 1;
            if attempt >= self.settings.attempts {
                let source = Cause::of(&failure);
                return Err(Error::Unconfirmed { seq, source });
            }
            self.pause(attempt).await;
        }
    }

    /// Stores what the events name, before an entry names it.
    async fn put_snapshots(&mut self, packed: Vec<(ObjectHash, Bytes)>) -> Result<(), Error> {
        let mut attempt = 0;
        loop {
            // Collected, since the compiler cannot tell that a stream over the closure is `Send`.
            let puts: Vec<_> = packed
                .iter()
                .map(|(hash, zstd)| self.bucket.put_snapshot(*hash, zstd.clone()))
                .collect();
            let stored = stream::iter(puts)
                .buffer_unordered(CONCURRENCY)
                .try_for_each(|_| async { Ok(()) })
                .await;
            attempt += 1;
            match stored {
                Err(error) if error.is_retryable() && attempt < self.settings.attempts => self.pause(attempt).await,
                result => return result,
            }
        }
    }

    /// Folds what others have appended. Says whether that was anything.
    async fn follow(&mut self) -> Result<bool, Error> {
        let state = Arc::clone(&self.states.borrow());
        let newer = follow::newer(&self.bucket, &state).await?;
        Ok(newer.map(|newer| self.states.send_replace(Arc::new(newer))).is_some())
    }

    fn write_due_checkpoint(&mut self) {
        let state = Arc::clone(&self.states.borrow());
        let every = self.settings.checkpoint_every.max(1);
        // Whoever wrote an entry checks, so it is rare that two processes write the same one; harmless if they do.
        if state.tip.seq / every > self.checkpoint / every {
            self.checkpoint = state.tip.seq;
            self.checkpoints.spawn(checkpoint::write(self.bucket.clone(), state));
        }
    }

    /// Waits longer after each attempt, and never as long as another writer that failed at the same moment.
    async fn pause(&mut self, attempt: u32) {
        let longest = self
            .settings
            .backoff
            .saturating_mul(1 << attempt.min(16))
            .min(MAX_BACKOFF);
        let pause = longest.mul_f64(self.rng.random_range(0.5..1.0));
        tokio::time::sleep_until(Instant::now() + pause).await;
    }
}

fn answer_all(batch: Vec<Pending>, error: &Error) {
    for pending in batch {
        let _gone = pending.answer.send(Err(error.clone()));
    }
}

/// Is `next` what everybody else makes of the entry?
fn folds_to(state: &State, bytes: &[u8], next: &State) -> bool {
    let mut folded = state.clone();
    folded.take(bytes).is_ok() && folded == *next
}

/// A snapshot that is to be stored.
struct Made {
    /// Whose it is.
    channel: Option<ChannelName>,
    bytes: Bytes,
}

/// What one entry would say, and what would be answered once it is durable.
///
/// Refusals wait for it too: they may rest on an event earlier in the same entry.
struct Plan {
    time: Timestamp,
    events: Vec<Event>,
    snapshots: BTreeMap<ObjectHash, Made>,
    answers: Vec<Answer>,
    /// The state after the entry: to decide on the events one by one is to fold them.
    fleet: Fleet,
}

impl Plan {
    /// Decides `intents` in order, each on what the ones before make of `state`.
    fn new(state: &State, intents: &[&Intent], time: Timestamp) -> Self {
        let seq = state.tip.next_seq();
        let mut plan = Self {
            fleet: state.fleet.clone(),
            time,
            events: Vec::new(),
            snapshots: BTreeMap::new(),
            answers: Vec::new(),
        };
        for intent in intents {
            let answer = match plan.fleet.carry_out(intent, seq, time) {
                Ok(Decision::Append(append)) => {
                    let Append { event, snapshot } = *append;
                    let hash = snapshot.as_ref().map(|snapshot| snapshot.hash());
                    let made = snapshot.map(|snapshot| Made {
                        channel: event.channel().cloned(),
                        bytes: snapshot.into_bytes().into(),
                    });
                    plan.snapshots.extend(hash.zip(made));
                    plan.events.push(event.clone());
                    Ok(Outcome {
                        seq,
                        event: Some(event),
                        snapshot: hash,
                    })
                }
                Ok(Decision::Unchanged) => Ok(Outcome {
                    seq: if plan.events.is_empty() { state.tip.seq } else { seq },
                    event: None,
                    snapshot: None,
                }),
                Ok(Decision::Repeated { seq, snapshot }) => Ok(Outcome {
                    seq,
                    event: None,
                    snapshot: Some(snapshot),
                }),
                Err(refusal) => {
                    if matches!(refusal, Refusal::Invalid { .. }) {
                        // Half-applied: start over from what the events so far make.
                        plan.fleet = state.fleet.clone();
                        for event in &plan.events {
                            plan.fleet
                                .apply_event(event, seq, time)
                                .expect("it applied to the same state before");
                        }
                    }
                    Err(refusal.into())
                }
            };
            plan.answers.push(answer);
        }
        plan
    }
}

/// What channels of `before` will be at in `next`: one of the snapshots that are about to be stored.
fn coming(before: &Fleet, next: &Fleet, snapshots: &BTreeMap<ObjectHash, Made>) -> impl Iterator<Item = Coming> {
    next.channels.iter().filter_map(|(name, channel)| {
        let snapshot = channel.snapshot?;
        let made = snapshots.get(&snapshot)?;
        Some(Coming {
            channel: name.clone(),
            before: before.channels.get(name).and_then(|channel| channel.snapshot),
            snapshot,
            bytes: made.bytes.clone(),
        })
    })
}
