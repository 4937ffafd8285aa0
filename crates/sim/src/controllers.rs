//! The simulated controllers: after each change, what a healthy cluster's own controllers would write.
//!
//! [`State::settle`] runs after every request, under the same lock, until nothing is left to do: status of workloads,
//! claims, services of the API; the default content of namespaces; definitions; garbage. No tasks, no time of its own.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::kinds::known;
use crate::state::{State, Target, Workloads, WriteOptions, text};
use crate::store::{Change, Stored};

/// Changes that one request may cause before something must be wrong with the controllers.
const ENOUGH: usize = 100_000;

impl State {
    /// Lets the controllers act on everything that changed.
    pub(crate) fn settle(&mut self) {
        for _ in 0..ENOUGH {
            let Some(change) = self.store.unseen.pop_front() else {
                return;
            };
            self.react(&change);
        }
        debug_assert!(false, "the simulated controllers never settle");
    }

    fn react(&mut self, change: &Change) {
        let subject = Arc::clone(change.subject());
        let kind = Arc::clone(&subject.kind);
        if change.new.is_some() {
            // Only the newest version is acted on, as level-triggered controllers do.
            let Some(object) = self
                .store
                .at(&subject.place())
                .filter(|live| live.version == subject.version)
                .cloned()
            else {
                return;
            };
            if change.old.is_none() {
                self.collect_orphan(&object);
            }
            if object.terminating {
                self.collect_below(&object);
                // No pod of a simulated cluster uses a volume.
                for finalizer in ["kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"] {
                    if kind.kind.starts_with("PersistentVolume") {
                        self.drop_finalizer(&object, finalizer);
                    }
                }
            }
            match (kind.group.as_str(), kind.kind.as_str()) {
                ("", "Namespace") if object.terminating => self.end_namespace(&object.key.1),
                ("", "Namespace") if change.old.is_none() => self.furnish(&object.key.1),
                ("apiextensions.k8s.io", "CustomResourceDefinition") => self.definition_changed(&object),
                _ if !object.terminating => self.observe(&object),
                _ => {}
            }
            return;
        }
        self.collect_after(&subject);
        if !subject.key.0.is_empty() {
            self.end_namespace(&subject.key.0);
        }
        if kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            self.definition_gone(&subject);
        } else if kind.custom {
            self.custom_object_gone(&subject);
        }
    }

    /// What every namespace has.
    fn furnish(&mut self, namespace: &str) {
        let make = |kind: &str, name: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}});
        let account = make("ServiceAccount", "default");
        let mut root = make("ConfigMap", "kube-root-ca.crt");
        root["data"] = json!({"ca.crt": "the simulated cluster has no certificate authority\n"});
        root["metadata"]["annotations"] = json!({"kubernetes.io/description":
            "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."});
        for object in [account, root] {
            let kind = known("", text(&object, "/kind"));
            let target = Target {
                kind,
                version: 0,
                namespace: namespace.to_owned(),
                name: text(&object, "/metadata/name").to_owned(),
                subresource: String::new(),
            };
            // Somebody may have been faster, as on a real server.
            let _written = self.create(&target, object, &Self::as_controller());
        }
    }

    /// Writes the status that the kind's controller would.
    fn observe(&mut self, stored: &Arc<Stored>) {
        let kind = &stored.kind;
        if !matches!(
            kind.group.as_str(),
            "" | "apps" | "batch" | "policy" | "apiregistration.k8s.io"
        ) || !kind.has_status()
        {
            return;
        }
        let object = stored.value();
        let Some(status) = self.status_of(kind.kind.as_str(), &object) else {
            return;
        };
        let mut next = object.clone();
        next["status"] = status;
        if kind.is("apps", "Deployment") {
            number_revision(&object, &mut next);
        }
        let manager = if kind.group == "apiregistration.k8s.io" {
            WriteOptions::by("kube-apiserver")
        } else {
            Self::as_controller()
        };
        let target = Target::of(stored).sub("status");
        // A status that validation refuses stays as it was; the object itself was valid.
        let _written = self.replace(&target, next, &manager);
    }

    fn status_of(&self, kind: &str, object: &Value) -> Option<Value> {
        let ready = self.workloads == Workloads::Ready && !names_broken_image(object);
        let seen = &object["metadata"]["generation"];
        let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
        let up = if ready { wanted } else { 0 };
        let now = Moment {
            old: &object["status"]["conditions"],
            now: &self.now,
        };
        let name = text(object, "/metadata/name");
        Some(match kind {
            "Deployment" => deployment(object, ready, &now),
            "ReplicaSet" | "ReplicationController" => trimmed(
                json!({
                    "observedGeneration": seen, "replicas": wanted, "fullyLabeledReplicas": wanted,
                    "readyReplicas": up, "availableReplicas": up, "terminatingReplicas": 0,
                }),
                &["replicas", "terminatingReplicas"],
            ),
            "StatefulSet" => {
                let revision = revision_of(name, object);
                trimmed(
                    json!({
                        "observedGeneration": seen, "replicas": wanted, "readyReplicas": up, "currentReplicas": wanted,
                        "updatedReplicas": wanted, "availableReplicas": up, "currentRevision": revision,
                        "updateRevision": revision, "collisionCount": 0,
                    }),
                    &["replicas", "availableReplicas", "collisionCount"],
                )
            }
            "DaemonSet" => {
                let up = i64::from(ready);
                trimmed(
                    json!({
                        "observedGeneration": seen, "currentNumberScheduled": 1, "desiredNumberScheduled": 1,
                        "numberReady": up, "numberAvailable": up, "updatedNumberScheduled": 1, "numberMisscheduled": 0,
                        "numberUnavailable": 1 - up,
                    }),
                    &[
                        "currentNumberScheduled",
                        "desiredNumberScheduled",
                        "numberReady",
                        "numberMisscheduled",
                    ],
                )
            }
            "Job" => job(object, ready, &now),
            "Pod" => pod(object, ready, &now),
            "PersistentVolumeClaim" => json!({
                "phase": "Bound", "accessModes": object["spec"]["accessModes"],
                "capacity": object["spec"]["resources"]["requests"],
            }),
            "PodDisruptionBudget" => {
                let mut allowed = now.condition("DisruptionAllowed", "False", "InsufficientPods", "");
                allowed["observedGeneration"] = seen.clone();
                let healthy = object["spec"]["minAvailable"].as_i64().unwrap_or(0);
                json!({
                    "observedGeneration": seen, "currentHealthy": 0, "desiredHealthy": healthy, "disruptionsAllowed": 0,
                    "expectedPods": 0, "conditions": [allowed],
                })
            }
            "APIService" => json!({"conditions": [self.api_service(object, &now)]}),
            _ => return None,
        })
    }
}

