//! The keys that TLS session tickets are sealed with, so that an agent which comes back needs no second handshake with
//! two certificates: not even after a restart, when all come back at once.
//!
//! The server keeps no session: a ticket holds it, sealed, and the client brings it along. The keys lie in the data
//! folder beside the CA's key, which opens more; other replicas have others, and shake hands in full. A ticket is worth
//! nothing after [`LIFETIME`], and under other CAs than it was made under. What it says of the client is looked at anew
//! by the [`crate::listener`], since time has passed, and by every service, as ever.

use std::{
    fmt,
    sync::{PoisonError, RwLock},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use driftless_model::hash::ObjectHash;
use jiff::{SignedDuration, Timestamp};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
use rustls::server::ProducesTickets;

use crate::{
    Error,
    secrets::{DataFolder, Readers},
    settings::Clock,
};

const FILE: &str = "tickets.key";
/// As long as TLS allows: streams live for days, and what counts is that a ticket got at the begin of one is good at its
/// end.
const LIFETIME: SignedDuration = SignedDuration::from_hours(7 * 24);
/// A key seals for so long, and opens what it has sealed for as long again.
const SEALS_FOR: SignedDuration = SignedDuration::from_hours(7 * 12);
const SECRET_LEN: usize = 32;
const NAME_LEN: usize = 16;

/// Seals and opens tickets. Written by [`Tickets::refresh`], read by every handshake.
pub(crate) struct Tickets {
    folder: DataFolder,
    /// What was trusted when they were made; part of what is sealed.
    trust: ObjectHash,
    clock: Clock,
    /// Newest first; never empty.
    keys: RwLock<Vec<Key>>,
}

struct Key {
    made: Timestamp,
    secret: [u8; SECRET_LEN],
    /// Tells which key opens a ticket.
    name: [u8; NAME_LEN],
    aead: LessSafeKey,
}

impl Tickets {
    /// Reads the keys, or makes the first. `trust` changes with the CAs whose certificates are accepted.
    pub(crate) fn open(folder: &DataFolder, trust: ObjectHash, clock: Clock) -> Result<Self, Error> {
        let keys = folder
            .read_secret(FILE)?
            .map(|text| text.lines().map(Key::decode).collect());
        let keys: Option<Vec<_>> = keys.unwrap_or_default();
        let tickets = Self {
            folder: folder.clone(),
            trust,
            clock,
            keys: RwLock::new(keys.unwrap_or_default()),
        };
        tickets.refresh()?;
        Ok(tickets)
    }

    /// Makes the next key when it is time, and forgets those that open nothing any more.
    pub(crate) fn refresh(&self) -> Result<(), Error> {
        let now = (self.clock)();
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.first().is_some_and(|key| key.seals(now)) && keys.iter().all(|key| key.opens(now)) {
            return Ok(());
        }
        keys.retain(|key| key.opens(now));
        if !keys.first().is_some_and(|key| key.seals(now)) {
            keys.insert(0, Key::generate(now)?);
        }
        let lines: String = keys.iter().map(Key::encode).collect();
        self.folder.write(FILE, &lines, Readers::Owner)
    }

    fn seal(&self, session: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(NAME_LEN + NONCE_LEN + session.len() + CHACHA20_POLY1305.tag_len());
        ticket.extend(key.name);
        ticket.extend(nonce);
        ticket.extend(session);
        let sealed = &mut ticket[NAME_LEN + NONCE_LEN..];
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.aead.seal_in_place_separate_tag(nonce, self.aad(), sealed).ok()?;
        ticket.extend(tag.as_ref());
        Some(ticket)
    }

    fn unseal(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_at_checked(NAME_LEN)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
        let now = (self.clock)();
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = keys.iter().find(|key| key.name == name && key.opens(now))?;
        let mut session = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let length = key.aead.open_in_place(nonce, self.aad(), &mut session).ok()?.len();
        session.truncate(length);
        Some(session)
    }

    fn aad(&self) -> Aad<&[u8]> {
        Aad::from(self.trust.as_bytes())
    }
}

impl Key {
    fn generate(now: Timestamp) -> Result<Self, Error> {
        let mut secret = [0; SECRET_LEN];
        let filled = SystemRandom::new().fill(&mut secret);
        filled.map_err(|error| Error::Setting(format!("no random numbers: {error}")))?;
        Ok(Self::new(now, secret))
    }

    fn new(made: Timestamp, secret: [u8; SECRET_LEN]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &secret).expect("the length is the right one");
        let named = ObjectHash::of(&[&b"driftless session tickets"[..], &secret].concat());
        let mut name = [0; NAME_LEN];
        name.copy_from_slice(&named.as_bytes()[..NAME_LEN]);
        Self {
            made,
            secret,
            name,
            aead: LessSafeKey::new(key),
        }
    }

    fn seals(&self, now: Timestamp) -> bool {
        now.duration_since(self.made) < SEALS_FOR
    }

    fn opens(&self, now: Timestamp) -> bool {
        now.duration_since(self.made) < LIFETIME
    }

    fn encode(&self) -> String {
        format!("{} {}\n", self.made, STANDARD.encode(self.secret))
    }

    /// `None` when it is no line of ours: what cannot be read opens nothing, and costs no more than handshakes.
    fn decode(line: &str) -> Option<Self> {
        let (made, secret) = line.split_once(' ')?;
        let secret = STANDARD.decode(secret).ok()?.try_into().ok()?;
        Some(Self::new(made.parse().ok()?, secret))
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(LIFETIME.as_secs()).expect("a week is a small number of seconds")
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.unseal(cipher)
    }
}

