use proptest::prelude::*;

use super::*;
use crate::journal::Tip;

mod clusters;
mod ordered;
mod repeated;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn bundle(text: &str) -> Option<ObjectHash> {
    Some(ObjectHash::of(text.as_bytes()))
}

fn author(name: &str) -> Provenance {
    Provenance {
        author: name.to_owned(),
        ..Provenance::default()
    }
}

fn publish(component: &str, bundle: Option<ObjectHash>, expected: Option<Expected>, who: &str) -> Intent {
    Intent::Publish {
        channel: "prod".parse().unwrap(),
        components: [(component.parse().unwrap(), bundle)].into(),
        expected,
        provenance: author(who),
        relied: BTreeMap::new(),
        epochs: BTreeMap::new(),
        nonce: None,
    }
}

/// The same push with a key.
fn keyed(push: Intent, key: &str) -> Intent {
    let Intent::Publish {
        channel,
        components,
        expected,
        provenance,
        ..
    } = push
    else {
        unreachable!("only pushes have keys")
    };
    Intent::Publish {
        channel,
        components,
        expected,
        provenance,
        relied: BTreeMap::new(),
        epochs: BTreeMap::new(),
        nonce: Some(ObjectHash::of(key.as_bytes())),
    }
}

/// A journal in memory: decides, appends, folds.
#[derive(Default)]
struct Log {
    fleet: Fleet,
    tip: Tip,
    entries: Vec<Entry>,
}

impl Log {
    fn with_channel() -> Self {
        let mut log = Self::default();
        log.take(&create("prod")).unwrap();
        log
    }

    fn take(&mut self, intent: &Intent) -> Result<Option<Event>, Refusal> {
        self.take_at(intent, at(i64::try_from(self.entries.len()).unwrap()))
    }

    fn take_at(&mut self, intent: &Intent, time: Timestamp) -> Result<Option<Event>, Refusal> {
        let decision = self.fleet.decide(intent, time)?;
        let mut carried_out = self.fleet.clone();
        let seq = self.tip.next_seq();
        assert_eq!(carried_out.carry_out(intent, seq, time).as_ref(), Ok(&decision));
        let Decision::Append(append) = decision else {
            assert_eq!(carried_out, self.fleet);
            return Ok(None);
        };
        let event = append.event;
        let entry = Entry {
            seq: self.tip.next_seq(),
            prev: self.tip.hash,
            time,
            writer: "w".to_owned(),
            nonce: "n".to_owned(),
            events: vec![event.clone()],
        };
        let entry = self.tip.follow(&entry.encode()).expect("it follows");
        self.fleet.apply(&entry)?;
        assert_eq!(carried_out, self.fleet);
        self.entries.push(entry);
        Ok(Some(event))
    }

    fn prod(&self) -> &Channel {
        &self.fleet.channels[&"prod".parse().unwrap()]
    }

    fn seen(&self) -> Option<Expected> {
        Some(Expected {
            parent: self.prod().snapshot,
            components: self.prod().components.clone(),
        })
    }
}

fn create(channel: &str) -> Intent {
    Intent::CreateChannel {
        channel: channel.parse().unwrap(),
        author: "admin".to_owned(),
    }
}

fn enroll(cluster: &str, token: &str, again: bool) -> Intent {
    Intent::EnrollCluster {
        cluster: cluster.parse().unwrap(),
        channel: "prod".parse().unwrap(),
        labels: Labels::new(),
        vars: Vars::new(),
        join: JoinToken {
            hash: ObjectHash::of(token.as_bytes()),
            expires: at(1000),
        },
        again,
        author: "admin".to_owned(),
    }
}

fn join(token: &str, key: &str) -> Intent {
    Intent::JoinCluster {
        token: ObjectHash::of(token.as_bytes()),
        key: ObjectHash::of(key.as_bytes()),
    }
}

#[test]
fn channels_come_into_being_once_and_never_by_a_push() {
    let mut log = Log::default();
    let refusal = log.take(&publish("shop", bundle("1"), None, "ann")).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "there is no channel `prod` (there is none yet): create it with `driftless channel create prod`"
    );
    log.take(&create("prod")).unwrap();
    assert!(log.take(&create("prod")).unwrap_err().is_already_there());
}

#[test]
fn push_moves_the_channel_and_its_directive() {
    let mut log = Log::with_channel();
    let before = log.fleet.directive(&"prod".parse().unwrap()).unwrap();
    assert_eq!(before.snapshot, None);
    log.take(&publish("shop", bundle("1"), None, "ann")).unwrap();
    let after = log.fleet.directive(&"prod".parse().unwrap()).unwrap();
    assert!(after.sequence > before.sequence);
    assert_eq!(after.snapshot, log.prod().snapshot);
    assert_eq!(
        log.prod().components[&"shop".parse::<ComponentName>().unwrap()],
        bundle("1").unwrap()
    );
}

