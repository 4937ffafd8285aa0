//! How a live object does, by the rules of
//! [kstatus](https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md): a pure function of the
//! object, its component's rule and the time.
//!
//! Called for every object that a response or a watch brings. Some kinds go beyond kstatus, which calls them current
//! as soon as they exist: an APIService is current once it is available, a Namespace once it is active, a
//! HorizontalPodAutoscaler unless it says that it cannot scale; a claim whose volume is lost has failed. An Ingress is
//! current as it is: many controllers never write an address.

use driftless_model::{
    field,
    manifest::split_api_version,
    rule::{Rule, Verdict},
    status::Health,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// How long a Pod may wait for a node before it counts as failed.
const SCHEDULE_WINDOW: SignedDuration = SignedDuration::from_secs(15);

/// How an object does, and why, unless it is current.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    /// How it does.
    pub health: Health,
    /// Why, for a person; empty when it is current.
    pub message: String,
}

impl Assessment {
    fn current() -> Self {
        Self {
            health: Health::Current,
            message: String::new(),
        }
    }

    fn in_progress(message: impl Into<String>) -> Self {
        Self {
            health: Health::InProgress,
            message: message.into(),
        }
    }

    fn failed(message: impl Into<String>) -> Self {
        Self {
            health: Health::Failed,
            message: message.into(),
        }
    }

    /// The first shortfall, or current.
    fn first_of(shortfalls: impl IntoIterator<Item = Option<String>>) -> Self {
        shortfalls
            .into_iter()
            .flatten()
            .next()
            .map_or_else(Self::current, Self::in_progress)
    }
}

/// What an object means to those who wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is on its way.
    Pending,
    /// It is there and well; what is to end has ended well.
    Done,
    /// It will not get there without help.
    Failed,
}

/// What a live object of the given health means to those who wait for it: a Job or a Pod that is to end is done when it
/// has ended. A claim keeps nobody waiting: it may be bound only once a Pod uses it.
pub fn outcome(object: &Value, health: Health) -> Outcome {
    let (group, _) = split_api_version(text(object, "/apiVersion"));
    let of_health = match health {
        Health::Current => Outcome::Done,
        Health::Failed => Outcome::Failed,
        Health::Unknown | Health::InProgress | Health::Terminating | Health::NotFound => Outcome::Pending,
    };
    match (group, text(object, "/kind"), of_health) {
        ("batch", "Job", Outcome::Done) => {
            let has_ended = conditions(object).any(|it| it.is_true() && matches!(it.kind, "Complete" | "Suspended"));
            if has_ended { Outcome::Done } else { Outcome::Pending }
        }
        ("", "Pod", Outcome::Done) => match (text(object, "/status/phase"), text(object, "/spec/restartPolicy")) {
            ("Failed", _) => Outcome::Failed,
            ("Running", "Never" | "OnFailure") => Outcome::Pending,
            _ => Outcome::Done,
        },
        ("", "PersistentVolumeClaim", Outcome::Pending) if health == Health::InProgress => Outcome::Done,
        _ => of_health,
    }
}

