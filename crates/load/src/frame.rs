//! gRPC messages in the data of a stream: a byte that says whether it is compressed, four of length, the message. Pure.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use driftless_proto::MAX_MESSAGE_BYTES;
use prost::Message;

const PREFIX: usize = 5;

/// A message as it goes on the wire.
pub fn encode(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("no message has 4 GB"));
    message.encode(&mut frame).expect("a buffer grows as needed");
    frame.freeze()
}

/// Cuts data into messages, however it came in pieces.
#[derive(Debug, Default)]
pub struct Messages {
    /// What came last, not cut yet.
    data: Bytes,
    /// A message that came in several pieces, until it is whole.
    begun: BytesMut,
}

/// Data that is no gRPC message, or one that is too large: an agent ends the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server sent a message that cannot be taken: compressed, or larger than 40 MiB")]
pub struct Unreadable;

impl Messages {
    /// Takes data; to be called when [`Messages::next_whole`] has no more.
    pub fn push(&mut self, data: Bytes) {
        if self.begun.is_empty() {
            self.data = data;
        } else {
            self.begun.extend_from_slice(&data);
        }
    }

    /// The next message that is whole.
    ///
    /// # Errors
    /// [`Unreadable`] when what comes next is none that an agent takes.
    pub fn next_whole(&mut self) -> Result<Option<Bytes>, Unreadable> {
        if !self.begun.is_empty() {
            let Some(length) = length(&self.begun)?.filter(|length| self.begun.len() >= PREFIX + length) else {
                return Ok(None);
            };
            let mut whole = std::mem::take(&mut self.begun).freeze();
            self.data = whole.split_off(PREFIX + length);
            whole.advance(PREFIX);
            return Ok(Some(whole));
        }
        match length(&self.data)? {
            Some(length) if self.data.len() >= PREFIX + length => {
                self.data.advance(PREFIX);
                Ok(Some(self.data.split_to(length)))
            }
            wanted => {
                if !self.data.is_empty() {
                    // All of it at once: it does not have to grow piece by piece.
                    self.begun.reserve(wanted.map_or(PREFIX, |length| PREFIX + length));
                    self.begun.extend_from_slice(&std::mem::take(&mut self.data));
                }
                Ok(None)
            }
        }
    }
}

/// The length of the message that begins here; `None` while it did not all come.
fn length(data: &[u8]) -> Result<Option<usize>, Unreadable> {
    let Some((prefix, _)) = data.split_first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let [compressed, length @ ..] = *prefix;
    let length = u32::from_be_bytes(length) as usize;
    if compressed != 0 || length > MAX_MESSAGE_BYTES {
        return Err(Unreadable);
    }
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(content: &[u8]) -> Vec<u8> {
        let mut frame = vec![0];
        frame.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes());
        frame.extend_from_slice(content);
        frame
    }

    #[test]
    fn messages_are_whole_however_they_came() {
        let contents: [&[u8]; 4] = [b"one", b"", b"three and more", b"4"];
        let all: Vec<u8> = contents.iter().flat_map(|content| framed(content)).collect();
        for size in 1..=all.len() {
            let mut messages = Messages::default();
            let mut found = Vec::new();
            for piece in all.chunks(size) {
                messages.push(Bytes::copy_from_slice(piece));
                while let Some(message) = messages.next_whole().unwrap() {
                    found.push(message.to_vec());
                }
            }
            assert_eq!(found, contents, "pieces of {size}");
        }
    }

    #[test]
    fn compressed_or_huge_message_is_refused() {
        for bad in [[1, 0, 0, 0, 1], [0, 255, 255, 255, 255]] {
            let mut messages = Messages::default();
            messages.push(Bytes::copy_from_slice(&bad));
            assert_eq!(messages.next_whole(), Err(Unreadable));
        }
    }

    #[test]
    fn own_frames_are_read_back() {
        let message = driftless_proto::v1::Want {
            hashes: vec![Bytes::from_static(b"abc")],
            ..Default::default()
        };
        let mut messages = Messages::default();
        messages.push(encode(&message));
        assert_eq!(messages.next_whole().unwrap().unwrap(), message.encode_to_vec());
        assert_eq!(messages.next_whole().unwrap(), None);
    }
}
