//! Questions about a channel's past and about its clusters: log, show, diff, history, blame, explain.

use anyhow::{Context as _, Result, ensure};
use driftless_client::Push;
use driftless_model::{
    bundle::{Bundle, Spec},
    manifest::Manifest,
    overlay::{Overlay, Patch, Target as Chosen},
};
use serde_json::{Value, json};

use crate::desk::{Desk, greeting};

/// A Deployment `shop/web` with so many replicas.
fn web(replicas: &str, image: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  namespace: shop\nspec:\n  replicas: {replicas}\n  \
         selector:\n    matchLabels: {{app: web}}\n  template:\n    metadata:\n      labels: {{app: web}}\n    spec:\n      \
         containers:\n      - name: web\n        image: {image}\n"
    )
}

async fn pushed(desk: &Desk, component: &str, content: &str, message: &str) -> Result<String> {
    let file = format!("{component}.yaml");
    desk.write(&file, content)?;
    let push = [
        "push",
        &file,
        "--component",
        component,
        "--channel",
        "prod",
        "-o",
        "json",
        "-m",
        message,
    ];
    let report: Value = desk.runs(&push).await?.json()?;
    Ok(report["snapshot"]
        .as_str()
        .context("a push makes a snapshot")?
        .to_owned())
}

/// Four pushes: shop with 1 replica, a greeting, shop with 3 replicas, shop with another image.
async fn story(desk: &Desk) -> Result<[String; 4]> {
    Ok([
        pushed(desk, "shop", &web("1", "a:1"), "first").await?,
        pushed(desk, "hello", &greeting("hi"), "Greet people").await?,
        pushed(desk, "shop", &web("3", "a:1"), "More replicas").await?,
        pushed(desk, "shop", &web("3", "a:2"), "New image").await?,
    ])
}

#[tokio::test]
async fn log_keeps_filters_and_revisions_lead_back() -> Result<()> {
    let desk = Desk::ready().await?;
    let [first, hello, replicas, image] = story(&desk).await?;
    let listed = async |arguments: &[&str]| -> Result<Vec<String>> {
        let log: Value = desk.runs(&[&["log", "-o", "json"], arguments].concat()).await?.json()?;
        let entries = log.as_array().context("a log is a list")?;
        Ok(entries
            .iter()
            .filter_map(|entry| Some(entry["snapshot"].as_str()?.to_owned()))
            .collect())
    };
    assert_eq!(listed(&["prod"]).await?, [&*image, &*replicas, &*hello, &*first]);
    assert_eq!(
        listed(&["prod", "--component", "shop", "--limit", "2"]).await?,
        [&*image, &*replicas]
    );
    assert_eq!(listed(&["prod", "--grep", "greet"]).await?, [&*hello]);
    assert_eq!(listed(&["prod~2"]).await?, [&*hello, &*first]);
    assert_eq!(listed(&["prod", "--author", "nobody"]).await?, [""; 0]);
    assert_eq!(listed(&["prod", "--since", "1h", "-n", "1"]).await?, [&*image]);
    assert_eq!(listed(&["prod", "--until", "1h"]).await?, [""; 0]);

    let shown =
        async |reference: &str| -> Result<Value> { desk.runs(&["show", reference, "-o", "json"]).await?.json() };
    assert_eq!(shown("prod^^^").await?["hash"], first);
    assert_eq!(shown(&format!("{}~1", &image[..12])).await?["hash"], replicas);
    assert_eq!(shown("prod@{0s}").await?["hash"], image);
    assert_eq!(shown("prod~1:shop").await?["component"], "shop");
    assert_eq!(shown("prod~1:shop/deploy/web").await?["spec"]["replicas"], 3);
    let yaml = desk.succeeds(&["show", "prod~3:shop/Deployment.apps/shop/web"]).await?;
    assert!(yaml.contains("\nspec:\n  replicas: 1\n"), "{yaml}");

    let text = desk.succeeds(&["log", "prod", "-n", "1"]).await?;
    assert!(
        text.contains("\n    New image\n\n  ~ shop ") && text.contains("  1 object changed\n"),
        "{text}"
    );
    let one = desk
        .succeeds(&["log", "prod", "--oneline", "--component", "hello"])
        .await?;
    assert!(one.ends_with(" admin +hello Greet people\n"), "{one}");
    Ok(())
}

#[tokio::test]
async fn references_that_lead_nowhere_say_where_they_end() -> Result<()> {
    let desk = Desk::ready().await?;
    story(&desk).await?;
    for (reference, error) in [
        (
            "prod~4",
            "error: `prod` does not go back as far as `prod~4`\nhint: `driftless log prod --oneline` lists",
        ),
        ("prod@{1h}", "error: `prod` had no snapshot yet on "),
        ("prod@{soon}", "error: `soon` is no time: write an age like `2h`"),
        ("prod~x", "error: `prod~x`: write `CHANNEL~2` for two pushes back"),
        ("prod:shp", "error: `prod` has no component `shp`\nhint: is it `shop`?"),
        (
            "prod:shop/deploy/wbe",
            "error: there is no deployment `wbe`; there is Deployment.apps shop/web\n",
        ),
        ("prod:shop/web", "error: there is no"),
        (
            "prod:shop/deploy/a/b/c",
            "error: `deploy/a/b/c` names no object: write it as",
        ),
    ] {
        let stderr = desk.fails(1, &["show", reference]).await;
        if reference == "prod:shop/web" {
            // A component and a name, without a kind.
            ensure!(stderr?.contains("names no object"), "{reference}");
            continue;
        }
        let stderr = stderr?;
        assert!(stderr.starts_with(error), "{reference}: {stderr}");
    }
    Ok(())
}

