//! What works, from the first start to a clean bucket.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use anyhow::Result;
use driftless_model::join::JoinFile;
use serde_json::Value;

use crate::desk::{Desk, greeting};

#[tokio::test]
async fn line_that_the_server_prints_logs_in() -> Result<()> {
    let desk = Desk::new().await?;
    let line = desk.server.line("driftless login", Duration::from_secs(60)).await?;
    let words: Vec<_> = line.split_whitespace().skip(1).collect();
    let printed = desk.succeeds(&words).await?;
    assert!(
        printed.starts_with(&format!("logged in to {}; it has no channels yet", desk.url)),
        "{printed}"
    );
    let config = desk.home.path().join(".config/driftless/config.yaml");
    assert_eq!(std::fs::metadata(config)?.permissions().mode() & 0o777, 0o600);
    let listed = desk.succeeds(&["context", "list"]).await?;
    assert!(listed.contains(&desk.url), "{listed}");
    Ok(())
}

#[tokio::test]
async fn push_is_told_logged_shown_and_diffed() -> Result<()> {
    let desk = Desk::ready().await?;
    desk.write("app/a.yaml", greeting("hello"))?;
    let push = ["push", "app", "--component", "shop", "--channel", "prod", "-m", "first"];
    let told = desk.succeeds(&push).await?;
    assert!(
        told.starts_with("shop: 1 object, 1 added (ConfigMap default/greeting)\nprod is now at snapshot "),
        "{told}"
    );
    assert!(
        desk.succeeds(&push)
            .await?
            .starts_with("shop: 1 object, unchanged\nprod stays at snapshot ")
    );

    desk.write("app/a.yaml", greeting("goodbye"))?;
    let of_files = ["diff", "app", "--component", "shop", "--channel", "prod"];
    let differing = desk.runs(&of_files).await?;
    assert_eq!(differing.status.code(), Some(1), "{}", differing.stderr);
    let expected = "~ ConfigMap default/greeting  data.text: \"hello\" → \"goodbye\"\n";
    assert!(differing.stdout.ends_with(expected), "{}", differing.stdout);
    desk.succeeds(&push).await?;
    assert_eq!(desk.succeeds(&of_files).await?, "");

    let log: Value = desk.runs(&["log", "prod", "-o", "json"]).await?.json()?;
    assert_eq!(
        (log[0]["author"].as_str(), log[1]["message"].as_str()),
        (Some("admin"), Some("first"))
    );
    let (new, old) = (
        log[0]["snapshot"].as_str().unwrap_or(""),
        log[1]["snapshot"].as_str().unwrap_or(""),
    );
    let between = desk.runs(&["diff", &old[..10], &new[..10]]).await?;
    assert_eq!(between.status.code(), Some(1), "{}", between.stderr);
    assert!(between.stdout.ends_with(expected), "{}", between.stdout);
    assert!(desk.succeeds(&["show", &old[..10]]).await?.contains(old));
    Ok(())
}

#[tokio::test]
async fn removed_component_leaves_the_channel() -> Result<()> {
    let desk = Desk::ready().await?;
    desk.pushes("shop", &greeting("a")).await?;
    let told = desk.succeeds(&["remove", "shop", "--channel", "prod"]).await?;
    assert!(told.starts_with("shop: removed\nprod is now at snapshot "), "{told}");
    let channels: Value = desk.runs(&["channel", "list", "-o", "json"]).await?.json()?;
    assert_eq!(channels[0]["components"], serde_json::json!({}));
    Ok(())
}

#[tokio::test]
async fn dry_run_changes_nothing() -> Result<()> {
    let desk = Desk::ready().await?;
    desk.write("a.yaml", greeting("a"))?;
    let told = desk
        .succeeds(&[
            "push",
            "a.yaml",
            "--component",
            "shop",
            "--channel",
            "prod",
            "--dry-run",
        ])
        .await?;
    assert!(
        told.contains("1 added") && told.contains("nothing was pushed (--dry-run)"),
        "{told}"
    );
    let log: Value = desk.runs(&["log", "prod", "-o", "json"]).await?.json()?;
    assert_eq!(log, serde_json::json!([]));
    Ok(())
}

#[tokio::test]
async fn enrolment_gives_a_join_file_that_only_its_owner_reads() -> Result<()> {
    let desk = Desk::ready().await?;
    let enroll = [
        "cluster",
        "enroll",
        "edge-1",
        "--channel",
        "prod",
        "--label",
        "region=eu",
        "--join-file",
        "edge-1.join",
    ];
    desk.succeeds(&enroll).await?;
    let path = desk.home.path().join("edge-1.join");
    assert_eq!(std::fs::metadata(&path)?.permissions().mode() & 0o777, 0o600);
    let join = JoinFile::decode(&std::fs::read_to_string(path)?)?;
    assert_eq!(
        (join.server, join.cluster.to_string()),
        (desk.url.clone(), "edge-1".to_owned())
    );

    let clusters = desk.succeeds(&["clusters", "-l", "region=eu"]).await?;
    assert!(clusters.contains("edge-1  prod     invited"), "{clusters}");
    assert!(desk.succeeds(&["status", "prod"]).await?.contains("0/1 converged"));
    Ok(())
}

#[tokio::test]
async fn bucket_of_a_running_server_is_clean_and_a_damaged_one_is_not() -> Result<()> {
    let desk = Desk::ready().await?;
    desk.pushes("shop", &greeting("a")).await?;
    assert!(
        desk.succeeds(&["verify", "--bucket", "data/bucket"])
            .await?
            .starts_with("data/bucket: clean (2 journal entries")
    );
    std::fs::remove_file(desk.home.path().join("data/bucket/journal/00000000000000000001"))?;
    let found = desk.runs(&["verify", "--bucket", "data/bucket"]).await?;
    assert_eq!(found.status.code(), Some(1));
    assert!(found.stdout.contains("journal entry 1 is missing"), "{}", found.stdout);
    Ok(())
}

#[tokio::test]
async fn server_stops_gracefully_when_asked() -> Result<()> {
    let desk = Desk::ready().await?;
    assert!(desk.server.terminate(Duration::from_secs(60)).await?.success());
    Ok(())
}
