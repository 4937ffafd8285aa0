//! What can be said against a bundle's overlays and variables before any cluster is looked at.

use std::collections::{BTreeMap, BTreeSet};

use super::State;
use crate::{
    bundle::{Bundle, upkeep::NotAllowed},
    ignored::{self, InvalidPath},
    manifest::ManifestId,
    marks,
    overlay::{Overlay, Target},
    substitute::{self, Fault},
};

/// What is wrong with a bundle wherever it runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Overlays are told apart by their names.
    #[error("overlay {number} has no name: give it one, for errors and `driftless explain`")]
    Unnamed {
        /// 1-based.
        number: usize,
    },
    /// Two overlays of one name.
    #[error("overlay `{0}` is there twice: give each a name of its own")]
    Twice(String),
    /// It does nothing.
    #[error("overlay `{0}` neither patches, adds nor removes anything: take it out")]
    Idle(String),
    /// A patch must say one thing.
    #[error("overlay `{overlay}`, patch {number}: give exactly one of `json` (RFC 6902) and `merge` (RFC 7396)")]
    OneOf {
        /// The overlay.
        overlay: String,
        /// 1-based.
        number: usize,
    },
    /// A target that asks for nothing would choose everything.
    #[error(
        "overlay `{overlay}`: a target is empty: say which objects, by kind, name, namespace, group or labelSelector"
    )]
    EmptyTarget {
        /// The overlay.
        overlay: String,
    },
    /// Most likely a typo.
    #[error("overlay `{overlay}`: no object of the component matches {target}")]
    NoMatch {
        /// The overlay.
        overlay: String,
        /// What it looks for.
        target: Target,
    },
    /// An object that the component may not hold.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// An annotation that cannot be obeyed.
    #[error("{id}: {wrong}")]
    Ignored {
        /// The object.
        id: ManifestId,
        /// What is wrong.
        wrong: InvalidPath,
    },
    /// An annotation that asks for nothing there is.
    #[error("{id}: {unknown}")]
    Unknown {
        /// The object.
        id: ManifestId,
        /// Which, and what there is.
        unknown: marks::Unknown,
    },
    /// A variable that can be defined nowhere.
    #[error("{id}: {fault}")]
    Variable {
        /// The object.
        id: ManifestId,
        /// What is wrong.
        fault: Fault,
    },
}

/// Could [`check`] find anything in objects of these bytes? Says nothing of what a bundle's header asks for.
pub fn is_concerned(bytes: &[u8]) -> bool {
    ignored::is_concerned(bytes) || marks::is_concerned(bytes) || substitute::is_concerned(bytes)
}

/// All that is wrong with `bundle` wherever it runs, in the order of its overlays and then of its objects.
pub fn check(bundle: &Bundle) -> Vec<Problem> {
    let overlays = &bundle.spec().overlays;
    let mut problems = Vec::new();
    let mut names = BTreeSet::new();
    // As where all overlays apply: a target may look for what an earlier one adds or labels.
    let mut objects: BTreeMap<_, _> = bundle
        .manifests()
        .map(|manifest| (manifest.id().clone(), State::Whole(manifest.clone())))
        .collect();
    for (index, overlay) in overlays.iter().enumerate() {
        if overlay.name.is_empty() {
            problems.push(Problem::Unnamed { number: index + 1 });
        } else if !names.insert(&overlay.name) {
            problems.push(Problem::Twice(overlay.name.clone()));
        }
        // And as they were written: an earlier overlay may remove them, on other clusters than this one.
        let added = overlays[..=index].iter().flat_map(|overlay| &overlay.add);
        let written: Vec<_> = bundle.manifests().chain(added).collect();
        super::apply(
            &Overlay {
                patches: Vec::new(),
                remove: Vec::new(),
                ..overlay.clone()
            },
            &mut objects,
        );
        let is_there = |target: &Target| {
            written
                .iter()
                .any(|object| target.matches(object.id(), || object.value()))
                || objects.iter().any(|(id, state)| target.matches(id, || state.value()))
        };
        check_overlay(overlay, is_there, &mut problems);
        super::apply(overlay, &mut objects);
    }
    let added = overlays.iter().flat_map(|overlay| &overlay.add);
    let allow = &bundle.spec().allow;
    for manifest in bundle.manifests().chain(added) {
        problems.extend(
            allow
                .check(manifest.id())
                .err()
                .map(|problem| Problem::NotAllowed(*problem)),
        );
        if ignored::is_concerned(manifest.canonical())
            && let Err(wrong) = ignored::read(&manifest.value())
        {
            problems.push(Problem::Ignored {
                id: manifest.id().clone(),
                wrong,
            });
        }
        if marks::is_concerned(manifest.canonical()) {
            let unknown = marks::unknown(&manifest.value());
            problems.extend(unknown.into_iter().map(|unknown| Problem::Unknown {
                id: manifest.id().clone(),
                unknown,
            }));
        }
        if substitute::is_concerned(manifest.canonical()) {
            let faults = substitute::check(&manifest.value());
            problems.extend(faults.into_iter().map(|fault| Problem::Variable {
                id: manifest.id().clone(),
                fault,
            }));
        }
    }
    problems
}

fn check_overlay(overlay: &Overlay, is_there: impl Fn(&Target) -> bool, problems: &mut Vec<Problem>) {
    let name = || overlay.name.clone();
    if overlay.patches.is_empty() && overlay.add.is_empty() && overlay.remove.is_empty() {
        problems.push(Problem::Idle(name()));
    }
    for (index, patch) in overlay.patches.iter().enumerate() {
        if patch.json.is_some() == patch.merge.is_some() {
            problems.push(Problem::OneOf {
                overlay: name(),
                number: index + 1,
            });
        }
    }
    for target in super::targets(overlay) {
        if target.is_empty() {
            problems.push(Problem::EmptyTarget { overlay: name() });
        } else if !is_there(target) {
            problems.push(Problem::NoMatch {
                overlay: name(),
                target: target.clone(),
            });
        }
    }
}
