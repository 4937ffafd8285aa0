//! Server-side apply: ownership, conflicts, removal, and what counts as no change.

use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::support::{api, deployment, refusal, sim, value};

fn as_manager(name: &str) -> PatchParams {
    PatchParams::apply(name)
}

fn web(image: &str) -> Value {
    value(&deployment("web", image))
}

#[tokio::test]
async fn an_apply_owns_exactly_what_it_names() {
    let cluster = sim();
    let api = api(&cluster, "apps", "v1", "Deployment", "deployments", Some("default"));
    let mut config = web("nginx:1");
    config["spec"]["template"]["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80}]);
    config["metadata"]["labels"] = json!({"app": "web"});
    api.patch("web", &as_manager("driftless"), &Patch::Apply(&config))
        .await
        .expect("applied");
    let live = value(&api.get("web").await.expect("there"));
    let entries = live["metadata"]["managedFields"].as_array().expect("owners").clone();
    assert_eq!(
        (&entries[0]["manager"], &entries[0]["operation"]),
        (&json!("driftless"), &json!("Apply"))
    );
    let port = "k:{\"containerPort\":80,\"protocol\":\"TCP\"}";
    let expected = json!({
        "f:metadata": {"f:labels": {"f:app": {}}},
        "f:spec": {
            "f:selector": {},
            "f:template": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {
                    ".": {}, "f:image": {}, "f:name": {}, "f:ports": {port: {".": {}, "f:containerPort": {}}},
                }}},
            },
        },
    });
    assert_eq!(entries[0]["fieldsV1"], expected);
    let controller = &entries[1];
    assert_eq!(controller["manager"], "kube-controller-manager");
    assert_eq!(controller["subresource"], "status");
}

#[tokio::test]
async fn the_same_apply_again_writes_nothing() {
    let cluster = sim();
    let api = api(&cluster, "apps", "v1", "Deployment", "deployments", Some("default"));
    let mut config = web("nginx:1");
    config["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1000m"}});
    api.patch("web", &as_manager("driftless"), &Patch::Apply(&config))
        .await
        .expect("applied");
    let before = cluster.version();
    let again = api
        .patch("web", &as_manager("driftless"), &Patch::Apply(&config))
        .await
        .expect("applied");
    assert_eq!(cluster.version(), before);
    assert_eq!(value(&again)["metadata"]["generation"], 1);
}

#[tokio::test]
async fn a_dry_run_shows_the_result_and_writes_nothing() {
    let cluster = sim();
    let api = api(&cluster, "apps", "v1", "Deployment", "deployments", Some("default"));
    let params = PatchParams {
        dry_run: true,
        ..as_manager("driftless")
    };
    let shown = api
        .patch("web", &params, &Patch::Apply(&web("nginx:1")))
        .await
        .expect("shown");
    assert_eq!(value(&shown)["spec"]["replicas"], 1);
    assert_eq!(refusal(api.get("web").await).code, 404);
}

#[tokio::test]
async fn conflicts_name_the_manager_and_the_field() {
    let cluster = sim();
    let api = api(&cluster, "apps", "v1", "Deployment", "deployments", Some("default"));
    let params = PostParams {
        field_manager: Some("kubectl-create".to_owned()),
        ..PostParams::default()
    };
    api.create(&params, &deployment("web", "nginx:1"))
        .await
        .expect("created");
    let mut config = web("nginx:2");
    let first = refusal(api.patch("web", &as_manager("driftless"), &Patch::Apply(&config)).await);
    let field = ".spec.template.spec.containers[name=\"web\"].image";
    assert_eq!(first.code, 409);
    assert_eq!(
        first.message,
        format!("Apply failed with 1 conflict: conflict with \"kubectl-create\" using apps/v1: {field}")
    );
    let cause = &first.details.expect("details").causes[0];
    assert_eq!(
        (cause.reason.as_str(), cause.field.as_str()),
        ("FieldManagerConflict", field)
    );
    assert_eq!(cause.message, "conflict with \"kubectl-create\" using apps/v1");
    config["spec"]["replicas"] = json!(5);
    let both = refusal(api.patch("web", &as_manager("driftless"), &Patch::Apply(&config)).await);
    assert_eq!(
        both.message,
        format!(
            "Apply failed with 2 conflicts: conflicts with \"kubectl-create\" using apps/v1:\n- .spec.replicas\n- {field}"
        )
    );
    api.patch("web", &as_manager("driftless").force(), &Patch::Apply(&config))
        .await
        .expect("forced");
    assert_eq!(value(&api.get("web").await.expect("there"))["spec"]["replicas"], 5);
}

