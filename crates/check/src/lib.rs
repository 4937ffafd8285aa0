//! The checks at push: whether clusters would take the manifests, and whether they hang together.
//!
//! [`Checks::run`] takes what `model::intake` read and gives [`Finding`]s, each with file, line and the path of the
//! field. Called by the CLI before a push; the agent never depends on it. Nothing here does I/O; all cores work on it.
//!
//! # Layout
//! - [`schema`]: the shapes of kinds: Kubernetes' own, shipped per [`Minor`] version, and those of custom resource
//!   definitions.
//! - `kinds`: which kinds a version serves, and which it has removed.
//! - `structure`: an object against the schema of its kind; `custom` finds that of a custom resource.
//! - `references`: selectors and names against everything else in the snapshot.
//! - `object`: a manifest with its object.
//! - `variable`: what is said of values that differ from cluster to cluster: nothing. [`finding`]: what comes out.
//!
//! # Guarantees
//! - An error is something that an API server of the checked versions refuses.
//! - The same manifests give the same findings in the same order.

mod custom;
pub mod finding;
mod kinds;
mod object;
mod references;
pub mod schema;
mod structure;
mod variable;
mod version;

use std::collections::{BTreeMap, BTreeSet};

use driftless_model::{intake::Placed, manifest::Manifest};
use rayon::prelude::*;
use serde_json::Value;

pub use finding::{Finding, Rule, Severity};
pub use version::Minor;

use custom::Definitions;
use kinds::Kind;
use object::Object;
use references::Index;
use schema::Shipped;
use structure::Fault;

/// Objects that a core takes at once: with more, the others would have nothing left to do at the end.
const AT_ONCE: usize = 16;

/// Why something here cannot be done at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A text that names no Kubernetes version.
    #[error("`{0}` is not a Kubernetes version: write it like 1.36")]
    Version(String),
    /// OpenAPI documents that cannot be reduced.
    #[error("cannot reduce these OpenAPI documents: {0}")]
    Schema(String),
}

/// What manifests are checked against.
#[derive(Debug)]
pub struct Checks {
    versions: Vec<Version>,
    /// The rest of the snapshot, read once for all runs.
    known: Vec<Object>,
    /// The custom kinds that the rest of the snapshot defines.
    definitions: Definitions,
    notes: Vec<String>,
}

/// One Kubernetes version to check against.
#[derive(Debug, Clone, Copy)]
struct Version {
    /// That the clusters run.
    of_clusters: Minor,
    /// Whose kinds are known: the nearest.
    known: &'static Shipped,
    /// Whether the clusters may know kinds and fields that the catalog does not.
    may_know_more: bool,
}

impl Checks {
    /// Checks for clusters that run `versions`; the newest that is known where there is none. `known` are the
    /// manifests of the snapshot besides those that will be checked: other components.
    #[must_use]
    pub fn new(versions: impl IntoIterator<Item = Minor>, known: impl IntoIterator<Item = Manifest>) -> Self {
        let mut asked: BTreeSet<_> = versions.into_iter().collect();
        if asked.is_empty() {
            asked.extend(schema::supported().next_back());
        }
        let mut notes = Vec::new();
        let versions = asked.into_iter().map(|of_clusters| {
            let known = Shipped::nearest(of_clusters);
            if known.version != of_clusters {
                let nearest = known.version;
                notes.push(format!(
                    "Kubernetes {of_clusters} is not known here: checked as {nearest}"
                ));
            }
            Version {
                of_clusters,
                known,
                may_know_more: known.version < of_clusters,
            }
        });
        let versions = versions.collect();
        let known: Vec<_> = known.into_iter().map(Object::new).collect();
        let read = known.par_iter().filter(|object| Index::reads(&object.manifest));
        read.for_each(|object| _ = object.value());
        Self {
            versions,
            definitions: Definitions::of(&known),
            known,
            notes,
        }
    }

