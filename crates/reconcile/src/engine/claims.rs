//! Whose are objects that exist before their first apply? Asked once for all new objects of a kind that are ready to
//! be applied, and again whenever one of them is tried again.

use std::{collections::BTreeMap, sync::Arc};

use driftless_model::{kinds, manifest::ManifestId};
use serde_json::Value;
use tokio::{sync::oneshot, task::JoinSet, time::Instant};

use super::{
    Done, Engine, hint_for,
    parents::seconds,
    state::{Claim, Gate, Issue, Key, KindKey, Serving},
};
use crate::{
    api::{Conflict, Failure, Resource},
    ownership::{self, Owner},
    survey,
};

/// So many objects are read one by one while lists of the others are under way. A list may take 100 ms where an object
/// takes two: the API server answers it once its cache of the kind is as new as etcd (KEP-2340), and where nothing of
/// the kind changes it learns that ten times a second.
const AHEAD: usize = 32;

/// Objects of a kind to look for.
struct Look {
    kind: KindKey,
    resource: Arc<Resource>,
    asked: Vec<(Key, ManifestId)>,
}

/// Which of two workers is heard first, whichever has done first.
#[derive(Default)]
struct Turn {
    /// Closed once this one is.
    _own: Option<oneshot::Sender<()>>,
    before: Option<oneshot::Receiver<()>>,
}

impl Turn {
    fn two() -> (Self, Self) {
        let (own, before) = oneshot::channel();
        let first = Self {
            _own: Some(own),
            before: None,
        };
        let second = Self {
            _own: None,
            before: Some(before),
        };
        (first, second)
    }

    async fn come(self) {
        if let Some(before) = self.before {
            // Nothing is ever sent.
            let _closed = before.await;
        }
    }
}

/// It is known what exists of some objects.
pub(super) struct Surveyed {
    kind: KindKey,
    asked: Vec<(Key, ManifestId)>,
    result: Result<BTreeMap<ManifestId, Value>, Failure>,
}

impl Engine {
    /// An object is ready but for its owner: that is asked for, unless it was just now.
    pub(super) fn ask_owner(&mut self, key: Key, kind: KindKey) {
        let Some(entry) = self.state.entry_mut(key) else { return };
        if entry.retry.is_none() && entry.claim != Claim::Asked {
            entry.claim = Claim::Asked;
            self.unclaimed.entry(kind).or_default().push(key);
        }
    }

    /// Asks for the owners of all that were found to be ready. Built-in kinds are asked for together, those first that
    /// are applied first, so that what is ready at once is applied in order; any other may be of an API that does not
    /// answer.
    pub(super) fn survey(&mut self) {
        let mut built_in = Vec::new();
        for (kind, keys) in std::mem::take(&mut self.unclaimed) {
            let Some(look) = self.look_at(kind, keys) else { continue };
            if kinds::scope(&look.resource.group, &look.resource.kind).is_some() {
                built_in.push(look);
            } else {
                self.start_survey(vec![look], survey::Way::Fewest, Turn::default());
            }
        }
        if built_in.is_empty() {
            return;
        }
        let ahead = self.take_ahead(&mut built_in);
        let (first, second) = Turn::two();
        self.start_survey(ahead, survey::Way::EachAlone, first);
        if !built_in.is_empty() {
            self.start_survey(built_in, survey::Way::Fewest, second);
        }
    }

    /// Takes the objects out of `looks` that are applied first.
    fn take_ahead(&self, looks: &mut Vec<Look>) -> Vec<Look> {
        let rank = |key: &Key| self.state.entry(*key).map_or(u8::MAX, |entry| entry.rank);
        looks.sort_by_key(|look| look.asked.first().map(|(key, _)| rank(key)));
        let mut room = AHEAD;
        let mut ahead = Vec::new();
        for look in looks.iter_mut() {
            let rest = look.asked.split_off(room.min(look.asked.len()));
            room -= look.asked.len();
            let asked = std::mem::replace(&mut look.asked, rest);
            if !asked.is_empty() {
                ahead.push(Look {
                    kind: look.kind,
                    resource: Arc::clone(&look.resource),
                    asked,
                });
            }
        }
        looks.retain(|look| !look.asked.is_empty());
        ahead
    }

