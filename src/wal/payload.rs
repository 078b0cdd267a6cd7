//! What a data frame of the write-ahead log carries: the operations of one batch.
//!
//! ```text
//! payload   := first sequence number u64 | count u32 (at least 1) | operation*count
//! operation := kind u8 (1 put, 2 delete, 3 object; others reserved) | keyspace id varint
//!            | key length varint | key | for a put: value length varint | value
//!                                      | for an object: id 16 | length u64
//! ```
//!
//! Operation `i` has sequence number `first + i`. Decoding checks every limit and trusts no length.

use std::path::Path;

use crate::coding::{Decoder, put_length_prefixed, put_varint};
use crate::types::{MAX_KEY_LEN, MAX_SEQ, MAX_VALUE_LEN, ObjectRef};
use crate::{Error, KeyspaceId, Result, SeqNo};

const PUT: u8 = 1;
const DELETE: u8 = 2;
/// A put of a value that is an object in a pack.
const OBJECT: u8 = 3;

/// Under a good checksum this is no damage.
const UNKNOWN_KIND: &str = "has a kind that this release does not know";

/// First sequence number and count.
const FRONT_SIZE: usize = 12;

/// Builds payloads in a buffer that it keeps from one to the next.
///
/// REQUIRES: keys and values are within the limits, which the API checks.
#[derive(Clone, Debug)]
pub(crate) struct PayloadBuilder {
    bytes: Vec<u8>,
    count: u32,
}

impl Default for PayloadBuilder {
    fn default() -> Self {
        PayloadBuilder::new()
    }
}

impl PayloadBuilder {
    pub(crate) fn new() -> Self {
        PayloadBuilder {
            bytes: vec![0; FRONT_SIZE],
            count: 0,
        }
    }

    /// Forgets all operations; keeps the buffer.
    #[cfg(test)]
    pub(crate) fn clear(&mut self) {
        self.bytes.truncate(FRONT_SIZE);
        self.count = 0;
    }

    pub(crate) fn put(&mut self, keyspace: KeyspaceId, key: &[u8], value: &[u8]) {
        self.operation(PUT, keyspace, key);
        put_length_prefixed(&mut self.bytes, value);
    }

    pub(crate) fn put_object(&mut self, keyspace: KeyspaceId, key: &[u8], object: &ObjectRef) {
        self.operation(OBJECT, keyspace, key);
        self.bytes.extend_from_slice(&object.to_bytes());
    }

    pub(crate) fn delete(&mut self, keyspace: KeyspaceId, key: &[u8]) {
        self.operation(DELETE, keyspace, key);
    }

    fn operation(&mut self, kind: u8, keyspace: KeyspaceId, key: &[u8]) {
        self.bytes.push(kind);
        put_varint(&mut self.bytes, u64::from(keyspace));
        put_length_prefixed(&mut self.bytes, key);
        self.count = self.count.saturating_add(1);
    }

    /// How many operations there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The payload's length in bytes.
    pub(crate) fn byte_size(&self) -> usize {
        self.bytes.len()
    }

    /// Fills in the number of the first operation, which is known last.
    pub(crate) fn set_first_seq(&mut self, first: SeqNo) {
        let count = self.count;
        if let Some((seq, rest)) = self.bytes.split_first_chunk_mut::<8>() {
            *seq = first.to_le_bytes();
            if let Some(room) = rest.first_chunk_mut::<4>() {
                *room = count.to_le_bytes();
            }
        }
    }

    /// The payload. REQUIRES: `set_first_seq` was called after the last operation was added.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The operations so far, in order.
    pub(crate) fn ops(&self) -> Ops<'_> {
        let rest = Decoder::new(self.bytes.get(FRONT_SIZE..).unwrap_or_default());
        Ops {
            path: Path::new(""),
            offset: 0,
            rest,
            left: self.count,
            index: 0,
        }
    }
}

/// One write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op<'a> {
    Put {
        keyspace: KeyspaceId,
        key: &'a [u8],
        value: &'a [u8],
    },
    /// A put of a value that is an object in a pack.
    PutObject {
        keyspace: KeyspaceId,
        key: &'a [u8],
        object: ObjectRef,
    },
    Delete {
        keyspace: KeyspaceId,
        key: &'a [u8],
    },
}

/// A payload found in a file; knows where, for its errors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload<'a> {
    first_seq: SeqNo,
    ops: Ops<'a>,
}

