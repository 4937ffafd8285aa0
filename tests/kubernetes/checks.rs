//! The checks at push against a real API server: what they refuse it refuses, and what it cannot read they refuse.
//!
//! Everything is a server-side apply as the agent makes it, as a dry run and with strict field validation.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use driftless_check::{Checks, Finding, Minor, Severity};
use driftless_model::{
    canonical,
    intake::{self, Placed, Text},
    manifest::Manifest,
};
use driftless_tests::{ControlPlane, eventually, fixture, say};
use kube::{
    Client,
    api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams, ValidationDirective},
};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(60);
/// The version of the API server under test.
const VERSION: Minor = Minor::new(36);
/// Objects derived from real ones, each with one thing changed.
const MUTATIONS: usize = 300;

fn placed(content: &str) -> Result<Vec<Placed>> {
    let text = Text {
        name: "fixture.yaml".to_owned(),
        content: content.to_owned(),
    };
    intake::read_placed(&[Arc::new(text)], "default").map_err(|problems| anyhow::anyhow!("{problems:?}"))
}

fn errors(checks: &Checks, placed: &[Placed]) -> Vec<Finding> {
    let mut findings = checks.run(placed);
    findings.retain(|finding| finding.severity == Severity::Error);
    findings
}

/// Why the API server refuses an object; `None` when it takes it.
async fn refusal(client: &Client, manifest: &Manifest, dry_run: bool) -> Result<Option<String>> {
    let id = manifest.id();
    let kind = GroupVersionKind::gvk(&id.group, manifest.version(), &id.kind);
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = match &id.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let mut parameters = PatchParams::apply("checks").force();
    parameters.dry_run = dry_run;
    parameters.field_validation = Some(ValidationDirective::Strict);
    match api.patch(&id.name, &parameters, &Patch::Apply(manifest.value())).await {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) => Ok(Some(status.message)),
        Err(error) => Err(error).context(id.to_string()),
    }
}

/// Whether the API server could not read an object, rather than found its values wrong.
fn is_about_structure(message: &str) -> bool {
    [
        "field not declared in schema",
        "strict decoding error",
        "unknown field",
        "failed to create typed patch object",
        "failed to convert new object",
        "cannot unmarshal",
    ]
    .iter()
    .any(|sign| message.contains(sign))
}

/// Both fixtures without their Secrets, which no push may hold.
fn applications() -> Result<Vec<Placed>> {
    let prometheus = fixture::documents(&fixture::kube_prometheus()?, |document| {
        !document.contains("\nkind: Secret\n")
    });
    let mut objects = placed(&prometheus)?;
    objects.extend(placed(fixture::ONLINE_BOUTIQUE)?);
    Ok(objects)
}

