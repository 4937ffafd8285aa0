//! Tables of objects and what kstatus says of them.

use driftless_model::status::Health::{Current, Failed, InProgress, Terminating, Unknown};
use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-01T00:01:00Z";

fn object(api_version: &str, kind: &str, spec: Value, status: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", "generation": 3}, "spec": spec, "status": status})
}

fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": "why"})
}

fn check(api_version: &str, kind: &str, table: &[(Value, Value, Health, &str)]) {
    for (spec, status, health, message) in table {
        let assessment = assess(
            &object(api_version, kind, spec.clone(), status.clone()),
            None,
            NOW.parse().unwrap(),
        );
        assert_eq!(
            (assessment.health, assessment.message.as_str()),
            (*health, *message),
            "{kind} {spec} {status}"
        );
    }
}

#[test]
fn deployments() {
    let rolled = json!([
        condition("Progressing", "True", "NewReplicaSetAvailable"),
        condition("Available", "True", "")
    ]);
    let spec = json!({"replicas": 2, "progressDeadlineSeconds": 600});
    let status = |replicas: i64, updated: i64, ready: i64, available: i64| {
        json!({"observedGeneration": 3, "replicas": replicas, "updatedReplicas": updated, "readyReplicas": ready,
            "availableReplicas": available, "conditions": rolled})
    };
    check(
        "apps/v1",
        "Deployment",
        &[
            (spec.clone(), json!({}), InProgress, "0 of 2 replicas"),
            (spec.clone(), status(2, 1, 1, 1), InProgress, "1 of 2 updated replicas"),
            (
                spec.clone(),
                status(3, 2, 2, 2),
                InProgress,
                "1 replicas too many still end",
            ),
            (
                spec.clone(),
                status(2, 2, 2, 1),
                InProgress,
                "1 of 2 available replicas",
            ),
            (spec.clone(), status(2, 2, 1, 2), InProgress, "1 of 2 ready replicas"),
            (spec.clone(), status(2, 2, 2, 2), Current, ""),
            (
                json!({"replicas": 0}),
                json!({"conditions": [condition("Available", "True", "")]}),
                Current,
                "",
            ),
            (json!({"replicas": 0}), json!({}), InProgress, "it is not available yet"),
            (
                json!({"replicas": 0, "progressDeadlineSeconds": 9}),
                json!({}),
                InProgress,
                "its new ReplicaSet is not available yet",
            ),
            (
                spec,
                json!({"conditions": [condition("Progressing", "False", "ProgressDeadlineExceeded")]}),
                Failed,
                "ProgressDeadlineExceeded: why",
            ),
        ],
    );
}

#[test]
fn stateful_sets() {
    let spec = json!({"replicas": 2});
    let ready = |revision: &str| {
        json!({"replicas": 2, "readyReplicas": 2, "currentReplicas": 2, "updatedReplicas": 1,
            "currentRevision": "a", "updateRevision": revision})
    };
    let partition = |at: i64| json!({"replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": at}}});
    check(
        "apps/v1",
        "StatefulSet",
        &[
            (json!({"updateStrategy": {"type": "OnDelete"}}), json!({}), Current, ""),
            (spec.clone(), json!({"replicas": 1}), InProgress, "1 of 2 replicas"),
            (
                spec.clone(),
                json!({"replicas": 2, "readyReplicas": 1}),
                InProgress,
                "1 of 2 ready replicas",
            ),
            (json!({}), ready("a"), InProgress, "1 replicas too many still end"),
            (
                spec.clone(),
                ready("b"),
                InProgress,
                "not all replicas have the new revision yet",
            ),
            (spec, ready("a"), Current, ""),
            (partition(0), ready("b"), InProgress, "1 of 2 updated replicas"),
            (partition(1), ready("b"), Current, ""),
        ],
    );
}

#[test]
fn daemon_sets() {
    let status = |scheduled: i64, updated: i64, available: i64, ready: i64| {
        json!({"observedGeneration": 3, "desiredNumberScheduled": 2, "currentNumberScheduled": scheduled,
            "updatedNumberScheduled": updated, "numberAvailable": available, "numberReady": ready})
    };
    check(
        "apps/v1",
        "DaemonSet",
        &[
            (json!({}), json!({}), InProgress, "its controller has not seen it yet"),
            (
                json!({}),
                json!({"observedGeneration": 3}),
                InProgress,
                "its controller has not counted the nodes yet",
            ),
            (json!({}), status(1, 2, 2, 2), InProgress, "1 of 2 scheduled pods"),
            (json!({}), status(2, 1, 2, 2), InProgress, "1 of 2 updated pods"),
            (json!({}), status(2, 2, 1, 2), InProgress, "1 of 2 available pods"),
            (json!({}), status(2, 2, 2, 1), InProgress, "1 of 2 ready pods"),
            (json!({}), status(2, 2, 2, 2), Current, ""),
        ],
    );
}

