//! The cluster itself as storage: for a DaemonSet's pods, whose next leader may run on another node.
//!
//! In the agent's namespace, each labelled `app.kubernetes.io/managed-by: driftless-agent`:
//! - Secret `driftless-agent-identity`: key and certificate.
//! - ConfigMap `driftless-agent`: the accepted directive.
//! - immutable ConfigMaps `driftless-object-<hash>-<n>`: an object's zstd frame in chunks that etcd takes.
//!
//! `kubectl get cm -n driftless-system -l driftless.dev/stored=object` lists the objects;
//! `… -o jsonpath='{.binaryData.zstd}' | base64 -d | zstdcat` reads one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use bytes::{Bytes, BytesMut};
use driftless_model::hash::ObjectHash;
use k8s_openapi::{
    ByteString,
    api::core::v1::{ConfigMap, Secret},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, ObjectMeta, PostParams},
};

use crate::{Error, accepted::Accepted, identity::Identity, object::Frame};

const IDENTITY: &str = "driftless-agent-identity";
const ACCEPTED: &str = "driftless-agent";
const STORED: &str = "driftless.dev/stored";
const CHUNKS: &str = "driftless.dev/chunks";
/// etcd takes 1.5 MiB in one request, and base64 makes four bytes of three.
const CHUNK_BYTES: usize = 900 * 1024;
/// More than an object of the largest size can have; guards against an absurd annotation.
const MOST_CHUNKS: usize = 64;

/// A namespace of the cluster as storage.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    namespace: String,
}

