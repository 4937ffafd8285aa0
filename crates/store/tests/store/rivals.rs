//! Several writers on one bucket that fails at random: a seeded simulation in virtual time.
//!
//! Replay one seed with `DRIFTLESS_SEED=n cargo test -p driftless-store rivals`.

use std::{collections::BTreeMap, env, sync::Arc, time::Duration};

use driftless_model::{
    event::Event,
    fleet::{Expected, Intent, Refusal},
    hash::ObjectHash,
    journal::Tip,
    name::ComponentName,
};
use driftless_store::{
    Bucket, Error,
    journal::{Settings, State},
    verify,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::Instant;

use crate::{
    faults::Faulty,
    support::{self, Running, bundle, create, entry_path, read, with_nonce},
};

const WRITERS: u64 = 3;
const CALLERS: u64 = 4;
const PUSHES: u64 = 6;
/// One in so many callers pushes to the component that others push to as well, upon what it saw.
const SHARED_EVERY: u64 = 2;

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
    for _ in 0..WRITERS {
        for _ in 0..CALLERS {
            let caller = callers.len() as u64;
            callers.push(call(&writers, &sound, caller, seed));
        }
    }
    let answers: Vec<Answered> = futures::future::join_all(callers).await.into_iter().flatten().collect();

    let state = fold_by_hand(&faulty).await;
    check_answers(&answers, &faulty, state.tip.seq).await;
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

async fn submit_until_answered(writer: &Running, intent: &Intent) {
    loop {
        match writer.submit(intent.clone()).await {
            Ok(_) => return,
            // An earlier try, whose answer was lost, went through.
            Err(Error::Refused(refusal)) if refusal.is_already_there() => return,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }
}

/// A push that was answered.
struct Answered {
    bundle: ObjectHash,
    component: ComponentName,
    /// Where it is, and what it made; `None` when it was refused because somebody else was faster.
    place: Option<(u64, ObjectHash)>,
    /// The snapshot it was built upon, if it said so.
    parent: Option<Option<ObjectHash>>,
    begun: Instant,
    acknowledged: Instant,
}

/// One caller's pushes, one after the other. Whenever an answer is lost it asks another writer.
async fn call(writers: &[Running], sound: &Bucket, caller: u64, seed: u64) -> Vec<Answered> {
    let mut rng = StdRng::seed_from_u64(seed * 1000 + 500 + caller);
    let is_shared = caller.is_multiple_of(SHARED_EVERY);
    let component = if is_shared {
        "shared".to_owned()
    } else {
        format!("component-{caller}")
    };
    let mut answers = Vec::new();
    for push in 0..PUSHES {
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..300))).await;
        let content = bundle(&component, &format!("push-{caller}-{push}"));
        let bundle = sound.put_object(&content).await.unwrap();
        let mut writer = rng.random_range(0..writers.len());
        let expected = is_shared.then(|| seen(&writers[writer]));
        let parent = expected.as_ref().map(|expected| expected.parent);
        let nonce = ObjectHash::of(format!("{seed}-{caller}-{push}").as_bytes());
        let intent = with_nonce(support::push("prod", &component, bundle, expected), nonce);
        let begun = Instant::now();
        let place = loop {
            match writers[writer].submit(intent.clone()).await {
                Ok(outcome) => break Some((outcome.seq, outcome.snapshot.expect("every push is new"))),
                Err(Error::Refused(refusal)) if refusal.is_conflict() => break None,
                Err(Error::Refused(Refusal::UnknownChannel { .. })) => writer = 0,
                Err(error) => {
                    assert!(error.is_retryable(), "{error}");
                    writer = rng.random_range(0..writers.len());
                }
            }
        };
        answers.push(Answered {
            bundle,
            component: component.parse().unwrap(),
            place,
            parent,
            begun,
            acknowledged: Instant::now(),
        });
    }
    answers
}

/// What a caller sees of the channel now, at this writer.
fn seen(writer: &Running) -> Expected {
    let state = writer.journal.state().borrow().clone();
    let channel = state.fleet.channel(&"prod".parse().unwrap()).ok().cloned();
    Expected {
        parent: channel.as_ref().and_then(|channel| channel.snapshot),
        components: channel.map(|channel| channel.components).unwrap_or_default(),
    }
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

/// Every answer is true, and together they have an order: each acknowledged push is there exactly once, where its
/// answer said; none comes before one that was acknowledged before it was begun; none that was built upon a snapshot
/// overwrites what came after it; none that was refused is there.
async fn check_answers(answers: &[Answered], faulty: &Faulty, last: u64) {
    let mut tip = Tip::default();
    // Everything published, in order: entry, bundle, component, snapshot.
    let mut published = Vec::new();
    for seq in 1..=last {
        let entry = tip.follow(&read(&*faulty.inner, &entry_path(seq)).await).unwrap();
        for event in entry.events {
            if let Event::Published {
                components, snapshot, ..
            } = event
            {
                for (component, bundle) in components {
                    published.push((seq, bundle.unwrap(), component, snapshot));
                }
            }
        }
    }
    let mut places: BTreeMap<ObjectHash, usize> = BTreeMap::new();
    for (place, (_, bundle, ..)) in published.iter().enumerate() {
        assert_eq!(places.insert(*bundle, place), None, "carried out twice");
    }
    let snapshots: BTreeMap<ObjectHash, usize> = published.iter().map(|(.., snapshot)| *snapshot).zip(0..).collect();

    let mut acknowledged = Vec::new();
    for answer in answers {
        let Some((seq, snapshot)) = answer.place else {
            assert_eq!(places.get(&answer.bundle), None, "refused, and there");
            continue;
        };
        let place = places[&answer.bundle];
        assert_eq!((seq, snapshot), (published[place].0, published[place].3));
        acknowledged.push((answer, place));
        if let Some(parent) = answer.parent {
            let upon = parent.map(|parent| snapshots[&parent]);
            let mut before = published[..place].iter().enumerate().rev();
            let overwritten = before.find(|(_, (_, _, component, _))| *component == answer.component);
            assert!(
                overwritten.is_none_or(|(place, _)| Some(place) <= upon),
                "an update was lost"
            );
        }
    }
    assert_eq!(acknowledged.len(), published.len());
    for (one, place) in &acknowledged {
        for (other, later) in &acknowledged {
            assert!(
                one.acknowledged >= other.begun || place < later,
                "the order contradicts the answers"
            );
        }
    }
    assert!(acknowledged.len() < answers.len(), "no conflict: this shows nothing");
}