    /// What people should know about the checks themselves: versions that are checked as another.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Everything that is wrong with `pushed`, in the order of files and lines.
    #[must_use]
    pub fn run(&self, pushed: &[Placed]) -> Vec<Finding> {
        let objects: Vec<_> = pushed.iter().map(Object::pushed).collect();
        let definitions = Definitions::of(&objects);
        let structure = || -> Vec<Vec<Fault>> {
            let faults = objects
                .par_iter()
                .with_max_len(AT_ONCE)
                .map(|object| self.structure(&definitions, &object.manifest, object.value()));
            faults.collect()
        };
        // One core makes the index, while the others begin.
        let (index, structure) = rayon::join(|| Index::new(self.known.iter().chain(&objects)), structure);
        let objects = pushed.par_iter().zip(&objects).zip(structure).with_max_len(AT_ONCE);
        let found = objects.flat_map_iter(|((placed, object), mut faults)| {
            let (manifest, object) = (&object.manifest, object.value());
            faults.extend(references::faults(&index, manifest, object));
            faults.into_iter().map(|fault| Finding {
                severity: fault.severity,
                rule: fault.rule,
                place: placed.place(&fault.pointer),
                object: manifest.id().clone(),
                field: fault.field,
                message: fault.message,
            })
        });
        let mut findings: Vec<_> = found.collect();
        findings.sort_by(|one, other| {
            let order = |finding: &Finding| (finding.place.clone(), finding.field.clone(), finding.rule);
            order(one).cmp(&order(other))
        });
        findings
    }

    /// Whether `findings` of `pushed` may change with more manifests of the snapshot known: names and selectors may be
    /// found there after all, and custom kinds defined.
    #[must_use]
    pub fn may_depend_on_more(pushed: &[Placed], findings: &[Finding]) -> bool {
        let is_reference = |finding: &Finding| matches!(finding.rule, Rule::SelectsNothing | Rule::MissingReference);
        let is_custom = |placed: &Placed| {
            let id = placed.manifest().id();
            driftless_model::kinds::scope(&id.group, &id.kind).is_none()
        };
        findings.iter().any(is_reference) || pushed.iter().any(is_custom)
    }

    /// Does it define a custom kind, so that objects of the kind can be checked?
    #[must_use]
    pub fn is_definition(manifest: &Manifest) -> bool {
        custom::is_definition(manifest)
    }

    /// What is wrong with an object by itself. What only some of the versions refuse says which.
    fn structure(&self, definitions: &Definitions, manifest: &Manifest, object: &Value) -> Vec<Fault> {
        let mut found: BTreeMap<Fault, Vec<Minor>> = BTreeMap::new();
        for version in &self.versions {
            for fault in version.faults([definitions, &self.definitions], manifest, object) {
                found.entry(fault).or_default().push(version.of_clusters);
            }
        }
        let named = |(mut fault, versions): (Fault, Vec<Minor>)| {
            if versions.len() < self.versions.len() {
                let versions: Vec<_> = versions.iter().map(ToString::to_string).collect();
                fault
                    .message
                    .push_str(&format!(" (on Kubernetes {})", versions.join(" and ")));
            }
            fault
        };
        found.into_iter().map(named).collect()
    }
}

impl Version {
    /// `definitions` of custom kinds go before those behind them.
    fn faults(&self, definitions: [&Definitions; 2], manifest: &Manifest, object: &Value) -> Vec<Fault> {
        let catalog = self.known.catalog();
        let custom = definitions.iter().find_map(|one| one.check(catalog, manifest, object));
        if let Some(faults) = custom {
            return faults;
        }
        let (kind, fault) = kinds::look_up(catalog, self.of_clusters, manifest);
        let mut faults: Vec<_> = fault.into_iter().collect();
        if let Kind::BuiltIn(schema) = kind {
            faults.extend(structure::built_in(&catalog.types, schema, object));
        }
        if self.may_know_more {
            for fault in &mut faults {
                if matches!(fault.rule, Rule::UnknownField | Rule::UnknownKind) {
                    fault.severity = Severity::Warning;
                }
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests;