#[tokio::test]
async fn history_and_blame_name_the_push_of_every_field() -> Result<()> {
    let desk = Desk::ready().await?;
    let [first, _, replicas, image] = story(&desk).await?;
    let history = async |arguments: &[&str]| -> Result<Value> {
        desk.runs(&[&["history", "--channel", "prod", "-o", "json"], arguments].concat())
            .await?
            .json()
    };
    let of_object = history(&["deploy/web"]).await?;
    let kinds: Vec<_> = of_object
        .as_array()
        .context("a list")?
        .iter()
        .map(|step| (&step["snapshot"], &step["type"]))
        .collect();
    assert_eq!(
        kinds,
        [
            (&json!(image), &json!("changed")),
            (&json!(replicas), &json!("changed")),
            (&json!(first), &json!("added"))
        ]
    );
    let of_field = history(&["shop/deploy/web", "--field", "spec.replicas"]).await?;
    assert_eq!(
        of_field[0]["fields"][0],
        json!({"path": "spec.replicas", "before": 1, "after": 3})
    );
    assert_eq!(of_field[1]["fields"][0], json!({"path": "spec.replicas", "after": 1}));
    assert_eq!(of_field.as_array().map(Vec::len), Some(2));
    let of_component = history(&["shop", "--limit", "1"]).await?;
    assert_eq!(of_component[0]["objects"][0]["fields"][0]["after"], "a:2");

    let blame: Value = desk
        .runs(&[
            "blame",
            "deployment",
            "web",
            "-n",
            "shop",
            "--channel",
            "prod",
            "-o",
            "json",
        ])
        .await?
        .json()?;
    let setter = |path: &str| {
        let fields = blame["fields"].as_array()?;
        fields.iter().find(|field| field["path"] == path)?["snapshot"].as_str()
    };
    assert_eq!(setter("kind"), Some(&*first));
    assert_eq!(setter("spec.replicas"), Some(&*replicas));
    assert_eq!(setter("spec.template.spec.containers[name=web].image"), Some(&*image));
    let text = desk.succeeds(&["blame", "deploy/web", "--channel", "prod"]).await?;
    let line = text
        .lines()
        .find(|line| line.contains("image: a:2"))
        .context("the image has a line")?;
    assert!(line.starts_with(&image[..12]) && line.contains("  admin  "), "{line}");

    desk.succeeds(&["remove", "shop", "--channel", "prod"]).await?;
    let gone = desk
        .fails(1, &["blame", "shop/deploy/web", "--channel", "prod"])
        .await?;
    assert!(
        gone.starts_with("error: Deployment.apps shop/web is gone since snapshot "),
        "{gone}"
    );
    assert_eq!(
        history(&["shop/deploy/web", "--limit", "1"]).await?[0]["type"],
        "removed"
    );
    Ok(())
}

#[tokio::test]
async fn history_of_what_never_was_says_what_there_is() -> Result<()> {
    let desk = Desk::ready().await?;
    story(&desk).await?;
    for (arguments, error) in [
        (
            &["shp"][..],
            "error: channel `prod` never had a component `shp`\nhint: is it `shop`?",
        ),
        (
            &["deploy/wbe"],
            "error: channel `prod`: there is no deployment `wbe`; there is Deployment.apps shop/web\n",
        ),
        (&["cm", "hi"], "error: channel `prod`: there is no configmap `hi`"),
        (
            &["deploy/web", "--field", "spec.replica"],
            "error: Deployment.apps shop/web never had a field `spec.replica`\nhint: `spec` has replicas, selector, template",
        ),
        (
            &["shop", "--field", "spec.replicas"],
            "error: `shop` is a component, and fields are of objects\n",
        ),
        (
            &["deploy/web", "-n", "cart"],
            "error: channel `prod`: there is no deployment `web` in namespace `cart`; there is",
        ),
    ] {
        let stderr = desk
            .fails(1, &[&["history", "--channel", "prod"], arguments].concat())
            .await?;
        assert!(stderr.starts_with(error), "{arguments:?}: {stderr}");
    }
    let bad = desk
        .fails(2, &["history", "deploy/web", "--channel", "prod", "--field", "a..b"])
        .await?;
    assert!(bad.contains("`a..b` is no field: write it as `spec.replicas`"), "{bad}");
    Ok(())
}

