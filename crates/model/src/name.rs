//! Newtypes for the names that people give: channels, components and clusters, and cluster labels.
//!
//! All three are DNS labels (RFC 1123), so that each can become part of a Kubernetes object's name, a
//! certificate's subject or a path in the bucket without escaping.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};

/// A name that breaks its rule. Says which rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{name}` is not valid: {rule}")]
pub struct InvalidName {
    /// What was being named, for example `channel name`.
    pub what: &'static str,
    /// The name as given.
    pub name: String,
    /// The rule it breaks, in words.
    pub rule: &'static str,
}

/// The rule of [`is_dns_label`] in words.
pub const DNS_LABEL_RULE: &str =
    "use 1 to 63 lower-case letters, digits or `-`, and start and end with a letter or digit";

/// The rule of [`is_dns_subdomain`] in words.
pub const DNS_SUBDOMAIN_RULE: &str =
    "use 1 to 253 lower-case letters, digits, `-` or `.`, and start and end every part with a letter or digit";

/// Is `text` an RFC 1123 label, as Kubernetes asks of namespaces?
pub fn is_dns_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && inner(bytes[0])
        && inner(bytes[bytes.len() - 1])
        && bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
}

/// Is `text` an RFC 1123 subdomain, as Kubernetes asks of most objects' names?
pub fn is_dns_subdomain(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= 253
        && text.split('.').all(|part| {
            let bytes = part.as_bytes();
            !bytes.is_empty()
                && inner(bytes[0])
                && inner(bytes[bytes.len() - 1])
                && bytes.iter().all(|byte| inner(*byte) || *byte == b'-')
        })
}

macro_rules! dns_label_name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if is_dns_label(text) {
                    return Ok(Self(text.to_owned()));
                }
                Err(InvalidName { what: $what, name: text.to_owned(), rule: DNS_LABEL_RULE })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

dns_label_name!(
    /// Names a line of snapshots that clusters follow (`dev`, `prod`). Chosen by a person, never changes.
    ChannelName,
    "channel name"
);
dns_label_name!(
    /// Names an app or add-on inside a channel; a bundle is one version of it. Never changes.
    ComponentName,
    "component name"
);
dns_label_name!(
    /// Names one Kubernetes cluster in the fleet. Given at enrolment, carried in its certificate, never changes.
    ClusterName,
    "cluster name"
);

/// Labels of a cluster, with the syntax of Kubernetes labels.
pub type Labels = BTreeMap<String, String>;

/// Values of a cluster that manifests may use as `${cluster.vars.NAME}`, nested as far as one likes.
pub type Vars = BTreeMap<String, serde_json::Value>;

/// Checks one label against the rules for Kubernetes label keys and values.
///
/// # Errors
/// Names the key or value and its rule.
pub fn check_label(key: &str, value: &str) -> Result<(), InvalidName> {
    let segment = |text: &str| {
        let bytes = text.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes[0].is_ascii_alphanumeric()
            && bytes[bytes.len() - 1].is_ascii_alphanumeric()
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
    };
    let (prefix, name) = key
        .split_once('/')
        .map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if !segment(name) || prefix.is_some_and(|prefix| !is_dns_subdomain(prefix)) {
        return Err(InvalidName {
            what: "label key",
            name: key.to_owned(),
            rule: "use `name` or `dns.prefix/name`, the name with 1 to 63 letters, digits, `-`, `_` or `.`",
        });
    }
    if !value.is_empty() && !segment(value) {
        return Err(InvalidName {
            what: "label value",
            name: value.to_owned(),
            rule: "use up to 63 letters, digits, `-`, `_` or `.`, and start and end with a letter or digit",
        });
    }
    Ok(())
}

/// The one of `known` that is so near to `written` that it was probably meant.
pub fn closest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters wrong is another word.
    let most = (written.chars().count() / 3).clamp(1, 3);
    let near = known.into_iter().map(|word| (slips(written, word), word));
    near.filter(|(slips, _)| *slips <= most).min().map(|(_, word)| word)
}

/// How many letters to add, drop, change or swap with their neighbour.
fn slips(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let mut cost = (row[j] + usize::from(a != b)).min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                cost = cost.min(before[j - 1] + 1);
            }
            next.push(cost);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_guessed_and_other_words_are_not() {
        let known = ["edge-1", "edge-2", "core"];
        assert_eq!(closest("egde-1", known), Some("edge-1"));
        assert_eq!(closest("cor", known), Some("core"));
        assert_eq!(closest("staging", known), None);
        assert_eq!(closest("", known), None);
    }

    #[test]
    fn names_are_dns_labels() {
        assert!("prod-1".parse::<ChannelName>().is_ok());
        for bad in ["", "Prod", "-a", "a-", "a.b", "a/b", "ä", &"a".repeat(64)] {
            assert!(bad.parse::<ChannelName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn subdomains_may_have_dots_but_no_empty_part() {
        assert!(is_dns_subdomain("v1beta1.metrics.k8s.io"));
        assert!(!is_dns_subdomain("a..b"));
        assert!(!is_dns_subdomain(""));
        assert!(!is_dns_subdomain("a.-b"));
    }

    #[test]
    fn labels_follow_kubernetes_syntax() {
        assert!(check_label("region", "eu").is_ok());
        assert!(check_label("example.com/tier", "").is_ok());
        assert!(check_label("bad key", "x").is_err());
        assert!(check_label("a/b/c", "x").is_err());
        assert!(check_label("region", "e u").is_err());
    }
}
