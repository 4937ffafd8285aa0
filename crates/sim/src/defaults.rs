//! The defaults that the server fills in, where they show in what a GitOps agent sees.
//!
//! Called by the write path on a decoded built-in object. Defaulted fields belong to nobody's apply. Pod templates are
//! in `defaults/pods.rs`.

mod pods;

use serde_json::{Map, Value, json};

use pods::{in_pods_only, pod_spec};

/// Sets `key` to `value` where it is missing.
fn fill(object: &mut Value, key: &str, value: Value) {
    if let Some(map) = object.as_object_mut() {
        let missing = map.get(key).is_none_or(Value::is_null);
        if missing {
            map.insert(key.to_owned(), value);
        }
    }
}

/// The same, for strings that count as missing when empty.
fn fill_text(object: &mut Value, key: &str, value: &str) {
    if object[key].as_str().is_none_or(str::is_empty) && object.is_object() {
        object[key] = json!(value);
    }
}

fn each<'a>(object: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten()
}

/// The value below `key`, when it is an object.
fn below<'a>(object: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    object.get_mut(key).filter(|value| value.is_object())
}

/// Fills in the defaults of one object of a built-in kind.
pub(crate) fn apply(group: &str, kind: &str, object: &mut Value) {
    match (group, kind) {
        ("", "Pod") => {
            if let Some(spec) = below(object, "spec") {
                pod_spec(spec);
                in_pods_only(spec);
                fill(spec, "enableServiceLinks", json!(true));
            }
        }
        ("", "Service") => service(object),
        ("", "Secret") => secret(object),
        ("", "Namespace") => namespace(object),
        ("", "PersistentVolumeClaim") => claim(object),
        ("", "PersistentVolume") => volume(object),
        ("", "Endpoints") => {
            for subset in each(object, "subsets") {
                each(subset, "ports").for_each(|port| fill_text(port, "protocol", "TCP"));
            }
        }
        ("", "ReplicationController") => {
            template(&mut object["spec"]);
            fill(&mut object["spec"], "replicas", json!(1));
        }
        ("discovery.k8s.io", "EndpointSlice") => {
            for port in each(object, "ports") {
                fill(port, "name", json!(""));
                fill(port, "protocol", json!("TCP"));
            }
        }
        ("apps", _) => {
            if kind == "DaemonSet" {
                fill(&mut object["metadata"], "annotations", json!({}));
                fill_text(
                    &mut object["metadata"]["annotations"],
                    "deprecated.daemonset.template.generation",
                    "0",
                );
            }
            workload(kind, &mut object["spec"]);
        }
        ("batch", "Job") => job(object),
        ("batch", "CronJob") => cron_job(&mut object["spec"]),
        ("autoscaling", "HorizontalPodAutoscaler") => fill(&mut object["spec"], "minReplicas", json!(1)),
        ("networking.k8s.io", "NetworkPolicy") => network_policy(&mut object["spec"]),
        ("rbac.authorization.k8s.io", _) => role_binding(object),
        ("storage.k8s.io", "StorageClass") => {
            fill(object, "reclaimPolicy", json!("Delete"));
            fill(object, "volumeBindingMode", json!("Immediate"));
        }
        ("scheduling.k8s.io", "PriorityClass") => fill(object, "preemptionPolicy", json!("PreemptLowerPriority")),
        ("admissionregistration.k8s.io", _) => webhooks(kind, object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(&mut object["spec"]),
        ("apiregistration.k8s.io", "APIService") => {
            if let Some(service) = below(&mut object["spec"], "service") {
                fill(service, "port", json!(443));
            }
        }
        _ => {}
    }
}

fn template(spec: &mut Value) {
    if let Some(pod) = below(spec, "template").and_then(|template| below(template, "spec")) {
        pod_spec(pod);
    }
}

fn workload(kind: &str, spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    template(spec);
    match kind {
        "Deployment" => {
            fill(spec, "replicas", json!(1));
            fill(spec, "revisionHistoryLimit", json!(10));
            fill(spec, "progressDeadlineSeconds", json!(600));
            rolling(
                &mut spec["strategy"],
                json!({"maxUnavailable": "25%", "maxSurge": "25%"}),
            );
        }
        "StatefulSet" => {
            fill(spec, "replicas", json!(1));
            fill(spec, "revisionHistoryLimit", json!(10));
            fill_text(spec, "podManagementPolicy", "OrderedReady");
            fill(spec, "persistentVolumeClaimRetentionPolicy", json!({}));
            let retention = &mut spec["persistentVolumeClaimRetentionPolicy"];
            fill(retention, "whenDeleted", json!("Retain"));
            fill(retention, "whenScaled", json!("Retain"));
            rolling(&mut spec["updateStrategy"], json!({"partition": 0}));
            for claim_template in each(spec, "volumeClaimTemplates") {
                fill(claim_template, "apiVersion", json!("v1"));
                fill(claim_template, "kind", json!("PersistentVolumeClaim"));
                claim(claim_template);
            }
        }
        "DaemonSet" => {
            fill(spec, "revisionHistoryLimit", json!(10));
            rolling(&mut spec["updateStrategy"], json!({"maxUnavailable": 1, "maxSurge": 0}));
        }
        "ReplicaSet" => fill(spec, "replicas", json!(1)),
        _ => {}
    }
}

fn rolling(strategy: &mut Value, values: Value) {
    if strategy.is_null() {
        *strategy = json!({});
    }
    fill_text(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        fill(strategy, "rollingUpdate", json!({}));
        for (key, value) in values.as_object().into_iter().flatten() {
            fill(&mut strategy["rollingUpdate"], key, value.clone());
        }
    }
}

fn job(object: &mut Value) {
    let spec = &mut object["spec"];
    template(spec);
    let parallel_only = spec.get("completions").is_none() && spec.get("parallelism").is_some();
    if !parallel_only {
        fill(spec, "completions", json!(1));
    }
    fill(spec, "parallelism", json!(1));
    if spec.get("backoffLimitPerIndex").is_some() {
        fill(spec, "backoffLimit", json!(i32::MAX));
    }
    fill(spec, "backoffLimit", json!(6));
    fill(spec, "completionMode", json!("NonIndexed"));
    fill(spec, "suspend", json!(false));
    fill(spec, "manualSelector", json!(false));
    let replacement = if spec.get("podFailurePolicy").is_some() {
        "Failed"
    } else {
        "TerminatingOrFailed"
    };
    fill(spec, "podReplacementPolicy", json!(replacement));
    job_labels(object);
}

/// A job without labels has those of its pods.
pub(crate) fn job_labels(object: &mut Value) {
    if let Some(labels) = object["spec"]["template"]["metadata"].get("labels").cloned() {
        fill(&mut object["metadata"], "labels", labels);
    }
}

fn cron_job(spec: &mut Value) {
    fill_text(spec, "concurrencyPolicy", "Allow");
    fill(spec, "suspend", json!(false));
    fill(spec, "successfulJobsHistoryLimit", json!(3));
    fill(spec, "failedJobsHistoryLimit", json!(1));
    if let Some(job) = below(spec, "jobTemplate").and_then(|job| below(job, "spec")) {
        template(job);
    }
}

fn service(object: &mut Value) {
    let spec = &mut object["spec"];
    fill_text(spec, "sessionAffinity", "None");
    if spec["sessionAffinity"] == "ClientIP" {
        fill(
            spec,
            "sessionAffinityConfig",
            json!({"clientIP": {"timeoutSeconds": 10800}}),
        );
    }
    fill_text(spec, "type", "ClusterIP");
    for port in each(spec, "ports") {
        fill_text(port, "protocol", "TCP");
        if matches!(&port["targetPort"], Value::Null) || port["targetPort"] == json!(0) || port["targetPort"] == "" {
            port["targetPort"] = port["port"].clone();
        }
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if kind == "NodePort" || kind == "LoadBalancer" {
        fill_text(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
    if kind != "ExternalName" {
        fill_text(spec, "internalTrafficPolicy", "Cluster");
    }
}

fn secret(object: &mut Value) {
    fill_text(object, "type", "Opaque");
    let Some(Value::Object(plain)) = object.as_object_mut().and_then(|map| map.remove("stringData")) else {
        return;
    };
    fill(object, "data", json!({}));
    for (key, value) in plain {
        use base64::Engine as _;
        let text = value.as_str().unwrap_or_default();
        object["data"][key] = json!(base64::engine::general_purpose::STANDARD.encode(text));
    }
}

fn namespace(object: &mut Value) {
    let name = object["metadata"]["name"].clone();
    if name.is_string() {
        fill(&mut object["metadata"], "labels", json!({}));
        fill(&mut object["metadata"]["labels"], "kubernetes.io/metadata.name", name);
    }
}

fn claim(object: &mut Value) {
    if let Some(spec) = below(object, "spec") {
        fill(spec, "volumeMode", json!("Filesystem"));
    }
    if object["status"].is_null() {
        object["status"] = json!({});
    }
    fill_text(&mut object["status"], "phase", "Pending");
}

fn volume(object: &mut Value) {
    if let Some(spec) = below(object, "spec") {
        fill_text(spec, "persistentVolumeReclaimPolicy", "Retain");
        fill(spec, "volumeMode", json!("Filesystem"));
        if let Some(path) = below(spec, "hostPath") {
            fill(path, "type", json!(""));
        }
    }
    if object["status"].is_null() {
        object["status"] = json!({});
    }
    fill_text(&mut object["status"], "phase", "Pending");
}

fn network_policy(spec: &mut Value) {
    let egress = spec.get("egress").is_some();
    if let Some(map) = spec.as_object_mut() {
        let types = if egress {
            json!(["Ingress", "Egress"])
        } else {
            json!(["Ingress"])
        };
        map.entry("policyTypes").or_insert(types);
    }
    for rules in ["ingress", "egress"] {
        for rule in each(spec, rules) {
            each(rule, "ports").for_each(|port| fill(port, "protocol", json!("TCP")));
        }
    }
}

fn role_binding(object: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    if let Some(role) = below(object, "roleRef") {
        fill_text(role, "apiGroup", GROUP);
    }
    for subject in each(object, "subjects") {
        if subject["kind"] == "User" || subject["kind"] == "Group" {
            fill_text(subject, "apiGroup", GROUP);
        }
    }
}

fn webhooks(kind: &str, object: &mut Value) {
    for hook in each(object, "webhooks") {
        fill(hook, "failurePolicy", json!("Fail"));
        fill(hook, "matchPolicy", json!("Equivalent"));
        fill(hook, "namespaceSelector", json!({}));
        fill(hook, "objectSelector", json!({}));
        fill(hook, "timeoutSeconds", json!(10));
        if kind == "MutatingWebhookConfiguration" {
            fill(hook, "reinvocationPolicy", json!("Never"));
        }
        if let Some(service) = below(hook, "clientConfig").and_then(|config| below(config, "service")) {
            fill(service, "port", json!(443));
        }
        each(hook, "rules").for_each(|rule| fill(rule, "scope", json!("*")));
    }
    if kind == "ValidatingAdmissionPolicy" {
        let spec = &mut object["spec"];
        fill(spec, "failurePolicy", json!("Fail"));
        if let Some(constraints) = below(spec, "matchConstraints") {
            fill(constraints, "matchPolicy", json!("Equivalent"));
            fill(constraints, "namespaceSelector", json!({}));
            fill(constraints, "objectSelector", json!({}));
            each(constraints, "resourceRules").for_each(|rule| fill(rule, "scope", json!("*")));
        }
    }
}

fn definition(spec: &mut Value) {
    fill(spec, "conversion", json!({"strategy": "None"}));
    let names: Map<String, Value> = spec["names"].as_object().cloned().unwrap_or_default();
    let kind = names.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !kind.is_empty() && spec["names"].is_object() {
        fill_text(&mut spec["names"], "singular", &kind.to_lowercase());
        fill_text(&mut spec["names"], "listKind", &format!("{kind}List"));
    }
}
