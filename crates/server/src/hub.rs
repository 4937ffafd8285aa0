//! Fan-out: turns every change of the fleet state into what the open streams have to be told.
//!
//! One task ([`Hub::run`]) follows the journal. For each channel it prepares the directive once, framed for the wire and
//! with the small objects that are new, as deltas from what the directive before named, and puts it where
//! all streams of the channel find it; they are told so, and those whose cluster's record changed. Streams read the newest
//! whenever they can: a slow one skips, none waits for another.

mod line;
mod post;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use driftless_model::{
    fleet::{Channel, Cluster, Fleet},
    hash::ObjectHash,
    name::{ChannelName, ClusterName},
    shared::Shared,
    snapshot,
};
use driftless_proto::{to_hash, v1};
use driftless_store::journal::{Coming, State};
use futures::{StreamExt, stream};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    frame::Frame,
    metrics::Metrics,
    objects::{Objects, Packed},
};

pub(crate) use line::{Ask, Line, News};
use post::Post;
pub(crate) use post::Subscription;

/// Objects go along with a directive while they have no more than this together, compressed.
const INLINE_BYTES: usize = 64 * 1024;
/// A directive waits this long for its objects; then it goes without, and agents ask for them.
const INLINE_WAIT: Duration = Duration::from_secs(2);
/// Channels that are prepared at once.
const CONCURRENCY: usize = 16;

/// A channel's directive, ready to be sent. The same bytes for all its clusters.
#[derive(Debug)]
pub(crate) struct Orders {
    /// The channel as it is with them.
    channel: Shared<Channel>,
    /// What most agents run when this is sent.
    before: Option<ObjectHash>,
    alone: Frame,
    /// With what is new, mostly as deltas.
    along: Frame,
    /// Compressed bytes of that.
    object_bytes: u64,
}

/// What an agent has when it is sent a directive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holder<'a> {
    /// Older agents take no deltas.
    pub(crate) takes_deltas: bool,
    /// What it held at Hello; `None` once it was sent a directive, which it has taken or is about to.
    pub(crate) held: Option<&'a BTreeSet<ObjectHash>>,
}

impl Orders {
    /// The directive, with new objects if they are of use to the receiver; and their bytes.
    pub(crate) fn directive(&self, to: Holder<'_>) -> (Frame, u64) {
        let is_current = |held: &BTreeSet<ObjectHash>| self.channel.snapshot.is_some_and(|hash| held.contains(&hash));
        let is_one_behind = |held: &BTreeSet<ObjectHash>| self.before.is_some_and(|hash| held.contains(&hash));
        let is_of_use = to.held.is_none_or(|held| !is_current(held) && is_one_behind(held));
        if to.takes_deltas && is_of_use {
            (self.along.clone(), self.object_bytes)
        } else {
            (self.alone.clone(), 0)
        }
    }
}

/// The clusters of a fleet.
type Clusters = Shared<BTreeMap<ClusterName, Cluster>>;

/// What the open streams have to be told. Written by [`Hub::run`] alone, save for the list of streams.
pub(crate) struct Hub {
    objects: Arc<Objects>,
    metrics: Arc<Metrics>,
    channels: Mutex<BTreeMap<ChannelName, Arc<Post>>>,
    streams: Mutex<HashMap<ClusterName, Stream>>,
    /// Deltas that are being made before anybody asked for them.
    ahead: Mutex<JoinSet<()>>,
}

struct Stream {
    id: u64,
    line: Arc<Line>,
    /// Does its agent answer questions?
    answers: bool,
    /// Held by whoever waits for an answer.
    asking: Weak<()>,
}

/// Where an answer will come. Whoever drops it does not wait any more.
pub(crate) struct Asked {
    pub(crate) answer: oneshot::Receiver<v1::ProbeResult>,
    /// Keeps others from asking meanwhile.
    _turn: Arc<()>,
}

/// Why an agent cannot be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unasked {
    /// It has no stream to this server.
    Away,
    /// It is too old to answer.
    Silent,
    /// Somebody waits for its answer already.
    Busy,
}

impl Hub {
    pub(crate) fn new(objects: Arc<Objects>, metrics: Arc<Metrics>) -> Self {
        Self {
            objects,
            metrics,
            channels: Mutex::default(),
            streams: Mutex::default(),
            ahead: Mutex::default(),
        }
    }

