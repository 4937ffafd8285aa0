//! `driftless bench` against a real server: what it tells, and what it leaves behind.

use anyhow::Result;
use serde_json::Value;

use crate::desk::Desk;

const AGENTS: u64 = 50;

#[tokio::test]
async fn every_agent_verifies_every_change_and_leaves_with_the_bench() -> Result<()> {
    let desk = Desk::ready().await?;
    let (agents, pid) = (AGENTS.to_string(), desk.server.pid().to_string());
    let ran = desk
        .runs(&[
            "bench",
            "--agents",
            &agents,
            "--changes",
            "3",
            "--size",
            "40KiB",
            "--reconnect",
            "--reports",
            "--server-pid",
            &pid,
            "--svg",
            "bench.svg",
            "--json",
            "bench.json",
            "-o",
            "json",
        ])
        .await?;
    let report: Value = ran.json()?;
    assert_eq!(report["agents"], AGENTS);
    assert_eq!(report["joined"]["enrolled"], AGENTS);
    assert_eq!(report["interrupted"], false);
    assert_eq!(report["failures"], 0, "{report:#}");
    let changes = report["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
    assert_eq!(changes.len(), 3);
    let figure = |value: &Value| value.as_f64().unwrap_or_default();
    let mut sequence = 0.0;
    for change in changes {
        assert_eq!(change["verified"], AGENTS);
        assert!(figure(&change["countedMilliseconds"]) > 0.0, "{change}");
        assert!(
            figure(&change["bytesPerAgent"]) > 0.0 && figure(&change["milliseconds"]["max"]) > 0.0,
            "{change}"
        );
        assert!(figure(&change["sequence"]) > sequence, "{change}");
        sequence = figure(&change["sequence"]);
    }
    assert!(figure(&report["serverUse"]["residentIdle"]) > 0.0, "{report:#}");
    // Whoever comes back holds everything already.
    assert_eq!(figure(&report["reconnected"]["objectsPerAgent"]), 0.0, "{report:#}");
    assert!(figure(&report["reconnected"]["bytesPerAgent"]) > 0.0);
    let read = |name: &str| std::fs::read_to_string(desk.home.path().join(name));
    assert_eq!(serde_json::from_str::<Value>(&read("bench.json")?)?, report);
    assert_eq!(read("bench.svg")?.matches("<polyline").count(), 3);
    let clusters: Value = desk.runs(&["clusters", "-o", "json"]).await?.json()?;
    assert_eq!(clusters.as_array().map(Vec::len), Some(0), "{clusters}");
    Ok(())
}

#[tokio::test]
async fn kept_certificates_save_joining_again_and_install_sends_everything() -> Result<()> {
    let desk = Desk::ready().await?;
    let bench = [
        "bench",
        "--agents",
        "10",
        "--changes",
        "1",
        "--size",
        "2KiB",
        "--install",
        "--verify",
        "each",
        "--certificates",
        "kept",
        "-o",
        "json",
    ];
    let first: Value = desk.runs(&bench).await?.json()?;
    let second: Value = desk.runs(&bench).await?.json()?;
    assert_eq!(
        (&first["joined"]["enrolled"], &first["joined"]["kept"]),
        (&10.into(), &0.into())
    );
    assert_eq!(
        (&second["joined"]["enrolled"], &second["joined"]["kept"]),
        (&0.into(), &10.into())
    );
    for report in [first, second] {
        // The snapshot and the bundle.
        assert_eq!(report["connected"]["objectsPerAgent"], 2.0, "{report:#}");
        assert_eq!(report["change"]["verified"], 10);
    }
    Ok(())
}

#[tokio::test]
async fn channel_in_use_is_left_alone() -> Result<()> {
    let desk = Desk::ready().await?;
    desk.pushes("shop", &crate::desk::greeting("hello")).await?;
    let told = desk.fails(1, &["bench", "--agents", "1", "--channel", "prod"]).await?;
    assert!(told.contains("channel `prod` has the component `shop`"), "{told}");
    Ok(())
}

#[tokio::test]
async fn cluster_that_only_has_the_name_of_a_benchs_is_left_alone() -> Result<()> {
    let desk = Desk::ready().await?;
    desk.runs(&["cluster", "enroll", "bench-00002", "--channel", "prod"])
        .await?;
    let told = desk.fails(1, &["bench", "--agents", "2", "--channel", "bench"]).await?;
    assert!(told.contains("cluster `bench-00002`, which is no bench's"), "{told}");
    let clusters: Value = desk.runs(&["clusters", "-o", "json"]).await?.json()?;
    let all: Vec<_> = clusters.as_array().into_iter().flatten().collect();
    assert_eq!(all.len(), 1, "{clusters:#}");
    assert_eq!(
        (&all[0]["name"], &all[0]["channel"]),
        (&"bench-00002".into(), &"prod".into())
    );
    Ok(())
}
