//! The steps that bring an object into the form that the server stores, each a function of its arguments.

use serde_json::{Map, Value, json};

use crate::decode::{Notes, decode};
use crate::fields::Set;
use crate::schema::Type;
use crate::state::{State, Target, WriteOptions, text as text_at};
use crate::status::Refusal;
use crate::{defaults, typed, validate};

/// Metadata that only the server writes.
const SYSTEM: [&str; 7] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "resourceVersion",
    "selfLink",
];

const TEMPLATES: &str = "deprecated.daemonset.template.generation";

fn ty(target: &Target) -> &Type {
    &target.kind.versions[target.version].ty
}

/// `object` as its type has it, and warnings about what was dropped.
pub(super) fn decoded(target: &Target, object: Value, options: &WriteOptions) -> Result<(Value, Vec<String>), Refusal> {
    let mut notes = Notes::default();
    let mut out = decode(ty(target), object, &mut notes);
    validate::decoded(target, &notes)?;
    let warnings = unknown(target, &notes.unknown, options)?;
    out["kind"] = json!(target.kind.kind);
    out["apiVersion"] = json!(target.api_version());
    Ok((out, warnings))
}

fn unknown(target: &Target, unknown: &[String], options: &WriteOptions) -> Result<Vec<String>, Refusal> {
    let texts: Vec<String> = unknown.iter().map(|path| format!("unknown field {path:?}")).collect();
    if options.strict && !texts.is_empty() {
        let message = format!(
            "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
            target.kind.kind,
            target.kind.versions[target.version].name,
            target.kind.kind,
            texts.join(", ")
        );
        return Err(Refusal::bad_request(message));
    }
    Ok(texts)
}

/// Refuses a configuration that its type does not allow.
pub(super) fn check_config(target: &Target, config: &Value, options: &WriteOptions) -> Result<Vec<String>, Refusal> {
    let problems = typed::problems(ty(target), config);
    let text = match problems.as_slice() {
        [] if options.strict => return strict_config(target, config, options),
        [] => return Ok(Vec::new()),
        [only] => only.clone(),
        many => format!("errors:\n  {}", many.join("\n  ")),
    };
    let namespace = text_at(config, "/metadata/namespace");
    let message = format!(
        "failed to create typed patch object ({namespace}/{}; {}, Kind={}): {text}",
        target.name,
        target.api_version(),
        target.kind.kind
    );
    Err(Refusal::new(500, "", message))
}

/// Fields below an open map can still be unknown to the kind.
fn strict_config(target: &Target, config: &Value, options: &WriteOptions) -> Result<Vec<String>, Refusal> {
    let mut notes = Notes::default();
    decode(ty(target), config.clone(), &mut notes);
    unknown(target, &notes.unknown, options)
}

/// Clears what a create cannot set.
pub(super) fn fresh(target: &Target, object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        SYSTEM.iter().for_each(|field| drop(metadata.remove(*field)));
        metadata.remove("managedFields");
    }
    if target.kind.has_status()
        && let Some(map) = object.as_object_mut()
    {
        match ty(target).child("status") {
            (ty, true) if !target.kind.custom => drop(map.insert("status".to_owned(), ty.zero())),
            _ => drop(map.remove("status")),
        }
    }
}

/// Puts the parts that this endpoint cannot write back to what they were.
pub(super) fn over(target: &Target, before: &Value, object: &mut Value) {
    let kept = |object: &mut Value, key: &str| match before.get(key) {
        Some(value) => object[key] = value.clone(),
        None => drop(object.as_object_mut().map(|map| map.remove(key))),
    };
    let status_only = target.subresource == "status";
    if status_only {
        let keys: Vec<String> = before
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys.iter().filter(|key| !matches!(key.as_str(), "status" | "metadata")) {
            kept(object, key);
        }
        let sent = object["metadata"].take();
        object["metadata"] = before["metadata"].clone();
        if !target.kind.custom {
            for key in ["annotations", "finalizers"] {
                match sent.get(key) {
                    Some(value) => object["metadata"][key] = value.clone(),
                    None => drop(object["metadata"].as_object_mut().map(|map| map.remove(key))),
                }
            }
        }
        object["metadata"]["managedFields"] = sent["managedFields"].clone();
    } else if target.kind.has_status() {
        kept(object, "status");
    }
    for field in SYSTEM {
        match before["metadata"].get(field) {
            Some(value) => object["metadata"][field] = value.clone(),
            None => drop(object["metadata"].as_object_mut().map(|map| map.remove(field))),
        }
    }
    for field in ["name", "namespace"] {
        if let Some(value) = before["metadata"].get(field) {
            object["metadata"][field] = value.clone();
        }
    }
}