#[test]
fn push_of_what_is_there_changes_nothing() {
    let mut log = Log::with_channel();
    let push = publish("shop", bundle("1"), None, "ann");
    log.take(&push).unwrap();
    assert_eq!(log.take(&push).unwrap(), None);
    assert_eq!(log.take(&publish("other", None, None, "ann")).unwrap(), None);
}

#[test]
fn second_push_with_the_same_parent_is_told_who_won() {
    let mut log = Log::with_channel();
    let seen = log.seen();
    log.take(&publish("shop", bundle("1"), seen.clone(), "ann")).unwrap();
    let refusal = log
        .take(&publish("shop", bundle("2"), seen.clone(), "bob"))
        .unwrap_err();
    assert!(refusal.is_conflict());
    let winner = log.prod().snapshot.unwrap().short();
    assert!(
        refusal.to_string().contains(&format!("by ann with snapshot {winner}")),
        "{refusal}"
    );
    // The same content is no conflict: it is already as both want it.
    assert_eq!(log.take(&publish("shop", bundle("1"), seen, "bob")).unwrap(), None);
}

#[test]
fn pushes_to_different_components_do_not_conflict() {
    let mut log = Log::with_channel();
    let seen = log.seen();
    log.take(&publish("a", bundle("1"), seen.clone(), "ann")).unwrap();
    log.take(&publish("b", bundle("1"), seen, "bob")).unwrap();
    assert_eq!(log.prod().components.len(), 2);
}

#[test]
fn push_without_expected_parent_overwrites() {
    let mut log = Log::with_channel();
    log.take(&publish("shop", bundle("1"), None, "ann")).unwrap();
    log.take(&publish("shop", bundle("2"), None, "bob")).unwrap();
    log.take(&publish("shop", None, None, "bob")).unwrap();
    assert!(log.prod().components.is_empty());
}

#[test]
fn join_token_works_once_and_its_lost_answer_may_be_asked_for_again() {
    let mut log = Log::with_channel();
    log.take(&enroll("edge-1", "secret", false)).unwrap();
    assert_eq!(log.take(&join("wrong", "key")).unwrap_err(), Refusal::UnknownToken);
    assert!(log.take(&join("secret", "key")).unwrap().is_some());
    assert_eq!(log.take(&join("secret", "key")).unwrap(), None);
    assert!(matches!(
        log.take(&join("secret", "thief")),
        Err(Refusal::TokenUsed { .. })
    ));
}

#[test]
fn expired_join_token_is_refused() {
    let mut log = Log::with_channel();
    log.take(&enroll("edge-1", "secret", false)).unwrap();
    let refusal = log.fleet.decide(&join("secret", "key"), at(1000)).unwrap_err();
    assert!(matches!(refusal, Refusal::TokenExpired { .. }));
    assert!(log.fleet.decide(&join("secret", "key"), at(999)).is_ok());
}

#[test]
fn enrolling_again_voids_what_the_cluster_held() {
    let mut log = Log::with_channel();
    log.take(&enroll("edge-1", "first", false)).unwrap();
    log.take(&join("first", "key")).unwrap();
    assert!(
        log.take(&enroll("edge-1", "second", false))
            .unwrap_err()
            .is_already_there()
    );
    log.take(&enroll("edge-1", "second", true)).unwrap();
    let record = log.fleet.cluster(&"edge-1".parse().unwrap()).unwrap();
    assert!(matches!(record.membership, Membership::Invited { .. }));
    assert_eq!(log.take(&join("first", "key")).unwrap_err(), Refusal::UnknownToken);
}

#[test]
fn event_that_does_not_fit_is_refused_with_its_entry() {
    let mut log = Log::with_channel();
    let event = Event::Published {
        channel: "prod".parse().unwrap(),
        components: [("shop".parse().unwrap(), bundle("1"))].into(),
        snapshot: ObjectHash::of(b"something else"),
        provenance: author("ann"),
        epochs: BTreeMap::new(),
        key: None,
    };
    let refusal = log.fleet.apply_event(&event, 9, at(0)).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "journal entry 9 is not valid: its snapshot is not what its components make"
    );
}

