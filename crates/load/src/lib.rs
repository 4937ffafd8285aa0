//! Load for a server: thousands of clusters' `Sync` streams in one process, and figures of what a change costs them.
//!
//! The streams are real ones, over mutual TLS, and what they bring is believed or refused by the session of a real
//! agent ([`driftless_agent::Follower`]); only what lies behind that, the cluster, is not there. `driftless bench` and
//! the bench `fleet` are built on it.
//!
//! # Layout
//! [`bench()`] carries out a [`Plan`] and answers with a [`Report`]; it is made of:
//! - [`crew`]: enrols clusters and gets them their certificates, many at once → [`Member`]s;
//! - [`fleet`]: a task per member that keeps its stream (`stream`, over `dial`) open; what each has verified, and when,
//!   is on a [`board`];
//! - [`Held`]: such a fleet with somebody who pushes (`releases`), step by step;
//! - [`share`]: a part of a fleet that is held by another process, and [`Shares`]: several of them with somebody who
//!   pushes, for more streams than one process may open files;
//! - [`workload`]: what is pushed, of the size asked for;
//! - [`frame`]: messages as a stream carries them, for whoever opens one by hand ([`Dial`]);
//! - [`figures`], [`plot`], [`process`]: what the outcome is in numbers, as a picture, and what it cost the server.
//!
//! # Honesty
//! Clients and server share the machine here, so time is that of both. What is verified is verified in full; but the
//! same message, byte for byte, told to streams in the same place is worked out once for all of them, unless
//! [`Verify::Each`] is asked for. A stream's bytes are counted at its TCP socket.

mod bench;
pub mod board;
pub mod crew;
mod dial;
mod error;
pub mod figures;
pub mod fleet;
pub mod frame;
mod held;
pub mod moment;
mod open_files;
pub mod plot;
pub mod process;
mod releases;
mod report;
pub mod share;
mod shares;
mod stream;
pub mod workload;

pub use bench::{Found, Plan, bench, typical};
pub use crew::{Member, Recruiting};
pub use dial::Dial;
pub use error::Error;
pub use fleet::{Fleet, Verify};
pub use held::{Held, Holding};
pub use open_files::{at_least, raise_limit};
pub use report::{ChangeReport, Joined, Late, Reached, Reconnected, Report, ServerUse, StreamReport};
pub use share::Share;
pub use shares::{SharedChange, Shares};
