//! The defaults of a pod's spec, bare or in a template.

use serde_json::{Value, json};

use super::{below, each, fill, fill_text};

/// Fills in the defaults of a pod's spec.
pub(crate) fn pod_spec(spec: &mut Value) {
    fill_text(spec, "dnsPolicy", "ClusterFirst");
    fill_text(spec, "restartPolicy", "Always");
    fill(spec, "securityContext", json!({}));
    fill(spec, "terminationGracePeriodSeconds", json!(30));
    fill_text(spec, "schedulerName", "default-scheduler");
    // The old name of the field is kept in step with the new one.
    if let Some(account) = spec.get("serviceAccountName").cloned() {
        fill(spec, "serviceAccount", account);
    } else if let Some(account) = spec.get("serviceAccount").cloned() {
        fill(spec, "serviceAccountName", account);
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        each(spec, list).for_each(container);
    }
    each(spec, "volumes").for_each(volume);
}

fn container(container: &mut Value) {
    let image = container["image"].as_str().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    let latest = !image.contains('@') && (!name.contains(':') || name.ends_with(":latest"));
    fill_text(
        container,
        "imagePullPolicy",
        if latest { "Always" } else { "IfNotPresent" },
    );
    fill_text(container, "terminationMessagePath", "/dev/termination-log");
    fill_text(container, "terminationMessagePolicy", "File");
    for port in each(container, "ports") {
        fill_text(port, "protocol", "TCP");
    }
    for variable in each(container, "env") {
        if let Some(field) = below(variable, "valueFrom").and_then(|from| below(from, "fieldRef")) {
            fill_text(field, "apiVersion", "v1");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = below(container, probe) {
            self::probe(probe);
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(get) = below(container, "lifecycle")
            .and_then(|life| below(life, hook))
            .and_then(|hook| below(hook, "httpGet"))
        {
            http_get(get);
        }
    }
}

/// What is filled in for a pod itself, but not in templates: a limit without a request of the same resource is the
/// request too, and the ports of a pod in its node's network are the node's.
pub(crate) fn in_pods_only(spec: &mut Value) {
    let host_network = spec["hostNetwork"] == json!(true);
    for list in ["initContainers", "containers"] {
        for container in each(spec, list) {
            container_limits(container);
            for port in each(container, "ports").filter(|_| host_network) {
                let number = port["containerPort"].clone();
                fill(port, "hostPort", number);
            }
        }
    }
}

fn container_limits(container: &mut Value) {
    let Some(limits) = container["resources"].get("limits").and_then(Value::as_object).cloned() else {
        return;
    };
    fill(&mut container["resources"], "requests", json!({}));
    for (resource, amount) in limits {
        fill(&mut container["resources"]["requests"], &resource, amount);
    }
}

fn probe(probe: &mut Value) {
    for (field, value) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        if probe[field].as_i64().unwrap_or(0) == 0 {
            probe[field] = json!(value);
        }
    }
    if let Some(get) = below(probe, "httpGet") {
        http_get(get);
    }
    if let Some(grpc) = below(probe, "grpc") {
        fill(grpc, "service", json!(""));
    }
}

fn http_get(get: &mut Value) {
    fill_text(get, "path", "/");
    fill_text(get, "scheme", "HTTP");
}

fn volume(volume: &mut Value) {
    let sources = volume.as_object().map_or(0, serde_json::Map::len);
    if sources <= 1 {
        fill(volume, "emptyDir", json!({}));
    }
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(source) = below(volume, source) {
            fill(source, "defaultMode", json!(420));
            for part in each(source, "sources") {
                if let Some(token) = below(part, "serviceAccountToken") {
                    fill(token, "expirationSeconds", json!(3600));
                }
                if let Some(files) = below(part, "downwardAPI") {
                    files_of(files);
                }
            }
        }
    }
    if let Some(files) = below(volume, "downwardAPI") {
        files_of(files);
    }
    if let Some(path) = below(volume, "hostPath") {
        fill(path, "type", json!(""));
    }
}

fn files_of(source: &mut Value) {
    for file in each(source, "items") {
        if let Some(field) = below(file, "fieldRef") {
            fill_text(field, "apiVersion", "v1");
        }
    }
}
