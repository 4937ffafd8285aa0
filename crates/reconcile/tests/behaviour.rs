//! What a reconciler does to a cluster, on the simulator under virtual time, and the core of it on a real API server.

#[path = "behaviour/apply.rs"]
mod apply;
#[path = "behaviour/drift.rs"]
mod drift;
#[path = "behaviour/events.rs"]
mod events;
#[path = "behaviour/faults.rs"]
mod faults;
#[path = "behaviour/fields.rs"]
mod fields;
#[path = "behaviour/held.rs"]
mod held;
#[path = "behaviour/hooks.rs"]
mod hooks;
#[path = "behaviour/leaving.rs"]
mod leaving;
#[path = "behaviour/order.rs"]
mod order;
#[path = "behaviour/orders.rs"]
mod orders;
#[path = "behaviour/ownership.rs"]
mod ownership;
#[path = "behaviour/privilege.rs"]
mod privilege;
#[path = "behaviour/probe.rs"]
mod probe;
#[path = "behaviour/prune.rs"]
mod prune;
#[path = "behaviour/real.rs"]
mod real;
#[path = "behaviour/replace.rs"]
mod replace;
#[path = "behaviour/restart.rs"]
mod restart;
#[path = "behaviour/rig.rs"]
mod rig;
#[path = "behaviour/rules.rs"]
mod rules;
#[path = "behaviour/stress.rs"]
mod stress;
#[path = "behaviour/stuck.rs"]
mod stuck;
#[path = "behaviour/survey.rs"]
mod survey;
#[path = "behaviour/versions.rs"]
mod versions;
