//! Fields that cannot be changed once an object is there: told by the words of the API server's refusal.

use crate::api::Refusal;

/// Parts of what the API server says of such fields. There is no reason code for it.
const WORDS: &[&str] = &[
    "immutable",
    "cannot change",
    "cannot be changed",
    "may not change",
    "may not be changed",
    "may not be updated",
    "are forbidden",
];

/// Was an apply refused because it changes what cannot be changed?
pub(crate) fn is_immutable(refusal: &Refusal) -> bool {
    let says = |text: &str| WORDS.iter().any(|word| text.contains(word));
    let mut causes = refusal.status.details.iter().flat_map(|details| &details.causes);
    refusal.code == 422 && (says(&refusal.status.message) || causes.any(|cause| says(&cause.message)))
}

/// The fields, for a person.
pub(crate) fn fields(refusal: &Refusal) -> String {
    let causes = refusal.status.details.iter().flat_map(|details| &details.causes);
    let mut fields: Vec<_> = causes
        .filter(|cause| !cause.field.is_empty())
        .map(|cause| format!("`{}`", cause.field))
        .collect();
    fields.dedup();
    match fields.as_slice() {
        [] => "a field".to_owned(),
        fields => fields.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;
    use serde_json::json;

    use super::*;

    fn refusal(code: u16, message: &str, field: &str) -> Refusal {
        let causes = json!([{"reason": "FieldValueInvalid", "message": message, "field": field}]);
        let status =
            json!({"code": code, "reason": "Invalid", "message": "it is invalid", "details": {"causes": causes}});
        Refusal {
            code,
            status: serde_json::from_value::<Status>(status).unwrap(),
            retry_after: None,
        }
    }

    #[test]
    fn immutable_fields_are_told_from_invalid_ones() {
        for (message, immutable) in [
            ("Invalid value: {}: field is immutable", true),
            ("Invalid value: {}: cannot change roleRef", true),
            ("Invalid value: []: may not change once set", true),
            (
                "Forbidden: updates to statefulset spec for fields other than 'replicas' are forbidden",
                true,
            ),
            ("Invalid value: \"x\": must be a number", false),
        ] {
            assert_eq!(
                is_immutable(&refusal(422, message, "spec.selector")),
                immutable,
                "{message}"
            );
        }
        assert!(!is_immutable(&refusal(409, "field is immutable", "spec")));
        assert_eq!(fields(&refusal(422, "", "spec.selector")), "`spec.selector`");
        assert_eq!(fields(&refusal(422, "", "")), "a field");
    }
}
