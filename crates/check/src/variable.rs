//! Variables in the objects that are checked: what they become differs from cluster to cluster, so nothing is said of
//! values that hold one. What is wrong with a variable itself is found by `model::substitute`.

use driftless_model::substitute;
use serde_json::Value;

/// Whether a whole text is one variable, which may stand for a value of any type.
pub(crate) fn is_whole(text: &str) -> bool {
    text.starts_with("${cluster.") && text.ends_with('}') && !text[2..].contains("${")
}

/// Whether there is a variable somewhere in a text.
pub(crate) fn is_in(text: &str) -> bool {
    substitute::is_concerned(text.as_bytes())
}

/// Whether the variables of an object are filled in: unless it says no.
pub(crate) fn are_filled_in(object: &Value) -> bool {
    !substitute::is_disabled(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_variables_of_clusters_stand_for_any_type() {
        for text in ["${cluster.name}", "${cluster.vars.x}", "${cluster.vars.x:-3}"] {
            assert!(is_whole(text) && is_in(text), "{text}");
        }
        for text in [
            "${HOME}",
            "a${cluster.name}",
            "${cluster.name}${cluster.name}",
            "${cluster.name",
            "$${cluster.name}",
        ] {
            assert!(!is_whole(text), "{text}");
        }
        assert!(!is_in("${HOME}"));
    }
}
