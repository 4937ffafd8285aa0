//! What was asked of a cluster: counts by verb and resource, and a bounded log.
//!
//! Written by `http` once per request; read by tests and demos through [`Cluster::requests`](crate::Cluster::requests).

use std::collections::{BTreeMap, VecDeque};

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// As RBAC calls it: `get`, `list`, `watch`, `create`, `update`, `patch`, `apply`, `delete`, `deletecollection`.
    pub verb: String,
    /// As in paths, with its subresource: `deployments`, `deployments/status`. Empty for documents of the API itself.
    pub resource: String,
    /// Empty for cluster-wide ones.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    /// The client's own name.
    pub agent: String,
    /// Whom the client acted as; empty for itself.
    pub user: String,
    /// The response's status; 0 for a cut connection.
    pub code: u16,
}

impl Request {
    /// It could have changed something.
    pub fn is_write(&self) -> bool {
        is_write(&self.verb)
    }
}

fn is_write(verb: &str) -> bool {
    !matches!(verb, "get" | "list" | "watch")
}

/// A snapshot of the requests so far.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    counts: BTreeMap<(String, String), u64>,
    log: VecDeque<Request>,
    bound: usize,
}

impl Requests {
    pub(crate) fn new(bound: usize) -> Self {
        Self {
            bound,
            ..Self::default()
        }
    }

    pub(crate) fn record(&mut self, request: Request) {
        *self
            .counts
            .entry((request.verb.clone(), request.resource.clone()))
            .or_default() += 1;
        if self.bound > 0 {
            if self.log.len() == self.bound {
                self.log.pop_front();
            }
            self.log.push_back(request);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.counts.clear();
        self.log.clear();
    }

    /// Requests of this verb for this resource.
    pub fn count(&self, verb: &str, resource: &str) -> u64 {
        self.counts
            .get(&(verb.to_owned(), resource.to_owned()))
            .copied()
            .unwrap_or(0)
    }

    /// All requests.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Requests that could have changed something.
    pub fn writes(&self) -> u64 {
        self.counts
            .iter()
            .filter(|((verb, _), _)| is_write(verb))
            .map(|(_, count)| count)
            .sum()
    }

    /// The same, without those for one resource (Leases, say).
    pub fn writes_except(&self, resource: &str) -> u64 {
        let others = self
            .counts
            .iter()
            .filter(|((verb, other), _)| is_write(verb) && other != resource);
        others.map(|(_, count)| count).sum()
    }

    /// Counts by verb and resource.
    pub fn counts(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.counts
            .iter()
            .map(|((verb, resource), count)| (verb.as_str(), resource.as_str(), *count))
    }

    /// The latest requests, oldest first; empty unless the cluster was made with a log.
    pub fn log(&self) -> impl Iterator<Item = &Request> {
        self.log.iter()
    }
}
