//! Fan-out: turns every change of the fleet state into what the open streams have to be told.
//!
//! One task ([`Hub::run`]) follows the journal. For each channel it prepares the directive once, with the small
//! objects that are new, and puts it into a watch that all streams of the channel share; for each open stream it
//! compares the record of its cluster. Streams read the newest whenever they can: a slow one skips, none waits for
//! another.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use driftless_model::{
    fleet::{Channel, Cluster, Fleet},
    hash::ObjectHash,
    name::{ChannelName, ClusterName},
    snapshot::Components,
};
use driftless_proto::{to_hash, v1};
use driftless_store::journal::State;
use futures::{StreamExt, stream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::{metrics::Metrics, objects::Objects};

/// Objects go along with a directive while they have no more than this together, compressed.
const INLINE_BYTES: usize = 64 * 1024;
/// A directive waits this long for its objects; then it goes without, and agents ask for them.
const INLINE_WAIT: Duration = Duration::from_secs(2);
/// Channels that are prepared at once.
const CONCURRENCY: usize = 16;

/// A channel's directive, ready to be sent. The same for all its clusters.
#[derive(Debug)]
pub(crate) struct Orders {
    sequence: u64,
    components: Components,
    /// Its payloads are shared buffers: a clone copies none of them.
    directive: v1::Directive,
    objects: Vec<ObjectHash>,
}

impl Orders {
    /// The directive, without the objects that the receiver has.
    pub(crate) fn directive(&self, is_held: impl Fn(&ObjectHash) -> bool) -> v1::Directive {
        let objects = self
            .objects
            .iter()
            .zip(&self.directive.objects)
            .filter(|(hash, _)| !is_held(hash));
        v1::Directive {
            document: self.directive.document.clone(),
            objects: objects.map(|(_, object)| object.clone()).collect(),
        }
    }
}

/// The newest orders of a channel; `None` until they are prepared.
pub(crate) type OrdersWatch = watch::Receiver<Option<Arc<Orders>>>;

/// What the open streams have to be told. Written by [`Hub::run`] alone, save for the list of streams.
pub(crate) struct Hub {
    objects: Arc<Objects>,
    metrics: Arc<Metrics>,
    channels: Mutex<BTreeMap<ChannelName, watch::Sender<Option<Arc<Orders>>>>>,
    streams: Mutex<HashMap<ClusterName, Stream>>,
}

struct Stream {
    id: u64,
    record: watch::Sender<Cluster>,
    /// The way to ask its agent, if that answers.
    asks: Option<mpsc::Sender<Ask>>,
    /// Held by whoever waits for an answer.
    asking: Weak<()>,
}

/// A question to an agent.
pub(crate) struct Ask {
    pub(crate) probe: v1::Probe,
    pub(crate) answer: oneshot::Sender<v1::ProbeResult>,
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
        }
    }

    /// Follows the journal until `stop`.
    pub(crate) async fn run(&self, mut states: watch::Receiver<Arc<State>>, stop: CancellationToken) {
        loop {
            let state = Arc::clone(&states.borrow_and_update());
            self.metrics.journal_seq.set(state.tip.seq);
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
        self.update_records(fleet);
        let due: Vec<_> = {
            let channels = lock(&self.channels);
            let current = |name| channels.get(name).and_then(|orders| orders.borrow().clone());
            let all = fleet
                .channels
                .iter()
                .map(|(name, channel)| (name, &**channel, current(name)));
            all.filter(|(_, channel, before)| before.as_ref().is_none_or(|before| before.sequence != channel.sequence))
                .collect()
        };
        let prepare = |(name, channel, before): (&ChannelName, _, Option<Arc<Orders>>)| {
            let name = name.clone();
            async move {
                let orders = self.prepare(fleet, &name, channel, before.as_deref()).await;
                self.sender(&name, |sender| sender.send_replace(Some(Arc::new(orders))));
            }
        };
        let due: Vec<_> = due.into_iter().map(prepare).collect();
        stream::iter(due).buffer_unordered(CONCURRENCY).collect::<()>().await;
    }

    fn update_records(&self, fleet: &Fleet) {
        lock(&self.streams).retain(|name, stream| match fleet.clusters.get(name) {
            Some(record) => {
                stream.record.send_if_modified(|known| {
                    let is_new = known != record;
                    if is_new {
                        known.clone_from(record);
                    }
                    is_new
                });
                true
            }
            None => false,
        });
    }

    async fn prepare(&self, fleet: &Fleet, name: &ChannelName, channel: &Channel, before: Option<&Orders>) -> Orders {
        let directive = fleet.directive(name).expect("the channel was found in this very state");
        // After a start nothing is known to be new: agents have most of it, and ask for the rest.
        let is_new = |(component, bundle): &(&_, &ObjectHash)| {
            before.is_some_and(|before| before.components.get(*component) != Some(*bundle))
        };
        let bundles = channel.components.iter().filter(is_new).map(|(_, bundle)| *bundle);
        // Nobody listens: whoever comes later asks for what it lacks.
        let is_heard = self.sender(name, |sender| sender.receiver_count()) > 0;
        let wanted = channel.snapshot.into_iter().chain(bundles);
        let wanted: Vec<ObjectHash> = wanted.filter(|_| is_heard).collect();
        let objects = match tokio::time::timeout(INLINE_WAIT, self.small_objects(wanted)).await {
            Ok(objects) => objects,
            Err(_) => {
                tracing::warn!(channel = %name, "the bucket is slow: the directive goes without its objects");
                Vec::new()
            }
        };
        Orders {
            sequence: channel.sequence,
            components: channel.components.clone(),
            objects: objects.iter().map(|(hash, _)| *hash).collect(),
            directive: v1::Directive {
                document: directive.encode().into(),
                objects: objects.into_iter().map(|(_, object)| object).collect(),
            },
        }
    }

    /// As many of these objects as fit along with a directive.
    async fn small_objects(&self, hashes: Vec<ObjectHash>) -> Vec<(ObjectHash, v1::Object)> {
        let read = |hash: ObjectHash| async move { (hash, self.objects.compressed(&hash).await) };
        let reads: Vec<_> = hashes.into_iter().map(read).collect();
        let mut reads = stream::iter(reads).buffered(CONCURRENCY);
        let (mut fitting, mut room) = (Vec::new(), INLINE_BYTES);
        while let Some((hash, found)) = reads.next().await {
            match found {
                Ok(Some(zstd)) if zstd.len() <= room => {
                    room -= zstd.len();
                    fitting.push((
                        hash,
                        v1::Object {
                            hash: to_hash(&hash),
                            zstd,
                        },
                    ));
                }
                Ok(Some(_)) => {}
                Ok(None) => tracing::error!(%hash, "an object that the journal names is not in the bucket"),
                Err(error) => tracing::warn!(%hash, %error, "cannot read an object"),
            }
        }
        fitting
    }

    /// The orders of a channel, now and in future.
    pub(crate) fn orders(&self, channel: &ChannelName) -> OrdersWatch {
        self.sender(channel, |sender| sender.subscribe())
    }

    fn sender<T>(&self, channel: &ChannelName, act: impl FnOnce(&watch::Sender<Option<Arc<Orders>>>) -> T) -> T {
        act(lock(&self.channels)
            .entry(channel.clone())
            .or_insert_with(|| watch::channel(None).0))
    }

    /// Registers stream `id` of a cluster. An older one of the same cluster sees its record's watch close. `asks` is
    /// where questions to its agent go, if it answers any.
    pub(crate) fn open(
        &self,
        cluster: &ClusterName,
        id: u64,
        record: Cluster,
        asks: Option<mpsc::Sender<Ask>>,
    ) -> watch::Receiver<Cluster> {
        let (sender, receiver) = watch::channel(record);
        let stream = Stream {
            id,
            record: sender,
            asks,
            asking: Weak::new(),
        };
        let mut streams = lock(&self.streams);
        streams.insert(cluster.clone(), stream);
        self.count(&streams);
        receiver
    }

    /// Asks a cluster's agent. One question at a time: whoever waits for an answer has the agent for itself.
    pub(crate) fn ask(&self, cluster: &ClusterName, probe: v1::Probe) -> Result<Asked, Unasked> {
        let mut streams = lock(&self.streams);
        let stream = streams.get_mut(cluster).ok_or(Unasked::Away)?;
        let asks = stream.asks.as_ref().ok_or(Unasked::Silent)?;
        if stream.asking.strong_count() > 0 {
            return Err(Unasked::Busy);
        }
        let (sender, answer) = oneshot::channel();
        let ask = Ask { probe, answer: sender };
        asks.try_send(ask).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Unasked::Busy,
            mpsc::error::TrySendError::Closed(_) => Unasked::Away,
        })?;
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
