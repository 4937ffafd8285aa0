//! One component: its desired objects, its ApplySet's parent, and the counts that say how far it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use driftless_model::{
    bundle::Spec,
    hash::ObjectHash,
    manifest::{Manifest, ManifestId, Manifests},
    name::ComponentName,
    status::{ComponentStatus, Repairs},
};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{ComponentKey, Hooks, Issue, Key, Pruning, Waves};
use crate::{
    applyset::{self, Member, Scope},
    engine::orders::Paused,
    hooks::{Run, Stage},
    record::Notes,
};

/// The ApplySet parent of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parent {
    None,
    Ours(Scope),
}

/// One component.
pub(crate) struct Component {
    pub(crate) name: ComponentName,
    pub(crate) set: Arc<str>,
    /// Its bundle, if it is desired.
    pub(crate) bundle: Option<ObjectHash>,
    /// What that becomes here, see [`driftless_model::view::ComponentView::version`].
    pub(crate) version: Option<ObjectHash>,
    /// How it is to be run; what it was when it was desired, afterwards.
    pub(crate) spec: Arc<Spec>,
    /// Its desired objects.
    pub(crate) keys: Vec<Key>,
    /// The manifests that they were made of last.
    pub(crate) manifests: Manifests,
    /// May there be one among them that a new version has looked at anew, whatever its manifest? See
    /// [`super::Entry::is_unsure`].
    pub(crate) unsure: bool,
    /// Where they are.
    pub(crate) scope: Scope,
    pub(crate) parent: Parent,
    pub(crate) parent_busy: bool,
    pub(crate) parent_retry: Option<Instant>,
    pub(crate) parent_failures: u32,
    /// When the record is to be written, if what was applied changed.
    pub(crate) record_due: Option<Instant>,
    pub(crate) record_written: Option<Instant>,
    pub(crate) issue: Option<Issue>,
    /// While people want nothing of it changed.
    pub(crate) paused: Option<Box<Paused>>,
    pub(crate) collisions: BTreeMap<ManifestId, (String, Timestamp)>,
    /// Objects that cannot be worked out, and why.
    pub(crate) held: BTreeMap<ManifestId, (String, Timestamp)>,
    /// How many desired objects are not as desired.
    pub(crate) unsynced: u32,
    /// Members that are not desired any more, and how many of them are neither namespaces nor CRDs.
    pub(crate) stale: BTreeSet<Key>,
    pub(crate) plain_stale: u32,
    /// The same, by wave.
    pub(crate) stale_waves: BTreeMap<i32, u32>,
    pub(crate) pruning: Pruning,
    /// Kinds of its objects that depend on others, see [`Notes::dependents`].
    pub(crate) dependents: BTreeSet<(String, String)>,
    /// All that a person was asked about last, to be recorded: consent is to these, of which some may be gone by the time
    /// that an agent which restarted sees it.
    pub(crate) asked: Vec<ManifestId>,
    /// The same, as it was recorded before the start.
    pub(crate) recalled: Vec<ManifestId>,
    /// Components that have to be ready before anything new is made of this one.
    pub(crate) needs: Vec<ComponentKey>,
    pub(crate) waves: Waves,
    pub(crate) hooks: Option<Box<Hooks>>,
    /// The run that was recorded before the start, until the first view takes it over.
    pub(crate) last_run: Option<Run>,
    /// Was anything of it recorded before the start?
    pub(crate) recorded: bool,
    /// Manifests that are hooks, or never run.
    pub(crate) aside: usize,
    /// What was put back of it.
    pub(crate) repairs: Option<Box<Repairs>>,
    /// Objects that were changed since it was told that it is applied.
    pub(crate) fresh: u32,
    /// Live objects that carry its labels.
    pub(crate) members: u32,
    /// Its status changed since it was reported.
    pub(crate) dirty: bool,
    pub(crate) status: ComponentStatus,
}

