//! What a person gets wrong: each mistake has its message on stderr, an exit code, and no effect.

use anyhow::Result;
use serde_json::Value;

use crate::desk::{Desk, greeting};

const PUSH: [&str; 6] = ["push", "bad", "--component", "shop", "--channel", "prod"];

/// The lines before `error:`, the error, and the hint.
fn parts(stderr: &str) -> (Vec<&str>, &str, Option<&str>) {
    let (problems, rest): (Vec<_>, Vec<_>) = stderr
        .lines()
        .partition(|line| !line.starts_with("error: ") && !line.starts_with("hint: "));
    (
        problems,
        rest.first().copied().unwrap_or_default(),
        rest.get(1).copied(),
    )
}

async fn nothing_was_stored(desk: &Desk) -> Result<()> {
    let log: Value = desk.runs(&["log", "prod", "-o", "json"]).await?.json()?;
    assert_eq!(log, serde_json::json!([]));
    Ok(())
}

#[tokio::test]
async fn every_problem_of_every_file_is_told_with_its_place() -> Result<()> {
    let desk = Desk::ready().await?;
    desk.write("bad/a.yaml", "a: [1\nb: 2\n")?;
    desk.write(
        "bad/b.yaml",
        format!("{}---\nkind: Pod\n---\napiVersion: v1\nkind: Pod\n---\napiVersion: v1\nkind: Service\nmetadata: {{name: A_b}}\n", greeting("x")),
    )?;
    desk.write("bad/c.yaml", format!("# a copy\n{}", greeting("y")))?;
    desk.write(
        "bad/d.yaml",
        format!("deep: {}{}\n", "[".repeat(5000), "]".repeat(5000)),
    )?;
    desk.write("bad/e.yaml", b"text: \xff\n")?;
    desk.write("bad/f.json", "{\"apiVersion\": \"v1\",")?;
    let stderr = desk.fails(1, &PUSH).await?;
    let (problems, error, _) = parts(&stderr);
    let expected = [
        ("bad/e.yaml:1:7: ", "not UTF-8"),
        ("bad/a.yaml:2:", ""),
        ("bad/b.yaml:8: ", "`apiVersion` is missing"),
        ("bad/b.yaml:10: ", "`metadata.name` is missing"),
        ("bad/b.yaml:13: ", "metadata.name `A_b` is not valid"),
        (
            "bad/c.yaml:2: ",
            "ConfigMap default/greeting is there already, at bad/b.yaml:1",
        ),
        ("bad/d.yaml:1:", "nested too deeply"),
        ("bad/f.json:", "EOF while parsing"),
    ];
    assert_eq!(problems.len(), expected.len(), "{stderr}");
    for (place, what) in expected {
        assert!(
            problems
                .iter()
                .any(|line| line.starts_with(place) && line.contains(what)),
            "{place} {what}\n{stderr}"
        );
    }
    assert_eq!(error, "error: 8 problems in the manifests: nothing was pushed");
    nothing_was_stored(&desk).await
}

#[tokio::test]
async fn plaintext_secret_is_refused_with_what_to_do_instead() -> Result<()> {
    let desk = Desk::ready().await?;
    desk.write(
        "bad/s.yaml",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: hunter2}\n",
    )?;
    let stderr = desk.fails(1, &PUSH).await?;
    assert!(
        stderr.starts_with("bad/s.yaml:1: Secret default/s: a Secret with plaintext data must not enter the store"),
        "{stderr}"
    );
    assert!(
        stderr.contains("External Secrets") && !stderr.contains("hunter2"),
        "{stderr}"
    );
    nothing_was_stored(&desk).await
}

#[tokio::test]
async fn object_that_no_cluster_takes_is_refused_by_size() -> Result<()> {
    let desk = Desk::ready().await?;
    desk.write("bad/big.yaml", greeting(&"x".repeat(2_000_000)))?;
    let stderr = desk.fails(1, &PUSH).await?;
    assert!(
        stderr.contains("bad/big.yaml:1: ConfigMap default/greeting: 2000"),
        "{stderr}"
    );
    assert!(stderr.contains("more than a cluster stores in one object"), "{stderr}");
    nothing_was_stored(&desk).await
}

