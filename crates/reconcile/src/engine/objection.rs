//! What is said against an object before anything is sent: it is not applied then, and its live object stays.

use driftless_model::{bundle::Spec, ignored, manifest::Manifest};

/// Why an object is not applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Objection {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// What speaks against a manifest. Servers and the CLI say the same at push; this is for what came past them.
pub(crate) fn objection(manifest: &Manifest, spec: &Spec) -> Option<Box<Objection>> {
    let object = |reason, message| Some(Box::new(Objection { reason, message }));
    if let Err(refused) = spec.allow.check(manifest.id()) {
        return object("NotAllowed", refused.to_string());
    }
    if ignored::is_concerned(manifest.canonical())
        && let Err(wrong) = ignored::read(&manifest.value())
    {
        return object("InvalidAnnotation", wrong.to_string());
    }
    None
}
