//! Objects against the rest of a snapshot, by what people read.

use std::sync::Arc;

use driftless_model::intake::{self, Text};

use crate::Checks;

/// The findings for documents of a YAML stream, without their place.
fn found(content: &str) -> Vec<String> {
    let text = Text {
        name: "a.yaml".to_owned(),
        content: content.to_owned(),
    };
    let placed = intake::read_placed(&[Arc::new(text)], "shop").unwrap();
    let findings = Checks::new([], []).run(&placed);
    findings
        .iter()
        .map(|finding| {
            format!(
                "{:?} {} {} {}",
                finding.severity, finding.object, finding.field, finding.message
            )
        })
        .collect()
}

fn deployment(labels: &str, pod: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: web}}\nspec:\n  selector: {{matchLabels: {{app: web}}}}\n  \
         template:\n    metadata: {{labels: {labels}}}\n    spec: {{containers: [{{name: a, image: b}}], {pod}}}\n---\n"
    )
}

fn web() -> String {
    deployment("{app: web, tier: front}", "")
}

fn object(kind: &str, name: &str, rest: &str) -> String {
    let api_version = match kind {
        "NetworkPolicy" | "Ingress" => "networking.k8s.io/v1",
        "PodDisruptionBudget" => "policy/v1",
        "HorizontalPodAutoscaler" => "autoscaling/v2",
        "Role" | "ClusterRole" | "RoleBinding" | "ClusterRoleBinding" => "rbac.authorization.k8s.io/v1",
        "EndpointSlice" => "discovery.k8s.io/v1",
        "Widget" => "example.com/v1",
        _ => "v1",
    };
    format!("apiVersion: {api_version}\nkind: {kind}\nmetadata: {{name: {name}}}\n{rest}\n---\n")
}

#[test]
fn workload_that_does_not_select_its_pods_is_an_error() {
    assert_eq!(
        found(&deployment("{app: other}", "")),
        [
            "Error Deployment.apps shop/web spec.selector selects app=web, which its own Pods do not have: \
             spec.template.metadata.labels is app=other"
        ]
    );
    assert_eq!(found(&web()), [""; 0]);
    assert_eq!(found(&deployment("{app: '${cluster.vars.app}'}", "")), [""; 0]);
}

#[test]
fn service_without_pods_is_told() {
    let service = |spec: &str| object("Service", "s", &format!("spec: {spec}"));
    assert_eq!(
        found(&(web() + &service("{selector: {app: wbe}}"))),
        [
            "Warning Service shop/s spec.selector selects no Pod of the snapshot in namespace shop (app=wbe): it will \
             have no endpoints"
        ]
    );
    for fine in [
        "{selector: {app: web}}",
        "{selector: {app: web, pod-template-hash: x}}",
        "{selector: {app: '${cluster.vars.app}'}}",
        "{clusterIP: None}",
        "{type: ExternalName, externalName: a.b}",
    ] {
        assert_eq!(found(&(web() + &service(fine))), [""; 0], "{fine}");
    }
    let elsewhere =
        "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: other}\nspec: {selector: {app: web}}\n";
    assert_eq!(
        found(&(web() + elsewhere)).len(),
        1,
        "Pods of another namespace do not count"
    );
}

#[test]
fn service_without_selector_needs_endpoints_from_somewhere() {
    let service = object("Service", "db", "spec: {ports: [{port: 1}]}");
    assert!(found(&service)[0].contains("has no selector, and no EndpointSlice"));
    let slice = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: db-1, labels: \
                 {kubernetes.io/service-name: db}}\naddressType: IPv4\nendpoints: []\n";
    assert_eq!(found(&(service + slice)), [""; 0]);
}

#[test]
fn labels_in_a_custom_resource_may_be_those_of_its_pods() {
    let service = object("Service", "s", "spec: {selector: {app: operated}}");
    let custom = object("Widget", "w", "spec: {podLabels: {app: operated}}");
    assert_eq!(found(&service).len(), 1);
    assert_eq!(found(&(service + &custom)), [""; 0]);
}

#[test]
fn policies_and_budgets_that_hold_for_nothing_are_told() {
    for (kind, field, effect) in [
        ("NetworkPolicy", "podSelector", "it holds for nothing"),
        ("PodDisruptionBudget", "selector", "it protects nothing"),
    ] {
        let of = |selector: &str| object(kind, "x", &format!("spec: {{{field}: {selector}}}"));
        let found_all = |selector: &str| found(&(web() + &of(selector)));
        let findings = found_all("{matchLabels: {app: x}}");
        assert!(findings.len() == 1 && findings[0].ends_with(effect), "{findings:?}");
        assert_eq!(found_all("{}"), [""; 0], "{kind}: the empty selector is everything");
        assert_eq!(
            found_all("{matchExpressions: [{key: tier, operator: In, values: [front, back]}]}"),
            [""; 0]
        );
    }
}

