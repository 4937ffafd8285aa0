//! Custom resource definitions: how an applied one becomes a served kind, and how its end takes its objects along.
//!
//! Called by `controllers` when a definition changes, and by `cluster` when the time to establish one has come.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::delete::Propagation;
use crate::kinds::{self, known};
use crate::state::{State, Target, WriteOptions, text};
use crate::store::Stored;

const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Where the objects of a definition are.
pub(crate) fn store_of(definition: &Value) -> String {
    format!(
        "{}/{}",
        text(definition, "/spec/group"),
        text(definition, "/spec/names/plural")
    )
}

impl State {
    /// Establishes every definition that waits for it.
    pub(crate) fn establish_all(&mut self) {
        let waiting: Vec<Arc<Stored>> = self
            .store
            .all(&known("apiextensions.k8s.io", "CustomResourceDefinition").store)
            .filter(|definition| !is_established(&definition.value()))
            .cloned()
            .collect();
        for definition in waiting {
            self.establish(&definition);
        }
    }

    /// A definition is new or changed.
    pub(crate) fn definition_changed(&mut self, definition: &Arc<Stored>) {
        let object = definition.value();
        if definition.terminating {
            self.end_definition(definition, &object);
        } else if is_established(&object) {
            self.serve(&object);
        } else if !self.slow_definitions {
            self.establish(definition);
        }
    }

    fn establish(&mut self, definition: &Arc<Stored>) {
        let mut object = definition.value();
        let spec = object["spec"].clone();
        let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "lastTransitionTime": self.now, "reason": reason, "message": message});
        let mut versions = spec["versions"].as_array().into_iter().flatten();
        let stored = versions
            .find(|version| version["storage"] == true)
            .map(|version| version["name"].clone());
        object["status"] = json!({
            "acceptedNames": spec["names"],
            "conditions": [
                condition("NamesAccepted", "NoConflicts", "no conflicts found"),
                condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
            ],
            "storedVersions": [stored],
        });
        let target = Target::of(definition).sub("status");
        // The definition was read under this lock: the write cannot meet another version of it.
        let written = self.replace(&target, object, &WriteOptions::by("kube-apiserver"));
        debug_assert!(written.is_ok(), "a definition's status is its own");
        self.serve(&spec_only(spec));
    }

    fn serve(&mut self, object: &Value) {
        if let Some(kind) = kinds::from_crd(object) {
            self.kinds.add(Arc::new(kind));
        }
    }

    fn end_definition(&mut self, definition: &Arc<Stored>, object: &Value) {
        let store = store_of(object);
        let all: Vec<Arc<Stored>> = self.store.all(&store).cloned().collect();
        for custom in all.iter().filter(|custom| !custom.terminating) {
            self.begin_delete(custom, Propagation::Background);
        }
        if self.store.all(&store).next().is_none() {
            self.drop_finalizer(definition, CLEANUP);
        }
    }

    /// A definition is gone: its kind is no longer served.
    pub(crate) fn definition_gone(&mut self, definition: &Stored) {
        let object = definition.value();
        self.kinds
            .remove(text(&object, "/spec/group"), text(&object, "/spec/names/plural"));
    }

    /// The last object of a kind may have been what its definition waited for.
    pub(crate) fn custom_object_gone(&mut self, object: &Stored) {
        let name = object.kind.resource();
        let definitions = known("apiextensions.k8s.io", "CustomResourceDefinition");
        if let Some(definition) = self.store.get(&definitions.store, "", &name).cloned()
            && definition.terminating
        {
            self.end_definition(&definition, &definition.value());
        }
    }
}

fn spec_only(spec: Value) -> Value {
    json!({ "spec": spec })
}

fn is_established(definition: &Value) -> bool {
    let conditions = definition["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Established" && condition["status"] == "True")
}
