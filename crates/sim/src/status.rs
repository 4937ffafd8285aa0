//! Refusals: the `Status` documents of a request that failed, worded as the real server words them.
//!
//! Every operation returns one of these as its error; `http` writes it out. Nothing else makes error documents.

use serde_json::{Map, Value, json};

use crate::kinds::Kind;

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    details: Option<Map<String, Value>>,
}

/// One thing that is wrong with one field.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Cause {
    reason: &'static str,
    field: String,
    message: String,
}

impl Cause {
    pub(crate) fn invalid(field: &str, value: &Value, detail: &str) -> Self {
        let message = format!("Invalid value: {value}: {detail}");
        Self {
            reason: "FieldValueInvalid",
            field: field.to_owned(),
            message,
        }
    }

    pub(crate) fn required(field: &str, detail: &str) -> Self {
        let message = if detail.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {detail}")
        };
        Self {
            reason: "FieldValueRequired",
            field: field.to_owned(),
            message,
        }
    }

    pub(crate) fn forbidden(field: &str, detail: &str) -> Self {
        Self {
            reason: "FieldValueForbidden",
            field: field.to_owned(),
            message: format!("Forbidden: {detail}"),
        }
    }

    pub(crate) fn too_long(field: &str, limit: usize) -> Self {
        let message = format!("Too long: may not be more than {limit} bytes");
        Self {
            reason: "FieldValueTooLong",
            field: field.to_owned(),
            message,
        }
    }

    pub(crate) fn missing(field: &str, value: &Value) -> Self {
        Self {
            reason: "FieldValueNotFound",
            field: field.to_owned(),
            message: format!("Not found: {value}"),
        }
    }

    pub(crate) fn wrong_type(field: &str, value: &Value, detail: &str) -> Self {
        let message = format!("Invalid value: {value}: {detail}");
        Self {
            reason: "FieldValueTypeInvalid",
            field: field.to_owned(),
            message,
        }
    }
}