#[test]
fn pods_that_name_what_is_not_there_are_told() {
    let pod = "serviceAccountName: robot, volumes: [{name: a, configMap: {name: settings}}, {name: b, \
               persistentVolumeClaim: {claimName: disk}}, {name: c, projected: {sources: [{configMap: {name: extra}}]}}, \
               {name: d, secret: {secretName: hidden}}]";
    let findings = found(&deployment("{app: web}", pod));
    let spec = "Warning Deployment.apps shop/web spec.template.spec";
    assert_eq!(
        findings,
        [
            format!("{spec}.serviceAccountName names ServiceAccount shop/robot, which is not in the snapshot"),
            format!("{spec}.volumes[0].configMap.name names ConfigMap shop/settings, which is not in the snapshot"),
            format!(
                "{spec}.volumes[1].persistentVolumeClaim.claimName names PersistentVolumeClaim shop/disk, which is not in \
                 the snapshot"
            ),
            format!(
                "{spec}.volumes[2].projected.sources[0].configMap.name names ConfigMap shop/extra, which is not in the \
                 snapshot"
            ),
        ]
    );
    let there = object("ServiceAccount", "robot", "")
        + &object("ConfigMap", "settings", "")
        + &object("ConfigMap", "extra", "")
        + &object("PersistentVolumeClaim", "disk", "");
    assert_eq!(found(&(deployment("{app: web}", pod) + &there)), [""; 0]);
}

#[test]
fn what_every_namespace_has_and_what_is_optional_is_not_missed() {
    let pod = "serviceAccountName: default, volumes: [{name: a, configMap: {name: kube-root-ca.crt}}, {name: b, \
               configMap: {name: perhaps, optional: true}}, {name: c, configMap: {name: '${cluster.vars.map}'}}]";
    assert_eq!(found(&deployment("{app: web}", pod)), [""; 0]);
}

#[test]
fn key_that_a_config_map_lacks_is_told() {
    let pod = "initContainers: [{name: i, image: b, env: [{name: A, valueFrom: {configMapKeyRef: {name: m, key: b}}}], \
               envFrom: [{configMapRef: {name: m}}]}]";
    let map = object("ConfigMap", "m", "data: {a: x}");
    assert_eq!(
        found(&(deployment("{app: web}", pod) + &map)),
        [
            "Warning Deployment.apps shop/web spec.template.spec.initContainers[0].env[0].valueFrom.configMapKeyRef.name \
             `b` is no key of ConfigMap shop/m"
        ]
    );
}

#[test]
fn ingress_and_autoscaler_name_what_is_there() {
    let path = "{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 1}}}}";
    let ingress = object(
        "Ingress",
        "i",
        &format!("spec: {{rules: [{{http: {{paths: [{path}]}}}}]}}"),
    );
    assert_eq!(
        found(&ingress),
        [
            "Warning Ingress.networking.k8s.io shop/i spec.rules[0].http.paths[0].backend.service.name names Service \
             shop/web, which is not in the snapshot"
        ]
    );
    let scaler = |kind: &str| {
        let target = format!("{{apiVersion: apps/v1, kind: {kind}, name: web}}");
        object(
            "HorizontalPodAutoscaler",
            "h",
            &format!("spec: {{maxReplicas: 2, scaleTargetRef: {target}}}"),
        )
    };
    assert_eq!(found(&(web() + &scaler("Deployment"))), [""; 0]);
    assert!(found(&(web() + &scaler("StatefulSet")))[0].contains("names StatefulSet.apps shop/web"));
}

#[test]
fn bindings_name_roles_and_accounts_that_are_there() {
    let binding = |role: &str, account: &str| {
        let role = format!("{{apiGroup: rbac.authorization.k8s.io, {role}}}");
        let subjects = format!("[{{kind: ServiceAccount, {account}}}]");
        object("RoleBinding", "b", &format!("roleRef: {role}\nsubjects: {subjects}"))
    };
    for (role, account) in [
        ("kind: ClusterRole, name: view", "name: default, namespace: other"),
        (
            "kind: ClusterRole, name: 'system:auth-delegator'",
            "name: coredns, namespace: kube-system",
        ),
    ] {
        assert_eq!(found(&binding(role, account)), [""; 0]);
    }
    assert_eq!(
        found(&binding("kind: Role, name: reader", "name: robot, namespace: other")),
        [
            "Warning RoleBinding.rbac.authorization.k8s.io shop/b roleRef.name names Role.rbac.authorization.k8s.io \
             shop/reader, which is not in the snapshot",
            "Warning RoleBinding.rbac.authorization.k8s.io shop/b subjects[0].name names ServiceAccount other/robot, which \
             is not in the snapshot",
        ]
    );
}

#[test]
fn what_other_components_hold_counts() {
    let text = |content: String| {
        let text = Text {
            name: "a.yaml".to_owned(),
            content,
        };
        intake::read_placed(&[Arc::new(text)], "shop").unwrap()
    };
    let known = text(web()).into_iter().map(|placed| placed.into_manifest());
    let service = text(object("Service", "s", "spec: {selector: {app: web}}"));
    assert!(Checks::new([], known).run(&service).is_empty());
}
