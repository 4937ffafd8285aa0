//! From a push to what is in the cluster.

use anyhow::{Result, anyhow, ensure};
use driftless_model::status::Health;
use driftless_tests::{
    TestCluster, World, behaviour_suite,
    cluster::{new_name, writes},
    eventually,
    fixture::{self, ONLINE_BOUTIQUE, config_map, definition_and_object, deployment},
    say,
    world::SOON,
};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service},
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind, ListParams},
};
use serde_json::json;
use tokio::time::Instant;

behaviour_suite!(
    online_boutique_is_applied_and_becomes_healthy,
    one_changed_image_patches_one_object,
    namespace_and_kind_of_one_push_come_before_what_needs_them,
    object_that_names_no_namespace_gets_the_one_of_the_push,
    custom_object_that_names_no_namespace_gets_it_too,
    removed_component_is_pruned_and_others_stay,
);

async fn online_boutique_is_applied_and_becomes_healthy(cluster: &dyn TestCluster) -> Result<()> {
    let world = World::new(cluster, "boutique").await?;
    let _agent = world.agent().await?;
    world.row_where("the agent to connect", |row| row.connected).await?;

    let started = Instant::now();
    let pushed = world.push("shop", ONLINE_BOUTIQUE).await?;
    assert_eq!(pushed.objects(), 35);
    let row = world.converged().await?;
    assert_eq!(row.applied(), (35, 35));
    let applied = started.elapsed();
    let row = world
        .row_where("online-boutique to be healthy", |row| row.health() == Health::Current)
        .await?;
    assert!(row.problems().is_empty(), "{row:?}");
    say(&format!(
        "{}: online-boutique applied {applied:?} after the push began, healthy after {:?}",
        cluster.kind(),
        started.elapsed()
    ));

    let everything = ListParams::default();
    let deployments: Api<Deployment> = Api::namespaced(cluster.client()?, world.namespace());
    let deployments = deployments.list(&everything).await?;
    assert_eq!(deployments.items.len(), 12);
    for deployment in deployments {
        let available = deployment.status.and_then(|status| status.available_replicas);
        assert_eq!(available, Some(1), "{:?}", deployment.metadata.name);
    }
    let services: Api<Service> = Api::namespaced(cluster.client()?, world.namespace());
    assert_eq!(services.list(&everything).await?.items.len(), 12);
    Ok(())
}

async fn one_changed_image_patches_one_object(cluster: &dyn TestCluster) -> Result<()> {
    let world = World::new(cluster, "image").await?;
    let _agent = world.agent().await?;
    world.push("shop", ONLINE_BOUTIQUE).await?;
    world.converged().await?;
    let image = "cartservice:v0.10.6";
    ensure!(
        ONLINE_BOUTIQUE.matches(image).count() == 1,
        "the fixture names {image} not exactly once"
    );

    let mark = cluster.mark().await?;
    let started = Instant::now();
    world
        .push("shop", &ONLINE_BOUTIQUE.replace(image, "cartservice:v9.9.9"))
        .await?;
    world.converged().await?;
    say(&format!(
        "{}: one image changed and reported {:?} after the push began",
        cluster.kind(),
        started.elapsed()
    ));

    let asked = cluster.asked(world.name(), mark).await?;
    let expected = format!("patch deployments {}/cartservice 200", world.namespace());
    assert_eq!(writes(&asked, world.name()), [expected]);
    let deployments: Api<Deployment> = Api::namespaced(cluster.client()?, world.namespace());
    let live = serde_json::to_value(deployments.get("cartservice").await?)?;
    let image = live.pointer("/spec/template/spec/containers/0/image");
    assert!(
        image.is_some_and(|image| image.to_string().contains("v9.9.9")),
        "{live}"
    );
    Ok(())
}

