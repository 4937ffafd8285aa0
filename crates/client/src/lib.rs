//! What release tooling needs to talk to a Driftless server: push, read, watch.
//!
//! The `driftless` command is built on this crate; anything it does a program can do.
//!
//! # Layout
//! [`Target`] (where, whom to trust, as whom) → `connect` (a lazy TLS channel whose failures explain themselves)
//! → [`Client`] (one method per question) → [`types`] (the answers, as stable camelCase JSON too).
//! [`push`] holds what a push takes and tells; `retry` says what may be repeated.
//!
//! # Guarantees
//! - Every object that a method returns was hashed and is what its name says, whatever the server sent.
//! - Steps that are safe to repeat are repeated while the server is away for a moment; no other is.
//!
//! # Example
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use driftless_client::{Client, Push, Target};
//! use driftless_model::{bundle::Bundle, intake};
//!
//! let text = intake::Text { name: "shop.yaml".into(), content: std::fs::read_to_string("shop.yaml")? };
//! let manifests = intake::read(&[text], "default").map_err(|problems| format!("{problems:?}"))?;
//! let bundle = Bundle::new("shop".parse()?, manifests)?;
//!
//! let client = Client::connect(Target {
//!     server: "https://127.0.0.1:7443".parse()?,
//!     ca: Some(std::fs::read_to_string("data/ca.crt")?),
//!     token: Some(std::fs::read_to_string("data/admin.token")?.trim().to_owned()),
//! })?;
//! let pushed = client.push(Push::new("prod".parse()?).bundle(bundle).message("first"), |_| {}).await?;
//! println!("prod is at {}", pushed.snapshot);
//! # Ok(())
//! # }
//! ```

mod client;
mod connect;
mod error;
pub mod push;
mod retry;
pub mod types;

pub use client::{Client, Enroll, Log};
pub use connect::{Target, Unreachable};
pub use error::Error;
pub use push::{Progress, Push, Pushed};
