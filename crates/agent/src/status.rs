//! What the agent tells the server of its cluster: the reconciler's report and the agent's own problems as one
//! [`ClusterStatus`]. Pure but for [`Problems`], which several tasks write to.

use std::{collections::BTreeMap, time::Duration};

use driftless_model::{
    hash::ObjectHash,
    name::ComponentName,
    status::{ClusterStatus, Problem},
    view::View,
};
use driftless_reconcile::Report;
use tokio::sync::watch;

use crate::{accepted::Accepted, settings::Clock};

/// Version of this agent.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the agent as a whole suffers from, by the part that suffers. Written by each part, read by the stream.
#[derive(Clone)]
pub(crate) struct Problems {
    by_part: watch::Sender<BTreeMap<&'static str, Problem>>,
    clock: Clock,
}

impl Problems {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            by_part: watch::Sender::default(),
            clock,
        }
    }

    /// `part` suffers from this now. A problem that only goes on keeps its time.
    pub(crate) fn set(&self, part: &'static str, reason: &str, message: String, blocks: bool) {
        self.by_part.send_if_modified(|by_part| {
            let before = by_part.get(part);
            if before.is_some_and(|before| before.reason == reason && before.message == message) {
                return false;
            }
            let since = before
                .filter(|before| before.reason == reason)
                .map_or_else(|| (self.clock)(), |p| p.since);
            by_part.insert(
                part,
                Problem {
                    object: None,
                    reason: reason.to_owned(),
                    message,
                    since,
                    blocks,
                },
            );
            true
        });
    }

    /// `part` is well again.
    pub(crate) fn clear(&self, part: &'static str) {
        self.by_part.send_if_modified(|by_part| by_part.remove(part).is_some());
    }

    pub(crate) fn watch(&self) -> watch::Receiver<BTreeMap<&'static str, Problem>> {
        self.by_part.subscribe()
    }
}

/// What is being run, as far as a status says it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Running {
    /// Sequence of the accepted directive.
    pub(crate) sequence: u64,
    /// The snapshot asked for.
    pub(crate) snapshot: Option<ObjectHash>,
    /// The versions of its components.
    pub(crate) components: BTreeMap<ComponentName, ObjectHash>,
    /// Revision of the cluster's record that this follows from.
    pub(crate) revision: u64,
}

impl Running {
    pub(crate) fn new(accepted: &Accepted, view: &View) -> Self {
        Self {
            sequence: accepted.directive().sequence,
            snapshot: accepted.running,
            revision: accepted.revision,
            components: view
                .components
                .iter()
                .map(|(name, component)| (name.clone(), component.version))
                .collect(),
        }
    }

    /// Is this report about what is asked for now, and not still about what was asked for before?
    fn is_reported_by(&self, report: &Report) -> bool {
        report.versions == self.components
    }
}

/// Puts statuses together. Owned by the stream task.
#[derive(Debug, Default)]
pub(crate) struct Composer {
    /// The snapshot that the reconciler's report was last seen to be about.
    reported: Option<ObjectHash>,
    /// The revision of the record that it was seen to follow from.
    revision: Option<u64>,
}

impl Composer {
    /// The status now.
    ///
    /// # Guarantees
    /// A snapshot never appears with the components of the one before, which might look converged.
    pub(crate) fn compose<'a>(
        &mut self,
        running: &Running,
        report: &'a Report,
        problems: impl Iterator<Item = &'a Problem>,
    ) -> ClusterStatus {
        if running.is_reported_by(report) {
            self.reported = running.snapshot;
            self.revision = Some(running.revision);
        }
        ClusterStatus {
            sequence: running.sequence,
            snapshot: self.reported,
            components: report.components.clone(),
            counters: report.counters,
            problems: problems.chain(&report.problems).cloned().collect(),
            agent_version: VERSION.to_owned(),
            kubernetes_version: report.kubernetes_version.clone(),
            revision: self.revision,
        }
    }
}

/// How long to wait before `next` is sent, `since_last` after the last one. The news that the cluster has converged
/// does not wait.
pub(crate) fn hold_back(
    last: Option<&ClusterStatus>,
    next: &ClusterStatus,
    since_last: Duration,
    every: Duration,
) -> Duration {
    let converged = |status: &ClusterStatus| status.snapshot.filter(|snapshot| status.is_converged(snapshot));
    match last {
        None => Duration::ZERO,
        Some(last) if converged(next).is_some() && converged(last) != converged(next) => Duration::ZERO,
        Some(_) => every.saturating_sub(since_last),
    }
}

#[cfg(test)]
mod tests {
    use driftless_model::{
        manifest::ManifestId,
        status::{ComponentStatus, Repairs},
    };

    use super::*;

