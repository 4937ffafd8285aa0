//! The programs of `examples/`, in each language, against a real server: that they give a bundle the very name that
//! `driftless push` gives it, that repeating is safe, and that they fail with words and without secrets.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use driftless_tests::{
    Simulated, World,
    child::Running,
    fixture::ONLINE_BOUTIQUE,
    process::{Finished, Program},
    say,
    world::SOON,
};
use serde_json::Value;

/// Set to `1` where a skipped example must fail the test instead, as `.ci/run` does.
const REQUIRE: &str = "DRIFTLESS_REQUIRE_EXAMPLES";

/// What is read differently by libraries that do not follow kubectl, RFC 8785 or Driftless's own rules.
const ODD: &str = r#"
apiVersion: example.com/v1
kind: Widget
metadata: {name: odd, uid: 5c3f1e0, creationTimestamp: null, labels: {b: "1", a: 'x'}}
spec:
  mode: 0644
  hex: 0xff
  on: yes
  time: 1:30
  date: 2024-01-01
  whole: 1.0
  half: 1.50
  thousand: 1e3
  great: 1e21
  small: 0.0000001
  exact: 9007199254740993
  signed: -9223372036854775808
  unsigned: 12345678901234567890
  nothing: null
  text: "<&> \u2028 \u0007 \t é"
  "é": {"\U0001F600": 1, "\uFB33": 2, "\r": 3}
  base: &base {x: 1, y: [a, b]}
  merged: {<<: *base, z: none}
status: {ready: true}
--- # a list
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: b}, data: {text: "1"}}
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
---
apiVersion: v1
kind: Namespace
metadata: {name: odd}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: zero, namespace: ""}
---
"#;

/// One example, ready to run.
struct Example {
    language: &'static str,
    program: PathBuf,
    /// What stands before its own arguments.
    before: Vec<PathBuf>,
    environment: Vec<(&'static str, PathBuf)>,
}

impl Example {
    /// That of Rust, which cargo builds along with the tests.
    fn rust() -> Result<Self> {
        let driftless = Program::Driftless.path()?;
        let folder = driftless.parent().context("a program lies in a folder")?;
        Ok(Self {
            language: "rust",
            program: folder.join("examples/push"),
            before: Vec::new(),
            environment: Vec::new(),
        })
    }

    /// All that are there; says loudly which are not.
    fn all() -> Result<Vec<Self>> {
        let mut all = vec![Self::rust()?];
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
        let install = Command::new(examples.join("install"))
            .arg("--check")
            .output()
            .context("cannot run examples/install")?;
        if !install.status.success() {
            let reason = String::from_utf8_lossy(&install.stderr);
            ensure!(env::var(REQUIRE).as_deref() != Ok("1"), "{REQUIRE}=1 and {reason}");
            say(&format!("\n*** SKIPPED the examples in Python and Go\n*** {reason}\n"));
            return Ok(all);
        }
        let printed = String::from_utf8(install.stdout).context("the folder of the examples' tools")?;
        let home = PathBuf::from(printed.lines().last().context("install prints a folder")?);
        all.push(Self {
            language: "python",
            program: home.join("python/bin/python"),
            before: vec![examples.join("python/push.py")],
            environment: vec![
                ("PYTHONPATH", home.join("stubs")),
                ("PYTHONDONTWRITEBYTECODE", PathBuf::from("1")),
            ],
        });
        all.push(Self {
            language: "go",
            program: home.join("push-go"),
            before: Vec::new(),
            environment: Vec::new(),
        });
        Ok(all)
    }

