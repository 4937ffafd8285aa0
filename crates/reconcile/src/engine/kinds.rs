//! Discovery and watches: which kinds are needed, whether they are served, and what their watches tell.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use driftless_model::{bundle::HealthRule, name::ComponentName, status::Health};
use tokio::time::Instant;

use super::{
    Done, Engine, Timer,
    state::{Gate, Issue, Key, KindKey, Live, Parent, Serving},
};
use crate::{
    api::{Failure, Resource, no_sooner},
    backoff::Backoff,
    discovery::{self, Found, Wanted},
    live::{self, Seen},
    rights,
    watch::{Event, Note, Watch},
};

/// Between looks for a kind that somebody waits for. A CRD of ours brings the next look at once.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(100),
    most: Duration::from_secs(30),
};

/// A watch that fails less often in a row is nobody's concern: a kind that has just come refuses for a moment.
const TROUBLE: u32 = 3;

impl Engine {
    /// Starts asking for kinds that are needed and not known, starts watches of those that are served, and ends
    /// those that nothing needs any more.
    pub(super) fn refresh_kinds(&mut self) {
        self.mark_needed();
        let mut asks: BTreeMap<String, Vec<Wanted<KindKey>>> = BTreeMap::new();
        for key in self.state.kind_keys() {
            let kind = self.state.kind_mut(key);
            if !kind.needed {
                self.stop_watch(key);
                continue;
            }
            match &kind.serving {
                Serving::Missing | Serving::Broken(_) if kind.retry.is_none() => {
                    kind.serving = Serving::Asked;
                    let wanted = Wanted {
                        key,
                        kind: kind.name.clone(),
                        version: kind.version.clone(),
                    };
                    asks.entry(kind.group.clone()).or_default().push(wanted);
                }
                Serving::Served(resource) if kind.watch.is_none() => {
                    let resource = resource.clone();
                    self.start_watch(key, &resource);
                }
                _ => {}
            }
        }
        for (group, wanted) in asks {
            let api = self.api.clone();
            self.workers
                .spawn(async move { Done::Found(discovery::find(&api, &group, wanted).await) });
        }
    }

    fn mark_needed(&mut self) {
        for key in self.state.kind_keys() {
            self.state.kind_mut(key).needed = false;
        }
        for key in self.state.component_keys() {
            let component = self.state.component(key);
            let mut kinds = component.scope.kinds.clone();
            if let Parent::Ours(scope) = &component.parent {
                kinds.extend(scope.kinds.iter().cloned());
            }
            for (group, name) in kinds {
                let kind = self.state.kind_named(&group, &name);
                self.state.kind_mut(kind).needed = true;
            }
        }
    }

    pub(super) fn start_watch(&mut self, key: KindKey, resource: &Resource) {
        self.next_watch += 1;
        let watch = Watch {
            id: self.next_watch,
            api: self.api.clone(),
            resource: resource.clone(),
            reader: self.reader.clone(),
            expected: self.expected.clone(),
            events: self.events.0.clone(),
            recovered: self.server.recoveries(),
            seed: self.seed(),
        };
        self.watched.insert(self.next_watch, key);
        let handle = self.watches.spawn(watch.run());
        let kind = self.state.kind_mut(key);
        kind.watch = Some((self.next_watch, handle));
        kind.listed = false;
    }

    fn stop_watch(&mut self, key: KindKey) {
        let kind = self.state.kind_mut(key);
        kind.trouble = None;
        kind.listed = false;
        let Some((id, handle)) = kind.watch.take() else { return };
        handle.abort();
        self.watched.remove(&id);
        // Only objects that asked to be kept can be left; they are nobody's concern any more.
        self.lose_sight(key);
    }

    /// Takes in how a component tells health. Objects whose rule changed are looked at anew: only health is kept of them.
    pub(super) fn set_rules(&mut self, component: &ComponentName, rules: &[HealthRule]) {
        for (group, name) in self.reader.rules.set(component, rules) {
            let Some(key) = self.state.find_kind(&group, &name) else {
                continue;
            };
            let kind = self.state.kind_mut(key);
            kind.listed = false;
            if let Some((id, handle)) = kind.watch.take() {
                handle.abort();
                self.watched.remove(&id);
            }
        }
    }

