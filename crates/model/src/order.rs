//! In which order the objects of a component come and go: what their annotations ask for, and what is sensible by kind.
//!
//! Called where a bundle is checked, to refuse an order that cannot be kept, and by the reconciler, which keeps it.
//! Waves and dependencies are waited for; the [`rank`] of a kind only says what is sent first.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{bundle::Bundle, canonical::Needle, hook, manifest::ManifestId};

/// Our own annotation of an object's wave. It goes before Argo CD's.
pub const WAVE: &str = "driftless.dev/wave";
/// Argo CD's annotation of an object's wave.
pub const SYNC_WAVE: &str = "argocd.argoproj.io/sync-wave";
/// The annotation that names what an object depends on.
pub const DEPENDS_ON: &str = "config.kubernetes.io/depends-on";

/// What an object asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Order {
    /// Its wave: the lowest first, 0 unless given.
    pub wave: i32,
    /// What has to be healthy before it is applied.
    pub depends_on: Vec<ManifestId>,
}

/// An annotation that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A wave that is no number.
    #[error(
        "annotation {key}: `{value}` is not a whole number between {} and {}: quote one, as \"1\"",
        i32::MIN,
        i32::MAX
    )]
    Wave {
        /// The annotation.
        key: &'static str,
        /// What it holds.
        value: String,
    },
    /// A dependency that names no object.
    #[error(
        "annotation {DEPENDS_ON}: `{0}` names no object: write group/namespaces/NAMESPACE/Kind/name or group/Kind/name, \
         with nothing before the first slash for the core group"
    )]
    DependsOn(String),
}

impl Fault {
    /// The annotation that is meant.
    pub fn annotation(&self) -> &'static str {
        match self {
            Self::Wave { key, .. } => key,
            Self::DependsOn(_) => DEPENDS_ON,
        }
    }
}

/// An order that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// An annotation that cannot be understood.
    #[error("{id}: {fault}")]
    Fault {
        /// The object.
        id: ManifestId,
        /// What is wrong.
        fault: Fault,
    },
    /// A hook that cannot be understood.
    #[error("{id}: {fault}")]
    Hook {
        /// The object.
        id: ManifestId,
        /// What is wrong.
        fault: hook::Fault,
    },
    /// Objects that wait for each other.
    #[error("`{DEPENDS_ON}` goes in a circle: {}", way(.0))]
    Circle(Vec<ManifestId>),
    /// An object that waits for one that waits for it.
    #[error("{id} in wave {wave} depends on {on}, which comes later, in wave {later}: move one of them")]
    Later {
        /// The object.
        id: ManifestId,
        /// Its wave.
        wave: i32,
        /// What it depends on.
        on: ManifestId,
        /// The wave of that.
        later: i32,
    },
}

impl Problem {
    /// The object to look at first.
    pub fn object(&self) -> Option<&ManifestId> {
        match self {
            Self::Fault { id, .. } | Self::Hook { id, .. } | Self::Later { id, .. } => Some(id),
            Self::Circle(ids) => ids.first(),
        }
    }

    /// The annotation of it to look at, if it is one alone.
    pub fn annotation(&self) -> Option<&'static str> {
        match self {
            Self::Fault { fault, .. } => Some(fault.annotation()),
            Self::Hook { fault, .. } => Some(fault.annotation()),
            Self::Circle(_) => Some(DEPENDS_ON),
            Self::Later { .. } => None,
        }
    }
}

/// May an object with these canonical bytes ask for anything? A look at the bytes spares parsing nearly every one.
pub fn is_concerned(canonical: &[u8]) -> bool {
    static NEEDLES: [Needle; 3] = [
        Needle::new("/wave\""),
        Needle::new("/sync-wave\""),
        Needle::new("/depends-on\""),
    ];
    hook::is_concerned(canonical) || NEEDLES.iter().any(|needle| needle.is_in(canonical))
}

/// Reads an object's annotations.
///
/// # Errors
/// The first annotation that cannot be understood.
pub fn read(object: &Value) -> Result<Order, Fault> {
    Ok(Order {
        wave: wave(object)?,
        depends_on: depends_on(object)?,
    })
}

/// An object's wave.
///
/// # Errors
/// When it is no number.
pub fn wave(object: &Value) -> Result<i32, Fault> {
    for key in [WAVE, SYNC_WAVE] {
        if let Some(value) = annotation(object, key) {
            let number = value.trim().parse();
            return number.map_err(|_| Fault::Wave {
                key,
                value: value.to_owned(),
            });
        }
    }
    Ok(0)
}

/// What an object depends on.
///
/// # Errors
/// When a part of it names no object.
pub fn depends_on(object: &Value) -> Result<Vec<ManifestId>, Fault> {
    let text = annotation(object, DEPENDS_ON).unwrap_or_default();
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| reference(part).ok_or_else(|| Fault::DependsOn(part.to_owned())))
        .collect()
}

