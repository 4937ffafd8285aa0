//! A Kubernetes API server in memory: small enough for thousands per process, faithful in what a GitOps agent sees.
//!
//! [`Cluster`] is the whole interface: a `kube` client without sockets, or plain HTTP for kubectl. Where it and a real
//! server differ in what a test observes, this one is wrong.
//!
//! # Layout
//! A request: `http` (paths, media types) → `state` → `write`, `delete`, `read` or `watch` → `store` (objects and their
//! history) → `controllers` (what a cluster's own controllers would do about it) → `http`.
//!
//! What a write needs: `kinds` and `schema` (what there is), `decode`, `defaults`, `quantity` (what a client's object
//! becomes), `validate`, `patch`, `managed` on `typed` on `fields` (server-side apply), `convert` (versions).
//!
//! Around it: `definitions` (custom kinds), `scale`, `discovery`, `status` (refusals), `faults`, `requests`, `serve`.

mod cluster;
mod controllers;
mod convert;
mod decode;
mod defaults;
mod definitions;
mod delete;
mod discovery;
mod faults;
mod fields;
pub mod fleet;
mod http;
mod inspect;
mod kinds;
mod managed;
mod patch;
mod quantity;
mod read;
mod requests;
mod scale;
mod schema;
mod select;
mod serve;
mod state;
mod status;
mod store;
mod typed;
mod validate;
mod watch;
mod write;

pub use cluster::{Clock, Cluster, Options};
pub use faults::{Cut, Failure, Faults, Matching};
pub use requests::{Request, Requests};
pub use state::Workloads;