/// Pushes web for the clusters of region eu, with an overlay and a variable.
async fn push_for_some(desk: &Desk) -> Result<()> {
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"},
        "data": {"region": "${cluster.labels.region}", "size": "small"},
    });
    let patch = Patch {
        target: Chosen {
            kind: Some("ConfigMap".to_owned()),
            ..Chosen::default()
        },
        json: None,
        merge: Some(json!({"data": {"size": "large"}})),
    };
    let overlay = Overlay {
        name: "big".to_owned(),
        selector: "size=big".parse()?,
        patches: vec![patch],
        ..Overlay::default()
    };
    let spec = Spec {
        selector: "region".parse()?,
        overlays: vec![overlay],
        ..Spec::default()
    };
    let bundle = Bundle::new("shop".parse()?, [Manifest::new(object, "default")?])?.with_spec(spec);
    desk.client()?
        .push(Push::new("prod".parse()?).bundle(bundle).message("for some"), |_| {})
        .await?;
    Ok(())
}

#[tokio::test]
async fn cluster_and_object_are_explained_by_what_they_come_from() -> Result<()> {
    let desk = Desk::ready().await?;
    for (name, labels) in [
        ("edge-1", &["--label", "region=eu", "--label", "size=big"][..]),
        ("edge-2", &["--label", "region=us"]),
        ("lab", &[]),
    ] {
        let join = format!("{name}.join");
        let enroll = ["cluster", "enroll", name, "--channel", "prod", "--join-file", &join];
        desk.succeeds(&[&enroll[..], labels].concat()).await?;
    }
    push_for_some(&desk).await?;
    let page = desk.succeeds(&["explain", "edge-1", "cm/web"]).await?;
    for part in [
        "ConfigMap default/web on edge-1 is not as it should be: no agent has joined as this cluster yet",
        "\n  channel    prod\n",
        "\n  runs on    region\n",
        "\n  overlay    big on size=big\n",
        "\n  variable   data.region: cluster.labels.region = \"eu\"\n",
        "\n  agent      none has joined\n",
        "\nWhy it differs\n  1. no agent has joined as this cluster yet (since ",
        "     → apply what `driftless cluster enroll` printed",
    ] {
        assert!(page.contains(part), "{part:?} is not in {page}");
    }
    let other: Value = desk
        .runs(&["explain", "lab", "configmap", "web", "-o", "json"])
        .await?
        .json()?;
    assert_eq!(other["causes"][0]["reason"], "NotSelected");
    assert_eq!(other["causes"].as_array().map(Vec::len), Some(1));
    let whole: Value = desk.runs(&["explain", "lab", "-o", "json"]).await?.json()?;
    assert_eq!(
        (&whole["converged"], &whole["should"]["notSelected"]["shop"]),
        (&json!(false), &json!("region"))
    );
    let stderr = desk.fails(1, &["explain", "egde-1"]).await?;
    assert!(stderr.ends_with("hint: is it `edge-1`?\n"), "{stderr}");
    let stderr = desk.fails(1, &["explain", "edge-1", "svc/web"]).await?;
    assert!(
        stderr.starts_with("error: channel `prod`: there is no service `web`; there is ConfigMap default/web\n"),
        "{stderr}"
    );

    let diff = desk.runs(&["diff", "cluster/edge-1", "cluster/edge-2"]).await?;
    assert_eq!(diff.status.code(), Some(1), "{}", diff.stderr);
    assert!(
        diff.stdout.contains("data.region: \"eu\" → \"us\"\n")
            && diff.stdout.contains("data.size: \"large\" → \"small\"\n"),
        "{}",
        diff.stdout
    );
    let none = desk.runs(&["diff", "prod", "cluster/lab", "--name-only"]).await?;
    assert_eq!(
        (none.status.code(), none.stdout.as_str()),
        (Some(0), ""),
        "both sides are what lab sees"
    );
    Ok(())
}

#[tokio::test]
async fn snapshots_are_compared_whole_by_component_and_in_brief() -> Result<()> {
    let desk = Desk::ready().await?;
    story(&desk).await?;
    let diff = async |code: i32, arguments: &[&str]| -> Result<String> {
        let finished = desk.runs(&[&["diff"], arguments].concat()).await?;
        ensure!(
            finished.status.code() == Some(code),
            "{}: {}",
            finished.line,
            finished.stderr
        );
        Ok(finished.stdout)
    };
    let whole = diff(1, &["prod~2", "prod"]).await?;
    assert!(
        whole.contains("spec.replicas: 1 → 3\n") && whole.contains("\"a:1\" → \"a:2\"\n"),
        "{whole}"
    );
    assert_eq!(
        diff(1, &["prod~3", "prod", "--name-only"]).await?,
        "hello ConfigMap default/greeting\nshop Deployment.apps shop/web\n"
    );
    let stat = diff(1, &["prod~3", "prod", "--stat"]).await?;
    assert!(
        stat.ends_with("hello      1        +1\nshop       1        ~1\n2 components and 2 objects differ\n"),
        "{stat}"
    );
    assert_eq!(diff(0, &["prod~2", "prod", "--component", "hello"]).await?, "");
    let stderr = desk
        .fails(2, &["diff", "prod~2", "prod", "--component", "nothing"])
        .await?;
    assert!(
        stderr.starts_with("error: neither side has a component `nothing`\n"),
        "{stderr}"
    );
    Ok(())
}