fn reference(text: &str) -> Option<ManifestId> {
    let parts: Vec<_> = text.split('/').collect();
    let (group, namespace, kind, name) = match parts.as_slice() {
        [group, kind, name] => (group, None, kind, name),
        [group, "namespaces", namespace, kind, name] => (group, Some(namespace), kind, name),
        _ => return None,
    };
    let is_there = !kind.is_empty() && !name.is_empty() && namespace.is_none_or(|namespace| !namespace.is_empty());
    is_there.then(|| ManifestId {
        group: (*group).to_owned(),
        kind: (*kind).to_owned(),
        namespace: namespace.map(|namespace| (*namespace).to_owned()),
        name: (*name).to_owned(),
    })
}

fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

/// What is sent first within a wave, and deleted last: what others stand on, then what they use, then what runs, then
/// what acts on what runs.
pub fn rank(group: &str, kind: &str) -> u8 {
    match (group, kind) {
        ("", "Namespace") => 0,
        ("apiextensions.k8s.io", "CustomResourceDefinition") => 1,
        ("", "ResourceQuota" | "LimitRange") => 2,
        ("scheduling.k8s.io", "PriorityClass") | ("node.k8s.io", "RuntimeClass") => 3,
        ("", "ServiceAccount") => 4,
        ("rbac.authorization.k8s.io", "ClusterRole" | "Role") => 5,
        ("rbac.authorization.k8s.io", "ClusterRoleBinding" | "RoleBinding") => 6,
        ("", "ConfigMap" | "Secret") => 7,
        ("storage.k8s.io", _) | ("", "PersistentVolume") => 8,
        ("", "PersistentVolumeClaim") => 9,
        ("networking.k8s.io", "NetworkPolicy" | "IngressClass") => 10,
        ("", "Service") => 11,
        ("apps", _) | ("", "Pod" | "ReplicationController") => 13,
        ("batch", _) => 14,
        ("networking.k8s.io", "Ingress") | ("autoscaling", _) | ("policy", "PodDisruptionBudget") => 15,
        ("admissionregistration.k8s.io", _) => 16,
        ("apiregistration.k8s.io", _) => 17,
        // Custom resources: they may need config, and workloads may come of them.
        _ => 12,
    }
}

/// All that is wrong with the order that the objects of a bundle ask for.
pub fn check(bundle: &Bundle) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut orders = BTreeMap::new();
    let added = bundle.spec().overlays.iter().flat_map(|overlay| &overlay.add);
    for manifest in bundle.manifests().chain(added) {
        let id = manifest.id();
        if !is_concerned(manifest.canonical()) {
            continue;
        }
        let value = manifest.value();
        if let Err(fault) = hook::read(&value) {
            problems.push(Problem::Hook { id: id.clone(), fault });
            continue;
        }
        match read(&value) {
            Ok(order) => drop(orders.insert(id, order)),
            Err(fault) => problems.push(Problem::Fault { id: id.clone(), fault }),
        }
    }
    let wave_of = |id: &ManifestId| orders.get(id).map_or(0, |order| order.wave);
    let mut edges = BTreeMap::new();
    for (id, order) in &orders {
        let there = order.depends_on.iter().filter(|on| bundle.get(on).is_some());
        for on in there.clone().filter(|on| wave_of(on) > order.wave) {
            problems.push(Problem::Later {
                id: (*id).clone(),
                wave: order.wave,
                on: on.clone(),
                later: wave_of(on),
            });
        }
        edges.insert(*id, there.collect::<Vec<_>>());
    }
    problems.extend(circle(&edges).map(|ids| Problem::Circle(ids.into_iter().cloned().collect())));
    problems
}

/// The first circle among edges, if there is one, its first node again at its end.
pub fn circle<N: Ord + Copy>(edges: &BTreeMap<N, Vec<N>>) -> Option<Vec<N>> {
    let mut done = BTreeSet::new();
    for start in edges.keys() {
        // The way from the start, each step with how many of its edges were taken.
        let mut way: Vec<(N, usize)> = vec![(*start, 0)];
        while let Some((node, taken)) = way.last_mut() {
            let next = edges.get(node).and_then(|nexts| nexts.get(*taken)).copied();
            *taken += 1;
            let Some(next) = next.filter(|_| !done.contains(node)) else {
                done.insert(*node);
                way.pop();
                continue;
            };
            if let Some(at) = way.iter().position(|(node, _)| *node == next) {
                let mut circle: Vec<_> = way[at..].iter().map(|(node, _)| *node).collect();
                circle.push(next);
                return Some(circle);
            }
            if !done.contains(&next) {
                way.push((next, 0));
            }
        }
    }
    None
}

