//! What every command prints, held against files: in a pipe (`golden/pipe`), and on a terminal of 100 columns
//! (`golden/terminal`).
//!
//! `DRIFTLESS_BLESS=1 cargo test -p driftless-tests --test cli golden` writes the files; read the difference before it
//! is committed. A new command is a line in [`script`]. Hashes are numbered in the order of their appearance, and
//! times, ages, addresses and folders replaced, by [`plain::normalize`]; `\e` stands for an escape character. JSON is
//! also held against the reference: it may have no field that docs/reference/cli.md does not know.

mod plain;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use anyhow::{Result, bail};
use driftless_tests::{process::Program, terminal};

use crate::desk::{Desk, greeting};

/// Where output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Medium {
    Pipe,
    Terminal,
}

/// A desk, and what was found out so far.
struct Golden {
    desk: Desk,
    medium: Medium,
    wrong: Vec<String>,
}

#[tokio::test]
async fn what_pipes_get_is_as_committed() -> Result<()> {
    Golden::play(Medium::Pipe).await
}

#[tokio::test]
async fn what_a_terminal_shows_is_as_committed() -> Result<()> {
    Golden::play(Medium::Terminal).await
}

/// Every command, in an order that gives each something to show.
async fn script(golden: &mut Golden) -> Result<()> {
    let url = golden.desk.url.clone();
    golden.case("context-list-none", &["context", "list"]).await?;
    golden.case("no-context", &["channel", "list"]).await?;
    let login = [
        "login",
        &url,
        "--ca",
        "data/ca.crt",
        "--token-file",
        "data/admin.token",
        "--name",
        "local",
    ];
    golden.case("login", &login).await?;
    golden
        .in_forms("context-list", &["context", "list"], &["json", "yaml", "name"])
        .await?;
    golden.case("channel-list-none", &["channel", "list"]).await?;
    golden.case("channel-create", &["channel", "create", "prod"]).await?;
    golden
        .case("channel-create-again", &["channel", "create", "prod"])
        .await?;
    golden.case("log-none", &["log", "prod"]).await?;
    golden.case("status-none", &["status", "prod"]).await?;
    golden.case("clusters-none", &["clusters"]).await?;
    golden.case("show-none", &["show", "prod"]).await?;

    golden.desk.write("shop.yaml", shop("nginx:1.25", 2))?;
    golden.desk.write("greeting.yaml", greeting("hello"))?;
    let push = [
        "push",
        "shop.yaml",
        "--component",
        "shop",
        "--channel",
        "prod",
        "-m",
        "first shop",
    ];
    golden
        .case("push-dry-run", &[&push[..], &["--dry-run"]].concat())
        .await?;
    golden.case("push", &push).await?;
    golden.case("push-unchanged", &push).await?;
    let greetings = ["push", "greeting.yaml", "--component", "greeting", "--channel", "prod"];
    golden
        .case("push-json", &[&greetings[..], &["-o", "json"]].concat())
        .await?;
    golden.desk.write("shop.yaml", shop("nginx:1.26", 3))?;
    let diff = ["diff", "shop.yaml", "--component", "shop", "--channel", "prod"];
    golden.in_forms("diff", &diff, &["json", "yaml", "name"]).await?;
    golden.case("push-name", &[&push[..], &["-o", "name"]].concat()).await?;
    golden.case("diff-same", &diff).await?;
    golden
        .desk
        .write("broken.yaml", "apiVersion: v1\nkind: ConfigMap\n---\nkind: [\n")?;
    golden
        .case(
            "push-broken",
            &["push", "broken.yaml", "--component", "x", "--channel", "prod"],
        )
        .await?;

    let enroll = [
        "cluster",
        "enroll",
        "edge-1",
        "--channel",
        "prod",
        "--label",
        "region=eu",
        "--label",
        "tier=edge",
    ];
    golden
        .case(
            "cluster-enroll-join-file",
            &[&enroll[..], &["--join-file", "edge-1.join"]].concat(),
        )
        .await?;
    golden.case("cluster-enroll-again", &enroll).await?;
    golden.case("dry-run-not-joined", &["dry-run", "edge-1"]).await?;
    golden
        .case("dry-run-unknown", &["dry-run", "edge-2", "--channel", "prod"])
        .await?;
    golden
        .case("cluster-enroll", &["cluster", "enroll", "core-1", "--channel", "prod"])
        .await?;
    golden
        .case(
            "cluster-enroll-json",
            &["cluster", "enroll", "core-2", "--channel", "prod", "-o", "json"],
        )
        .await?;
    let all = [
        "wide",
        "json",
        "yaml",
        "name",
        "jsonpath={range .items[*]}{.name}{\"\\n\"}{end}",
    ];
    golden.in_forms("clusters", &["clusters"], &all).await?;
    golden
        .case(
            "clusters-selected",
            &["clusters", "-l", "region=eu", "--channel", "prod"],
        )
        .await?;
    golden.in_forms("channel-list", &["channel", "list"], &all).await?;
    golden
        .in_forms(
            "log",
            &["log", "prod"],
            &["json", "yaml", "name", "jsonpath={[0].message}"],
        )
        .await?;
    golden.case("log-oneline", &["log", "prod", "--oneline"]).await?;
    golden
        .in_forms("show", &["show", "prod"], &["wide", "json", "yaml", "name"])
        .await?;
    let shop = golden
        .desk
        .succeeds(&["show", "prod", "-o", "jsonpath={.components.shop}"])
        .await?;
    golden
        .in_forms("show-bundle", &["show", &shop], &["json", "yaml", "name"])
        .await?;
    golden
        .in_forms(
            "status",
            &["status", "prod"],
            &["wide", "json", "yaml", "jsonpath={.clusters.total}"],
        )
        .await?;
    golden.case("status-name", &["status", "prod", "-o", "name"]).await?;
    golden
        .in_forms("view", &["view", "edge-1"], &["wide", "json", "yaml", "name"])
        .await?;
    golden.case("view-unknown", &["view", "edge-9"]).await?;
    golden
        .case("log-component", &["log", "prod", "--component", "shop", "-n", "1"])
        .await?;
    golden
        .in_forms("show-object", &["show", "prod~1:shop/deploy/web"], &["yaml", "name"])
        .await?;
    golden.case("show-too-far", &["show", "prod~9"]).await?;
    golden
        .case("show-unknown-object", &["show", "prod:shop/deploy/wbe"])
        .await?;
    golden.case("status-all", &["status"]).await?;
    golden.in_forms("explain", &["explain", "edge-1"], &["json"]).await?;
    golden
        .in_forms(
            "explain-object",
            &["explain", "edge-1", "deploy/web"],
            &["json", "yaml"],
        )
        .await?;
    golden.case("explain-unknown", &["explain", "egde-1"]).await?;
    golden
        .in_forms("history", &["history", "shop", "--channel", "prod"], &["json", "name"])
        .await?;
    golden
        .in_forms(
            "history-object",
            &["history", "deploy/web", "--channel", "prod"],
            &["json"],
        )
        .await?;
    golden
        .case(
            "history-field",
            &["history", "deploy/web", "--channel", "prod", "--field", "spec.replicas"],
        )
        .await?;
    golden
        .in_forms("blame", &["blame", "deploy/web", "--channel", "prod"], &["json"])
        .await?;
    golden.case("diff-stat", &["diff", "prod~2", "prod", "--stat"]).await?;
    golden
        .case("diff-name-only", &["diff", "prod~2", "prod", "--name-only"])
        .await?;
    golden
        .case("diff-clusters", &["diff", "cluster/edge-1", "cluster/core-1"])
        .await?;
    golden
        .case("remove", &["remove", "greeting", "--channel", "prod", "-m", "no more"])
        .await?;
    golden
        .case("remove-unknown", &["remove", "greeting", "--channel", "prod"])
        .await?;
    let snapshots = golden
        .desk
        .succeeds(&["log", "prod", "-o", "jsonpath={[*].snapshot}"])
        .await?;
    let (new, rest) = snapshots.split_once(' ').unwrap_or_default();
    let old = rest.rsplit(' ').next().unwrap_or_default();
    golden.case("diff-snapshots", &["diff", old, new]).await?;
    golden
        .in_forms("verify", &["verify", "--bucket", "data/bucket"], &["json", "yaml"])
        .await?;
    golden
        .in_forms("version", &["version"], &["json", "jsonpath={.version}"])
        .await?;
    golden
        .case(
            "jsonpath-missing",
            &["version", "-o", "jsonpath={.x}", "--allow-missing-keys=false"],
        )
        .await?;
    golden
        .case("jsonpath-broken", &["version", "-o", "jsonpath={.x"])
        .await?;
    let pause = ["pause", "edge-1", "--for", "2h", "--reason", "a migration"];
    golden.case("pause", &pause).await?;
    golden
        .case(
            "pause-component",
            &["pause", "-l", "region=eu", "shop", "--reason", "a test", "-o", "json"],
        )
        .await?;
    golden
        .case("pause-unknown", &["pause", "edge-1", "shpo", "--reason", "a test"])
        .await?;
    golden.case("clusters-paused", &["clusters"]).await?;
    golden
        .case("clusters-paused-json", &["clusters", "--channel", "prod", "-o", "json"])
        .await?;
    golden.case("resume-component", &["resume", "edge-1", "shop"]).await?;
    golden.in_forms("resume", &["resume", "edge-1"], &["name"]).await?;
    golden.case("reconcile", &["reconcile", "edge-1", "core-1"]).await?;
    golden
        .case("approve-prune-none", &["approve-prune", "edge-1", "shop"])
        .await?;
    golden.case("context-use", &["context", "use", "local"]).await?;
    golden.case("context-remove", &["context", "remove", "local"]).await?;
    golden.case("help", &["--help"]).await?;
    golden.case("help-diff", &["diff", "-h"]).await
}

