//! What a push refuses of how components are run: all of it at once, each with its place, and nothing is stored.

use anyhow::Result;
use serde_json::Value;

use crate::desk::{Desk, greeting};

/// Pushes that must be refused; gives what is printed, line by line.
async fn refused(desk: &Desk, arguments: &[&str]) -> Result<Vec<String>> {
    let stderr = desk.fails(1, arguments).await?;
    let log: Value = desk.runs(&["log", "prod", "-o", "json"]).await?.json()?;
    assert_eq!(log, serde_json::json!([]));
    Ok(stderr.lines().map(str::to_owned).collect())
}

/// A ConfigMap with annotations, as YAML lines.
fn annotated(name: &str, annotations: &[(&str, &str)]) -> String {
    let mut text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n");
    if !annotations.is_empty() {
        text.push_str("  annotations:\n");
    }
    for (key, value) in annotations {
        text.push_str(&format!("    {key}: {value}\n"));
    }
    text
}

#[tokio::test]
async fn every_problem_of_every_component_is_told_at_its_place() -> Result<()> {
    let desk = Desk::ready().await?;
    desk.write(
        "driftless.yaml",
        r#"version: 1
channel: prod
components:
  - name: cart
    paths: [cart.yaml]
    health:
      - kind: Widget
        group: example.com
        healthy: "self.status.ready =="
  - name: shop
    paths: [shop.yaml]
    allow:
      kinds: [ConfigMap]
      namespaces: [default]
"#,
    )?;
    let on = |name: &str| format!("/namespaces/default/ConfigMap/{name}");
    let cart = [
        annotated(
            "a",
            &[
                ("driftless.dev/ignore-fields", "spec.replicas"),
                ("config.kubernetes.io/depends-on", &on("b")),
            ],
        ),
        annotated("b", &[("config.kubernetes.io/depends-on", &on("a"))]),
        annotated("c", &[("driftless.dev/ignore-fields", "/metadata/name")]),
    ];
    desk.write("cart.yaml", cart.join("---\n"))?;
    let shop = [
        annotated(
            "d",
            &[
                ("driftless.dev/prune", "never"),
                ("driftless.dev/replace", "\"yes\""),
                ("driftless.dev/wave", "soon"),
            ],
        ),
        annotated("e", &[("argocd.argoproj.io/hook", "PreSnyc")]),
        annotated("f", &[("driftless.dev/prone", "disabled")]),
        "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: other}\nspec: {ports: [{port: 80}]}\n"
            .to_owned(),
    ];
    desk.write("shop.yaml", shop.join("---\n"))?;
    let told = refused(&desk, &["push"]).await?;
    let expected = [
        "cart.yaml:6:5: component `cart`: ConfigMap default/a: annotation driftless.dev/ignore-fields: `spec.replicas` is \
         no JSON pointer: write it as /spec/replicas, with ~1 for a slash in a name",
        "cart.yaml:7:5: component `cart`: `config.kubernetes.io/depends-on` goes in a circle: ConfigMap default/a → \
         ConfigMap default/b → ConfigMap default/a",
        "cart.yaml:21:5: component `cart`: ConfigMap default/c: annotation driftless.dev/ignore-fields: `/metadata/name` \
         cannot be ignored: it is part of what the object is, or of how it is kept",
        "driftless.yaml:9:9: component `cart`: health rule of Widget: `healthy` is no CEL expression that can be run: ",
        "shop.yaml:6:5: component `shop`: ConfigMap default/d: annotation driftless.dev/prune: `never` is not known: \
         there are `disabled`, `enabled`",
        "shop.yaml:7:5: component `shop`: ConfigMap default/d: annotation driftless.dev/replace: `yes` is not known: \
         there are `true`, `false`",
        "shop.yaml:8:5: component `shop`: ConfigMap default/d: annotation driftless.dev/wave: `soon` is not a whole \
         number between -2147483648 and 2147483647: quote one, as \"1\"",
        "shop.yaml:15:5: component `shop`: ConfigMap default/e: annotation argocd.argoproj.io/hook: there is no hook \
         `PreSnyc`: there are PreSync, Sync, PostSync, SyncFail and Skip",
        "shop.yaml:22:5: component `shop`: ConfigMap default/f: there is no annotation driftless.dev/prone: there are \
         `prune`, `force-conflicts`, `replace`, `substitute`, `wave`, `ignore-fields`",
        "shop.yaml:24: component `shop`: Service other/s: its kind is not among the component's `allow.kinds` \
         (ConfigMap): add Service there, or take the object out",
        "error: 10 problems in the manifests: nothing was pushed",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "\n{told}\nis not\n{expected}");
    }
    Ok(())
}