/// Makes conditions that keep their transition times while their status stays.
struct Moment<'a> {
    old: &'a Value,
    now: &'a str,
}

impl Moment<'_> {
    fn condition(&self, kind: &str, status: &str, reason: &str, message: &str) -> Value {
        let mut olds = self.old.as_array().into_iter().flatten();
        let same = olds.find(|old| old["type"] == kind && old["status"] == status);
        let since = same.map_or_else(|| json!(self.now), |old| old["lastTransitionTime"].clone());
        json!({"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since})
    }

    /// With the time of its last update, which Deployments have.
    fn updated(&self, kind: &str, status: &str, reason: &str, message: &str) -> Value {
        let mut out = self.condition(kind, status, reason, message);
        let mut olds = self.old.as_array().into_iter().flatten();
        let same = olds.find(|old| old["type"] == kind && old["status"] == status && old["reason"] == reason);
        out["lastUpdateTime"] = same.map_or_else(|| json!(self.now), |old| old["lastUpdateTime"].clone());
        out
    }
}

/// Counters that are zero are not written, except those that always are.
fn trimmed(status: Value, always: &[&str]) -> Value {
    let fields = status.as_object().cloned().unwrap_or_default();
    let kept = fields
        .into_iter()
        .filter(|(key, value)| *value != json!(0) || always.contains(&key.as_str()));
    Value::Object(kept.collect::<Map<_, _>>())
}

fn names_broken_image(object: &Value) -> bool {
    let spec = &object["spec"];
    let pod = if spec["template"]["spec"].is_object() {
        &spec["template"]["spec"]
    } else {
        spec
    };
    let lists = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| pod[list].as_array())
        .flatten();
    lists
        .into_iter()
        .any(|container| text(container, "/image").contains(":broken"))
}

fn deployment(object: &Value, ready: bool, now: &Moment<'_>) -> Value {
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let up = if ready { wanted } else { 0 };
    let set = revision_of(text(object, "/metadata/name"), object);
    let conditions = if ready || wanted == 0 {
        let progressed = format!("ReplicaSet \"{set}\" has successfully progressed.");
        json!([
            now.updated(
                "Available",
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability."
            ),
            now.updated("Progressing", "True", "NewReplicaSetAvailable", &progressed),
        ])
    } else {
        let progressing = format!("ReplicaSet \"{set}\" is progressing.");
        let unavailable = "Deployment does not have minimum availability.";
        json!([
            now.updated("Available", "False", "MinimumReplicasUnavailable", unavailable),
            now.updated("Progressing", "True", "ReplicaSetUpdated", &progressing),
        ])
    };
    trimmed(
        json!({
            "observedGeneration": object["metadata"]["generation"], "replicas": wanted, "updatedReplicas": wanted,
            "readyReplicas": up, "availableReplicas": up, "unavailableReplicas": wanted - up, "terminatingReplicas": 0, "conditions": conditions,
        }),
        &["terminatingReplicas"],
    )
}

