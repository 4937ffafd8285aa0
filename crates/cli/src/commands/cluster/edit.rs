//! Words of a command line that say what to set and what to take away, as `kubectl label` has them: `KEY=VALUE` and
//! `KEY-`. Every other word is a cluster's name, which never ends with a dash.

use std::collections::BTreeSet;

use anyhow::Result;
use driftless_model::name::ClusterName;

/// A command line's words, sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// The clusters named.
    pub(super) clusters: BTreeSet<ClusterName>,
    /// To set.
    pub(super) set: Vec<(String, String)>,
    /// To take away.
    pub(super) remove: Vec<String>,
}

impl Words {
    /// Sorts words.
    pub(super) fn sort(words: &[String]) -> Result<Self> {
        let mut sorted = Self::default();
        for word in words {
            if let Some((key, value)) = word.split_once('=') {
                sorted.set.push((key.to_owned(), value.to_owned()));
            } else if let Some(key) = word.strip_suffix('-') {
                sorted.remove.push(key.to_owned());
            } else {
                sorted.clusters.insert(word.parse()?);
            }
        }
        Ok(sorted)
    }

    /// Is nothing to be changed?
    pub(super) fn is_question(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_names_or_edits() {
        let words = ["edge-1", "region=eu", "edge-2", "tier-", "a=b=c-"].map(str::to_owned);
        let sorted = Words::sort(&words).unwrap();
        assert_eq!(sorted.clusters.len(), 2);
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(sorted.set, [pair("region", "eu"), pair("a", "b=c-")]);
        assert_eq!(sorted.remove, ["tier"]);
        assert!(Words::sort(&["Edge".to_owned()]).is_err());
    }
}
