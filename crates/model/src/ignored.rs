//! Fields of an object that others decide: the annotation `driftless.dev/ignore-fields`, and what goes without saying.
//!
//! A path is a JSON pointer; in lists a step may also be `*` (every item) or `name=web` (the items with that field).
//! Read at push, where a wrong one is refused, and by the agent.

use std::fmt;

use serde_json::Value;

use crate::{canonical::Needle, field};

/// Holds paths, separated by commas or line breaks.
pub const ANNOTATION: &str = "driftless.dev/ignore-fields";

/// Objects with an annotation that begins so get their CA bundle from cert-manager.
const INJECTED: &str = "cert-manager.io/inject-ca-from";

/// Where cert-manager puts it, by kind.
const BUNDLES: &[(&str, &[&str])] = &[
    (
        "ValidatingWebhookConfiguration",
        &["webhooks", "*", "clientConfig", "caBundle"],
    ),
    (
        "MutatingWebhookConfiguration",
        &["webhooks", "*", "clientConfig", "caBundle"],
    ),
    (
        "CustomResourceDefinition",
        &["spec", "conversion", "webhook", "clientConfig", "caBundle"],
    ),
    ("APIService", &["spec", "caBundle"]),
];

/// A path to a field, step by step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(Vec<String>);

/// A path that leads nowhere it may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// No JSON pointer.
    #[error(
        "annotation {ANNOTATION}: `{0}` is no JSON pointer: write it as /spec/replicas, with ~1 for a slash in a name"
    )]
    Form(String),
    /// A part of what an object is.
    #[error("annotation {ANNOTATION}: `{0}` cannot be ignored: it is part of what the object is, or of how it is kept")]
    Essential(String),
}

impl Path {
    /// Its steps, at least one.
    pub fn steps(&self) -> &[String] {
        &self.0
    }

    fn parse(text: &str) -> Result<Self, InvalidPath> {
        let form = || InvalidPath::Form(text.to_owned());
        let steps = text.strip_prefix('/').ok_or_else(form)?;
        let unescaped = steps.split('/').map(|step| {
            let escapes = step.split('~').skip(1);
            let is_right = !step.is_empty() && escapes.into_iter().all(|rest| rest.starts_with(['0', '1']));
            is_right.then(|| step.replace("~1", "/").replace("~0", "~"))
        });
        let steps: Vec<String> = unescaped.collect::<Option<_>>().ok_or_else(form)?;
        let is_essential = match steps[0].as_str() {
            "apiVersion" | "kind" => true,
            "metadata" => match steps.get(1).map(String::as_str) {
                None | Some("name" | "namespace") => true,
                Some("labels" | "annotations") => steps.get(2).is_none_or(|key| key == "*" || key == ANNOTATION),
                Some(_) => false,
            },
            _ => false,
        };
        if is_essential {
            return Err(InvalidPath::Essential(text.to_owned()));
        }
        Ok(Self(steps))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|step| write!(f, "/{}", step.replace('~', "~0").replace('/', "~1")))
    }
}

/// Could there be anything to read in an object of these bytes? Most have nothing, and need not be parsed.
pub fn is_concerned(bytes: &[u8]) -> bool {
    static NEEDLES: [Needle; 2] = [Needle::new(ANNOTATION), Needle::new(INJECTED)];
    NEEDLES.iter().any(|needle| needle.is_in(bytes))
}

/// The fields of an object that others decide.
///
/// # Errors
/// When the annotation holds something else than paths.
pub fn read(object: &Value) -> Result<Vec<Path>, InvalidPath> {
    let Some(annotations) = field::at(object, "/metadata/annotations").and_then(Value::as_object) else {
        return Ok(Vec::new());
    };
    let mut paths = Vec::new();
    if annotations.keys().any(|key| key.starts_with(INJECTED)) {
        let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
        let bundle = BUNDLES.iter().find(|(name, _)| *name == kind);
        paths.extend(bundle.map(|(_, steps)| Path(steps.iter().map(|step| (*step).to_owned()).collect())));
    }
    let text = annotations.get(ANNOTATION).and_then(Value::as_str).unwrap_or_default();
    for part in text.split([',', '\n']).map(str::trim).filter(|part| !part.is_empty()) {
        paths.push(Path::parse(part)?);
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(text: &str) -> Result<Vec<String>, InvalidPath> {
        let paths = read(&json!({"metadata": {"annotations": {ANNOTATION: text}}}))?;
        Ok(paths.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn paths_are_separated_by_commas_and_lines() {
        assert_eq!(
            of("/spec/replicas, /a/*/b\n/metadata/annotations/x.io~1y\n").unwrap(),
            ["/spec/replicas", "/a/*/b", "/metadata/annotations/x.io~1y"]
        );
        assert_eq!(of("").unwrap(), [""; 0]);
        assert_eq!(read(&json!({})).unwrap(), []);
    }

    #[test]
    fn wrong_path_is_refused_with_what_to_write() {
        for wrong in ["spec.replicas", "/", "/spec//replicas", "/a~2", "/a~"] {
            assert_eq!(of(wrong), Err(InvalidPath::Form(wrong.to_owned())), "{wrong}");
        }
        for wrong in [
            "/kind",
            "/metadata",
            "/metadata/name",
            "/metadata/labels",
            "/metadata/annotations/*",
        ] {
            assert_eq!(of(wrong), Err(InvalidPath::Essential(wrong.to_owned())), "{wrong}");
        }
    }

    #[test]
    fn bundle_that_cert_manager_injects_goes_without_saying() {
        let object = json!({"kind": "APIService", "metadata": {"annotations": {"cert-manager.io/inject-ca-from-secret": "a/b"}}});
        assert!(is_concerned(object.to_string().as_bytes()));
        assert_eq!(read(&object).unwrap()[0].to_string(), "/spec/caBundle");
    }
}
