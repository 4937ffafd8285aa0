//! When versions of built-in kinds are deprecated and removed.
//!
//! Taken from the lifecycle that `k8s.io/api` 0.36, `k8s.io/apiextensions-apiserver` 0.36 and `k8s.io/kube-aggregator`
//! 0.36 declare for their types (their `zz_generated.prerelease-lifecycle.go`); for types that these hold no more, from
//! Kubernetes' deprecated API migration guide. Where the declared replacement is gone itself, what is there now is
//! named. Only what is deprecated by 1.36 is listed.

use crate::Minor;

/// Deprecated, with no removal announced.
pub(super) const NEVER: u32 = u32::MAX;

/// One version of some kinds of a group.
pub(super) struct Lifecycle {
    api_version: &'static str,
    kinds: &'static [&'static str],
    /// The minor version from which on it is deprecated.
    pub(super) deprecated: u32,
    /// The first minor version that does not serve it.
    pub(super) removed: u32,
    /// What to use; empty where there is nothing.
    pub(super) instead: &'static str,
}

impl Lifecycle {
    pub(super) fn is_removed(&self, version: Minor) -> bool {
        Minor::new(self.removed) <= version
    }

    pub(super) fn is_deprecated(&self, version: Minor) -> bool {
        Minor::new(self.deprecated) <= version
    }
}

/// The lifecycle of a kind in this version; `None` for what is not deprecated, or never was there.
pub(super) fn of(api_version: &str, kind: &str) -> Option<&'static Lifecycle> {
    LIFECYCLES
        .iter()
        .find(|lifecycle| lifecycle.api_version == api_version && lifecycle.kinds.contains(&kind))
}

const fn row(
    api_version: &'static str,
    kinds: &'static [&'static str],
    deprecated: u32,
    removed: u32,
    instead: &'static str,
) -> Lifecycle {
    Lifecycle {
        api_version,
        kinds,
        deprecated,
        removed,
        instead,
    }
}