    /// Nothing is known of a kind's objects any more, and nothing of them is there as far as we are concerned.
    fn lose_sight(&mut self, kind: KindKey) {
        for key in self.state.of_kind(kind) {
            if let Some(entry) = self.state.entry_mut(key) {
                entry.live = Live::Absent { revision: 0 };
                self.touch(key);
            }
        }
    }

    pub(super) fn on_found(&mut self, found: Vec<(KindKey, Found)>) {
        for (key, found) in found {
            match found {
                Found::Served(resource) => {
                    let kind = self.state.kind_mut(key);
                    kind.serving = Serving::Served(Arc::new(resource));
                    kind.failures = 0;
                    self.refresh_kinds();
                    self.open(Gate::Kind(key));
                }
                Found::Missing => self.on_not_served(key, Serving::Missing, None),
                Found::Broken(why, after) => self.on_not_served(key, Serving::Broken(why), after),
            }
        }
        self.state.weigh_all();
        for key in self.state.component_keys() {
            self.tend_parent(key);
        }
    }

    /// Remembers that a kind is not served, and looks again later.
    pub(super) fn on_not_served(&mut self, key: KindKey, serving: Serving, after: Option<Duration>) {
        let failures = self.state.kind(key).failures + 1;
        let delay = BACKOFF.delay(failures, &mut self.rng);
        let at = Instant::now() + no_sooner(delay, after);
        let kind = self.state.kind_mut(key);
        kind.serving = serving;
        kind.failures = failures;
        kind.retry = Some(at);
        self.timers.insert((at, Timer::Kind(key)));
        for entry in self.state.waiting_for(Gate::Kind(key)) {
            self.explain_kind(entry, key);
        }
    }

    /// Says that an object waits for its kind, once that is known.
    pub(super) fn explain_kind(&mut self, key: Key, kind: KindKey) {
        let Some(entry) = self.state.entry(key) else { return };
        let version = entry
            .desired
            .as_ref()
            .map_or_else(String::new, |it| it.manifest.api_version().to_owned());
        let name = format!("{} in {version}", entry.id.kind);
        let message = match &self.state.kind(kind).serving {
            Serving::Missing => format!(
                "the cluster does not serve {name}: install its CRD, or push it together with this object; it is applied \
                 as soon as it is served"
            ),
            Serving::Broken(why) => {
                format!("whether the cluster serves {name} cannot be told: {why}; asked again soon")
            }
            Serving::Asked | Serving::Served(_) => return,
        };
        if entry.issue.as_ref().is_none_or(|issue| issue.message != message) {
            self.set_issue(key, "KindNotServed", message);
        }
    }

    pub(super) fn on_event(&mut self, event: Event) {
        let Some(kind) = self.watched.get(&event.watch).copied() else {
            return;
        };
        match event.note {
            Note::Listing => self.state.kind_mut(kind).listing += 1,
            Note::Seen(seen) => self.on_seen(kind, *seen, event.at),
            Note::Gone(id, revision) => {
                if let Some(key) = self.state.find(&id) {
                    self.on_gone(key, revision, event.at);
                }
            }
            Note::Listed(revision) => self.on_listed(kind, revision, event.at),
            Note::Watching => self.clear_trouble(kind),
            Note::Unserved => {
                if let Some((id, _)) = self.state.kind_mut(kind).watch.take() {
                    self.watched.remove(&id);
                }
                let state = self.state.kind_mut(kind);
                state.listed = false;
                // The version that was watched may be gone for good: any other will do.
                state.version = None;
                self.on_not_served(kind, Serving::Missing, None);
                self.lose_sight(kind);
            }
            Note::Trouble(failure, times) => self.on_trouble(kind, &failure, times),
        }
    }

