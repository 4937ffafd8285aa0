//! What is pushed: a component of real-looking objects, of about the size asked for, of which each version differs from
//! the one before in one line. Pure; the same question has the same answer.

use driftless_model::{bundle::Bundle, manifest::Manifest, name::ComponentName};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use serde_json::{Value, json};

use crate::Error;

const NAMESPACE: &str = "bench";

const WORDS: &[&str] = &[
    "account", "basket", "billing", "catalog", "checkout", "delivery", "email", "fraud", "gateway", "identity",
    "invoice", "ledger", "loyalty", "media", "notify", "orders", "payment", "pricing", "profile", "quota", "rating",
    "report", "search", "session", "shipping", "stock", "tax", "tracking", "voucher", "wallet",
];

/// A component that grows no further.
#[derive(Debug, Clone)]
pub struct Workload {
    component: ComponentName,
    objects: Vec<Value>,
    /// Which of the objects changes.
    changing: usize,
}

impl Workload {
    /// A component of about so many bytes, canonical and uncompressed.
    pub fn new(component: ComponentName, bytes: usize) -> Self {
        let mut rng = SmallRng::seed_from_u64(bytes as u64);
        let (mut objects, mut size) = (Vec::new(), 0);
        while size < bytes || objects.is_empty() {
            for object in service(objects.len(), &mut rng) {
                size += object.to_string().len() + 1;
                objects.push(object);
                if size >= bytes {
                    break;
                }
            }
        }
        let deployments = objects
            .iter()
            .enumerate()
            .filter(|(_, object)| object["kind"] == "Deployment");
        let deployments: Vec<_> = deployments.map(|(place, _)| place).collect();
        // One in the middle: what is at the ends compresses better than the rest.
        let changing = deployments.get(deployments.len() / 2).copied().unwrap_or_default();
        Self {
            component,
            objects,
            changing,
        }
    }

    /// The component's name.
    pub fn component(&self) -> &ComponentName {
        &self.component
    }

    /// The version of this number.
    ///
    /// # Errors
    /// [`Error::Workload`] when it is more than a bundle may hold.
    pub fn version(&self, number: usize) -> Result<Bundle, Error> {
        let manifests = self.objects.iter().enumerate().map(|(place, object)| {
            let mut object = object.clone();
            if place == self.changing {
                release(&mut object, number);
            }
            Manifest::new(object, NAMESPACE).map_err(|problem| Error::Workload(problem.to_string()))
        });
        let manifests = manifests.collect::<Result<Vec<_>, _>>()?;
        Bundle::new(self.component.clone(), manifests).map_err(|error| Error::Workload(error.to_string()))
    }
}

/// Changes one line.
fn release(object: &mut Value, number: usize) {
    let version = format!("2026.11.{number}");
    match object.pointer_mut("/spec/template/spec/containers/0/image") {
        Some(image) => {
            let name = image
                .as_str()
                .and_then(|image| image.split(':').next())
                .unwrap_or_default();
            *image = format!("{name}:{version}").into();
        }
        None => object["metadata"]["annotations"]["bench/version"] = version.into(),
    }
}

/// The objects of one service of a shop.
fn service(number: usize, rng: &mut SmallRng) -> [Value; 5] {
    let name = format!("{}-{number}", WORDS[rng.random_range(0..WORDS.len())]);
    let labels = json!({
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/part-of": "shop",
        "app.kubernetes.io/managed-by": "release-bot",
        "team": WORDS[rng.random_range(0..WORDS.len())],
    });
    let settings: Vec<_> = (0..rng.random_range(6..16))
        .map(|_| {
            let (one, other) = (
                WORDS[rng.random_range(0..WORDS.len())],
                WORDS[rng.random_range(0..WORDS.len())],
            );
            format!("{one}.{other}.timeout = {}ms", rng.random_range(10..30_000))
        })
        .collect();
    let meta = json!({"name": name, "namespace": NAMESPACE, "labels": labels});
    [
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta,
            "data": {"application.properties": settings.join("\n"), "log.level": "info"}}),
        deployment(&name, &labels, rng),
        json!({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {
        "selector": {"app.kubernetes.io/name": name},
        "ports": [
            {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"},
            {"name": "metrics", "port": 9090, "targetPort": "metrics", "protocol": "TCP"},
        ]}}),
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": meta, "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": rng.random_range(1..4), "maxReplicas": rng.random_range(5..40),
            "metrics": [{"type": "Resource", "resource": {"name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": rng.random_range(50..90)}}}]}}),
        json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": meta, "spec": {
            "maxUnavailable": 1, "selector": {"matchLabels": {"app.kubernetes.io/name": name}}}}),
    ]
}