impl Refusal {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            details: None,
        }
    }

    fn about(mut self, kind: &Kind, name: &str) -> Self {
        self.detail("name", json!(name));
        if !kind.group.is_empty() {
            self.detail("group", json!(kind.group));
        }
        self.detail("kind", json!(kind.plural));
        self
    }

    fn detail(&mut self, key: &str, value: Value) {
        self.details.get_or_insert_default().insert(key.to_owned(), value);
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} {name:?} not found", kind.resource())).about(kind, name)
    }

    pub(crate) fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", kind.resource());
        Self::new(409, "AlreadyExists", message).about(kind, name)
    }

    pub(crate) fn conflict(kind: &Kind, name: &str, detail: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} {name:?}: {detail}",
            kind.resource()
        );
        Self::new(409, "Conflict", message).about(kind, name)
    }

    pub(crate) fn modified(kind: &Kind, name: &str) -> Self {
        let detail = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, detail)
    }

    pub(crate) fn uid_differs(kind: &Kind, name: &str, wanted: &str, found: &str) -> Self {
        let detail = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}");
        Self::conflict(kind, name, &detail)
    }

    pub(crate) fn forbidden(kind: &Kind, name: &str, detail: &str) -> Self {
        let message = if name.is_empty() {
            format!("{} is forbidden: {detail}", kind.resource())
        } else {
            format!("{} {name:?} is forbidden: {detail}", kind.resource())
        };
        Self::new(403, "Forbidden", message).about(kind, name)
    }

    /// A create in a namespace that is going away.
    pub(crate) fn terminating(kind: &Kind, name: &str, namespace: &str) -> Self {
        let detail = format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut out = Self::forbidden(kind, name, &detail);
        let cause = json!({
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        });
        out.detail("causes", json!([cause]));
        out
    }

    pub(crate) fn invalid(kind: &Kind, name: &str, causes: &[Cause]) -> Self {
        let texts: Vec<String> = causes
            .iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect();
        let list = if let [only] = texts.as_slice() {
            only.clone()
        } else {
            format!("[{}]", texts.join(", "))
        };
        let mut out = Self::new(
            422,
            "Invalid",
            format!("{} {name:?} is invalid: {list}", kind.qualified()),
        );
        if !name.is_empty() {
            out.detail("name", json!(name));
        }
        if !kind.group.is_empty() {
            out.detail("group", json!(kind.group));
        }
        out.detail("kind", json!(kind.kind));
        let causes = causes
            .iter()
            .map(|cause| json!({"reason": cause.reason, "message": cause.message, "field": cause.field}));
        out.detail("causes", causes.collect());
        out
    }

    /// What is wrong with a write to a resource, rather than with an object of a kind.
    pub(crate) fn invalid_resource(kind: &Kind, name: &str, cause: &Cause) -> Self {
        let mut out = Self::invalid(kind, name, std::slice::from_ref(cause));
        out.message = format!(
            "{} {name:?} is invalid: {}: {}",
            kind.resource(),
            cause.field,
            cause.message
        );
        out.detail("kind", json!(kind.plural));
        out
    }

    /// A delete that is for another version, or another incarnation, of the object.
    pub(crate) fn precondition(kind: &Kind, name: &str, detail: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} {name:?}: {detail}", kind.kind);
        let mut out = Self::new(409, "Conflict", message).about(kind, name);
        out.detail("kind", json!(kind.kind));
        out
    }

    /// An apply that met other managers' fields: (field, what the conflict is with).
    pub(crate) fn apply_conflict(message: String, causes: impl Iterator<Item = (String, String)>) -> Self {
        let mut out = Self::new(409, "Conflict", message);
        let causes = causes
            .map(|(field, message)| json!({"reason": "FieldManagerConflict", "message": message, "field": field}));
        out.detail("causes", causes.collect());
        out
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// Worded by the server's front rather than by what serves the resource.
    fn plain(code: u16, reason: &'static str, message: &str) -> Self {
        Self {
            details: Some(Map::new()),
            ..Self::new(code, reason, message)
        }
    }

    pub(crate) fn not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::plain(405, "MethodNotAllowed", message)
    }

    /// The metadata of a list was asked for where there is a single object.
    pub(crate) fn not_acceptable() -> Self {
        let message = "you requested PartialObjectMetadataList, but the requested object is not a list";
        Self::plain(406, "NotAcceptable", message)
    }

    /// A resource that a known group and version do not have.
    pub(crate) fn no_resource() -> Self {
        Self::plain(404, "NotFound", "the server could not find the requested resource")
    }

    /// A patch that does not fit the object.
    pub(crate) fn patch_failed() -> Self {
        Self::plain(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        )
    }

    pub(crate) fn unsupported(known: &str) -> Self {
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {known}");
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// A patch of a type that nothing takes.
    pub(crate) fn no_patch() -> Self {
        Self::plain(415, "UnsupportedMediaType", "415: Unsupported Media Type")
    }

    /// Options of a request that are not valid.
    pub(crate) fn options(kind: &str, field: &str, reason: &'static str, message: &str) -> Self {
        let text = format!("{kind}.meta.k8s.io \"\" is invalid: {field}: {message}");
        let mut out = Self::new(422, "Invalid", text);
        out.detail("group", json!("meta.k8s.io"));
        out.detail("kind", json!(kind));
        out.detail(
            "causes",
            json!([{"reason": reason, "message": message, "field": field}]),
        );
        out
    }

    /// With the seconds after which to try again.
    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.detail("retryAfterSeconds", json!(seconds));
        self
    }

    pub(crate) fn seconds(&self) -> Option<u64> {
        self.details.as_ref()?.get("retryAfterSeconds").and_then(Value::as_u64)
    }

    /// The document.
    pub(crate) fn document(&self) -> Value {
        let mut out = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            out["reason"] = json!(self.reason);
        }
        if let Some(details) = &self.details {
            out["details"] = Value::Object(details.clone());
        }
        out
    }
}