    /// The command that pushes files as a component that is named like the language; and its own arguments.
    fn command(&self, world: &World<'_>, token_file: &str, more: &[&str], files: &[&str]) -> (Command, Vec<String>) {
        let url = world.url();
        let mut arguments = vec!["--server", &url, "--ca", "data/ca.crt", "--token-file", token_file];
        arguments.extend(["--channel", "prod", "--component", self.language]);
        arguments.extend(more.iter().chain(files));
        let mut command = Command::new(&self.program);
        command
            .args(&self.before)
            .args(&arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(world.home().path());
        (command, arguments.into_iter().map(str::to_owned).collect())
    }

    /// Pushes, to the end.
    async fn push(&self, world: &World<'_>, token_file: &str, more: &[&str], files: &[&str]) -> Result<Finished> {
        let (command, arguments) = self.command(world, token_file, more, files);
        Finished::of(self.language, &arguments, command.into()).await
    }

    /// As [`Self::push`], as the administrator, and it has to succeed.
    async fn pushed(&self, world: &World<'_>, more: &[&str], files: &[&str]) -> Result<Told> {
        let finished = self.push(world, "data/admin.token", more, files).await?;
        Told::of(&finished.expect_success()?)
    }
}

/// What every example says of a push.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    bundle: String,
    snapshot: String,
    unchanged: bool,
}

impl Told {
    fn of(text: &str) -> Result<Self> {
        let after = |words: &str| {
            let line = text.lines().find_map(|line| line.split_once(words));
            line.map(|(_, hash)| hash.to_owned())
        };
        let stays = after(" stays at snapshot ");
        Ok(Self {
            bundle: after(": bundle ").with_context(|| format!("no bundle in: {text}"))?,
            unchanged: stays.is_some(),
            snapshot: stays
                .or_else(|| after(" is now at snapshot "))
                .with_context(|| format!("no snapshot in: {text}"))?,
        })
    }
}

/// The channel as the command shows it.
async fn channel(world: &World<'_>) -> Result<Value> {
    let channels: Value = world
        .home()
        .driftless(&["channel", "list", "-o", "json"])
        .await?
        .json()?;
    Ok(channels[0].clone())
}

#[tokio::test]
async fn every_language_names_a_bundle_as_the_command_does() -> Result<()> {
    let simulated = Simulated::start().await?;
    let world = World::new(&simulated, "examples").await?;
    fs::write(world.home().path().join("odd.yaml"), ODD)?;
    fs::write(world.home().path().join("boutique.yaml"), ONLINE_BOUTIQUE)?;
    let files = ["odd.yaml", "boutique.yaml"];
    for example in Example::all()? {
        let language = example.language;
        let first = example.pushed(&world, &["--message", "first"], &files).await?;
        assert!(!first.unchanged, "{language}: {first:?}");
        let now = channel(&world).await?;
        assert_eq!(now["components"][language], first.bundle.as_str(), "{language}");
        assert_eq!(now["snapshot"], first.snapshot.as_str(), "{language}");

        let arguments = [
            "push",
            "odd.yaml",
            "boutique.yaml",
            "--component",
            language,
            "--channel",
            "prod",
        ];
        let told = world.driftless(&arguments).await?;
        assert!(told.contains("unchanged"), "{language}: {told}");
        assert_eq!(channel(&world).await?, now, "{language}");

        let again = example.pushed(&world, &[], &files).await?;
        assert_eq!(
            again,
            Told {
                unchanged: true,
                ..first
            },
            "{language}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn push_that_comes_again_by_its_key_undoes_nothing() -> Result<()> {
    let simulated = Simulated::start().await?;
    let world = World::new(&simulated, "examples").await?;
    let other = "{apiVersion: v1, kind: ConfigMap, metadata: {name: other}}";
    fs::write(world.home().path().join("odd.yaml"), ODD)?;
    fs::write(world.home().path().join("other.yaml"), other)?;
    for example in Example::all()? {
        let key = ["--idempotency-key", example.language];
        let first = example.pushed(&world, &key, &["odd.yaml"]).await?;
        let newer = example.pushed(&world, &[], &["other.yaml"]).await?;
        let again = example.pushed(&world, &key, &["odd.yaml"]).await?;
        assert_eq!(again, first, "{}", example.language);
        assert_eq!(channel(&world).await?["snapshot"], newer.snapshot.as_str());
    }
    Ok(())
}

#[tokio::test]
async fn refused_token_is_told_and_not_shown() -> Result<()> {
    let simulated = Simulated::start().await?;
    let world = World::new(&simulated, "examples").await?;
    fs::write(world.home().path().join("odd.yaml"), ODD)?;
    fs::write(world.home().path().join("token"), "dft_b64secretb64\n")?;
    fs::write(world.home().path().join("broken"), "secret: 1\nother: secret\n")?;
    for example in Example::all()? {
        let refused = example.push(&world, "token", &[], &["odd.yaml"]).await?;
        assert!(!refused.stdout.contains("secret"), "{}", refused.stdout);
        let words = refused.expect_failure()?;
        assert!(
            words.contains("error: ") && words.contains("token is not valid"),
            "{words}"
        );
        assert!(!words.contains("secret") && !words.contains("Traceback"), "{words}");

        let broken = example.push(&world, "broken", &[], &["odd.yaml"]).await?;
        let words = broken.expect_failure()?;
        assert!(
            words.contains("error: ") && words.contains("is it the right file?"),
            "{words}"
        );
        assert!(!words.contains("secret") && !words.contains("Traceback"), "{words}");

        let lacking = example.push(&world, "nowhere", &[], &["odd.yaml"]).await?;
        let words = lacking.expect_failure()?;
        assert!(words.starts_with("error: ") && words.contains("nowhere"), "{words}");
    }
    Ok(())
}

#[tokio::test]
async fn clusters_are_waited_for() -> Result<()> {
    let simulated = Simulated::start().await?;
    let mut world = World::new(&simulated, "examples").await?;
    let _agent = world.agent().await?;
    let file = "greeting.yaml";
    let greeting = |text: &str| {
        let namespace = world.namespace();
        format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: a, namespace: {namespace}}}, data: {{a: {text}}}}}"
        )
    };
    let (one, two) = (greeting("one"), greeting("two"));
    fs::write(world.home().path().join(file), one)?;
    let rust = Example::rust()?;
    // Its agent may not have joined yet; that cluster is not waited for.
    rust.pushed(&world, &[], &[file]).await?;
    world.converged().await?;

    fs::write(world.home().path().join(file), two)?;
    let finished = rust.push(&world, "data/admin.token", &[], &[file]).await?;
    let told = finished.expect_success()?;
    assert!(told.ends_with("all 1 clusters converged\n"), "{told}");
    assert!(world.row().await?.converged);

    world.kill_server();
    let away = rust.push(&world, "data/admin.token", &[], &[file]).await?;
    let words = away.expect_failure()?;
    assert!(words.contains("connection refused"), "{words}");
    Ok(())
}

#[tokio::test]
async fn wait_outlives_a_server() -> Result<()> {
    let simulated = Simulated::start().await?;
    let mut world = World::new(&simulated, "examples").await?;
    fs::write(world.home().path().join("none.yaml"), "")?;
    let rust = Example::rust()?;
    let agent = world.agent().await?;
    rust.pushed(&world, &[], &["none.yaml"]).await?;
    world.converged().await?;

    agent.kill();
    let namespace = world.namespace();
    let map = format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: a, namespace: {namespace}}}}}");
    fs::write(world.home().path().join("map.yaml"), map)?;
    let (command, _) = rust.command(&world, "data/admin.token", &[], &["map.yaml"]);
    let waiting = Running::spawn("waiting", command, world.home().path())?;
    waiting.line("0 of 1 clusters converged", SOON).await?;
    world.kill_server();
    world.start_server().await?;
    let _agent = world.agent().await?;
    waiting.line("all 1 clusters converged", SOON).await?;
    assert!(waiting.exited(SOON).await?.success());
    Ok(())
}
