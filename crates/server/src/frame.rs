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
        let mut head = framed(message.encoded_len());
        message.encode(&mut head).expect("the buffer grows");
        let (head, body) = (head.freeze(), Bytes::new());
        Self { head, body }
    }

    /// An [`v1::Object`] message; `zstd` goes as it is.
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
        let mut head = framed(message.len() + zstd.len());
        // The buffer is as long as the whole message would be, and its beginning alone is written.
        head.put(message);
        let head = Bytes::copy_from_slice(&head);
        Self { head, body: zstd }
    }

    /// Adds a message that follows. Copies all but the body of that one.
    pub(crate) fn append(&mut self, next: Self) {
        self.head = [&self.head[..], &self.body, &next.head].concat().into();
        self.body = next.body;
    }

    /// Names what it says.
    pub(crate) fn hash(&self) -> ObjectHash {
        ObjectHash::of(&[&self.head[..], &self.body].concat())
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

/// A buffer for a message of `length` bytes, with the prefix in it.
fn framed(length: usize) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(5 + length.min(64 * 1024));
    buffer.put_u8(0);
    buffer.put_u32(u32::try_from(length).expect("objects are far smaller than 4 GiB"));
    buffer
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
        let mut together = frame(10);
        together.append(frame(0));
        together.append(frame(1000));
        let alone = [10, 0, 1000].map(|size| sent(frame(size))).concat();
        assert_eq!(sent(together), alone);
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
        let zstd = Bytes::from(vec![7; 1000]);
        let mut frame = Frame::object(&ObjectHash::of(b"a"), None, zstd.clone());
        frame.next(1000);
        assert_eq!(frame.next(1000).unwrap().as_ptr(), zstd.as_ptr());
    }
}
