//! A component's objects are written as the ServiceAccount that it names, and only those that it may hold.

use anyhow::Result;
use driftless_model::{bundle::Spec, view::View};
use driftless_tests::{ControlPlane, Options};
use serde_json::json;

use crate::{real, rig::*};

fn as_deployer(view: &View) -> std::sync::Arc<View> {
    kept(view, |spec: &mut Spec| {
        spec.service_account = Some("shop/deployer".parse().expect("an account"));
    })
}

#[tokio::test(start_paused = true)]
async fn objects_are_written_and_deleted_as_the_account_and_all_else_as_the_agent() {
    let (cluster, _) = simulated();
    let running = Running::start(cluster.client());
    let two = view(&[("shop", &[namespace("shop"), config_map("a", "1"), config_map("b", "1")])]);
    running.converge(&as_deployer(&two)).await;
    running
        .converge(&as_deployer(&view(&[(
            "shop",
            &[namespace("shop"), config_map("a", "1")],
        )])))
        .await;
    // Also once it is gone for good.
    running.handle.set_desired(view(&[]));
    running.consent("shop").await;
    running.converge(&view(&[])).await;
    let requests = cluster.requests();
    let log: Vec<_> = requests.log().collect();
    let is_object = |name: &str| matches!(name, "a" | "b" | "shop");
    for request in &log {
        let expected = if request.is_write() && is_object(&request.name) {
            "system:serviceaccount:shop:deployer"
        } else {
            ""
        };
        assert_eq!(request.user, expected, "{request:?}");
    }
    let deleted = log
        .iter()
        .filter(|request| request.verb == "delete" && is_object(&request.name));
    assert_eq!(deleted.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_removed_component_is_deleted_as_its_account_after_a_restart() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let shop = view(&[("shop", &[config_map("a", "1"), config_map("b", "1")])]);
    other.create(&namespace("shop")).await;
    running.converge(&as_deployer(&shop)).await;
    time_passes(std::time::Duration::from_secs(30)).await;
    running.stop().await;
    cluster.forget_requests();
    let running = Running::start(cluster.client());
    running.handle.set_desired(view(&[]));
    running.until("read", |report| !report.components.is_empty()).await;
    running.converge(&view(&[])).await;
    assert_eq!(other.get(&config_map("a", "")).await, None);
    assert_eq!(other.get(&parent("shop")).await, None);
    let requests = cluster.requests();
    let deleted = requests
        .log()
        .filter(|it| it.verb == "delete" && matches!(&*it.name, "a" | "b"));
    let users: Vec<_> = deleted.map(|it| it.user.clone()).collect();
    assert_eq!(users, ["system:serviceaccount:shop:deployer"; 2]);
}

#[tokio::test(start_paused = true)]
async fn account_that_changed_alone_is_recorded() {
    let (cluster, other) = simulated();
    other.create(&namespace("shop")).await;
    let running = Running::start(cluster.client());
    let shop = view(&[("shop", &[config_map("a", "1")])]);
    running.converge(&shop).await;
    time_passes(std::time::Duration::from_secs(30)).await;
    running.converge(&as_deployer(&shop)).await;
    time_passes(std::time::Duration::from_secs(30)).await;
    running.stop().await;
    cluster.forget_requests();
    let running = Running::start(cluster.client());
    running.handle.set_desired(view(&[]));
    running.until("read", |report| !report.components.is_empty()).await;
    running.converge(&view(&[])).await;
    let requests = cluster.requests();
    let mut deleted = requests.log().filter(|it| it.verb == "delete" && it.name == "a");
    assert_eq!(deleted.next().unwrap().user, "system:serviceaccount:shop:deployer");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_allowed_is_told_and_not_sent() {
    let (cluster, other) = simulated();
    let running = Running::start(cluster.client());
    let both = view(&[("shop", &[namespace("shop"), config_map("a", "1")])]);
    let limited = kept(&both, |spec| {
        spec.allow.kinds = ["Namespace".to_owned()].into();
    });
    running.handle.set_desired(limited);
    let report = running.until("told", |report| problem(report, "shop").is_some()).await;
    let told = problem(&report, "shop").unwrap();
    assert_eq!(told.reason, "NotAllowed");
    assert!(told.message.contains("add ConfigMap there"), "{}", told.message);
    assert_eq!(other.get(&config_map("a", "")).await, None);
    running.converge(&both).await;
    assert!(other.get(&config_map("a", "")).await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_api_server_asks_for_the_rights_of_the_account() -> Result<()> {
    let Some(plane) = ControlPlane::for_test("privilege", Options::default()).await? else {
        return Ok(());
    };
    let other = Other(real::client(&plane)?);
    other.create(&namespace("shop")).await;
    let account =
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "deployer", "namespace": "shop"}});
    other.create(&account).await;
    let running = Running::start(real::client(&plane)?);
    let view = as_deployer(&view(&[("shop", &[config_map("a", "1")])]));
    running.handle.set_desired(view.clone());
    let report = running
        .until("refused", |report| problem(report, "shop").is_some())
        .await;
    let refused = problem(&report, "shop").unwrap();
    assert!(
        refused
            .message
            .contains("grant ServiceAccount shop/deployer create, patch and delete on configmaps in namespace shop"),
        "{}",
        refused.message
    );
    let rbac = "rbac.authorization.k8s.io/v1";
    let role = json!({"apiVersion": rbac, "kind": "Role", "metadata": {"name": "deployer", "namespace": "shop"},
        "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "patch", "delete"]}]});
    let binding = json!({"apiVersion": rbac, "kind": "RoleBinding", "metadata": {"name": "deployer", "namespace": "shop"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "deployer"},
        "subjects": [{"kind": "ServiceAccount", "name": "deployer", "namespace": "shop"}]});
    other.create(&role).await;
    other.create(&binding).await;
    running.until("converged", |report| is_converged(report, &view)).await;
    running.stop().await;
    Ok(())
}
