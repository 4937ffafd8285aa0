//! A directive whose objects are still coming: they are asked for, and verified one by one as they come, until it can be
//! accepted. Thousands may be on their way: what one costs does not depend on how many there are.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use driftless_model::{bundle::Bundle, directive::Directive, hash::ObjectHash};
use driftless_proto::v1;

use super::{Action, Content, Session, WANT, Wanted};
use crate::{
    object::{self, Frame, Packed},
    sync::refusal::{Refusal, malformed},
};

/// Most objects that are asked for before they come: a server refuses to remember more than 20,000 for one agent.
const ASKED: usize = 4096;

/// A directive whose objects are still coming.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) directive: Directive,
    pub(super) document: String,
    /// What is here of the snapshot that it names, once that is here itself; until then, of one before it.
    pub(super) content: Content,
    /// Came with the directive or later, not verified.
    pub(super) packed: BTreeMap<ObjectHash, Packed>,
    /// Asked for.
    pub(super) wanted: BTreeSet<ObjectHash>,
    /// Came as deltas that made something else: these are asked for whole.
    pub(super) whole: BTreeSet<ObjectHash>,
}

impl Pending {
    /// Takes what came as `hash` and verifies it. `None`: nothing came, or a delta that is of no use; it is asked for
    /// then.
    fn take(&mut self, hash: ObjectHash, held: &Content) -> Result<Option<(Frame, Bytes)>, object::Bad> {
        let Some(packed) = self.packed.remove(&hash) else {
            return Ok(None);
        };
        let is_delta = packed.base.is_some();
        match held.verify(hash, packed) {
            Err(_) if is_delta => {
                self.whole.insert(hash);
                Ok(None)
            }
            verified => verified,
        }
    }

    /// Takes a bundle that came as a few changes of one that is here. `None`: it came as something else, or not at all.
    fn take_edited(&mut self, hash: ObjectHash, held: &Content) -> Option<(Frame, Bundle)> {
        let packed = self.packed.get(&hash)?;
        let edited = object::edited(hash, &packed.zstd, held.bundle(&packed.base?)?)?;
        self.packed.remove(&hash);
        Some(edited)
    }
}

impl Session {
    /// Takes an object, if the pending directive or a probe waits for it.
    pub(super) fn object(&mut self, message: v1::Object) -> Result<Vec<Action>, Refusal> {
        let (hash, packed) = Packed::read(message).map_err(malformed)?;
        let inquired = self.inquire(hash, &packed);
        let Some(pending) = &mut self.pending else {
            return Ok(inquired);
        };
        // Not asked for, or asked for by a directive that was overtaken.
        if !pending.wanted.remove(&hash) {
            return Ok(inquired);
        }
        if packed.zstd.is_empty() {
            return Err(Refusal::Missing(hash.short()));
        }
        if let Some(base) = &packed.base
            && !self.content.holds(base)
        {
            // Not what was offered. Once is a mistake, and then it is asked for whole.
            if !pending.whole.insert(hash) {
                return Err(object::Bad::Compression(hash.short()).into());
            }
        }
        let last_wanted = pending.wanted.is_empty();
        pending.packed.insert(hash, packed);
        // As it comes: thousands may be on their way, and the rest of them is not looked at each time.
        if pending.content.lacking().contains_key(&hash) {
            self.verify_bundle(hash)?;
        }
        let mut actions = if last_wanted { self.proceed()? } else { Vec::new() };
        actions.extend(inquired);
        Ok(actions)
    }

    /// Verifies and decodes whatever came and has a place in the pending snapshot. Bytes that have none are dropped
    /// with the directive, undecoded.
    fn verify_packed(&mut self) -> Result<(), Refusal> {
        let Some(pending) = &mut self.pending else {
            return Ok(());
        };
        let Some(wanted) = pending.directive.snapshot else {
            return Ok(());
        };
        if !pending.content.is_of(wanted) {
            if self.content.is_of(wanted) {
                let mut content = self.content.clone();
                content.fill_from(&pending.content)?;
                pending.content = content;
            } else if let Some((frame, bytes)) = pending.take(wanted, &self.content)? {
                pending.content = pending.content.followed_by(wanted, bytes, &self.content)?;
                self.unsaved.insert(wanted, (self.generation + 1, frame));
            } else {
                return Ok(());
            }
        }
        let lacking = pending.content.lacking();
        let came = pending.packed.keys().copied().filter(|hash| lacking.contains_key(hash));
        for hash in came.collect::<Vec<_>>() {
            self.verify_bundle(hash)?;
        }
        // What only overtaken directives needed must not pile up.
        let Some(pending) = &self.pending else {
            return Ok(());
        };
        self.unsaved
            .retain(|hash, _| self.content.holds(hash) || pending.content.holds(hash));
        Ok(())
    }

    /// Verifies and decodes what came as `hash`, which a component of the pending snapshot is to run as.
    fn verify_bundle(&mut self, hash: ObjectHash) -> Result<(), Refusal> {
        let Some(pending) = &mut self.pending else {
            return Ok(());
        };
        let (frame, bundle) = match pending.take_edited(hash, &self.content) {
            Some(edited) => edited,
            None => {
                let Some((frame, content)) = pending.take(hash, &self.content)? else {
                    return Ok(());
                };
                let component = pending.content.lacking().get(&hash);
                let earlier = component.and_then(|component| self.content.of(component));
                (frame, object::bundle(hash, &content, earlier)?)
            }
        };
        pending.content.put(hash, bundle)?;
        self.unsaved.insert(hash, (self.generation + 1, frame));
        Ok(())
    }

    /// Asks for what the pending directive lacks, or accepts it.
    pub(super) fn proceed(&mut self) -> Result<Vec<Action>, Refusal> {
        self.verify_packed()?;
        let Some(pending) = &mut self.pending else {
            return Ok(Vec::new());
        };
        let want = |hash: ObjectHash, base: Option<ObjectHash>| Wanted {
            hash,
            base: base.filter(|_| !pending.whole.contains(&hash)),
        };
        let asked: Vec<_> = match pending.directive.snapshot {
            None => Vec::new(),
            Some(hash) if !pending.content.is_of(hash) => vec![want(hash, self.content.snapshot_hash())],
            Some(_) => {
                let lacking = pending.content.lacking().iter().take(ASKED);
                lacking
                    .map(|(hash, component)| want(*hash, self.content.hash_of(component)))
                    .collect()
            }
        };
        if asked.is_empty() {
            return Ok(self.accept().into_iter().collect());
        }
        pending.wanted = asked.iter().map(|wanted| wanted.hash).collect();
        Ok(asked.chunks(WANT).map(|chunk| Action::Want(chunk.to_vec())).collect())
    }
}
