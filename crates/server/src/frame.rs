//! Messages to agents as the bytes that go over the wire: framed once, then shared by every stream that sends them.
//!
//! tonic's own encoder copies each message into a buffer of each stream, which for ten thousand agents is a gigabyte.

use bytes::{BufMut, Bytes, BytesMut};
use driftless_model::hash::ObjectHash;
use driftless_proto::{to_hash, v1};
use prost::{
    Message as _,
    encoding::{self, WireType},
};
use v1::server_message::Message;

/// Field numbers of the protocol that are written by hand here.
const OBJECT_OF_SERVER_MESSAGE: u32 = 3;
const ZSTD_OF_OBJECT: u32 = 2;

/// Bytes of gRPC's prefix.
const PREFIX: usize = 5;
/// Up to so many bytes of an object are copied into its message: one piece of HTTP/2 data is cheaper than two, at both
/// ends.
const SMALL: usize = 4 * 1024;

/// One message, framed as gRPC has it (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>: a byte
/// that says "not compressed", four of length, the message). A clone copies nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frame {
    head: Bytes,
    /// What is large, as it lies in the cache.
    body: Bytes,
}

impl Frame {
    /// A message that is encoded whole.
    pub(crate) fn new(message: Message) -> Self {
        let message = v1::ServerMessage { message: Some(message) };
        let length = message.encoded_len();
        let mut head = BytesMut::with_capacity(PREFIX + length);
        head.put_slice(&prefix(length));
        message.encode(&mut head).expect("the buffer grows");
        let (head, body) = (head.freeze(), Bytes::new());
        Self { head, body }
    }

    /// An [`v1::Object`] message; `zstd` goes as it is, unless it is small.
    pub(crate) fn object(hash: &ObjectHash, base: Option<&ObjectHash>, zstd: Bytes) -> Self {
        let rest = v1::Object {
            hash: to_hash(hash),
            base: base.map(to_hash).unwrap_or_default(),
            zstd: Bytes::new(),
        };
        let mut object = BytesMut::new();
        rest.encode(&mut object).expect("the buffer grows");
        begin_bytes(ZSTD_OF_OBJECT, zstd.len(), &mut object);
        let mut message = BytesMut::new();
        begin_bytes(OBJECT_OF_SERVER_MESSAGE, object.len() + zstd.len(), &mut message);
        message.put(object);
        let prefix = prefix(message.len() + zstd.len());
        if zstd.len() <= SMALL {
            let (head, body) = ([&prefix[..], &message, &zstd].concat().into(), Bytes::new());
            return Self { head, body };
        }
        let head = [&prefix[..], &message].concat().into();
        Self { head, body: zstd }
    }

    /// These messages one after the other. Copies all but the body of the last.
    pub(crate) fn together(mut frames: Vec<Self>) -> Self {
        let body = frames.last_mut().map(|last| std::mem::take(&mut last.body));
        let head = frames.iter().flat_map(|frame| [&frame.head[..], &frame.body]);
        Self {
            head: head.collect::<Vec<_>>().concat().into(),
            body: body.unwrap_or_default(),
        }
    }

    /// Bytes that it takes.
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Is what comes next a part of a body of more than so many bytes?
    pub(crate) fn is_beyond(&self, most: usize) -> bool {
        self.head.is_empty() && self.body.len() > most
    }

    /// Takes the next bytes to send, of the large part at most `most`; `None` when all was taken.
    pub(crate) fn next(&mut self, most: usize) -> Option<Bytes> {
        if !self.head.is_empty() {
            return Some(std::mem::take(&mut self.head));
        }
        (!self.body.is_empty()).then(|| self.body.split_to(most.min(self.body.len())))
    }
}

/// What comes before a message of `length` bytes: not compressed, and its length.
fn prefix(length: usize) -> [u8; PREFIX] {
    let length = u32::try_from(length).expect("objects are far smaller than 4 GiB");
    let [a, b, c, d] = length.to_be_bytes();
    [0, a, b, c, d]
}

fn begin_bytes(field: u32, length: usize, buffer: &mut BytesMut) {
    encoding::encode_key(field, WireType::LengthDelimited, buffer);
    encoding::encode_varint(length as u64, buffer);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(mut frame: Frame) -> Vec<u8> {
        let length = frame.len();
        let mut bytes = Vec::new();
        while let Some(part) = frame.next(100) {
            bytes.extend_from_slice(&part);
        }
        assert_eq!(bytes.len(), length);
        bytes
    }

    fn read(bytes: &[u8]) -> v1::ServerMessage {
        assert_eq!(bytes[0], 0);
        let length = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
        assert_eq!(length as usize, bytes.len() - 5);
        v1::ServerMessage::decode(&bytes[5..]).unwrap()
    }

    #[test]
    fn objects_read_as_any_message_whatever_their_size() {
        let (hash, base) = (ObjectHash::of(b"a"), ObjectHash::of(b"b"));
        for size in [0, 1, 127, 128, 1000, 100_000] {
            for base in [None, Some(&base)] {
                let zstd = Bytes::from(vec![7; size]);
                let object = v1::Object {
                    hash: to_hash(&hash),
                    zstd: zstd.clone(),
                    base: base.map(to_hash).unwrap_or_default(),
                };
                let read = read(&sent(Frame::object(&hash, base, zstd)));
                assert_eq!(read.message, Some(Message::Object(object)));
            }
        }
    }

    #[test]
    fn messages_that_go_together_are_those_that_went_alone() {
        let frame = |size: usize| {
            let zstd = Bytes::from(vec![7; size]);
            Frame::object(&ObjectHash::of(&zstd), None, zstd)
        };
        for sizes in [&[][..], &[10], &[10, 0, 1000], &[10, 9000, 20, 5000]] {
            let together = Frame::together(sizes.iter().map(|size| frame(*size)).collect());
            let alone: Vec<_> = sizes.iter().map(|size| sent(frame(*size))).collect();
            assert_eq!(sent(together), alone.concat());
        }
    }

    #[test]
    fn other_messages_are_encoded_whole() {
        let goodbye = Message::Goodbye(v1::Goodbye {
            reason: "x".repeat(300),
            reconnect_after_ms: 7,
        });
        let read = read(&sent(Frame::new(goodbye.clone())));
        assert_eq!(read.message, Some(goodbye));
    }

    #[test]
    fn body_of_an_object_is_shared_and_not_copied() {
        let zstd = Bytes::from(vec![7; 5000]);
        let mut frame = Frame::object(&ObjectHash::of(b"a"), None, zstd.clone());
        frame.next(1000);
        assert_eq!(frame.next(1000).unwrap().as_ptr(), zstd.as_ptr());
    }

    #[test]
    fn small_object_is_one_piece() {
        let mut frame = Frame::object(&ObjectHash::of(b"a"), None, vec![7; 1000].into());
        assert!(frame.next(10).is_some_and(|piece| piece.len() > 1000));
        assert_eq!(frame.next(10), None);
    }
}
