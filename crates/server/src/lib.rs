//! The Driftless server: gRPC for agents, release tooling and operators, on one port, over one bucket.
//!
//! Started by the `driftless` binary (`driftless server`, `driftless demo`). It keeps nothing durable but its keys:
//! everything else is in the bucket, so any number of servers may work on one.
//!
//! # Layout
//! [`Settings`] say where; [`Server`] starts everything and owns every task. From the outside in: `listener` (TCP,
//! TLS, HTTP) → `router` → `services` (one module per gRPC service, `auth` first) → the store's journal.
//! Back out: journal → `hub` (prepares directives, once for all) → the agents' streams in `services::sync` →
//! `status_table`. Beside them: `pki` and `secrets` (keys and files), `objects` (a cache of objects and deltas), `frame`
//! (messages as shared bytes), `egress` (who sends large ones when), `metrics`, `failure` (the one place where a gRPC
//! status is made).

mod auth;
mod egress;
mod error;
mod failure;
mod frame;
mod hub;
mod listener;
mod metrics;
mod objects;
mod pki;
mod recent;
mod router;
mod secrets;
mod server;
mod services;
mod settings;
mod status_table;

pub use error::Error;
pub use server::Server;
pub use settings::{Clock, Connections, OwnTls, Settings};
