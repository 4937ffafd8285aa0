//! The checks as a whole, by what people read.

use std::sync::Arc;

use driftless_model::intake::{self, Text};

use super::*;

fn placed(content: &str) -> Vec<Placed> {
    let text = Text {
        name: "a.yaml".to_owned(),
        content: content.to_owned(),
    };
    intake::read_placed(&[Arc::new(text)], "shop").unwrap()
}

fn found_in(versions: &[u32], content: &str) -> Vec<String> {
    let checks = Checks::new(versions.iter().copied().map(Minor::new), []);
    checks.run(&placed(content)).iter().map(ToString::to_string).collect()
}

fn found(content: &str) -> Vec<String> {
    found_in(&[36], content)
}

const DEPLOYMENT: &str = "\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: \"3\"
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: main
        imagePullPolcy: Always
        ports: [{containerPort: http}]
      - image: nginx
";

#[test]
fn every_problem_of_an_object_is_told_with_line_and_path() {
    assert_eq!(
        found(DEPLOYMENT),
        [
            "a.yaml:6:3: Deployment.apps shop/web: spec.replicas must be an integer, not a text (\"3\")",
            "a.yaml:13:9: Deployment.apps shop/web: spec.template.spec.containers[0].imagePullPolcy is no known field: \
             did you mean `imagePullPolicy`?",
            "a.yaml:14:18: Deployment.apps shop/web: spec.template.spec.containers[0].ports[0].containerPort must be \
             an integer, not a text (\"http\")",
            "a.yaml:15:9: Deployment.apps shop/web: spec.template.spec.containers[1].name is missing",
        ]
    );
}

#[test]
fn findings_have_a_stable_json_form() {
    let checks = Checks::new([], []);
    let findings = checks.run(&placed(DEPLOYMENT));
    assert_eq!(
        serde_json::to_value(&findings[0]).unwrap(),
        serde_json::json!({
            "severity": "error",
            "rule": "wrongType",
            "place": {"file": "a.yaml", "line": 6, "column": 3},
            "object": {"group": "apps", "kind": "Deployment", "namespace": "shop", "name": "web"},
            "field": "spec.replicas",
            "message": "must be an integer, not a text (\"3\")",
        })
    );
    let read: Vec<Finding> = serde_json::from_value(serde_json::to_value(&findings).unwrap()).unwrap();
    assert_eq!(read, findings);
}

#[test]
fn every_shipped_catalog_is_readable_and_knows_deployments() {
    for version in schema::supported() {
        let nearest = Shipped::nearest(version);
        assert_eq!(nearest.version, version);
        let catalog = nearest.catalog();
        assert!(catalog.kind("apps/v1", "Deployment").is_some(), "{version}");
        assert!(catalog.types.all().count() > 400, "{version}");
    }
}

fn of(api_version: &str, kind: &str) -> String {
    format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: x}}\n")
}

#[test]
fn removed_versions_name_the_replacement() {
    for (api_version, kind, message) in [
        (
            "policy/v1beta1",
            "PodDisruptionBudget",
            "PodDisruptionBudget was removed in 1.25: use policy/v1",
        ),
        (
            "extensions/v1beta1",
            "Ingress",
            "Ingress was removed in 1.22: use networking.k8s.io/v1",
        ),
        (
            "autoscaling/v2beta2",
            "HorizontalPodAutoscaler",
            "HorizontalPodAutoscaler was removed in 1.26: use autoscaling/v2",
        ),
        (
            "policy/v1beta1",
            "PodSecurityPolicy",
            "PodSecurityPolicy was removed in 1.25, and nothing takes its place",
        ),
    ] {
        let expected = format!(" apiVersion {api_version} {message}");
        let found = found(&of(api_version, kind));
        assert!(found.len() == 1 && found[0].ends_with(&expected), "{found:?}");
    }
}

#[test]
fn versions_about_to_go_are_warnings() {
    let checks = Checks::new([Minor::new(36)], []);
    let findings = checks.run(&placed(&of("v1", "Endpoints")));
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].severity, Severity::Warning);
    assert_eq!(
        findings[0].message,
        "v1 Endpoints is deprecated since 1.33: use discovery.k8s.io/v1 EndpointSlice"
    );
}

#[test]
fn kinds_that_there_are_not_are_told_with_what_was_meant() {
    for (api_version, kind, message) in [
        ("v1", "Deployment", "apiVersion v1 has no Deployment: use apps/v1"),
        (
            "apps/v2",
            "Deployment",
            "apiVersion apps/v2 has no Deployment: use apps/v1",
        ),
        (
            "apps/v1",
            "Deploymnet",
            "kind Deploymnet is no kind of apps/v1: did you mean `Deployment`?",
        ),
        (
            "batch/v3",
            "Thing",
            "apiVersion batch/v3 does not exist, and no built-in group has a Thing",
        ),
        ("v1", "Thing", "kind Thing is no kind of v1"),
    ] {
        let found = found(&of(api_version, kind));
        assert!(found.len() == 1 && found[0].ends_with(message), "{found:?}");
    }
}

#[test]
fn kinds_of_unknown_groups_are_taken() {
    assert_eq!(found(&of("monitoring.coreos.com/v1", "Prometheus")), [""; 0]);
    assert_eq!(found(&of("gateway.networking.k8s.io/v1", "Gateway")), [""; 0]);
}