/// Fills in what the kind's defaults say.
pub(super) fn defaults(target: &Target, object: &mut Value) {
    if !target.kind.custom {
        defaults::apply(&target.kind.group, &target.kind.kind, object);
    }
    drop_nulls(target, object);
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for key in ["labels", "annotations", "finalizers", "ownerReferences"] {
            if metadata
                .get(key)
                .is_some_and(|value| *value == json!({}) || *value == json!([]))
            {
                metadata.remove(key);
            }
        }
    }
}

/// Removes nulls where the server would not write them: at the top and in the metadata.
pub(super) fn drop_nulls(target: &Target, object: &mut Value) {
    let always = |key: &str| {
        let field = ty(target).as_struct().and_then(|def| def.fields.get(key));
        field.is_some_and(|field| field.always && !target.kind.custom)
    };
    if let Some(map) = object.as_object_mut() {
        map.retain(|key, value| !value.is_null() || always(key));
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|_, value| !value.is_null());
    }
}

/// Fields that this endpoint cannot write, and so cannot own.
pub(super) fn reset(target: &Target) -> Set {
    match target.subresource.as_str() {
        "status" if target.kind.custom => Set::of(&[&["spec"], &["metadata"]]),
        "status" => Set::of(&[&["spec"], &["metadata", "labels"]]),
        _ if target.kind.has_status() => Set::of(&[&["status"]]),
        _ => Set::default(),
    }
}

/// The part of an object whose changes its generation counts.
fn counted(object: &Value) -> Map<String, Value> {
    let mut out = object.as_object().cloned().unwrap_or_default();
    for key in ["metadata", "status", "apiVersion", "kind"] {
        out.remove(key);
    }
    out
}

pub(super) fn count_generation(target: &Target, before: &Value, object: &mut Value) {
    if target.kind.generation && target.subresource != "status" {
        let same = if target.kind.custom && !target.kind.has_status() {
            let whole = |object: &Value| (counted(object), object.get("status").cloned());
            whole(before) == whole(object)
        } else {
            counted(before) == counted(object)
        };
        if !same {
            let generation = before["metadata"]["generation"].as_i64().unwrap_or(1);
            object["metadata"]["generation"] = json!(generation + 1);
        }
    }
}

/// A namespace's own finalizers, which are in its spec.
pub(super) fn namespace_finalizers(object: &Value) -> usize {
    if object["kind"] != "Namespace" {
        return 0;
    }
    object["spec"]["finalizers"].as_array().map_or(0, Vec::len)
}

