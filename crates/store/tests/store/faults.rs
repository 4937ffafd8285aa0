//! A bucket in memory that fails on request: the fake that journals are tested against.
//!
//! Strict on purpose: a failed put may have happened, may not have, or may happen later.

use std::{
    fmt, io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::sync::Semaphore;

/// What becomes of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PutFault {
    /// It fails and nothing is stored.
    Before,
    /// It is stored, and the answer is lost.
    After,
    /// It fails, and is stored some time later.
    Late,
    /// The disk is full.
    Full,
}

/// The fake. Without plans it is a plain store in memory.
#[derive(Debug, Clone)]
pub(crate) struct Faulty {
    pub(crate) inner: Arc<InMemory>,
    plan: Arc<Mutex<Plan>>,
    /// Puts of journal entries take turns on its one permit, which a test takes to hold them back.
    pub(crate) gate: Arc<Semaphore>,
    /// Puts of journal entries that were asked for.
    pub(crate) entry_puts: Arc<AtomicUsize>,
    ignore_conditions: bool,
}

#[derive(Debug)]
enum Plan {
    /// These faults for the next puts of journal entries, one each.
    Script(Vec<PutFault>),
    /// Every put of an entry fails like this until told otherwise.
    Always(PutFault),
    /// Random faults and delays everywhere.
    Random(Box<StdRng>),
}

impl Faulty {
    fn new(plan: Plan) -> Self {
        Self {
            inner: Arc::default(),
            plan: Arc::new(Mutex::new(plan)),
            gate: Arc::new(Semaphore::new(1)),
            entry_puts: Arc::default(),
            ignore_conditions: false,
        }
    }

    /// Faults for the next puts of journal entries, in order.
    pub(crate) fn script(mut faults: Vec<PutFault>) -> Self {
        faults.reverse();
        Self::new(Plan::Script(faults))
    }

    pub(crate) fn always(fault: PutFault) -> Self {
        Self::new(Plan::Always(fault))
    }

    pub(crate) fn random(seed: u64) -> Self {
        Self::new(Plan::Random(Box::new(StdRng::seed_from_u64(seed))))
    }

    /// Overwrites where it should refuse.
    pub(crate) fn unconditional() -> Self {
        Self {
            ignore_conditions: true,
            ..Self::script(Vec::new())
        }
    }

    /// The same store, from now on without faults.
    pub(crate) fn heal(&self) {
        *self.plan.lock().unwrap() = Plan::Script(Vec::new());
    }

    /// The same files with faults of their own.
    pub(crate) fn sibling(&self, seed: u64) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            ..Self::random(seed)
        }
    }

    fn put_fault(&self, entry: bool) -> (Option<PutFault>, Duration) {
        match &mut *self.plan.lock().unwrap() {
            Plan::Script(faults) => (if entry { faults.pop() } else { None }, Duration::ZERO),
            Plan::Always(fault) => (entry.then_some(*fault), Duration::ZERO),
            Plan::Random(rng) => {
                let fault = match rng.random_range(0..10) {
                    0 => Some(PutFault::Before),
                    1 => Some(PutFault::After),
                    2 => Some(PutFault::Late),
                    _ => None,
                };
                (fault, Duration::from_millis(rng.random_range(0..200)))
            }
        }
    }

    fn read_fault(&self) -> (bool, Duration) {
        match &mut *self.plan.lock().unwrap() {
            Plan::Random(rng) => (rng.random_ratio(1, 10), Duration::from_millis(rng.random_range(0..100))),
            Plan::Script(_) | Plan::Always(_) => (false, Duration::ZERO),
        }
    }
}

fn lost() -> Error {
    Error::Generic {
        store: "Faulty",
        source: "the connection was lost".into(),
    }
}

fn full() -> Error {
    Error::Generic {
        store: "Faulty",
        source: Box::new(io::Error::from(io::ErrorKind::StorageFull)),
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        let entry = location.as_ref().starts_with("journal/");
        if entry {
            self.entry_puts.fetch_add(1, Ordering::Relaxed);
            let _open = self.gate.acquire().await.unwrap();
        }
        if self.ignore_conditions {
            options.mode = PutMode::Overwrite;
        }
        let (fault, delay) = self.put_fault(entry);
        tokio::time::sleep(delay).await;
        match fault {
            None => self.inner.put_opts(location, payload, options).await,
            Some(PutFault::Before) => Err(lost()),
            Some(PutFault::Full) => Err(full()),
            Some(PutFault::After) => {
                let _lost = self.inner.put_opts(location, payload, options).await;
                Err(lost())
            }
            Some(PutFault::Late) => {
                let (inner, location) = (Arc::clone(&self.inner), location.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(delay * 40).await;
                    let _nobody_waits = inner.put_opts(&location, payload, options).await;
                });
                Err(lost())
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (fails, delay) = self.read_fault();
        tokio::time::sleep(delay).await;
        if fails {
            return Err(lost());
        }
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
