//! What is told: a report is made when something changed, at most every [`crate::Settings::report_every`], and at
//! once when everything has just become as desired. Only components that changed are gone through.

use std::{collections::BTreeMap, sync::Arc};

use driftless_model::{
    manifest::ManifestId,
    status::{ComponentStatus, Health, MAX_PROBLEMS, Problem},
};
use tokio::time::Instant;

use super::{
    Engine, Timer, hooks, order, prune,
    state::{Component, ComponentKey, Entry, Issue, Live, Parent, State},
};
use crate::Report;

/// What was told, and whether there is more to tell.
#[derive(Default)]
pub(super) struct Telling {
    changed: bool,
    told: Option<Instant>,
    converged: bool,
    timer: bool,
}

impl Telling {
    /// There is something to tell.
    pub(super) fn changed(&mut self) {
        self.changed = true;
    }

    /// The timer has fired.
    pub(super) fn woken(&mut self) {
        self.timer = false;
    }
}

impl Engine {
    /// Tells what there is to tell, if it is time.
    pub(super) fn tell(&mut self, now: Instant) {
        if !self.telling.changed {
            return;
        }
        let converged = self.state.has_view && self.state.unsynced == 0 && self.state.stale == 0;
        // Even if it is never told: what comes next is news.
        self.telling.converged &= converged;
        let due = self
            .telling
            .told
            .map(|told| told + self.settings.report_every)
            .filter(|due| *due > now);
        let just_converged = converged && !self.telling.converged;
        if let Some(due) = due
            && !just_converged
        {
            if !self.telling.timer {
                self.telling.timer = true;
                self.timers.insert((due, Timer::Report));
            }
            return;
        }
        self.telling.converged = converged;
        self.telling.changed = false;
        self.telling.told = Some(now);
        let report = self.report();
        self.reports.send_if_modified(|current| {
            let differs = **current != report;
            if differs {
                *current = Arc::new(report);
            }
            differs
        });
    }

    fn report(&mut self) -> Report {
        let (mut components, mut versions) = (BTreeMap::new(), BTreeMap::new());
        for key in self.state.component_keys() {
            if self.state.component(key).dirty {
                let status = status(&self.state, key, self.state.component(key));
                let component = self.state.component_mut(key);
                component.status = status;
                component.dirty = false;
            }
            let component = self.state.component(key);
            if component.bundle.is_some() || component.parent != Parent::None || !component.stale.is_empty() {
                components.insert(component.name.clone(), component.status.clone());
            }
            versions.extend(component.version.map(|version| (component.name.clone(), version)));
        }
        let kinds = self
            .state
            .kind_keys()
            .into_iter()
            .filter_map(|key| self.state.kind(key).trouble.as_ref());
        let issues = self.server.down.iter().chain(&self.records_read.issue).chain(kinds);
        Report {
            components,
            versions,
            counters: self.counters,
            problems: issues.map(|issue| problem(None, issue)).collect(),
            kubernetes_version: self.server.version.clone(),
            events_lost: self.told.lost(),
            last_repair: self.last_repair.clone(),
        }
    }
}

fn status(state: &State, key: ComponentKey, component: &Component) -> ComponentStatus {
    let mut problems = Vec::new();
    problems.extend(component.paused.as_ref().map(|paused| Problem {
        // It keeps what is as desired from nothing.
        blocks: component.unsynced > 0 || !component.stale.is_empty(),
        ..problem(None, &paused.issue(component))
    }));
    problems.extend(component.issue.as_ref().map(|issue| problem(None, issue)));
    problems.extend(component.collisions.iter().map(|(id, (message, since))| Problem {
        object: Some(id.clone()),
        reason: "Collision".to_owned(),
        message: message.clone(),
        since: *since,
        blocks: true,
    }));
    problems.extend(component.held.iter().map(|(id, (message, since))| Problem {
        object: Some(id.clone()),
        reason: "Held".to_owned(),
        message: message.clone(),
        since: *since,
        blocks: true,
    }));
    problems.extend(order::problems(state, key, component));
    problems.extend(hooks::problems(state, key, component));
    problems.extend(prune::problems(state, key, component));
    let mut health = if component.bundle.is_some() {
        Health::Current
    } else {
        Health::Terminating
    };
    let mut unhealthy = Vec::new();
    for entry in component
        .keys
        .iter()
        .chain(&component.stale)
        .filter_map(|key| state.entry(*key))
    {
        health = health.max(entry.health());
        match &entry.issue {
            Some(issue) => problems.push(problem(Some(&entry.id), issue)),
            None => unhealthy.extend(health_problem(entry)),
        }
    }
    // What blocks is told before what is only ill.
    problems.append(&mut unhealthy);
    let more = problems.len().saturating_sub(MAX_PROBLEMS);
    problems.truncate(MAX_PROBLEMS);
    let desired = u32::try_from(component.keys.len()).unwrap_or(u32::MAX);
    ComponentStatus {
        bundle: component.bundle,
        desired,
        applied: desired.saturating_sub(component.unsynced),
        to_prune: u32::try_from(component.stale.len()).unwrap_or(u32::MAX),
        health,
        problems,
        more_problems: u32::try_from(more).unwrap_or(u32::MAX),
        prune_blocked: component.pruning.blocked.clone().map(Box::new),
        repairs: component.repairs.clone(),
    }
}

fn health_problem(entry: &Entry) -> Option<Problem> {
    let Live::Present(present) = &entry.live else {
        return None;
    };
    let message = present.message.as_ref().filter(|_| present.health != Health::Current)?;
    Some(Problem {
        object: Some((*entry.id).clone()),
        reason: "Unhealthy".to_owned(),
        message: format!("{}: {message}", present.health),
        since: present.since,
        blocks: false,
    })
}

pub(super) fn problem(id: Option<&ManifestId>, issue: &Issue) -> Problem {
    Problem {
        object: id.cloned(),
        reason: issue.reason.to_owned(),
        message: issue.message.clone(),
        since: issue.since,
        blocks: issue.blocks(),
    }
}
