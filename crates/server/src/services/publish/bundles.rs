//! The bundles of a push: each has to be there, or to come along, and to fit the channel as it is now.

use std::collections::BTreeMap;

use bytes::Bytes;
use driftless_model::{
    bundle,
    hash::ObjectHash,
    name::{ChannelName, ComponentName},
};
use driftless_proto::v1;
use futures::{StreamExt, TryStreamExt, stream};

use super::{Service, circle, fit, request::read_objects};
use crate::failure::Failure;

/// Bundles of one push that are looked at at once.
const CONCURRENCY: usize = 16;

/// What is known of the bundles of a push once all are there.
#[derive(Default)]
pub(super) struct Taken {
    /// How many were new.
    pub(super) stored: u32,
    pub(super) epochs: BTreeMap<ComponentName, u64>,
    /// Bundles, each with the one that it takes the place of.
    pub(super) replaced: Vec<(ObjectHash, ObjectHash)>,
    /// On what of the channel the check relied.
    pub(super) relied: circle::Relied,
}

impl Service {
    /// Checks the bundles of a push against the channel as it is now: those that come along are stored, the others have
    /// to be there.
    pub(super) async fn take_bundles(
        &self,
        channel: &ChannelName,
        components: &BTreeMap<ComponentName, Option<ObjectHash>>,
        objects: Vec<v1::Object>,
    ) -> Result<Taken, Failure> {
        let state = self.core.state();
        let known = &state.fleet.channel(channel)?.components;
        let bundles = components
            .iter()
            .filter_map(|(component, bundle)| bundle.map(|bundle| (component, bundle)))
            // What the channel is at is there, and was checked when it was pushed.
            .filter(|(component, bundle)| known.get(*component) != Some(bundle));
        let bundles: Vec<_> = bundles.collect();
        let mut objects = read_objects(objects, components)?;
        objects.retain(|(hash, _)| bundles.iter().any(|(_, bundle)| bundle == hash));
        let uploads = self.check(objects).await?;
        let along: BTreeMap<_, _> = uploads.iter().map(|upload| (upload.hash(), upload.bytes())).collect();
        let checks: Vec<_> = bundles
            .into_iter()
            .map(|(component, bundle)| self.fitting(channel, component, bundle, along.get(&bundle).copied().cloned()))
            .collect();
        let checked: Vec<_> = stream::iter(checks).buffer_unordered(CONCURRENCY).try_collect().await?;
        let mut taken = Taken {
            // Once all fit: a push that is refused leaves nothing behind.
            stored: self.keep(uploads).await?,
            ..Taken::default()
        };
        let mut depends_on = BTreeMap::new();
        for (component, bundle, bytes, spec) in checked {
            if let Some(before) = known.get(component) {
                self.core.objects.know(bundle, bytes);
                taken.replaced.push((bundle, *before));
            }
            taken.epochs.extend(spec.epoch.map(|epoch| (component.clone(), epoch)));
            if !spec.depends_on.is_empty() {
                depends_on.insert(component.clone(), spec.depends_on);
            }
        }
        // What is as pushed already was not looked at: should it be another by then, it has to be.
        let same = components
            .iter()
            .filter(|(component, bundle)| known.get(*component) == bundle.as_ref());
        taken
            .relied
            .extend(same.map(|(component, bundle)| (component.clone(), *bundle)));
        if !depends_on.is_empty() {
            let mut next = known.clone();
            for (component, bundle) in components {
                match bundle {
                    Some(bundle) => next.insert(component.clone(), *bundle),
                    None => next.remove(component),
                };
            }
            let relied = circle::check(&self.core, &next, depends_on).await?;
            // Those of the push are as it says, whatever they were.
            let others = relied
                .into_iter()
                .filter(|(component, _)| !components.contains_key(component));
            taken.relied.extend(others);
        }
        Ok(taken)
    }

    /// Checks that a bundle is there, or comes `along`, is a version of this component and fits the channel's clusters.
    /// Gives its bytes, and how it is to be run.
    async fn fitting<'c>(
        &self,
        channel: &ChannelName,
        component: &'c ComponentName,
        bundle: ObjectHash,
        along: Option<Bytes>,
    ) -> Result<(&'c ComponentName, ObjectHash, Bytes, bundle::Spec), Failure> {
        let bytes = match along {
            Some(bytes) => bytes,
            None => self.stored_bundle(component, bundle).await?,
        };
        let spec = check_component(component, bundle, &bytes)?;
        fit::check(component, &bytes, &self.core.state().fleet, channel)?;
        Ok((component, bundle, bytes, spec))
    }

    /// A bundle that was uploaded before.
    async fn stored_bundle(&self, component: &ComponentName, bundle: ObjectHash) -> Result<Bytes, Failure> {
        if let Some(bytes) = self.uploaded.take(&bundle) {
            return Ok(bytes);
        }
        self.core.bucket.object(&bundle).await.map_err(|error| {
            if error.is_not_found() {
                let text = format!("bundle {bundle} of component `{component}` is not in the store: upload it first");
                Failure::Precondition(text)
            } else {
                error.into()
            }
        })
    }
}

/// Checks by its header that a bundle is a version of this component. All its lines were checked when it came in.
fn check_component(component: &ComponentName, bundle: ObjectHash, bytes: &[u8]) -> Result<bundle::Spec, Failure> {
    let header = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match serde_json::from_slice::<bundle::Header>(header) {
        Ok(header) if *header.component == *component => Ok(header.spec.into_owned()),
        Ok(header) => Err(Failure::Argument(format!(
            "bundle {bundle} is a version of component `{}`, not of `{component}`",
            header.component
        ))),
        Err(_) => Err(Failure::Argument(format!(
            "object {bundle}, set for component `{component}`, is no bundle"
        ))),
    }
}