/// Namespaces and custom kinds must be there, even for a dry run of what is in them.
async fn prepare(client: &Client, objects: &[Placed]) -> Result<()> {
    for kind in ["Namespace", "CustomResourceDefinition"] {
        for placed in objects.iter().filter(|placed| placed.manifest().id().kind == kind) {
            let refused = refusal(client, placed.manifest(), false).await?;
            ensure!(refused.is_none(), "{}: {refused:?}", placed.manifest().id());
        }
    }
    eventually(SOON, "custom kinds to be served", async || {
        for placed in objects {
            if let Some(refused) = refusal(client, placed.manifest(), true).await?
                && (refused.contains("not found") || refused.contains("could not find"))
            {
                return Err(anyhow::anyhow!("{}: {refused}", placed.manifest().id()));
            }
        }
        Ok(Some(()))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn real_applications_pass_both_the_checks_and_the_api_server() -> Result<()> {
    let Some(plane) = ControlPlane::shared("real_applications_pass_both_the_checks_and_the_api_server").await? else {
        return Ok(());
    };
    let client = plane.client()?;
    let objects = applications()?;
    prepare(&client, &objects).await?;
    for placed in &objects {
        let refused = refusal(&client, placed.manifest(), true).await?;
        ensure!(refused.is_none(), "{}: {refused:?}", placed.manifest().id());
    }
    let findings = Checks::new([VERSION], []).run(&objects);
    let shown: Vec<_> = findings.iter().map(ToString::to_string).collect();
    ensure!(findings.is_empty(), "{}", shown.join("\n"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_objects_are_refused_by_both() -> Result<()> {
    let Some(plane) = ControlPlane::shared("broken_objects_are_refused_by_both").await? else {
        return Ok(());
    };
    let client = plane.client()?;
    for (what, object) in broken() {
        let object = with_identity(object);
        let placed = placed(&object.to_string())?;
        let found = errors(&Checks::new([VERSION], []), &placed);
        let refused = refusal(&client, placed[0].manifest(), true).await?;
        ensure!(
            refused.is_some(),
            "{what}: the API server takes it, the checks say {found:?}"
        );
        ensure!(!found.is_empty(), "{what}: only the API server refuses it: {refused:?}");
    }
    for (what, object) in unusual() {
        let object = with_identity(object);
        let placed = placed(&object.to_string())?;
        let found = errors(&Checks::new([VERSION], []), &placed);
        let refused = refusal(&client, placed[0].manifest(), true).await?;
        ensure!(refused.is_none(), "{what}: the API server refuses it: {refused:?}");
        ensure!(found.is_empty(), "{what}: only the checks refuse it: {found:?}");
    }
    Ok(())
}

fn with_identity(mut object: Value) -> Value {
    if object["metadata"]["name"].is_null() {
        object["metadata"]["name"] = Value::from("checked");
    }
    object
}

fn pod(container: Value) -> Value {
    let mut main = json!({"name": "main", "image": "nginx"});
    if let (Some(main), Value::Object(container)) = (main.as_object_mut(), container) {
        main.extend(container);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [main]}})
}

fn config_map(fields: Value) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    if let (Some(object), Value::Object(fields)) = (object.as_object_mut(), fields) {
        object.extend(fields);
    }
    object
}

fn deployment(pointer: &str, value: Option<Value>) -> Value {
    let mut object = fixture::deployment("checked", "nginx", 1);
    let (parent, field) = pointer.rsplit_once('/').expect("a pointer to a field");
    let fields = object
        .pointer_mut(parent)
        .and_then(Value::as_object_mut)
        .expect("the parent is an object");
    match value {
        Some(value) => drop(fields.insert(field.to_owned(), value)),
        None => drop(fields.remove(field)),
    }
    object
}

fn broken() -> Vec<(&'static str, Value)> {
    let template = "/spec/template/spec";
    vec![
        ("unknown field", deployment("/spec/replica", Some(json!(1)))),
        (
            "unknown field deep down",
            deployment(&format!("{template}/hostNetwrok"), Some(json!(true))),
        ),
        ("other case", deployment("/spec/Replicas", Some(json!(1)))),
        (
            "unknown field of metadata",
            deployment("/metadata/label", Some(json!({}))),
        ),
        ("text for an integer", deployment("/spec/replicas", Some(json!("3")))),
        (
            "fraction for an integer",
            deployment("/spec/replicas", Some(json!(1.5))),
        ),
        (
            "mapping for a list",
            deployment(&format!("{template}/containers"), Some(json!({}))),
        ),
        ("list for a mapping", deployment("/spec/selector", Some(json!([])))),
        ("text for a boolean", deployment("/spec/paused", Some(json!("yes")))),
        ("no selector", deployment("/spec/selector", None)),
        ("no template", deployment("/spec/template", None)),
        ("no containers", deployment(&format!("{template}/containers"), None)),
        (
            "selector of others",
            deployment("/spec/selector/matchLabels", Some(json!({"app": "other"}))),
        ),
        (
            "container without name",
            deployment(&format!("{template}/containers"), Some(json!([{"image": "a"}]))),
        ),
        (
            "number in the environment",
            pod(json!({"env": [{"name": "A", "value": 1}]})),
        ),
        (
            "variable twice",
            pod(json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]})),
        ),
        (
            "port twice",
            pod(json!({"ports": [{"containerPort": 53}, {"containerPort": 53, "protocol": "TCP"}]})),
        ),
        ("policy that there is not", pod(json!({"imagePullPolicy": "always"}))),
        (
            "quantity with a wrong suffix",
            pod(json!({"resources": {"limits": {"memory": "1GB"}}})),
        ),
        (
            "boolean for a quantity",
            pod(json!({"resources": {"limits": {"cpu": true}}})),
        ),
        ("empty quantity", pod(json!({"resources": {"limits": {"cpu": ""}}}))),
        (
            "fraction for a port",
            pod(json!({"livenessProbe": {"httpGet": {"port": 80.5}}})),
        ),
        (
            "huge port",
            pod(json!({"livenessProbe": {"httpGet": {"port": 3_000_000_000_u64}}})),
        ),
        (
            "probe without port",
            pod(json!({"livenessProbe": {"httpGet": {"path": "/"}}})),
        ),
        ("number in data", config_map(json!({"data": {"a": 1}}))),
        ("no base64", config_map(json!({"binaryData": {"a": "hi!"}}))),
        (
            "finalizer twice",
            config_map(json!({"metadata": {"name": "checked", "finalizers": ["a/b", "a/b"]}})),
        ),
        (
            "removed version",
            json!({"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget"}),
        ),
        ("wrong group", json!({"apiVersion": "v1", "kind": "Deployment"})),
        ("no such kind", json!({"apiVersion": "apps/v1", "kind": "Deploymnet"})),
    ]
}

