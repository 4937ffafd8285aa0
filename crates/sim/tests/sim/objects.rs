//! Create, read, replace, patch, delete: what a client sees of single objects.

use crate::support::{api, config_map, deployment, refusal, sim, value};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, PropagationPolicy};
use serde_json::{Value, json};

#[tokio::test]
async fn a_created_object_has_what_the_server_gives() {
    let cluster = sim();
    let api = api(&cluster, "", "v1", "ConfigMap", "configmaps", Some("default"));
    let made = api
        .create(&PostParams::default(), &config_map("a", json!({"k": "v"})))
        .await
        .expect("created");
    let made = value(&made);
    assert_eq!(made["metadata"]["namespace"], "default");
    assert!(made["metadata"]["uid"].is_string() && made["metadata"]["creationTimestamp"].is_string());
    assert!(made["metadata"].get("generation").is_none());
    assert_eq!(made["kind"], "ConfigMap");
}

#[tokio::test]
async fn refusals_read_like_the_servers() {
    let cluster = sim();
    let here = api(&cluster, "", "v1", "ConfigMap", "configmaps", Some("default"));
    let nowhere = api(&cluster, "", "v1", "ConfigMap", "configmaps", Some("nope"));
    let params = PostParams::default();
    let gone = refusal(here.get("x").await);
    assert_eq!((gone.code, gone.message.as_str()), (404, "configmaps \"x\" not found"));
    let no_namespace = refusal(nowhere.create(&params, &config_map("x", json!({}))).await);
    assert_eq!(
        (no_namespace.code, no_namespace.message.as_str()),
        (404, "namespaces \"nope\" not found")
    );
    here.create(&params, &config_map("x", json!({})))
        .await
        .expect("created");
    let twice = refusal(here.create(&params, &config_map("x", json!({}))).await);
    assert_eq!((twice.code, twice.reason.as_str()), (409, "AlreadyExists"));
    let bad = refusal(here.create(&params, &config_map("Bad_Name", json!({}))).await);
    assert_eq!((bad.code, bad.reason.as_str()), (422, "Invalid"));
    assert!(
        bad.message.starts_with(
            "ConfigMap \"Bad_Name\" is invalid: metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123"
        ),
        "{}",
        bad.message
    );
}

#[tokio::test]
async fn a_replace_of_an_old_version_conflicts() {
    let cluster = sim();
    let api = api(&cluster, "", "v1", "ConfigMap", "configmaps", Some("default"));
    let first = api
        .create(&PostParams::default(), &config_map("a", json!({"k": "1"})))
        .await
        .expect("created");
    let mut next = first.clone();
    next.data["data"]["k"] = json!("2");
    api.replace("a", &PostParams::default(), &next).await.expect("replaced");
    let late = refusal(api.replace("a", &PostParams::default(), &next).await);
    assert_eq!((late.code, late.reason.as_str()), (409, "Conflict"));
    assert!(
        late.message
            .starts_with("Operation cannot be fulfilled on configmaps \"a\": the object has been modified")
    );
}

#[tokio::test]
async fn generation_counts_changes_of_the_spec_only() {
    let cluster = sim();
    let api = api(&cluster, "apps", "v1", "Deployment", "deployments", Some("default"));
    api.create(&PostParams::default(), &deployment("web", "nginx:1"))
        .await
        .expect("created");
    let generation = async || value(&api.get("web").await.expect("there"))["metadata"]["generation"].clone();
    assert_eq!(generation().await, 1);
    let label = json!({"metadata": {"labels": {"x": "y"}}});
    api.patch("web", &PatchParams::default(), &Patch::Merge(&label))
        .await
        .expect("patched");
    assert_eq!(generation().await, 1);
    let scale = json!({"spec": {"replicas": 3}});
    api.patch("web", &PatchParams::default(), &Patch::Merge(&scale))
        .await
        .expect("patched");
    assert_eq!(generation().await, 2);
}

#[tokio::test]
async fn a_patch_that_changes_nothing_writes_nothing() {
    let cluster = sim();
    let api = api(&cluster, "apps", "v1", "Deployment", "deployments", Some("default"));
    api.create(&PostParams::default(), &deployment("web", "nginx:1"))
        .await
        .expect("created");
    let before = cluster.version();
    let same = json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "nginx:1"}]}}}});
    api.patch("web", &PatchParams::default(), &Patch::Strategic(&same))
        .await
        .expect("patched");
    assert_eq!(cluster.version(), before);
}

