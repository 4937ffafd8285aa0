//! Drift: when it was seen, who changed what, what is said about it, and fights over fields.

use std::time::Duration;

use driftless_model::ignored as fields_of_others;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Engine, Timer,
    parents::seconds,
    state::{Issue, Key, Live},
};
use crate::{
    Repair,
    change::Change,
    ignored,
    plan::{Cause, Step},
};

/// Repairs this close together are of one fight, and after so many it is held off.
const FIGHT: Duration = Duration::from_secs(60);
const FIGHT_ROUNDS: u32 = 3;

impl Engine {
    /// Remembers when drift was seen, and who changed what. `live` is the whole object if a watch kept it.
    pub(super) fn note_drift(&mut self, key: Key, live: Option<&Value>, at: Instant) {
        let told = matches!(self.state.step(key), Step::Apply(Cause::Drifted) | Step::Leave);
        // Also where drift is ignored: the next version takes back what was taken.
        if !told && live.is_none() {
            return;
        }
        let change = self.read_change(key, live);
        if let Some(entry) = self.state.entry_mut(key) {
            if told {
                entry.drifted.get_or_insert(at);
            }
            entry.change = change.map(Box::new).or(entry.change.take());
        }
    }

    fn read_change(&self, key: Key, live: Option<&Value>) -> Option<Change> {
        let entry = self.state.entry(key)?;
        if let Live::Absent { .. } = entry.live {
            return Some(Change::Gone);
        }
        let desired = entry.desired.as_ref()?;
        let component = self.state.component(desired.component);
        let mut manifest = component.member(&desired.manifest).value();
        fields_of_others::read(&manifest)
            .iter()
            .for_each(|paths| ignored::strip(&mut manifest, paths));
        Some(Change::read(&manifest, live?, &self.settings.field_manager))
    }

    /// Says that an object is not what was applied, and stays so.
    pub(super) fn leave(&mut self, key: Key) {
        let Some(entry) = self.state.entry_mut(key) else { return };
        entry.retry = None;
        entry.failures = 0;
        let what = entry.change.as_ref().map_or_else(
            || "it is not what was applied any more".to_owned(),
            |change| change.to_string(),
        );
        let message =
            format!("{what}: left as it is, as its component asks by `drift: report`, until its manifest changes");
        let is_told = |issue: &Issue| issue.reason == Issue::DRIFTED && issue.message == message;
        if !entry.issue.as_deref().is_some_and(is_told) {
            tracing::info!(object = %entry.id, "drifted: {what}");
            self.set_issue(key, Issue::DRIFTED, message);
        }
    }

    /// An object was put back.
    pub(super) fn on_repaired(&mut self, key: Key, since: Option<Instant>, change: Option<Box<Change>>) {
        let Some(entry) = self.state.entry(key) else { return };
        let (id, change) = ((*entry.id).clone(), change.map(|change| *change));
        match &change {
            Some(change) => tracing::info!(object = %id, "repaired: {change}"),
            None => tracing::info!(object = %id, "repaired"),
        }
        self.note_repair(key);
        let note = change.as_ref().map_or_else(
            || "it was put back".to_owned(),
            |change| format!("{change}; it was put back"),
        );
        self.announce(key, "Repair", "DriftRepaired", note, false);
        if let Some(since) = since {
            let took = since.elapsed();
            self.last_repair = Some(Repair { id, took, change });
        }
    }

    /// Counts repairs in short succession: somebody may want the field otherwise, and go on wanting it.
    fn note_repair(&mut self, key: Key) {
        let now = Instant::now();
        let Some(entry) = self.state.entry_mut(key) else { return };
        let rounds = match entry.repaired {
            Some((at, rounds))
                if now.duration_since(at) < FIGHT || entry.not_before.is_some_and(|at| at + FIGHT > now) =>
            {
                rounds + 1
            }
            _ => 1,
        };
        entry.repaired = Some((now, rounds));
        entry.not_before = None;
        if rounds >= FIGHT_ROUNDS {
            let delay = self.settings.backoff.delay(rounds - FIGHT_ROUNDS + 1, &mut self.rng);
            entry.not_before = Some(now + delay);
        }
    }

    /// Puts off the repair of an object that is changed again and again.
    pub(super) fn hold_off_repair(&mut self, key: Key) {
        let Some(entry) = self.state.entry_mut(key) else { return };
        let Some(at) = entry.not_before else { return };
        entry.retry = Some(at);
        let rounds = entry.repaired.map_or(0, |(_, rounds)| rounds);
        let delay = seconds(at.saturating_duration_since(Instant::now()));
        self.timers.insert((at, Timer::Entry(key)));
        let message = format!(
            "{}, again and again: it was repaired {rounds} times in a row; {}; repaired again in {delay}",
            entry
                .change
                .as_ref()
                .map_or_else(|| "somebody changed it".to_owned(), |change| change.to_string()),
            way_out(entry.change.as_deref()),
        );
        self.set_issue(key, "DriftRepeats", message);
    }
}

/// What ends a fight.
fn way_out(change: Option<&Change>) -> &'static str {
    match change {
        Some(Change::Fields { scaled: true, .. }) => {
            "leave the number of replicas to whoever scales it: take it out of the manifest, or annotate that with \
             driftless.dev/ignore-fields: /spec/replicas"
        }
        Some(Change::Fields { manager: Some(_), .. }) => {
            "let only one of you set it: stop the other, take the field out of the manifest, or name it in the \
             manifest's annotation driftless.dev/ignore-fields"
        }
        Some(_) | None => "find out who and let only one of you decide",
    }
}
