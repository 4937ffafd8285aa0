use super::*;
use crate::schema::builtin;

fn write<'a>(ty: &'a Type, manager: &'a str, none: &'a Set) -> Write<'a> {
    Write {
        ty,
        manager,
        api_version: "apps/v1",
        subresource: "",
        reset: none,
        now: "2026-01-01T00:00:00Z",
    }
}

fn config(image: &str, extra: Value) -> Value {
    let mut container = json!({"name": "web", "image": image});
    container
        .as_object_mut()
        .expect("an object")
        .extend(extra.as_object().cloned().unwrap_or_default());
    json!({"spec": {"template": {"spec": {"containers": [container]}}}})
}

#[test]
fn an_apply_drops_what_it_no_longer_names() {
    let (ty, none) = (builtin("apps.v1.Deployment"), Set::default());
    let mut owners = Owners::default();
    let first = config("a", json!({"ports": [{"containerPort": 80}], "args": ["x"]}));
    let write = write(&ty, "one", &none);
    let live = owners.apply(&write, &ty.zero(), &first, false).expect("no conflict");
    let second = config("b", json!({}));
    let live = owners.apply(&write, &live, &second, false).expect("no conflict");
    assert_eq!(live["spec"]["template"]["spec"], second["spec"]["template"]["spec"]);
}

#[test]
fn a_field_of_another_manager_is_a_conflict_until_forced() {
    let (ty, none) = (builtin("apps.v1.Deployment"), Set::default());
    let mut owners = Owners::default();
    let live = owners
        .apply(&write(&ty, "one", &none), &ty.zero(), &config("a", json!({})), false)
        .expect("no conflict");
    let conflicts = owners
        .clone()
        .apply(&write(&ty, "two", &none), &live, &config("b", json!({})), false)
        .expect_err("a conflict");
    assert_eq!(
        conflict_message(&conflicts),
        "Apply failed with 1 conflict: conflict with \"one\": .spec.template.spec.containers[name=\"web\"].image"
    );
    let live = owners
        .apply(&write(&ty, "two", &none), &live, &config("b", json!({})), true)
        .expect("forced");
    let mut object = json!({"metadata": {}});
    owners.store(&mut object);
    let shared = "k:{\"name\":\"web\"}";
    let first =
        &object["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"][shared];
    assert_eq!(*first, json!({".": {}, "f:name": {}}));
    assert_eq!(live["spec"]["template"]["spec"]["containers"][0]["image"], "b");
}

#[test]
fn a_field_that_another_manager_also_applies_stays() {
    let (ty, none) = (builtin("core.v1.ConfigMap"), Set::default());
    let mut owners = Owners::default();
    let both = json!({"data": {"a": "1", "b": "2"}});
    let live = owners
        .apply(&write(&ty, "one", &none), &ty.zero(), &both, false)
        .expect("no conflict");
    let live = owners
        .apply(&write(&ty, "two", &none), &live, &json!({"data": {"b": "2"}}), false)
        .expect("the same value");
    let live = owners
        .apply(&write(&ty, "one", &none), &live, &json!({"metadata": {}}), false)
        .expect("no conflict");
    assert_eq!(live["data"], json!({"b": "2"}));
}

#[test]
fn a_create_owns_maps_that_were_not_there_but_not_the_servers_own_structs() {
    let (ty, none) = (builtin("apps.v1.Deployment"), Set::default());
    let mut owners = Owners::default();
    let mut new = ty.zero();
    new["metadata"] = json!({"name": "web", "labels": {"app": "web"}});
    new["spec"]["replicas"] = json!(1);
    new["spec"]["strategy"] = json!({"rollingUpdate": {"maxSurge": 1}});
    owners.update(&write(&ty, "kubectl", &none), &ty.zero(), &new);
    owners.store(&mut new);
    let expected = json!({
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {"f:replicas": {}, "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}}},
    });
    assert_eq!(new["metadata"]["managedFields"][0]["fieldsV1"], expected);
}
