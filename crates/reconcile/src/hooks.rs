//! One go through the hooks of a component's version: what is done, what is next, what failed.
//!
//! Pure. The engine says what became of the hooks and asks which may run; the [`Run`] is kept in the ApplySet's parent,
//! so that no hook runs twice because an agent was restarted.

use std::collections::BTreeSet;

use driftless_model::{
    hash::ObjectHash,
    hook::{Hook, Phase},
    manifest::ManifestId,
};
use serde::{Deserialize, Serialize};

/// The annotation of a hook's live object that says for which run and phase it was made.
pub(crate) const RUN: &str = "driftless.dev/hook-run";

/// How far a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Its first hooks run; nothing else of it is applied.
    Before,
    /// Its objects are applied.
    Objects,
    /// They are as desired and healthy; its last hooks run.
    After,
    /// All is done.
    Over,
}

/// One go through the hooks of one version. Kept across restarts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Tells it from all others.
    pub(crate) id: u64,
    /// Of which version.
    pub(crate) version: ObjectHash,
    /// Was nothing of the component applied before?
    pub(crate) install: bool,
    pub(crate) stage: Stage,
    /// What has ended, well or not.
    #[serde(default)]
    done: BTreeSet<(Phase, ManifestId)>,
    /// What failed first.
    #[serde(default)]
    pub(crate) failed: Option<Failed>,
    /// Something of it was refused again and again, or did not get healthy in time.
    #[serde(default, alias = "late")]
    pub(crate) failing: bool,
}

/// A hook that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) phase: Phase,
    pub(crate) id: ManifestId,
    pub(crate) why: String,
}

impl Run {
    pub(crate) fn new(id: u64, version: ObjectHash, install: bool) -> Self {
        Self {
            id,
            version,
            install,
            stage: Stage::Before,
            done: BTreeSet::new(),
            failed: None,
            failing: false,
        }
    }

    /// The run of a version after the last run there was, if there was one.
    pub(crate) fn after(last: Option<&Self>, id: u64, version: ObjectHash, was_applied: bool) -> Self {
        last.map_or_else(
            || Self::new(id, version, !was_applied),
            |last| last.next_run(id, version),
        )
    }

    /// The run after this one. It installs if this one did and failed before anything was applied.
    pub(crate) fn next_run(&self, id: u64, version: ObjectHash) -> Self {
        Self::new(id, version, self.install && self.stage == Stage::Before)
    }

    /// What the live object of a hook is marked with.
    pub(crate) fn mark(&self, phase: Phase) -> String {
        format!("{:016x}-{phase:?}", self.id)
    }

    /// The phase whose hooks may run.
    fn phase(&self) -> Option<Phase> {
        if self.failed.is_some() {
            return Some(Phase::SyncFail);
        }
        match self.stage {
            Stage::Before => Some(Phase::PreSync),
            Stage::Objects => Some(Phase::Sync),
            Stage::After => Some(Phase::PostSync),
            Stage::Over => None,
        }
    }

