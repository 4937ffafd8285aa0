//! A reconciler at work on a cluster, and short words for what tests ask of both.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use driftless_model::{
    bundle::Spec,
    hash::ObjectHash,
    manifest::{Manifest, Manifests},
    name::ComponentName,
    orders::{Consent, Orders},
    status::{ComponentStatus, Problem, PruneBlocked},
    view::{ComponentView, View},
};
use driftless_reconcile::{Clock, Handle, Reconciler, Report, Settings};
use driftless_sim::{Cluster, Options};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
};
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

pub(crate) const HOME: &str = "driftless-system";

/// A running reconciler.
pub(crate) struct Running {
    pub(crate) handle: Handle,
    token: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(client: Client) -> Self {
        Self::start_with(client, Settings::default())
    }

    pub(crate) fn start_with(client: Client, settings: Settings) -> Self {
        Self::start_both(client, settings, || "2026-01-01T00:00:00Z".parse().expect("a time"))
    }

    /// With a clock of its own.
    pub(crate) fn start_at(client: Client, clock: Clock) -> Self {
        Self::start_both(client, Settings::default(), clock)
    }

    fn start_both(client: Client, settings: Settings, clock: Clock) -> Self {
        let (handle, reconciler) = Reconciler::new(client, settings, clock, 1);
        let token = CancellationToken::new();
        let stop = token.clone();
        let task = tokio::spawn(async move { reconciler.run(stop).await.expect("the reconciler has a bug") });
        Self { handle, token, task }
    }

    pub(crate) async fn stop(self) {
        self.token.cancel();
        self.task.await.expect("the reconciler panicked");
    }

    /// Waits for a report that meets `condition`.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Report) -> bool) -> Arc<Report> {
        let mut reports = self.handle.report();
        let found = timeout(Duration::from_secs(120), reports.wait_for(|report| condition(report))).await;
        if let Ok(report) = found {
            return report.expect("the reconciler runs").clone();
        }
        panic!("never {what}; the last report: {:#?}", self.handle.report().borrow());
    }

    /// Waits until deletions of a component wait for consent.
    pub(crate) async fn until_blocked(&self, component: &str) -> PruneBlocked {
        let name = component.parse().expect("a name");
        let blocked = |report: &Report| {
            Some(PruneBlocked::clone(
                report.components.get(&name)?.prune_blocked.as_ref()?,
            ))
        };
        let report = self.until("blocked", |report| blocked(report).is_some()).await;
        blocked(&report).expect("it was a line above")
    }

    /// Consents to what waits for it now.
    pub(crate) async fn consent(&self, component: &str) {
        let blocked = self.until_blocked(component).await;
        self.give_consent(component, &blocked);
    }

    /// Consents to what waited for it.
    pub(crate) fn give_consent(&self, component: &str, blocked: &PruneBlocked) {
        let consent = Consent {
            deletions: blocked.deletions,
            until: "2100-01-01T00:00:00Z".parse().expect("a time"),
            author: "ann".to_owned(),
        };
        self.handle.set_orders(Arc::new(Orders {
            consents: [(component.parse().expect("a name"), consent)].into(),
            ..Orders::default()
        }));
    }

    /// Sets a view and waits until the cluster is as it says.
    pub(crate) async fn converge(&self, view: &Arc<View>) -> Arc<Report> {
        self.handle.set_desired(view.clone());
        self.until("converged", |report| is_converged(report, view)).await
    }
}

pub(crate) fn is_converged(report: &Report, view: &View) -> bool {
    report.components.len() == view.components.len()
        && view.components.iter().all(|(name, component)| {
            report
                .components
                .get(name)
                .is_some_and(|it| it.is_synced() && it.bundle == Some(component.bundle))
        })
}

pub(crate) fn named(component: &str) -> ComponentName {
    component.parse().expect("a component's name")
}

/// A view of some components and their objects.
pub(crate) fn view(components: &[(&str, &[Value])]) -> Arc<View> {
    let components = components.iter().map(|(name, objects)| {
        let manifests: BTreeMap<_, _> = objects
            .iter()
            .map(|object| Manifest::new(object.clone(), "default").expect("a good manifest"))
            .map(|manifest| (manifest.id().clone(), manifest))
            .collect();
        let manifests: Manifests = manifests.into_values().collect();
        let bytes: Vec<_> = manifests.iter().map(Manifest::canonical).collect();
        let bundle = ObjectHash::of(&bytes.concat());
        (
            named(name),
            ComponentView {
                bundle,
                version: bundle,
                spec: Arc::default(),
                manifests,
                held: Vec::new(),
            },
        )
    });
    Arc::new(View {
        components: components.collect(),
        collisions: Vec::new(),
    })
}

