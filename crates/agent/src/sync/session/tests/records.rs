//! What the cluster's record says: labels, variables, orders, its channel, its name.

use serde_json::json;

use super::*;

#[test]
fn changed_labels_are_remembered() {
    let mut session = at_five();
    let adoption = adopted(session.receive(welcome_to("prod", &[("region", "eu")])).unwrap());
    assert_eq!(
        adoption.accepted.labels,
        Labels::from([("region".to_owned(), "eu".to_owned())])
    );
    assert!(adoption.view.is_some());
    assert!(
        session
            .receive(welcome_to("prod", &[("region", "eu")]))
            .unwrap()
            .is_empty()
    );
}

fn with_vars(mut message: v1::ServerMessage, vars: &[(&str, &str)], revision: u64) -> v1::ServerMessage {
    if let Some(v1::server_message::Message::Welcome(welcome)) = &mut message.message {
        welcome.vars = vars
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        welcome.revision = revision;
    }
    message
}

#[test]
fn changed_variables_are_remembered_and_make_a_view() {
    let mut session = at_five();
    let told = with_vars(welcome_to("prod", &[]), &[("db", r#"{"port":1}"#)], 7);
    let adoption = adopted(session.receive(told.clone()).unwrap());
    assert_eq!(adoption.accepted.vars, [("db".to_owned(), json!({"port": 1}))].into());
    assert_eq!(adoption.accepted.revision, 7);
    assert_eq!(adoption.accepted.directive().sequence, 5);
    assert!(adoption.view.is_some());
    assert!(session.receive(told).unwrap().is_empty());
    let refusal = session
        .receive(with_vars(welcome_to("prod", &[]), &[("db", "{")], 8))
        .unwrap_err();
    assert_eq!(refusal.reason(), "MessageMalformed");
    let adoption = adopted(
        session
            .receive(with_vars(welcome_to("prod", &[]), &[("db", r#"{"port":1}"#)], 9))
            .unwrap(),
    );
    assert!(adoption.view.is_none(), "only the revision is new");
    assert_eq!(adoption.accepted.revision, 9);
}

#[test]
fn cluster_that_moves_and_back_runs_what_each_channel_says() {
    let mut session = at_five();
    let (shop, cart) = (bundle("shop", &["a"]), bundle("cart", &["c"]));
    let (prod, dev) = (snapshot(&[&shop]), snapshot(&[&cart]));
    // Labels that come with the move wait for the channel's directive.
    let moved = with_vars(welcome_to("dev", &[("region", "eu")]), &[], 9);
    assert!(session.receive(moved).unwrap().is_empty());
    assert!(session.accepted().unwrap().labels.is_empty());
    let actions = session
        .receive(directive("dev", 3, Some(&dev), &[&dev.encode()]))
        .unwrap();
    assert_eq!(wanted(&actions), [cart.hash()]);
    assert_eq!(
        names(&session.restored().unwrap()),
        ["a"],
        "what runs goes on until the new is there"
    );
    let adoption = adopted(session.receive(sent(object(&cart.encode()))).unwrap());
    assert_eq!(names(&adoption.view.unwrap()), ["c"]);
    assert_eq!(adoption.accepted.facts().channel.as_str(), "dev");
    assert_eq!((adoption.accepted.labels.len(), adoption.accepted.revision), (1, 9));
    // Back, to the very directive that was accepted before.
    session.receive(with_vars(welcome_to("prod", &[]), &[], 10)).unwrap();
    let back = directive("prod", 5, Some(&prod), &[&prod.encode(), &shop.encode()]);
    let adoption = adopted(session.receive(back).unwrap());
    assert_eq!(names(&adoption.view.unwrap()), ["a"]);
    assert_eq!(adoption.accepted.directive().sequence, 5);
    assert_eq!((adoption.accepted.labels.len(), adoption.accepted.revision), (0, 10));
}

#[test]
fn directive_of_a_channel_that_the_cluster_left_is_not_waited_for() {
    let mut session = at_five();
    let (cart, mail) = (bundle("cart", &["c"]), bundle("mail", &["m"]));
    let (left, joined) = (snapshot(&[&cart]), snapshot(&[&mail]));
    session
        .receive(directive("prod", 6, Some(&left), &[&left.encode()]))
        .unwrap();
    session.receive(welcome_to("dev", &[])).unwrap();
    assert!(session.is_settled());
    assert!(session.receive(sent(object(&cart.encode()))).unwrap().is_empty());
    assert_eq!(names(&session.restored().unwrap()), ["a"]);
    let inline: [&[u8]; 2] = [&joined.encode(), &mail.encode()];
    let adoption = adopted(session.receive(directive("dev", 2, Some(&joined), &inline)).unwrap());
    assert_eq!(names(&adoption.view.unwrap()), ["m"]);
}

#[test]
fn move_to_a_channel_without_snapshot_leaves_what_runs() {
    let mut session = at_five();
    session.receive(welcome_to("dev", &[("region", "eu")])).unwrap();
    let adoption = adopted(session.receive(directive("dev", 2, None, &[])).unwrap());
    assert_eq!(
        adoption.accepted.running,
        Some(snapshot(&[&bundle("shop", &["a"])]).hash())
    );
    assert_eq!(names(&adoption.view.unwrap()), ["a"]);
    assert_eq!(adoption.accepted.labels["region"], "eu");
}

#[test]
fn cluster_under_another_name_starts_anew_and_takes_over_what_is_the_same() {
    let mut session = at_five();
    session.call(&"edge-1".parse().unwrap());
    assert!(session.accepted().is_some());
    session.call(&"edge-9".parse().unwrap());
    assert_eq!(session.hello("test").sequence, 0);
    let mut welcome = welcome_to("prod", &[]);
    if let Some(v1::server_message::Message::Welcome(welcome)) = &mut welcome.message {
        welcome.cluster = "edge-9".to_owned();
    }
    session.receive(welcome).unwrap();
    let same = snapshot(&[&bundle("shop", &["a"])]);
    let adoption = adopted(session.receive(directive("prod", 2, Some(&same), &[])).unwrap());
    assert_eq!(adoption.accepted.cluster.as_str(), "edge-9");
}

fn with_orders(mut message: v1::ServerMessage, orders: &Orders, revision: u64) -> v1::ServerMessage {
    if let Some(v1::server_message::Message::Welcome(welcome)) = &mut message.message {
        welcome.orders = proto::from_orders(orders);
        welcome.revision = revision;
    }
    message
}

#[test]
fn orders_are_remembered_and_come_before_the_directive_of_another_channel() {
    let mut session = at_five();
    let order = driftless_model::orders::Order::Reconcile;
    let once = order.apply(&Orders::default(), "ann", jiff::Timestamp::UNIX_EPOCH);
    let twice = order.apply(&once, "ann", jiff::Timestamp::UNIX_EPOCH);
    let labels = [("region", "eu")];
    let message = with_orders(welcome_to("prod", &labels), &once, 9);
    let adoption = adopted(session.receive(message.clone()).unwrap());
    assert_eq!((&adoption.accepted.orders, adoption.accepted.revision), (&once, 9));
    assert!(session.receive(message).unwrap().is_empty());
    // What it runs waits for the new channel's directive; that nothing shall be touched does not.
    let adoption = adopted(
        session
            .receive(with_orders(welcome_to("dev", &labels), &twice, 10))
            .unwrap(),
    );
    assert_eq!((&adoption.accepted.orders, adoption.accepted.revision), (&twice, 9));
    assert!(adoption.view.is_none());
    let bytes = adoption.accepted.encode();
    assert_eq!(Accepted::decode(&bytes).unwrap(), adoption.accepted);
}
