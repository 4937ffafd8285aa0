//! Clusters that differ: what a push says of each group of them, and what it refuses.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::desk::Desk;

/// A desk with three clusters, two of them in Europe; none has joined.
async fn fleet() -> Result<Desk> {
    let desk = Desk::ready().await?;
    for (name, region) in [("edge-1", "eu"), ("edge-2", "eu"), ("edge-3", "us")] {
        let label = format!("region={region}");
        let enroll = [
            "cluster",
            "enroll",
            name,
            "--channel",
            "prod",
            "--label",
            &label,
            "--join-file",
            name,
        ];
        desk.succeeds(&enroll).await?;
    }
    Ok(desk)
}

fn write(desk: &Desk, replicas: &str, patch: &Value) -> Result<()> {
    let web = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "registry.example/web:1"}]}}}});
    desk.write("shop/web.json", web.to_string())?;
    let overlay = json!({"name": "europe", "selector": "region=eu",
        "patches": [{"target": {"kind": "Deployment"}, "merge": patch}]});
    let file = json!({"version": 1, "channel": "prod",
        "components": [{"name": "shop", "path": "shop", "overlays": [overlay]}]});
    desk.write("driftless.yaml", serde_json::to_string_pretty(&file)?)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn effect_is_told_for_each_group_of_clusters() -> Result<()> {
    let desk = fleet().await?;
    write(&desk, "${cluster.vars.replicas:-2}", &json!({"spec": {"paused": true}}))?;
    desk.succeeds(&["push"]).await?;
    write(
        &desk,
        "${cluster.vars.replicas:-3}",
        &json!({"spec": {"paused": true, "replicas": 9}}),
    )?;
    let finished = desk.runs(&["diff", "-o", "json"]).await?;
    ensure!(finished.status.code() == Some(1), "{}", finished.stderr);
    let told: Value = serde_json::from_str(&finished.stdout)?;
    let groups = &told["components"][0]["groups"];
    ensure!(groups[0]["clusters"] == json!(["edge-1", "edge-2"]), "{groups}");
    ensure!(groups[1]["clusters"] == json!(["edge-3"]), "{groups}");
    ensure!(groups[0]["changes"][0]["fields"][0]["after"] == 9, "{groups}");
    ensure!(groups[1]["changes"][0]["fields"][0]["after"] == 3, "{groups}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_overlays_and_variables_break_is_refused_with_its_clusters() -> Result<()> {
    let desk = fleet().await?;
    write(
        &desk,
        "${cluster.vars.replicas:-two}",
        &json!({"spec": {"pausd": true}}),
    )?;
    let said = desk.fails(1, &["push"]).await?;
    for line in [
        "shop/web.json:1: Deployment.apps default/web: spec.pausd is no known field: did you mean `paused`? \
         (on edge-1, edge-2, after overlays and variables)",
        "shop/web.json:1: Deployment.apps default/web: spec.replicas must be an integer, not a text (\"two\") \
         (on edge-1, edge-2, edge-3, after overlays and variables)",
        "error: 2 problems in the manifests: nothing was pushed",
    ] {
        ensure!(said.contains(line), "no {line:?} in: {said}");
    }

    write(&desk, "${cluster.vars.replicas}", &json!({"spec": {"paused": true}}))?;
    desk.succeeds(&["cluster", "vars", "edge-2", "replicas=1"]).await?;
    let said = desk.fails(1, &["push"]).await?;
    let line = "spec.replicas: `${cluster.vars.replicas}` is not defined: set it with `driftless cluster vars CLUSTER \
        replicas=VALUE`, or give a default, `:-…` (on edge-1, edge-3)";
    ensure!(said.contains(line), "{said}");
    desk.succeeds(&["cluster", "vars", "edge-1", "edge-3", "replicas=2"])
        .await?;
    desk.succeeds(&["push"]).await?;
    Ok(())
}
