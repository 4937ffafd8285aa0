//! One journal: its bytes, its batches, its checkpoints, and what it does when the bucket fails or was altered.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use driftless_model::{event::Event, fleet::Expected, hash::ObjectHash, name::ComponentName};
use driftless_store::{Bucket, Error, journal::Settings, verify};
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory};
use tokio::time::{sleep, timeout};

use crate::{
    faults::{Faulty, PutFault},
    support::{
        Running, bundle, checkpoint_path, create, entry_path, object_path, overwrite, publish, push, read, written,
    },
};

/// A journal that looks for others' entries only when it has to.
fn blind(name: &str) -> Settings {
    Settings {
        poll: Duration::from_secs(1_000_000),
        ..Settings::new(name)
    }
}

fn memory() -> (Arc<InMemory>, Bucket) {
    let files = Arc::new(InMemory::new());
    (Arc::clone(&files), Bucket::on(files))
}

fn faulty(store: Faulty) -> (Faulty, Bucket) {
    (store.clone(), Bucket::on(Arc::new(store)))
}

async fn names(store: &impl ObjectStore) -> Vec<String> {
    let mut names: Vec<String> = store
        .list(None)
        .map_ok(|meta| meta.location.into())
        .try_collect()
        .await
        .unwrap();
    names.sort();
    names
}

/// The nonce of an entry: 32 hexadecimal digits, all that is random in it.
fn nonce(entry: &[u8]) -> String {
    let entry: serde_json::Value = serde_json::from_slice(entry).unwrap();
    let nonce = entry["nonce"].as_str().unwrap().to_owned();
    assert!(
        nonce.len() == 32 && nonce.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{nonce}"
    );
    nonce
}

#[tokio::test(start_paused = true)]
async fn others_are_followed_at_the_pace_that_is_asked_for() {
    let (_, bucket) = memory();
    let follower = Running::open(&bucket, blind("one"), 1).await.unwrap();
    let writer = Running::open(&bucket, blind("other"), 2).await.unwrap();
    // It has looked once, as it began.
    sleep(Duration::from_secs(1)).await;
    let seq = writer.submit(create("prod")).await.unwrap().seq;
    sleep(Duration::from_secs(60)).await;
    let mut states = follower.journal.state();
    assert!(states.borrow().tip.seq < seq, "it looked though it was not time");
    follower.journal.poll_every(Duration::from_secs(10));
    let followed = states.wait_for(|state| state.tip.seq == seq);
    timeout(Duration::from_secs(30), followed)
        .await
        .expect("it is followed")
        .unwrap();
    follower.stop().await.unwrap();
    writer.stop().await.unwrap();
}

