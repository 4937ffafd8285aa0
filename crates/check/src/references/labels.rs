//! Labels and what selects them, where either may hold variables that are not known yet.
//!
//! A variable is given the benefit of the doubt: it matches whatever it is held against.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

use crate::variable;

/// Labels that controllers put on the Pods they make, so that no template has them.
const BY_CONTROLLERS: &[&str] = &[
    "apps.kubernetes.io/pod-index",
    "controller-revision-hash",
    "controller-uid",
    "job-name",
    "pod-template-generation",
    "pod-template-hash",
    "statefulset.kubernetes.io/pod-name",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// The labels of one object.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Labels<'a>(BTreeMap<&'a str, &'a str>);

impl<'a> Labels<'a> {
    /// The texts of a map; nothing for what is no map.
    pub(super) fn of(value: &'a Value) -> Self {
        let fields = value.as_object().into_iter().flatten();
        Self(
            fields
                .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
                .collect(),
        )
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("empty");
        }
        let pairs: Vec<_> = self.0.iter().map(|(key, value)| format!("{key}={value}")).collect();
        f.write_str(&pairs.join(","))
    }
}

/// A label selector: all of its requirements hold. Without any it selects everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector<'a>(Vec<Requirement<'a>>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement<'a> {
    In(&'a str, Vec<&'a str>),
    NotIn(&'a str, Vec<&'a str>),
    Exists(&'a str),
    Absent(&'a str),
}

impl<'a> Selector<'a> {
    /// Of `matchLabels` and `matchExpressions`; `None` for what is none, or is broken.
    pub(super) fn of(value: &'a Value) -> Option<Self> {
        let fields = value.as_object()?;
        let mut selector = match fields.get("matchLabels") {
            None | Some(Value::Null) => Self(Vec::new()),
            Some(labels) => Self::of_map(labels)?,
        };
        for expression in fields
            .get("matchExpressions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let key = expression["key"].as_str()?;
            let values = expression["values"].as_array().into_iter().flatten();
            let values = values.map(Value::as_str).collect::<Option<Vec<_>>>()?;
            selector.0.push(match expression["operator"].as_str()? {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                "DoesNotExist" => Requirement::Absent(key),
                _ => return None,
            });
        }
        Some(selector)
    }

    /// Of a plain map of labels.
    pub(super) fn of_map(value: &'a Value) -> Option<Self> {
        let labels = value.as_object()?.iter();
        let required = labels.map(|(key, value)| Some(Requirement::In(key, vec![value.as_str()?])));
        required.collect::<Option<_>>().map(Self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it selects what has exactly these labels.
    pub(super) fn selects_template(&self, labels: &Labels<'_>) -> bool {
        self.0.iter().all(|requirement| requirement.holds(labels))
    }

    /// Whether it may select Pods made of a template with these labels: controllers add some of their own.
    pub(super) fn selects_pods(&self, labels: &Labels<'_>) -> bool {
        self.0.iter().all(|requirement| {
            let key = requirement.key();
            BY_CONTROLLERS.contains(&key) || key.starts_with("batch.kubernetes.io/") || requirement.holds(labels)
        })
    }
}

impl Requirement<'_> {
    fn key(&self) -> &str {
        match self {
            Self::In(key, _) | Self::NotIn(key, _) | Self::Exists(key) | Self::Absent(key) => key,
        }
    }

    fn holds(&self, labels: &Labels<'_>) -> bool {
        let open = variable::is_in;
        let value = labels.0.get(self.key()).copied();
        let listed = |values: &[&str], value: &str| values.iter().any(|one| *one == value || open(one) || open(value));
        match self {
            Self::In(_, values) => value.is_some_and(|value| listed(values, value)),
            Self::NotIn(_, values) => {
                value.is_none_or(|value| open(value) || !values.iter().any(|one| *one == value && !open(one)))
            }
            Self::Exists(_) => value.is_some(),
            Self::Absent(_) => value.is_none(),
        }
    }
}

impl fmt::Display for Selector<'_> {
    /// As kubectl takes it: `app=shop,tier in (a,b),!old`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|requirement| match requirement {
            Requirement::In(key, values) => match values.as_slice() {
                [value] => format!("{key}={value}"),
                values => format!("{key} in ({})", values.join(",")),
            },
            Requirement::NotIn(key, values) => format!("{key} notin ({})", values.join(",")),
            Requirement::Exists(key) => (*key).to_owned(),
            Requirement::Absent(key) => format!("!{key}"),
        });
        f.write_str(&shown.collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_select_as_kubernetes_does() {
        let labels = json!({"app": "shop", "tier": "web"});
        let labels = Labels::of(&labels);
        for (selector, selects) in [
            (json!({}), true),
            (json!({"matchLabels": {"app": "shop"}}), true),
            (json!({"matchLabels": {"app": "cart"}}), false),
            (json!({"matchLabels": {"app": "shop", "x": "y"}}), false),
            (
                json!({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["db", "web"]}]}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["db", "web"]}]}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "x", "operator": "NotIn", "values": ["y"]}]}),
                true,
            ),
            (json!({"matchExpressions": [{"key": "x", "operator": "Exists"}]}), false),
            (
                json!({"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}),
                true,
            ),
        ] {
            assert_eq!(
                Selector::of(&selector).unwrap().selects_template(&labels),
                selects,
                "{selector}"
            );
        }
    }

    #[test]
    fn variables_match_whatever_they_may_become() {
        let labels = json!({"app": "shop", "region": "${cluster.labels.region}"});
        let labels = Labels::of(&labels);
        for (selector, selects) in [
            (json!({"region": "eu"}), true),
            (json!({"app": "${cluster.vars.app}"}), true),
            (json!({"other": "${cluster.vars.app}"}), false),
        ] {
            assert_eq!(
                Selector::of_map(&selector).unwrap().selects_template(&labels),
                selects,
                "{selector}"
            );
        }
    }

    #[test]
    fn labels_of_controllers_are_taken_for_there() {
        let labels = json!({"app": "db"});
        let selector = json!({"app": "db", "statefulset.kubernetes.io/pod-name": "db-0"});
        let selector = Selector::of_map(&selector).unwrap();
        assert!(selector.selects_pods(&Labels::of(&labels)));
        assert!(!selector.selects_template(&Labels::of(&labels)));
        assert_eq!(selector.to_string(), "app=db,statefulset.kubernetes.io/pod-name=db-0");
    }
}
