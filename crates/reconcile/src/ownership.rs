//! Whose is an object that exists already? Read off the marks that tools leave on what they own.
//!
//! Asked before the first apply of an object; what is ours is told by the labels of our ApplySets, everything else by
//! the marks of others. An object without any mark is nobody's.

use serde_json::Value;

use crate::applyset::{COMPONENT_LABEL, PART_OF_LABEL, member_of};

/// Field managers whose fields a component that adopts takes over: those of a plain `kubectl apply`, and those of the
/// tools whose marks are known.
const FORMER: &[&str] = &[
    "kubectl",
    "kubectl-client-side-apply",
    "kubectl-create",
    "kubectl-last-applied",
    "before-first-apply",
    "argocd-controller",
    "argocd-application-controller",
    "kustomize-controller",
    "helm-controller",
    "helm",
    "Helm",
];

/// Whose an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A component of ours has it.
    Ours,
    /// No tool says that it is its own.
    Nobody,
    /// Another tool's; says which, and what it calls what the object is part of.
    Other(String),
}

/// May fields of this manager be taken over by a component that adopts?
pub(crate) fn is_former(manager: &str) -> bool {
    FORMER.contains(&manager)
}

/// Reads an object's owner. `home` is the namespace of our parents, and `set` the ApplySet it is to be part of.
pub(crate) fn owner(object: &Value, home: &str, set: &str) -> Owner {
    let mark = |field: &str, key: &str| {
        let text = object.get("metadata")?.get(field)?.get(key)?.as_str()?;
        (!text.is_empty()).then(|| text.to_owned())
    };
    let label = |key: &str| mark("labels", key);
    let annotation = |key: &str| mark("annotations", key);
    let part_of = label(PART_OF_LABEL);
    if member_of(object, home).is_some() || part_of.as_deref() == Some(set) {
        return Owner::Ours;
    }
    let named = |name: String, namespace: Option<String>| match namespace {
        Some(namespace) => format!("`{namespace}/{name}`"),
        None => format!("`{name}`"),
    };
    let set = |set: String| match label(COMPONENT_LABEL) {
        Some(component) => format!("component `{component}` of another Driftless agent (ApplySet {set})"),
        None => format!("ApplySet {set}"),
    };
    let argo = || {
        let tracking = annotation("argocd.argoproj.io/tracking-id");
        let app = tracking.map(|id| id.split(':').next().unwrap_or_default().to_owned());
        app.or_else(|| label("argocd.argoproj.io/instance"))
            .or_else(|| annotation("argocd.argoproj.io/instance"))
            .map(|app| format!("Argo CD's application `{app}`"))
    };
    let kustomization = || {
        let name = label("kustomize.toolkit.fluxcd.io/name")?;
        let namespace = label("kustomize.toolkit.fluxcd.io/namespace");
        Some(format!("Flux's Kustomization {}", named(name, namespace)))
    };
    let helm_release = || {
        let name = label("helm.toolkit.fluxcd.io/name")?;
        let namespace = label("helm.toolkit.fluxcd.io/namespace");
        Some(format!("Flux's HelmRelease {}", named(name, namespace)))
    };
    let helm = || {
        let name = annotation("meta.helm.sh/release-name")?;
        let by_helm = label("app.kubernetes.io/managed-by").is_some_and(|it| it == "Helm");
        let namespace = annotation("meta.helm.sh/release-namespace");
        by_helm.then(|| format!("Helm's release {}", named(name, namespace)))
    };
    let other = part_of
        .map(set)
        .or_else(argo)
        .or_else(kustomization)
        .or_else(helm_release);
    other.or_else(helm).map_or(Owner::Nobody, Owner::Other)
}

#[cfg(test)]
mod tests {
    use driftless_model::name::ComponentName;
    use serde_json::json;

    use super::*;
    use crate::applyset;

    fn of(labels: &Value, annotations: &Value) -> Owner {
        let object = json!({"metadata": {"labels": labels, "annotations": annotations}});
        owner(&object, "home", "applyset-mine-v1")
    }

    #[test]
    fn owners_are_told_by_their_marks() {
        let none = json!({});
        for (labels, annotations, told) in [
            (
                &none,
                &json!({"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:web/web"}),
                "Argo CD's application `shop`",
            ),
            (
                &none,
                &json!({"argocd.argoproj.io/instance": "shop"}),
                "Argo CD's application `shop`",
            ),
            (
                &json!({"argocd.argoproj.io/instance": "shop"}),
                &none,
                "Argo CD's application `shop`",
            ),
            (
                &json!({"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}),
                &none,
                "Flux's Kustomization `flux-system/apps`",
            ),
            (
                &json!({"helm.toolkit.fluxcd.io/name": "web", "helm.toolkit.fluxcd.io/namespace": "apps"}),
                &none,
                "Flux's HelmRelease `apps/web`",
            ),
            (
                &json!({"app.kubernetes.io/managed-by": "Helm"}),
                &json!({"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "shop"}),
                "Helm's release `shop/web`",
            ),
            (
                &json!({"applyset.kubernetes.io/part-of": "applyset-x-v1"}),
                &none,
                "ApplySet applyset-x-v1",
            ),
            (
                &json!({"applyset.kubernetes.io/part-of": "applyset-x-v1", "driftless.dev/component": "shop"}),
                &none,
                "component `shop` of another Driftless agent (ApplySet applyset-x-v1)",
            ),
        ] {
            assert_eq!(of(labels, annotations), Owner::Other(told.to_owned()));
        }
    }

    #[test]
    fn what_is_ours_is_so_whatever_marks_it_bears_and_what_bears_none_is_nobodys() {
        let shop: ComponentName = "shop".parse().unwrap();
        let argo = json!({"argocd.argoproj.io/instance": "shop"});
        let ours =
            json!({"driftless.dev/component": "shop", "applyset.kubernetes.io/part-of": applyset::id(&shop, "home")});
        assert_eq!(of(&ours, &argo), Owner::Ours);
        assert_eq!(
            of(&json!({"applyset.kubernetes.io/part-of": "applyset-mine-v1"}), &argo),
            Owner::Ours
        );
        // Templates of charts say so too, without being a release's.
        assert_eq!(
            of(&json!({"app.kubernetes.io/managed-by": "Helm"}), &json!({})),
            Owner::Nobody
        );
        assert_eq!(
            of(&json!({"helm.toolkit.fluxcd.io/name": ""}), &json!({})),
            Owner::Nobody
        );
    }
}