#[tokio::test]
async fn names_and_bytes_in_the_bucket_are_pinned() {
    let (files, bucket) = memory();
    let settings = Settings {
        checkpoint_every: 2,
        ..Settings::new("w1")
    };
    let running = Running::open(&bucket, settings, 7).await.unwrap();
    running.submit(create("prod")).await.unwrap();
    let object = bucket.put_object(b"not looked at").await.unwrap();
    let outcome = running.submit(publish("prod", "shop", object)).await.unwrap();
    running.stop().await.unwrap();

    let snapshot = outcome.snapshot.unwrap();
    let mut expected = vec![
        "checkpoints/00000000000000000002".to_owned(),
        "journal/00000000000000000001".to_owned(),
        "journal/00000000000000000002".to_owned(),
        object_path(&object).into(),
        object_path(&snapshot).into(),
        "probe".to_owned(),
    ];
    expected.sort();
    assert_eq!(names(&*files).await, expected);

    let first = read(&*files, &entry_path(1)).await;
    let second = String::from_utf8(read(&*files, &entry_path(2)).await).unwrap();
    let (nonce, other_nonce) = (nonce(&first), nonce(second.as_bytes()));
    assert_ne!(nonce, other_nonce);
    let checkpoint = String::from_utf8(read(&*files, &checkpoint_path(2)).await).unwrap();
    assert_eq!(
        String::from_utf8(first.clone()).unwrap(),
        format!(
            concat!(
                r#"{{"events":[{{"author":"admin","channel":"prod","type":"ChannelCreated"}}],"#,
                r#""nonce":"{nonce}","prev":null,"seq":1,"time":"2026-01-02T03:04:05Z","writer":"w1"}}"#
            ),
            nonce = nonce,
        )
    );
    assert_eq!(
        second,
        format!(
            concat!(
                r#"{{"events":[{{"channel":"prod","components":{{"shop":"{object}"}},"provenance":{{"author":"admin"}},"#,
                r#""snapshot":"{snapshot}","type":"Published"}}],"nonce":"{nonce}","prev":"{prev}","#,
                r#""seq":2,"time":"2026-01-02T03:04:06Z","writer":"w1"}}"#
            ),
            object = object,
            snapshot = snapshot,
            nonce = other_nonce,
            prev = ObjectHash::of(&first),
        )
    );
    assert_eq!(
        checkpoint,
        format!(
            concat!(
                r#"{{"fleet":{{"channels":{{"prod":{{"changed":"2026-01-02T03:04:06Z","components":{{"shop":"{object}"}},"#,
                r#""sequence":2,"setters":{{"shop":{{"author":"admin","snapshot":"{snapshot}","#,
                r#""time":"2026-01-02T03:04:06Z"}}}},"snapshot":"{snapshot}"}}}},"clusters":{{}}}},"#,
                r#""tip":{{"hash":"{tip}","seq":2}}}}"#
            ),
            object = object,
            snapshot = snapshot,
            tip = ObjectHash::of(second.as_bytes()),
        )
    );
}

