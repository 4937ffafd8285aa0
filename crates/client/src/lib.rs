//! What release tooling needs to talk to a Driftless server: push, read, watch.
//!
//! The `driftless` command is built on this crate; anything it does a program can do. The types of what is pushed
//! and read (bundles, manifests, names, hashes) are those of [`model`].
//!
//! # Layout
//! [`Target`] (where, whom to trust, as whom) → `connect` (a lazy TLS channel whose failures explain themselves)
//! → [`Client`] (one method per question) → [`types`] (the answers, as stable camelCase JSON too).
//! [`push`] holds what a push takes and tells; `retry` says what may be repeated; [`Convergence`] adds up what a
//! watch tells.
//!
//! # Guarantees
//! - Every object that a method returns was hashed and is what its name says, whatever the server sent.
//! - Steps that are safe to repeat are repeated while the server is away for a moment; no other is.
//! - No error and no `Debug` output holds a token.
//!
//! # Example
//! A push, and the wait until the clusters run it. `examples/push.rs` is this as a program.
//!
//! ```no_run
//! use driftless_client::{
//!     Client, Progress, Push, Target,
//!     model::{bundle::Bundle, intake, name::ChannelName},
//! };
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let text = intake::Text { name: "shop.yaml".into(), content: std::fs::read_to_string("shop.yaml")? };
//! let manifests = intake::read(&[text], "default").map_err(|problems| format!("{problems:?}"))?;
//! let bundle = Bundle::new("shop".parse()?, manifests)?;
//!
//! let client = Client::connect(Target {
//!     server: "https://127.0.0.1:7443".parse()?,
//!     ca: Some(std::fs::read_to_string("data/ca.crt")?),
//!     token: Some(std::fs::read_to_string("data/admin.token")?.trim().to_owned()),
//! })?;
//! let channel: ChannelName = "prod".parse()?;
//! let push = Push::new(channel.clone()).bundle(bundle).message("first").source("commit", "5c3f1e0");
//! let pushed = client
//!     .push(push, |progress| match progress {
//!         Progress::Compared { objects, missing } => println!("{missing} of {objects} objects are new"),
//!         Progress::Uploaded { objects, of, bytes } => println!("{objects} of {of} objects, {bytes} bytes"),
//!         Progress::Publishing => println!("publishing"),
//!     })
//!     .await?;
//! println!("prod is at {}", pushed.snapshot);
//!
//! let all = client
//!     .until_converged(&channel, &pushed, |now| println!("{} of {} clusters", now.converged, now.joined))
//!     .await?;
//! println!("all {} clusters run it", all.joined);
//! # Ok(())
//! # }
//! ```
//!
//! # Repeating
//! A request that finds the server away is sent again, up to five times within about two seconds: enough for a
//! server to restart behind the same address. That is done for what only reads, for uploads, for [`Client::push`] and for
//! [`Client::change_clusters`]. It is not done for [`Client::create_channel`], [`Client::enroll`] and
//! [`Client::retire_clusters`], which would be refused the second time. A server that has not answered once in
//! the program's life is not waited for: its address is more likely wrong.
//!
//! Every push carries an idempotency key, by which the server knows it when it comes again and answers as it did the
//! first time, even when others pushed in between. One is drawn at random unless the push has one
//! ([`Push::idempotency_key`]). Give it one of your own where another process may repeat it, such as a CI job
//! that is started again; the server remembers a key for ten minutes. An error that [`Error::is_retryable`] after
//! all those tries leaves open whether the push was carried out: repeat it with the same key.
//!
//! # Conflicts
//! Pushes to different components of one channel never conflict. Two to the same component do if the later one says
//! what it was built upon ([`Push::built_upon`]); without that it overwrites. A push that was refused so
//! ([`Error::is_conflict`]) changed nothing: read the channel again, look at what the other one did, and push anew.
//!
//! ```no_run
//! # use driftless_client::{Client, Error, Push, push::Parent, model::{bundle::Bundle, name::ChannelName}};
//! # async fn example(client: Client, channel: ChannelName, bundle: Bundle) -> Result<(), Error> {
//! let held = client.channel(&channel).await?.snapshot;
//! let push = Push::new(channel).bundle(bundle).built_upon(held.map_or(Parent::Empty, Parent::Snapshot));
//! match client.push(push, |_| {}).await {
//!     Err(error) if error.is_conflict() => println!("somebody else was faster: {error}"),
//!     other => println!("{}", other?.snapshot),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Watching
//! [`Client::until_converged`] answers the usual question after a push. [`Client::watch_channel`] gives everything
//! it is told: each cluster with its health and its problems. A watch ends when its server does; watch again, and be
//! told everything again.

mod client;
mod connect;
mod convergence;
mod error;
pub mod push;
mod retry;
pub mod types;

pub use client::{Client, DryRunOf, Enroll, Log};
pub use connect::{Target, Unreachable};
pub use convergence::Convergence;
pub use driftless_model as model;
pub use driftless_proto::Asked;
pub use error::Error;
pub use push::{Parent, Progress, Push, Pushed};
