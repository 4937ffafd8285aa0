//! Deletes, finalizers, garbage collection by owner references, and the end of namespaces.
//!
//! Methods of [`State`], called by `http` for requests and by `controllers` for what follows from a change.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::kinds::known;
use crate::state::{State, Target, WriteOptions};
use crate::status::Refusal;
use crate::store::Stored;

/// What becomes of the objects that an object owns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Propagation {
    #[default]
    Background,
    Foreground,
    Orphan,
}

/// The body of a delete.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) propagation: Propagation,
    uid: Option<String>,
    version: Option<String>,
    pub(crate) dry_run: bool,
}

impl DeleteOptions {
    /// From the body, if any, and the query.
    pub(crate) fn parse(body: &Value, query: impl Fn(&str) -> Option<String>) -> Result<Self, Refusal> {
        let given = |key: &str| body[key].as_str().map(str::to_owned).or_else(|| query(key));
        let orphan = body["orphanDependents"] == json!(true) || query("orphanDependents").as_deref() == Some("true");
        let propagation = match given("propagationPolicy").as_deref() {
            _ if orphan => Propagation::Orphan,
            None | Some("Background") => Propagation::Background,
            Some("Foreground") => Propagation::Foreground,
            Some("Orphan") => Propagation::Orphan,
            Some(other) => {
                let known = "supported values: \"Background\", \"Foreground\", \"Orphan\"";
                let message = format!("Unsupported value: {other:?}: {known}");
                return Err(Refusal::options(
                    "DeleteOptions",
                    "propagationPolicy",
                    "FieldValueNotSupported",
                    &message,
                ));
            }
        };
        let precondition = |key: &str| body["preconditions"][key].as_str().map(str::to_owned);
        let dry_run = body["dryRun"].as_array().is_some_and(|all| !all.is_empty()) || query("dryRun").is_some();
        Ok(Self {
            propagation,
            uid: precondition("uid"),
            version: precondition("resourceVersion"),
            dry_run,
        })
    }
}

