//! The applications that are pushed. Pure.

use driftless_model::{
    kinds::{self, Scope},
    yaml,
};
use driftless_tests::fixture;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment},
    core::v1::{ConfigMap, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
    rbac::v1::{Role, RoleBinding},
};
use kube::core::ApiResource;
use serde::Serialize;
use serde_json::{Value, json};

/// On every object, so that those of others in the namespace are not counted.
pub const LABEL: (&str, &str) = ("app.kubernetes.io/part-of", "spine");

/// A kind of application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Workload {
    /// As in Flux's own benchmark: a Deployment scaled to zero, a ServiceAccount, a Service and an Ingress, each a
    /// quarter of all.
    Application,
    /// What namespaced objects of built-in kinds online-boutique and kube-prometheus are made of, dashboards included,
    /// as often as it takes.
    Real,
    /// ConfigMaps alone.
    ConfigMaps,
}

impl Workload {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Application, Self::Real, Self::ConfigMaps];

    /// For component and namespace names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Application => "app",
            Self::Real => "real",
            Self::ConfigMaps => "maps",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Application => "Deployments, ServiceAccounts, Services, Ingresses",
            Self::Real => "objects of online-boutique and kube-prometheus",
            Self::ConfigMaps => "ConfigMaps",
        }
    }

    /// The kinds it is made of.
    pub fn kinds(self) -> Vec<ApiResource> {
        match self {
            Self::Application => vec![
                ApiResource::erase::<Deployment>(&()),
                ApiResource::erase::<ServiceAccount>(&()),
                ApiResource::erase::<Service>(&()),
                ApiResource::erase::<Ingress>(&()),
            ],
            Self::Real => vec![
                ApiResource::erase::<ConfigMap>(&()),
                ApiResource::erase::<DaemonSet>(&()),
                ApiResource::erase::<Deployment>(&()),
                ApiResource::erase::<NetworkPolicy>(&()),
                ApiResource::erase::<PodDisruptionBudget>(&()),
                ApiResource::erase::<Role>(&()),
                ApiResource::erase::<RoleBinding>(&()),
                ApiResource::erase::<Service>(&()),
                ApiResource::erase::<ServiceAccount>(&()),
            ],
            Self::ConfigMaps => vec![ApiResource::erase::<ConfigMap>(&())],
        }
    }

    /// `count` objects in `namespace`.
    pub fn objects(self, namespace: &str, count: usize) -> Vec<Value> {
        match self {
            Self::Application => (0..count / 4).flat_map(|number| service(namespace, number)).collect(),
            Self::Real => {
                let (all, kinds) = (published(), self.kinds());
                let of_kinds = |object: &&Value| kinds.iter().any(|kind| object["kind"] == kind.kind);
                let all: Vec<_> = all.iter().filter(of_kinds).collect();
                let copy = |number: usize| copy(all[number % all.len()], namespace, number);
                (0..count).map(copy).collect()
            }
            Self::ConfigMaps => (0..count)
                .map(|number| config_map(namespace, number, "first"))
                .collect(),
        }
    }
}

/// Namespaced objects of built-in kinds, as their authors publish them.
fn published() -> Vec<Value> {
    let texts = [
        fixture::ONLINE_BOUTIQUE.to_owned(),
        fixture::kube_prometheus().expect("it is part of this program"),
    ];
    let documents = texts
        .iter()
        .flat_map(|text| yaml::documents(text, &yaml::Limits::default()).expect("they are good YAML"));
    let scope = |object: &Value| {
        let group = object["apiVersion"]
            .as_str()?
            .rsplit_once('/')
            .map_or("", |(group, _)| group);
        kinds::scope(group, object["kind"].as_str()?)
    };
    let objects = documents.map(|document| document.value);
    objects
        .filter(|object| scope(object) == Some(Scope::Namespaced))
        .collect()
}

/// The object in another namespace, under a name of its own.
fn copy(object: &Value, namespace: &str, number: usize) -> Value {
    let mut object = object.clone();
    let metadata = &mut object["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    metadata["name"] = json!(format!("{name}-{number:04}"));
    metadata["namespace"] = json!(namespace);
    metadata["labels"][LABEL.0] = json!(LABEL.1);
    object
}

/// The name of a ConfigMap.
pub fn config_map_name(number: usize) -> String {
    format!("map-{number:04}")
}

/// One ConfigMap with `value` in it.
pub fn config_map(namespace: &str, number: usize, value: &str) -> Value {
    let name = config_map_name(number);
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(namespace, &name),
        "data": { "value": value, "name": name, "text": "a few more words, as a settings file would have them" },
    })
}

fn metadata(namespace: &str, name: &str) -> Value {
    let (key, value) = LABEL;
    json!({ "name": name, "namespace": namespace, "labels": { "app": name, key: value } })
}

fn service(namespace: &str, number: usize) -> [Value; 4] {
    let name = format!("svc-{number:04}");
    let metadata = metadata(namespace, &name);
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 0,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": {
                    "serviceAccountName": name,
                    "containers": [{
                        "name": "main",
                        "image": "example.com/shop/web:6.7.0",
                        "ports": [{ "name": "http", "containerPort": 9898, "protocol": "TCP" }],
                        "env": [{ "name": "LOG_LEVEL", "value": "info" }],
                        "readinessProbe": { "httpGet": { "path": "/readyz", "port": "http" } },
                        "resources": { "requests": { "cpu": "100m", "memory": "64Mi" } },
                    }],
                },
            },
        },
    });
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": { "selector": { "app": name }, "ports": [{ "name": "http", "port": 80, "targetPort": "http" }] },
    });
    let backend = json!({ "service": { "name": name, "port": { "name": "http" } } });
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata,
        "spec": {
            "ingressClassName": "nginx",
            "rules": [{
                "host": format!("{name}.example.com"),
                "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] },
            }],
        },
    });
    [deployment, account, service, ingress]
}
