//! What is pushed while streams are held: a component of the size asked for, version after version.

mod pusher;

use driftless_client::{Client, Target};
use driftless_model::{
    bundle::Bundle,
    name::{ChannelName, ComponentName},
};

pub(crate) use self::pusher::Acknowledged;
use self::pusher::Pusher;
use crate::{Error, workload::Workload};

/// The component that changes.
pub(crate) const COMPONENT: &str = "bench";

/// See the module.
pub(crate) struct Releases {
    pusher: Pusher,
    workload: Workload,
    /// Number of the next version.
    next: usize,
}

impl Releases {
    /// Pushes a first version; answers with the channel's sequence too.
    pub(crate) async fn begin(target: &Target, channel: &ChannelName, size: usize) -> Result<(Self, u64), Error> {
        let component: ComponentName = COMPONENT.parse().expect("a plain word is a name");
        let workload = Workload::new(component, size);
        let pusher = Pusher::start(target.clone(), channel.clone())?;
        pusher.push(workload.version(0)?).await?;
        // Not the push's own: a channel that was used before may hold this version already.
        let sequence = Client::connect(target.clone())?.channel(channel).await?.sequence;
        let releases = Self {
            pusher,
            workload,
            next: 1,
        };
        Ok((releases, sequence))
    }

    /// Bytes of a version.
    pub(crate) fn bytes(&self) -> Result<usize, Error> {
        Ok(self.workload.version(0)?.encode().len())
    }

    /// Makes the next version. To be called before anything is measured: it takes this machine's processors.
    pub(crate) fn make(&mut self) -> Result<Bundle, Error> {
        let bundle = self.workload.version(self.next)?;
        self.next += 1;
        Ok(bundle)
    }

    /// Pushes a bundle: a version, or another one.
    pub(crate) async fn push(&self, bundle: Bundle) -> Result<Acknowledged, Error> {
        self.pusher.push(bundle).await
    }
}
