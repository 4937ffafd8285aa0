//! The state of one cluster: its objects, its kinds, and what writes need to know of the moment.
//!
//! `cluster` holds it behind a lock and hands it to one request at a time; `write`, `delete`, `read` and `controllers`
//! are its methods, each in the file that is named for it.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngCore as _, SeedableRng as _};
use serde_json::Value;

use crate::kinds::{Kind, Registry};
use crate::status::Refusal;
use crate::store::{Store, Stored};

/// What happens to workloads that are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Workloads {
    /// They become ready, except where an image contains `:broken`.
    #[default]
    Ready,
    /// They are accepted and never become ready.
    Stuck,
}

/// One object, or one resource, as a request addresses it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) kind: Arc<Kind>,
    /// Place of the version in the kind's.
    pub(crate) version: usize,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
}

impl Target {
    pub(crate) fn of(stored: &Stored) -> Self {
        Self {
            kind: Arc::clone(&stored.kind),
            version: stored.kind.stored,
            namespace: stored.key.0.clone(),
            name: stored.key.1.clone(),
            subresource: String::new(),
        }
    }

    pub(crate) fn sub(mut self, subresource: &str) -> Self {
        self.subresource = subresource.to_owned();
        self
    }

    pub(crate) fn api_version(&self) -> String {
        self.kind.api_version(self.version)
    }
}

/// What a request says about its write.
#[derive(Clone, Debug, Default)]
pub(crate) struct WriteOptions {
    pub(crate) manager: String,
    pub(crate) dry_run: bool,
    pub(crate) force: bool,
    /// Unknown fields are an error.
    pub(crate) strict: bool,
}

impl WriteOptions {
    pub(crate) fn by(manager: &str) -> Self {
        Self {
            manager: manager.to_owned(),
            ..Self::default()
        }
    }
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) kinds: Registry,
    pub(crate) workloads: Workloads,
    /// CRDs are established by a later tick, not at once.
    pub(crate) slow_definitions: bool,
    /// The time of the request under way, as the server writes times.
    pub(crate) now: String,
    random: StdRng,
    services: u32,
}

impl State {
    pub(crate) fn new(seed: u64, history: usize, workloads: Workloads) -> Self {
        Self {
            store: Store::new(history),
            kinds: Registry::default(),
            workloads,
            slow_definitions: false,
            now: String::new(),
            random: StdRng::seed_from_u64(seed),
            services: 1,
        }
    }

    /// A fresh identifier.
    pub(crate) fn uid(&mut self) -> String {
        let mut bytes = [0; 16];
        self.random.fill_bytes(&mut bytes);
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        let hex = hex::encode(bytes);
        [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
    }

    /// The five characters that end a generated name.
    pub(crate) fn suffix(&mut self) -> String {
        const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
        let mut letter = || {
            let place = self.random.next_u32() as usize % LETTERS.len();
            char::from(LETTERS[place])
        };
        (0..5).map(|_| letter()).collect()
    }

    /// The next free service address.
    pub(crate) fn service_address(&mut self) -> String {
        self.services += 1;
        let [_, _, high, low] = self.services.to_be_bytes();
        format!("10.96.{high}.{low}")
    }

    /// The next free node port.
    pub(crate) fn node_port(&mut self) -> u32 {
        self.services += 1;
        30000 + self.services % 2768
    }

    pub(crate) fn find(&self, target: &Target) -> Result<Arc<Stored>, Refusal> {
        let found = self.store.get(&target.kind.store, &target.namespace, &target.name);
        found
            .cloned()
            .ok_or_else(|| Refusal::not_found(&target.kind, &target.name))
    }

    /// Refuses namespaced creates where there is no such namespace, or one that is going away.
    pub(crate) fn check_namespace(&self, target: &Target) -> Result<(), Refusal> {
        if !target.kind.namespaced {
            return Ok(());
        }
        let namespaces = crate::kinds::known("", "Namespace");
        match self.store.get(&namespaces.store, "", &target.namespace) {
            None => Err(Refusal::not_found(&namespaces, &target.namespace)),
            Some(found) if found.terminating => {
                Err(Refusal::terminating(&target.kind, &target.name, &target.namespace))
            }
            Some(_) => Ok(()),
        }
    }
}

/// The text below `pointer`, or nothing.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}
