//! The stopwatch's eye: watches on the API server that say when an object came, went or got new content.
//!
//! It costs the API server and this process some time, the same for all that is compared.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream::BoxStream};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, Resource,
    api::{ApiResource, DynamicObject, WatchEvent, WatchParams},
};
use tokio::{sync::mpsc, task::JoinSet};

use super::{stage::CONVERGE, workload::LABEL};

/// From the newest state that the API server has at hand, so that nothing is missed.
const FROM_NOW: &str = "0";

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Those that come.
    Added,
    /// Those that leave.
    Deleted,
}

/// When the first and the last object were seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// The first of them.
    pub first: Instant,
    /// The last.
    pub last: Instant,
}

/// Counts objects of some kinds that come to a namespace, or leave it.
pub struct Counter {
    /// Ends them when dropped.
    _watches: JoinSet<Result<()>>,
    seen: mpsc::UnboundedReceiver<Instant>,
}

impl Counter {
    /// Starts to watch. What is there already does not count as added only if the namespace is new.
    pub async fn start(client: &Client, namespace: &str, kinds: &[ApiResource], change: Change) -> Result<Self> {
        let (tell, seen) = mpsc::unbounded_channel();
        let mut watches = JoinSet::new();
        for kind in kinds {
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, kind);
            let watch = async move |version: String| Ok(api.watch_metadata(&params(), &version).await?.boxed());
            let events = watch(FROM_NOW.to_owned()).await?;
            let tell = tell.clone();
            watches.spawn(follow(events, watch, move |event| {
                let counts = match event {
                    WatchEvent::Added(_) => change == Change::Added,
                    WatchEvent::Deleted(_) => change == Change::Deleted,
                    _ => false,
                };
                if counts {
                    tell.send(Instant::now())?;
                }
                Ok(())
            }));
        }
        Ok(Self {
            _watches: watches,
            seen,
        })
    }

    /// Waits for so many.
    pub async fn all(mut self, count: usize) -> Result<Seen> {
        let mut times = Vec::with_capacity(count);
        let collect = async {
            while times.len() < count {
                times.push(self.seen.recv().await.context("a watch ended early")?);
            }
            anyhow::Ok(())
        };
        let collected = tokio::time::timeout(CONVERGE, collect).await;
        collected.with_context(|| format!("{count} objects, seen so far: {}", times.len()))??;
        // Several watches tell of them: the last told need not be the last seen.
        let (first, last) = times
            .iter()
            .min()
            .copied()
            .zip(times.iter().max().copied())
            .context("no objects")?;
        Ok(Seen { first, last })
    }
}

/// Sees the content of ConfigMaps.
pub struct Reader {
    _watch: JoinSet<Result<()>>,
    seen: mpsc::UnboundedReceiver<(String, String, Instant)>,
}

impl Reader {
    /// Starts to watch the ConfigMaps of a namespace.
    pub async fn start(client: &Client, namespace: &str) -> Result<Self> {
        let (tell, seen) = mpsc::unbounded_channel();
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let begin = async move |version: String| Ok(api.watch(&params(), &version).await?.boxed());
        let events = begin(FROM_NOW.to_owned()).await?;
        let mut watch = JoinSet::new();
        watch.spawn(follow(events, begin, move |event| {
            let now = Instant::now();
            if let WatchEvent::Added(map) | WatchEvent::Modified(map) = event {
                let name = map.metadata.name.unwrap_or_default();
                let value = map.data.unwrap_or_default().remove("value").unwrap_or_default();
                tell.send((name, value, now))?;
            }
            Ok(())
        }));
        Ok(Self { _watch: watch, seen })
    }

    /// Waits for the next content of any ConfigMap: its name, value, and when it was seen.
    pub async fn next(&mut self) -> Result<(String, String, Instant)> {
        let next = tokio::time::timeout(Duration::from_secs(60), self.seen.recv()).await;
        next.context("no ConfigMap changed any more")?
            .context("the watch ended early")
    }

    /// Waits until the ConfigMap `name` has `value`; says when that was seen.
    pub async fn value(&mut self, name: &str, value: &str) -> Result<Instant> {
        let find = async {
            loop {
                let (seen_name, seen_value, when) = self.seen.recv().await.context("the watch ended early")?;
                if seen_name == name && seen_value == value {
                    return Ok(when);
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(60), find).await;
        found.with_context(|| format!("{name} never got {value}"))?
    }
}

/// Tells of all events. An API server that is short of processors ends watches that it cannot serve: those are begun
/// again where they ended.
async fn follow<K: Resource>(
    mut events: Events<K>,
    watch: impl AsyncFn(String) -> Result<Events<K>>,
    tell: impl Fn(WatchEvent<K>) -> Result<()>,
) -> Result<()> {
    let mut version = FROM_NOW.to_owned();
    loop {
        match events.try_next().await {
            Ok(Some(WatchEvent::Error(status))) => bail!("a watch failed: {status:?}"),
            Ok(Some(event)) => {
                let newer = match &event {
                    WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object) => {
                        object.meta().resource_version.clone()
                    }
                    WatchEvent::Bookmark(bookmark) => Some(bookmark.metadata.resource_version.clone()),
                    WatchEvent::Error(_) => None,
                };
                version = newer.unwrap_or(version);
                tell(event)?;
            }
            ended => {
                if let Err(error) = ended {
                    eprintln!("a watch broke off: {error}");
                }
                events = watch(version.clone()).await?;
            }
        }
    }
}

type Events<K> = BoxStream<'static, kube::Result<WatchEvent<K>>>;

fn params() -> WatchParams {
    let (key, value) = LABEL;
    WatchParams::default().labels(&format!("{key}={value}"))
}
