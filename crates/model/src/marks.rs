//! Annotations by which an object asks for special treatment: ours, and those of other tools that people bring along.

use std::fmt;

use serde_json::Value;

use crate::{canonical::Needle, field};

/// Annotations that keep an object when it leaves the desired state.
const KEEP: &[(&str, &[&str])] = &[
    ("driftless.dev/prune", &["disabled"]),
    ("kustomize.toolkit.fluxcd.io/prune", &["disabled"]),
    ("helm.sh/resource-policy", &["keep"]),
    ("client.lifecycle.config.k8s.io/deletion", &["detach"]),
    ("cli-utils.sigs.k8s.io/on-remove", &["keep"]),
    ("argocd.argoproj.io/sync-options", &["Prune=false", "Delete=false"]),
    // What is never applied is never deleted.
    ("kustomize.toolkit.fluxcd.io/reconcile", &["disabled"]),
];

/// Annotations that keep an object from being applied at all.
const UNTOUCHED: &[(&str, &[&str])] = &[
    ("kustomize.toolkit.fluxcd.io/reconcile", &["disabled"]),
    ("kustomize.toolkit.fluxcd.io/ssa", &["Ignore"]),
];

/// Annotations that keep an object as it is once it exists.
const ONLY_MADE: &[(&str, &[&str])] = &[
    ("kustomize.toolkit.fluxcd.io/ssa", &["IfNotPresent"]),
    ("client.lifecycle.config.k8s.io/mutation", &["ignore"]),
];

/// Annotations that have a person asked before an object is deleted.
const ASK: &[(&str, &[&str])] = &[("argocd.argoproj.io/sync-options", &["Prune=confirm", "Delete=confirm"])];

/// What our own annotations and those that mean the same may say. Each other key of ours is checked where it is read.
const CHOICES: &[(&str, &[&str])] = &[
    ("driftless.dev/prune", &["disabled", "enabled"]),
    ("driftless.dev/force-conflicts", &["true", "false"]),
    ("driftless.dev/replace", &["true", "false"]),
    ("driftless.dev/substitute", &["disabled", "enabled"]),
];

/// Our keys that hold something else than a choice; the last is found on what was made, and brought along with it.
const OTHERS: &[&str] = &[
    "driftless.dev/wave",
    "driftless.dev/ignore-fields",
    "driftless.dev/hook-run",
];

/// The beginning of our keys.
const OURS: &str = "driftless.dev/";

/// An annotation of ours that asks for nothing there is: it would be taken for one that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// There is no such key.
    Key(String),
    /// The key has no such value.
    Value {
        /// The key.
        key: &'static str,
        /// What it says.
        value: String,
        /// What it may say.
        choices: &'static [&'static str],
    },
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quoted = |words: &mut dyn Iterator<Item = &str>| {
            let words: Vec<_> = words.map(|word| format!("`{word}`")).collect();
            words.join(", ")
        };
        match self {
            Self::Key(key) => {
                let keys = CHOICES.iter().map(|(key, _)| *key).chain(OTHERS[..2].iter().copied());
                write!(
                    f,
                    "there is no annotation {key}: there are {}",
                    quoted(&mut keys.map(|key| key.trim_start_matches(OURS)))
                )
            }
            Self::Value { key, value, choices } => {
                write!(
                    f,
                    "annotation {key}: `{value}` is not known: there are {}",
                    quoted(&mut choices.iter().copied())
                )
            }
        }
    }
}

impl Unknown {
    /// The annotation's key.
    pub fn key(&self) -> &str {
        match self {
            Self::Key(key) => key,
            Self::Value { key, .. } => key,
        }
    }
}

/// Could an object of these bytes have annotations of ours? Most have none, and need not be parsed.
pub fn is_concerned(bytes: &[u8]) -> bool {
    static NEEDLE: Needle = Needle::new(OURS);
    NEEDLE.is_in(bytes)
}

/// The annotations of ours on a manifest that ask for nothing there is.
pub fn unknown(manifest: &Value) -> Vec<Unknown> {
    let annotations = field::at(manifest, "/metadata/annotations").and_then(Value::as_object);
    let ours = annotations
        .into_iter()
        .flatten()
        .filter(|(key, _)| key.starts_with(OURS));
    ours.filter_map(|(key, value)| {
        let value = value.as_str().unwrap_or_default();
        match CHOICES.iter().find(|(known, _)| known == key) {
            Some((key, choices)) => (!choices.contains(&value)).then(|| Unknown::Value {
                key,
                value: value.to_owned(),
                choices,
            }),
            None => (!OTHERS.contains(&key.as_str())).then(|| Unknown::Key(key.clone())),
        }
    })
    .collect()
}

/// What becomes of an object that leaves the desired state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// It is deleted.
    Goes,
    /// It is deleted when a person has consented.
    Asks,
    /// It stays.
    Stays,
}

/// What may be done to an object that is desired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Changing {
    /// It is made, changed and repaired.
    #[default]
    Free,
    /// It is made where it does not exist, and left alone from then on.
    OnlyMade,
    /// It is never touched.
    Never,
}

/// Reads off a manifest or a live object what may be done to it.
pub fn changing(object: &Value) -> Changing {
    if find(object, UNTOUCHED).is_some() {
        Changing::Never
    } else if find(object, ONLY_MADE).is_some() {
        Changing::OnlyMade
    } else {
        Changing::Free
    }
}

