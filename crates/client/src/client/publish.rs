//! Pushing: ask which objects are missing, upload those, publish; small ones go along with the publishing. Every step
//! is safe to repeat.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rand::{TryRngCore as _, rngs::OsRng};
use tokio::task::spawn_blocking;

use super::*;
use crate::push::{Parent, Progress, Push, Pushed};

/// For one upload request to be stored.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(300);
/// Bundles of no more bytes together, uncompressed, go in one upload request; a larger one goes alone.
const UPLOAD_BATCH: usize = 128 << 10;
/// Upload requests that are compressed and on their way at once, so that neither side waits for the other.
const UPLOADS: usize = 8;
/// Bundles of no more bytes together, uncompressed, go along with the publishing: less than asking for them costs.
const ALONG: usize = 64 << 10;
/// As zstd's own default: more effort costs time in every push and saves little.
const LEVEL: i32 = 3;

impl Client {
    /// Pushes. `progress` is told how far it is.
    ///
    /// # Guarantees
    /// Either all components are as asked, or none changed. A push is carried out once, however often it had to be
    /// repeated because an answer was lost: what others pushed in the meantime stays.
    ///
    /// # Errors
    /// `is_conflict` when somebody else changed one of the components since `expected_parent`; `is_not_found`
    /// when there is no such channel; [`Error::Bundle`] when a bundle is too large.
    pub async fn push(&self, push: Push, mut progress: impl FnMut(Progress)) -> Result<Pushed, Error> {
        let Push {
            channel,
            bundles,
            remove,
            known,
            expected_parent,
            message,
            source,
            idempotency_key,
        } = push;
        let idempotency_key = idempotency_key.map_or_else(draw_key, Ok)?;
        let set = bundles.iter().map(|bundle| v1::ComponentChange {
            component: bundle.component.to_string(),
            bundle: Some(proto::to_hash(&bundle.hash())),
        });
        let removed = remove.iter().map(|name| v1::ComponentChange {
            component: name.to_string(),
            bundle: None,
        });
        let request = v1::PublishRequest {
            channel: channel.to_string(),
            components: set.chain(removed).collect(),
            expected_parent: expected_parent.map(|parent| match parent {
                Parent::Empty => Bytes::new(),
                Parent::Snapshot(hash) => proto::to_hash(&hash),
            }),
            message,
            source,
            idempotency_key,
            objects: Vec::new(),
        };
        let (known, new): (Vec<_>, Vec<_>) = bundles.iter().partition(|bundle| known.contains(&bundle.hash()));
        let pushed = self.publish(&request, &new, &mut progress).await;
        match pushed {
            // One that was known may be gone: it takes both that others moved the channel on and that they collected it.
            Err(error) if error.is_failed_precondition() && !known.is_empty() => {
                let all: Vec<_> = bundles.iter().collect();
                self.publish(&request, &all, &mut progress).await
            }
            pushed => pushed,
        }
    }

    /// Carries out `request` with what the server lacks of `bundles`.
    async fn publish(
        &self,
        request: &v1::PublishRequest,
        bundles: &[&Bundle],
        progress: &mut impl FnMut(Progress),
    ) -> Result<Pushed, Error> {
        let sizes = bundles
            .iter()
            .map(|bundle| size(bundle))
            .collect::<Result<Vec<_>, _>>()?;
        let (objects, uploaded) = if sizes.iter().sum::<usize>() <= ALONG {
            (compressed(bundles.iter().copied())?, 0)
        } else {
            (Vec::new(), self.upload(bundles, progress).await?)
        };
        progress(Progress::Publishing);
        let request = v1::PublishRequest {
            objects,
            ..request.clone()
        };
        let response = self
            .repeat(ANSWER_TIMEOUT, || {
                let (mut publish, request) = (self.publish.clone(), request.clone());
                async move { publish.publish(request).await }
            })
            .await?;
        Ok(Pushed {
            snapshot: proto::hash("snapshot", &response.snapshot)?,
            sequence: response.sequence,
            unchanged: response.unchanged,
            clusters: response.clusters,
            uploaded: uploaded + response.stored as usize,
        })
    }

    /// Uploads what the server lacks; says how many that were.
    async fn upload(&self, bundles: &[&Bundle], progress: &mut impl FnMut(Progress)) -> Result<usize, Error> {
        if bundles.is_empty() {
            return Ok(0);
        }
        let by_hash: BTreeMap<_, _> = bundles.iter().map(|bundle| (bundle.hash(), *bundle)).collect();
        let request = v1::MissingObjectsRequest {
            hashes: by_hash.keys().map(proto::to_hash).collect(),
        };
        let response = self
            .repeat(ANSWER_TIMEOUT, || {
                let (mut publish, request) = (self.publish.clone(), request.clone());
                async move { publish.missing_objects(request).await }
            })
            .await?;
        let missing = proto::hashes("hashes", &response.hashes)?;
        progress(Progress::Compared {
            objects: by_hash.len(),
            missing: missing.len(),
        });

        // A hash that was not asked about is not ours to send.
        let wanted = missing.iter().filter_map(|hash| by_hash.get(hash).copied());
        let batches = batches(wanted.cloned().collect());
        let mut uploads = stream::iter(batches)
            .map(|batch| self.put(batch))
            .buffer_unordered(UPLOADS);
        let (mut sent, mut bytes) = (0, 0);
        while let Some((more, size)) = uploads.try_next().await? {
            sent += more;
            bytes += size;
            progress(Progress::Uploaded {
                objects: sent,
                of: missing.len(),
                bytes,
            });
        }
        Ok(sent)
    }

