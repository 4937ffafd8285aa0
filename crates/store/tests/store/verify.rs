//! `verify` against a sound bucket, and against one with each kind of damage.

use std::{fmt::Write as _, sync::Arc};

use driftless_model::hash::ObjectHash;
use driftless_store::{
    Bucket,
    journal::Settings,
    verify::{Progress, Report, verify},
};
use object_store::{ObjectStoreExt, memory::InMemory};

use crate::support::{Running, bundle, checkpoint_path, create, entry_path, object_path, overwrite, publish, read};

struct Made {
    files: Arc<InMemory>,
    bucket: Bucket,
    /// Published by entries 2, 3, 4.
    bundles: Vec<ObjectHash>,
    snapshots: Vec<ObjectHash>,
}

/// Entry 1 creates a channel, 2 to 4 publish, 5 to 7 create channels; checkpoints at 3 and 6.
async fn made() -> Made {
    let files = Arc::new(InMemory::new());
    let bucket = Bucket::on(files.clone());
    let running = Running::open(
        &bucket,
        Settings {
            checkpoint_every: 3,
            ..Settings::new("w1")
        },
        1,
    )
    .await
    .unwrap();
    running.submit(create("prod")).await.unwrap();
    let (mut bundles, mut snapshots) = (Vec::new(), Vec::new());
    for name in ["a", "b", "c"] {
        let hash = bucket.put_object(&bundle("shop", name)).await.unwrap();
        bundles.push(hash);
        snapshots.push(
            running
                .submit(publish("prod", "shop", hash))
                .await
                .unwrap()
                .snapshot
                .unwrap(),
        );
    }
    for name in ["x", "y", "z"] {
        running.submit(create(name)).await.unwrap();
    }
    running.stop().await.unwrap();
    Made {
        files,
        bucket,
        bundles,
        snapshots,
    }
}

async fn report(made: &Made) -> Report {
    verify(&made.bucket, |_| {}).await.unwrap()
}

/// The problems, one a line.
async fn problems(made: &Made) -> String {
    report(made)
        .await
        .problems
        .iter()
        .fold(String::new(), |mut text, problem| {
            writeln!(text, "{problem}").unwrap();
            text
        })
}

#[tokio::test]
async fn sound_bucket_is_clean_and_counted() {
    let made = made().await;
    made.bucket.put_object(b"never published").await.unwrap();
    let mut seen = Vec::new();
    let report = verify(&made.bucket, |progress| seen.push(progress)).await.unwrap();
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(
        (report.entries, report.objects, report.checkpoints, report.stray_objects),
        (7, 6, 2, 1)
    );
    assert!(seen.contains(&Progress::Entries { done: 7, total: 7 }));
    assert_eq!(seen.last(), Some(&Progress::Objects { done: 6, total: 6 }));
    let empty = verify(&Bucket::open("memory://").await.unwrap(), |_| {}).await.unwrap();
    assert_eq!(empty, Report::default());
}

#[tokio::test]
async fn missing_entry_is_named_and_the_rest_still_checked() {
    let made = made().await;
    made.files.delete(&entry_path(2)).await.unwrap();
    made.files.delete(&object_path(&made.bundles[2])).await.unwrap();
    let found = problems(&made).await;
    assert!(
        found.contains("journal entry 2 is missing, though entry 7 is there"),
        "{found}"
    );
    assert!(
        found.contains(&format!(
            "bundle {}, named by journal entry 4, is missing",
            made.bundles[2]
        )),
        "{found}"
    );
    assert_eq!(found.lines().count(), 2, "{found}");
}

#[tokio::test]
async fn entries_gone_from_the_end_show_by_a_checkpoint() {
    let made = made().await;
    made.files.delete(&entry_path(7)).await.unwrap();
    assert_eq!(problems(&made).await, "", "no trace of it is left");
    made.files.delete(&entry_path(6)).await.unwrap();
    assert_eq!(
        problems(&made).await,
        "journal entry 6 is missing, though checkpoint 6 is there\n"
    );
}