impl fmt::Debug for Tickets {
    /// Leaves the keys out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use tempfile::TempDir;

    use super::*;

    fn folder() -> (TempDir, DataFolder) {
        let root = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(root.path()).unwrap();
        (root, folder)
    }

    fn still() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn open(folder: &DataFolder, trust: &[u8], clock: Clock) -> Tickets {
        Tickets::open(folder, ObjectHash::of(trust), clock).unwrap()
    }

    #[test]
    fn ticket_is_opened_after_a_restart_and_not_under_another_ca_or_by_another_server() {
        let (_root, here) = folder();
        let ticket = open(&here, b"ca", still).encrypt(b"session").unwrap();
        assert!(!ticket.windows(7).any(|bytes| bytes == b"session"));
        assert_eq!(open(&here, b"ca", still).decrypt(&ticket).unwrap(), b"session");
        assert_eq!(open(&here, b"other ca", still).decrypt(&ticket), None);
        let (_root, elsewhere) = folder();
        assert_eq!(open(&elsewhere, b"ca", still).decrypt(&ticket), None);
    }

    #[test]
    fn ticket_that_was_altered_is_not_opened() {
        let (_root, here) = folder();
        let tickets = open(&here, b"ca", still);
        let ticket = tickets.encrypt(b"session").unwrap();
        for at in 0..ticket.len() {
            let mut altered = ticket.clone();
            altered[at] ^= 1;
            assert_eq!(tickets.decrypt(&altered), None, "byte {at}");
            assert_eq!(tickets.decrypt(&ticket[..at]), None, "{at} bytes");
        }
    }

    #[test]
    fn keys_change_twice_a_week_and_open_for_a_week() {
        static NOW: AtomicI64 = AtomicI64::new(1_800_000_000);
        fn clock() -> Timestamp {
            Timestamp::from_second(NOW.load(Ordering::Relaxed)).unwrap()
        }
        let later = |hours: i64| NOW.fetch_add(hours * 3600, Ordering::Relaxed);
        let (_root, here) = folder();
        let tickets = open(&here, b"ca", clock);
        let first = tickets.encrypt(b"1").unwrap();
        later(83);
        tickets.refresh().unwrap();
        let same = tickets.encrypt(b"2").unwrap();
        assert_eq!(first[..NAME_LEN], same[..NAME_LEN]);
        later(1);
        tickets.refresh().unwrap();
        let second = tickets.encrypt(b"3").unwrap();
        assert_ne!(first[..NAME_LEN], second[..NAME_LEN]);
        assert_eq!(tickets.decrypt(&first).unwrap(), b"1");
        later(84);
        // Even before anybody has looked.
        assert_eq!(tickets.decrypt(&first), None);
        let tickets = open(&here, b"ca", clock);
        assert_eq!(tickets.decrypt(&second).unwrap(), b"3");
        let kept = here.read_secret(FILE).unwrap().unwrap();
        assert_eq!(kept.lines().count(), 2);
    }

    #[test]
    fn file_that_cannot_be_read_is_replaced() {
        let (_root, here) = folder();
        here.write(FILE, "nonsense\n", Readers::Owner).unwrap();
        let ticket = open(&here, b"ca", still).encrypt(b"session").unwrap();
        assert_eq!(open(&here, b"ca", still).decrypt(&ticket).unwrap(), b"session");
    }

    #[test]
    fn no_key_is_in_debug_output() {
        let (_root, here) = folder();
        assert_eq!(format!("{:?}", open(&here, b"ca", still)), "Tickets { .. }");
    }
}