    /// Uploads some bundles; says how many, and their compressed size.
    async fn put(&self, batch: Vec<Bundle>) -> Result<(usize, usize), Error> {
        let batch = spawn_blocking(move || compressed(&batch))
            .await
            .map_err(|error| Error::Refused {
                code: Code::Internal,
                message: format!("compressing bundles failed: {error}"),
            })??;
        let sent = (batch.len(), batch.iter().map(|object| object.zstd.len()).sum());
        self.repeat(UPLOAD_TIMEOUT, || {
            let (mut publish, batch) = (self.publish.clone(), batch.clone());
            async move { publish.put_objects(stream::iter(batch)).await }
        })
        .await?;
        Ok(sent)
    }
}

/// Bundles by the request in which they go.
fn batches(bundles: Vec<Bundle>) -> Vec<Vec<Bundle>> {
    let mut batches: Vec<Vec<Bundle>> = Vec::new();
    let mut room = 0;
    for bundle in bundles {
        let size = bundle.size();
        match batches.last_mut() {
            Some(batch) if size <= room => {
                room -= size;
                batch.push(bundle);
            }
            _ => {
                room = UPLOAD_BATCH.saturating_sub(size);
                batches.push(vec![bundle]);
            }
        }
    }
    batches
}

/// The bytes of a bundle, if it may be as large.
fn size(bundle: &Bundle) -> Result<usize, Error> {
    let size = bundle.size();
    if size <= bundle::MAX_BYTES {
        return Ok(size);
    }
    Err(Error::Bundle {
        component: bundle.component.clone(),
        cause: Box::new(bundle::Error::TooLarge(size)),
    })
}

/// Bundles as they are sent. One compressor for all: to make one takes as long as to use it on a small bundle.
fn compressed<'a>(bundles: impl IntoIterator<Item = &'a Bundle>) -> Result<Vec<v1::Object>, Error> {
    let refuse = |error: std::io::Error| Error::Refused {
        code: Code::Internal,
        message: format!("cannot compress bundles: {error}"),
    };
    let mut compressor = zstd::bulk::Compressor::new(LEVEL).map_err(refuse)?;
    let objects = bundles.into_iter().map(|bundle| {
        Ok(v1::Object {
            hash: proto::to_hash(&bundle.hash()),
            zstd: compressor.compress(&bundle.encode()).map_err(refuse)?.into(),
            ..v1::Object::default()
        })
    });
    objects.collect()
}

/// 128 random bits: no two pushes ever draw the same.
fn draw_key() -> Result<String, Error> {
    let mut bytes = [0; 16];
    let drawn = OsRng.try_fill_bytes(&mut bytes);
    drawn.map_err(|error| Error::Target(format!("no random numbers for the key of a push: {error}")))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use driftless_model::manifest::Manifest;
    use serde_json::json;

    use super::*;

    /// A bundle of at least so many bytes.
    fn bundle(component: &str, bytes: usize) -> Bundle {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "x".repeat(bytes)},
        });
        Bundle::new(component.parse().unwrap(), [Manifest::new(object, "default").unwrap()]).unwrap()
    }

    #[test]
    fn uploads_hold_every_bundle_once_in_order_and_only_one_that_is_too_large_alone_is_larger() {
        let sizes = [
            10,
            UPLOAD_BATCH / 2,
            UPLOAD_BATCH / 2,
            2 * UPLOAD_BATCH,
            10,
            20,
            UPLOAD_BATCH - 10,
            30,
        ];
        let named = sizes.iter().zip('a'..);
        let all: Vec<_> = named.map(|(size, name)| bundle(&name.to_string(), *size)).collect();
        let batches = batches(all.clone());
        let names: Vec<Vec<_>> = batches
            .iter()
            .map(|batch| batch.iter().map(|bundle| bundle.component.as_str()).collect())
            .collect();
        assert_eq!(
            names,
            [
                vec!["a", "b"],
                vec!["c"],
                vec!["d"],
                vec!["e", "f"],
                vec!["g"],
                vec!["h"]
            ]
        );
        assert_eq!(batches.concat(), all);
    }

    #[test]
    fn nothing_to_upload_is_no_request() {
        assert_eq!(batches(Vec::new()), Vec::<Vec<Bundle>>::new());
    }
}