    /// The hooks that run now: of those left in the phase the ones of the lowest weight. Those of a failure run beside
    /// them while it is not certain: what was refused may be taken yet.
    pub(crate) fn active<'a>(&self, hooks: &[(&'a ManifestId, &Hook)]) -> Vec<(Phase, &'a ManifestId)> {
        let mut active: Vec<_> = self.phase().into_iter().flat_map(|it| self.next(it, hooks)).collect();
        if self.failing && self.failed.is_none() && self.stage != Stage::Over {
            let mut beside = self.next(Phase::SyncFail, hooks);
            beside.retain(|(_, id)| active.iter().all(|(_, it)| it != id));
            active.extend(beside);
        }
        active
    }

    /// All hooks that are still to run, in their order; those of a failure come last, and only run if something fails.
    pub(crate) fn ahead<'a>(&self, hooks: &[(&'a ManifestId, &Hook)]) -> Vec<(Phase, &'a ManifestId)> {
        let phases = [Phase::PreSync, Phase::Sync, Phase::PostSync, Phase::SyncFail];
        let mut ahead = Vec::new();
        let comes = |phase: &Phase| *phase == Phase::SyncFail || self.failed.is_none();
        for phase in phases.into_iter().filter(comes).filter(|_| self.stage != Stage::Over) {
            let mut left: Vec<_> = hooks
                .iter()
                .filter(|(id, hook)| self.is_left(phase, id, hook))
                .collect();
            left.sort_by_key(|(id, hook)| (hook.weight, *id));
            ahead.extend(left.into_iter().map(|(id, _)| (phase, *id)));
        }
        ahead
    }

    /// Of the hooks left in a phase the ones of the lowest weight.
    fn next<'a>(&self, phase: Phase, hooks: &[(&'a ManifestId, &Hook)]) -> Vec<(Phase, &'a ManifestId)> {
        let left = || hooks.iter().filter(|(id, hook)| self.is_left(phase, id, hook));
        let first = left().map(|(_, hook)| hook.weight).min();
        left()
            .filter(|(_, hook)| Some(hook.weight) == first)
            .map(|(id, _)| (phase, *id))
            .collect()
    }

    fn is_left(&self, phase: Phase, id: &ManifestId, hook: &Hook) -> bool {
        hook.runs_in(phase, self.install) && !self.done.contains(&(phase, id.clone()))
    }

    /// Did the hook end in this run, in whatever phase?
    pub(crate) fn has_ended(&self, phase: Phase, id: &ManifestId) -> bool {
        self.done.contains(&(phase, id.clone()))
    }

    /// A hook ended; `failure` says why it failed, if it did.
    pub(crate) fn end(&mut self, phase: Phase, id: &ManifestId, failure: Option<String>) {
        self.done.insert((phase, id.clone()));
        if let Some(why) = failure
            && self.failed.is_none()
            && phase != Phase::SyncFail
        {
            self.failed = Some(Failed {
                phase,
                id: id.clone(),
                why,
            });
        }
    }

    /// Goes on as far as it can. `ready` says that all objects are as desired and healthy. Says whether it did.
    pub(crate) fn advance(&mut self, hooks: &[(&ManifestId, &Hook)], ready: bool) -> bool {
        let before = self.stage;
        let is_done = |run: &Self, phase| !hooks.iter().any(|(id, hook)| run.is_left(phase, id, hook));
        while self.failed.is_none() {
            self.stage = match self.stage {
                Stage::Before if is_done(self, Phase::PreSync) => Stage::Objects,
                Stage::Objects if ready && is_done(self, Phase::Sync) => Stage::After,
                Stage::After if is_done(self, Phase::PostSync) => Stage::Over,
                _ => break,
            };
        }
        self.stage != before
    }
}

#[cfg(test)]
mod tests {
    use driftless_model::hook;
    use serde_json::json;

    use super::*;

    fn id(name: &str) -> ManifestId {
        ManifestId {
            group: "batch".to_owned(),
            kind: "Job".to_owned(),
            namespace: Some("shop".to_owned()),
            name: name.to_owned(),
        }
    }

    fn hook(when: &str, weight: &str) -> Hook {
        let annotations = json!({"argocd.argoproj.io/hook": when, "argocd.argoproj.io/sync-wave": weight});
        hook::read(&json!({"metadata": {"annotations": annotations}}))
            .unwrap()
            .unwrap()
    }

    fn run() -> Run {
        Run::new(7, ObjectHash::of(b"1"), true)
    }

    #[test]
    fn hooks_run_by_phase_and_weight() {
        let ids = [id("a"), id("b"), id("c"), id("d")];
        let all = [
            hook("PreSync", "0"),
            hook("PreSync", "-1"),
            hook("Sync", "0"),
            hook("PostSync", "0"),
        ];
        let hooks: Vec<_> = ids.iter().zip(&all).collect();
        let mut run = run();
        assert_eq!(run.active(&hooks), [(Phase::PreSync, &ids[1])]);
        run.end(Phase::PreSync, &ids[1], None);
        assert!(!run.advance(&hooks, true));
        assert_eq!(run.active(&hooks), [(Phase::PreSync, &ids[0])]);
        run.end(Phase::PreSync, &ids[0], None);
        assert!(run.advance(&hooks, true));
        assert_eq!(
            (run.stage, run.active(&hooks)),
            (Stage::Objects, vec![(Phase::Sync, &ids[2])])
        );
        run.end(Phase::Sync, &ids[2], None);
        assert!(!run.advance(&hooks, false));
        assert!(run.advance(&hooks, true));
        run.end(Phase::PostSync, &ids[3], None);
        assert!(run.advance(&hooks, true));
        assert_eq!((run.stage, run.active(&hooks)), (Stage::Over, Vec::new()));
    }

