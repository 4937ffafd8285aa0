//! The task that owns all state and decides, event by event, what is done next.
//!
//! Three things come in: views from the handle, events from the watches, and results from workers. Each changes the
//! [`state`], and whatever that touches is considered anew by [`crate::plan`]; what is to be done goes to a worker at
//! once, at most [`Settings::in_flight`] at a time. Nothing here waits for a request, and nothing looks at all
//! objects because of one.
//!
//! - [`hooks`]: what runs once per version.
//! - [`ingest`]: a view becomes desired entries.
//! - [`claims`]: whose is what exists before its first apply?
//! - [`kinds`]: discovery and watches.
//! - [`order`]: waves, and what depends on what.
//! - [`parents`]: the ApplySets' parents and the records in them.
//! - [`drift`]: who changed what, and what is said about it.
//! - [`orders`]: what people ask for by hand, pauses above all.
//! - [`prune`]: what may be deleted, and how.
//! - [`work`]: applies and deletions, and what their failures mean.
//! - [`stuck`]: deletions that do not come to their end.
//! - [`slots`]: how many of these at once.
//! - [`server`]: is the API server there at all?
//! - [`report`]: what is told, and [`events`]: what is told in the cluster.

mod claims;
mod drift;
mod events;
mod failures;
mod hooks;
mod ingest;
mod kinds;
mod objection;
mod order;
mod orders;
mod parents;
mod prune;
mod report;
mod server;
mod slots;
mod state;
mod stuck;
mod work;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use driftless_model::{
    bundle::upkeep::Drift,
    manifest::ManifestId,
    name::ComponentName,
    status::Counters,
    view::{Collision, View},
};
use rand::{RngCore as _, SeedableRng as _, rngs::SmallRng};
use tokio::{
    sync::{mpsc, watch as channel},
    task::{JoinSet, yield_now},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Clock, Error, Metrics, Repair, Report, Settings,
    api::Api,
    change::Expected,
    live::Reader,
    parent::Parents,
    plan::{Applied, Cause, Step},
    watch,
};
pub(crate) use failures::{conflicts_text, hint_for};
pub(crate) use objection::objection;
pub(crate) use orders::Ordered;

use state::{ComponentKey, Entry, Gate, Issue, Key, KindKey, Recount, State};

/// Watch events that wait for the engine: few, because each holds a watch's memory.
const EVENTS: usize = 64;

/// What to look at when a time has come. Whoever sets a timer remembers the time; a timer that fires at another is
/// an old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Entry(Key),
    Kind(KindKey),
    Parent(ComponentKey),
    Record(ComponentKey),
    Waves(ComponentKey),
    Stuck(Key),
    Parents,
    Server,
    Slots,
    Orders,
    Report,
}

/// What a worker did.
enum Done {
    Applied(Box<work::Applied>),
    Pruned(work::Pruned),
    Found(Vec<(KindKey, crate::discovery::Found)>),
    ParentsRead(Result<Vec<crate::applyset::Parent>, crate::api::Failure>),
    ParentWritten(parents::Written),
    ParentDeleted(ComponentKey, Result<(), crate::api::Failure>),
    Surveyed(Vec<claims::Surveyed>),
    HookTaken(Key, String),
    Probed(Result<String, crate::api::Failure>),
    EventSent(Result<(), crate::api::Failure>),
}

/// See the module's page.
pub(crate) struct Engine {
    api: Api,
    settings: Settings,
    clock: Clock,
    rng: SmallRng,
    views: channel::Receiver<Option<Arc<View>>>,
    orders: channel::Receiver<Ordered>,
    obeyed: orders::Obeyed,
    reports: channel::Sender<Arc<Report>>,
    reader: Arc<Reader>,
    expected: Arc<Expected>,
    parents: Parents,
    state: State,
    /// What was applied before the start, until the first view takes it over; `None` until it was read.
    records: Option<BTreeMap<ComponentName, BTreeMap<ManifestId, Applied>>>,
    records_read: parents::Reading,
    round: u64,
    collisions: Vec<Collision>,
    /// Components of whose hooks, or of whose readiness, there is news.
    hooks_due: BTreeSet<ComponentKey>,
    workers: JoinSet<Done>,
    /// Objects that are being deleted, and when that takes too long.
    deleting: BTreeMap<Key, Instant>,
    /// Objects whose owner is to be asked for.
    unclaimed: BTreeMap<KindKey, Vec<Key>>,
    /// Applies and deletions under way, and how many may be.
    slots: slots::Slots<Key, KindKey>,
    /// Objects whose kind has enough that hang.
    parked: BTreeMap<KindKey, BTreeSet<Key>>,
    watches: JoinSet<()>,
    watched: BTreeMap<u64, KindKey>,
    next_watch: u64,
    events: (mpsc::Sender<watch::Event>, mpsc::Receiver<watch::Event>),
    timers: BTreeSet<(Instant, Timer)>,
    server: server::Server,
    counters: Counters,
    last_repair: Option<Repair>,
    telling: report::Telling,
    told: events::Events,
    metrics: Metrics,
}

