//! Kubernetes Events: told one at a time beside all other work, and never waited for.

use std::{collections::VecDeque, sync::Arc};

use driftless_model::manifest::ManifestId;
use tokio::time::Instant;

use super::{
    Done, Engine,
    state::{ComponentKey, Key, Live, Serving},
};
use crate::{
    api::Failure,
    applyset,
    events::{Happening, Ration},
};

/// Events that wait to be sent; further ones are dropped.
const QUEUE: usize = 30;
/// Problems that are worth an Event. What only waits for something else is none.
const FAILURES: &[&str] = &[
    "ApplyFailed",
    "DriftRepeats",
    "Drifted",
    "FieldConflict",
    "InvalidAnnotation",
    "NotAllowed",
    "PruneFailed",
];

/// What is told, and what could not be.
#[derive(Default)]
pub(super) struct Events {
    ration: Ration,
    queue: VecDeque<(String, Vec<u8>)>,
    sending: bool,
    lost: u64,
}

impl Events {
    /// How many could not be created, or were too many.
    pub(super) fn lost(&self) -> u64 {
        self.lost + self.ration.dropped
    }
}

impl Engine {
    /// Tells what was done to an object.
    pub(super) fn announce(&mut self, key: Key, action: &'static str, reason: &'static str, note: String, warns: bool) {
        let Some(entry) = self.state.entry(key) else { return };
        let Serving::Served(resource) = &self.state.kind(entry.kind).serving else {
            return;
        };
        let uid = match &entry.live {
            Live::Present(present) => present.uid,
            Live::Unknown | Live::Absent { .. } => None,
        };
        let mut id = entry.id.clone();
        if resource.namespaced && id.namespace.is_none() {
            Arc::make_mut(&mut id).namespace = Some("default".to_owned());
        }
        self.tell_event(Happening {
            id,
            version: resource.version.clone(),
            uid,
            action,
            reason,
            note,
            warns,
        });
    }

    /// Tells a problem, if it is one that somebody has to look at.
    pub(super) fn announce_problem(&mut self, key: Key, reason: &'static str, message: &str) {
        if FAILURES.contains(&reason) {
            self.announce(key, "Apply", reason, message.to_owned(), true);
        }
    }

    /// Tells on a component's ApplySet that it is as desired, if anything was changed to get there.
    pub(super) fn announce_applied(&mut self, key: ComponentKey) {
        let component = self.state.component_mut(key);
        let Some(version) = component
            .version
            .filter(|_| component.unsynced == 0 && component.fresh > 0)
        else {
            return;
        };
        let fresh = std::mem::take(&mut component.fresh);
        let note = format!(
            "version {} is applied: {fresh} of {} objects changed",
            version.short(),
            component.keys.len()
        );
        let id = Arc::new(ManifestId {
            group: String::new(),
            kind: "ConfigMap".to_owned(),
            namespace: Some(self.settings.namespace.clone()),
            name: applyset::parent_name(&component.name),
        });
        self.tell_event(Happening {
            id,
            version: "v1".to_owned(),
            uid: None,
            action: "Apply",
            reason: "Applied",
            note,
            warns: false,
        });
    }

    fn tell_event(&mut self, happening: Happening) {
        let now = Instant::now();
        let Some(missed) = self.told.ration.admit(&happening.id, happening.reason, now) else {
            return;
        };
        if self.told.queue.len() == QUEUE {
            self.told.lost += 1;
            return;
        }
        let unique = self.seed();
        let body = happening.body(&self.settings.field_manager, (self.clock)(), unique, missed);
        self.told
            .queue
            .push_back((happening.path(), body.to_string().into_bytes()));
        self.send_event();
    }

    fn send_event(&mut self) {
        if self.told.sending {
            return;
        }
        let Some((path, body)) = self.told.queue.pop_front() else {
            return;
        };
        self.told.sending = true;
        let (api, manager) = (self.api.clone(), self.settings.field_manager.clone());
        self.workers
            .spawn(async move { Done::EventSent(api.create(&path, &manager, body).await.map(drop)) });
    }

    pub(super) fn on_event_sent(&mut self, result: Result<(), Failure>) {
        self.told.sending = false;
        if let Err(failure) = result {
            self.told.lost += 1;
            tracing::debug!("an Event could not be created: {}", failure.text());
        }
        self.send_event();
    }
}