impl Cluster {
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self {
            client,
            namespace: namespace.to_owned(),
        }
    }

    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn metadata(&self, name: &str, stored: &str) -> ObjectMeta {
        let labels = [("app.kubernetes.io/managed-by", "driftless-agent"), (STORED, stored)];
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            ..ObjectMeta::default()
        }
    }

    pub(super) async fn identity(&self) -> Result<Option<Identity>, Error> {
        let secret = self
            .secrets()
            .get_opt(IDENTITY)
            .await
            .map_err(reading("Secret", IDENTITY))?;
        let Some(bytes) = secret.and_then(|secret| secret.data?.remove("identity.json")) else {
            return Ok(None);
        };
        // The parser's own text could quote the key.
        let damaged = |_| Error::Damaged(format!("Secret {IDENTITY}"), "it is no identity".to_owned());
        serde_json::from_slice(&bytes.0).map(Some).map_err(damaged)
    }

    pub(super) async fn save_identity(&self, identity: &Identity) -> Result<(), Error> {
        let api = self.secrets();
        let before = api.get_opt(IDENTITY).await.map_err(reading("Secret", IDENTITY))?;
        let bytes = serde_json::to_vec(identity).expect("a struct of texts is always JSON");
        let mut secret = Secret {
            metadata: self.metadata(IDENTITY, "identity"),
            data: Some([("identity.json".to_owned(), ByteString(bytes))].into()),
            ..Secret::default()
        };
        let params = PostParams::default();
        let written = match before {
            None => api.create(&params, &secret).await,
            Some(before) => {
                secret.metadata.resource_version = before.metadata.resource_version;
                api.replace(IDENTITY, &params, &secret).await
            }
        };
        written.map_err(writing("Secret", IDENTITY)).map(|_| ())
    }

    pub(super) async fn accepted(&self) -> Result<Option<Accepted>, Error> {
        let found = self
            .config_maps()
            .get_opt(ACCEPTED)
            .await
            .map_err(reading("ConfigMap", ACCEPTED))?;
        found.as_ref().map_or(Ok(None), decode_accepted)
    }

    pub(super) async fn object(&self, hash: ObjectHash) -> Result<Option<Bytes>, Error> {
        let api = self.config_maps();
        let mut frame = BytesMut::new();
        let mut chunks = 1;
        let mut index = 0;
        while index < chunks {
            let name = chunk_name(&hash, index);
            let Some(mut found) = api.get_opt(&name).await.map_err(reading("ConfigMap", &name))? else {
                return Ok(None);
            };
            let announced = found
                .metadata
                .annotations
                .as_ref()
                .and_then(|all| all.get(CHUNKS)?.parse().ok());
            chunks = announced.unwrap_or(1).min(MOST_CHUNKS);
            let Some(bytes) = found.binary_data.as_mut().and_then(|data| data.remove("zstd")) else {
                return Ok(None);
            };
            frame.extend_from_slice(&bytes.0);
            index += 1;
        }
        Ok(Some(frame.freeze()))
    }

    pub(super) async fn save(
        &self,
        objects: &[Frame],
        accepted: &Accepted,
        keep: &BTreeSet<ObjectHash>,
    ) -> Result<(), Error> {
        for frame in objects {
            self.save_object(frame).await?;
        }
        self.save_accepted(accepted).await?;
        self.delete_others(keep).await
    }

    async fn save_object(&self, frame: &Frame) -> Result<(), Error> {
        let compressing = frame.clone();
        let zstd = tokio::task::spawn_blocking(move || compressing.zstd()).await;
        let zstd = zstd.map_err(|_| Error::Ended("compression"))?;
        let chunks: Vec<_> = zstd.chunks(CHUNK_BYTES).collect();
        for (index, chunk) in chunks.iter().enumerate() {
            let name = chunk_name(&frame.hash(), index);
            let mut metadata = self.metadata(&name, "object");
            metadata.annotations = Some(BTreeMap::from([(CHUNKS.to_owned(), chunks.len().to_string())]));
            let wanted = ConfigMap {
                metadata,
                binary_data: Some(BTreeMap::from([("zstd".to_owned(), ByteString(chunk.to_vec()))])),
                immutable: Some(true),
                ..ConfigMap::default()
            };
            self.create_chunk(&name, &wanted).await?;
        }
        Ok(())
    }

    /// One object may be compressed in several ways, so a chunk left over from a save that was broken off need not
    /// fit to the others.
    async fn create_chunk(&self, name: &str, wanted: &ConfigMap) -> Result<(), Error> {
        let api = self.config_maps();
        let params = PostParams::default();
        match api.create(&params, wanted).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            other => return other.map_err(writing("ConfigMap", name)).map(|_| ()),
        }
        let found = api.get_opt(name).await.map_err(reading("ConfigMap", name))?;
        if let Some(found) = found {
            let same = found.binary_data == wanted.binary_data
                && found.metadata.annotations.as_ref().and_then(|all| all.get(CHUNKS))
                    == wanted.metadata.annotations.as_ref().and_then(|all| all.get(CHUNKS));
            if same {
                return Ok(());
            }
            self.delete(name).await?;
        }
        api.create(&params, wanted)
            .await
            .map_err(writing("ConfigMap", name))
            .map(|_| ())
    }

    async fn save_accepted(&self, accepted: &Accepted) -> Result<(), Error> {
        let api = self.config_maps();
        let found = api.get_opt(ACCEPTED).await.map_err(reading("ConfigMap", ACCEPTED))?;
        // A leader that was frozen and does not know yet that it was replaced must not take its successor back.
        if let Some(stored) = found.as_ref().and_then(|found| decode_accepted(found).ok().flatten())
            && stored.cluster == accepted.cluster
        {
            let directive = accepted.directive();
            let theirs = stored.sequences.get(&directive.channel).copied().unwrap_or_default();
            if theirs > directive.sequence {
                return Err(Error::Overtaken {
                    theirs,
                    ours: directive.sequence,
                });
            }
            if stored == *accepted {
                return Ok(());
            }
        }
        let text = String::from_utf8(accepted.encode()).expect("JSON is always UTF-8");
        let mut wanted = ConfigMap {
            metadata: self.metadata(ACCEPTED, "directive"),
            data: Some(BTreeMap::from([("accepted.json".to_owned(), text)])),
            ..ConfigMap::default()
        };
        let params = PostParams::default();
        let written = match found {
            None => api.create(&params, &wanted).await,
            Some(found) => {
                wanted.metadata.resource_version = found.metadata.resource_version;
                api.replace(ACCEPTED, &params, &wanted).await
            }
        };
        written.map_err(writing("ConfigMap", ACCEPTED)).map(|_| ())
    }

    async fn delete_others(&self, keep: &BTreeSet<ObjectHash>) -> Result<(), Error> {
        let params = ListParams::default().labels(&format!("{STORED}=object"));
        let found = self.config_maps().list_metadata(&params).await;
        let found = found.map_err(Error::kubernetes(format!("list ConfigMaps in {}", self.namespace)))?;
        for name in found.items.into_iter().filter_map(|item| item.metadata.name) {
            if !chunk_hash(&name).is_some_and(|hash| keep.contains(&hash)) {
                self.delete(&name).await?;
            }
        }
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        match self.config_maps().delete(name, &DeleteParams::default()).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other
                .map_err(Error::kubernetes(format!("delete ConfigMap {name}")))
                .map(|_| ()),
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

fn decode_accepted(found: &ConfigMap) -> Result<Option<Accepted>, Error> {
    let Some(text) = found.data.as_ref().and_then(|data| data.get("accepted.json")) else {
        return Ok(None);
    };
    let damaged = |error| Error::Damaged(format!("ConfigMap {ACCEPTED}"), error);
    Accepted::decode(text.as_bytes()).map(Some).map_err(damaged)
}

fn chunk_name(hash: &ObjectHash, index: usize) -> String {
    format!("driftless-object-{hash}-{index}")
}

fn chunk_hash(name: &str) -> Option<ObjectHash> {
    let (hash, _) = name.strip_prefix("driftless-object-")?.rsplit_once('-')?;
    hash.parse().ok()
}

fn reading(kind: &str, name: &str) -> impl FnOnce(kube::Error) -> Error {
    Error::kubernetes(format!("read {kind} {name}"))
}

fn writing(kind: &str, name: &str) -> impl FnOnce(kube::Error) -> Error {
    Error::kubernetes(format!("write {kind} {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_names_say_their_object() {
        let hash = ObjectHash::of(b"x");
        assert_eq!(chunk_hash(&chunk_name(&hash, 12)), Some(hash));
        assert_eq!(chunk_hash("driftless-object-x-0"), None);
        assert_eq!(chunk_hash("other"), None);
        assert!(chunk_name(&hash, MOST_CHUNKS).len() <= 253);
    }
}