/// The same view with components kept otherwise.
pub(crate) fn kept(view: &View, spec: impl Fn(&mut Spec)) -> Arc<View> {
    let mut view = view.clone();
    let names: Vec<_> = view.components.keys().cloned().collect();
    for name in names {
        let component = &mut **view.components.get_mut(&name).expect("the view has it");
        spec(Arc::make_mut(&mut component.spec));
        // As a bundle's name changes with its header.
        let header = serde_json::to_vec(&*component.spec).expect("a header is JSON");
        component.bundle = ObjectHash::of(&[component.bundle.to_string().as_bytes(), &header].concat());
        component.version = component.bundle;
    }
    Arc::new(view)
}

/// The same view, in which a component is to be kept otherwise.
pub(crate) fn keeping(view: &Arc<View>, component: &str, change: impl FnOnce(&mut Spec)) -> Arc<View> {
    let mut view = View::clone(view);
    let component = view.components.get_mut(&named(component)).expect("the view has it");
    let spec = Arc::make_mut(&mut component.spec);
    change(spec);
    let text = serde_json::to_string(spec).expect("a spec is JSON");
    component.version = ObjectHash::of(format!("{}{text}", component.bundle).as_bytes());
    Arc::new(view)
}

pub(crate) fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "shop"}, "data": {"key": value}})
}

pub(crate) fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

pub(crate) fn definition() -> Value {
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}})
}

pub(crate) fn widget(name: &str) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name, "namespace": "shop"}, "spec": {"size": 1}})
}

/// Reads and changes a cluster as somebody else.
#[derive(Clone)]
pub(crate) struct Other(pub(crate) Client);

impl Other {
    fn api(&self, object: &Value) -> Api<DynamicObject> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (group, version) = text("/apiVersion").split_once('/').unwrap_or(("", text("/apiVersion")));
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("/kind")));
        match text("/metadata/namespace") {
            "" => Api::all_with(self.0.clone(), &resource),
            namespace => Api::namespaced_with(self.0.clone(), namespace, &resource),
        }
    }

    /// The live object with this object's kind and name.
    pub(crate) async fn get(&self, object: &Value) -> Option<Value> {
        let name = object["metadata"]["name"].as_str().expect("a name");
        let found = self.api(object).get_opt(name).await.expect("the cluster answers");
        found.map(|object| serde_json::to_value(object).expect("an object is JSON"))
    }

    pub(crate) async fn create(&self, object: &Value) {
        let object_typed = serde_json::from_value(object.clone()).expect("an object");
        self.api(object)
            .create(&PostParams::default(), &object_typed)
            .await
            .expect("it can be created");
    }

    pub(crate) async fn patch(&self, object: &Value, patch: Value) {
        let name = object["metadata"]["name"].as_str().expect("a name");
        let parameters = PatchParams {
            field_manager: Some("somebody".to_owned()),
            ..PatchParams::default()
        };
        self.api(object)
            .patch(name, &parameters, &Patch::Merge(patch))
            .await
            .expect("it can be patched");
    }

    /// Scales as an autoscaler does.
    pub(crate) async fn scale(&self, object: &Value, replicas: u32) {
        let name = object["metadata"]["name"].as_str().expect("a name");
        let parameters = PatchParams {
            field_manager: Some("autoscaler".to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.api(object)
            .patch_scale(name, &parameters, &patch)
            .await
            .expect("it can be scaled");
    }

    /// Applies an object server-side, as that field manager.
    pub(crate) async fn apply(&self, object: &Value, manager: &str) {
        let name = object["metadata"]["name"].as_str().expect("a name");
        self.api(object)
            .patch(name, &PatchParams::apply(manager), &Patch::Apply(object))
            .await
            .expect("it can be applied");
    }

    pub(crate) async fn delete(&self, object: &Value) {
        let name = object["metadata"]["name"].as_str().expect("a name");
        self.api(object)
            .delete(name, &DeleteParams::default())
            .await
            .expect("it can be deleted");
    }
}

pub(crate) fn simulated() -> (Cluster, Other) {
    let cluster = Cluster::new(Options {
        log: 10_000,
        ..Options::default()
    });
    let other = Other(cluster.client());
    (cluster, other)
}

pub(crate) fn parent(component: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": format!("driftless-{component}"), "namespace": HOME}})
}

pub(crate) fn status<'a>(report: &'a Report, component: &str) -> &'a ComponentStatus {
    report
        .components
        .get(&component.parse().expect("a name"))
        .expect("the component is reported")
}

/// The one problem of a component.
pub(crate) fn problem<'a>(report: &'a Report, component: &str) -> Option<&'a Problem> {
    report
        .components
        .get(&component.parse().expect("a name"))?
        .problems
        .iter()
        .find(|problem| problem.blocks)
}

/// A component's problem with this reason.
pub(crate) fn problem_with<'a>(report: &'a Report, component: &str, reason: &str) -> Option<&'a Problem> {
    let status = report.components.get(&component.parse().expect("a name"))?;
    status.problems.iter().find(|problem| problem.reason == reason)
}

/// Lets virtual time pass until everything that was put off is done: records above all.
pub(crate) async fn time_passes(time: Duration) {
    tokio::time::sleep(time).await;
}