#[test]
fn replica_sets() {
    let status = |labelled: i64, available: i64, ready: i64, replicas: i64| json!({"fullyLabeledReplicas": labelled, "availableReplicas": available, "readyReplicas": ready, "replicas": replicas});
    check(
        "apps/v1",
        "ReplicaSet",
        &[
            (
                json!({}),
                json!({"conditions": [condition("ReplicaFailure", "True", "Quota")]}),
                InProgress,
                "Quota: why",
            ),
            (json!({}), status(0, 0, 0, 0), InProgress, "0 of 1 labelled replicas"),
            (json!({}), status(1, 0, 0, 1), InProgress, "0 of 1 available replicas"),
            (json!({}), status(1, 1, 0, 1), InProgress, "0 of 1 ready replicas"),
            (
                json!({}),
                status(1, 1, 1, 2),
                InProgress,
                "1 replicas too many still end",
            ),
            (json!({}), status(1, 1, 1, 1), Current, ""),
        ],
    );
}

#[test]
fn pods() {
    let crash = json!({"phase": "Running", "containerStatuses": [{"name": "a"},
        {"name": "b", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]});
    let unschedulable =
        json!({"phase": "Pending", "conditions": [condition("PodScheduled", "False", "Unschedulable")]});
    check(
        "v1",
        "Pod",
        &[
            (json!({}), json!({}), InProgress, "it was not seen by the cluster yet"),
            (json!({}), json!({"phase": "Succeeded"}), Current, ""),
            (json!({}), json!({"phase": "Failed"}), Current, ""),
            (json!({}), json!({"phase": "Pending"}), InProgress, "it is pending"),
            (
                json!({}),
                json!({"phase": "Running"}),
                InProgress,
                "it runs but is not ready",
            ),
            (
                json!({}),
                json!({"phase": "Running", "conditions": [condition("Ready", "True", "")]}),
                Current,
                "",
            ),
            (json!({}), crash, Failed, "containers crash again and again: b"),
            (json!({}), unschedulable.clone(), Failed, "Unschedulable: why"),
            (json!({}), json!({"phase": "Odd"}), Unknown, "its phase is `Odd`"),
        ],
    );
    let mut young = object("v1", "Pod", json!({}), unschedulable);
    young["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:50Z");
    assert_eq!(assess(&young, None, NOW.parse().unwrap()).health, InProgress);
}

#[test]
fn jobs() {
    let conditions = |kind: &str| json!({"conditions": [condition(kind, "True", "Backoff")]});
    check(
        "batch/v1",
        "Job",
        &[
            (json!({}), json!({}), InProgress, "it has not started yet"),
            (json!({}), json!({"startTime": NOW}), Current, ""),
            (json!({}), conditions("Complete"), Current, ""),
            (json!({}), conditions("Failed"), Failed, "Backoff: why"),
            (json!({"suspend": true}), conditions("Suspended"), Current, ""),
            (json!({}), conditions("Suspended"), InProgress, "it has not started yet"),
        ],
    );
}

#[test]
fn definitions_and_api_services() {
    let crd = "apiextensions.k8s.io/v1";
    let of = |kind: &str, status: &str, reason: &str| json!({"conditions": [condition(kind, status, reason)]});
    check(
        crd,
        "CustomResourceDefinition",
        &[
            (json!({}), json!({}), InProgress, "it is not established yet"),
            (
                json!({}),
                of("Established", "False", "Installing"),
                InProgress,
                "it is not established yet",
            ),
            (json!({}), of("Established", "False", "Broken"), Failed, "Broken: why"),
            (
                json!({}),
                of("NamesAccepted", "False", "Conflict"),
                Failed,
                "Conflict: why",
            ),
            (json!({}), of("Established", "True", ""), Current, ""),
        ],
    );
    check(
        "apiregistration.k8s.io/v1",
        "APIService",
        &[
            (json!({}), json!({}), InProgress, "it was not checked yet"),
            (
                json!({}),
                of("Available", "False", "MissingEndpoints"),
                InProgress,
                "MissingEndpoints: why",
            ),
            (json!({}), of("Available", "True", "Passed"), Current, ""),
        ],
    );
}

#[test]
fn other_built_in_kinds() {
    let balancer = json!({"type": "LoadBalancer"});
    check(
        "v1",
        "Service",
        &[
            (json!({"type": "ClusterIP"}), json!({}), Current, ""),
            (balancer, json!({}), InProgress, "it has no cluster IP yet"),
            (
                json!({"type": "LoadBalancer", "clusterIP": "10.0.0.1"}),
                json!({}),
                Current,
                "",
            ),
        ],
    );
    check(
        "v1",
        "PersistentVolumeClaim",
        &[
            (json!({}), json!({}), InProgress, "it is not bound yet"),
            (
                json!({}),
                json!({"phase": "Pending"}),
                InProgress,
                "it is not bound: its phase is Pending",
            ),
            (json!({}), json!({"phase": "Bound"}), Current, ""),
        ],
    );
    check(
        "v1",
        "Namespace",
        &[
            (json!({}), json!({"phase": "Active"}), Current, ""),
            (
                json!({}),
                json!({"phase": "Terminating"}),
                Terminating,
                "it is being deleted",
            ),
        ],
    );
    check("v1", "ConfigMap", &[(json!({}), json!({}), Current, "")]);
    check(
        "policy/v1",
        "PodDisruptionBudget",
        &[(json!({}), json!({"observedGeneration": 3}), Current, "")],
    );
}

#[test]
fn kinds_without_rules_of_their_own() {
    let of = |kind: &str, status: &str| json!({"observedGeneration": 3, "conditions": [condition(kind, status, "R")]});
    check(
        "example.com/v1",
        "Widget",
        &[
            (json!({}), json!({}), Current, ""),
            (
                json!({}),
                json!({"observedGeneration": 2}),
                InProgress,
                "its controller has seen generation 2, the latest is 3",
            ),
            (json!({}), of("Ready", "True"), Current, ""),
            (json!({}), of("Ready", "False"), InProgress, "R: why"),
            (json!({}), of("Ready", "Unknown"), InProgress, "R: why"),
            (json!({}), of("Reconciling", "True"), InProgress, "R: why"),
            (json!({}), of("Stalled", "True"), Failed, "R: why"),
            (json!({}), of("Stalled", "False"), Current, ""),
        ],
    );
}

#[test]
fn what_is_being_deleted_is_terminating_and_names_its_finalizers() {
    let mut widget = object("example.com/v1", "Widget", json!({}), json!({}));
    widget["metadata"]["deletionTimestamp"] = json!(NOW);
    widget["metadata"]["finalizers"] = json!(["a.example.com/x"]);
    let assessment = assess(&widget, None, NOW.parse().unwrap());
    assert_eq!(assessment.health, Terminating);
    assert_eq!(
        assessment.message,
        "it is being deleted and waits for the finalizers a.example.com/x"
    );
}

#[test]
fn terminating_namespace_says_what_holds_it() {
    let status = json!({"phase": "Terminating", "conditions": [
        condition("NamespaceContentRemaining", "True", "SomeResourcesRemain"),
        condition("NamespaceDeletionContentFailure", "False", "ContentDeleted"),
    ]});
    let mut namespace = object("v1", "Namespace", json!({}), status);
    namespace["metadata"]["deletionTimestamp"] = json!(NOW);
    let assessment = assess(&namespace, None, NOW.parse().unwrap());
    assert_eq!(assessment.message, "it is being deleted; SomeResourcesRemain: why");
}

#[test]
fn autoscaler_that_cannot_scale_says_why() {
    let conditions = |kind: &str, status: &str, reason: &str| json!({"conditions": [condition(kind, status, reason)]});
    check(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        &[
            (json!({}), json!({}), Current, ""),
            (
                json!({}),
                conditions("ScalingActive", "True", "ValidMetricFound"),
                Current,
                "",
            ),
            (
                json!({}),
                conditions("ScalingActive", "False", "ScalingDisabled"),
                Current,
                "",
            ),
            (
                json!({}),
                conditions("ScalingActive", "False", "FailedGetResourceMetric"),
                InProgress,
                "FailedGetResourceMetric: why",
            ),
            (
                json!({}),
                conditions("AbleToScale", "False", "FailedGetScale"),
                InProgress,
                "FailedGetScale: why",
            ),
        ],
    );
}

#[test]
fn who_waits_for_a_job_or_pod_waits_for_its_end_and_for_a_claim_not_at_all() {
    let outcome_of = |api_version: &str, kind: &str, spec: Value, status: Value| {
        let object = object(api_version, kind, spec, status);
        outcome(&object, assess(&object, None, NOW.parse().unwrap()).health)
    };
    let job = |status| outcome_of("batch/v1", "Job", json!({}), status);
    assert_eq!(job(json!({"startTime": NOW, "active": 1})), Outcome::Pending);
    assert_eq!(
        job(json!({"conditions": [condition("Complete", "True", "Done")]})),
        Outcome::Done
    );
    assert_eq!(
        job(json!({"conditions": [condition("Failed", "True", "BackoffLimitExceeded")]})),
        Outcome::Failed
    );
    let pod = |policy: &str, phase: &str| {
        let ready = json!({"phase": phase, "conditions": [condition("Ready", "True", "")]});
        outcome_of("v1", "Pod", json!({ "restartPolicy": policy }), ready)
    };
    assert_eq!(pod("Always", "Running"), Outcome::Done);
    assert_eq!(pod("Never", "Running"), Outcome::Pending);
    assert_eq!(pod("Never", "Succeeded"), Outcome::Done);
    assert_eq!(pod("Never", "Failed"), Outcome::Failed);
    let claim = |phase: &str| outcome_of("v1", "PersistentVolumeClaim", json!({}), json!({ "phase": phase }));
    assert_eq!(claim("Pending"), Outcome::Done);
    assert_eq!(claim("Lost"), Outcome::Failed);
}