impl Engine {
    pub(crate) fn new(
        api: Api,
        settings: Settings,
        clock: Clock,
        seed: u64,
        (views, orders): (channel::Receiver<Option<Arc<View>>>, channel::Receiver<Ordered>),
        reports: channel::Sender<Arc<Report>>,
    ) -> Self {
        let home = settings.namespace.clone();
        let manager = settings.field_manager.clone();
        Self {
            reader: Arc::new(Reader {
                manager: manager.clone(),
                home: home.clone(),
                clock,
                rules: Arc::default(),
            }),
            expected: Arc::default(),
            parents: Parents {
                api: api.clone(),
                namespace: home,
                manager,
            },
            slots: slots::Slots::new(settings.in_flight),
            parked: BTreeMap::new(),
            api,
            settings,
            clock,
            rng: SmallRng::seed_from_u64(seed),
            views,
            orders,
            obeyed: orders::Obeyed::default(),
            reports,
            state: State::default(),
            records: None,
            records_read: parents::Reading::default(),
            round: 0,
            collisions: Vec::new(),
            hooks_due: BTreeSet::new(),
            workers: JoinSet::new(),
            deleting: BTreeMap::new(),
            unclaimed: BTreeMap::new(),
            watches: JoinSet::new(),
            watched: BTreeMap::new(),
            next_watch: 0,
            events: mpsc::channel(EVENTS),
            timers: BTreeSet::new(),
            server: server::Server::default(),
            counters: Counters::default(),
            last_repair: None,
            telling: report::Telling::default(),
            told: events::Events::default(),
            metrics: Metrics::default(),
        }
    }

    /// Counts in `metrics` what is done.
    pub(crate) fn measure(&mut self, metrics: &Metrics) {
        self.api = self.api.measured(metrics);
        self.parents.api = self.api.clone();
        self.metrics = metrics.clone();
    }