    /// Begins to make the deltas of a push while it waits for the disk: new bundles of `channel`, each with the one that
    /// it takes the place of. Whoever needs one shares what is under way. Nothing depends on it.
    pub(crate) fn expect(&self, channel: &ChannelName, replaced: Vec<(ObjectHash, ObjectHash)>) {
        let mut ahead = lock(&self.ahead);
        while ahead.try_join_next().is_some() {}
        if replaced.is_empty() || ahead.len() >= CONCURRENCY || !self.is_heard(channel) {
            return;
        }
        let objects = Arc::clone(&self.objects);
        ahead.spawn(async move {
            for (bundle, base) in replaced {
                if let Err(error) = objects.packed(&bundle, Some(&base)).await {
                    tracing::debug!(%bundle, %error, "no delta was made ahead");
                }
            }
        });
    }

    /// As [`Hub::expect`], of the snapshot that the push will make.
    pub(crate) fn expect_snapshot(&self, coming: Coming) {
        let Coming {
            channel,
            before,
            snapshot,
            bytes,
        } = coming;
        if let Some(before) = before.filter(|_| self.is_heard(&channel)) {
            self.objects.know(snapshot, bytes);
            self.expect(&channel, vec![(snapshot, before)]);
        }
    }

    /// Does any stream follow the channel?
    fn is_heard(&self, channel: &ChannelName) -> bool {
        self.post(channel).is_heard()
    }

