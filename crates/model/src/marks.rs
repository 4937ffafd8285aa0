//! Annotations by which an object asks for special treatment: ours, and those of other tools that people bring along.

use serde_json::Value;

/// Annotations that keep an object when it leaves the desired state.
const KEEP: &[(&str, &[&str])] = &[
    ("driftless.dev/prune", &["disabled"]),
    ("kustomize.toolkit.fluxcd.io/prune", &["disabled"]),
    ("helm.sh/resource-policy", &["keep"]),
    ("client.lifecycle.config.k8s.io/deletion", &["detach"]),
    ("cli-utils.sigs.k8s.io/on-remove", &["keep"]),
    // `Prune=confirm` waits for a person, so nothing may be deleted without one.
    (
        "argocd.argoproj.io/sync-options",
        &["Prune=false", "Delete=false", "Prune=confirm", "Delete=confirm"],
    ),
];

/// The annotation, as `key: value`, that keeps the object when it leaves the desired state.
pub fn keep(object: &Value) -> Option<String> {
    let annotations = object.pointer("/metadata/annotations")?.as_object()?;
    KEEP.iter().find_map(|(key, keep)| {
        let value = annotations.get(*key)?.as_str()?;
        let asked = value
            .split(',')
            .any(|option| keep.iter().any(|keep| option.trim().eq_ignore_ascii_case(keep)));
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
}
