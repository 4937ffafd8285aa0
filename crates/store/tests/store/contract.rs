//! What every backend must do. [`hold`] is run on each: in memory, in a folder, and on S3 (see `s3`).

use bytes::Bytes;
use driftless_model::hash::ObjectHash;
use driftless_store::{Bucket, Upload, journal::Settings, verify};

use crate::support::{Running, bundle, create, publish, written};

#[tokio::test]
async fn memory_honours_the_contract() {
    hold(&Bucket::open("memory://").await.unwrap()).await;
}

#[tokio::test]
async fn folder_honours_the_contract() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("bucket");
    hold(&Bucket::open(path.to_str().unwrap()).await.unwrap()).await;
    let place = tempfile::tempdir().unwrap();
    hold(
        &Bucket::open(&format!("file://{}/b", place.path().display()))
            .await
            .unwrap(),
    )
    .await;
}

#[tokio::test]
async fn folder_that_is_not_there_is_made_only_by_those_who_write() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("bucket");
    let address = path.to_str().unwrap();
    let error = Bucket::open_existing(address).await.unwrap_err();
    assert!(
        error.to_string().contains("there is no such folder") && error.to_string().contains(address),
        "{error}"
    );
    assert!(!path.exists());
    Bucket::open(address).await.unwrap();
    Bucket::open_existing(address).await.unwrap();
}

/// Checks an empty bucket against the whole contract.
pub(crate) async fn hold(bucket: &Bucket) {
    objects_come_back_as_they_were_put(bucket).await;
    uploads_are_checked_and_kept_as_they_were_sent(bucket).await;
    prefixes_find_objects(bucket).await;
    rivals_agree(bucket).await;
    restart_reads_what_was_written(bucket).await;
}

async fn objects_come_back_as_they_were_put(bucket: &Bucket) {
    let large = vec![b'x'; 3_000_000];
    for bytes in [&b""[..], b"small", &large] {
        let hash = ObjectHash::of(bytes);
        assert!(bucket.object(&hash).await.unwrap_err().is_not_found());
        assert_eq!(bucket.missing(&[hash]).await.unwrap(), [hash]);
        assert_eq!(bucket.put_object(bytes).await.unwrap(), hash);
        assert_eq!(
            bucket.put_object(bytes).await.unwrap(),
            hash,
            "the second put finds it there"
        );
        assert_eq!(bucket.object(&hash).await.unwrap(), bytes);
        let compressed = bucket.object_compressed(&hash).await.unwrap();
        assert_eq!(zstd::decode_all(&compressed[..]).unwrap(), bytes);
    }
    let (there, gone) = (ObjectHash::of(b"small"), ObjectHash::of(b"never put"));
    assert_eq!(bucket.missing(&[gone, there, gone]).await.unwrap(), [gone, gone]);
    assert!(bucket.missing(&[]).await.unwrap().is_empty());
}

async fn uploads_are_checked_and_kept_as_they_were_sent(bucket: &Bucket) {
    let bytes = b"an object of somebody else ".repeat(100);
    let hash = ObjectHash::of(&bytes);
    let frame = Bytes::from(zstd::bulk::compress(&bytes, 19).unwrap());
    let cut = frame.slice(..frame.len() - 1);
    for (sent, limit, expected) in [
        (cut, 10_000, "cannot be decompressed"),
        (Bytes::from_static(b"plain"), 10_000, "not compressed"),
        (
            Bytes::from(zstd::encode_all(&b"other"[..], 1).unwrap()),
            10_000,
            "does not hash",
        ),
        (
            Bytes::from(zstd::bulk::compress(&bytes, 1).unwrap()),
            100,
            "may have 100 bytes",
        ),
    ] {
        let error = Upload::open(hash, sent, limit).unwrap_err();
        assert!(error.is_bad_input() && error.to_string().contains(expected), "{error}");
    }
    let upload = Upload::open(hash, frame.clone(), bytes.len()).unwrap();
    assert_eq!(upload.bytes(), &bytes);
    // Beside others, one of which is there already.
    let more: Vec<_> = [&b"small"[..], b"sent along"]
        .map(|bytes| {
            let zstd = zstd::bulk::compress(bytes, 3).unwrap();
            Upload::open(ObjectHash::of(bytes), zstd.into(), bytes.len()).unwrap()
        })
        .into();
    let hashes: Vec<_> = more.iter().map(Upload::hash).collect();
    bucket.put_uploads([more, vec![upload]].concat()).await.unwrap();
    bucket.put_uploads(Vec::new()).await.unwrap();
    assert_eq!(bucket.object(&hashes[1]).await.unwrap(), &b"sent along"[..]);
    assert!(bucket.missing(&hashes).await.unwrap().is_empty());
    assert_eq!(
        bucket.object_compressed(&hash).await.unwrap(),
        frame,
        "kept as it was sent"
    );
    assert_eq!(bucket.object(&hash).await.unwrap(), bytes);
}

async fn prefixes_find_objects(bucket: &Bucket) {
    let hash = bucket.put_object(b"to be found").await.unwrap();
    let text = hash.to_string();
    for prefix in [&text[..], &text[..12], &text[..2], &text[..1], ""] {
        assert!(bucket.find(prefix).await.unwrap().contains(&hash), "{prefix}");
    }
    assert_eq!(bucket.find(&text[..20].to_uppercase()).await.unwrap(), [hash]);
    for other in ["xyz", "../journal", &format!("{text}0"), "ffffffffffffffffffff"] {
        assert!(bucket.find(other).await.unwrap().is_empty(), "{other}");
    }
}

async fn rivals_agree(bucket: &Bucket) {
    let settings = |name: &str| Settings {
        checkpoint_every: 7,
        max_batch: 3,
        ..Settings::new(name)
    };
    let first = Running::open(bucket, settings("first"), 1).await.unwrap();
    let second = Running::open(bucket, settings("second"), 2).await.unwrap();
    first.submit(create("shared")).await.unwrap();
    let mut submissions = Vec::new();
    for number in 0..20 {
        for running in [&first, &second] {
            // Every channel is wanted by both: one gets it.
            submissions.push(running.submit(create(&format!("c-{number}"))));
        }
    }
    let answers = futures::future::join_all(submissions).await;
    for pair in answers.chunks(2) {
        assert_eq!(pair.iter().filter(|answer| answer.is_ok()).count(), 1, "{pair:?}");
        let refused = pair.iter().find_map(|answer| answer.as_ref().err()).unwrap();
        assert!(refused.refusal().unwrap().is_already_there(), "{refused}");
    }
    for (running, name) in [(&first, "one"), (&second, "two")] {
        let object = bucket.put_object(&bundle(name, "x")).await.unwrap();
        running.submit(publish("shared", name, object)).await.unwrap();
    }
    let (state, other) = (first.journal.state(), second.journal.state());
    let last = other.borrow().tip.seq;
    let mut behind = state;
    behind.wait_for(|state| state.tip.seq >= last).await.unwrap();
    assert_eq!(behind.borrow().fleet, other.borrow().fleet);
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

async fn restart_reads_what_was_written(bucket: &Bucket) {
    let running = Running::start(bucket).await;
    let state = running.journal.state().borrow().clone();
    assert_eq!(state.fleet.channels.len(), 21);
    running.stop().await.unwrap();
    let last = state.tip.seq + 8;
    written(bucket, last, 7).await;
    let report = verify::verify(bucket, |_| {}).await.unwrap();
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.entries, last);
    assert!(report.checkpoints > 0);
    assert_eq!(report.objects, 4, "two bundles and two snapshots");
}