/// The name of the ReplicaSet or revision that the template would have.
fn revision_of(name: &str, object: &Value) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(object["spec"]["template"].to_string());
    format!("{name}-{}", hex::encode(&digest[..5]))
}

/// Counts the templates that a Deployment has had, where people expect the count.
fn number_revision(object: &Value, next: &mut Value) {
    const REVISION: &str = "deployment.kubernetes.io/revision";
    let set = format!("\"{}\"", revision_of(text(object, "/metadata/name"), object));
    let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let known = conditions.any(|condition| text(condition, "/message").contains(&set));
    let count: Option<u64> = object["metadata"]["annotations"][REVISION]
        .as_str()
        .and_then(|count| count.parse().ok());
    if known && count.is_some() {
        return;
    }
    if !next["metadata"]["annotations"].is_object() {
        next["metadata"]["annotations"] = json!({});
    }
    next["metadata"]["annotations"][REVISION] = json!((count.unwrap_or(0) + 1).to_string());
}

/// A Job whose pods never get ready fails at once where it has a deadline.
fn job(object: &Value, ready: bool, now: &Moment<'_>) -> Value {
    let started = object["status"]
        .get("startTime")
        .cloned()
        .unwrap_or_else(|| json!(now.now));
    if object["spec"]["suspend"] == json!(true) {
        return json!({"conditions": [now.condition("Suspended", "True", "JobSuspended", "Job suspended")]});
    }
    if !ready && object["spec"]["activeDeadlineSeconds"].is_i64() {
        let late = "Job was active longer than specified deadline";
        let conditions = ["FailureTarget", "Failed"].map(|kind| now.condition(kind, "True", "DeadlineExceeded", late));
        return json!({"startTime": started, "failed": 1, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {},
            "conditions": conditions});
    }
    if !ready {
        return json!({"startTime": started, "active": 1, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {}});
    }
    let done = object["status"]
        .get("completionTime")
        .cloned()
        .unwrap_or_else(|| json!(now.now));
    let reached = "Reached expected number of succeeded pods";
    let mut conditions = vec![
        now.condition("SuccessCriteriaMet", "True", "CompletionsReached", reached),
        now.condition("Complete", "True", "CompletionsReached", reached),
    ];
    for condition in &mut conditions {
        condition["lastProbeTime"] = condition["lastTransitionTime"].clone();
    }
    json!({
        "startTime": started, "completionTime": done, "succeeded": object["spec"]["completions"].as_i64().unwrap_or(1),
        "ready": 0, "terminating": 0, "uncountedTerminatedPods": {}, "conditions": conditions,
    })
}

fn pod(object: &Value, ready: bool, now: &Moment<'_>) -> Value {
    let flag = if ready { "True" } else { "False" };
    let (reason, message) = if ready {
        ("", "")
    } else {
        ("ContainersNotReady", "containers are not ready")
    };
    let condition = |kind: &str, status: &str| {
        let mut out = now.condition(kind, status, reason, message);
        if reason.is_empty()
            && let Some(map) = out.as_object_mut()
        {
            map.remove("reason");
            map.remove("message");
        }
        out
    };
    json!({
        "phase": if ready { "Running" } else { "Pending" },
        "qosClass": "BestEffort",
        "conditions": [
            condition("PodScheduled", "True"), condition("Initialized", "True"),
            condition("ContainersReady", flag), condition("Ready", flag),
        ],
        "startTime": object["status"].get("startTime").cloned().unwrap_or_else(|| json!(now.now)),
    })
}

impl State {
    /// No pod of a simulated cluster answers, so only the server's own API is available.
    fn api_service(&self, object: &Value, now: &Moment<'_>) -> Value {
        let service = &object["spec"]["service"];
        if service.is_null() {
            return now.condition("Available", "True", "Local", "Local APIServices are always available");
        }
        let (namespace, name) = (text(service, "/namespace"), text(service, "/name"));
        if self.store.get(&known("", "Service").store, namespace, name).is_some() {
            let message =
                format!("endpoints for service/{name} in {namespace:?} have no addresses with port name \"\"");
            return now.condition("Available", "False", "MissingEndpoints", &message);
        }
        let message = format!("service/{name} in {namespace:?} is not present");
        now.condition("Available", "False", "ServiceNotFound", &message)
    }
}
