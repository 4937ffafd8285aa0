//! A manifest of the snapshot with its object, which is read when somebody first asks: of what is not pushed most is
//! only looked up by name.

use std::sync::OnceLock;

use driftless_model::manifest::Manifest;
use serde_json::Value;

/// See the module.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) manifest: Manifest,
    value: OnceLock<Value>,
}

impl Object {
    pub(crate) fn new(manifest: Manifest) -> Self {
        Self {
            manifest,
            value: OnceLock::new(),
        }
    }

    pub(crate) fn value(&self) -> &Value {
        self.value.get_or_init(|| self.manifest.value())
    }
}
