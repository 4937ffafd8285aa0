//! What the tests share: a clock that only goes where it is told, intents, and journals whose task runs.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use driftless_model::{
    bundle::Bundle,
    fleet::{Expected, Intent},
    hash::ObjectHash,
    manifest::Manifest,
    snapshot::Provenance,
};
use driftless_store::{
    Bucket, Error, Journal,
    journal::{Clock, Outcome, Settings},
};
use jiff::Timestamp;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, path::Path};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A clock that starts at a fixed moment and goes on by a second whenever it is read.
pub(crate) fn clock() -> Clock {
    let start = "2026-01-02T03:04:05Z".parse::<Timestamp>().unwrap().as_second();
    let seconds = AtomicI64::new(start);
    Arc::new(move || Timestamp::from_second(seconds.fetch_add(1, Ordering::Relaxed)).unwrap())
}

pub(crate) fn create(channel: &str) -> Intent {
    Intent::CreateChannel {
        channel: channel.parse().unwrap(),
        author: "admin".to_owned(),
    }
}

pub(crate) fn publish(channel: &str, component: &str, bundle: ObjectHash) -> Intent {
    push(channel, component, bundle, None)
}

pub(crate) fn push(channel: &str, component: &str, bundle: ObjectHash, expected: Option<Expected>) -> Intent {
    Intent::Publish {
        channel: channel.parse().unwrap(),
        components: [(component.parse().unwrap(), Some(bundle))].into(),
        expected,
        provenance: Provenance {
            author: "admin".to_owned(),
            ..Provenance::default()
        },
        relied: Default::default(),
        epochs: Default::default(),
        nonce: None,
    }
}

/// The same push, known by `nonce` when it is repeated.
pub(crate) fn with_nonce(mut push: Intent, known_by: ObjectHash) -> Intent {
    if let Intent::Publish { nonce, .. } = &mut push {
        *nonce = Some(known_by);
    }
    push
}

/// A bundle with one ConfigMap called `name`.
pub(crate) fn bundle(component: &str, name: &str) -> Vec<u8> {
    let object = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    let manifest = Manifest::new(object, "default").unwrap();
    Bundle::new(component.parse().unwrap(), [manifest]).unwrap().encode()
}

/// A journal whose task runs until it is told to stop.
pub(crate) struct Running {
    pub(crate) journal: Journal,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    pub(crate) async fn open(bucket: &Bucket, settings: Settings, seed: u64) -> Result<Self, Error> {
        let (journal, task) = Journal::open(bucket.clone(), settings, clock(), seed).await?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(task.run(stop.clone()));
        Ok(Self { journal, stop, task })
    }

    pub(crate) async fn start(bucket: &Bucket) -> Self {
        Self::open(bucket, Settings::new("w1"), 1).await.unwrap()
    }

    pub(crate) async fn submit(&self, intent: Intent) -> Result<Outcome, Error> {
        self.journal.submit(intent).await
    }

    pub(crate) fn tip(&self) -> u64 {
        self.journal.state().borrow().tip.seq
    }

    pub(crate) async fn stop(self) -> Result<(), Error> {
        self.stop.cancel();
        self.task.await.unwrap()
    }

    /// Waits for the task to end by itself.
    pub(crate) async fn end(self) -> Result<(), Error> {
        self.task.await.unwrap()
    }
}

/// A journal with `entries` entries, each creating one channel (`c1`, `c2`, …), written and closed.
pub(crate) async fn written(bucket: &Bucket, entries: u64, checkpoint_every: u64) {
    let settings = Settings {
        checkpoint_every,
        ..Settings::new("w1")
    };
    let running = Running::open(bucket, settings, 1).await.unwrap();
    for seq in running.tip() + 1..=entries {
        assert_eq!(running.submit(create(&format!("c{seq}"))).await.unwrap().seq, seq);
    }
    running.stop().await.unwrap();
}

pub(crate) fn entry_path(seq: u64) -> Path {
    Path::from(format!("journal/{seq:020}"))
}

pub(crate) fn checkpoint_path(seq: u64) -> Path {
    Path::from(format!("checkpoints/{seq:020}"))
}

pub(crate) fn object_path(hash: &ObjectHash) -> Path {
    let hash = hash.to_string();
    Path::from(format!("objects/{}/{hash}", &hash[..2]))
}

pub(crate) async fn read(store: &impl ObjectStore, path: &Path) -> Vec<u8> {
    store.get(path).await.unwrap().bytes().await.unwrap().to_vec()
}

pub(crate) async fn overwrite(store: &impl ObjectStore, path: &Path, bytes: &[u8]) {
    store.put(path, PutPayload::from(bytes.to_vec())).await.unwrap();
}