static LIFECYCLES: &[Lifecycle] = &[
    row(
        "admissionregistration.k8s.io/v1alpha1",
        &["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"],
        29,
        32,
        "admissionregistration.k8s.io/v1",
    ),
    row(
        "admissionregistration.k8s.io/v1alpha1",
        &["MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"],
        35,
        38,
        "admissionregistration.k8s.io/v1",
    ),
    row(
        "admissionregistration.k8s.io/v1beta1",
        &["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"],
        16,
        22,
        "admissionregistration.k8s.io/v1",
    ),
    row(
        "admissionregistration.k8s.io/v1beta1",
        &["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"],
        31,
        34,
        "admissionregistration.k8s.io/v1",
    ),
    row(
        "apiextensions.k8s.io/v1beta1",
        &["CustomResourceDefinition"],
        16,
        22,
        "apiextensions.k8s.io/v1",
    ),
    row(
        "apiregistration.k8s.io/v1beta1",
        &["APIService"],
        19,
        22,
        "apiregistration.k8s.io/v1",
    ),
    row(
        "apps/v1beta1",
        &["ControllerRevision", "Deployment", "StatefulSet"],
        8,
        16,
        "apps/v1",
    ),
    row(
        "apps/v1beta2",
        &[
            "ControllerRevision",
            "DaemonSet",
            "Deployment",
            "ReplicaSet",
            "StatefulSet",
        ],
        9,
        16,
        "apps/v1",
    ),
    row(
        "autoscaling/v2beta1",
        &["HorizontalPodAutoscaler"],
        22,
        25,
        "autoscaling/v2",
    ),
    row(
        "autoscaling/v2beta2",
        &["HorizontalPodAutoscaler"],
        23,
        26,
        "autoscaling/v2",
    ),
    row("batch/v1beta1", &["CronJob"], 21, 25, "batch/v1"),
    row("batch/v2alpha1", &["CronJob"], 8, 21, "batch/v1"),
    row(
        "certificates.k8s.io/v1alpha1",
        &["ClusterTrustBundle"],
        34,
        37,
        "certificates.k8s.io/v1beta1",
    ),
    row(
        "certificates.k8s.io/v1beta1",
        &["CertificateSigningRequest"],
        19,
        22,
        "certificates.k8s.io/v1",
    ),
    row(
        "coordination.k8s.io/v1alpha2",
        &["LeaseCandidate"],
        35,
        38,
        "coordination.k8s.io/v1beta1",
    ),
    row(
        "coordination.k8s.io/v1beta1",
        &["Lease"],
        19,
        22,
        "coordination.k8s.io/v1",
    ),
    row("coordination.k8s.io/v1beta1", &["LeaseCandidate"], 36, 39, ""),
    row(
        "discovery.k8s.io/v1beta1",
        &["EndpointSlice"],
        21,
        25,
        "discovery.k8s.io/v1",
    ),
    row("events.k8s.io/v1beta1", &["Event"], 22, 25, "events.k8s.io/v1"),
    row(
        "extensions/v1beta1",
        &["DaemonSet", "Deployment", "ReplicaSet"],
        8,
        16,
        "apps/v1",
    ),
    row("extensions/v1beta1", &["NetworkPolicy"], 9, 16, "networking.k8s.io/v1"),
    row("extensions/v1beta1", &["PodSecurityPolicy"], 11, 16, ""),
    row("extensions/v1beta1", &["Ingress"], 14, 22, "networking.k8s.io/v1"),
    row(
        "flowcontrol.apiserver.k8s.io/v1beta1",
        &["FlowSchema", "PriorityLevelConfiguration"],
        23,
        26,
        "flowcontrol.apiserver.k8s.io/v1",
    ),
    row(
        "flowcontrol.apiserver.k8s.io/v1beta2",
        &["FlowSchema", "PriorityLevelConfiguration"],
        26,
        29,
        "flowcontrol.apiserver.k8s.io/v1",
    ),
    row(
        "flowcontrol.apiserver.k8s.io/v1beta3",
        &["FlowSchema", "PriorityLevelConfiguration"],
        29,
        32,
        "flowcontrol.apiserver.k8s.io/v1",
    ),
    row(
        "networking.k8s.io/v1beta1",
        &["Ingress", "IngressClass"],
        19,
        22,
        "networking.k8s.io/v1",
    ),
    row(
        "networking.k8s.io/v1beta1",
        &["IPAddress", "ServiceCIDR"],
        34,
        37,
        "networking.k8s.io/v1",
    ),
    row("node.k8s.io/v1beta1", &["RuntimeClass"], 22, 25, "node.k8s.io/v1"),
    row("policy/v1beta1", &["PodDisruptionBudget"], 21, 25, "policy/v1"),
    row("policy/v1beta1", &["PodSecurityPolicy"], 21, 25, ""),
    row(
        "rbac.authorization.k8s.io/v1alpha1",
        &["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"],
        17,
        22,
        "rbac.authorization.k8s.io/v1",
    ),
    row(
        "rbac.authorization.k8s.io/v1beta1",
        &["ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"],
        17,
        22,
        "rbac.authorization.k8s.io/v1",
    ),
    row(
        "resource.k8s.io/v1alpha3",
        &["DeviceTaintRule"],
        36,
        39,
        "resource.k8s.io/v1beta2",
    ),
    row(
        "resource.k8s.io/v1beta1",
        &["DeviceClass", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice"],
        35,
        38,
        "resource.k8s.io/v1",
    ),
    row(
        "resource.k8s.io/v1beta2",
        &["DeviceClass", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice"],
        36,
        39,
        "resource.k8s.io/v1",
    ),
    row(
        "scheduling.k8s.io/v1alpha1",
        &["PriorityClass"],
        14,
        22,
        "scheduling.k8s.io/v1",
    ),
    row(
        "scheduling.k8s.io/v1beta1",
        &["PriorityClass"],
        14,
        22,
        "scheduling.k8s.io/v1",
    ),
    row(
        "storage.k8s.io/v1alpha1",
        &["CSIStorageCapacity", "VolumeAttachment"],
        21,
        24,
        "storage.k8s.io/v1",
    ),
    row(
        "storage.k8s.io/v1alpha1",
        &["VolumeAttributesClass"],
        32,
        35,
        "storage.k8s.io/v1",
    ),
    row("storage.k8s.io/v1beta1", &["CSINode"], 17, 22, "storage.k8s.io/v1"),
    row(
        "storage.k8s.io/v1beta1",
        &["CSIDriver", "StorageClass", "VolumeAttachment"],
        19,
        22,
        "storage.k8s.io/v1",
    ),
    row(
        "storage.k8s.io/v1beta1",
        &["CSIStorageCapacity"],
        24,
        27,
        "storage.k8s.io/v1",
    ),
    row(
        "storage.k8s.io/v1beta1",
        &["VolumeAttributesClass"],
        34,
        37,
        "storage.k8s.io/v1",
    ),
    row("v1", &["ComponentStatus"], 19, NEVER, ""),
    row("v1", &["Endpoints"], 33, NEVER, "discovery.k8s.io/v1 EndpointSlice"),
];