    #[test]
    fn what_is_ahead_is_what_will_run_in_its_order() {
        let ids = [id("a"), id("b"), id("c"), id("d")];
        let all = [
            hook("PostSync", "0"),
            hook("PreSync,SyncFail", "0"),
            hook("PreSync", "-1"),
            hook("Skip", "0"),
        ];
        let hooks: Vec<_> = ids.iter().zip(&all).collect();
        let mut run = run();
        let all = [
            (Phase::PreSync, &ids[2]),
            (Phase::PreSync, &ids[1]),
            (Phase::PostSync, &ids[0]),
            (Phase::SyncFail, &ids[1]),
        ];
        assert_eq!(run.ahead(&hooks), all);
        run.end(Phase::PreSync, &ids[2], None);
        assert_eq!(run.ahead(&hooks), all[1..]);
        let mut failed = run.clone();
        failed.end(Phase::PreSync, &ids[1], Some("it crashed".to_owned()));
        assert_eq!(failed.ahead(&hooks), all[3..]);
        run.end(Phase::PreSync, &ids[1], None);
        run.end(Phase::PostSync, &ids[0], None);
        run.advance(&hooks, true);
        assert_eq!(run.ahead(&hooks), []);
    }

    #[test]
    fn failure_stops_the_run_and_starts_the_hooks_for_it() {
        let ids = [id("a"), id("b")];
        let all = [hook("PreSync", "0"), hook("SyncFail", "0")];
        let hooks: Vec<_> = ids.iter().zip(&all).collect();
        let mut run = run();
        run.end(Phase::PreSync, &ids[0], Some("it crashed".to_owned()));
        assert!(!run.advance(&hooks, true));
        assert_eq!(
            (run.stage, run.active(&hooks)),
            (Stage::Before, vec![(Phase::SyncFail, &ids[1])])
        );
        run.end(Phase::SyncFail, &ids[1], Some("it crashed too".to_owned()));
        assert_eq!(run.active(&hooks), []);
        assert_eq!(run.failed.unwrap().why, "it crashed");
    }

    #[test]
    fn hooks_of_a_failure_run_beside_the_others_while_it_is_not_certain() {
        let ids = [id("a"), id("b"), id("c")];
        let all = [hook("Sync", "0"), hook("SyncFail", "0"), hook("Sync,SyncFail", "0")];
        let hooks: Vec<_> = ids.iter().zip(&all).collect();
        let mut run = run();
        run.failing = true;
        run.advance(&hooks, false);
        let both = [
            (Phase::Sync, &ids[0]),
            (Phase::Sync, &ids[2]),
            (Phase::SyncFail, &ids[1]),
        ];
        assert_eq!(run.active(&hooks), both);
        run.end(Phase::SyncFail, &ids[1], None);
        run.end(Phase::Sync, &ids[0], None);
        run.end(Phase::Sync, &ids[2], None);
        assert_eq!(run.active(&hooks), [(Phase::SyncFail, &ids[2])]);
        assert!(run.advance(&hooks, true));
        assert_eq!((run.stage, run.active(&hooks)), (Stage::Over, Vec::new()));
    }

    #[test]
    fn what_failed_before_anything_was_applied_has_installed_nothing() {
        let mut run = run();
        assert!(run.next_run(8, run.version).install);
        run.advance(&[], false);
        assert_eq!(run.stage, Stage::Objects);
        assert!(!run.next_run(8, run.version).install);
    }

    #[test]
    fn run_reads_back() {
        let mut run = run();
        run.failing = true;
        run.end(Phase::PreSync, &id("a"), Some("x".to_owned()));
        let text = serde_json::to_string(&run).unwrap();
        assert_eq!(serde_json::from_str::<Run>(&text).unwrap(), run);
    }
}