#[tokio::test]
async fn nothing_to_push_is_an_error_unless_meant() -> Result<()> {
    let desk = Desk::ready().await?;
    desk.write("bad/empty.yaml", "# only a comment\n")?;
    let stderr = desk.fails(1, &PUSH).await?;
    let (_, error, hint) = parts(&stderr);
    assert_eq!(error, "error: there is no object to push to `shop`");
    assert!(hint.is_some_and(|hint| hint.contains("--allow-empty")), "{stderr}");
    desk.succeeds(&[&PUSH[..], &["--allow-empty"]].concat()).await?;

    let stderr = desk
        .fails(1, &["push", "absent", "--component", "shop", "--channel", "prod"])
        .await?;
    assert!(
        stderr.starts_with("absent: there is no such file or folder\nerror: "),
        "{stderr}"
    );
    Ok(())
}

#[tokio::test]
async fn what_is_not_there_is_named() -> Result<()> {
    let desk = Desk::ready().await?;
    desk.write("a.yaml", greeting("a"))?;
    let unknown =
        "error: there is no channel `prdo` (there are `prod`): create it with `driftless channel create prdo`";
    for command in [
        &["push", "a.yaml", "--component", "shop", "--channel", "prdo"][..],
        &["log", "prdo"],
        &["status", "prdo"],
        &["show", "prdo"],
        &["clusters", "--channel", "prdo"],
        &["cluster", "enroll", "edge-1", "--channel", "prdo"],
    ] {
        let stderr = desk.fails(1, command).await?;
        assert_eq!(parts(&stderr).1, unknown, "{command:?}");
    }
    assert!(
        desk.fails(1, &["view", "nowhere"])
            .await?
            .contains("there is no cluster `nowhere`")
    );
    assert!(
        desk.fails(1, &["show", "0123"])
            .await?
            .contains("no object's hash begins with `0123`")
    );
    assert!(
        desk.fails(1, &["remove", "shop", "--channel", "prod"])
            .await?
            .contains("has no component `shop`")
    );
    Ok(())
}

#[tokio::test]
async fn push_that_comes_too_late_is_told_who_was_faster() -> Result<()> {
    let desk = Desk::ready().await?;
    let parent = desk.pushes("shop", &greeting("a")).await?;
    let winner = desk.pushes("shop", &greeting("b")).await?;
    desk.write("late.yaml", greeting("c"))?;
    let push = [
        "push",
        "late.yaml",
        "--component",
        "shop",
        "--channel",
        "prod",
        "--expect-parent",
        &parent,
    ];
    let stderr = desk.fails(1, &push).await?;
    assert!(
        stderr.contains("component `shop` of channel `prod` has changed since snapshot"),
        "{stderr}"
    );
    assert!(stderr.contains(&winner[..12]), "{stderr}");
    Ok(())
}

#[tokio::test]
async fn names_that_break_their_rule_are_wrong_usage() -> Result<()> {
    let desk = Desk::ready().await?;
    let stderr = desk.fails(2, &["channel", "create", "Prod"]).await?;
    assert!(
        stderr.contains("channel name `Prod` is not valid: use 1 to 63 lower-case letters"),
        "{stderr}"
    );
    let enroll = ["cluster", "enroll", "edge-1", "--channel", "prod"];
    let stderr = desk.fails(2, &[&enroll[..], &["--label", "a b=c"]].concat()).await?;
    assert!(stderr.contains("label key `a b` is not valid"), "{stderr}");
    let stderr = desk.fails(2, &[&enroll[..], &["--ttl", "soon"]].concat()).await?;
    assert!(stderr.contains("`soon` is no duration"), "{stderr}");
    Ok(())
}

#[tokio::test]
async fn what_is_there_already_is_not_made_twice() -> Result<()> {
    let desk = Desk::ready().await?;
    assert!(
        desk.fails(1, &["channel", "create", "prod"])
            .await?
            .contains("channel `prod` exists already")
    );
    let enroll = [
        "cluster",
        "enroll",
        "edge-1",
        "--channel",
        "prod",
        "--join-file",
        "edge-1.join",
    ];
    desk.succeeds(&enroll).await?;
    assert!(
        desk.fails(1, &enroll)
            .await?
            .contains("`--again` gives it a new join token")
    );
    desk.succeeds(&[&enroll[..], &["--again"]].concat()).await?;
    Ok(())
}

#[tokio::test]
async fn diff_that_cannot_tell_exits_with_two() -> Result<()> {
    let desk = Desk::ready().await?;
    assert!(
        desk.fails(2, &["diff", "prod", "prdo"])
            .await?
            .contains("no channel `prdo`")
    );
    assert!(
        desk.fails(2, &["diff", "prod"])
            .await?
            .contains("hint: name two snapshots or channels")
    );
    desk.write("bad/a.yaml", "a: [")?;
    assert!(
        desk.fails(2, &["diff", "bad", "--component", "shop", "--channel", "prod"])
            .await?
            .contains("1 problem")
    );
    Ok(())
}
