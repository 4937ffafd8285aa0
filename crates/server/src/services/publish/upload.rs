//! What is checked of an uploaded object before it is kept.

use std::io::Read;

use bytes::Bytes;
use driftless_model::{
    bundle::{Bundle, MAX_BYTES},
    hash::ObjectHash,
};

use crate::failure::Failure;

/// The uncompressed bytes of an upload, if they are the bundle they are said to be.
pub(super) async fn check(hash: ObjectHash, zstd: Bytes) -> Result<Bytes, Failure> {
    // A bundle may have megabytes, and each line of it is parsed.
    let checked = tokio::task::spawn_blocking(move || {
        let bytes = decompress(&hash, &zstd)?;
        let found = ObjectHash::of(&bytes);
        if found != hash {
            return Err(Failure::Argument(format!(
                "object {hash} was altered on its way: its bytes hash to {found}; send it again"
            )));
        }
        Bundle::decode(&bytes).map_err(|error| Failure::Argument(format!("object {hash} is refused: {error}")))?;
        Ok(Bytes::from(bytes))
    });
    checked
        .await
        .map_err(|error| Failure::Internal(format!("checking object {hash} failed: {error}")))?
}

/// Decompresses without ever making more than a bundle may have.
fn decompress(hash: &ObjectHash, zstd: &[u8]) -> Result<Vec<u8>, Failure> {
    let unreadable = |error| Failure::Argument(format!("object {hash} cannot be decompressed: {error}"));
    let mut bytes = Vec::new();
    let decoder = zstd::Decoder::with_buffer(zstd).map_err(unreadable)?;
    decoder
        .take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() > MAX_BYTES {
        let text = format!("object {hash} has more than the {MAX_BYTES} bytes that a component may have: split it");
        return Err(Failure::Argument(text));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn refusal(hash: ObjectHash, zstd: Vec<u8>) -> String {
        check(hash, zstd.into()).await.expect_err("must be refused").to_string()
    }

    #[tokio::test]
    async fn only_whole_and_valid_bundles_pass() {
        let good = b"{\"component\":\"shop\",\"format\":1}\n";
        let hash = ObjectHash::of(good);
        let zstd = zstd::encode_all(&good[..], 3).unwrap();
        assert_eq!(check(hash, zstd.clone().into()).await.unwrap(), &good[..]);
        assert!(
            refusal(ObjectHash::of(b"other"), zstd.clone())
                .await
                .contains("was altered")
        );
        assert!(
            refusal(hash, zstd[..zstd.len() - 4].to_vec())
                .await
                .contains("decompressed")
        );
        assert!(refusal(hash, b"no zstd".to_vec()).await.contains("decompressed"));
        let text = b"not a bundle\n";
        assert!(
            refusal(ObjectHash::of(text), zstd::encode_all(&text[..], 3).unwrap())
                .await
                .contains("is refused")
        );
    }

    #[tokio::test]
    async fn bomb_is_refused_without_being_unpacked() {
        let zeros = std::io::repeat(0).take(4 * MAX_BYTES as u64);
        let bomb = zstd::encode_all(zeros, 3).unwrap();
        assert!(bomb.len() < 100_000);
        assert!(refusal(ObjectHash::of(b""), bomb).await.contains("split it"));
    }
}