#[tokio::test]
async fn a_status_write_leaves_the_spec_and_the_other_way_round() {
    let cluster = sim();
    let api = api(&cluster, "apps", "v1", "Deployment", "deployments", Some("default"));
    api.create(&PostParams::default(), &deployment("web", "nginx:1"))
        .await
        .expect("created");
    let both = json!({"spec": {"replicas": 9}, "status": {"collisionCount": 7}});
    api.patch_status("web", &PatchParams::default(), &Patch::Merge(&both))
        .await
        .expect("patched");
    let live = value(&api.get("web").await.expect("there"));
    assert_eq!(live["spec"]["replicas"], 1);
    api.patch(
        "web",
        &PatchParams::default(),
        &Patch::Merge(&json!({"status": {"replicas": 77}})),
    )
    .await
    .expect("patched");
    assert_eq!(value(&api.get("web").await.expect("there"))["status"]["replicas"], 1);
}

#[tokio::test]
async fn quantities_are_canonical_and_defaults_are_there() {
    let cluster = sim();
    let api = api(&cluster, "apps", "v1", "Deployment", "deployments", Some("default"));
    let mut object = deployment("web", "nginx");
    let pod = &mut object.data["spec"]["template"]["spec"];
    pod["containers"][0]["resources"] =
        json!({"limits": {"cpu": "1000m", "memory": "1024Mi"}, "requests": {"cpu": 0.5}});
    let live = value(&api.create(&PostParams::default(), &object).await.expect("created"));
    let container = &live["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["resources"]["limits"], json!({"cpu": "1", "memory": "1Gi"}));
    assert_eq!(container["resources"]["requests"]["cpu"], "500m");
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(live["spec"]["revisionHistoryLimit"], 10);
}

#[tokio::test]
async fn workloads_become_ready_except_broken_ones() {
    let cluster = sim();
    let api = api(&cluster, "apps", "v1", "Deployment", "deployments", Some("default"));
    api.create(&PostParams::default(), &deployment("good", "nginx:1"))
        .await
        .expect("created");
    api.create(&PostParams::default(), &deployment("bad", "nginx:broken"))
        .await
        .expect("created");
    let available = async |name: &str| {
        let live = value(&api.get(name).await.expect("there"));
        let conditions = live["status"]["conditions"].as_array().cloned().unwrap_or_default();
        assert_eq!(live["status"]["observedGeneration"], 1);
        conditions
            .iter()
            .find(|c| c["type"] == "Available")
            .map(|c| c["status"].clone())
    };
    assert_eq!(available("good").await, Some(json!("True")));
    assert_eq!(available("bad").await, Some(json!("False")));
}

#[tokio::test]
async fn finalizers_hold_an_object_until_they_are_gone() {
    let cluster = sim();
    let api = api(&cluster, "", "v1", "ConfigMap", "configmaps", Some("default"));
    let mut object = config_map("held", json!({}));
    object.metadata.finalizers = Some(vec!["driftless.dev/test".to_owned()]);
    api.create(&PostParams::default(), &object).await.expect("created");
    api.delete("held", &DeleteParams::default()).await.expect("marked");
    let live = value(&api.get("held").await.expect("still there"));
    assert!(live["metadata"]["deletionTimestamp"].is_string());
    let free = json!({"metadata": {"finalizers": null}});
    api.patch("held", &PatchParams::default(), &Patch::Merge(&free))
        .await
        .expect("patched");
    assert_eq!(refusal(api.get("held").await).code, 404);
}

#[tokio::test]
async fn dependents_go_with_their_owner_unless_orphaned() {
    let cluster = sim();
    let api = api(&cluster, "", "v1", "ConfigMap", "configmaps", Some("default"));
    for (owner, propagation) in [("a", PropagationPolicy::Background), ("b", PropagationPolicy::Orphan)] {
        let made = api
            .create(&PostParams::default(), &config_map(owner, json!({})))
            .await
            .expect("created");
        let mut child = config_map(&format!("{owner}-child"), json!({}));
        let reference = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": made.metadata.uid});
        child.metadata.owner_references = Some(vec![serde_json::from_value(reference).expect("a reference")]);
        api.create(&PostParams::default(), &child).await.expect("created");
        let params = DeleteParams {
            propagation_policy: Some(propagation),
            ..DeleteParams::default()
        };
        api.delete(owner, &params).await.expect("deleted");
    }
    assert_eq!(refusal(api.get("a-child").await).code, 404);
    let orphan = value(&api.get("b-child").await.expect("kept"));
    assert!(orphan["metadata"].get("ownerReferences").is_none());
    assert_eq!(refusal(api.get("b").await).code, 404);
}

#[tokio::test]
async fn a_namespace_takes_its_content_along() {
    let cluster = sim();
    let namespaces = api(&cluster, "", "v1", "Namespace", "namespaces", None);
    let inside = api(&cluster, "", "v1", "ConfigMap", "configmaps", Some("shop"));
    let object: kube::api::DynamicObject =
        serde_json::from_value(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}))
            .expect("an object");
    namespaces
        .create(&PostParams::default(), &object)
        .await
        .expect("created");
    assert!(inside.get("kube-root-ca.crt").await.is_ok());
    let mut held = config_map("held", json!({}));
    held.metadata.finalizers = Some(vec!["driftless.dev/test".to_owned()]);
    inside.create(&PostParams::default(), &held).await.expect("created");
    namespaces
        .delete("shop", &DeleteParams::default())
        .await
        .expect("marked");
    assert_eq!(
        value(&namespaces.get("shop").await.expect("terminating"))["status"]["phase"],
        "Terminating"
    );
    let late = refusal(inside.create(&PostParams::default(), &config_map("x", json!({}))).await);
    assert_eq!((late.code, late.reason.as_str()), (403, "Forbidden"));
    assert!(
        late.message.ends_with("because it is being terminated"),
        "{}",
        late.message
    );
    let free = json!({"metadata": {"finalizers": null}});
    inside
        .patch("held", &PatchParams::default(), &Patch::Merge(&free))
        .await
        .expect("patched");
    assert_eq!(refusal(namespaces.get("shop").await).code, 404);
}

