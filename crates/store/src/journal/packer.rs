//! Compresses the snapshots of an entry, each after the one before of its channel.

use std::collections::VecDeque;

use bytes::Bytes;
use driftless_model::{frames::Pieces, name::ChannelName};

/// What is kept at most, of all channels: content and frames of some hundred thousand components.
const KEPT_BYTES: usize = 32 * 1024 * 1024;
/// A snapshot is hashes, in which there is nothing to find.
const LEVEL: i32 = 1;

/// What the newest snapshots of channels were compressed into.
#[derive(Debug, Default)]
pub(super) struct Packer {
    /// The one that was used last comes last.
    channels: VecDeque<(ChannelName, Pieces)>,
}

impl Packer {
    /// The snapshot as it is to be stored. One of no channel follows none.
    pub(super) fn pack(&mut self, channel: Option<&ChannelName>, snapshot: &[u8]) -> Bytes {
        let Some(channel) = channel else {
            return Pieces::default().compress(snapshot, LEVEL).into();
        };
        let place = self.channels.iter().position(|(name, _)| name == channel);
        let known = place.and_then(|place| self.channels.remove(place));
        let (name, mut pieces) = known.unwrap_or_else(|| (channel.clone(), Pieces::default()));
        let packed = pieces.compress(snapshot, LEVEL);
        self.channels.push_back((name, pieces));
        self.forget_oldest(KEPT_BYTES);
        packed.into()
    }

    fn forget_oldest(&mut self, limit: usize) {
        while self.channels.iter().map(|(_, pieces)| pieces.size()).sum::<usize>() > limit {
            self.channels.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_that_were_not_pushed_to_longest_are_forgotten_first() {
        let mut packer = Packer::default();
        let [dev, prod] = ["dev", "prod"].map(|name| name.parse().unwrap());
        packer.pack(Some(&dev), &[1; 1000]);
        packer.pack(Some(&prod), &[2; 1000]);
        packer.pack(Some(&dev), &[3; 1000]);
        packer.forget_oldest(1999);
        let left: Vec<_> = packer.channels.iter().map(|(name, _)| name).collect();
        assert_eq!(left, [&dev]);
        packer.forget_oldest(999);
        assert!(packer.channels.is_empty(), "not even the newest");
        let packed = packer.pack(Some(&prod), &[4; 1000]);
        assert_eq!(zstd::decode_all(&packed[..]).unwrap(), [4; 1000]);
    }
}