    fn running(snapshot: &[u8], bundle: &[u8]) -> Running {
        Running {
            sequence: 1,
            snapshot: Some(ObjectHash::of(snapshot)),
            components: [("shop".parse().unwrap(), ObjectHash::of(bundle))].into(),
            revision: 0,
        }
    }

    fn report(bundle: &[u8], applied: u32) -> Report {
        let status = ComponentStatus {
            bundle: Some(ObjectHash::of(bundle)),
            desired: 1,
            applied,
            ..ComponentStatus::default()
        };
        Report {
            components: [("shop".parse().unwrap(), status)].into(),
            versions: [("shop".parse().unwrap(), ObjectHash::of(bundle))].into(),
            ..Report::default()
        }
    }

    #[test]
    fn new_snapshot_is_not_reported_with_the_old_components() {
        let mut composer = Composer::default();
        let old = composer.compose(&running(b"s1", b"b1"), &report(b"b1", 1), [].iter());
        assert!(old.is_converged(&ObjectHash::of(b"s1")));
        let between = composer.compose(&running(b"s2", b"b2"), &report(b"b1", 1), [].iter());
        assert_eq!(between.snapshot, Some(ObjectHash::of(b"s1")));
        let new = composer.compose(&running(b"s2", b"b2"), &report(b"b2", 0), [].iter());
        assert_eq!(new.snapshot, Some(ObjectHash::of(b"s2")));
        assert!(!new.is_converged(&ObjectHash::of(b"s2")));
    }

    #[test]
    fn new_revision_of_the_record_is_not_reported_before_its_view_is_looked_at() {
        let mut composer = Composer::default();
        let told = |composer: &mut Composer, revision, wanted: &[u8], reported: &[u8]| {
            let running = Running {
                revision,
                ..running(b"s", wanted)
            };
            composer.compose(&running, &report(reported, 1), [].iter()).revision
        };
        assert_eq!(told(&mut composer, 0, b"v1", b"v1"), Some(0));
        assert_eq!(told(&mut composer, 7, b"v2", b"v1"), Some(0));
        assert_eq!(told(&mut composer, 7, b"v2", b"v2"), Some(7));
    }

    #[test]
    fn convergence_is_told_at_once_and_the_rest_five_times_a_second() {
        let mut composer = Composer::default();
        let before = composer.compose(&running(b"s", b"b"), &report(b"b", 0), [].iter());
        let after = composer.compose(&running(b"s", b"b"), &report(b"b", 1), [].iter());
        let (ms50, every) = (Duration::from_millis(50), Duration::from_millis(200));
        assert_eq!(hold_back(None, &before, Duration::ZERO, every), Duration::ZERO);
        assert_eq!(
            hold_back(Some(&before), &before, ms50, every),
            Duration::from_millis(150)
        );
        assert_eq!(hold_back(Some(&before), &after, ms50, every), Duration::ZERO);
        assert_eq!(hold_back(Some(&after), &after, ms50, every), Duration::from_millis(150));
        assert_eq!(
            hold_back(Some(&after), &before, Duration::from_secs(1), every),
            Duration::ZERO
        );
    }

    #[test]
    fn repairs_alone_are_told_no_sooner_than_anything_else() {
        let mut composer = Composer::default();
        let before = composer.compose(&running(b"s", b"b"), &report(b"b", 1), [].iter());
        let mut after = before.clone();
        let repairs = Repairs {
            count: 1,
            last: jiff::Timestamp::UNIX_EPOCH,
            object: ManifestId {
                group: String::new(),
                kind: "ConfigMap".to_owned(),
                namespace: Some("shop".to_owned()),
                name: "a".to_owned(),
            },
            manager: None,
        };
        for component in after.components.values_mut() {
            component.repairs = Some(Box::new(repairs.clone()));
        }
        let (ms50, every) = (Duration::from_millis(50), Duration::from_millis(200));
        let wait = hold_back(Some(&before), &after, ms50, every);
        assert_eq!(wait, Duration::from_millis(150));
    }

    #[test]
    fn problem_keeps_its_time_until_it_is_over() {
        thread_local!(static SECONDS: std::cell::Cell<i64> = const { std::cell::Cell::new(0) });
        let problems = Problems::new(|| jiff::Timestamp::from_second(SECONDS.get()).unwrap());
        let since = |problems: &Problems| problems.watch().borrow()["cache"].since.as_second();
        problems.set("cache", "CacheFailed", "a".to_owned(), false);
        SECONDS.set(60);
        problems.set("cache", "CacheFailed", "b".to_owned(), false);
        assert_eq!(since(&problems), 0);
        problems.clear("cache");
        problems.set("cache", "CacheFailed", "b".to_owned(), false);
        assert_eq!(since(&problems), 60);
    }
}