/// A Deployment and its Service.
fn shop(image: &str, replicas: u32) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  namespace: shop\nspec:\n  replicas: {replicas}\n  \
         selector:\n    matchLabels:\n      app: web\n  template:\n    metadata:\n      labels:\n        app: web\n    \
         spec:\n      containers:\n      - name: web\n        image: {image}\n---\napiVersion: v1\nkind: Service\n\
         metadata:\n  name: web\n  namespace: shop\nspec:\n  selector:\n    app: web\n  ports:\n  - port: 80\n"
    )
}

impl Golden {
    async fn play(medium: Medium) -> Result<()> {
        let mut golden = Self {
            desk: Desk::new().await?,
            medium,
            wrong: Vec::new(),
        };
        script(&mut golden).await?;
        if golden.wrong.is_empty() {
            return Ok(());
        }
        bail!(
            "{}\n\nif that is as it should be: DRIFTLESS_BLESS=1 cargo test -p driftless-tests --test cli golden",
            golden.wrong.join("\n\n")
        )
    }

    /// Runs a command as it is, and in each of these forms; forms for programs in a pipe only.
    async fn in_forms(&mut self, name: &str, arguments: &[&str], forms: &[&str]) -> Result<()> {
        self.case(name, arguments).await?;
        let medium = self.medium;
        let shown = |form: &&&str| medium == Medium::Pipe || **form == "wide";
        for form in forms.iter().filter(shown) {
            let word = form.split('=').next().unwrap_or(form);
            let arguments = [arguments, &["-o", form]].concat();
            self.case(&format!("{name}-{word}"), &arguments).await?;
        }
        Ok(())
    }

