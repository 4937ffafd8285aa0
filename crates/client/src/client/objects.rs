//! Reading objects. Nothing leaves this module unless it hashes to the name it was asked for by.

use std::io::Read as _;

use super::*;

/// For a stream of objects to begin, and between two of them.
const OBJECT_TIMEOUT: Duration = Duration::from_secs(60);
/// Objects asked for in one request.
const BATCH: usize = 256;

impl Client {
    /// The canonical bytes of objects, in the order asked for.
    ///
    /// # Errors
    /// `is_not_found` when the server lacks one; [`Error::WrongObject`] when it sends other bytes.
    pub async fn objects(&self, hashes: &[ObjectHash]) -> Result<Vec<Vec<u8>>, Error> {
        let mut found = Vec::with_capacity(hashes.len());
        for batch in hashes.chunks(BATCH) {
            let request = v1::GetObjectsRequest {
                hashes: batch.iter().map(proto::to_hash).collect(),
            };
            let stream = self
                .repeat(OBJECT_TIMEOUT, || {
                    let (mut publish, request) = (self.publish.clone(), request.clone());
                    async move { publish.get_objects(request).await }
                })
                .await?;
            let mut stream = std::pin::pin!(stream);
            for hash in batch {
                let next = tokio::time::timeout(OBJECT_TIMEOUT, stream.next()).await.map_err(|_| {
                    let cause = Unreachable::Timeout(OBJECT_TIMEOUT);
                    Error::Unreachable {
                        server: self.server.to_string(),
                        cause,
                    }
                })?;
                let object = next
                    .ok_or(Error::MissingObject(*hash))?
                    .map_err(|status| self.error(status))?;
                found.push(verified(hash, &object)?);
            }
        }
        Ok(found)
    }

    /// One snapshot.
    ///
    /// # Errors
    /// As [`Client::objects`], and when the object is no snapshot.
    pub async fn snapshot(&self, hash: &ObjectHash) -> Result<Snapshot, Error> {
        let bytes = self.object(hash).await?;
        Snapshot::decode(&bytes).map_err(|error| Error::WrongObject {
            hash: *hash,
            reason: error.to_string(),
        })
    }

    /// One bundle.
    ///
    /// # Errors
    /// As [`Client::objects`], and when the object is no bundle.
    pub async fn bundle(&self, hash: &ObjectHash) -> Result<Bundle, Error> {
        decode_bundle(hash, &self.object(hash).await?)
    }

    /// Several bundles, in the order asked for.
    ///
    /// # Errors
    /// As [`Client::bundle`].
    pub async fn bundles(&self, hashes: &[ObjectHash]) -> Result<Vec<Bundle>, Error> {
        let objects = self.objects(hashes).await?;
        hashes
            .iter()
            .zip(objects)
            .map(|(hash, bytes)| decode_bundle(hash, &bytes))
            .collect()
    }

    async fn object(&self, hash: &ObjectHash) -> Result<Vec<u8>, Error> {
        self.objects(&[*hash]).await?.pop().ok_or(Error::MissingObject(*hash))
    }
}

fn decode_bundle(hash: &ObjectHash, bytes: &[u8]) -> Result<Bundle, Error> {
    Bundle::decode(bytes).map_err(|error| Error::WrongObject {
        hash: *hash,
        reason: error.to_string(),
    })
}

fn verified(hash: &ObjectHash, object: &v1::Object) -> Result<Vec<u8>, Error> {
    if object.zstd.is_empty() {
        return Err(Error::MissingObject(*hash));
    }
    let wrong = |reason: String| Error::WrongObject { hash: *hash, reason };
    let limit = bundle::MAX_BYTES + 1;
    let mut bytes = Vec::new();
    let decoder = zstd::Decoder::with_buffer(object.zstd.as_ref()).map_err(|error| wrong(error.to_string()))?;
    decoder
        .take(limit as u64)
        .read_to_end(&mut bytes)
        .map_err(|error| wrong(format!("not zstd: {error}")))?;
    if bytes.len() == limit {
        return Err(wrong(format!("it has more than {} bytes", bundle::MAX_BYTES)));
    }
    match ObjectHash::of(&bytes) {
        actual if actual == *hash => Ok(bytes),
        actual => Err(wrong(format!("its bytes hash to {actual}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(content: &[u8]) -> v1::Object {
        let zstd = zstd::encode_all(content, 3).unwrap();
        v1::Object {
            hash: proto::to_hash(&ObjectHash::of(content)),
            zstd: zstd.into(),
            ..v1::Object::default()
        }
    }

    #[test]
    fn bytes_are_checked_against_the_name_asked_for() {
        assert_eq!(verified(&ObjectHash::of(b"a"), &object(b"a")).unwrap(), b"a");
        let error = verified(&ObjectHash::of(b"b"), &object(b"a")).unwrap_err();
        assert!(error.to_string().contains("its bytes hash to"), "{error}");
    }

    #[test]
    fn absent_object_is_not_found() {
        let absent = v1::Object::default();
        assert!(verified(&ObjectHash::of(b"a"), &absent).unwrap_err().is_not_found());
    }

    #[test]
    fn bytes_that_expand_without_end_are_refused() {
        let bomb = vec![0; bundle::MAX_BYTES + 1];
        let error = verified(&ObjectHash::of(&bomb), &object(&bomb)).unwrap_err();
        assert!(error.to_string().contains("more than"), "{error}");
        let garbage = v1::Object {
            zstd: b"garbage"[..].into(),
            ..v1::Object::default()
        };
        assert!(matches!(
            verified(&ObjectHash::of(b"a"), &garbage),
            Err(Error::WrongObject { .. })
        ));
    }
}
