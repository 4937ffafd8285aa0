//! Requests about ApplySet parents: read all, write one, delete one. What is in them is said in [`crate::applyset`].
//!
//! A parent is written under a field manager of its own, as kubectl does, and never over one that is not ours.

use driftless_model::name::ComponentName;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use crate::{
    api::{self, Api, Failure},
    applyset::{self, Parent, Scope},
};

/// How many parents to read at once: each may hold a record of some hundred KB.
const PAGE: u32 = 10;

/// Why a parent was not written.
#[derive(Debug, Clone)]
pub(crate) enum Refused {
    /// It is not ours; says whose.
    Foreign(String),
    /// The request failed.
    Failed(Failure),
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Where parents are, and as whom they are written.
#[derive(Clone)]
pub(crate) struct Parents {
    pub(crate) api: Api,
    pub(crate) namespace: String,
    pub(crate) manager: String,
}

#[derive(Deserialize)]
struct List<'a> {
    metadata: Metadata,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default, rename = "continue")]
    next: String,
}

impl Parents {
    /// All parents of ours.
    pub(crate) async fn read_all(&self) -> Result<Vec<Parent>, Failure> {
        let mut parents = Vec::new();
        let mut next = String::new();
        let selector = applyset::ID_LABEL.replace('/', "%2F");
        loop {
            let path = format!("{}?labelSelector={selector}&limit={PAGE}&continue={next}", self.path());
            let bytes = self.api.get(&path).await?;
            let list: List<'_> =
                serde_json::from_slice(&bytes).map_err(|error| Failure::Malformed(error.to_string()))?;
            for item in list.items.into_iter().flatten() {
                let parent = applyset::read_parent(&api::parse(item.get().as_bytes())?, &self.namespace);
                if matches!(parent, Parent::Ours { .. }) {
                    parents.push(parent);
                }
            }
            if list.metadata.next.is_empty() {
                return Ok(parents);
            }
            next = list.metadata.next;
        }
    }

    /// Writes a parent, and the namespace if it is missing. `known` says that it was seen to be ours.
    pub(crate) async fn write(
        &self,
        component: &ComponentName,
        known: bool,
        scope: &Scope,
        record: &[u8],
    ) -> Result<(), Refused> {
        if !known {
            self.check(component).await?;
        }
        let path = self.path_of(component);
        let manager = format!("{}-applyset", self.manager);
        let body = applyset::parent_body(component, &self.namespace, scope, record);
        match self.api.apply(&path, &manager, true, body.clone()).await {
            Err(Failure::Refused(refusal)) if refusal.lacks_namespace() => {
                let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}});
                match self
                    .api
                    .create("/api/v1/namespaces", &manager, namespace.to_string().into_bytes())
                    .await
                {
                    Err(failure) if failure.code() != Some(409) => return Err(failure.into()),
                    _ => {}
                }
                self.api.apply(&path, &manager, true, body).await?;
            }
            result => {
                result?;
            }
        }
        Ok(())
    }

    /// Deletes a parent.
    pub(crate) async fn delete(&self, component: &ComponentName) -> Result<(), Failure> {
        match self
            .api
            .delete(&self.path_of(component), &json!({"propagationPolicy": "Background"}))
            .await
        {
            Err(failure) if failure.code() == Some(404) => Ok(()),
            result => result,
        }
    }

    /// Refuses a ConfigMap that is in the parent's place and not ours.
    async fn check(&self, component: &ComponentName) -> Result<(), Refused> {
        let bytes = match self.api.get(&self.path_of(component)).await {
            Err(failure) if failure.code() == Some(404) => return Ok(()),
            result => result?,
        };
        match applyset::read_parent(&api::parse(&bytes)?, &self.namespace) {
            Parent::Ours { .. } => Ok(()),
            Parent::Foreign(whose) => Err(Refused::Foreign(whose)),
        }
    }

    fn path(&self) -> String {
        format!("/api/v1/namespaces/{}/configmaps", self.namespace)
    }

    fn path_of(&self, component: &ComponentName) -> String {
        format!("{}/{}", self.path(), applyset::parent_name(component))
    }
}