    /// Runs until cancelled. Workers and watches are aborted when it returns.
    pub(crate) async fn run(mut self, token: CancellationToken) -> Result<(), Error> {
        self.views.mark_changed();
        self.probe();
        self.read_parents();
        loop {
            self.tend_hooks();
            if self.dispatch() {
                // What was begun is on its way before anything is told of it.
                yield_now().await;
            }
            self.tell(Instant::now());
            let wake = self.timers.first().map(|(at, _)| *at);
            tokio::select! {
                biased;
                () = token.cancelled() => return Ok(()),
                Some(done) = self.workers.join_next() => self.on_done(done.map_err(Error::Worker)?),
                Some(ended) = self.watches.join_next() => match ended {
                    Err(error) if error.is_panic() => return Err(Error::Worker(error)),
                    _ => {}
                },
                // Before the views: what is paused must not be applied in between.
                Ok(()) = self.orders.changed() => self.on_orders(),
                Ok(()) = self.views.changed() => self.on_view(),
                Some(event) = self.events.1.recv() => self.on_event(event),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => self.on_time(),
            }
        }
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::Applied(applied) => self.on_applied(*applied),
            Done::Pruned(pruned) => self.on_pruned(pruned),
            Done::Found(found) => self.on_found(found),
            Done::ParentsRead(parents) => self.on_parents_read(parents),
            Done::ParentWritten(written) => self.on_parent_written(written),
            Done::ParentDeleted(component, result) => self.on_parent_deleted(component, result),
            Done::Surveyed(surveyed) => surveyed.into_iter().for_each(|it| self.on_surveyed(it)),
            Done::HookTaken(key, whose) => self.on_hook_taken(key, &whose),
            Done::Probed(result) => self.on_probed(result),
            Done::EventSent(result) => self.on_event_sent(result),
        }
    }

    /// Takes in the newest view, as soon as it is known what was applied before.
    fn on_view(&mut self) {
        if self.records.is_none() {
            return;
        }
        let view = self.views.borrow_and_update().clone();
        if let Some(view) = view {
            self.take_in(&view);
        }
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        while let Some((at, timer)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, timer));
            match timer {
                Timer::Entry(key) => {
                    if let Some(entry) = self.state.entry_mut(key).filter(|entry| entry.retry == Some(at)) {
                        entry.retry = None;
                        self.consider(key);
                    }
                }
                Timer::Kind(key) => {
                    if self.state.kind(key).retry == Some(at) {
                        self.state.kind_mut(key).retry = None;
                        self.refresh_kinds();
                    }
                }
                Timer::Parent(key) => {
                    let component = self.state.component_mut(key);
                    if component.parent_retry == Some(at) {
                        component.parent_retry = None;
                        self.tend_parent(key);
                    }
                }
                Timer::Record(key) => self.tend_parent(key),
                Timer::Waves(key) => self.on_waves_due(key),
                Timer::Stuck(key) => self.on_stuck_due(key, at),
                Timer::Parents => self.read_parents(),
                Timer::Server => self.look(),
                Timer::Slots => self.on_slots_due(now),
                Timer::Orders => self.on_orders_time(at),
                Timer::Report => self.telling.woken(),
            }
        }
    }

    /// Counts an object anew and considers it and whatever its change may have set free.
    fn touch(&mut self, key: Key) {
        self.note_deleting(key);
        let recounts = self.state.settle(key);
        let set_free = self.state.note_leaving(key);
        self.consider(key);
        set_free.into_iter().for_each(|key| self.consider(key));
        self.hooks_due.extend(self.state.hook_owner(key));
        if !self.state.holds_back(key) {
            self.open(Gate::Entry(key));
        }
        if self.state.entry(key).is_none_or(Entry::is_ready) {
            self.open(Gate::After(key));
        }
        for recount in recounts {
            let Recount { component, prune, .. } = recount;
            self.on_recount(recount);
            if prune {
                for key in self.state.component(component).stale.clone() {
                    self.consider(key);
                }
            }
            self.tend_parent(component);
        }
        self.telling.changed();
    }

    /// Considers all who wait at a gate.
    fn open(&mut self, gate: Gate) {
        for key in self.state.open(gate) {
            self.consider(key);
        }
    }

    /// Decides what is to be done with an object and sees to it that it will be.
    fn consider(&mut self, key: Key) {
        let step = self.state.step(key);
        let now = Instant::now();
        let Some(entry) = self.state.entry_mut(key) else { return };
        if entry.busy {
            return;
        }
        match step {
            Step::Rest => {
                entry.retry = None;
                entry.failures = 0;
                entry.drifted = None;
                if entry.drift_mode() != Drift::Ignore {
                    entry.change = None;
                }
                if entry.issue.take().is_some() {
                    self.telling.changed();
                }
            }
            Step::Expect => {}
            Step::Leave => self.leave(key),
            Step::Await(gate) => {
                self.state.wait(key, gate);
                self.note_waiting(key, gate);
                if let Gate::Kind(kind) = gate {
                    self.explain_kind(key, kind);
                }
                if let Gate::Claim(kind) = gate {
                    self.ask_owner(key, kind);
                }
            }
            Step::Apply(_) if entry.objects_to_it() => self.object(key),
            Step::Apply(cause) => {
                if cause == Cause::Drifted {
                    entry.drifted.get_or_insert(now);
                    if entry.retry.is_none() && entry.not_before.is_some_and(|at| at > now) {
                        self.hold_off_repair(key);
                        return;
                    }
                }
                if entry.retry.is_none() {
                    self.state.enqueue(key);
                }
            }
            Step::Prune => {
                if entry.retry.is_none() {
                    self.state.enqueue(key);
                }
            }
        }
        self.state.forget_if_idle(key);
    }

    /// Says why an object is not applied.
    fn object(&mut self, key: Key) {
        let desired = self.state.entry(key).and_then(|entry| entry.desired.as_ref());
        let Some(objection) = desired.and_then(|desired| desired.objection.as_deref()).cloned() else {
            return;
        };
        self.set_issue(key, objection.reason, objection.message);
    }

    fn set_issue(&mut self, key: Key, reason: &'static str, message: String) {
        let now = (self.clock)();
        let Some(entry) = self.state.entry_mut(key) else { return };
        let since = entry
            .issue
            .as_ref()
            .filter(|issue| issue.reason == reason)
            .map_or(now, |issue| issue.since);
        let is_new = entry.issue.as_ref().is_none_or(|issue| issue.reason != reason);
        let told = if is_new { message.clone() } else { String::new() };
        entry.issue = Some(Box::new(Issue { reason, message, since }));
        let desired = entry.desired.as_ref().map(|desired| desired.component);
        let member = match &entry.live {
            state::Live::Present(present) => present.member,
            state::Live::Unknown | state::Live::Absent { .. } => None,
        };
        for component in [desired, member].into_iter().flatten() {
            let component = self.state.component_mut(component);
            component.dirty = true;
            component.unsure = true;
        }
        self.telling.changed();
        if is_new {
            self.announce_problem(key, reason, &told);
        }
        // What fails holds nothing back.
        self.open(Gate::Entry(key));
    }

    fn seed(&mut self) -> u64 {
        self.rng.next_u64()
    }
}