    fn look_at(&mut self, kind: KindKey, keys: Vec<Key>) -> Option<Look> {
        let Serving::Served(resource) = &self.state.kind(kind).serving else {
            for key in keys {
                if let Some(entry) = self.state.entry_mut(key) {
                    entry.claim = Claim::Unasked;
                }
                self.consider(key);
            }
            return None;
        };
        let resource = resource.clone();
        let mut asked = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(entry) = self.state.entry_mut(key) else {
                continue;
            };
            if entry.retry.is_some() {
                // It failed after it was noted down, and will be again.
                entry.claim = Claim::Unasked;
            } else {
                asked.push((key, (*entry.id).clone()));
            }
        }
        if asked.is_empty() {
            return None;
        }
        Some(Look { kind, resource, asked })
    }

    fn start_survey(&mut self, looks: Vec<Look>, way: survey::Way, turn: Turn) {
        let api = self.api.clone();
        self.workers.spawn(async move {
            let mut tasks = JoinSet::new();
            for Look { kind, resource, asked } in looks {
                let api = api.clone();
                tasks.spawn(async move {
                    let ids = asked.iter().map(|(_, id)| id.clone()).collect();
                    let result = survey::look(&api, &resource, ids, way).await;
                    Surveyed { kind, asked, result }
                });
            }
            let surveyed = tasks.join_all().await;
            turn.come().await;
            Done::Surveyed(surveyed)
        });
    }

    pub(super) fn on_surveyed(&mut self, surveyed: Surveyed) {
        let Surveyed { kind, asked, result } = surveyed;
        if let Err(failure) = &result {
            self.on_survey_failed(kind, &asked, failure);
        }
        for (key, id) in asked {
            // It may have left, and its key may be another's.
            if self.state.entry(key).is_none_or(|entry| *entry.id != id) {
                continue;
            }
            if let Ok(found) = &result {
                self.on_owner(key, found.get(&id));
            }
            self.touch(key);
        }
        self.open(Gate::Claim(kind));
    }

    /// One request failed for all of them, and one is made for all of them again.
    fn on_survey_failed(&mut self, kind: KindKey, asked: &[(Key, ManifestId)], failure: &Failure) {
        self.counters.failed += 1;
        let of_kind = &self.state.kind(kind).name;
        tracing::warn!(kind = of_kind, objects = asked.len(), "{}", failure.text());
        self.heed(kind, failure, Instant::now());
        let mut failing = Vec::new();
        for (key, id) in asked {
            if let Some(entry) = self.state.entry_mut(*key).filter(|entry| *entry.id == *id) {
                entry.claim = Claim::Unasked;
                entry.failures += 1;
                failing.push((*key, entry.failures));
            }
        }
        let failures = failing.iter().map(|(_, failures)| *failures).min().unwrap_or(1);
        let delay = failure.delay(self.settings.backoff.delay(failures, &mut self.rng));
        let hint = failure.refusal().map_or_else(Default::default, hint_for);
        let message = format!("{}; {hint}tried again in {}", failure.text(), seconds(delay));
        for (key, _) in failing {
            if failure.doubts_server() {
                self.strand(key, "ApplyFailed", failure);
            } else {
                self.retry_in(key, delay);
                self.set_issue(key, "ApplyFailed", message.clone());
            }
        }
    }

    fn on_owner(&mut self, key: Key, found: Option<&Value>) {
        let Some(entry) = self.state.entry(key) else { return };
        let Some(desired) = &entry.desired else { return };
        let component = self.state.component(desired.component);
        let owner = found.map_or(Owner::Nobody, |object| {
            ownership::owner(object, &self.settings.namespace, &component.set)
        });
        let leave = found.is_some() && desired.leaves_existing();
        let adopts = component.spec.adopt;
        if leave {
            let component = desired.component;
            self.state.component_mut(component).unsure = true;
        }
        let Some(entry) = self.state.entry_mut(key) else { return };
        entry.claim = match owner {
            _ if leave => Claim::Left,
            Owner::Other(whose) if !adopts => {
                entry.claim = Claim::Unasked;
                return self.on_foreign(key, &whose);
            }
            Owner::Ours | Owner::Nobody | Owner::Other(_) => Claim::Free,
        };
    }

    pub(super) fn on_foreign(&mut self, key: Key, whose: &str) {
        let Some(entry) = self.state.entry_mut(key) else { return };
        entry.failures += 1;
        let delay = self.settings.backoff.delay(entry.failures, &mut self.rng);
        self.retry_in(key, delay);
        let message = format!(
            "it exists and belongs to {whose}: set `adopt: true` on the component to take it over, or remove it there; \
             looked at again in {}",
            seconds(delay)
        );
        self.set_issue(key, Issue::OWNED, message);
    }

    /// Takes over the fields of a former owner, where the component adopts. Says whether it does.
    pub(super) fn take_over(&mut self, key: Key, conflicts: &[Conflict]) -> bool {
        let Some(desired) = self.state.entry(key).and_then(|entry| entry.desired.as_ref()) else {
            return false;
        };
        let adopts = self.state.component(desired.component).spec.adopt;
        let former = conflicts.iter().all(|conflict| ownership::is_former(&conflict.manager));
        if adopts
            && former
            && let Some(entry) = self.state.entry_mut(key)
        {
            entry.claim = Claim::TakenOver;
            entry.failures = 0;
        }
        adopts && former
    }
}
