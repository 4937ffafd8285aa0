//! Which hooks would run, by the run that was recorded last. They are not asked about: nothing runs in a dry run.

use driftless_model::{
    hook::{self, Hook},
    manifest::Manifest,
    name::ComponentName,
    prospect::{ComponentProspect, HookProspect, Outcome},
    view::ComponentView,
};

use super::Question;
use crate::{engine::objection, hooks::Run};

/// A component's manifests, and apart from them its hooks.
pub(super) fn apart(component: &ComponentView) -> (Vec<&Manifest>, Vec<(&Manifest, Hook)>) {
    let (mut manifests, mut hooks) = (Vec::with_capacity(component.manifests.len()), Vec::new());
    for manifest in &component.manifests {
        match hook::of(manifest) {
            Some(hook) => hooks.push((manifest, hook)),
            None => manifests.push(manifest),
        }
    }
    (manifests, hooks)
}

impl Question {
    /// Adds what would come of a component's hooks.
    pub(super) fn add_hooks(
        &self,
        name: &ComponentName,
        component: &ComponentView,
        hooks: &[(&Manifest, Hook)],
        prospect: &mut ComponentProspect,
    ) {
        let known = self.known.get(name);
        let last = known.and_then(|known| known.notes.run.as_ref());
        let run = last.filter(|run| run.version == component.version).cloned();
        let run = run.unwrap_or_else(|| Run::after(last, 0, component.version, known.is_some()));
        let hooks: Vec<_> = hooks.iter().map(|(manifest, hook)| (*manifest, hook)).collect();
        let pairs: Vec<_> = hooks.iter().map(|(manifest, hook)| (manifest.id(), *hook)).collect();
        let ahead = run.ahead(&pairs).into_iter();
        prospect.hooks = ahead
            .map(|(phase, id)| HookProspect {
                phase,
                object: id.clone(),
            })
            .collect();
        for (manifest, _) in hooks {
            if let Some(objection) = objection(manifest, &component.spec) {
                let outcome = Outcome::Refused(objection.message);
                prospect.objects.insert(manifest.id().clone(), outcome);
            }
        }
    }
}
