//! A directive whose objects are still coming: they are asked for, and verified one by one as they come, until it can be
//! accepted. Thousands may be on their way: what one costs does not depend on how many there are.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use driftless_model::{directive::Directive, hash::ObjectHash, name::ComponentName};
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
    pub(super) content: Content,
    /// Came with the directive or later, not verified.
    pub(super) packed: BTreeMap<ObjectHash, Packed>,
    /// Asked for, each bundle with a component that it is for.
    pub(super) wanted: BTreeMap<ObjectHash, Option<ComponentName>>,
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
        let Some(component) = pending.wanted.remove(&hash) else {
            return Ok(inquired);
        };
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
        if let Some(component) = component {
            self.verify_bundle(&component, hash)?;
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
        let is_here = |content: &Content| content.snapshot.as_ref().is_some_and(|(hash, _)| *hash == wanted);
        if is_here(&self.content) {
            pending.content.snapshot.clone_from(&self.content.snapshot);
        } else if !is_here(&pending.content) {
            pending.content.snapshot = None;
            if let Some((frame, content)) = pending.take(wanted, &self.content)? {
                pending.content.snapshot = Some((wanted, object::snapshot(wanted, &content)?));
                self.unsaved.insert(wanted, (self.generation + 1, frame));
            }
        }
        let Some((_, snapshot)) = &pending.content.snapshot else {
            return Ok(());
        };
        let is_new = |hash: &ObjectHash| {
            pending.packed.contains_key(hash)
                && !pending.content.bundles.contains_key(hash)
                && !self.content.bundles.contains_key(hash)
        };
        let needed: BTreeSet<_> = snapshot.components.values().copied().collect();
        let came = snapshot.components.iter().filter(|(_, hash)| is_new(hash));
        let came: Vec<_> = came.map(|(component, hash)| (component.clone(), *hash)).collect();
        for (component, hash) in came {
            self.verify_bundle(&component, hash)?;
        }
        let Some(pending) = &mut self.pending else {
            return Ok(());
        };
        // What only overtaken directives needed must not pile up.
        pending.content.bundles.retain(|hash, _| needed.contains(hash));
        let kept: BTreeSet<_> = self.content.hashes().chain(pending.content.hashes()).collect();
        self.unsaved.retain(|hash, _| kept.contains(hash));
        Ok(())
    }

    /// Verifies and decodes what came as `hash`, which a component of the pending snapshot is to run as.
    fn verify_bundle(&mut self, component: &ComponentName, hash: ObjectHash) -> Result<(), Refusal> {
        let Some(pending) = &mut self.pending else {
            return Ok(());
        };
        if let Some((frame, content)) = pending.take(hash, &self.content)? {
            let bundle = object::bundle(hash, &content, self.content.of(component))?;
            pending.content.bundles.insert(hash, bundle);
            self.unsaved.insert(hash, (self.generation + 1, frame));
        }
        Ok(())
    }

    /// Asks for what the pending directive lacks, or accepts it.
    pub(super) fn proceed(&mut self) -> Result<Vec<Action>, Refusal> {
        self.verify_packed()?;
        let Some(pending) = &mut self.pending else {
            return Ok(Vec::new());
        };
        let wanted: BTreeMap<_, _> = match (pending.directive.snapshot, &pending.content.snapshot) {
            (None, _) => BTreeMap::new(),
            (Some(_), Some((_, snapshot))) => {
                let lacks = |hash: &ObjectHash| {
                    !pending.content.bundles.contains_key(hash) && !self.content.bundles.contains_key(hash)
                };
                let lacking = snapshot.components.iter().filter(|(_, hash)| lacks(hash));
                let lacking = lacking.map(|(component, hash)| (*hash, Some(component.clone())));
                lacking.take(ASKED).collect()
            }
            (Some(hash), None) => [(hash, None)].into(),
        };
        if wanted.is_empty() {
            return Ok(self.accept().into_iter().collect());
        }
        let base = |component: &Option<ComponentName>| match component {
            Some(component) => self.content.hash_of(component),
            None => self.content.snapshot_hash(),
        };
        let asked = wanted.iter().map(|(hash, component)| Wanted {
            hash: *hash,
            base: base(component).filter(|_| !pending.whole.contains(hash)),
        });
        let asked: Vec<_> = asked.collect();
        pending.wanted = wanted;
        Ok(asked.chunks(WANT).map(|chunk| Action::Want(chunk.to_vec())).collect())
    }
}