fn way(ids: &[ManifestId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" → ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::Manifest;

    fn object(name: &str, annotations: &Value) -> Manifest {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": "shop", "annotations": annotations}});
        Manifest::new(object, "shop").unwrap()
    }

    fn after(name: &str, on: &[&str]) -> Manifest {
        let on: Vec<_> = on.iter().map(|on| format!("/namespaces/shop/ConfigMap/{on}")).collect();
        object(name, &json!({ DEPENDS_ON: on.join(", ") }))
    }

    fn problems(manifests: impl IntoIterator<Item = Manifest>) -> Vec<String> {
        let bundle = Bundle::new("shop".parse().unwrap(), manifests).unwrap();
        check(&bundle).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn own_wave_goes_before_argo_cds_and_the_default_is_zero() {
        let wave_of = |annotations: Value| wave(&json!({"metadata": {"annotations": annotations}})).unwrap();
        assert_eq!(wave_of(json!({})), 0);
        assert_eq!(wave_of(json!({ SYNC_WAVE: "-5" })), -5);
        assert_eq!(wave_of(json!({ SYNC_WAVE: "3", WAVE: "7" })), 7);
    }

    #[test]
    fn dependencies_are_read_as_kpt_writes_them() {
        let text = "apps/namespaces/shop/Deployment/db,/Namespace/shop, rbac.authorization.k8s.io/ClusterRole/a:b";
        let on = depends_on(&json!({"metadata": {"annotations": {DEPENDS_ON: text}}})).unwrap();
        let on: Vec<_> = on.iter().map(ToString::to_string).collect();
        assert_eq!(
            on,
            [
                "Deployment.apps shop/db",
                "Namespace shop",
                "ClusterRole.rbac.authorization.k8s.io a:b"
            ]
        );
    }

    #[test]
    fn annotations_that_mean_nothing_are_refused() {
        let told = problems([
            object("a", &json!({ SYNC_WAVE: "first" })),
            object("b", &json!({ DEPENDS_ON: "ConfigMap/x" })),
        ]);
        assert!(told[0].starts_with("ConfigMap shop/a: annotation argocd.argoproj.io/sync-wave: `first` is not"));
        assert!(
            told[1].contains("`ConfigMap/x` names no object: write group/namespaces/"),
            "{told:?}"
        );
    }

    #[test]
    fn circle_is_printed_from_its_first_object_round_to_it_again() {
        let told = problems([
            after("x", &["a"]),
            after("a", &["b"]),
            after("b", &["c", "a"]),
            after("c", &[]),
        ]);
        let circle = "`config.kubernetes.io/depends-on` goes in a circle: \
                      ConfigMap shop/a → ConfigMap shop/b → ConfigMap shop/a";
        assert_eq!(told, [circle]);
        assert_eq!(
            problems([after("a", &["b", "c"]), after("b", &["c"]), after("c", &["elsewhere"])]),
            [""; 0]
        );
        assert_eq!(problems([after("a", &["a"])]).len(), 1);
    }

    #[test]
    fn object_must_not_depend_on_a_later_wave() {
        let told = problems([after("a", &["b"]), object("b", &json!({ WAVE: "2" }))]);
        assert_eq!(
            told,
            ["ConfigMap shop/a in wave 0 depends on ConfigMap shop/b, which comes later, in wave 2: move one of them"]
        );
    }

    #[test]
    fn long_chains_need_no_stack() {
        let edges: BTreeMap<u32, Vec<u32>> = (0..100_000).map(|at| (at, vec![at + 1])).collect();
        // From its end, so that every way is short.
        let backwards: BTreeMap<u32, Vec<u32>> = (1..100_000).map(|at| (at, vec![at - 1])).collect();
        assert_eq!(circle(&backwards), None);
        let few: BTreeMap<u32, Vec<u32>> = edges.into_iter().take(2_000).collect();
        assert_eq!(circle(&few), None);
    }

    #[test]
    fn what_others_stand_on_is_ranked_before_what_runs() {
        let order = [
            ("", "Namespace"),
            ("apiextensions.k8s.io", "CustomResourceDefinition"),
            ("", "ResourceQuota"),
            ("", "ServiceAccount"),
            ("rbac.authorization.k8s.io", "Role"),
            ("rbac.authorization.k8s.io", "RoleBinding"),
            ("", "ConfigMap"),
            ("", "PersistentVolumeClaim"),
            ("", "Service"),
            ("example.com", "Widget"),
            ("apps", "Deployment"),
            ("batch", "Job"),
            ("networking.k8s.io", "Ingress"),
            ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
            ("apiregistration.k8s.io", "APIService"),
        ];
        assert!(order.is_sorted_by_key(|(group, kind)| rank(group, kind)));
    }
}