    /// Follows the journal until `stop`.
    pub(crate) async fn run(&self, mut states: watch::Receiver<Arc<State>>, stop: CancellationToken) {
        let mut known = None;
        loop {
            let state = Arc::clone(&states.borrow_and_update());
            self.metrics.journal_seq.set(state.tip.seq);
            // Most entries are pushes, and change no record.
            match &known {
                Some(known) if state.fleet.clusters.is_same(known) => {}
                _ => {
                    self.tell_of_records(known.as_ref(), &state.fleet.clusters);
                    known = Some(state.fleet.clusters.clone());
                }
            }
            self.update(&state.fleet).await;
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = states.changed() => if changed.is_err() {
                    return;
                }
            }
        }
    }

    async fn update(&self, fleet: &Fleet) {
        let due: Vec<_> = {
            let channels = lock(&self.channels);
            let current = |name| channels.get(name).and_then(|post| post.newest());
            let all = fleet
                .channels
                .iter()
                .map(|(name, channel)| (name, channel, current(name)));
            all.filter(|(_, channel, before)| {
                before
                    .as_ref()
                    .is_none_or(|before| before.channel.sequence != channel.sequence)
            })
            .collect()
        };
        let prepare = |(name, channel, before): (&ChannelName, _, Option<Arc<Orders>>)| {
            let name = name.clone();
            async move {
                let orders = self.prepare(fleet, &name, channel, before.as_deref()).await;
                self.post(&name).put(orders);
            }
        };
        let due: Vec<_> = due.into_iter().map(prepare).collect();
        stream::iter(due).buffer_unordered(CONCURRENCY).collect::<()>().await;
    }

    /// Tells the streams whose cluster's record is another than it was, as far as that is known.
    fn tell_of_records(&self, before: Option<&Clusters>, now: &Clusters) {
        lock(&self.streams).retain(|name, stream| match now.get(name) {
            Some(record) => {
                if before.and_then(|before| before.get(name)) != Some(record) {
                    stream.line.record_changed();
                }
                true
            }
            None => {
                stream.line.end();
                false
            }
        });
    }

    async fn prepare(
        &self,
        fleet: &Fleet,
        name: &ChannelName,
        channel: &Shared<Channel>,
        before: Option<&Orders>,
    ) -> Orders {
        let directive = fleet.directive(name).expect("the channel was found in this very state");
        // After a start nothing is known to be new: agents have most of it, and ask for the rest.
        let changes = before.map(|before| snapshot::changes(&before.channel.components, &channel.components));
        let changes = changes.into_iter().flatten();
        let bundles = changes.filter_map(|(_, change)| Some((change.after?, change.before)));
        // Nobody listens: whoever comes later asks for what it lacks.
        let is_heard = self.is_heard(name);
        let previous = before.and_then(|before| before.channel.snapshot);
        let snapshot = channel.snapshot.map(|snapshot| (snapshot, previous));
        // The snapshot first: it names the others.
        let wanted: Vec<_> = snapshot.into_iter().chain(bundles).filter(|_| is_heard).collect();
        let objects = match tokio::time::timeout(INLINE_WAIT, self.small_objects(wanted)).await {
            Ok(objects) => objects,
            Err(_) => {
                tracing::warn!(channel = %name, "the bucket is slow: the directive goes without its objects");
                Vec::new()
            }
        };
        let object_bytes = objects.iter().map(|object| object.zstd.len() as u64).sum();
        let document: Bytes = directive.encode().into();
        let framed = |objects| {
            let document = document.clone();
            Frame::new(v1::server_message::Message::Directive(v1::Directive {
                document,
                objects,
            }))
        };
        Orders {
            channel: channel.clone(),
            before: previous,
            alone: framed(Vec::new()),
            along: framed(objects),
            object_bytes,
        }
    }

    /// As many of these objects, each with its base, as fit along with a directive.
    async fn small_objects(&self, wanted: Vec<(ObjectHash, Option<ObjectHash>)>) -> Vec<v1::Object> {
        let read = |(hash, base): (ObjectHash, Option<ObjectHash>)| async move {
            (hash, self.objects.packed(&hash, base.as_ref()).await)
        };
        let reads: Vec<_> = wanted.into_iter().map(read).collect();
        let mut reads = stream::iter(reads).buffered(CONCURRENCY);
        let (mut fitting, mut room) = (Vec::new(), INLINE_BYTES);
        while let Some((hash, found)) = reads.next().await {
            match found {
                Ok(Some(Packed { zstd, base })) if zstd.len() <= room => {
                    room -= zstd.len();
                    fitting.push(v1::Object {
                        hash: to_hash(&hash),
                        zstd,
                        base: base.as_ref().map(to_hash).unwrap_or_default(),
                    });
                }
                Ok(Some(_)) => {}
                Ok(None) => tracing::error!(%hash, "an object that the journal names is not in the bucket"),
                Err(error) => tracing::warn!(%hash, %error, "cannot read an object"),
            }
        }
        fitting
    }

    /// The orders of a channel for stream `id`, whose `line` rings for newer ones.
    pub(crate) fn orders(&self, channel: &ChannelName, id: u64, line: &Arc<Line>) -> Subscription {
        self.post(channel).subscribe(id, Arc::clone(line))
    }

    fn post(&self, channel: &ChannelName) -> Arc<Post> {
        Arc::clone(lock(&self.channels).entry(channel.clone()).or_default())
    }

    /// Tells all streams that the server stops. One that is opened later has to see that for itself.
    pub(crate) fn stop(&self) {
        lock(&self.streams).values().for_each(|stream| stream.line.stop());
    }

    /// Registers stream `id` of a cluster, whose agent may answer questions. An older one of the same cluster is over.
    /// Whatever changed in the record before this is for the caller to see.
    pub(crate) fn open(&self, cluster: &ClusterName, id: u64, answers: bool) -> Arc<Line> {
        let line = Arc::new(Line::default());
        let stream = Stream {
            id,
            line: Arc::clone(&line),
            answers,
            asking: Weak::new(),
        };
        let mut streams = lock(&self.streams);
        if let Some(older) = streams.insert(cluster.clone(), stream) {
            older.line.end();
        }
        self.count(&streams);
        line
    }

    /// Asks a cluster's agent. One question at a time: whoever waits for an answer has the agent for itself.
    pub(crate) fn ask(&self, cluster: &ClusterName, probe: v1::Probe) -> Result<Asked, Unasked> {
        let mut streams = lock(&self.streams);
        let stream = streams.get_mut(cluster).ok_or(Unasked::Away)?;
        if !stream.answers {
            return Err(Unasked::Silent);
        }
        if stream.asking.strong_count() > 0 {
            return Err(Unasked::Busy);
        }
        let (sender, answer) = oneshot::channel();
        let ask = Box::new(Ask { probe, answer: sender });
        stream.line.ask(ask).map_err(|_| Unasked::Busy)?;
        let turn = Arc::new(());
        stream.asking = Arc::downgrade(&turn);
        Ok(Asked { answer, _turn: turn })
    }

    /// Takes stream `id` off the list, unless a newer one has done that.
    pub(crate) fn close(&self, cluster: &ClusterName, id: u64) {
        let mut streams = lock(&self.streams);
        if streams.get(cluster).is_some_and(|stream| stream.id == id) {
            streams.remove(cluster);
        }
        self.count(&streams);
    }

    fn count(&self, streams: &HashMap<ClusterName, Stream>) {
        self.metrics
            .agents
            .set(i64::try_from(streams.len()).unwrap_or(i64::MAX));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
