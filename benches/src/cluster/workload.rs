//! The applications that are pushed. Pure.

use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Service, ServiceAccount},
    networking::v1::Ingress,
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
    /// ConfigMaps alone.
    ConfigMaps,
}

impl Workload {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Application, Self::ConfigMaps];

    /// For component and namespace names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Application => "app",
            Self::ConfigMaps => "maps",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Application => "Deployments, ServiceAccounts, Services, Ingresses",
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
            Self::ConfigMaps => vec![ApiResource::erase::<ConfigMap>(&())],
        }
    }

    /// `count` objects in `namespace`.
    pub fn objects(self, namespace: &str, count: usize) -> Vec<Value> {
        match self {
            Self::Application => (0..count / 4).flat_map(|number| service(namespace, number)).collect(),
            Self::ConfigMaps => (0..count)
                .map(|number| config_map(namespace, number, "first"))
                .collect(),
        }
    }
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
