//! A fleet and two versions of what it runs. The same arguments make the same.

use std::collections::BTreeMap;

use driftless_model::{
    bundle::{Bundle, Spec},
    hash::ObjectHash,
    manifest::Manifest,
    snapshot::{self, Provenance, Snapshot},
    view::ClusterFacts,
};
use serde_json::{Value, json};

use crate::Args;

/// See the module.
pub(crate) struct Made {
    pub(crate) clusters: Vec<ClusterFacts>,
    pub(crate) before: Vec<Bundle>,
    pub(crate) after: Vec<Bundle>,
    pub(crate) after_by_hash: BTreeMap<ObjectHash, Bundle>,
    pub(crate) snapshot: Snapshot,
}

impl Made {
    pub(crate) fn new(args: &Args) -> Self {
        let bundles = |image: &str| -> Vec<_> {
            (0..args.components)
                .map(|number| bundle(number, args.objects, image))
                .collect()
        };
        let (before, after) = (bundles("web:1"), bundles("web:2"));
        let after_by_hash: BTreeMap<_, _> = after.iter().map(|bundle| (bundle.hash(), bundle.clone())).collect();
        let components = after_by_hash
            .iter()
            .map(|(hash, bundle)| (bundle.component.clone(), *hash));
        let snapshot = Snapshot {
            format: snapshot::FORMAT,
            components: components.collect(),
            parent: None,
            time: jiff::Timestamp::UNIX_EPOCH,
            provenance: Provenance::default(),
        };
        Self {
            clusters: (0..args.clusters).map(|number| cluster(number, args.sets)).collect(),
            before,
            after,
            after_by_hash,
            snapshot,
        }
    }
}

fn cluster(number: usize, sets: usize) -> ClusterFacts {
    let set = number % sets.max(1);
    let labels = [
        ("region", format!("region-{}", set % 8)),
        ("tier", if set.is_multiple_of(2) { "edge" } else { "core" }.to_owned()),
        ("set", set.to_string()),
    ];
    ClusterFacts {
        name: format!("cluster-{number:05}").parse().expect("a good name"),
        channel: "prod".parse().expect("a good name"),
        labels: labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        vars: [("replicas".to_owned(), json!(set % 5))].into(),
    }
}

/// One object in ten uses a variable; a fifth of the components have an overlay.
fn bundle(number: usize, objects: usize, image: &str) -> Bundle {
    let manifests = (0..objects).map(|index| {
        let replicas = if index % 10 == 0 {
            json!("${cluster.vars.replicas}")
        } else {
            json!(1)
        };
        deployment(&format!("app-{number}-{index}"), image, &replicas)
    });
    let overlays = json!([
        {"name": "edge", "selector": "tier=edge", "patches": [
            {"target": {"kind": "Deployment", "name": format!("app-{number}-1")}, "merge": {"spec": {"paused": true}}}]},
        {"name": "one-region", "selector": "region=region-3", "remove": [{"name": format!("app-{number}-2")}]},
    ]);
    let spec = Spec {
        overlays: if number.is_multiple_of(5) {
            serde_json::from_value(overlays).expect("good overlays")
        } else {
            Vec::new()
        },
        ..Spec::default()
    };
    let name = format!("app-{number}").parse().expect("a good name");
    Bundle::new(name, manifests)
        .expect("every object has a name of its own")
        .with_spec(spec)
}

fn deployment(name: &str, image: &str, replicas: &Value) -> Manifest {
    let labels = json!({"app": name});
    let container = json!({"name": "web", "image": image, "ports": [{"containerPort": 8080}],
        "env": [{"name": "CLUSTER", "value": "here"}, {"name": "LOG", "value": "info"}],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}}});
    let object = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop", "labels": labels},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}}});
    Manifest::new(object, "shop").expect("a good manifest")
}