#[tokio::test]
async fn snapshot_is_stored_and_readable_when_the_push_is_answered() {
    let (_, bucket) = memory();
    let running = Running::start(&bucket).await;
    running.submit(create("prod")).await.unwrap();
    let outcome = running
        .submit(publish("prod", "shop", ObjectHash::of(b"x")))
        .await
        .unwrap();
    let snapshot = outcome.snapshot.unwrap();
    let stored = driftless_model::snapshot::Snapshot::decode(&bucket.object(&snapshot).await.unwrap()).unwrap();
    assert_eq!(
        stored.components[&"shop".parse::<ComponentName>().unwrap()],
        ObjectHash::of(b"x")
    );
    let state = running.journal.state().borrow().clone();
    assert_eq!(state.fleet.channels[&"prod".parse().unwrap()].snapshot, Some(snapshot));
    assert_eq!((outcome.seq, state.tip.seq), (2, 2));

    let again = running
        .submit(publish("prod", "shop", ObjectHash::of(b"x")))
        .await
        .unwrap();
    assert_eq!((again.seq, again.event, again.snapshot), (2, None, None));
    assert_eq!(running.tip(), 2, "nothing changed, nothing was written");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn intents_that_wait_are_committed_as_one_entry() {
    let (store, bucket) = faulty(Faulty::script(Vec::new()));
    let running = Running::open(&bucket, blind("w1"), 1).await.unwrap();
    let held = store.gate.acquire().await.unwrap();
    let journal = running.journal.clone();
    let first = tokio::spawn(async move { journal.submit(create("c0")).await });
    while store.entry_puts.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    let rest = futures::future::join_all((1..=50).map(|number| running.submit(create(&format!("c{number}")))));
    // The intents are queued when `rest` is first polled, which is before this.
    let release = async { drop(held) };
    let (rest, ()) = tokio::join!(rest, release);
    assert_eq!(first.await.unwrap().unwrap().seq, 1);
    assert!(rest.into_iter().all(|outcome| outcome.unwrap().seq == 2));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn batch_is_decided_in_order() {
    let (_, bucket) = memory();
    let running = Running::start(&bucket).await;
    let seen = Expected {
        parent: None,
        components: Default::default(),
    };
    let (created, again, first, second, other) = tokio::join!(
        running.submit(create("prod")),
        running.submit(create("prod")),
        running.submit(push("prod", "shop", ObjectHash::of(b"1"), Some(seen.clone()))),
        running.submit(push("prod", "shop", ObjectHash::of(b"2"), Some(seen.clone()))),
        running.submit(push("prod", "blog", ObjectHash::of(b"3"), Some(seen))),
    );
    created.unwrap();
    assert!(again.unwrap_err().refusal().unwrap().is_already_there());
    let winner = first.unwrap().snapshot.unwrap();
    let conflict = second.unwrap_err();
    assert!(conflict.refusal().unwrap().is_conflict());
    assert!(conflict.to_string().contains(&winner.short()), "{conflict}");
    other.unwrap();
    running.stop().await.unwrap();
}

#[tokio::test]
async fn answers_rest_on_the_newest_state_even_between_polls() {
    let (_, bucket) = memory();
    let first = Running::open(&bucket, blind("w1"), 1).await.unwrap();
    let second = Running::open(&bucket, blind("w2"), 2).await.unwrap();
    // The first poll happens at once; after it the second sees nothing by itself.
    second.submit(create("own")).await.unwrap();
    first.submit(create("prod")).await.unwrap();
    second
        .submit(publish("prod", "shop", ObjectHash::of(b"x")))
        .await
        .unwrap();
    let refused = first.submit(create("own")).await.unwrap_err();
    assert!(refused.refusal().unwrap().is_already_there(), "{refused}");
    let unchanged = first
        .submit(publish("prod", "shop", ObjectHash::of(b"x")))
        .await
        .unwrap();
    assert_eq!((unchanged.seq, unchanged.event), (3, None));
    first.stop().await.unwrap();
    second.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn others_entries_are_folded_by_polling() {
    let (_, bucket) = memory();
    let writer = Running::start(&bucket).await;
    let follower = Running::open(&bucket, Settings::new("w2"), 2).await.unwrap();
    let mut states = follower.journal.state();
    for number in 1..=5 {
        let seq = writer.submit(create(&format!("c{number}"))).await.unwrap().seq;
        let seen = states.wait_for(|state| state.tip.seq == seq).await.unwrap().clone();
        assert_eq!(seen, *writer.journal.state().borrow());
    }
    writer.stop().await.unwrap();
    follower.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn put_whose_answer_was_lost_is_recognised() {
    for script in [
        vec![PutFault::After],
        vec![PutFault::Before, PutFault::After],
        vec![PutFault::Before, PutFault::Before, PutFault::Before],
    ] {
        let (_, bucket) = faulty(Faulty::script(script.clone()));
        let running = Running::start(&bucket).await;
        let outcome = running.submit(create("prod")).await.unwrap();
        assert!(
            matches!(outcome.event, Some(Event::ChannelCreated { .. })),
            "{script:?}"
        );
        assert_eq!(running.submit(create("dev")).await.unwrap().seq, 2, "{script:?}");
        running.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn bucket_that_does_not_answer_is_given_up_and_tried_again() {
    let (store, bucket) = faulty(Faulty::always(PutFault::Before));
    let running = Running::start(&bucket).await;
    let error = running.submit(create("prod")).await.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    assert!(error.to_string().contains("journal entry 1"), "{error}");
    assert_eq!(store.entry_puts.load(Ordering::Relaxed), 6);
    store.heal();
    assert_eq!(running.submit(create("prod")).await.unwrap().seq, 1);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn full_disk_is_said_at_once_and_work_goes_on_when_there_is_space() {
    let (store, bucket) = faulty(Faulty::always(PutFault::Full));
    let running = Running::start(&bucket).await;
    let error = running.submit(create("prod")).await.unwrap_err();
    assert!(error.is_unwritable() && !error.is_retryable());
    assert_eq!(
        error.to_string(),
        "journal entry 1 in Faulty cannot be written: the disk is full: free some space"
    );
    assert_eq!(store.entry_puts.load(Ordering::Relaxed), 1);
    store.heal();
    running.submit(create("prod")).await.unwrap();
    running.stop().await.unwrap();
}

#[tokio::test]
async fn bucket_that_overwrites_is_refused() {
    let (_, bucket) = faulty(Faulty::unconditional());
    let error = Running::open(&bucket, Settings::new("w1"), 1).await.err().unwrap();
    assert!(matches!(error, Error::NoPutIfAbsent), "{error}");
}

#[tokio::test]
async fn what_waits_at_the_stop_is_carried_out() {
    let (store, bucket) = faulty(Faulty::script(Vec::new()));
    let running = Running::open(
        &bucket,
        Settings {
            max_batch: 2,
            ..blind("w1")
        },
        1,
    )
    .await
    .unwrap();
    let journal = running.journal.clone();
    let held = store.gate.acquire().await.unwrap();
    let submissions = futures::future::join_all(
        (0..5)
            .map(|number| journal.submit(create(&format!("c{number}"))))
            .collect::<Vec<_>>(),
    );
    let stop = async {
        while store.entry_puts.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let stopped = tokio::spawn(running.stop());
        drop(held);
        stopped.await.unwrap().unwrap();
    };
    let (answers, ()) = tokio::join!(submissions, stop);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert!(matches!(journal.submit(create("late")).await, Err(Error::Stopped)));
}

#[tokio::test]
async fn start_reads_newest_checkpoint_and_tail() {
    let (files, bucket) = memory();
    written(&bucket, 8, 3).await;
    let checkpoints: Vec<_> = names(&*files)
        .await
        .into_iter()
        .filter(|name| name.starts_with("ch"))
        .collect();
    assert_eq!(
        checkpoints,
        ["checkpoints/00000000000000000003", "checkpoints/00000000000000000006"]
    );
    // Only a start that does not read them can do without the first entries.
    for seq in 1..=5 {
        files.delete(&entry_path(seq)).await.unwrap();
    }
    let running = Running::start(&bucket).await;
    assert_eq!(running.journal.state().borrow().fleet.channels.len(), 8);
    assert_eq!(running.submit(create("more")).await.unwrap().seq, 9);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn start_after_a_long_tail_writes_the_checkpoint_that_is_due() {
    let (files, bucket) = memory();
    written(&bucket, 5, 1000).await;
    written(&bucket, 5, 4).await;
    assert!(names(&*files).await.contains(&checkpoint_path(5).into()));
    assert!(verify::verify(&bucket, |_| {}).await.unwrap().is_clean());
}

#[tokio::test]
async fn checkpoint_that_cannot_be_read_is_passed_over() {
    for damage in [
        &b""[..],
        b"{",
        br#"{"fleet":{"channels":{},"clusters":{}},"tip":{"hash":null,"seq":3}}"#,
    ] {
        let (files, bucket) = memory();
        written(&bucket, 8, 3).await;
        overwrite(&*files, &checkpoint_path(6), damage).await;
        let running = Running::start(&bucket).await;
        assert_eq!(running.journal.state().borrow().fleet.channels.len(), 8);
        running.stop().await.unwrap();
    }
}

#[tokio::test]
async fn altered_journal_is_refused_and_the_entry_named() {
    let forged = |name: &str| {
        format!(r#"{{"events":[],"nonce":"n","prev":null,"seq":{name},"time":"2026-01-02T03:04:05Z","writer":"w"}}"#)
    };
    // Checkpoints at 3 and 6, entries to 8.
    for (seq, bytes, expected) in [
        (6, None, "journal entry 6 is missing"),
        (7, None, "journal entry 7 is missing, but entry 8 is there"),
        (
            6,
            Some(forged("6")),
            "journal entry 6 is not the one that checkpoint 6 was made from",
        ),
        (7, Some(forged("7")), "journal entry 7 breaks the hash chain"),
        (8, Some(forged("7")), "journal entry 8 says that it is number 7"),
        (8, Some(String::new()), "journal entry 8 cannot be read"),
        (8, Some("{\"events\":[".to_owned()), "journal entry 8 cannot be read"),
    ] {
        let (files, bucket) = memory();
        written(&bucket, 8, 3).await;
        match bytes {
            Some(bytes) => overwrite(&*files, &entry_path(seq), bytes.as_bytes()).await,
            None => files.delete(&entry_path(seq)).await.unwrap(),
        }
        let error = Running::open(&bucket, Settings::new("w1"), 1).await.err().unwrap();
        assert!(error.is_broken_journal(), "{error}");
        assert!(error.to_string().starts_with(expected), "{error}");
    }
}

#[tokio::test]
async fn event_that_does_not_fit_stops_the_running_journal() {
    let (files, bucket) = memory();
    let running = Running::open(&bucket, blind("w1"), 1).await.unwrap();
    running.submit(create("prod")).await.unwrap();
    let tip = running.journal.state().borrow().tip;
    let forged = driftless_model::journal::Entry {
        seq: 2,
        prev: tip.hash,
        time: "2026-01-02T03:04:05Z".parse().unwrap(),
        writer: "w2".to_owned(),
        nonce: "n".to_owned(),
        events: vec![Event::ChannelCreated {
            channel: "prod".parse().unwrap(),
            author: "admin".to_owned(),
        }],
    };
    overwrite(&*files, &entry_path(2), &forged.encode()).await;
    let error = running.submit(create("dev")).await.unwrap_err();
    assert!(
        error.is_broken_journal() && error.to_string().contains("journal entry 2"),
        "{error}"
    );
    assert_eq!(running.tip(), 1, "nothing of it is shown");
    assert!(running.end().await.unwrap_err().is_broken_journal());
}

#[tokio::test]
async fn what_a_crash_leaves_behind_does_not_matter() {
    let place = tempfile::tempdir().unwrap();
    let bucket = Bucket::open(place.path().to_str().unwrap()).await.unwrap();
    written(&bucket, 3, 1000).await;
    // A staged entry, a staged object, and a snapshot whose entry was never written.
    std::fs::write(place.path().join("journal/00000000000000000004#1"), "{\"eve").unwrap();
    std::fs::create_dir_all(place.path().join("objects/ab")).unwrap();
    std::fs::write(place.path().join(format!("objects/ab/ab{}#3", "0".repeat(62))), "half").unwrap();
    bucket.put_object(&bundle("shop", "never-published")).await.unwrap();

    let bucket = Bucket::open(place.path().to_str().unwrap()).await.unwrap();
    written(&bucket, 6, 1000).await;
    let report = verify::verify(&bucket, |_| {}).await.unwrap();
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!((report.entries, report.stray_objects), (6, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_journals_race_on_one_folder() {
    let place = tempfile::tempdir().unwrap();
    let mut tasks = Vec::new();
    for number in 0..2 {
        let bucket = Bucket::open(place.path().to_str().unwrap()).await.unwrap();
        tasks.push(tokio::spawn(async move {
            let running = Running::open(&bucket, Settings::new(format!("w{number}")), number)
                .await
                .unwrap();
            for channel in 0..30 {
                running.submit(create(&format!("w{number}-c{channel}"))).await.unwrap();
            }
            running.stop().await.unwrap();
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let bucket = Bucket::open(place.path().to_str().unwrap()).await.unwrap();
    let running = Running::start(&bucket).await;
    assert_eq!(running.journal.state().borrow().fleet.channels.len(), 60);
    running.stop().await.unwrap();
    let report = verify::verify(&bucket, |_| {}).await.unwrap();
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.entries, 60);
}