/// Assesses a live object, given whole, status included. A `rule` of its component goes before those of its kind, but
/// not before what is true of all objects: that they are being deleted, or were not seen by their controller.
pub fn assess(object: &Value, rule: Option<&Rule>, now: Timestamp) -> Assessment {
    if let Some(assessment) = by_metadata(object) {
        return assessment;
    }
    if let Some(rule) = rule {
        return by_rule(object, rule);
    }
    if let Some(assessment) = by_any_kind(object) {
        return assessment;
    }
    let (group, _) = split_api_version(text(object, "/apiVersion"));
    match (group, text(object, "/kind")) {
        ("apps", "Deployment") => deployment(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => replica_set(object),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(object),
        ("networking.k8s.io", "Ingress") => Assessment::current(),
        ("", "Pod") => pod(object, now),
        ("batch", "Job") => job(object),
        ("", "PersistentVolumeClaim") => claim(object),
        ("", "Service") => service(object),
        ("", "Namespace") => namespace(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        ("apiregistration.k8s.io", "APIService") => api_service(object),
        ("policy", "PodDisruptionBudget") | ("batch", "CronJob") | ("", "ConfigMap" | "Secret") => {
            Assessment::current()
        }
        _ => ready_condition(object),
    }
}

fn by_rule(object: &Value, rule: &Rule) -> Assessment {
    match rule.judge(object) {
        Verdict::Healthy => Assessment::current(),
        Verdict::Failed => Assessment::failed(format!("by its component's health rule: {}", rule.failed())),
        Verdict::Pending => {
            Assessment::in_progress(format!("by its component's health rule not yet: {}", rule.healthy()))
        }
        Verdict::Unknown(message) => Assessment {
            health: Health::Unknown,
            message,
        },
    }
}

/// What is true of all objects: deletion and generation.
fn by_metadata(object: &Value) -> Option<Assessment> {
    if !text(object, "/metadata/deletionTimestamp").is_empty() {
        let mut message = "it is being deleted".to_owned();
        let finalizers: Vec<_> = items(object, "/metadata/finalizers")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        if !finalizers.is_empty() {
            message = format!("{message} and waits for the finalizers {}", finalizers.join(", "));
        }
        // What holds a Namespace is in its conditions.
        for condition in conditions(object).filter(|it| it.is_true() && it.kind.starts_with("Namespace")) {
            message = format!("{message}; {}", condition.because());
        }
        return Some(Assessment {
            health: Health::Terminating,
            message,
        });
    }
    let generation = field::at(object, "/metadata/generation").and_then(Value::as_i64);
    let observed = field::at(object, "/status/observedGeneration").and_then(Value::as_i64);
    if let (Some(generation), Some(observed)) = (generation, observed)
        && generation != observed
    {
        let message = format!("its controller has seen generation {observed}, the latest is {generation}");
        return Some(Assessment::in_progress(message));
    }
    None
}

/// The rules that go before those of the kind: `Reconciling` and `Stalled`.
fn by_any_kind(object: &Value) -> Option<Assessment> {
    conditions(object).find_map(|condition| match (condition.kind, condition.is_true()) {
        ("Reconciling", true) => Some(Assessment::in_progress(condition.because())),
        ("Stalled", true) => Some(Assessment::failed(condition.because())),
        _ => None,
    })
}

fn deployment(object: &Value) -> Assessment {
    let deadline = number(object, "/spec/progressDeadlineSeconds", i64::from(i32::MAX));
    let mut progressed = deadline == i64::from(i32::MAX);
    let mut available = false;
    for condition in conditions(object) {
        match condition.kind {
            "Progressing" if condition.reason == "ProgressDeadlineExceeded" => {
                return Assessment::failed(condition.because());
            }
            "Progressing" => progressed |= condition.is_true() && condition.reason == "NewReplicaSetAvailable",
            "Available" => available |= condition.is_true(),
            _ => {}
        }
    }
    let wanted = number(object, "/spec/replicas", 1);
    let status = |field: &str| number(object, &format!("/status/{field}"), 0);
    let (replicas, updated) = (status("replicas"), status("updatedReplicas"));
    Assessment::first_of([
        fewer("replicas", replicas, wanted),
        fewer("updated replicas", updated, wanted),
        more("replicas", replicas, wanted),
        fewer("available replicas", status("availableReplicas"), updated),
        fewer("ready replicas", status("readyReplicas"), wanted),
        (!progressed).then(|| "its new ReplicaSet is not available yet".to_owned()),
        (!available).then(|| "it is not available yet".to_owned()),
    ])
}

fn stateful_set(object: &Value) -> Assessment {
    if text(object, "/spec/updateStrategy/type") == "OnDelete" {
        return Assessment::current();
    }
    let wanted = number(object, "/spec/replicas", 1);
    let status = |field: &str| number(object, &format!("/status/{field}"), 0);
    let replicas = [
        fewer("replicas", status("replicas"), wanted),
        fewer("ready replicas", status("readyReplicas"), wanted),
        more("replicas", status("replicas"), wanted),
    ];
    let partition = number(object, "/spec/updateStrategy/rollingUpdate/partition", -1);
    if partition != -1 {
        let partitioned = fewer("updated replicas", status("updatedReplicas"), wanted - partition);
        return Assessment::first_of(replicas.into_iter().chain([partitioned]));
    }
    let revisions = (
        text(object, "/status/currentRevision"),
        text(object, "/status/updateRevision"),
    );
    Assessment::first_of(replicas.into_iter().chain([
        fewer("current replicas", status("currentReplicas"), wanted),
        (revisions.0 != revisions.1).then(|| "not all replicas have the new revision yet".to_owned()),
    ]))
}

fn daemon_set(object: &Value) -> Assessment {
    if field::at(object, "/metadata/generation").is_none() || field::at(object, "/status/observedGeneration").is_none()
    {
        return Assessment::in_progress("its controller has not seen it yet");
    }
    let status = |field: &str| number(object, &format!("/status/{field}"), 0);
    let wanted = number(object, "/status/desiredNumberScheduled", -1);
    if wanted == -1 {
        return Assessment::in_progress("its controller has not counted the nodes yet");
    }
    Assessment::first_of([
        fewer("scheduled pods", status("currentNumberScheduled"), wanted),
        fewer("updated pods", status("updatedNumberScheduled"), wanted),
        fewer("available pods", status("numberAvailable"), wanted),
        fewer("ready pods", status("numberReady"), wanted),
    ])
}

fn replica_set(object: &Value) -> Assessment {
    if let Some(condition) = conditions(object).find(|it| it.kind == "ReplicaFailure" && it.is_true()) {
        return Assessment::in_progress(condition.because());
    }
    let wanted = number(object, "/spec/replicas", 1);
    let status = |field: &str| number(object, &format!("/status/{field}"), 0);
    Assessment::first_of([
        fewer("labelled replicas", status("fullyLabeledReplicas"), wanted),
        fewer("available replicas", status("availableReplicas"), wanted),
        fewer("ready replicas", status("readyReplicas"), wanted),
        more("replicas", status("replicas"), wanted),
    ])
}

fn pod(object: &Value, now: Timestamp) -> Assessment {
    match text(object, "/status/phase") {
        "Succeeded" | "Failed" => Assessment::current(),
        "Running" => {
            if conditions(object).any(|it| it.kind == "Ready" && it.is_true()) {
                return Assessment::current();
            }
            let crashing: Vec<_> = items(object, "/status/containerStatuses")
                .iter()
                .filter(|container| text(container, "/state/waiting/reason") == "CrashLoopBackOff")
                .map(|container| text(container, "/name"))
                .collect();
            if crashing.is_empty() {
                return Assessment::in_progress("it runs but is not ready");
            }
            Assessment::failed(format!("containers crash again and again: {}", crashing.join(", ")))
        }
        "Pending" => {
            let unschedulable = conditions(object)
                .find(|it| it.kind == "PodScheduled" && it.status == "False" && it.reason == "Unschedulable");
            let created = text(object, "/metadata/creationTimestamp").parse::<Timestamp>().ok();
            match unschedulable {
                Some(condition) if created.is_none_or(|created| now.duration_since(created) >= SCHEDULE_WINDOW) => {
                    Assessment::failed(condition.because())
                }
                Some(condition) => Assessment::in_progress(condition.because()),
                None => Assessment::in_progress("it is pending"),
            }
        }
        "" => Assessment::in_progress("it was not seen by the cluster yet"),
        phase => Assessment {
            health: Health::Unknown,
            message: format!("its phase is `{phase}`"),
        },
    }
}

fn job(object: &Value) -> Assessment {
    let suspended = field::at(object, "/spec/suspend")
        .and_then(Value::as_bool)
        .unwrap_or_default();
    for condition in conditions(object).filter(Condition::is_true) {
        match condition.kind {
            "Complete" => return Assessment::current(),
            "Failed" => return Assessment::failed(condition.because()),
            "Suspended" if suspended => return Assessment::current(),
            _ => {}
        }
    }
    match text(object, "/status/startTime") {
        "" => Assessment::in_progress("it has not started yet"),
        _ => Assessment::current(),
    }
}

/// It cannot scale without what it needs to know. Before anything is known of it, it is on its way.
fn autoscaler(object: &Value) -> Assessment {
    for condition in conditions(object) {
        match (condition.kind, condition.status) {
            // Where what it scales is scaled to zero, it rests.
            ("ScalingActive", "False") if condition.reason == "ScalingDisabled" => {}
            ("AbleToScale" | "ScalingActive", "False") => return Assessment::in_progress(condition.because()),
            _ => {}
        }
    }
    Assessment::current()
}

fn claim(object: &Value) -> Assessment {
    match text(object, "/status/phase") {
        "Bound" => Assessment::current(),
        "Lost" => Assessment::failed("its volume is lost"),
        "" => Assessment::in_progress("it is not bound yet"),
        phase => Assessment::in_progress(format!("it is not bound: its phase is {phase}")),
    }
}

fn service(object: &Value) -> Assessment {
    if text(object, "/spec/type") == "LoadBalancer" && text(object, "/spec/clusterIP").is_empty() {
        return Assessment::in_progress("it has no cluster IP yet");
    }
    Assessment::current()
}

fn namespace(object: &Value) -> Assessment {
    match text(object, "/status/phase") {
        "Active" => Assessment::current(),
        "Terminating" => Assessment {
            health: Health::Terminating,
            message: "it is being deleted".to_owned(),
        },
        _ => Assessment::in_progress("it is not active yet"),
    }
}

fn definition(object: &Value) -> Assessment {
    for condition in conditions(object) {
        match (condition.kind, condition.status) {
            ("NamesAccepted", "False") => return Assessment::failed(condition.because()),
            ("Established", "False") if condition.reason != "Installing" => {
                return Assessment::failed(condition.because());
            }
            ("Established", "True") => return Assessment::current(),
            _ => {}
        }
    }
    Assessment::in_progress("it is not established yet")
}

fn api_service(object: &Value) -> Assessment {
    match conditions(object).find(|it| it.kind == "Available") {
        Some(condition) if condition.is_true() => Assessment::current(),
        Some(condition) => Assessment::in_progress(condition.because()),
        None => Assessment::in_progress("it was not checked yet"),
    }
}

/// Kinds without rules of their own: `Ready` if they have it, and else they are current as they are.
fn ready_condition(object: &Value) -> Assessment {
    match conditions(object).find(|it| it.kind == "Ready") {
        Some(condition) if !condition.is_true() => Assessment::in_progress(condition.because()),
        _ => Assessment::current(),
    }
}

fn fewer(what: &str, have: i64, want: i64) -> Option<String> {
    (have < want).then(|| format!("{have} of {want} {what}"))
}

fn more(what: &str, have: i64, want: i64) -> Option<String> {
    (have > want).then(|| format!("{} {what} too many still end", have - want))
}

struct Condition<'a> {
    kind: &'a str,
    status: &'a str,
    reason: &'a str,
    message: &'a str,
}

impl Condition<'_> {
    fn is_true(&self) -> bool {
        self.status == "True"
    }

    fn because(&self) -> String {
        match (self.reason, self.message) {
            ("", "") => format!("condition {} is {}", self.kind, self.status),
            (reason, "") => reason.to_owned(),
            ("", message) => message.to_owned(),
            (reason, message) => format!("{reason}: {message}"),
        }
    }
}

fn conditions(object: &Value) -> impl Iterator<Item = Condition<'_>> {
    items(object, "/status/conditions").iter().map(|condition| Condition {
        kind: text(condition, "/type"),
        status: text(condition, "/status"),
        reason: text(condition, "/reason"),
        message: text(condition, "/message"),
    })
}

fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    field::at(object, pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    field::at(object, pointer).and_then(Value::as_str).unwrap_or_default()
}

fn number(object: &Value, pointer: &str, default: i64) -> i64 {
    field::at(object, pointer).and_then(Value::as_i64).unwrap_or(default)
}

#[cfg(test)]
mod tests;