fn deployment(name: &str, labels: &Value, rng: &mut SmallRng) -> Value {
    let digest: String = (0..32).map(|_| format!("{:02x}", rng.random::<u8>())).collect();
    let probe = |path: &str, every: u32| json!({"httpGet": {"path": path, "port": "http"}, "periodSeconds": every, "failureThreshold": 3});
    let environment: Vec<_> = (0..rng.random_range(3..9))
        .map(|_| {
            let word = WORDS[rng.random_range(0..WORDS.len())];
            json!({"name": format!("{}_URL_{}", word.to_uppercase(), rng.random_range(0..1000)),
                "value": format!("http://{word}.shop.svc.cluster.local:{}", rng.random_range(8000..9000))})
        })
        .collect();
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels,
        "annotations": {"checksum/config": digest}},
    "spec": {
        "replicas": rng.random_range(1..9),
        "revisionHistoryLimit": 3,
        "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}},
        "template": {
            "metadata": {"labels": labels, "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "9090"}},
            "spec": {
                "serviceAccountName": name,
                "terminationGracePeriodSeconds": 30,
                "securityContext": {"runAsNonRoot": true, "runAsUser": 10001, "fsGroup": 10001},
                "containers": [{
                    "name": "app",
                    "image": format!("registry.example.com/shop/{name}:2026.10.{}", rng.random_range(0..500)),
                    "imagePullPolicy": "IfNotPresent",
                    "ports": [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
                    "env": environment,
                    "envFrom": [{"configMapRef": {"name": name}}],
                    "resources": {
                        "requests": {"cpu": format!("{}m", rng.random_range(50..900)), "memory": format!("{}Mi", rng.random_range(64..900))},
                        "limits": {"memory": format!("{}Mi", rng.random_range(900..4000))}},
                    "readinessProbe": probe("/ready", 5),
                    "livenessProbe": probe("/live", 20),
                    "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                }],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            }}}})
}

/// Reads a number of bytes: `600`, `200KiB`, `5MB`.
///
/// # Errors
/// In words, what is wrong.
pub fn parse_size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "KB" | "kB" => 1000,
        "KiB" | "K" | "k" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" | "M" => 1 << 20,
        other => return Err(format!("`{other}` is no unit of bytes: KiB, MiB, KB and MB are")),
    };
    let number: usize = digits
        .trim()
        .parse()
        .map_err(|_| format!("`{text}` is no number of bytes, such as 200KiB"))?;
    let bytes = number.checked_mul(unit).ok_or("that is too many bytes")?;
    match bytes {
        0 => Err("a bundle has at least one byte".to_owned()),
        bytes if bytes > driftless_model::bundle::MAX_BYTES => Err("a bundle has at most 32MiB".to_owned()),
        bytes => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bundle: &Bundle) -> Vec<String> {
        let text = String::from_utf8(bundle.encode()).unwrap();
        text.lines().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn bundle_is_about_as_large_as_asked_for() {
        for bytes in [600, 20_000, 200 << 10, 2_000_000] {
            let workload = Workload::new("bench".parse().unwrap(), bytes);
            let size = workload.version(1).unwrap().encode().len();
            assert!(size >= bytes * 9 / 10 && size < bytes + 6000, "{size} for {bytes}");
        }
    }

    #[test]
    fn versions_differ_in_one_line() {
        for bytes in [600, 50_000] {
            let workload = Workload::new("bench".parse().unwrap(), bytes);
            let (one, two) = (
                lines(&workload.version(1).unwrap()),
                lines(&workload.version(2).unwrap()),
            );
            let differing = one.iter().zip(&two).filter(|(one, two)| one != two).count();
            assert_eq!((one.len(), differing), (two.len(), 1));
            assert_eq!(one, lines(&workload.version(1).unwrap()));
        }
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(parse_size("600"), Ok(600));
        assert_eq!(parse_size("200KiB"), Ok(204_800));
        assert_eq!(parse_size("5MB"), Ok(5_000_000));
        for bad in ["", "0", "5GB", "KiB", "33MiB", "-1"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
