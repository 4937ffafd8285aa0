//! Pushing: ask which objects are missing, upload those, publish; small ones go along with the publishing. Every step
//! is safe to repeat.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::{TryRngCore as _, rngs::OsRng};

use super::*;
use crate::push::{Parent, Progress, Push, Pushed};

/// For one upload request to be stored.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(300);
/// Compressed bytes after which an upload request is closed and acknowledged before the next one.
const UPLOAD_BATCH: usize = 8 << 20;
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
            expected_parent,
            message,
            source,
            idempotency_key,
        } = push;
        let idempotency_key = idempotency_key.map_or_else(draw_key, Ok)?;
        let sizes = bundles.iter().map(size).collect::<Result<Vec<_>, _>>()?;
        let (objects, uploaded) = if sizes.iter().sum::<usize>() <= ALONG {
            (bundles.iter().map(object).collect::<Result<_, _>>()?, 0)
        } else {
            (Vec::new(), self.upload(&bundles, &mut progress).await?)
        };
        progress(Progress::Publishing);
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
            objects,
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
    async fn upload(&self, bundles: &[Bundle], progress: &mut impl FnMut(Progress)) -> Result<usize, Error> {
        if bundles.is_empty() {
            return Ok(0);
        }
        let by_hash: BTreeMap<_, _> = bundles.iter().map(|bundle| (bundle.hash(), bundle)).collect();
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

        let mut sent = (0, 0);
        let mut batch = Vec::new();
        for hash in &missing {
            // A hash that was not asked about is not ours to send.
            let Some(bundle) = by_hash.get(hash) else { continue };
            batch.push(object(bundle)?);
            if batch.iter().map(|object| object.zstd.len()).sum::<usize>() >= UPLOAD_BATCH {
                self.put(std::mem::take(&mut batch), missing.len(), &mut sent, progress)
                    .await?;
            }
        }
        if !batch.is_empty() {
            self.put(batch, missing.len(), &mut sent, progress).await?;
        }
        Ok(sent.0)
    }

    async fn put(
        &self,
        batch: Vec<v1::Object>,
        of: usize,
        sent: &mut (usize, usize),
        progress: &mut impl FnMut(Progress),
    ) -> Result<(), Error> {
        sent.0 += batch.len();
        sent.1 += batch.iter().map(|object| object.zstd.len()).sum::<usize>();
        self.repeat(UPLOAD_TIMEOUT, || {
            let (mut publish, batch) = (self.publish.clone(), batch.clone());
            async move { publish.put_objects(futures::stream::iter(batch)).await }
        })
        .await?;
        progress(Progress::Uploaded {
            objects: sent.0,
            of,
            bytes: sent.1,
        });
        Ok(())
    }
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

fn object(bundle: &Bundle) -> Result<v1::Object, Error> {
    let hash = bundle.hash();
    Ok(v1::Object {
        hash: proto::to_hash(&hash),
        zstd: compress(&hash, &bundle.encode())?,
    })
}

/// 128 random bits: no two pushes ever draw the same.
fn draw_key() -> Result<String, Error> {
    let mut bytes = [0; 16];
    let drawn = OsRng.try_fill_bytes(&mut bytes);
    drawn.map_err(|error| Error::Target(format!("no random numbers for the key of a push: {error}")))?;
    Ok(hex::encode(bytes))
}

fn compress(hash: &ObjectHash, bytes: &[u8]) -> Result<Bytes, Error> {
    let compressed = zstd::encode_all(bytes, LEVEL);
    let refuse = |error: std::io::Error| Error::Refused {
        code: Code::Internal,
        message: format!("cannot compress bundle {}: {error}", hash.short()),
    };
    compressed.map(Bytes::from).map_err(refuse)
}
