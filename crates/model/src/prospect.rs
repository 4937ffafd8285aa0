//! What would come of running a view on a cluster, as its API server sees it: the answer to a dry run.
//!
//! Found out by `reconcile`, carried by `proto`, shown by the CLI.

use std::collections::BTreeMap;

use crate::{diff::FieldChange, hash::ObjectHash, hook::Phase, manifest::ManifestId, name::ComponentName};

/// What would come of a view.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Prospect {
    /// Its components, and those that would be deleted.
    pub components: BTreeMap<ComponentName, ComponentProspect>,
    /// What could not be found out.
    pub notes: Vec<String>,
    /// Objects that are left out, as there are too many to tell.
    pub left_out: u32,
}

/// What would come of a component.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ComponentProspect {
    /// Its bundle; `None` when the view does not have it.
    pub bundle: Option<ObjectHash>,
    /// How many objects would stay exactly as they are.
    pub unchanged: u32,
    /// What would come of all others.
    pub objects: BTreeMap<ManifestId, Outcome>,
    /// Its hooks that would run, in their order: those of a failure last, which run only if something fails.
    pub hooks: Vec<HookProspect>,
}

/// A hook that would run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookProspect {
    /// When.
    pub phase: Phase,
    /// Which.
    pub object: ManifestId,
}

/// What would come of an object that does not stay as it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It would be made; says so if the API server could not be asked about it yet.
    Created(Option<String>),
    /// Fields of it would change.
    Changed {
        /// Which, and how. Without both values where they are secret.
        fields: Vec<FieldChange>,
        /// How many more, as they are too many to tell.
        more: u32,
    },
    /// It would be deleted and made anew; says why.
    Replaced(String),
    /// It would be deleted; says what that waits for, if it does.
    Pruned(Option<String>),
    /// It would not be applied; says why.
    Refused(String),
    /// It would be left as it is, though it differs or is not desired; says why.
    Left(String),
}