impl State {
    /// Deletes one object: the object as it is while finalizers hold it, or the `Status` of its removal.
    pub(crate) fn delete(&mut self, target: &Target, options: &DeleteOptions) -> Result<Value, Refusal> {
        let live = self.find(target)?;
        if let Some(uid) = options.uid.as_ref().filter(|uid| **uid != live.uid) {
            let detail = format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
                live.uid
            );
            return Err(Refusal::precondition(&target.kind, &target.name, &detail));
        }
        if let Some(version) = options
            .version
            .as_ref()
            .filter(|version| **version != live.version.to_string())
        {
            let detail = format!(
                "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
                live.version
            );
            return Err(Refusal::precondition(&target.kind, &target.name, &detail));
        }
        if target.kind.is("", "Namespace") && matches!(target.name.as_str(), "default" | "kube-system" | "kube-public")
        {
            return Err(Refusal::forbidden(
                &target.kind,
                &target.name,
                "this namespace may not be deleted",
            ));
        }
        let held = if options.dry_run {
            None
        } else {
            self.begin_delete(&live, options.propagation)
        };
        Ok(match held {
            Some(held) => held.view(&target.kind, target.version),
            None if target.kind.is("", "Pod") => live.view(&target.kind, target.version),
            None => success(target, &live.uid),
        })
    }

    /// Removes `live`, or marks it as going away; the object when it is still there.
    pub(crate) fn begin_delete(&mut self, live: &Arc<Stored>, propagation: Propagation) -> Option<Arc<Stored>> {
        let mut object = live.value();
        let mut finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        let own = match propagation {
            Propagation::Background => None,
            Propagation::Foreground => Some("foregroundDeletion"),
            Propagation::Orphan => Some("orphan"),
        };
        if let Some(own) = own.filter(|own| !finalizers.iter().any(|name| name == own)) {
            finalizers.push(json!(own));
        }
        if live.kind.is("apiextensions.k8s.io", "CustomResourceDefinition")
            && self.store.all(&crate::definitions::store_of(&object)).next().is_some()
        {
            let cleanup = json!("customresourcecleanup.apiextensions.k8s.io");
            if !finalizers.contains(&cleanup) {
                finalizers.push(cleanup);
            }
        }
        let namespace = live.kind.is("", "Namespace");
        if finalizers.is_empty() && !namespace {
            self.store.remove(&live.place());
            return None;
        }
        if live.terminating {
            return Some(Arc::clone(live));
        }
        let metadata = &mut object["metadata"];
        if !finalizers.is_empty() {
            metadata["finalizers"] = Value::Array(finalizers);
        }
        metadata["deletionTimestamp"] = json!(self.now);
        if !namespace {
            metadata["deletionGracePeriodSeconds"] = json!(0);
        }
        if live.kind.generation {
            metadata["generation"] = json!(metadata["generation"].as_i64().unwrap_or(1) + 1);
        }
        if namespace {
            object["status"]["phase"] = json!("Terminating");
        }
        Some(self.store.put(&live.kind, &object))
    }

    /// Deletes all of one resource that `chosen` picks.
    pub(crate) fn delete_collection(
        &mut self,
        target: &Target,
        options: &DeleteOptions,
        chosen: impl Fn(&Stored) -> bool,
    ) -> Vec<Arc<Stored>> {
        let all: Vec<Arc<Stored>> = self
            .store
            .all(&target.kind.store)
            .filter(|object| target.namespace.is_empty() || object.key.0 == target.namespace)
            .filter(|object| chosen(object))
            .cloned()
            .collect();
        if !options.dry_run {
            for object in &all {
                self.begin_delete(object, options.propagation);
            }
        }
        all
    }

    /// What the garbage collector does once an object began to go away.
    pub(crate) fn collect_below(&mut self, owner: &Arc<Stored>) {
        let object = owner.value();
        let finalizers = object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        if finalizers.iter().any(|name| name == "orphan") {
            for dependent in self.store.dependents(&owner.uid) {
                self.disown(&dependent, &owner.uid);
            }
            self.drop_finalizer(owner, "orphan");
        } else if finalizers.iter().any(|name| name == "foregroundDeletion") {
            for dependent in self.store.dependents(&owner.uid) {
                if !dependent.terminating {
                    self.release(&dependent, &owner.uid, Propagation::Foreground);
                }
            }
            self.finish_foreground(owner);
        }
    }

    /// Lets an owner go once nothing that blocks it is left.
    fn finish_foreground(&mut self, owner: &Arc<Stored>) {
        let blocks = |dependent: &Arc<Stored>| {
            let value = dependent.value();
            let mut owners = value["metadata"]["ownerReferences"].as_array().into_iter().flatten();
            owners.any(|reference| {
                reference["uid"] == owner.uid.as_str() && reference["blockOwnerDeletion"] == json!(true)
            })
        };
        if !self.store.dependents(&owner.uid).iter().any(blocks) {
            self.drop_finalizer(owner, "foregroundDeletion");
        }
    }

    /// What the garbage collector does once an object is gone.
    pub(crate) fn collect_after(&mut self, gone: &Arc<Stored>) {
        for dependent in self.store.dependents(&gone.uid) {
            self.release(&dependent, &gone.uid, Propagation::Background);
        }
        for owner in &gone.owners {
            if let Some(owner) = self.store.by_uid(owner).filter(|owner| owner.terminating).cloned() {
                self.finish_foreground(&owner);
            }
        }
    }

    /// Deletes an object whose owners are all unknown.
    pub(crate) fn collect_orphan(&mut self, object: &Arc<Stored>) {
        let known = object.owners.iter().any(|owner| self.store.by_uid(owner).is_some());
        if !object.owners.is_empty() && !known && !object.terminating {
            self.begin_delete(object, Propagation::Background);
        }
    }

    /// Deletes a dependent, or takes the owner off it where it has another.
    fn release(&mut self, dependent: &Arc<Stored>, owner: &str, propagation: Propagation) {
        let others = dependent
            .owners
            .iter()
            .any(|other| other != owner && self.store.by_uid(other).is_some());
        if others {
            self.disown(dependent, owner);
        } else if !dependent.terminating {
            self.begin_delete(dependent, propagation);
        }
    }

    fn disown(&mut self, dependent: &Arc<Stored>, owner: &str) {
        let mut object = dependent.value();
        if let Some(owners) = object["metadata"]["ownerReferences"].as_array_mut() {
            owners.retain(|reference| reference["uid"] != owner);
            if owners.is_empty()
                && let Some(metadata) = object["metadata"].as_object_mut()
            {
                metadata.remove("ownerReferences");
            }
        }
        self.store.put(&dependent.kind, &object);
    }

    /// Takes one finalizer off an object that is going away, and removes it when that was the last.
    pub(crate) fn drop_finalizer(&mut self, held: &Arc<Stored>, finalizer: &str) {
        let Some(held) = self.store.at(&held.place()).cloned() else {
            return;
        };
        let mut object = held.value();
        let Some(finalizers) = object["metadata"]["finalizers"].as_array_mut() else {
            return;
        };
        finalizers.retain(|name| name != finalizer);
        if finalizers.is_empty() {
            self.store.remove(&held.place());
        } else {
            self.store.put(&held.kind, &object);
        }
    }

    /// Empties a namespace that is going away, and removes it when it is empty.
    pub(crate) fn end_namespace(&mut self, name: &str) {
        let namespaces = known("", "Namespace");
        let Some(namespace) = self.store.get(&namespaces.store, "", name).cloned() else {
            return;
        };
        if !namespace.terminating {
            return;
        }
        let content = self.store.within(name);
        for object in content.iter().filter(|object| !object.terminating) {
            self.begin_delete(object, Propagation::Background);
        }
        let empty = self.store.within(name).is_empty();
        let held = namespace.value()["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|all| !all.is_empty());
        if empty && !held {
            self.store.remove(&namespace.place());
        }
    }

    /// Options for the writes of a simulated controller.
    pub(crate) fn as_controller() -> WriteOptions {
        WriteOptions::by("kube-controller-manager")
    }
}

fn success(target: &Target, uid: &str) -> Value {
    let mut details = json!({"name": target.name, "kind": target.kind.plural, "uid": uid});
    if !target.kind.group.is_empty() {
        details["group"] = json!(target.kind.group);
    }
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
}
