//! Which kinds there are: whether an object's `apiVersion` and `kind` are served by a Kubernetes version, and what to
//! use where they are not.
//!
//! The table of what came and went is data; what a supported version serves today is in its catalog.

mod lifecycle;

use driftless_model::manifest::{Manifest, split_api_version};

use crate::{
    Minor,
    finding::{Rule, Severity},
    schema::{Catalog, Schema, is_unstable},
    structure::{Fault, nearest},
};

use lifecycle::Lifecycle;

/// What a Kubernetes version makes of a kind.
pub(crate) enum Kind<'a> {
    /// Built in, with this schema.
    BuiltIn(&'a Schema),
    /// Of a built-in group, and not described by the catalog.
    Unknown,
    /// Not Kubernetes' own.
    Custom,
}

/// Looks the manifest's kind up for Kubernetes `version`, and says what is wrong with using it there.
pub(crate) fn look_up<'a>(catalog: &'a Catalog, version: Minor, manifest: &Manifest) -> (Kind<'a>, Option<Fault>) {
    let (api_version, kind) = (manifest.api_version(), manifest.id().kind.as_str());
    let lifecycle = lifecycle::of(api_version, kind);
    let fault = |severity, rule, message| Some(Fault::at("/apiVersion", severity, rule, message));
    if let Some(gone) = lifecycle.filter(|lifecycle| lifecycle.is_removed(version)) {
        let message = removed(api_version, kind, gone);
        return (Kind::Unknown, fault(Severity::Error, Rule::RemovedApi, message));
    }
    let warning = lifecycle
        .filter(|lifecycle| lifecycle.is_deprecated(version))
        .map(|lifecycle| deprecated(api_version, kind, lifecycle))
        .or_else(|| {
            let unstable = catalog.kind(api_version, kind).is_some() && is_unstable(api_version);
            unstable.then(|| off_by_default(catalog, api_version, kind))
        })
        .and_then(|message| fault(Severity::Warning, Rule::DeprecatedApi, message));
    if let Some(schema) = catalog.kind(api_version, kind) {
        return (Kind::BuiltIn(schema), warning);
    }
    let (group, _) = split_api_version(api_version);
    if lifecycle.is_some() {
        // Served by this version, and by none whose catalog is at hand.
        return (Kind::Unknown, warning);
    }
    if !catalog.has_group(group) {
        return (Kind::Custom, None);
    }
    (Kind::Unknown, Some(unknown(catalog, api_version, kind)))
}

/// `policy/v1beta1 PodDisruptionBudget was removed in 1.25: use policy/v1`, to be read behind `apiVersion`.
fn removed(api_version: &str, kind: &str, lifecycle: &Lifecycle) -> String {
    let removed = Minor::new(lifecycle.removed);
    format!("{api_version} {kind} was removed in {removed}{}", instead(lifecycle))
}

fn deprecated(api_version: &str, kind: &str, lifecycle: &Lifecycle) -> String {
    let since = Minor::new(lifecycle.deprecated);
    let until = match lifecycle.removed {
        lifecycle::NEVER => String::new(),
        removed => format!(" and will be removed in {}", Minor::new(removed)),
    };
    format!(
        "{api_version} {kind} is deprecated since {since}{until}{}",
        instead(lifecycle)
    )
}

fn instead(lifecycle: &Lifecycle) -> String {
    match lifecycle.instead {
        "" => ", and nothing takes its place".to_owned(),
        instead => format!(": use {instead}"),
    }
}

fn off_by_default(catalog: &Catalog, api_version: &str, kind: &str) -> String {
    let group = split_api_version(api_version).0;
    let stable = catalog
        .versions_of(kind)
        .into_iter()
        .find(|other| !is_unstable(other) && split_api_version(other).0 == group);
    let instead = match stable {
        Some(stable) => format!("use {stable}"),
        None => "the clusters need it in --runtime-config".to_owned(),
    };
    format!("{api_version} {kind} is not served unless a cluster is told to: {instead}")
}

fn unknown(catalog: &Catalog, api_version: &str, kind: &str) -> Fault {
    let group = split_api_version(api_version).0;
    let mut versions = catalog.versions_of(kind);
    // Of two groups with this kind, the one that was named is meant.
    if versions.iter().any(|version| split_api_version(version).0 == group) {
        versions.retain(|version| split_api_version(version).0 == group);
    }
    if let Some(best) = versions.first() {
        let message = format!("{api_version} has no {kind}: use {best}");
        return Fault::at("/apiVersion", Severity::Error, Rule::UnknownKind, message);
    }
    let Some(kinds) = catalog.kinds(api_version) else {
        let message = format!("{api_version} does not exist, and no built-in group has a {kind}");
        return Fault::at("/apiVersion", Severity::Error, Rule::UnknownKind, message);
    };
    let message = match nearest(kind, kinds) {
        Some(meant) => format!("{kind} is no kind of {api_version}: did you mean `{meant}`?"),
        None => format!("{kind} is no kind of {api_version}"),
    };
    Fault::at("/kind", Severity::Error, Rule::UnknownKind, message)
}