impl State {
    /// Gives a new object what only the server gives, after ownership was recorded.
    pub(super) fn assign(&mut self, target: &Target, object: &mut Value) {
        let uid = self.uid();
        let metadata = &mut object["metadata"];
        metadata["uid"] = json!(uid);
        metadata["creationTimestamp"] = json!(self.now);
        if target.kind.generation {
            metadata["generation"] = json!(1);
        }
        match (target.kind.group.as_str(), target.kind.kind.as_str()) {
            ("", "Service") => self.assign_service(object),
            ("", "Namespace") => {
                object["spec"] = json!({"finalizers": ["kubernetes"]});
                object["status"] = json!({"phase": "Active"});
            }
            ("", "Pod") => {
                object["status"]["phase"] = json!("Pending");
                object["status"]["qosClass"] = json!("BestEffort");
            }
            ("", "PersistentVolumeClaim") => protect("kubernetes.io/pvc-protection", object),
            ("", "PersistentVolume") => protect("kubernetes.io/pv-protection", object),
            ("apps", "DaemonSet") => count_templates(1, object),
            ("batch", "Job") => select_own_pods(&uid, target, object),
            ("apiextensions.k8s.io", "CustomResourceDefinition") => {
                let mut versions = object["spec"]["versions"].as_array().into_iter().flatten();
                let stored = versions
                    .find(|version| version["storage"] == true)
                    .map(|version| version["name"].clone());
                object["status"] = json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""},
                    "storedVersions": [stored]});
            }
            _ => {}
        }
    }

    fn assign_service(&mut self, object: &mut Value) {
        let spec = &mut object["spec"];
        let kind = spec["type"].as_str().unwrap_or_default().to_owned();
        if kind == "ExternalName" {
            return;
        }
        if spec["clusterIP"].as_str().is_none_or(str::is_empty) {
            spec["clusterIP"] = json!(self.service_address());
        }
        spec["clusterIPs"] = json!([spec["clusterIP"]]);
        let anywhere = spec["clusterIP"] == "None" && spec["selector"].as_object().is_none_or(Map::is_empty);
        if spec["ipFamilies"].is_null() {
            spec["ipFamilies"] = if anywhere {
                json!(["IPv4", "IPv6"])
            } else {
                json!(["IPv4"])
            };
        }
        if anywhere && spec["ipFamilyPolicy"].is_null() {
            spec["ipFamilyPolicy"] = json!("RequireDualStack");
        }
        if spec["ipFamilyPolicy"].as_str().is_none_or(str::is_empty) {
            spec["ipFamilyPolicy"] = json!("SingleStack");
        }
        if kind == "NodePort" || kind == "LoadBalancer" {
            for port in spec["ports"].as_array_mut().into_iter().flatten() {
                if port["nodePort"].as_i64().unwrap_or(0) == 0 {
                    port["nodePort"] = json!(self.node_port());
                }
            }
        }
    }

    /// Keeps what the server gave, where an update left it out.
    pub(super) fn assign_again(&mut self, target: &Target, before: &Value, object: &mut Value) {
        if target.kind.is("", "Service") {
            for key in [
                "clusterIP",
                "clusterIPs",
                "ipFamilies",
                "ipFamilyPolicy",
                "healthCheckNodePort",
            ] {
                if object["spec"][key].is_null() && !before["spec"][key].is_null() {
                    object["spec"][key] = before["spec"][key].clone();
                }
            }
            let object_type = text_at(object, "/spec/type").to_owned();
            if let Some(spec) = object["spec"].as_object_mut() {
                spec.retain(|_, value| !value.is_null());
                if object_type == "ClusterIP" {
                    spec.remove("externalTrafficPolicy");
                    spec.remove("allocateLoadBalancerNodePorts");
                }
            }
            let numbers = before["spec"]["ports"].as_array().cloned().unwrap_or_default();
            for port in object["spec"]["ports"].as_array_mut().into_iter().flatten() {
                let known = numbers
                    .iter()
                    .find(|known| known["port"] == port["port"] && known["name"] == port["name"]);
                if object_type == "ClusterIP"
                    && let Some(port) = port.as_object_mut()
                {
                    port.remove("nodePort");
                }
                if object_type != "ClusterIP"
                    && let Some(number) = known.and_then(|known| known.get("nodePort"))
                    && port.get("nodePort").is_none()
                {
                    port["nodePort"] = number.clone();
                }
            }
            self.assign_service(object);
        } else if target.kind.is("apps", "DaemonSet") {
            let count = text_at(&before["metadata"]["annotations"], &format!("/{TEMPLATES}"))
                .parse()
                .unwrap_or(0);
            let same = before["spec"]["template"] == object["spec"]["template"];
            count_templates(if same { count } else { count + 1 }, object);
        } else if target.kind.is("", "Namespace") && object["spec"]["finalizers"].is_null() {
            object["spec"] = before["spec"].clone();
        }
    }
}

fn protect(finalizer: &str, object: &mut Value) {
    let finalizers = &mut object["metadata"]["finalizers"];
    match finalizers.as_array_mut() {
        Some(finalizers) if finalizers.iter().any(|known| known == finalizer) => {}
        Some(finalizers) => finalizers.push(json!(finalizer)),
        None => *finalizers = json!([finalizer]),
    }
}

/// Counts a DaemonSet's templates where the old API kept the count.
fn count_templates(count: i64, object: &mut Value) {
    if !object["metadata"]["annotations"].is_object() {
        object["metadata"]["annotations"] = json!({});
    }
    object["metadata"]["annotations"][TEMPLATES] = json!(count.to_string());
}

fn select_own_pods(uid: &str, target: &Target, object: &mut Value) {
    let spec = &mut object["spec"];
    if spec["manualSelector"] == json!(true) {
        return;
    }
    spec["selector"] = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}});
    if !spec["template"]["metadata"]["labels"].is_object() {
        spec["template"]["metadata"]["labels"] = json!({});
    }
    for (key, value) in [("controller-uid", uid), ("job-name", &target.name)] {
        spec["template"]["metadata"]["labels"][key] = json!(value);
        spec["template"]["metadata"]["labels"][format!("batch.kubernetes.io/{key}")] = json!(value);
    }
    defaults::job_labels(object);
}