impl<'a> Payload<'a> {
    /// Checks the payload's front. `path` and `offset` say where its frame lies. The operations are checked as they are
    /// iterated: to the end, or an error.
    pub(crate) fn parse(path: &'a Path, offset: u64, bytes: &'a [u8]) -> Result<Payload<'a>> {
        let mut rest = Decoder::new(bytes);
        let front = (|| Some((rest.u64()?, rest.u32()?)))();
        let Some((first_seq, count)) = front else {
            return Err(Error::corruption(
                path,
                offset,
                "a payload is shorter than its front of 12 bytes",
            ));
        };
        // Every operation takes at least three bytes.
        if count == 0 || count as usize > rest.remaining() / 3 {
            let what = format!("a payload of {} bytes claims {count} operations", bytes.len());
            return Err(Error::corruption(path, offset, what));
        }
        if first_seq.saturating_add(u64::from(count) - 1) > MAX_SEQ {
            let what = format!("a payload begins with sequence number {first_seq}, past the largest");
            return Err(Error::corruption(path, offset, what));
        }
        Ok(Payload {
            first_seq,
            ops: Ops {
                path,
                offset,
                rest,
                left: count,
                index: 0,
            },
        })
    }

    /// The number of the first operation.
    pub(crate) fn first_seq(&self) -> SeqNo {
        self.first_seq
    }

    /// The number of the last operation.
    pub(crate) fn last_seq(&self) -> SeqNo {
        self.first_seq + u64::from(self.ops.left.saturating_sub(1))
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> u32 {
        self.ops.left
    }

    /// The operations, in order. After an error there are no more.
    pub(crate) fn ops(&self) -> Ops<'a> {
        self.ops
    }
}

impl<'a> IntoIterator for &Payload<'a> {
    type Item = Result<Op<'a>>;
    type IntoIter = Ops<'a>;

    fn into_iter(self) -> Ops<'a> {
        self.ops()
    }
}

/// The operations of a payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ops<'a> {
    path: &'a Path,
    offset: u64,
    rest: Decoder<'a>,
    left: u32,
    index: u32,
}

impl<'a> Ops<'a> {
    fn decode(&mut self) -> Result<Op<'a>, &'static str> {
        const SHORT: &str = "is cut off";
        let kind = self.rest.u8().ok_or(SHORT)?;
        if ![PUT, DELETE, OBJECT].contains(&kind) {
            return Err(UNKNOWN_KIND);
        }
        let keyspace = self.rest.varint().ok_or(SHORT)?;
        let keyspace = KeyspaceId::try_from(keyspace).map_err(|_| "has a keyspace id past 32 bits")?;
        let key = self.rest.length_prefixed().ok_or(SHORT)?;
        if key.len() > MAX_KEY_LEN {
            return Err("has a key past the limit");
        }
        if kind == DELETE {
            return Ok(Op::Delete { keyspace, key });
        }
        if kind == OBJECT {
            let object = self.rest.bytes(ObjectRef::LEN).and_then(ObjectRef::from_bytes);
            let object = object.ok_or(SHORT)?;
            return Ok(Op::PutObject {
                keyspace,
                key,
                object,
            });
        }
        let value = self.rest.length_prefixed().ok_or(SHORT)?;
        if value.len() > MAX_VALUE_LEN {
            return Err("has a value past the limit");
        }
        Ok(Op::Put { keyspace, key, value })
    }
}

impl<'a> Iterator for Ops<'a> {
    type Item = Result<Op<'a>>;

    fn next(&mut self) -> Option<Result<Op<'a>>> {
        let what = if self.left == 0 {
            if self.rest.is_empty() {
                return None;
            }
            let what = format!(
                "a payload has {} bytes behind its last operation",
                self.rest.remaining()
            );
            self.rest = Decoder::new(&[]);
            what
        } else {
            match self.decode() {
                Ok(op) => {
                    self.left -= 1;
                    self.index += 1;
                    return Some(Ok(op));
                }
                Err(what) => {
                    self.left = 0;
                    self.rest = Decoder::new(&[]);
                    if what == UNKNOWN_KIND {
                        let (index, offset) = (self.index, self.offset);
                        let what =
                            format!("operation {index} of the batch at offset {offset} {UNKNOWN_KIND}");
                        let path = self.path.to_owned();
                        return Some(Err(Error::NewerFormat { path, what }));
                    }
                    format!("operation {} of a payload {what}", self.index)
                }
            }
        };
        Some(Err(Error::corruption(self.path, self.offset, what)))
    }
}