fn any_intent() -> impl Strategy<Value = Intent> {
    let name = "[abc]";
    prop_oneof![
        "(prod|dev)".prop_map(|name| create(&name)),
        (name, prop::option::of("[12]"), "(ann|bob)").prop_map(|(component, text, who)| publish(
            &component,
            text.as_deref().and_then(bundle),
            None,
            &who
        )),
        (name, "[12]", "[123]")
            .prop_map(|(component, text, key)| keyed(publish(&component, bundle(&text), None, "ann"), &key)),
        (name, name, any::<bool>()).prop_map(|(cluster, token, again)| enroll(&cluster, &token, again)),
        (name, name).prop_map(|(token, key)| join(&token, &key)),
        (name, name, "[12]", "[xy]=[12]").prop_map(|(one, other, value, label)| {
            let labels = clusters::labelled(&format!("{label},z={value}"));
            clusters::change(&[(&one, labels.clone()), (&other, labels)])
        }),
        (name, "(prod|dev)").prop_map(|(cluster, channel)| clusters::change(&[(&cluster, clusters::moved(&channel))])),
        (name).prop_map(|cluster| clusters::retire(&[&cluster])),
        (name, prop::option::of(name), 0..9u32).prop_map(|(cluster, component, kind)| ordered::any(
            &cluster,
            component.as_deref(),
            kind
        )),
    ]
}

proptest! {
    #[test]
    fn whatever_is_decided_folds_to_the_same_state_everywhere(intents in prop::collection::vec(any_intent(), 0..40)) {
        let mut log = Log::default();
        for intent in &intents {
            let _ = log.take(intent);
        }
        let mut tip = Tip::default();
        let mut replica = Fleet::default();
        for entry in &log.entries {
            let read = tip.follow(&entry.encode()).unwrap();
            prop_assert_eq!(&read, entry);
            replica.apply(&read).unwrap();
        }
        prop_assert_eq!(&replica, &log.fleet);
        let stored = serde_json::to_vec(&replica).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Fleet>(&stored).unwrap(), replica);
    }

    #[test]
    fn refused_and_needless_intents_leave_no_trace(intents in prop::collection::vec(any_intent(), 0..40)) {
        let mut log = Log::default();
        for intent in &intents {
            let before = log.fleet.clone();
            if !matches!(log.take(intent), Ok(Some(_))) {
                prop_assert_eq!(&log.fleet, &before);
            }
        }
    }
}

#[test]
fn schema_epochs_never_fall_not_even_after_a_removal() {
    let mut log = Log::with_channel();
    let at_epoch = |bundle_name: &str, epoch: Option<u64>| {
        let Intent::Publish {
            channel,
            components,
            expected,
            provenance,
            nonce,
            ..
        } = publish("shop", bundle(bundle_name), None, "ann")
        else {
            unreachable!("it is a push")
        };
        Intent::Publish {
            channel,
            components,
            expected,
            provenance,
            relied: BTreeMap::new(),
            epochs: epoch
                .map(|epoch| ("shop".parse().unwrap(), epoch))
                .into_iter()
                .collect(),
            nonce,
        }
    };
    log.take(&at_epoch("a", Some(2))).unwrap();
    let refusal = log.take(&at_epoch("b", Some(1))).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "component `shop`: schema epoch 1 is lower than the 2 that was reached: an older version could not read what \
         a newer one has written; roll forward with a version of epoch 2 or higher"
    );
    assert!(log.take(&at_epoch("b", None)).is_err());
    log.take(&publish("shop", None, None, "ann")).unwrap();
    assert!(log.take(&at_epoch("b", Some(1))).is_err());
    log.take(&at_epoch("b", Some(3))).unwrap();
}

#[test]
fn push_whose_check_relied_on_what_is_no_more_has_to_be_checked_again() {
    let mut log = Log::with_channel();
    let relying = |component: &str, on: &[(&str, Option<&str>)]| {
        let mut push = publish(component, bundle(component), None, "ann");
        if let Intent::Publish { relied, .. } = &mut push {
            let on = on
                .iter()
                .map(|(name, held)| (name.parse().unwrap(), held.and_then(bundle)));
            relied.extend(on);
        }
        push
    };
    log.take(&relying("a", &[("b", None)])).unwrap();
    let before = log.fleet.clone();
    let refusal = log.take(&relying("b", &[("a", None)])).unwrap_err();
    assert_eq!(refusal, Refusal::Overtaken("prod".parse().unwrap()));
    assert_eq!(log.fleet, before);
    assert!(log.take(&relying("b", &[("a", Some("another"))])).is_err());
    log.take(&relying("b", &[("a", Some("a"))])).unwrap();
    // A repetition is answered whatever came after.
    let push = keyed(publish("c", bundle("c"), None, "ann"), "k");
    log.take(&push).unwrap();
}
