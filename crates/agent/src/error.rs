//! What can go wrong in an agent, coarse enough that a caller would act differently.

/// Why an agent ended, or could not do one of its steps.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The join file is missing or not understood.
    #[error("join file {path}")]
    JoinFile {
        /// Where it was looked for.
        path: String,
        /// Why it could not be used.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server will not let this cluster in; asking again is no use.
    #[error(
        "cluster `{cluster}`: {server} refused the join token: {message}; \
         make a new one with `driftless cluster enroll {cluster} --again`"
    )]
    Refused {
        /// The cluster that asked.
        cluster: String,
        /// The server.
        server: String,
        /// The server's own words.
        message: String,
    },
    /// The cluster left the fleet.
    #[error("{message}")]
    Retired {
        /// The server's own words.
        message: String,
    },
    /// The server could not be reached, or ended the connection.
    #[error("server {server}: {message}")]
    Server {
        /// Its URL.
        server: String,
        /// What happened.
        message: String,
    },
    /// Key or certificate that cannot be used.
    #[error("certificate of cluster `{cluster}`: {message}")]
    Certificate {
        /// The cluster it is for.
        cluster: String,
        /// What is wrong.
        message: String,
    },
    /// Reading or writing a file of the state folder.
    #[error("{action} {path}")]
    File {
        /// What was tried, for example `write`.
        action: &'static str,
        /// The file.
        path: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// Another agent uses the state folder.
    #[error("state folder {0} is in use by another agent: give each agent its own with --state")]
    InUse(String),
    /// A request to the Kubernetes API.
    #[error("{action}")]
    Kubernetes {
        /// What was tried, with the object's name.
        action: String,
        /// Why it failed.
        #[source]
        source: Box<kube::Error>,
    },
    /// Another agent of the same cluster has accepted a newer directive.
    #[error("another agent of this cluster accepted directive {theirs}, newer than {ours}")]
    Overtaken {
        /// The sequence found.
        theirs: u64,
        /// The sequence to be written.
        ours: u64,
    },
    /// Stored content that cannot be read.
    #[error("{0} is damaged: {1}")]
    Damaged(String, String),
    /// A part of the agent ended that must not.
    #[error("{0} ended unexpectedly")]
    Ended(&'static str),
    /// The reconciler gave up.
    #[error("reconciler")]
    Reconcile(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Would trying again without a person's help be of no use?
    pub fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::JoinFile { .. } | Self::Refused { .. } | Self::InUse(_) | Self::Ended(_)
        )
    }

    /// Is this cluster none of the fleet's any more?
    pub fn is_retired(&self) -> bool {
        matches!(self, Self::Retired { .. })
    }

    /// Has another agent taken over?
    pub fn is_overtaken(&self) -> bool {
        matches!(self, Self::Overtaken { .. })
    }

    pub(crate) fn kubernetes(action: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let action = action.into();
        move |source| Self::Kubernetes {
            action,
            source: Box::new(source),
        }
    }
}

/// An error and its causes on one line, for logs and problems.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        // Some libraries repeat the cause in their own text.
        if !text.contains(&next_text) {
            text.push_str(": ");
            text.push_str(&next_text);
        }
        cause = next.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_names_every_cause_once() {
        let source = std::io::Error::other("disk full");
        let error = Error::File {
            action: "write",
            path: "/x".to_owned(),
            source,
        };
        assert_eq!(chain(&error), "write /x: disk full");
    }
}
