//! A manifest of the snapshot with its object: of what is pushed that is at hand, of the rest it is read when somebody
//! first asks, because most is only looked up by name.

use std::sync::{Arc, OnceLock};

use driftless_model::{intake::Placed, manifest::Manifest};
use serde_json::Value;

/// See the module.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) manifest: Manifest,
    value: OnceLock<Arc<Value>>,
}

impl Object {
    pub(crate) fn new(manifest: Manifest) -> Self {
        Self {
            manifest,
            value: OnceLock::new(),
        }
    }

    pub(crate) fn pushed(placed: &Placed) -> Self {
        Self {
            manifest: placed.manifest().clone(),
            value: Arc::clone(placed.value()).into(),
        }
    }

    pub(crate) fn value(&self) -> &Value {
        self.value.get_or_init(|| Arc::new(self.manifest.value()))
    }
}
