//! What is checked of uploaded objects before they are kept.

use bytes::Bytes;
use driftless_model::{
    bundle::{Bundle, MAX_BYTES},
    hash::ObjectHash,
};
use driftless_store::{Error as StoreError, Upload};

use crate::failure::Failure;

/// The uploads, if each is the bundle it is said to be.
pub(super) async fn check(objects: Vec<(ObjectHash, Bytes)>) -> Result<Vec<Upload>, Failure> {
    // A bundle may have megabytes, and each line of it is parsed.
    let checked = tokio::task::spawn_blocking(move || objects.into_iter().map(open).collect());
    checked
        .await
        .map_err(|error| Failure::Internal(format!("checking uploaded objects failed: {error}")))?
}

fn open((hash, zstd): (ObjectHash, Bytes)) -> Result<Upload, Failure> {
    let upload = Upload::open(hash, zstd, MAX_BYTES).map_err(|error| refusal(&hash, error))?;
    Bundle::decode(upload.bytes()).map_err(|error| Failure::Argument(format!("object {hash} is refused: {error}")))?;
    Ok(upload)
}

fn refusal(hash: &ObjectHash, error: StoreError) -> Failure {
    Failure::Argument(match error {
        StoreError::TooLarge { limit, .. } => {
            format!("object {hash} has more than the {limit} bytes that a component may have: split it")
        }
        error => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    async fn told(hash: ObjectHash, zstd: Vec<u8>) -> String {
        let refused = check(vec![(hash, zstd.into())]).await;
        refused.expect_err("must be refused").to_string()
    }

    #[tokio::test]
    async fn only_whole_and_valid_bundles_pass() {
        let good = b"{\"component\":\"shop\",\"format\":1}\n";
        let hash = ObjectHash::of(good);
        let zstd = zstd::encode_all(&good[..], 3).unwrap();
        let uploads = check(vec![(hash, zstd.clone().into())]).await.unwrap();
        assert_eq!(uploads[0].bytes(), &good[..]);
        assert!(
            told(ObjectHash::of(b"other"), zstd.clone())
                .await
                .contains("does not hash to its name; send them again")
        );
        assert!(
            told(hash, zstd[..zstd.len() - 4].to_vec())
                .await
                .contains("decompressed")
        );
        assert!(told(hash, b"no zstd".to_vec()).await.contains("not compressed by zstd"));
        let text = b"not a bundle\n";
        assert!(
            told(ObjectHash::of(text), zstd::encode_all(&text[..], 3).unwrap())
                .await
                .contains("is refused")
        );
    }

    #[tokio::test]
    async fn bomb_is_refused_without_being_unpacked() {
        let zeros = std::io::repeat(0).take(4 * MAX_BYTES as u64);
        let bomb = zstd::encode_all(zeros, 3).unwrap();
        assert!(bomb.len() < 100_000);
        assert!(told(ObjectHash::of(b""), bomb).await.contains("split it"));
    }
}