#[tokio::test]
async fn object_outside_of_what_its_component_may_hold_is_refused_by_kind_and_by_namespace() -> Result<()> {
    let desk = Desk::ready().await?;
    desk.write(
        "driftless.yaml",
        "version: 1\nchannel: prod\ncomponents:\n  - name: shop\n    paths: [a.yaml]\n    allow: {namespaces: [shop]}\n",
    )?;
    let objects = [
        greeting("x"),
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n".to_owned(),
    ];
    desk.write("a.yaml", objects.join("---\n"))?;
    assert_eq!(
        refused(&desk, &["push"]).await?,
        [
            "a.yaml:1: component `shop`: ConfigMap default/greeting: namespace default is not among the component's \
             `allow.namespaces` (shop): add it there, or move the object",
            "a.yaml:8: component `shop`: Namespace shop: it has no namespace, and the component's `allow.namespaces` \
             (shop) allow nothing else: take the object out, or lift the limit",
            "error: 2 problems in the manifests: nothing was pushed",
        ]
    );
    Ok(())
}

#[tokio::test]
async fn unknown_ways_to_run_a_component_are_refused_with_the_known_ones() -> Result<()> {
    let desk = Desk::ready().await?;
    desk.write(
        "driftless.yaml",
        "version: 1\nchannel: prod\ncomponents:\n  - name: shop\n    paths: [a.yaml]\n    drift: sometimes\n    \
         prune: {propagation: slowly, definition: true}\n    serviceAccount: nobody\n    allow: {kind: [Secret]}\n",
    )?;
    desk.write("a.yaml", greeting("x"))?;
    let told = refused(&desk, &["push"]).await?;
    let expected = [
        "driftless.yaml:6:5: `sometimes` is not known: there are `repair`, `report`, `ignore`",
        "driftless.yaml:7:13: `slowly` is not known: there are `background`, `foreground`, `orphan`",
        "driftless.yaml:7:34: unknown field `definition`: did you mean `definitions`?",
        "driftless.yaml:8:5: `nobody` names no ServiceAccount: write `namespace/name`",
        "driftless.yaml:9:13: unknown field `kind`: did you mean `kinds`?",
        "error: 5 problems in the manifests: nothing was pushed",
    ];
    assert_eq!(told, expected);
    Ok(())
}

#[tokio::test]
async fn circle_of_components_is_refused_in_one_file_and_across_pushes() -> Result<()> {
    let desk = Desk::ready().await?;
    desk.write("a.yaml", greeting("x"))?;
    desk.write(
        "driftless.yaml",
        "version: 1\nchannel: prod\ncomponents:\n  - name: cart\n    paths: [a.yaml]\n    dependsOn: [shop]\n  \
         - name: shop\n    paths: [a.yaml]\n    dependsOn: [cart]\n",
    )?;
    assert_eq!(
        refused(&desk, &["push"]).await?,
        [
            "driftless.yaml:6:5: `dependsOn` goes in a circle: cart → shop → cart",
            "error: 1 problem in the manifests: nothing was pushed",
        ]
    );

    // Only the server knows what the channel has.
    let push = |component: &'static str, on: &'static str| {
        [
            "push",
            "a.yaml",
            "--component",
            component,
            "--channel",
            "prod",
            "--depends-on",
            on,
        ]
    };
    desk.pushes("shop", &greeting("x")).await?;
    desk.succeeds(&push("cart", "shop")).await?;
    let stderr = desk.fails(1, &push("shop", "cart")).await?;
    assert_eq!(
        stderr.lines().last(),
        Some(
            "error: `dependsOn` goes in a circle: cart → shop → cart: none of them would ever be applied; take one step \
             out"
        ),
        "{stderr}"
    );
    let log: Value = desk.runs(&["log", "prod", "-o", "json"]).await?.json()?;
    assert_eq!(log.as_array().map(Vec::len), Some(2), "{log}");
    Ok(())
}

#[tokio::test]
async fn component_that_would_be_empty_is_refused_unless_that_is_meant() -> Result<()> {
    let desk = Desk::ready().await?;
    desk.pushes("shop", &greeting("x")).await?;
    desk.write("none.yaml", "# nothing\n")?;
    let push = ["push", "none.yaml", "--component", "shop", "--channel", "prod"];
    let stderr = desk.fails(1, &push).await?;
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines[0], "error: there is no object to push to `shop`", "{stderr}");
    assert!(
        lines[1].starts_with("hint: ") && lines[1].contains("--allow-empty"),
        "{stderr}"
    );
    desk.succeeds(&[&push[..], &["--allow-empty"]].concat()).await?;
    Ok(())
}
