//! Why requests do not succeed, and what that says of when to try again.
//!
//! Made by the requests of [`super`]; read wherever an answer is waited for. Pure.

use std::time::Duration;

use kube::core::Status;

/// Why a request did not succeed.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    /// The API server answered, with an error.
    Refused(Box<Refusal>),
    /// No answer, or only half of one.
    Unreachable(String),
    /// An answer that makes no sense.
    Malformed(String),
}

/// An error answer.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    /// HTTP status code.
    pub(crate) code: u16,
    /// What was said.
    pub(crate) status: Status,
    /// How long to wait, if the API server said so.
    pub(crate) retry_after: Option<Duration>,
}

/// A field that another manager owns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Conflict {
    pub(crate) manager: String,
    pub(crate) field: String,
}

impl Refusal {
    /// The fields that other managers own, if that is why an apply was refused.
    pub(crate) fn conflicts(&self) -> Vec<Conflict> {
        let causes = self.status.details.iter().flat_map(|details| &details.causes);
        let conflicts = causes
            .filter(|cause| cause.reason == "FieldManagerConflict")
            .map(|cause| Conflict {
                // `conflict with "kubectl-edit" using apps/v1`
                manager: cause.message.split('"').nth(1).unwrap_or(&cause.message).to_owned(),
                field: cause.field.clone(),
            });
        let mut conflicts: Vec<_> = conflicts.collect();
        conflicts.sort();
        conflicts
    }

    /// Are all fields that other managers own among these?
    pub(crate) fn is_over(&self, fields: &[String]) -> bool {
        let conflicts = self.conflicts();
        !conflicts.is_empty() && conflicts.iter().all(|conflict| fields.contains(&conflict.field))
    }

    /// Is it about fields that other managers own?
    pub(crate) fn is_field_conflict(&self) -> bool {
        !self.conflicts().is_empty()
    }

    /// When to try again where it would be after `delay` otherwise.
    pub(crate) fn delay(&self, delay: Duration) -> Duration {
        no_sooner(delay, self.retry_after)
    }

    /// Is it the namespace that is not there?
    pub(crate) fn lacks_namespace(&self) -> bool {
        self.code == 404
            && self
                .status
                .details
                .as_ref()
                .is_some_and(|details| details.kind == "namespaces")
    }

    /// Is it the object that is refused, as it is and to whom it comes from, and not this moment or a person's answer?
    pub(crate) fn rejects_object(&self) -> bool {
        matches!(self.code, 400 | 403 | 405 | 413 | 415 | 422) || self.lacks_namespace()
    }

    fn text(&self) -> String {
        let message = self.status.message.trim();
        if message.is_empty() {
            format!("HTTP {}", self.code)
        } else {
            format!("{message} (HTTP {})", self.code)
        }
    }
}

/// `delay`, or what the API server says where that is more. At the very time that it names all would come at once.
pub(crate) fn no_sooner(delay: Duration, retry_after: Option<Duration>) -> Duration {
    retry_after.map_or(delay, |after| delay.max(after + delay.min(Duration::from_secs(1))))
}

impl Failure {
    /// What happened, for a person.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Refused(refusal) => format!("the API server answered: {}", refusal.text()),
            Self::Unreachable(text) => format!("the API server could not be reached: {text}"),
            Self::Malformed(text) => format!("the API server's answer could not be read: {text}"),
        }
    }

    /// The code of the answer, if there was one.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            Self::Unreachable(_) | Self::Malformed(_) => None,
        }
    }

    /// Was the object changed since the revision that the request named?
    pub(crate) fn is_outrun(&self) -> bool {
        self.refusal()
            .is_some_and(|refusal| refusal.code == 409 && !refusal.is_field_conflict())
    }

    /// Is it a question whether the API server is there for us at all?
    pub(crate) fn doubts_server(&self) -> bool {
        matches!(self, Self::Unreachable(_)) || self.code() == Some(401)
    }

    /// When to try again where it would be after `delay` otherwise.
    pub(crate) fn delay(&self, delay: Duration) -> Duration {
        self.refusal().map_or(delay, |refusal| refusal.delay(delay))
    }

    /// The refusal, if the API server answered.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::Unreachable(_) | Self::Malformed(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conflicts_name_manager_and_field() {
        let status = serde_json::from_value(
            json!({"code": 409, "reason": "Conflict", "message": "Apply failed", "details": {"causes": [
                {"reason": "FieldManagerConflict", "message": "conflict with \"kubectl-edit\" using apps/v1", "field": ".spec.replicas"},
                {"reason": "Other", "message": "x", "field": ".y"},
            ]}}),
        );
        let refusal = Refusal {
            code: 409,
            status: status.unwrap(),
            retry_after: None,
        };
        let conflict = Conflict {
            manager: "kubectl-edit".to_owned(),
            field: ".spec.replicas".to_owned(),
        };
        assert_eq!(refusal.conflicts(), [conflict]);
    }
}
