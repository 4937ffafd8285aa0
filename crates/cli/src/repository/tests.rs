use std::fs;

use serde_json::json;

use super::*;
use crate::sources::{Chart, Source, Values};

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra}\n";

struct Checkout(tempfile::TempDir);

impl Checkout {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Self(folder)
    }

    fn load(&self, components: &str) -> Result<Repository, Vec<String>> {
        let path = self.0.path().join(NAME);
        fs::write(&path, format!("version: 1\nchannel: prod\ncomponents:\n{components}")).unwrap();
        load(&path).map_err(|problems| {
            let root = format!("{}/", self.0.path().display());
            problems.lines.iter().map(|line| line.replace(&root, "")).collect()
        })
    }

    fn names(&self, components: &str) -> Vec<String> {
        let repository = self.load(components).unwrap();
        repository
            .wanted
            .iter()
            .map(|wanted| wanted.component.to_string())
            .collect()
    }

    fn wrong(&self, components: &str) -> Vec<String> {
        self.load(components).map(|_| ()).unwrap_err()
    }
}

/// A value of this shape, with every field that it can have.
fn sample(shape: Shape) -> Value {
    match shape {
        Shape::Text | Shape::Name | Shape::Selector | Shape::Any | Shape::Scalar => json!("a"),
        Shape::Account => json!("a/b"),
        Shape::Whole => json!(1),
        Shape::Version(version) => json!(version),
        Shape::Flag => json!(true),
        Shape::Choice(choices) => json!(choices[0]),
        Shape::Object => json!({}),
        Shape::List(item) => json!([sample(*item)]),
        Shape::Map(item) => json!({ "a": sample(*item) }),
        Shape::Either(_, other) => sample(*other),
        Shape::Record(record) => {
            let fields = record.fields.iter();
            fields
                .map(|field| (field.name.to_owned(), sample(field.shape)))
                .collect()
        }
    }
}

#[test]
fn form_and_types_agree() {
    let file = sample(Shape::Record(&FILE));
    serde_json::from_value::<Defaults>(file["defaults"].clone()).unwrap();
    serde_json::from_value::<Entry>(file["components"][0].clone()).unwrap();
}