#[test]
fn what_one_version_refuses_names_it() {
    let kind = |version: u32, kind: &str| {
        let catalog = Shipped::nearest(Minor::new(version)).catalog();
        catalog
            .versions_of(kind)
            .iter()
            .map(|version| (*version).to_owned())
            .collect::<Vec<_>>()
    };
    // Held here too, so that the test says why it fails after the schemas are taken anew.
    assert!(kind(34, "Workload").is_empty() && !kind(36, "Workload").is_empty());
    let api_version = &kind(36, "Workload")[0];
    let found = found_in(&[34, 36], &of(api_version, "Workload"));
    assert!(
        found.iter().any(|finding| finding.ends_with("(on Kubernetes 1.34)")),
        "{found:?}"
    );
}

#[test]
fn unknown_versions_are_checked_as_the_nearest() {
    let checks = Checks::new([Minor::new(99)], []);
    assert_eq!(checks.notes(), ["Kubernetes 1.99 is not known here: checked as 1.36"]);
    let findings = checks.run(&placed(DEPLOYMENT));
    let severity = |rule| findings.iter().find(|finding| finding.rule == rule).unwrap().severity;
    assert_eq!(severity(Rule::UnknownField), Severity::Warning, "1.99 may know it");
    assert_eq!(severity(Rule::WrongType), Severity::Error);
    assert_eq!(Checks::new([Minor::new(20)], []).notes().len(), 1);
    assert!(Checks::new([], []).notes().is_empty());
}

#[test]
fn real_applications_have_no_finding() {
    let boutique = include_str!("../../model/tests/fixtures/online-boutique/kubernetes-manifests.yaml");
    for version in [34, 35, 36] {
        assert_eq!(found_in(&[version], boutique), [""; 0]);
    }
}

const DEFINITION: &str = "\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Widget, plural: widgets}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [size, kept]
            properties:
              size: {type: integer}
              kept: {type: string, default: a}
              share: {x-kubernetes-int-or-string: true}
              maybe: {type: string, nullable: true}
              free: {type: object, x-kubernetes-preserve-unknown-fields: true}
              mode: {type: string, enum: [Fast, Slow]}
              labels: {type: object, additionalProperties: {type: string}}
  - {name: v1alpha1, served: false, storage: false}
";

fn widget(version: &str, spec: &str) -> String {
    format!("apiVersion: example.com/{version}\nkind: Widget\nmetadata: {{name: x}}\nspec: {spec}\n")
}

#[test]
fn custom_resources_follow_the_definition_in_the_snapshot() {
    let of_spec = |spec: &str| {
        let known = placed(DEFINITION).into_iter().map(|placed| placed.into_manifest());
        let findings = Checks::new([], known).run(&placed(&widget("v1", spec)));
        findings
            .iter()
            .map(|finding| format!("{} {}", finding.field, finding.message))
            .collect::<Vec<_>>()
    };
    let good = "{size: 3, share: 50%, maybe: null, free: {a: {b: 1}}, mode: Fast, labels: {a: b}}";
    assert_eq!(of_spec(good), [""; 0]);
    for (spec, message) in [
        ("{size: big}", "spec.size must be an integer, not a text (\"big\")"),
        (
            "{size: 1, sizes: 2}",
            "spec.sizes is no known field: did you mean `size`?",
        ),
        ("{kept: b}", "spec.size is missing"),
        ("{size: null}", "spec.size must be an integer, not empty (null)"),
        (
            "{size: 1, share: true}",
            "spec.share must be an integer or a text, not a boolean (true)",
        ),
        ("{size: 1, mode: Odd}", "spec.mode must be one of Fast, Slow, not Odd"),
        (
            "{size: 1, labels: {a: 1}}",
            "spec.labels.a must be a text, not a number (1)",
        ),
    ] {
        assert_eq!(of_spec(spec), [message]);
    }
    assert_eq!(
        of_spec("{size: '${cluster.vars.size}', labels: '${cluster.vars.labels}'}"),
        [""; 0]
    );
}

#[test]
fn definition_that_names_a_type_as_the_shipped_files_do_is_harmless() {
    let definition = DEFINITION.replace("size: {type: integer}", "size: {$type: 1000000}");
    assert_ne!(definition, DEFINITION);
    let known = placed(&definition).into_iter().map(|placed| placed.into_manifest());
    assert!(
        Checks::new([], known)
            .run(&placed(&widget("v1", "{size: 1}")))
            .is_empty()
    );
}

#[test]
fn custom_versions_that_are_not_served_are_refused() {
    let both = format!("{DEFINITION}---\n{}", widget("v1alpha1", "{}"));
    let found = found(&both);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].ends_with("is not served by the CustomResourceDefinition of Widget: use v1"),
        "{found:?}"
    );
}

#[test]
fn only_references_and_custom_kinds_ask_for_the_rest_of_the_snapshot() {
    let depends = |content: &str| {
        let pushed = placed(content);
        Checks::may_depend_on_more(&pushed, &Checks::new([], []).run(&pushed))
    };
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {selector: {app: web}}\n";
    assert!(depends(service));
    assert!(depends(&widget("v1", "{}")));
    assert!(!depends(DEPLOYMENT), "what is wrong with it stays wrong");
}
