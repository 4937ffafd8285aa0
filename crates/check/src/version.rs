//! A minor version of Kubernetes: what decides which kinds and fields there are.
//!
//! Patch versions change neither, so none is kept.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A minor version of Kubernetes 1, for example 1.36.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Minor(u32);

impl Minor {
    /// Kubernetes 1.`minor`.
    #[must_use]
    pub const fn new(minor: u32) -> Self {
        Self(minor)
    }

    /// How many minor versions lie between this one and `other`.
    pub(crate) fn distance(self, other: Self) -> u32 {
        self.0.abs_diff(other.0)
    }
}

impl fmt::Display for Minor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.0)
    }
}

impl FromStr for Minor {
    type Err = crate::Error;

    /// Reads `1.36`, and what clusters report: `v1.36.3`, `v1.36.3-gke.1200`, `1.36+`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || crate::Error::Version(text.to_owned());
        let rest = text
            .strip_prefix('v')
            .unwrap_or(text)
            .strip_prefix("1.")
            .ok_or_else(refused)?;
        let end = rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len());
        let (minor, rest) = rest.split_at(end);
        if !(rest.is_empty() || rest.starts_with(['.', '-', '+'])) {
            return Err(refused());
        }
        minor.parse().map(Self).map_err(|_| refused())
    }
}

impl TryFrom<String> for Minor {
    type Error = crate::Error;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Minor> for String {
    fn from(minor: Minor) -> Self {
        minor.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_clusters_report_them_are_read() {
        for text in [
            "1.36",
            "v1.36",
            "v1.36.3",
            "1.36+",
            "v1.36.3-gke.1200",
            "v1.36.3+k3s1",
            "v1.36.0-rc.1",
        ] {
            assert_eq!(text.parse::<Minor>().unwrap(), Minor::new(36), "{text}");
        }
        assert_eq!(Minor::new(36).to_string(), "1.36");
    }

    #[test]
    fn what_is_no_version_is_refused_by_name() {
        for text in ["", "36", "2.0", "1.", "1.x", "1.36x", "latest", "v", "1.99999999999"] {
            let error = text.parse::<Minor>().unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
