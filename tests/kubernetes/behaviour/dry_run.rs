//! `driftless dry-run`: what applying would change, as the cluster's own API server sees it.

use anyhow::{Context as _, Result, ensure};
use driftless_tests::{
    TestCluster, World, behaviour_suite,
    fixture::{config_map, deployment, stream},
    process::Finished,
    world::expect_words,
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{
    Api,
    api::{DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};

behaviour_suite!(
    dry_run_tells_what_a_push_would_change_and_changes_nothing,
    dry_run_names_what_the_api_server_refuses_and_tells_the_rest,
);

/// The output of a command that ends with this code.
fn ended(finished: Finished, code: i32) -> Result<String> {
    let (status, stderr) = (finished.status, &finished.stderr);
    ensure!(status.code() == Some(code), "{status}: {stderr}{}", finished.stdout);
    Ok(finished.stdout)
}

/// Changes with every write.
async fn versions(maps: &Api<ConfigMap>) -> Result<Vec<(Option<String>, Option<String>)>> {
    let all = maps.list(&ListParams::default()).await?.items.into_iter();
    Ok(all
        .map(|map| (map.metadata.name, map.metadata.resource_version))
        .collect())
}

fn of<'d>(document: &'d Value, list: &str, kind: &str, name: &str) -> Result<&'d Value> {
    let components = document["components"].as_array().into_iter().flatten();
    let mut objects = components.flat_map(|component| component[list].as_array().into_iter().flatten());
    let found = objects.find(|it| it["object"]["kind"] == kind && it["object"]["name"] == name);
    found.with_context(|| format!("no {kind} {name} in {list}: {document:#}"))
}

async fn dry_run_tells_what_a_push_would_change_and_changes_nothing(cluster: &dyn TestCluster) -> Result<()> {
    let world = World::new(cluster, "ask").await?;
    let home = world.home();
    let ask = ["dry-run", world.name()];
    let nothing = home.driftless(&ask).await?.expect_failure()?;
    expect_words(&nothing, &["nothing was pushed to channel `prod` yet"])?;

    let objects = [
        deployment("web", "example.com/web:1", 1),
        config_map("kept", "1"),
        config_map("leaves", "1"),
    ];
    let first = world
        .push("web", &stream(&objects))
        .await?
        .snapshot
        .context("no snapshot")?;
    let alone = home.driftless(&ask).await?.expect_failure()?;
    expect_words(&alone, &["has not joined yet"])?;
    let _agent = world.agent().await?;
    world.converged().await?;
    world.recorded("web").await?;
    let said = ended(home.driftless(&ask).await?, 0)?;
    expect_words(&said, &["nothing would change", "3 objects as they are"])?;

    // Another channel has what is to come next.
    world.driftless(&["channel", "create", "next"]).await?;
    let mut next = deployment("web", "example.com/web:2", 1);
    next["spec"]["replicas"] = json!(3);
    let migrate = json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "migrate", "annotations": {"argocd.argoproj.io/hook": "PreSync"}},
        "spec": {"template": {"spec": {"restartPolicy": "Never",
            "containers": [{"name": "main", "image": "example.com/migrate:1"}]}}}});
    let objects = [next, config_map("kept", "1"), config_map("new", "1"), migrate];
    std::fs::write(home.path().join("next.yaml"), stream(&objects))?;
    let namespace = world.namespace();
    let push = [
        "push",
        "next.yaml",
        "--component",
        "web",
        "--channel",
        "next",
        "-n",
        namespace,
    ];
    world.driftless(&push).await?;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client()?, namespace);
    let deployments: Api<Deployment> = Api::namespaced(cluster.client()?, namespace);
    let before = versions(&maps).await?;
    let text = ended(
        home.driftless(&["dry-run", world.name(), "--channel", "next"]).await?,
        1,
    )?;
    expect_words(
        &text,
        &[
            "1 changed, 1 added, 1 removed, 1 hook",
            &format!("Job.batch {namespace}/migrate  PreSync hook: runs before anything is applied"),
            "spec.replicas: 1 → 3",
            "spec.template.spec.containers[name=main].image: \"example.com/web:1\" → \"example.com/web:2\"",
            &format!("+ ConfigMap {namespace}/new"),
            &format!("- ConfigMap {namespace}/leaves"),
            "nothing was changed on",
        ],
    )?;
    let named = ended(
        home.driftless(&["dry-run", world.name(), "--channel", "next", "-o", "name"])
            .await?,
        1,
    )?;
    ensure!(named.lines().count() == 3 && named.contains("configmap/new"), "{named}");
    ensure!(maps.get_opt("new").await?.is_none() && maps.get_opt("leaves").await?.is_some());
    let live = deployments.get("web").await?;
    ensure!(live.spec.context("no spec")?.replicas == Some(1));
    ensure!(versions(&maps).await? == before);

    // What it runs is told as the API server has it, and an older snapshot is asked about by its name.
    let value = json!({ "data": { "key": "theirs" } });
    world
        .driftless(&["pause", world.name(), "--for", "1h", "--reason", "to look"])
        .await?;
    world
        .row_where("the pause to be reported", |row| {
            row.problems().iter().any(|problem| problem.reason == "Paused")
        })
        .await?;
    maps.patch("kept", &PatchParams::default(), &Patch::Merge(&value))
        .await?;
    let json = ["dry-run", world.name(), "web", "-o", "json"];
    let document: Value = serde_json::from_str(&ended(home.driftless(&json).await?, 1)?)?;
    let changed = of(&document, "changes", "ConfigMap", "kept")?;
    ensure!(changed["fields"][0]["path"] == "data.key", "{changed}");
    ensure!(
        changed["fields"][0]["before"] == "theirs" && changed["fields"][0]["after"] == "1",
        "{changed}"
    );
    ensure!(document["snapshot"] == first.to_string() && document["components"][0]["unchanged"] == 2);
    let none = home.driftless(&["dry-run", world.name(), "none"]).await?;
    ensure!(none.status.code() == Some(2), "{none:?}");
    expect_words(&none.expect_failure()?, &["component `none` is neither"])?;
    Ok(())
}