#[tokio::test]
async fn altered_entry_breaks_the_chain_after_it() {
    let made = made().await;
    let text = String::from_utf8(read(&*made.files, &entry_path(5)).await).unwrap();
    overwrite(
        &*made.files,
        &entry_path(5),
        text.replace(r#""x""#, r#""w""#).as_bytes(),
    )
    .await;
    let found = problems(&made).await;
    assert!(found.starts_with("journal entry 6 breaks the hash chain"), "{found}");
    assert_eq!(found.lines().count(), 1, "{found}");
}

#[tokio::test]
async fn entry_that_cannot_be_read_is_named() {
    let made = made().await;
    let bytes = read(&*made.files, &entry_path(3)).await;
    overwrite(&*made.files, &entry_path(3), &bytes[..bytes.len() / 2]).await;
    let found = problems(&made).await;
    assert!(found.contains("journal entry 3 cannot be read"), "{found}");
    assert!(found.contains("journal entry 4 breaks the hash chain"), "{found}");
    assert_eq!(report(&made).await.entries, 7);
}

#[tokio::test]
async fn entry_that_does_not_fit_is_named() {
    let made = made().await;
    let text = String::from_utf8(read(&*made.files, &entry_path(7)).await).unwrap();
    overwrite(
        &*made.files,
        &entry_path(7),
        text.replace(r#""z""#, r#""y""#).as_bytes(),
    )
    .await;
    let found = problems(&made).await;
    assert!(
        found.starts_with("journal entry 7 is not valid: it creates a channel that exists"),
        "{found}"
    );
}

#[tokio::test]
async fn missing_and_damaged_objects_are_named() {
    let made = made().await;
    made.files.delete(&object_path(&made.snapshots[0])).await.unwrap();
    overwrite(&*made.files, &object_path(&made.snapshots[1]), b"no zstd").await;
    let other = zstd::encode_all(&bundle("shop", "other")[..], 3).unwrap();
    overwrite(&*made.files, &object_path(&made.bundles[0]), &other).await;
    let frame = read(&*made.files, &object_path(&made.bundles[1])).await;
    overwrite(&*made.files, &object_path(&made.bundles[1]), &frame[..frame.len() - 4]).await;
    let found = problems(&made).await;
    for (kind, hash, seq, reason) in [
        ("snapshot", made.snapshots[0], 2, "is missing"),
        (
            "snapshot",
            made.snapshots[1],
            3,
            "is damaged: it is not compressed by zstd",
        ),
        (
            "bundle",
            made.bundles[0],
            2,
            "is damaged: its content does not hash to its name",
        ),
        ("bundle", made.bundles[1], 3, "is damaged: it cannot be decompressed"),
    ] {
        let expected = format!("{kind} {hash}, named by journal entry {seq}, {reason}");
        assert!(found.contains(&expected), "{expected}\n{found}");
    }
    assert_eq!(found.lines().count(), 4, "{found}");
    assert_eq!(report(&made).await.objects, 2);
}

#[tokio::test]
async fn object_of_the_wrong_kind_is_named() {
    let made = made().await;
    let running = Running::start(&made.bucket).await;
    let hash = made.bucket.put_object(b"no bundle\n").await.unwrap();
    running.submit(publish("prod", "shop", hash)).await.unwrap();
    running.stop().await.unwrap();
    let found = problems(&made).await;
    assert!(
        found.contains(&format!("bundle {hash}, named by journal entry 8, cannot be decoded")),
        "{found}"
    );
}

#[tokio::test]
async fn checkpoint_that_differs_is_named() {
    for (from, to, reason) in [
        (
            r#""author":"admin""#,
            r#""author":"mallory""#,
            "differs from what the journal makes",
        ),
        (
            r#""seq":3"#,
            r#""seq":4"#,
            "cannot be read: it says that it is of entry 4",
        ),
        (r#""tip":{"hash":""#, r#""tip":{"hash":"0"#, "cannot be read"),
    ] {
        let made = made().await;
        let text = String::from_utf8(read(&*made.files, &checkpoint_path(3)).await).unwrap();
        assert!(text.contains(from), "{text}");
        overwrite(&*made.files, &checkpoint_path(3), text.replace(from, to).as_bytes()).await;
        let found = problems(&made).await;
        assert!(found.starts_with(&format!("checkpoint 3 {reason}")), "{found}");
        assert_eq!(found.lines().count(), 1, "{found}");
        assert_eq!(report(&made).await.checkpoints, 1);
    }
}

#[tokio::test]
async fn files_that_mean_nothing_are_named() {
    let made = made().await;
    for name in [
        "journal/00000000000000000007.bak",
        "objects/ab/readme",
        "checkpoints/latest",
    ] {
        overwrite(&*made.files, &name.into(), b"").await;
    }
    let found = problems(&made).await;
    for name in [
        "journal/00000000000000000007.bak",
        "objects/ab/readme",
        "checkpoints/latest",
    ] {
        assert!(
            found.contains(&format!("`{name}` is nothing that Driftless wrote")),
            "{found}"
        );
    }
}