    fn on_seen(&mut self, kind: KindKey, mut seen: Seen, at: Instant) {
        let now = (self.clock)();
        let key = match self.state.find(&seen.id) {
            Some(key) => key,
            // A member that is not desired; what is no member is none of our business.
            None if seen.component.is_some() => self.state.insert(&seen.id, None),
            None => return,
        };
        let is_new_kind = seen.id.kind == "CustomResourceDefinition" && seen.health == Health::Current;
        let group = is_new_kind
            .then(|| seen.id.name.split_once('.').map(|(_, group)| group.to_owned()))
            .flatten();
        let listing = self.state.kind(kind).listing;
        let (owned, unexpected) = (seen.owned, seen.unexpected.take());
        if !self
            .state
            .note_seen(key, seen, &self.settings.namespace, Some(listing), now)
        {
            return;
        }
        if let Some(entry) = self.state.entry_mut(key)
            && !entry.busy
            && let Some(applied) = &mut entry.applied
            && applied.owned.is_none()
        {
            // The first sight of what was applied in another version than the one that is watched.
            applied.owned = owned;
            self.expected.set(&entry.id, owned);
            if let Some(component) = entry.desired.as_ref().map(|desired| desired.component) {
                self.record_later(component);
            }
        }
        self.note_drift(key, unexpected.as_deref(), at);
        self.touch(key);
        if let Some(group) = group {
            self.on_definition(&group);
        }
    }

    fn on_gone(&mut self, key: Key, revision: u64, at: Instant) {
        let member = self.state.entry(key).and_then(|entry| match &entry.live {
            Live::Present(present) => present.member,
            Live::Unknown | Live::Absent { .. } => None,
        });
        if !self.state.note_gone(key, revision) {
            return;
        }
        if let Some(entry) = self.state.entry_mut(key)
            && std::mem::take(&mut entry.pruning)
            && entry.desired.is_none()
        {
            self.counters.pruned += 1;
            if let Some(member) = member {
                self.metrics.pruned(&self.state.component(member).name);
            }
            let note = "it left the desired state and was deleted".to_owned();
            self.announce(key, "Prune", "Pruned", note, false);
        }
        self.note_drift(key, None, at);
        self.touch(key);
    }

    /// A list is complete: what it did not show, and is not younger than it, is not there.
    fn on_listed(&mut self, kind: KindKey, revision: u64, at: Instant) {
        let state = self.state.kind_mut(kind);
        state.listed = true;
        state.list_failed = false;
        let listing = state.listing;
        self.clear_trouble(kind);
        for key in self.state.of_kind(kind) {
            let Some(entry) = self.state.entry(key) else { continue };
            let gone = match &entry.live {
                Live::Unknown => true,
                Live::Absent { .. } => false,
                Live::Present(present) => present.listing != listing && live::is_news(present.revision, revision),
            };
            if gone {
                self.on_gone(key, revision, at);
            }
        }
        self.state.weigh_all();
        for key in self.state.component_keys() {
            self.tend_parent(key);
        }
    }

    /// A CRD is established: its kinds may be served now.
    fn on_definition(&mut self, group: &str) {
        let mut asked = false;
        for key in self.state.kind_keys() {
            let kind = self.state.kind_mut(key);
            if kind.group == group && matches!(kind.serving, Serving::Missing | Serving::Broken(_)) {
                kind.retry = None;
                kind.failures = 0;
                asked = true;
            }
        }
        if asked {
            self.refresh_kinds();
        }
    }

    fn on_trouble(&mut self, key: KindKey, failure: &Failure, times: u32) {
        self.counters.failed += 1;
        if !std::mem::replace(&mut self.state.kind_mut(key).list_failed, true) {
            self.state.weigh_all();
        }
        tracing::debug!(kind = self.state.kind(key).name, "watch: {}", failure.text());
        if failure.doubts_server() {
            self.probe();
        }
        if times < TROUBLE || self.server.down.is_some() {
            return;
        }
        let now = (self.clock)();
        let kind = self.state.kind_mut(key);
        let since = kind.trouble.as_ref().map_or(now, |issue| issue.since);
        let refused = failure.refusal().filter(|refusal| refusal.code == 403);
        let advice = refused.and_then(|refusal| rights::advice(&refusal.status.message));
        let message = format!(
            "{} in {} cannot be watched: {}; {}tried again soon",
            kind.name,
            group_of(&kind.group),
            failure.text(),
            advice.unwrap_or_default()
        );
        kind.trouble = Some(Issue {
            reason: "WatchFailed",
            message,
            since,
        });
        self.telling.changed();
    }

    fn clear_trouble(&mut self, key: KindKey) {
        if self.state.kind_mut(key).trouble.take().is_some() {
            self.telling.changed();
        }
    }
}

fn group_of(group: &str) -> &str {
    if group.is_empty() { "the core group" } else { group }
}
