//! Sources that other programs render, and repositories with a `driftless.yaml`: what comes out is what those
//! programs print, and what goes wrong is told with their own words.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use driftless_model::{bundle::Bundle, intake};
use driftless_tests::{
    binaries::{self, Binaries, Missing},
    process::Program,
};
use serde_json::Value;

use crate::desk::{Desk, greeting};

const BOUTIQUE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/online-boutique");
const TO_PROD: [&str; 4] = ["--component", "shop", "--channel", "prod"];

/// A folder for PATH with nothing in it but these programs and a shell.
fn tools(desk: &Desk, programs: &[(&str, &Path)]) -> Result<PathBuf> {
    let folder = desk.home.path().join("tools");
    fs::create_dir_all(&folder)?;
    for (name, program) in programs
        .iter()
        .chain(&[("sh", Path::new("/bin/sh")), ("cat", Path::new("/bin/cat"))])
    {
        symlink(program, folder.join(name))?;
    }
    Ok(folder)
}

/// Runs a command with this PATH; gives its exit code, stdout and stderr.
async fn run(desk: &Desk, path: &Path, arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
    let mut command = tokio::process::Command::from(desk.home.command(Program::Driftless)?);
    command.args(arguments).env("PATH", path).stdin(Stdio::null());
    let output = command.kill_on_drop(true).output().await?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((output.status.code(), text(output.stdout), text(output.stderr)))
}

/// The hash of the component that a renderer's output makes.
async fn hash_of(program: &Path, arguments: &[&str]) -> Result<String> {
    let output = tokio::process::Command::new(program).args(arguments).output().await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = intake::Text {
        name: "rendered".to_owned(),
        content: String::from_utf8(output.stdout)?,
    };
    let manifests = intake::read(&[text], "default").map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    ensure!(manifests.len() > 30, "only {} objects were rendered", manifests.len());
    Ok(Bundle::new("shop".parse()?, manifests)?.hash().to_string())
}

async fn pushed(desk: &Desk, path: &Path, arguments: &[&str]) -> Result<String> {
    let arguments = [&["push"], arguments, &TO_PROD, &["--dry-run", "-o", "json"]].concat();
    let (code, stdout, stderr) = run(desk, path, &arguments).await?;
    ensure!(code == Some(0), "{arguments:?}: {stderr}");
    let report: Value = serde_json::from_str(&stdout)?;
    let hash = report["components"][0]["after"].as_str();
    Ok(hash.context("a component has a hash")?.to_owned())
}

#[tokio::test]
async fn real_kustomize_and_helm_give_the_objects_that_they_print() -> Result<()> {
    let found = Binaries::find();
    let (kubectl, helm) = match (found, Binaries::helm()) {
        (Ok(found), Some(helm)) => (found.kubectl, helm),
        (Err(missing), _) => return skipped(&missing),
        (Ok(_), None) => return skipped(&Binaries::lacking_helm()),
    };
    let desk = Desk::ready().await?;
    let path = tools(&desk, &[("kubectl", &kubectl), ("helm", &helm)])?;
    let (kustomize, chart) = (format!("{BOUTIQUE}/kustomize"), format!("{BOUTIQUE}/helm-chart"));
    assert_eq!(
        pushed(&desk, &path, &[&kustomize]).await?,
        hash_of(&kubectl, &["kustomize", &kustomize]).await?
    );
    let options = [
        "--set",
        "frontend.externalService=false",
        "--kube-version",
        "1.33",
        "--api-versions",
        "networking.istio.io/v1beta1",
    ];
    let rendered = [
        &["template", "shop", &chart, "--include-crds", "--namespace", "default"],
        &options[..],
    ]
    .concat();
    let expected = hash_of(&helm, &rendered).await?;
    assert_eq!(
        pushed(&desk, &path, &[&[chart.as_str()], &options[..]].concat()).await?,
        expected
    );
    let by_name = [&["--helm-chart", chart.as_str()], &options[..]].concat();
    assert_eq!(pushed(&desk, &path, &by_name).await?, expected);

    let broken = ["push", chart.as_str(), "--values", "absent.yaml"];
    let (code, _, stderr) = run(&desk, &path, &[&broken[..], &TO_PROD].concat()).await?;
    assert_eq!(code, Some(1));
    let first =
        format!("helm template shop {chart}: failed with exit code 1\n    Error: open absent.yaml: no such file");
    assert!(stderr.starts_with(&first), "{stderr}");
    desk.write("kustomization/kustomization.yaml", "resources: [absent.yaml]\n")?;
    let (_, _, stderr) = run(&desk, &path, &[&["push", "kustomization"], &TO_PROD[..]].concat()).await?;
    let first = "kubectl kustomize kustomization: failed with exit code 1\n    error: accumulating resources";
    assert!(stderr.starts_with(first), "{stderr}");
    Ok(())
}