#[tokio::test]
async fn lists_are_cut_and_go_on() {
    let cluster = sim();
    let api = api(&cluster, "", "v1", "ConfigMap", "configmaps", Some("default"));
    for name in ["a", "b", "c", "d"] {
        let mut object = config_map(name, json!({}));
        object.metadata.labels = Some([("app".to_owned(), name.to_owned())].into());
        api.create(&PostParams::default(), &object).await.expect("created");
    }
    let first = api.list(&ListParams::default().limit(2)).await.expect("listed");
    assert_eq!((first.items.len(), first.metadata.remaining_item_count), (2, Some(3)));
    let token = first.metadata.continue_.expect("more");
    let rest = api
        .list(&ListParams::default().continue_token(&token))
        .await
        .expect("listed");
    assert_eq!(rest.items.len(), 3);
    let some = api
        .list(&ListParams::default().labels("app in (a,c)"))
        .await
        .expect("listed");
    let names: Vec<Value> = some.items.iter().map(|item| json!(item.metadata.name)).collect();
    assert_eq!(names, [json!("a"), json!("c")]);
}

#[tokio::test]
async fn one_autoscaler_shows_through_both_versions() {
    let cluster = sim();
    let new = api(
        &cluster,
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        Some("default"),
    );
    let old = api(
        &cluster,
        "autoscaling",
        "v1",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        Some("default"),
    );
    let object = json!({
        "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
        "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 60,
            "scaleTargetRef": {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"}},
    });
    old.create(
        &PostParams::default(),
        &serde_json::from_value(object).expect("an object"),
    )
    .await
    .expect("created");
    let live = value(&new.get("web").await.expect("there"));
    assert_eq!(
        live["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"],
        60
    );
    assert_eq!(
        value(&old.get("web").await.expect("there"))["spec"]["targetCPUUtilizationPercentage"],
        60
    );
}

#[tokio::test]
async fn replicas_scale_through_the_subresource() {
    let cluster = sim();
    let api = api(&cluster, "apps", "v1", "Deployment", "deployments", Some("default"));
    api.create(&PostParams::default(), &deployment("web", "nginx:1"))
        .await
        .expect("created");
    let patch = json!({"spec": {"replicas": 4}});
    let scale = api
        .patch_scale("web", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .expect("scaled");
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(4));
    assert_eq!(
        value(&api.get("web").await.expect("there"))["status"]["availableReplicas"],
        4
    );
}