/// What looks wrong and is not.
fn unusual() -> Vec<(&'static str, Value)> {
    vec![
        ("null fields", deployment("/spec/paused", Some(json!(null)))),
        ("null for a text in data", config_map(json!({"data": {"a": null}}))),
        (
            "base64 with a break",
            config_map(json!({"binaryData": {"a": "aG\nk="}})),
        ),
        (
            "number for a quantity",
            pod(json!({"resources": {"limits": {"cpu": 0.5}}})),
        ),
        (
            "quantity with blanks",
            pod(json!({"resources": {"limits": {"cpu": "1 "}}})),
        ),
        (
            "exponent in a quantity",
            pod(json!({"resources": {"limits": {"memory": "1e6"}}})),
        ),
        (
            "name for a port",
            pod(json!({"livenessProbe": {"httpGet": {"port": "http"}}})),
        ),
        (
            "two protocols",
            pod(json!({"ports": [{"containerPort": 53}, {"containerPort": 53, "protocol": "UDP"}]})),
        ),
        ("empty policy", pod(json!({"imagePullPolicy": ""}))),
        ("null argument", pod(json!({"args": [null]}))),
        (
            "header without value",
            pod(json!({"livenessProbe": {"httpGet": {"port": 1, "httpHeaders": [{"name": "a"}]}}})),
        ),
    ]
}

/// Changes one thing in a real object, many times over, and asks both.
#[tokio::test(flavor = "multi_thread")]
async fn checks_and_api_server_agree_on_objects_with_one_slip() -> Result<()> {
    let Some(plane) = ControlPlane::shared("checks_and_api_server_agree_on_objects_with_one_slip").await? else {
        return Ok(());
    };
    let client = plane.client()?;
    let objects = applications()?;
    prepare(&client, &objects).await?;
    let known: Vec<_> = objects.iter().map(|placed| placed.manifest().clone()).collect();
    // Large ones are slow to send and no different.
    let small: Vec<_> = known
        .iter()
        .filter(|manifest| manifest.canonical().len() < 20_000)
        .collect();
    let checks = Checks::new([VERSION], known.iter().cloned());
    let (mut refused_by_both, mut taken_by_both, mut values) = (0, 0, 0);
    for number in 0..MUTATIONS {
        let manifest = small[number * 7 % small.len()];
        let Some(object) = mutated(manifest.value(), number) else {
            continue;
        };
        let text = String::from_utf8(canonical::to_vec(&object))?;
        // What is no manifest at all is refused before the checks.
        let Ok(placed) = placed(&text) else { continue };
        if placed[0].manifest().id() != manifest.id() {
            continue;
        }
        let found = errors(&checks, &placed);
        match refusal(&client, placed[0].manifest(), true).await? {
            None if found.is_empty() => taken_by_both += 1,
            None => anyhow::bail!("only the checks refuse {text}:\n{}", found[0]),
            Some(_) if !found.is_empty() => refused_by_both += 1,
            Some(message) if is_about_structure(&message) => anyhow::bail!("only {message}:\n{text}"),
            // The API server knows what values mean; the checks do not.
            Some(_) => values += 1,
        }
    }
    say(&format!(
        "one slip each: {refused_by_both} refused by both, {taken_by_both} taken by both, {values} refused for a value"
    ));
    ensure!(
        refused_by_both > MUTATIONS / 4,
        "only {refused_by_both} of {MUTATIONS} were broken at all"
    );
    Ok(())
}

/// `object` with one field misspelled, retyped or gone; which one and how is told by `number`.
fn mutated(mut object: Value, number: usize) -> Option<Value> {
    let mut pointers = Vec::new();
    collect(&object, "", &mut pointers);
    let pointer = pointers.get(number * 31 % pointers.len().max(1))?.clone();
    let (parent, field) = pointer.rsplit_once('/')?;
    let field = field.replace("~1", "/").replace("~0", "~");
    let fields = object.pointer_mut(parent)?.as_object_mut()?;
    let value = fields.remove(&field)?;
    match number % 5 {
        0 => drop(fields.insert(format!("{field}x"), value)),
        1 => drop(fields.insert(field, json!(17))),
        2 => drop(fields.insert(field, json!("text"))),
        3 => drop(fields.insert(field, json!({"key": "value"}))),
        _ => {}
    }
    Some(object)
}

/// Every field of every object in it, apart from what identifies it.
fn collect(value: &Value, pointer: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                if !matches!(
                    pointer.as_str(),
                    "/apiVersion" | "/kind" | "/metadata/name" | "/metadata/namespace"
                ) {
                    found.push(pointer.clone());
                }
                collect(value, &pointer, found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, &format!("{pointer}/{index}"), found);
            }
        }
        _ => {}
    }
}