    /// Runs a command and holds what it prints against the file of this name.
    async fn case(&mut self, name: &str, arguments: &[&str]) -> Result<()> {
        let said = match self.medium {
            Medium::Pipe => {
                let finished = self.desk.runs(arguments).await?;
                if arguments.ends_with(&["-o", "json"]) && finished.status.code() != Some(2) {
                    self.wrong.extend(plain::undocumented(arguments, &finished.stdout)?);
                }
                let stderr = match finished.stderr.as_str() {
                    "" => String::new(),
                    stderr => format!("--- standard error\n{stderr}"),
                };
                format!("{}{stderr}{}", finished.stdout, ending(finished.status))
            }
            Medium::Terminal => {
                let mut command = self.desk.home.command(Program::Driftless)?;
                command.args(arguments).env("DRIFTLESS_PAGER", "");
                let shown = terminal::show(command, 100, 40).await?;
                format!("{}{}", shown.screen, ending(shown.status))
            }
        };
        let said = format!("$ driftless {}\n{said}", arguments.join(" "));
        let said = plain::normalize(&said, self.desk.home.path());
        let path = folder(self.medium).join(format!("{name}.txt"));
        if std::env::var_os("DRIFTLESS_BLESS").is_some() {
            fs::create_dir_all(folder(self.medium))?;
            fs::write(&path, &said)?;
            return Ok(());
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if said != expected {
            self.wrong.push(format!(
                "=== {}\n--- expected\n{expected}--- printed\n{said}",
                path.display()
            ));
        }
        Ok(())
    }
}

/// How a command ended, where that says anything.
fn ending(status: ExitStatus) -> String {
    match status.code() {
        Some(0) => String::new(),
        _ => format!("--- {status}\n"),
    }
}

fn folder(medium: Medium) -> PathBuf {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("cli/golden");
    golden.join(match medium {
        Medium::Pipe => "pipe",
        Medium::Terminal => "terminal",
    })
}