async fn namespace_and_kind_of_one_push_come_before_what_needs_them(cluster: &dyn TestCluster) -> Result<()> {
    let world = World::new(cluster, "order").await?;
    let _agent = world.agent().await?;
    let namespace = new_name("made");
    let group = format!("{}.example.com", new_name("order"));
    let (definition, mut object) = definition_and_object(&group, "Widget", "one");
    object["metadata"]["namespace"] = json!(namespace);
    let mut map = config_map("one", "value");
    map["metadata"]["namespace"] = json!(namespace);
    let made = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });

    // What is needed comes last in the push.
    world
        .push("order", &fixture::stream(&[object, map, made, definition]))
        .await?;
    let row = world.converged().await?;
    assert_eq!(row.applied(), (4, 4));
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client()?, &namespace);
    maps.get("one").await?;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(&group, "v1", "Widget"));
    let widgets: Api<DynamicObject> = Api::namespaced_with(cluster.client()?, &namespace, &kind);
    assert_eq!(widgets.get("one").await?.data["spec"]["size"], 3);
    Ok(())
}

async fn object_that_names_no_namespace_gets_the_one_of_the_push(cluster: &dyn TestCluster) -> Result<()> {
    let world = World::new(cluster, "filled").await?;
    let _agent = world.agent().await?;
    world
        .push("filled", &fixture::stream(&[config_map("one", "value")]))
        .await?;
    world.converged().await?;
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client()?, world.namespace());
    let live = maps.get("one").await?;
    assert_eq!(live.data.unwrap_or_default()["key"], "value");
    Ok(())
}

async fn custom_object_that_names_no_namespace_gets_it_too(cluster: &dyn TestCluster) -> Result<()> {
    let world = World::new(cluster, "custom").await?;
    let _agent = world.agent().await?;
    let group = format!("{}.example.com", new_name("custom"));
    let (definition, object) = definition_and_object(&group, "Widget", "one");
    let mut second = object.clone();
    second["metadata"]["name"] = json!("two");
    // The definition may be in the same push, or in another component of the channel.
    world.push("kinds", &fixture::stream(&[definition, object])).await?;
    world.push("objects", &fixture::stream(&[second])).await?;
    world.converged().await?;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(&group, "v1", "Widget"));
    let widgets: Api<DynamicObject> = Api::namespaced_with(cluster.client()?, world.namespace(), &kind);
    let listed = widgets.list(&ListParams::default()).await?.items.into_iter();
    let names: Vec<_> = listed.filter_map(|widget| widget.metadata.name).collect();
    assert_eq!(names, ["one", "two"]);
    Ok(())
}

async fn removed_component_is_pruned_and_others_stay(cluster: &dyn TestCluster) -> Result<()> {
    let world = World::new(cluster, "leave").await?;
    let _agent = world.agent().await?;
    world
        .push("stays", &fixture::stream(&[config_map("stays", "value")]))
        .await?;
    world
        .push(
            "leaves",
            &fixture::stream(&[
                config_map("leaves", "value"),
                deployment("leaves", "example.com/web:1", 1),
            ]),
        )
        .await?;
    world.converged().await?;
    world
        .driftless(&["remove", "leaves", "--channel", driftless_tests::world::CHANNEL])
        .await?;

    let (maps, deployments): (Api<ConfigMap>, Api<Deployment>) = (
        Api::namespaced(cluster.client()?, world.namespace()),
        Api::namespaced(cluster.client()?, world.namespace()),
    );
    eventually(SOON, "the removed component's objects to go", async || {
        let left = (maps.get_opt("leaves").await?, deployments.get_opt("leaves").await?);
        match left {
            (None, None) => Ok(Some(())),
            left => Err(anyhow!("{left:?}")),
        }
    })
    .await?;
    maps.get("stays").await?;
    let row = world
        .row_where("the component to be gone from the status too", |row| {
            row.converged && row.status.iter().all(|status| status.components.len() == 1)
        })
        .await?;
    assert_eq!(row.applied(), (1, 1));
    Ok(())
}
