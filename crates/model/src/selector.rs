//! Label selectors over clusters and objects, with the meaning and both spellings that Kubernetes gives them.
//!
//! Components and overlays carry them as data (`matchLabels`, `matchExpressions`); on a command line they are texts as
//! `kubectl -l` takes them. Source: `k8s.io/apimachinery/pkg/labels` and the API type `metav1.LabelSelector`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};

use crate::name::{InvalidName, Labels, check_label};

mod parse;

/// Which labels something must have. The empty selector selects everything; all parts of a selector must hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Selector {
    /// Labels that must be there with exactly this value.
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub match_labels: Labels,
    /// Further conditions, in the order given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// What is asked of it.
    pub operator: Operator,
    /// What it is compared with: some for `In` and `NotIn`, none for the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// What a [`Requirement`] asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operator {
    /// The label is there and has one of the values.
    In,
    /// The label is absent, or has none of the values.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// A selector that is not one. Says what is wrong, and where a text stops making sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A text that does not follow the grammar.
    #[error(
        "selector `{text}`: {reason}: write it as `region=eu`, `tier in (edge,core)`, `canary` or `!canary`, with commas between"
    )]
    Syntax {
        /// The whole text.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// A key or value that no label can have.
    #[error(transparent)]
    Label(#[from] InvalidName),
    /// `In` or `NotIn` without values, or another operator with some.
    #[error("selector: operator {operator:?} on `{key}` takes {}", if *.wants_values { "at least one value" } else { "no values" })]
    Values {
        /// The label's key.
        key: String,
        /// The operator.
        operator: Operator,
        /// Does it want values?
        wants_values: bool,
    },
}

impl Selector {
    /// Does it select everything?
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Does it select what has these labels? `label` gives a label's value by its key.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        let labels = self
            .match_labels
            .iter()
            .all(|(key, value)| label(key) == Some(value.as_str()));
        labels
            && self
                .match_expressions
                .iter()
                .all(|requirement| requirement.holds(label(&requirement.key)))
    }

    /// Does it look at the label with this key?
    pub fn asks_for(&self, key: &str) -> bool {
        self.match_labels.contains_key(key) || self.match_expressions.iter().any(|requirement| requirement.key == key)
    }

    /// Checks keys, values and operators as the API server does.
    ///
    /// # Errors
    /// The first part that cannot be.
    pub fn check(&self) -> Result<(), Error> {
        for (key, value) in &self.match_labels {
            check_label(key, value)?;
        }
        for requirement in &self.match_expressions {
            check_label(&requirement.key, "")?;
            for value in &requirement.values {
                check_label(&requirement.key, value)?;
            }
            let wants_values = matches!(requirement.operator, Operator::In | Operator::NotIn);
            if wants_values == requirement.values.is_empty() {
                return Err(Error::Values {
                    key: requirement.key.clone(),
                    operator: requirement.operator,
                    wants_values,
                });
            }
        }
        Ok(())
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let among = |value| self.values.iter().any(|wanted| wanted == value);
        match self.operator {
            Operator::In => value.is_some_and(among),
            Operator::NotIn => !value.is_some_and(among),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

impl fmt::Display for Selector {
    /// As `kubectl -l` takes it; the empty one as an empty text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<_> = self
            .match_labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        parts.extend(self.match_expressions.iter().map(|requirement| {
            let (key, values) = (&requirement.key, requirement.values.join(","));
            match requirement.operator {
                Operator::In => format!("{key} in ({values})"),
                Operator::NotIn => format!("{key} notin ({values})"),
                Operator::Exists => key.clone(),
                Operator::DoesNotExist => format!("!{key}"),
            }
        }));
        f.write_str(&parts.join(","))
    }
}

impl FromStr for Selector {
    type Err = Error;

    /// Reads a selector as `kubectl -l` does: `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b)`, `a`, `!a`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let selector = parse::selector(text)?;
        selector.check()?;
        Ok(selector)
    }
}

/// The two forms in which a document may give a selector.
#[derive(Deserialize)]
#[serde(untagged)]
enum Form {
    Text(String),
    Fields(Fields),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Fields {
    #[serde(default)]
    match_labels: Labels,
    #[serde(default)]
    match_expressions: Vec<Requirement>,
}

impl<'de> Deserialize<'de> for Selector {
    /// Takes the fields of a `LabelSelector`, or a text as `kubectl -l` does.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let selector = match Form::deserialize(deserializer) {
            Ok(Form::Text(text)) => return text.parse().map_err(D::Error::custom),
            Ok(Form::Fields(fields)) => Self {
                match_labels: fields.match_labels,
                match_expressions: fields.match_expressions,
            },
            Err(_) => {
                let reason = "a selector is a text such as `region=eu`, or has `matchLabels` and `matchExpressions` \
                    (key, operator In, NotIn, Exists or DoesNotExist, values)";
                return Err(D::Error::custom(reason));
            }
        };
        selector.check().map_err(D::Error::custom)?;
        Ok(selector)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn selects(selector: &str, labels: &[(&str, &str)]) -> bool {
        let selector: Selector = selector.parse().unwrap();
        selector.matches(|key| labels.iter().find(|(name, _)| *name == key).map(|(_, value)| *value))
    }

    #[test]
    fn operators_mean_what_kubectl_says() {
        let eu = [("region", "eu"), ("canary", "")];
        for yes in [
            "",
            "region=eu",
            "region==eu",
            "region in (us,eu)",
            "canary",
            "!tier",
            "tier!=edge",
            "tier notin (edge)",
        ] {
            assert!(selects(yes, &eu), "{yes}");
        }
        for no in [
            "region=us",
            "region!=eu",
            "region notin (eu)",
            "!canary",
            "tier",
            "region=eu,tier",
            "tier in (a)",
        ] {
            assert!(!selects(no, &eu), "{no}");
        }
    }

    #[test]
    fn empty_value_is_a_value() {
        assert!(selects("canary=", &[("canary", "")]));
        assert!(!selects("canary=", &[]));
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        for bad in [
            "=eu",
            "region in",
            "region in ()",
            "region in (eu",
            "a b",
            "a,,b",
            "a=b=c",
            "!a=b",
            "a>1",
            ",",
            "bad key=x",
        ] {
            assert!(bad.parse::<Selector>().is_err(), "{bad}");
        }
        let error = "region in (eu".parse::<Selector>().unwrap_err().to_string();
        assert!(error.starts_with("selector `region in (eu`: "), "{error}");
    }

    #[test]
    fn documents_give_either_form() {
        let fields =
            json!({"matchLabels": {"region": "eu"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]});
        let selector: Selector = serde_json::from_value(fields.clone()).unwrap();
        assert_eq!(serde_json::to_value(&selector).unwrap(), fields);
        let text: Selector = serde_json::from_value(json!("region=eu,tier")).unwrap();
        assert_eq!(text, selector);
        for bad in [
            json!({"matchLabel": {}}),
            json!(3),
            json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
        ] {
            assert!(serde_json::from_value::<Selector>(bad.clone()).is_err(), "{bad}");
        }
    }

    fn requirement() -> impl Strategy<Value = Requirement> {
        let values = || prop::collection::vec("[a-z]{1,3}", 1..3);
        let (some, none) = (Just(Operator::In), Just(Operator::Exists));
        prop_oneof![
            ("[a-c]{1,2}", prop_oneof![some, Just(Operator::NotIn)], values()),
            (
                "[a-c]{1,2}",
                prop_oneof![none, Just(Operator::DoesNotExist)],
                Just(Vec::new())
            ),
        ]
        .prop_map(|(key, operator, values)| Requirement { key, operator, values })
    }

    proptest! {
        #[test]
        fn text_reads_back(labels in prop::collection::btree_map("[a-c]{1,2}", "[a-z]{0,3}", 0..3),
                           expressions in prop::collection::vec(requirement(), 0..4)) {
            let selector = Selector { match_labels: labels, match_expressions: expressions };
            let read: Selector = selector.to_string().parse().unwrap();
            prop_assert_eq!(read, selector);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[a-c=!,() ]{0,12}") {
            let _ = text.parse::<Selector>();
        }
    }
}
