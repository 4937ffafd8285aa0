//! Objects of custom kinds that name no namespace get that of their push too, where their kinds have namespaces.
//!
//! Only its definition tells whether a kind does: one in the push, or else in the channel. What neither of them defines
//! stays as it is written, lands in `default` if its kind has namespaces, and is told. Called by `push` and `diff`, when
//! they know what the channel has.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow};
use driftless_client::{Client, types::Channel};
use driftless_model::{
    bundle::Bundle,
    definition::{self, Scopes},
    manifest::{Manifest, ManifestId},
    name::ComponentName,
};

use super::{Component, Desired};
use crate::{output, validation};

/// Where the API server puts what names no namespace.
const DEFAULT: &str = "default";

impl Desired {
    /// Gives the objects that want one a namespace; `gone` are the channel's components that it will not have.
    pub(crate) async fn settle_namespaces(
        &mut self,
        client: &Client,
        channel: &Channel,
        gone: &BTreeSet<ComponentName>,
    ) -> Result<()> {
        if !self
            .components
            .iter()
            .any(|component| component.has(definition::is_unplaced))
        {
            return Ok(());
        }
        let mut scopes = Scopes::default();
        let manifests = self.components.iter().flat_map(Component::manifests);
        manifests.for_each(|manifest| scopes.learn(manifest));
        if self
            .components
            .iter()
            .any(|component| component.has(|id| scopes.is_unknown(id)))
        {
            let elsewhere = validation::others(client, channel, &self.components, gone).await?;
            let manifests = elsewhere.iter().flat_map(Bundle::manifests);
            manifests.for_each(|manifest| scopes.learn(manifest));
        }
        let mut unknown = BTreeSet::new();
        for component in &mut self.components {
            component.settle(&scopes)?;
            if component.namespace != DEFAULT {
                let ids = component.manifests().map(Manifest::id);
                let unplaced = ids.filter(|id| scopes.is_unknown(id));
                unknown.extend(unplaced.map(|id| format!("{}.{}", id.kind, id.group)));
            }
        }
        for kind in unknown {
            output::note(&format!(
                "note: neither the push nor the channel defines {kind}: objects of it that name no namespace are applied \
                 in `{DEFAULT}` if it has namespaces; write metadata.namespace for another one"
            ));
        }
        Ok(())
    }
}

impl Component {
    /// Its manifests, those that overlays add included.
    fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        let added = self.bundle.spec().overlays.iter().flat_map(|overlay| &overlay.add);
        self.bundle.manifests().chain(added)
    }

    /// Is anything like this to be put into another namespace than the API server would?
    fn has(&self, is_meant: impl Fn(&ManifestId) -> bool) -> bool {
        self.namespace != DEFAULT && self.manifests().any(|manifest| is_meant(manifest.id()))
    }

    fn settle(&mut self, scopes: &Scopes) -> Result<()> {
        if !self.has(|id| definition::is_unplaced(id) && !scopes.is_unknown(id)) {
            return Ok(());
        }
        let Self {
            bundle,
            placed,
            namespace,
            ..
        } = self;
        let settled = |manifest: &Manifest| {
            let settled = scopes.place(manifest, namespace);
            settled.map_err(|problem| anyhow!("component `{}`: {problem}", bundle.component))
        };
        for placed in placed.iter_mut() {
            if let Some(manifest) = settled(placed.manifest())? {
                placed.replace(manifest);
            }
        }
        let mut spec = bundle.spec().clone();
        for added in spec.overlays.iter_mut().flat_map(|overlay| &mut overlay.add) {
            if let Some(manifest) = settled(added)? {
                *added = manifest;
            }
        }
        let manifests = placed.iter().map(|placed| placed.manifest().clone());
        *bundle = Bundle::new(bundle.component.clone(), manifests)
            .map_err(|error| anyhow!("component `{}`: {error}", bundle.component))?
            .with_spec(spec);
        Ok(())
    }
}
