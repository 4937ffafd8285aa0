//! Fake nodes: kwok reports them ready and plays the kubelet of every Pod that lands on one.

use std::time::Duration;

use anyhow::{Result, anyhow};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use serde_json::json;

use crate::wait::eventually;

/// Creates nodes `node-0`, `node-1` and so on, each with room for everything a test runs.
pub(super) async fn create(client: Client, count: usize) -> Result<()> {
    let nodes: Api<Node> = Api::all(client);
    for number in 0..count {
        let name = format!("node-{number}");
        let room = json!({ "cpu": "256", "memory": "1Ti", "pods": "10000", "ephemeral-storage": "1Ti" });
        let node = serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "annotations": { "kwok.x-k8s.io/node": "fake" },
                "labels": {
                    "kubernetes.io/arch": "amd64",
                    "kubernetes.io/hostname": name,
                    "kubernetes.io/os": "linux",
                },
            },
            "status": { "allocatable": room, "capacity": room },
        }))?;
        nodes.create(&PostParams::default(), &node).await?;
    }
    Ok(())
}

/// Waits until `count` nodes are ready and take Pods.
pub(super) async fn ready(client: Client, count: usize, within: Duration) -> Result<()> {
    let nodes: Api<Node> = Api::all(client);
    eventually(within, &format!("{count} nodes to be ready"), async || {
        let all = nodes.list(&ListParams::default()).await?;
        let ready = all.iter().filter(|node| takes_pods(node)).count();
        if ready >= count {
            Ok(Some(()))
        } else {
            Err(anyhow!("{ready} of {count}"))
        }
    })
    .await
}

fn takes_pods(node: &Node) -> bool {
    let ready = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten())
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    // A new node is tainted until the controllers have seen it ready.
    let tainted = node
        .spec
        .iter()
        .flat_map(|spec| spec.taints.iter().flatten())
        .next()
        .is_some();
    ready && !tainted
}
