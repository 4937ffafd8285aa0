//! What a dry run changed, and what of it may be told. Pure.

use driftless_model::{
    diff::{self, FieldChange},
    manifest::ManifestId,
};
use serde_json::Value;

use crate::api::{Failure, Refusal};

/// Metadata that the API server keeps by itself.
const KEPT: &[&str] = &[
    "managedFields",
    "resourceVersion",
    "generation",
    "uid",
    "creationTimestamp",
];

/// The parts of a Secret that hold nothing secret.
const OPEN: &[&str] = &["metadata.labels", "type"];

/// What the API server says of a webhook that would do more than look.
const NO_DRY_RUN: &str = "does not support dry run";

/// The fields that a dry run changed.
pub(super) fn changes(id: &ManifestId, mut live: Value, mut after: Value) -> Vec<FieldChange> {
    for object in [&mut live, &mut after] {
        if let Some(fields) = object.as_object_mut() {
            fields.remove("status");
        }
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.retain(|name, _| !KEPT.contains(&name.as_str()));
        }
    }
    let mut changes = diff::fields(&live, &after);
    if is_secret(id) {
        for change in &mut changes {
            let open = OPEN.iter().any(|open| change.path.starts_with(open));
            if !open {
                (change.before, change.after) = (None, None);
            }
        }
    }
    changes
}

/// Why an object would not be applied, for a person. What is said of a Secret may quote it.
pub(super) fn refusal(id: &ManifestId, failure: &Failure) -> String {
    let Some(Refusal { code, status, .. }) = failure.refusal() else {
        return failure.text();
    };
    if status.message.contains(NO_DRY_RUN) {
        return format!(
            "{}: what it does to a real apply cannot be told until it declares `sideEffects: None` or `NoneOnDryRun`",
            status.message.trim()
        );
    }
    if !is_secret(id) {
        return failure.text();
    }
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let fields: Vec<_> = causes
        .filter(|cause| !cause.field.is_empty())
        .map(|cause| cause.field.as_str())
        .collect();
    let about = match fields.as_slice() {
        [] => String::new(),
        fields => format!(", about {}", fields.join(", ")),
    };
    let reason = if status.reason.is_empty() {
        "an error"
    } else {
        &status.reason
    };
    format!(
        "the API server answered: {reason} (HTTP {code}){about}; its words are kept back, as they may quote the Secret"
    )
}

fn is_secret(id: &ManifestId) -> bool {
    id.group.is_empty() && id.kind == "Secret"
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    fn id(kind: &str) -> ManifestId {
        ManifestId {
            group: String::new(),
            kind: kind.to_owned(),
            namespace: Some("shop".to_owned()),
            name: "one".to_owned(),
        }
    }

    fn refused(message: &str, field: &str) -> Failure {
        let status = json!({"code": 422, "reason": "Invalid", "message": message,
            "details": {"causes": [{"reason": "FieldValueInvalid", "message": message, "field": field}]}});
        Failure::Refused(Box::new(Refusal {
            code: 422,
            status: serde_json::from_value::<Status>(status).unwrap(),
            retry_after: None,
        }))
    }

    #[test]
    fn what_the_api_server_keeps_by_itself_is_no_change() {
        let live = json!({"metadata": {"name": "one", "generation": 1, "resourceVersion": "5", "managedFields": [1]},
            "data": {"key": "a"}, "status": {"x": 1}});
        let after = json!({"metadata": {"name": "one", "generation": 2, "resourceVersion": "5", "managedFields": [2]},
            "data": {"key": "b"}});
        let told = changes(&id("ConfigMap"), live, after);
        let paths: Vec<_> = told.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(paths, ["data.key"]);
    }

    #[test]
    fn of_a_secret_is_told_which_fields_change_and_never_a_value() {
        let secret = |value: &str, label: &str| {
            json!({"metadata": {"labels": {"a": label}, "annotations": {"b": value}},
                "data": {"password": value}, "stringData": {"other": value}})
        };
        let told = changes(&id("Secret"), secret("aHVudGVyMg==", "1"), secret("b3RoZXI=", "2"));
        let text = serde_json::to_string(&told).unwrap();
        assert!(!text.contains("aHVudGVyMg") && !text.contains("b3RoZXI"), "{text}");
        let paths: Vec<_> = told.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "data.password",
                "metadata.annotations.b",
                "metadata.labels.a",
                "stringData.other"
            ]
        );
        assert_eq!(told[2].after, Some(json!("2")));
        // As a whole map that comes.
        let told = changes(&id("Secret"), json!({}), json!({"data": {"password": "aHVudGVyMg=="}}));
        assert_eq!((told[0].path.as_str(), &told[0].after), ("data", &None));
    }

    #[test]
    fn refusal_of_a_secret_names_fields_and_quotes_nothing() {
        let failure = refused("data[password]: Invalid value: \"hunter2\"", "data[password]");
        let told = refusal(&id("Secret"), &failure);
        assert!(
            !told.contains("hunter2") && told.contains("Invalid (HTTP 422), about data[password]"),
            "{told}"
        );
        assert!(refusal(&id("ConfigMap"), &failure).contains("hunter2"));
    }

    #[test]
    fn webhook_that_takes_no_dry_run_is_named() {
        let failure = refused("admission webhook \"a.example.com\" does not support dry run", "");
        for kind in ["Secret", "ConfigMap"] {
            let told = refusal(&id(kind), &failure);
            assert!(
                told.starts_with("admission webhook \"a.example.com\" does not support dry run: "),
                "{told}"
            );
        }
    }
}