fn skipped(missing: &Missing) -> Result<()> {
    binaries::skip("sources rendered by kubectl and helm", missing);
    Ok(())
}

#[tokio::test]
async fn renderer_that_is_missing_is_named_with_where_to_get_it() -> Result<()> {
    let desk = Desk::ready().await?;
    let path = tools(&desk, &[])?;
    desk.write("folder/kustomization.yaml", "resources: []\n")?;
    desk.write("chart/Chart.yaml", "name: chart\n")?;
    for (source, problem, hint) in [
        (
            "folder",
            "folder: there is no `kustomize` or `kubectl` to render this Kustomize folder\n",
            "hint: install kustomize (https://",
        ),
        (
            "chart",
            "chart: there is no `helm` to render this chart\n",
            "hint: install Helm 3",
        ),
    ] {
        let (code, _, stderr) = run(&desk, &path, &[&["push", source], &TO_PROD[..]].concat()).await?;
        assert_eq!(code, Some(1));
        assert!(stderr.starts_with(problem), "{stderr}");
        assert!(
            stderr.contains("error: 1 problem in the manifests: nothing was pushed\n"),
            "{stderr}"
        );
        assert!(stderr.contains(hint), "{stderr}");
    }
    Ok(())
}

#[tokio::test]
async fn command_is_read_and_one_that_fails_pushes_nothing() -> Result<()> {
    let desk = Desk::ready().await?;
    desk.write("a.yaml", greeting("hello"))?;
    let exec = |script| [&["push", "--exec", script], &TO_PROD[..]].concat();
    desk.succeeds(&exec("cat a.yaml")).await?;
    let stderr = desk.fails(1, &exec("cat a.yaml; echo no luck >&2; exit 3")).await?;
    assert_eq!(
        stderr,
        "no luck\nexec cat a.yaml; echo no luck >&2; exit 3: failed with exit code 3\n\
         error: 1 problem in the manifests: nothing was pushed\n"
    );
    let stderr = desk.fails(1, &exec("echo 'kind: Pod'")).await?;
    assert!(
        stderr.starts_with("exec echo 'kind: Pod':1: `apiVersion` is missing"),
        "{stderr}"
    );
    Ok(())
}

#[tokio::test]
async fn repository_is_pushed_together_and_only_what_changed() -> Result<()> {
    let desk = Desk::ready().await?;
    for name in ["a", "b", "c"] {
        desk.write(&format!("apps/{name}/x.yaml"), greeting(name))?;
    }
    desk.write(
        "driftless.yaml",
        "version: 1\nchannel: prod\ncomponents:\n- path: apps/*\n- {name: c, path: apps/c, dependsOn: [a], selector: region=eu}\n",
    )?;
    let told = desk.succeeds(&["push"]).await?;
    assert!(
        told.contains("a: 1 object, 1 added") && told.contains("c: 1 object, 1 added"),
        "{told}"
    );
    assert!(desk.succeeds(&["push"]).await?.starts_with("3 components unchanged\n"));
    assert_eq!(desk.succeeds(&["diff"]).await?, "");

    desk.write("apps/b/x.yaml", greeting("other"))?;
    let told = desk.succeeds(&["push"]).await?;
    assert!(
        told.starts_with("b: 1 object, 1 changed (ConfigMap default/greeting)\n2 components unchanged\n"),
        "{told}"
    );

    fs::remove_dir_all(desk.home.path().join("apps/b"))?;
    assert!(desk.succeeds(&["push"]).await?.starts_with("2 components unchanged\n"));
    let told = desk.succeeds(&["push", "--prune-components"]).await?;
    assert!(told.starts_with("b: removed\n2 components unchanged\n"), "{told}");

    desk.write(
        "driftless.yaml",
        "version: 1\nchannel: prod\ncomponents:\n- {name: a, path: apps/a, dependsOn: [nowhere]}\n- {name: c, pth: x}\n",
    )?;
    let stderr = desk.fails(1, &["push"]).await?;
    let expected = "driftless.yaml:5:3: one of `path`, `paths`, `kustomize`, `helm`, `exec` has to be there\n\
        driftless.yaml:5:13: unknown field `pth`: did you mean `path`?\n\
        error: 2 problems in the manifests: nothing was pushed\n";
    assert_eq!(stderr, expected);
    desk.write(
        "driftless.yaml",
        "version: 1\nchannel: prod\ncomponents:\n- {name: a, path: apps/a, dependsOn: [nowhere]}\n",
    )?;
    let stderr = desk.fails(1, &["push"]).await?;
    let expected =
        "driftless.yaml:4:27: component `a` depends on `nowhere`, which is neither pushed nor in the channel\n";
    assert!(stderr.starts_with(expected), "{stderr}");
    Ok(())
}