#[tokio::test]
async fn what_is_no_longer_applied_goes_back_to_its_default() {
    let cluster = sim();
    let api = api(&cluster, "apps", "v1", "Deployment", "deployments", Some("default"));
    let mut config = web("nginx:1");
    config["spec"]["replicas"] = json!(3);
    config["metadata"]["annotations"] = json!({"a": "1"});
    api.patch("web", &as_manager("driftless"), &Patch::Apply(&config))
        .await
        .expect("applied");
    api.patch("web", &as_manager("driftless"), &Patch::Apply(&web("nginx:1")))
        .await
        .expect("applied");
    let live = value(&api.get("web").await.expect("there"));
    assert_eq!(live["spec"]["replicas"], 1);
    assert!(live["metadata"]["annotations"].get("a").is_none());
    assert_eq!(live["metadata"]["generation"], 2);
}

#[tokio::test(start_paused = true)]
async fn time_of_an_apply_is_when_it_last_changed_something() {
    let cluster = sim();
    let api = api(&cluster, "", "v1", "ConfigMap", "configmaps", Some("default"));
    let time_after_apply = async |text: &str| {
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": text}});
        let applied = api.patch("a", &as_manager("driftless"), &Patch::Apply(&config)).await;
        value(&applied.expect("applied"))["metadata"]["managedFields"][0]["time"].clone()
    };
    let first = time_after_apply("1").await;
    assert_eq!(time_after_apply("1").await, first);
    let changed = time_after_apply("2").await;
    assert!(changed.as_str() > first.as_str(), "{changed} after {first}");
}

#[tokio::test]
async fn an_edit_takes_the_field_that_it_changes() {
    let cluster = sim();
    let api = api(&cluster, "", "v1", "ConfigMap", "configmaps", Some("default"));
    let config =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "1", "l": "1"}});
    api.patch("a", &as_manager("driftless"), &Patch::Apply(&config))
        .await
        .expect("applied");
    let edit = PatchParams {
        field_manager: Some("kubectl-edit".to_owned()),
        ..PatchParams::default()
    };
    api.patch("a", &edit, &Patch::Merge(&json!({"data": {"k": "2"}})))
        .await
        .expect("edited");
    let live = value(&api.get("a").await.expect("there"));
    let entries = live["metadata"]["managedFields"].as_array().expect("owners");
    assert_eq!(entries[0]["fieldsV1"], json!({"f:data": {"f:l": {}}}));
    assert_eq!(entries[1]["fieldsV1"], json!({"f:data": {"f:k": {}}}));
    let refused = refusal(api.patch("a", &as_manager("driftless"), &Patch::Apply(&config)).await);
    assert_eq!(
        refused.message,
        "Apply failed with 1 conflict: conflict with \"kubectl-edit\" using v1: .data.k"
    );
}

#[tokio::test]
async fn unknown_fields_and_wrong_types_are_refused_by_name() {
    let cluster = sim();
    let api = api(&cluster, "apps", "v1", "Deployment", "deployments", Some("default"));
    let mut config = web("nginx:1");
    config["spec"]["replikas"] = json!(2);
    let unknown = refusal(api.patch("web", &as_manager("driftless"), &Patch::Apply(&config)).await);
    assert_eq!(
        unknown.message,
        "failed to create typed patch object (/web; apps/v1, Kind=Deployment): .spec.replikas: field not declared in schema"
    );
    let mut wrong = deployment("web", "nginx:1");
    wrong.data["spec"]["replicas"] = json!("two");
    let wrong = refusal(api.create(&PostParams::default(), &wrong).await);
    assert_eq!(wrong.code, 400);
    assert!(
        wrong
            .message
            .contains("json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"),
        "{}",
        wrong.message
    );
}

#[tokio::test]
async fn immutable_fields_are_refused_by_name() {
    let cluster = sim();
    let api = api(&cluster, "apps", "v1", "Deployment", "deployments", Some("default"));
    api.patch("web", &as_manager("driftless"), &Patch::Apply(&web("nginx:1")))
        .await
        .expect("applied");
    let mut config = web("nginx:1");
    config["spec"]["selector"]["matchLabels"] = json!({"app": "other"});
    config["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    let refused = refusal(api.patch("web", &as_manager("driftless"), &Patch::Apply(&config)).await);
    assert_eq!(refused.code, 422);
    assert!(
        refused.message.contains("spec.selector: Invalid value:"),
        "{}",
        refused.message
    );
    assert!(refused.message.ends_with(": field is immutable"), "{}", refused.message);
}

#[tokio::test]
async fn an_apply_in_a_missing_namespace_is_refused() {
    let cluster = sim();
    let api = api(&cluster, "", "v1", "ConfigMap", "configmaps", Some("nope"));
    let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let refused = refusal(api.patch("a", &as_manager("driftless"), &Patch::Apply(&config)).await);
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (404, "namespaces \"nope\" not found")
    );
}