async fn dry_run_names_what_the_api_server_refuses_and_tells_the_rest(cluster: &dyn TestCluster) -> Result<()> {
    let world = World::new(cluster, "refused").await?;
    let home = world.home();
    let namespace = world.namespace();
    let client = cluster.client()?;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let theirs: ConfigMap = serde_json::from_value(config_map("theirs", "1"))?;
    maps.patch("theirs", &PatchParams::apply("somebody"), &Patch::Apply(&theirs))
        .await?;
    let _agent = world.agent().await?;
    let mut invalid = deployment("invalid", "example.com/web:1", 1);
    invalid["spec"]["selector"]["matchLabels"] = json!({ "app": "another" });
    let objects = [config_map("theirs", "2"), config_map("fine", "1"), invalid];
    world
        .driftless(&["pause", world.name(), "--for", "1h", "--reason", "to look"])
        .await?;
    world.push_unchecked("web", &stream(&objects)).await?;
    // Paused: nothing is applied before it is asked about.
    world
        .row_where("the pause to be reported", |row| {
            let problems = row.problems();
            problems
                .iter()
                .any(|problem| problem.message.contains("3 objects wait"))
        })
        .await?;
    let json = ["dry-run", world.name(), "-o", "json"];
    let document: Value = serde_json::from_str(&ended(home.driftless(&json).await?, 2)?)?;
    ensure!(
        of(&document, "changes", "ConfigMap", "fine")?["type"] == "added",
        "{document:#}"
    );
    let told = |name: &str, kind: &str| -> Result<String> {
        let refused = of(&document, "refused", kind, name)?;
        Ok(refused["message"].as_str().unwrap_or_default().to_owned())
    };
    expect_words(&told("theirs", "ConfigMap")?, &["`somebody` owns .data.key"])?;
    expect_words(
        &told("invalid", "Deployment")?,
        &["the API server answered: ", "`selector` does not match"],
    )?;
    let text = ended(home.driftless(&["dry-run", world.name()]).await?, 2)?;
    expect_words(
        &text,
        &[
            "1 added, 2 refused",
            &format!("! ConfigMap {namespace}/theirs  `somebody` owns"),
        ],
    )?;

    // The simulator has no admission webhooks.
    if cluster.kind() != "kube-apiserver" {
        return Ok(());
    }
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
    ));
    let hooks: Api<DynamicObject> = Api::all_with(client, &resource);
    let name = format!("{namespace}.example.com");
    let hook: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": name },
        "webhooks": [{
            "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
            "clientConfig": { "url": "https://127.0.0.1:1/" }, "timeoutSeconds": 2,
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"] }],
        }],
    }))?;
    hooks.create(&PostParams::default(), &hook).await?;
    let result = driftless_tests::eventually(driftless_tests::world::SOON, "the webhook to be asked", async || {
        let document: Value = serde_json::from_str(&ended(home.driftless(&json).await?, 2)?)?;
        let refused = of(&document, "refused", "ConfigMap", "fine")?;
        let message = refused["message"].as_str().unwrap_or_default();
        ensure!(
            message.contains("failed calling webhook") && message.contains(&name),
            "{message}"
        );
        Ok(Some(()))
    })
    .await;
    hooks.delete(&name, &Default::default()).await?;
    result
}
