//! What people ask for by hand: pauses, another look at everything, consent to deletions.
//!
//! A paused component is a gate that all its objects wait at; watches go on, so that what has to be done is known when
//! the pause ends, and done at once. Whoever needs the consents finds those that hold in the state's orders.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use driftless_model::orders::{Orders, Pause};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::{
    Engine, Timer,
    state::{Component, ComponentKey, Gate, Issue, Serving},
};
use crate::Clock;

/// The clock is looked at that often while something is paused: it may be set.
const LOOK: Duration = Duration::from_secs(600);
/// A timer is a little early or late by the clock.
const LEAST_LOOK: Duration = Duration::from_millis(10);

/// What people ask for, and by which clock it ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ordered {
    pub(crate) orders: Arc<Orders>,
    /// What the clock of whoever takes orders showed, and when.
    pub(crate) shown: Option<(Timestamp, Instant)>,
}

impl Ordered {
    /// The time by the clock by which the orders end. A clock of this machine that is wrong, or set meanwhile, ends no
    /// pause early that others count on.
    fn now(&self, own: Clock) -> Timestamp {
        self.shown.map_or_else(own, |(time, at)| {
            let passed = SignedDuration::try_from(at.elapsed()).unwrap_or(SignedDuration::MAX);
            time.checked_add(passed).unwrap_or(Timestamp::MAX)
        })
    }
}

/// What is obeyed at the moment.
#[derive(Default)]
pub(super) struct Obeyed {
    /// When it is looked at again whether something has ended.
    due: Option<Instant>,
    /// How often another look at everything was asked for.
    reconcile: u64,
}

impl Engine {
    /// Takes in what people ask for, and looks at everything anew: orders change a few times a day.
    pub(super) fn on_orders(&mut self) {
        let ordered = self.orders.borrow_and_update().clone();
        let reconcile = ordered.orders.reconcile;
        let before = std::mem::replace(&mut self.obeyed.reconcile, reconcile);
        self.obey(&ordered);
        // What was asked for before the start is done: a start looks at everything.
        if self.state.has_view && reconcile > before {
            self.reconcile_all();
        }
    }

    /// A pause or a consent may have ended.
    pub(super) fn on_orders_time(&mut self, at: Instant) {
        if self.obeyed.due == Some(at) {
            let ordered = self.orders.borrow().clone();
            self.obey(&ordered);
        }
    }

    fn obey(&mut self, ordered: &Ordered) {
        let (orders, now) = (&ordered.orders, ordered.now(self.clock));
        self.state.orders = (orders.at(now), now);
        self.obeyed.due = orders.next_end(now).map(|end| {
            let wait = Duration::try_from(end.duration_since(now)).unwrap_or_default();
            Instant::now() + wait.clamp(LEAST_LOOK, LOOK)
        });
        self.timers.extend(self.obeyed.due.map(|due| (due, Timer::Orders)));
        for key in self.state.component_keys() {
            self.pause(key);
        }
        self.state.weigh_all();
        for key in self.state.keys() {
            self.touch(key);
        }
    }

    /// Pauses a component, or lets it go on, as the orders say.
    fn pause(&mut self, key: ComponentKey) {
        let mut paused = self.state.pause(&self.state.component(key).name);
        let component = self.state.component_mut(key);
        if let (Some(before), Some(paused)) = (&component.paused, &mut paused) {
            paused.since = before.since;
        }
        if !component.set_paused(paused) {
            return;
        }
        if component.paused.is_none() {
            self.open(Gate::Paused(key));
            let component = self.state.component(key);
            let keys: BTreeSet<_> = component.keys.iter().chain(&component.stale).copied().collect();
            for key in keys {
                self.touch(key);
            }
            self.tend_parent(key);
        }
        self.telling.changed();
    }

    /// Forgets all delays and failed hooks, and has every kind listed anew, so that each object is compared with what is
    /// there.
    fn reconcile_all(&mut self) {
        tracing::info!("looking at everything anew, as was asked for");
        for key in self.state.component_keys() {
            let component = self.state.component_mut(key);
            component.parent_retry = None;
            component.parent_failures = 0;
            self.run_again_what_failed(key);
        }
        for key in self.state.kind_keys() {
            let kind = self.state.kind_mut(key);
            kind.retry = None;
            kind.failures = 0;
            // What was seen stays known until the new list says otherwise.
            if let Serving::Served(resource) = &kind.serving
                && let Some((id, handle)) = kind.watch.take()
            {
                handle.abort();
                self.watched.remove(&id);
                let resource = Arc::clone(resource);
                self.start_watch(key, &resource);
            }
        }
        self.refresh_kinds();
        for key in self.state.keys() {
            if let Some(entry) = self.state.entry_mut(key) {
                entry.retry = None;
                entry.not_before = None;
                entry.repaired = None;
                entry.failures = 0;
            }
            self.touch(key);
        }
        for key in self.state.component_keys() {
            self.tend_parent(key);
        }
    }
}

/// A component that is paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paused {
    /// By whom, until when, why.
    pub(crate) pause: Pause,
    /// Since when it is known.
    pub(crate) since: Timestamp,
}

impl Paused {
    /// What is told of it.
    pub(crate) fn issue(&self, component: &Component) -> Issue {
        let Pause { until, reason, author } = &self.pause;
        let waiting = match component.unsynced as usize + component.stale.len() {
            0 => "everything is as desired; changes wait, and nothing is repaired meanwhile".to_owned(),
            1 => "1 object waits for it to end".to_owned(),
            many => format!("{many} objects wait for it to end"),
        };
        Issue {
            reason: "Paused",
            message: format!(
                "paused by {author} until {until}: {reason}; {waiting}; goes on by itself then, or with `driftless resume`"
            ),
            since: self.since,
        }
    }
}
