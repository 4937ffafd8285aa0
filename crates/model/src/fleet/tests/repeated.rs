use super::*;

#[test]
fn repeated_push_is_answered_as_the_first_time_whatever_came_after() {
    let mut log = Log::with_channel();
    let empty = log.seen();
    let push = keyed(publish("shop", bundle("a"), empty, "ann"), "k1");
    log.take(&push).unwrap();
    let first = Decision::Repeated {
        seq: log.tip.seq,
        snapshot: log.prod().snapshot.unwrap(),
    };
    assert_eq!(log.fleet.decide(&push, at(5)), Ok(first.clone()));
    log.take(&publish("shop", bundle("b"), None, "bob")).unwrap();
    assert_eq!(log.fleet.decide(&push, at(6)), Ok(first), "no a, b, a");
    assert_eq!(
        log.prod().components[&"shop".parse::<ComponentName>().unwrap()],
        bundle("b").unwrap()
    );
}

#[test]
fn key_sent_with_another_request_is_refused() {
    let mut log = Log::with_channel();
    log.take(&keyed(publish("shop", bundle("a"), None, "ann"), "k1"))
        .unwrap();
    let others = [
        publish("shop", bundle("b"), None, "ann"),
        publish("shop", bundle("a"), log.seen(), "ann"),
        publish("shop", bundle("a"), None, "bob"),
    ];
    for other in others {
        let refusal = log.take(&keyed(other, "k1")).unwrap_err();
        assert!(refusal.is_reused_key(), "{refusal}");
        assert!(refusal.to_string().contains("draw a new key"), "{refusal}");
    }
    let mut elsewhere = log.fleet.clone();
    elsewhere.carry_out(&create("dev"), 9, at(1)).unwrap();
    let Intent::Publish {
        components,
        provenance,
        nonce,
        ..
    } = keyed(publish("shop", bundle("b"), None, "ann"), "k1")
    else {
        unreachable!("it is a push")
    };
    let channel = "dev".parse().unwrap();
    let push = Intent::Publish {
        channel,
        components,
        expected: None,
        provenance,
        relied: BTreeMap::new(),
        epochs: BTreeMap::new(),
        nonce,
    };
    assert!(elsewhere.carry_out(&push, 10, at(1)).is_ok(), "keys are of one channel");
}

#[test]
fn keys_are_forgotten_by_age_and_by_number() {
    let mut log = Log::with_channel();
    let push = |number: i64| {
        keyed(
            publish("shop", bundle(&number.to_string()), None, "ann"),
            &number.to_string(),
        )
    };
    log.take_at(&push(0), at(0)).unwrap();
    log.take_at(&push(1), at(300)).unwrap();
    log.take_at(&push(2), at(600)).unwrap();
    assert!(matches!(
        log.fleet.decide(&push(0), at(600)),
        Ok(Decision::Repeated { .. })
    ));
    log.take_at(&push(3), at(601)).unwrap();
    assert!(matches!(log.fleet.decide(&push(0), at(601)), Ok(Decision::Append(_))));
    assert!(matches!(
        log.fleet.decide(&push(1), at(601)),
        Ok(Decision::Repeated { .. })
    ));

    let mut recent = Recent::default();
    let done = |number: usize| Done {
        key: PushKey {
            nonce: ObjectHash::of(&number.to_be_bytes()),
            request: ObjectHash::of(b"request"),
        },
        seq: number as u64,
        snapshot: ObjectHash::of(b"snapshot"),
        time: at(0),
    };
    for number in 0..=MAX_REMEMBERED {
        assert!(recent.insert(done(number)));
    }
    assert!(!recent.insert(done(1)), "known already");
    assert_eq!(recent.get(&done(0).key.nonce), None);
    assert_eq!(recent.get(&done(1).key.nonce), Some(&done(1)));
    let read: Recent = serde_json::from_str(&serde_json::to_string(&recent).unwrap()).unwrap();
    assert_eq!(read, recent);
    assert_eq!(read.get(&done(MAX_REMEMBERED).key.nonce), Some(&done(MAX_REMEMBERED)));
    assert!(recent.insert(done(0)), "it was forgotten");
    assert_eq!(recent.get(&done(0).key.nonce), Some(&done(0)));
}

#[test]
fn event_that_repeats_a_push_is_refused() {
    let mut log = Log::with_channel();
    let push = keyed(publish("shop", bundle("a"), None, "ann"), "k1");
    let event = log.take(&push).unwrap().unwrap();
    let mut other = Log::with_channel();
    other.take(&publish("shop", bundle("b"), None, "bob")).unwrap();
    other.take(&push).unwrap();
    let Event::Published {
        components,
        provenance,
        key,
        ..
    } = event
    else {
        unreachable!("a push publishes")
    };
    let mut again = other.fleet.clone();
    let channel = again.channels.get_mut(&"prod".parse().unwrap()).unwrap();
    let snapshot = channel.advance(&components, &provenance, at(9), 9).hash();
    let channel = "prod".parse().unwrap();
    let event = Event::Published {
        channel,
        components,
        snapshot,
        provenance,
        epochs: BTreeMap::new(),
        key,
    };
    let refusal = other.fleet.apply_event(&event, 9, at(9)).unwrap_err();
    assert!(
        refusal
            .to_string()
            .ends_with("it repeats a push that was carried out before"),
        "{refusal}"
    );
}
