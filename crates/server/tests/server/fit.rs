//! Bundles that cannot be carried out as they are asked for are refused before anything changes.

use driftless_model::{bundle::Bundle, manifest::Manifest};
use driftless_proto::v1;
use tonic::Code;

use crate::support::{Rig, assert_refused, bundle, object, publish_request, upload};

#[tokio::test(flavor = "multi_thread")]
async fn bundle_that_does_not_work_out_on_every_cluster_is_refused() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    rig.enroll("edge-1", "prod", false).await;
    let mut client = rig.publish().await;
    let undefined = bundle("shop", "${cluster.vars.nope}");
    upload(&mut client, &undefined).await.unwrap();
    assert_refused(
        client.publish(publish_request("prod", &undefined)).await,
        Code::InvalidArgument,
        &[
            "component `shop`",
            "`${cluster.vars.nope}` is not defined",
            "(on edge-1)",
        ],
    );
    let spec = serde_json::from_value(serde_json::json!({
        "overlays": [{"name": "eu", "remove": [{"kind": "Deployment"}]}]
    }))
    .unwrap();
    let idle = bundle("shop", "1").with_spec(spec);
    upload(&mut client, &idle).await.unwrap();
    assert_refused(
        client.publish(publish_request("prod", &idle)).await,
        Code::InvalidArgument,
        &["overlay `eu`: no object of the component matches kind Deployment"],
    );
    let defined = bundle("shop", "${cluster.name}");
    rig.push("prod", &defined).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lower_schema_epoch_is_refused() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let at = |value: &str, epoch: u64| {
        let spec = serde_json::from_value(serde_json::json!({ "epoch": epoch })).unwrap();
        bundle("shop", value).with_spec(spec)
    };
    rig.push("prod", &at("1", 2)).await;
    let mut client = rig.publish().await;
    let older = at("2", 1);
    upload(&mut client, &older).await.unwrap();
    assert_refused(
        client.publish(publish_request("prod", &older)).await,
        Code::FailedPrecondition,
        &["schema epoch 1 is lower than the 2 that was reached", "roll forward"],
    );
    rig.push("prod", &at("2", 2)).await;
}

/// Release tooling need not go through the CLI, which looks at these first.
#[tokio::test(flavor = "multi_thread")]
async fn annotation_of_ours_that_nobody_knows_is_refused_whoever_pushes() {
    let rig = Rig::start().await;
    rig.create_channel("prod").await;
    let kept = |value: &str| {
        let object = serde_json::json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "settings", "annotations": {"driftless.dev/prune": value}},
        });
        let manifest = Manifest::new(object, "default").unwrap();
        Bundle::new("shop".parse().unwrap(), [manifest]).unwrap()
    };
    let mut client = rig.publish().await;
    let along = |bundle: &Bundle| v1::PublishRequest {
        objects: vec![object(&bundle.encode())],
        ..publish_request("prod", bundle)
    };
    assert_refused(
        client.publish(along(&kept("never"))).await,
        Code::InvalidArgument,
        &["component `shop`", "driftless.dev/prune", "never"],
    );
    client.publish(along(&kept("disabled"))).await.unwrap();
}
