//! Which kinds the API server serves, asked only for the groups that matter, each on its own: an aggregated API that
//! does not answer stops nothing but its own kinds.
//!
//! The engine asks when it meets a kind, when a CRD changes, and with backoff while somebody waits for a kind.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use crate::api::{Api, Failure, Resource, version_path};

/// A kind to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted<K> {
    /// The asker's name for it, handed back.
    pub(crate) key: K,
    pub(crate) kind: String,
    /// In which version; `None` for whichever is served, the preferred one first.
    pub(crate) version: Option<String>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// It is served.
    Served(Resource),
    /// It is not served (yet).
    Missing,
    /// Its API does not answer; says how, and what the API server says when to ask again.
    Broken(String, Option<Duration>),
}

/// Looks for kinds of one group.
pub(crate) async fn find<K>(api: &Api, group: &str, wanted: Vec<Wanted<K>>) -> Vec<(K, Found)> {
    let mut group = Group {
        api,
        name: group,
        versions: None,
        resources: BTreeMap::new(),
    };
    let mut found = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let result = group.find(&wanted.kind, wanted.version).await;
        let found_one = match result {
            Ok(Some(resource)) => Found::Served(resource),
            Ok(None) => Found::Missing,
            Err(failure) => Found::Broken(
                failure.text(),
                failure.refusal().and_then(|refusal| refusal.retry_after),
            ),
        };
        found.push((wanted.key, found_one));
    }
    found
}

/// What was read of one group so far.
struct Group<'a> {
    api: &'a Api,
    name: &'a str,
    versions: Option<Vec<String>>,
    resources: BTreeMap<String, Result<Vec<Resource>, Failure>>,
}

impl Group<'_> {
    async fn find(&mut self, kind: &str, version: Option<String>) -> Result<Option<Resource>, Failure> {
        let versions = match version {
            Some(version) => vec![version],
            None => self.versions().await?,
        };
        for version in versions {
            let resources = self.resources(version).await?;
            if let Some(resource) = resources.iter().find(|resource| resource.kind == kind) {
                return Ok(Some(resource.clone()));
            }
        }
        Ok(None)
    }

    /// The group's versions, the preferred one first.
    async fn versions(&mut self) -> Result<Vec<String>, Failure> {
        if self.name.is_empty() {
            return Ok(vec!["v1".to_owned()]);
        }
        if let Some(versions) = &self.versions {
            return Ok(versions.clone());
        }
        let path = format!("/apis/{}", self.name);
        let versions = match not_found_is_empty(self.api.get(&path).await)? {
            None => Vec::new(),
            Some(bytes) => {
                let group: ApiGroup = parse(&bytes)?;
                let preferred = group.preferred_version.map(|it| it.version);
                let others = group
                    .versions
                    .into_iter()
                    .map(|it| it.version)
                    .filter(|it| Some(it) != preferred.as_ref());
                preferred.iter().cloned().chain(others).collect()
            }
        };
        Ok(self.versions.insert(versions).clone())
    }

    async fn resources(&mut self, version: String) -> Result<&[Resource], Failure> {
        if !self.resources.contains_key(&version) {
            let read = self.read(&version).await;
            self.resources.insert(version.clone(), read);
        }
        self.resources[&version].as_deref().map_err(Clone::clone)
    }

    async fn read(&self, version: &str) -> Result<Vec<Resource>, Failure> {
        let Some(bytes) = not_found_is_empty(self.api.get(&version_path(self.name, version)).await)? else {
            return Ok(Vec::new());
        };
        let list: ApiResourceList = parse(&bytes)?;
        let served = list.resources.into_iter().filter(ApiResource::can_be_kept);
        Ok(served
            .map(|resource| Resource {
                group: self.name.to_owned(),
                kind: resource.kind,
                version: version.to_owned(),
                plural: resource.name,
                namespaced: resource.namespaced,
            })
            .collect())
    }
}

fn not_found_is_empty<T>(answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(failure) if failure.code() == Some(404) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(bytes).map_err(|error| Failure::Malformed(error.to_string()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ApiGroup {
    #[serde(default)]
    versions: Vec<GroupVersion>,
    preferred_version: Option<GroupVersion>,
}

#[derive(Deserialize)]
struct GroupVersion {
    version: String,
}

#[derive(Deserialize)]
struct ApiResourceList {
    #[serde(default)]
    resources: Vec<ApiResource>,
}

#[derive(Deserialize)]
struct ApiResource {
    name: String,
    kind: String,
    #[serde(default)]
    namespaced: bool,
    #[serde(default)]
    verbs: Vec<String>,
}

impl ApiResource {
    /// Is it a resource of its own that can be applied and watched?
    fn can_be_kept(&self) -> bool {
        let can = |verb: &str| self.verbs.iter().any(|it| it == verb);
        !self.name.contains('/') && can("patch") && can("list") && can("watch")
    }
}
