//! What an agent has accepted and has to remember: the directive, which snapshot runs, and the cluster's record.
//!
//! Its byte form is stored by [`super::storage`]; [`super::sync`] decides when there is a new one.

use std::collections::BTreeMap;

use driftless_model::{
    directive::Directive,
    hash::ObjectHash,
    name::{ChannelName, ClusterName, Labels, Vars},
    orders::Orders,
    view::ClusterFacts,
};
use serde::{Deserialize, Serialize};

/// The format written by this version.
pub const FORMAT: u32 = 1;

/// What was accepted last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    /// See [`FORMAT`].
    pub format: u32,
    /// The directive's canonical JSON, byte for byte as it came.
    pub directive: String,
    /// What the cluster runs: the directive's snapshot, or the one before if the directive has none.
    pub running: Option<ObjectHash>,
    /// The highest sequence accepted of each channel, so that no channel's past can be replayed.
    pub sequences: BTreeMap<ChannelName, u64>,
    /// The cluster.
    pub cluster: ClusterName,
    /// Its labels, which the view depends on.
    pub labels: Labels,
    /// Its variables, which the view depends on.
    #[serde(default, skip_serializing_if = "Vars::is_empty")]
    pub vars: Vars,
    /// The revision of the record that labels and variables are from.
    #[serde(default)]
    pub revision: u64,
    /// What people asked of the cluster by hand: a pause holds with the server away, too.
    #[serde(default, skip_serializing_if = "Orders::is_empty")]
    pub orders: Orders,
}

impl Accepted {
    /// Reads what was stored.
    ///
    /// # Errors
    /// In words, when it is not that.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let accepted: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if accepted.format > FORMAT {
            return Err(format!(
                "format {} is newer than this agent knows ({FORMAT}): upgrade it",
                accepted.format
            ));
        }
        Directive::decode(accepted.directive.as_bytes()).map_err(|error| error.to_string())?;
        Ok(accepted)
    }

    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a struct of texts and numbers is always JSON")
    }

    /// The accepted directive.
    pub fn directive(&self) -> Directive {
        Directive::decode(self.directive.as_bytes()).expect("checked when it was accepted or read")
    }

    /// What the view depends on of the cluster.
    pub fn facts(&self) -> ClusterFacts {
        ClusterFacts {
            name: self.cluster.clone(),
            channel: self.directive().channel,
            labels: self.labels.clone(),
            vars: self.vars.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_pinned_and_read_back() {
        let accepted = Accepted {
            format: FORMAT,
            directive: r#"{"channel":"prod","format":1,"sequence":7,"snapshot":null}"#.to_owned(),
            running: None,
            sequences: [("prod".parse().unwrap(), 7)].into(),
            cluster: "edge-1".parse().unwrap(),
            labels: [("region".to_owned(), "eu".to_owned())].into(),
            vars: [("db".to_owned(), serde_json::json!({"port": 1}))].into(),
            revision: 6,
            orders: Orders::default(),
        };
        let expected = concat!(
            r#"{"format":1,"directive":"{\"channel\":\"prod\",\"format\":1,\"sequence\":7,\"snapshot\":null}","#,
            r#""running":null,"sequences":{"prod":7},"cluster":"edge-1","labels":{"region":"eu"},"#,
            r#""vars":{"db":{"port":1}},"revision":6}"#
        );
        assert_eq!(String::from_utf8(accepted.encode()).unwrap(), expected);
        assert_eq!(Accepted::decode(expected.as_bytes()).unwrap(), accepted);
    }

    #[test]
    fn bytes_from_before_there_were_variables_are_read() {
        let older = concat!(
            r#"{"format":1,"directive":"{\"channel\":\"prod\",\"format\":1,\"sequence\":7,\"snapshot\":null}","#,
            r#""running":null,"sequences":{"prod":7},"cluster":"edge-1","labels":{"region":"eu"}}"#
        );
        let accepted = Accepted::decode(older.as_bytes()).unwrap();
        assert_eq!((accepted.vars, accepted.revision), (Vars::new(), 0));
        assert!(accepted.orders.is_empty());
    }

    #[test]
    fn what_is_newer_or_damaged_is_refused() {
        assert!(Accepted::decode(b"{").is_err());
        let newer = br#"{"format":2,"directive":"{}","running":null,"sequences":{},"cluster":"a","labels":{}}"#;
        assert!(Accepted::decode(newer).unwrap_err().contains("upgrade"));
        let damaged = br#"{"format":1,"directive":"{}","running":null,"sequences":{},"cluster":"a","labels":{}}"#;
        assert!(Accepted::decode(damaged).is_err());
    }
}