/// Does the manifest ask to be deleted and made anew where a field cannot be changed?
pub fn is_replaced(manifest: &Value) -> bool {
    find(manifest, &[("driftless.dev/replace", &["true"])]).is_some()
}

/// Reads off an object what becomes of it when it leaves the desired state.
pub fn leaving(object: &Value) -> Leaving {
    let has = |kept: &[(&str, &[&str])]| find(object, kept).is_some();
    if has(KEEP) {
        Leaving::Stays
    } else if has(ASK) {
        Leaving::Asks
    } else {
        Leaving::Goes
    }
}

/// The annotation, as `key: value`, that keeps the object when it leaves the desired state, at least until a person
/// consents.
pub fn keep(object: &Value) -> Option<String> {
    find(object, KEEP).or_else(|| find(object, ASK))
}

/// The first annotation that an object has, as `key: value`.
fn find(object: &Value, marks: &[(&str, &[&str])]) -> Option<String> {
    let annotations = field::at(object, "/metadata/annotations")?.as_object()?;
    marks.iter().find_map(|(key, values)| {
        let value = annotations.get(*key)?.as_str()?;
        let asked = value
            .split(',')
            .any(|option| values.iter().any(|value| option.trim().eq_ignore_ascii_case(value)));
        asked.then(|| format!("{key}: {value}"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mark_is_told_as_it_was_written() {
        let object = |key: &str, value: &str| json!({"metadata": {"annotations": {key: value}}});
        let marked = object("argocd.argoproj.io/sync-options", "Validate=false, prune=false");
        assert_eq!(
            keep(&marked).as_deref(),
            Some("argocd.argoproj.io/sync-options: Validate=false, prune=false")
        );
        assert_eq!(keep(&object("driftless.dev/prune", "enabled")), None);
        assert_eq!(keep(&json!({})), None);
    }

    #[test]
    fn annotation_of_ours_that_asks_for_nothing_there_is_is_told() {
        let told = |annotations: Value| -> Vec<String> {
            let object = json!({"metadata": {"annotations": annotations}});
            unknown(&object).iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            told(json!({"driftless.dev/prune": "never", "driftless.dev/prone": "disabled"})),
            [
                "there is no annotation driftless.dev/prone: there are `prune`, `force-conflicts`, `replace`, \
                 `substitute`, `wave`, `ignore-fields`",
                "annotation driftless.dev/prune: `never` is not known: there are `disabled`, `enabled`",
            ]
        );
        assert_eq!(
            told(json!({"driftless.dev/replace": "true", "driftless.dev/wave": "1", "other/prune": "x"})),
            [""; 0]
        );
        assert!(is_concerned(br#""driftless.dev/prune""#) && !is_concerned(b"driftless"));
    }

    #[test]
    fn wishes_are_honoured_under_every_name() {
        for (key, value, wish) in [
            ("driftless.dev/prune", "disabled", Leaving::Stays),
            ("driftless.dev/prune", "enabled", Leaving::Goes),
            ("kustomize.toolkit.fluxcd.io/prune", "disabled", Leaving::Stays),
            ("kustomize.toolkit.fluxcd.io/reconcile", "disabled", Leaving::Stays),
            ("argocd.argoproj.io/sync-options", "Prune=false", Leaving::Stays),
            (
                "argocd.argoproj.io/sync-options",
                "Validate=false, Delete=false",
                Leaving::Stays,
            ),
            ("argocd.argoproj.io/sync-options", "Prune=confirm", Leaving::Asks),
            (
                "argocd.argoproj.io/sync-options",
                "Prune=confirm,Delete=false",
                Leaving::Stays,
            ),
            ("argocd.argoproj.io/sync-options", "Replace=true", Leaving::Goes),
            ("helm.sh/resource-policy", "keep", Leaving::Stays),
            ("client.lifecycle.config.k8s.io/deletion", "detach", Leaving::Stays),
            ("cli-utils.sigs.k8s.io/on-remove", "keep", Leaving::Stays),
            ("other", "keep", Leaving::Goes),
        ] {
            let object = json!({"metadata": {"annotations": {key: value}}});
            assert_eq!(leaving(&object), wish, "{key}: {value}");
        }
        assert_eq!(leaving(&json!({"metadata": {}})), Leaving::Goes);
    }

    #[test]
    fn what_may_be_changed_is_told_under_every_name() {
        for (key, value, changing_is) in [
            ("kustomize.toolkit.fluxcd.io/reconcile", "disabled", Changing::Never),
            ("kustomize.toolkit.fluxcd.io/ssa", "Ignore", Changing::Never),
            ("kustomize.toolkit.fluxcd.io/ssa", "IfNotPresent", Changing::OnlyMade),
            ("client.lifecycle.config.k8s.io/mutation", "ignore", Changing::OnlyMade),
            ("kustomize.toolkit.fluxcd.io/ssa", "Merge", Changing::Free),
        ] {
            let object = json!({"metadata": {"annotations": {key: value}}});
            assert_eq!(changing(&object), changing_is, "{key}: {value}");
        }
        let replaced = json!({"metadata": {"annotations": {"driftless.dev/replace": "true"}}});
        assert!(is_replaced(&replaced) && !is_replaced(&json!({})));
    }
}