impl Component {
    pub(crate) fn new(name: ComponentName, home: &str) -> Self {
        Self {
            set: applyset::id(&name, home).into(),
            name,
            bundle: None,
            version: None,
            spec: Arc::default(),
            keys: Vec::new(),
            manifests: Manifests::default(),
            unsure: false,
            scope: Scope::default(),
            parent: Parent::None,
            parent_busy: false,
            parent_retry: None,
            parent_failures: 0,
            record_due: None,
            record_written: None,
            issue: None,
            paused: None,
            collisions: BTreeMap::new(),
            held: BTreeMap::new(),
            unsynced: 0,
            stale: BTreeSet::new(),
            plain_stale: 0,
            stale_waves: BTreeMap::new(),
            pruning: Pruning::default(),
            dependents: BTreeSet::new(),
            asked: Vec::new(),
            recalled: Vec::new(),
            needs: Vec::new(),
            waves: Waves::default(),
            hooks: None,
            last_run: None,
            recorded: false,
            aside: 0,
            repairs: None,
            fresh: 0,
            members: 0,
            dirty: true,
            status: ComponentStatus::default(),
        }
    }

    /// An object of the component, as it is applied.
    pub(crate) fn member(&self, manifest: &Manifest) -> Member {
        Member {
            manifest: manifest.clone(),
            component: self.name.clone(),
            set: Arc::clone(&self.set),
        }
    }

    /// What is recorded of it besides its objects.
    pub(crate) fn notes(&self) -> Notes {
        let asked = if self.stale.is_empty() { &[] } else { &*self.asked };
        Notes {
            run: self.hooks.as_ref().map(|hooks| hooks.run.clone()),
            account: self.spec.service_account.clone(),
            prune: self.spec.prune.clone(),
            dependents: self.dependents.clone(),
            asked: asked.to_vec(),
        }
    }

    /// Takes over what was recorded before the start. What is desired says more, if it still is.
    pub(crate) fn recall(&mut self, notes: Notes) {
        let Notes {
            run,
            account,
            prune,
            dependents,
            asked,
        } = notes;
        self.last_run = run;
        self.spec = Arc::new(Spec {
            service_account: account,
            prune,
            ..Spec::default()
        });
        self.dependents = dependents;
        self.recalled = asked.clone();
        self.asked = asked;
    }

    /// Pauses it, or lets it go on, and says so; `false` if that is how it was.
    pub(crate) fn set_paused(&mut self, paused: Option<Box<Paused>>) -> bool {
        if self.paused == paused {
            return false;
        }
        tracing::info!(
            component = %self.name,
            until = paused.as_ref().map(|paused| tracing::field::display(paused.pause.until)),
            "{}",
            if paused.is_some() { "paused" } else { "going on after a pause" }
        );
        self.paused = paused;
        self.dirty = true;
        true
    }

    /// An object of it was put back.
    pub(crate) fn count_repair(&mut self, object: &ManifestId, manager: Option<&str>, now: Timestamp) {
        self.repairs = Some(Box::new(Repairs {
            count: self.repairs.as_ref().map_or(0, |repairs| repairs.count) + 1,
            last: now,
            object: object.clone(),
            manager: manager.map(str::to_owned),
        }));
    }

    /// May what left it go: plain objects from which wave on, and then namespaces and CRDs? Nothing, while it is not
    /// known what of it should be there, or while that is not well: the old may have to stand in for the new.
    pub(crate) fn may_prune(&self) -> (Option<i32>, bool) {
        let settled = self.unsynced == 0 && self.held.is_empty() && self.waves.is_ready() && self.paused.is_none();
        let last = self.last_stale_wave().unwrap_or_default();
        (settled.then_some(last), settled && self.plain_stale == 0)
    }

    /// The last wave of what left, namespaces and CRDs aside.
    pub(crate) fn last_stale_wave(&self) -> Option<i32> {
        self.stale_waves.last_key_value().map(|(wave, _)| *wave)
    }

    /// Is it there, all as desired, and well, and did its hooks succeed?
    pub(crate) fn is_ready(&self) -> bool {
        let is_over = |hooks: &Hooks| hooks.run.stage == Stage::Over;
        self.is_settled() && self.hooks.as_ref().is_none_or(|hooks| is_over(hooks))
    }

    /// Was anything of it applied before?
    pub(crate) fn was_applied(&self) -> bool {
        self.recorded || self.bundle.is_some() || self.members > 0
    }

    /// Is it there, all as desired, and well?
    pub(crate) fn is_settled(&self) -> bool {
        self.bundle.is_some() && self.unsynced == 0 && self.held.is_empty() && self.waves.is_ready()
    }

    /// Does its parent list every kind and namespace of what is desired?
    pub(crate) fn is_open(&self) -> bool {
        matches!(&self.parent, Parent::Ours(scope) if scope.covers(&self.scope))
    }
}