#[test]
fn every_part_arrives() {
    let checkout = Checkout::new(&[
        ("more/extra.yaml", MAP),
        ("more/scale.yaml", "- {op: add, path: /spec, value: 3}\n"),
    ]);
    let repository = checkout
        .load(
            "
- name: shop
  paths: [a, b.yaml]
  helm:
    chart: ./chart
    values: [v.yaml, {a: {b: 1}}]
    set: {image.tag: \"1,2\", replicas: 3}
    kubeVersion: \"1.31\"
    includeCrds: false
  exec: ./generate
  namespace: shop
  selector: region=eu
  dependsOn: [db]
  epoch: 4
  health: [{kind: Widget, group: acme.io, healthy: 'self.ok'}]
  overlays:
  - name: canary
    selector: {matchLabels: {canary: 'true'}}
    add:
    - more/extra.yaml
    - {apiVersion: v1, kind: ConfigMap, metadata: {name: inline}}
    remove: [{kind: Service}]
    patches:
    - target: {kind: Deployment}
      json: more/scale.yaml
    - target: {name: web}
      merge: {spec: {paused: null}}
- name: db
  kustomize: db
",
        )
        .unwrap();
    let shop = &repository.wanted[0];
    assert_eq!((shop.namespace.as_str(), shop.spec.epoch), ("shop", Some(4)));
    assert_eq!(shop.spec.selector.to_string(), "region=eu");
    let chart = Chart {
        chart: "./chart".to_owned(),
        values: vec![
            Values::File("v.yaml".to_owned()),
            Values::Inline(json!({ "a": { "b": 1 } })),
        ],
        set: vec!["replicas=3".to_owned()],
        set_string: vec!["image.tag=1\\,2".to_owned()],
        kube_version: Some("1.31".to_owned()),
        skip_crds: true,
        ..Chart::default()
    };
    let sources = [
        Source::Path("a".into()),
        Source::Path("b.yaml".into()),
        Source::Chart(chart),
        Source::Exec("./generate".to_owned()),
    ];
    assert_eq!(shop.sources, sources);
    let overlay = &shop.spec.overlays[0];
    let added: Vec<_> = overlay.add.iter().map(|manifest| manifest.id().to_string()).collect();
    assert_eq!(added, ["ConfigMap shop/extra", "ConfigMap shop/inline"]);
    assert!(overlay.patches[0].json.is_some() && overlay.patches[0].merge.is_none());
    assert_eq!(overlay.patches[1].merge, Some(json!({ "spec": { "paused": null } })));
    assert_eq!(repository.wanted[1].sources, [Source::Kustomize("db".into())]);

    let written = shop.written.as_ref().unwrap();
    let at = |pointer: &str| {
        let root = format!("{}/", checkout.0.path().display());
        written.place(pointer).to_string().replace(&root, "")
    };
    assert_eq!(at(""), "driftless.yaml:5:3");
    assert_eq!(at("/overlays/0/add/0"), "more/extra.yaml:1");
    assert_eq!(at("/overlays/0/add/1/metadata/name"), "driftless.yaml:24:52");
    assert_eq!(at("/overlays/0/patches/0/json/0/path"), "more/scale.yaml:1:13");
    assert_eq!(at("/overlays/0/patches/1/merge/spec"), "driftless.yaml:30:15");
}

#[test]
fn pattern_names_a_component_for_each_match_that_no_entry_names() {
    let checkout = Checkout::new(&[
        ("apps/shop/a.yaml", ""),
        ("apps/db/a.yaml", ""),
        ("apps/old/a.yaml", ""),
        ("apps/dns.yaml", ""),
        ("apps/README.md", ""),
    ]);
    let components = "- {path: apps/*, exclude: [apps/o*]}\n- {name: data, path: ./apps/db/, dependsOn: [dns]}\n";
    assert_eq!(checkout.names(components), ["dns", "shop", "data"]);
    assert_eq!(checkout.names("- {path: apps/*/, name: team-*}\n")[0], "team-db");
    assert_eq!(
        checkout.wrong("- {path: none/*}\n"),
        ["driftless.yaml:4:4: `none/*` finds no folder and no manifests"]
    );
}

#[test]
fn every_problem_of_every_component_is_told_with_its_line() {
    let checkout = Checkout::new(&[
        ("Bad_Name/a.yaml", ""),
        ("broken.yaml", "a: [\n"),
        ("text.yaml", "just a text\n"),
        ("pod.yaml", "kind: Pod\n"),
    ]);
    let found = checkout.wrong(
        "- path: Bad_Name
- {name: a, path: x, selecter: b}
- {name: b, path: x, dependsOn: [c]}
- {name: c, path: x, dependsOn: [d]}
- {name: d, path: x, dependsOn: [b]}
- {name: b, path: z}
- name: e
  path: x
  overlays:
  - name: o
    add: [absent.yaml, pod.yaml, {kind: Pod}]
    patches:
    - {target: {kind: A}, json: broken.yaml}
    - {target: {kind: A}, merge: text.yaml}
    - {target: {kind: A}, json: [{op: replace, path: nowhere, value: 1}]}
",
    );
    let expected = [
        "driftless.yaml:4:3: component name `Bad_Name` is not valid: use 1 to 63",
        "driftless.yaml:5:22: unknown field `selecter`: did you mean `selector`?",
        "driftless.yaml:6:22: `dependsOn` goes in a circle: b → c → d → b",
        "driftless.yaml:9:3: there is a component `b` already, at driftless.yaml:6:3",
        "driftless.yaml:14:11: absent.yaml: there is no such file or folder",
        "driftless.yaml:14:34: `apiVersion` is missing or not a text",
        "driftless.yaml:16:27: broken.yaml:1:4: ",
        "driftless.yaml:17:27: text.yaml:1: a merge patch has to be an object",
        "driftless.yaml:18:",
        "pod.yaml:1: `apiVersion` is missing or not a text",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn defaults_hold_unless_an_entry_says_otherwise() {
    let checkout = Checkout::new(&[]);
    let path = checkout.0.path().join(NAME);
    let text = "version: 1\ndefaults: {namespace: shop, selector: '!edge', kubeVersion: '1.30', kustomizeCommand: k b}\n\
        components:\n- {name: a, path: x}\n- {name: b, helm: {chart: c, kubeVersion: '1.31'}, selector: edge, namespace: b}\n";
    fs::write(&path, text).unwrap();
    let repository = load(&path).unwrap();
    let [a, b] = repository.wanted.as_slice() else {
        panic!("two components");
    };
    assert_eq!(
        (a.namespace.as_str(), a.spec.selector.to_string()),
        ("shop", "!edge".to_owned())
    );
    assert_eq!(
        (a.chart.kube_version.as_deref(), a.kustomize.as_deref()),
        (Some("1.30"), Some("k b"))
    );
    assert_eq!(
        (b.namespace.as_str(), b.spec.selector.to_string()),
        ("b", "edge".to_owned())
    );
    let Source::Chart(chart) = &b.sources[0] else {
        panic!("a chart");
    };
    assert_eq!(chart.kube_version.as_deref(), Some("1.31"));
    assert_eq!(repository.channel, None);
}

#[test]
fn file_that_is_no_list_of_components_is_told_what_it_lacks() {
    for (text, expected) in [
        ("", "driftless.yaml: there is nothing in it"),
        ("a: 1\n---\nb: 1\n", "driftless.yaml:3: only one document may be here"),
        ("components: []\n", "driftless.yaml:1: `version` is missing"),
        (
            "version: 2\ncomponents: []\n",
            "driftless.yaml:1:1: version 2 is not known: this program knows 1",
        ),
        ("- a\n", "driftless.yaml:1: this has to be an object, and is a list"),
    ] {
        let checkout = Checkout::new(&[(NAME, text)]);
        let problems = load(&checkout.0.path().join(NAME)).unwrap_err();
        let told = problems.lines[0].replace(&format!("{}/", checkout.0.path().display()), "");
        assert!(told.starts_with(expected), "{told}\n{expected}");
    }
}
