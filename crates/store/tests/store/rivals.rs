//! Several writers on one bucket that fails at random: a seeded simulation in virtual time.
//!
//! Replay one seed with `DRIFTLESS_SEED=n cargo test -p driftless-store rivals`.

use std::{collections::BTreeMap, env, sync::Arc};

use driftless_model::{event::Event, hash::ObjectHash, journal::Tip};
use driftless_store::{
    Bucket, Error,
    journal::{Outcome, Settings, State},
    verify,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::{
    faults::Faulty,
    support::{Running, bundle, create, entry_path, publish, read},
};

const WRITERS: u64 = 3;
const CALLERS: u64 = 3;
const PUSHES: u64 = 6;

#[test]
fn writers_on_a_failing_bucket_agree_and_lose_nothing() {
    let seeds = match env::var("DRIFTLESS_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..12).collect(),
    };
    for seed in seeds {
        let replay = Replay(seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(simulate(seed));
        std::mem::forget(replay);
    }
}

/// Says which seed it was when a simulation panics.
struct Replay(u64);

impl Drop for Replay {
    fn drop(&mut self) {
        eprintln!("replay with DRIFTLESS_SEED={}", self.0);
    }
}

async fn simulate(seed: u64) {
    let faulty = Faulty::random(seed);
    let sound = Bucket::on(faulty.inner.clone());
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        let bucket = Bucket::on(Arc::new(faulty.sibling(seed * 1000 + number)));
        let settings = Settings {
            checkpoint_every: 5,
            max_batch: 4,
            ..Settings::new(format!("w{number}"))
        };
        writers.push(open(&bucket, settings, seed * 1000 + 100 + number).await);
    }
    submit_until_answered(&writers[0], &create("prod")).await;

    let mut callers = Vec::new();
    for writer in &writers {
        for _ in 0..CALLERS {
            let caller = callers.len() as u64;
            callers.push(call(writer, &sound, caller, seed));
        }
    }
    let acknowledged: Vec<Outcome> = futures::future::join_all(callers).await.into_iter().flatten().collect();

    let state = fold_by_hand(&faulty).await;
    check_acknowledged(&acknowledged, &faulty, state.tip.seq).await;
    for writer in writers {
        let mut states = writer.journal.state();
        let reached = states
            .wait_for(|seen| seen.tip.seq >= state.tip.seq)
            .await
            .unwrap()
            .clone();
        assert_eq!(*reached, state);
        writer.stop().await.unwrap();
    }
    let report = verify::verify(&sound, |_| {}).await.unwrap();
    assert!(report.is_clean(), "{report:#?}");
}

async fn open(bucket: &Bucket, settings: Settings, seed: u64) -> Running {
    loop {
        match Running::open(bucket, settings.clone(), seed).await {
            Ok(running) => return running,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
}

async fn submit_until_answered(writer: &Running, intent: &driftless_model::fleet::Intent) -> Option<Outcome> {
    loop {
        match writer.submit(intent.clone()).await {
            Ok(outcome) => return Some(outcome),
            // An earlier try, whose answer was lost, went through.
            Err(Error::Refused(refusal)) if refusal.is_already_there() => return None,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
}

/// One component's pushes, one after the other.
async fn call(writer: &Running, sound: &Bucket, caller: u64, seed: u64) -> Vec<Outcome> {
    let mut rng = StdRng::seed_from_u64(seed * 1000 + 500 + caller);
    let component = format!("component-{caller}");
    let mut outcomes = Vec::new();
    for push in 0..PUSHES {
        tokio::time::sleep(std::time::Duration::from_millis(rng.random_range(0..300))).await;
        let hash = sound
            .put_object(&bundle(&component, &format!("push-{push}")))
            .await
            .unwrap();
        outcomes.extend(submit_until_answered(writer, &publish("prod", &component, hash)).await);
    }
    outcomes
}

async fn fold_by_hand(faulty: &Faulty) -> State {
    let mut state = State::default();
    for seq in 1..=newest(faulty).await {
        let entry = state.tip.follow(&read(&*faulty.inner, &entry_path(seq)).await).unwrap();
        state.fleet.apply(&entry).unwrap();
    }
    state
}

async fn newest(faulty: &Faulty) -> u64 {
    use futures::TryStreamExt as _;
    use object_store::ObjectStore as _;
    let listed: Vec<_> = faulty.inner.list(Some(&"journal".into())).try_collect().await.unwrap();
    listed
        .iter()
        .map(|meta| meta.location.filename().unwrap().parse().unwrap())
        .max()
        .unwrap()
}

/// Every acknowledged event is where the answer said, and every push is there exactly once.
async fn check_acknowledged(acknowledged: &[Outcome], faulty: &Faulty, last: u64) {
    let mut entries = BTreeMap::new();
    let mut tip = Tip::default();
    let mut pushes: BTreeMap<ObjectHash, u32> = BTreeMap::new();
    for seq in 1..=last {
        let entry = tip.follow(&read(&*faulty.inner, &entry_path(seq)).await).unwrap();
        for event in &entry.events {
            if let Event::Published { components, .. } = event {
                components
                    .values()
                    .flatten()
                    .for_each(|hash| *pushes.entry(*hash).or_default() += 1);
            }
        }
        entries.insert(seq, entry);
    }
    assert_eq!(pushes.len() as u64, WRITERS * CALLERS * PUSHES);
    assert!(pushes.values().all(|times| *times == 1), "{pushes:?}");
    for outcome in acknowledged {
        if let Some(event) = &outcome.event {
            let held = entries[&outcome.seq]
                .events
                .iter()
                .filter(|held| *held == event)
                .count();
            assert_eq!(held, 1, "{outcome:?}");
        }
    }
}
