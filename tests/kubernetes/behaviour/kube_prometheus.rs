//! kube-prometheus as its authors publish it: definitions of hundreds of kilobytes and objects of their kinds in one
//! push, Lists, an APIService that nobody answers for, and three Secrets that must not enter the store.

use anyhow::{Context as _, Result, anyhow, ensure};
use driftless_model::status::Health;
use driftless_tests::{
    TestCluster, World, behaviour_suite, eventually,
    fixture::{documents, kube_prometheus},
    say,
    world::{SOON, expect_words},
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};
use tokio::time::Instant;

behaviour_suite!(kube_prometheus_is_refused_for_its_secrets_and_applied_without_them);

const GROUP: &str = "monitoring.coreos.com";

async fn kube_prometheus_is_refused_for_its_secrets_and_applied_without_them(cluster: &dyn TestCluster) -> Result<()> {
    let world = World::new(cluster, "prometheus").await?;
    let _agent = world.agent().await?;
    let all = kube_prometheus()?;

    let refused = world.try_push("monitoring", &all).await?.expect_failure()?;
    for secret in ["alertmanager-main", "grafana-config", "grafana-datasources"] {
        let lines: Vec<_> = refused.lines().filter(|line| line.contains(secret)).collect();
        ensure!(lines.len() == 1, "{secret} is in {} lines of: {refused}", lines.len());
        expect_words(
            lines.first().copied().unwrap_or_default(),
            &["Secret", "monitoring.yaml:"],
        )?;
    }
    expect_words(&refused, &["nothing was pushed"])?;
    let log = world.driftless(&["log", driftless_tests::world::CHANNEL]).await?;
    ensure!(!log.contains("monitoring"), "something was pushed: {log}");

    let is_secret = |document: &str| document.lines().any(|line| line == "kind: Secret");
    let started = Instant::now();
    let pushed = world
        .push("monitoring", &documents(&all, |document| !is_secret(document)))
        .await?;
    let accepted = started.elapsed();
    let row = world.converged().await?;
    say(&format!(
        "{}: {} objects of kube-prometheus pushed in {accepted:?} and applied after {:?}",
        cluster.kind(),
        pushed.objects(),
        started.elapsed()
    ));
    let objects = u32::try_from(pushed.objects())?;
    assert_eq!(row.applied(), (objects, objects));
    served_and_there(cluster).await?;

    // Nobody answers for the APIService, and that is all there is to say about it.
    let row = world
        .row_where("the APIService to be reported unavailable", |row| {
            row.problem_of("APIService", "v1beta1.metrics.k8s.io").is_some() && row.converged
        })
        .await?;
    let problem = row
        .problem_of("APIService", "v1beta1.metrics.k8s.io")
        .context("no problem")?;
    ensure!(!problem.blocks, "{problem:?}");
    ensure!(
        row.health() != Health::Current,
        "healthy with an unavailable APIService: {row:?}"
    );
    Ok(())
}

/// The definitions are served, objects of their kinds are there, and the Lists became objects.
async fn served_and_there(cluster: &dyn TestCluster) -> Result<()> {
    let count = async |group: &str, version: &str, kind: &str| -> Result<usize> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        let api: Api<DynamicObject> = Api::namespaced_with(cluster.client()?, "monitoring", &kind);
        Ok(api.list(&ListParams::default()).await?.items.len())
    };
    assert_eq!(count(GROUP, "v1", "Prometheus").await?, 1);
    assert_eq!(count(GROUP, "v1", "Alertmanager").await?, 1);
    ensure!(
        count(GROUP, "v1", "ServiceMonitor").await? >= 10,
        "too few ServiceMonitors"
    );
    ensure!(
        count(GROUP, "v1", "PrometheusRule").await? >= 7,
        "too few PrometheusRules"
    );
    // Of one ConfigMapList.
    ensure!(count("", "v1", "ConfigMap").await? >= 25, "too few dashboards");
    // Of a RoleList, in three namespaces.
    let roles = ApiResource::from_gvk(&GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", "Role"));
    for namespace in ["default", "kube-system", "monitoring"] {
        let api: Api<DynamicObject> = Api::namespaced_with(cluster.client()?, namespace, &roles);
        eventually(SOON, "the Role of the list", async || {
            api.get_opt("prometheus-k8s")
                .await?
                .map(Some)
                .ok_or_else(|| anyhow!("none in {namespace}"))
        })
        .await?;
    }
    Ok(())
}
