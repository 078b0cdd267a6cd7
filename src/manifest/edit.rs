//! [`Edit`]: one change of the database's state, and its bytes in the manifest.
//!
//! ```text
//! edit   := version u8 = 2 | count varint | record * count
//! record := tag varint | length varint | body
//!
//! tag  body
//!  1   database identity 16
//!  2   keyspace id varint | name length varint | name | options (see KeyspaceOptions)       created
//!  3   keyspace id varint                                                                   dropped
//!  4   keyspace id varint | level varint | file (below)                                     SST added
//!  5   keyspace id varint | level varint | file number varint                               SST removed
//!  6   keyspace id varint | sequence number varint                                          flushed up to
//!  7   next file number varint
//!  8   next keyspace id varint
//!  9   oldest log still needed varint
//! 10   newest log known to exist varint
//! 11   log number varint | identity 16 | end offset varint | last sequence number varint    end found by a recovery
//! 12   sequence number varint                                                               no number at or below is free
//! 13   pack (below)                                                                         pack added, or as it is now
//! 14   pack number varint                                                                   pack removed
//! file := number varint | size varint | identity 16 | entries varint | tombstones varint
//!         | least key (length, bytes) | greatest key (length, bytes) | least number varint | greatest number varint
//!         | bytes of the objects referred to varint
//! pack := number varint | identity 16 | sealed u8 (0, 1) | length varint | dead bytes varint
//! ```
//!
//! A record of an unknown tag is an error that says "newer release": skipping a change of state is never safe.
//! All-or-nothing: an edit is one frame of the record log.

use crate::Slice;
use crate::coding::{Decoder, put_length_prefixed, put_varint};
use crate::names::MAX_NUMBER;
use crate::options::KeyspaceOptions;
use crate::record_log::LogEnd;
use crate::types::{KeyspaceId, MAX_KEY_LEN, MAX_SEQ, SeqNo};

/// The version of the edit's own encoding.
pub(crate) const EDIT_VERSION: u8 = 2;

/// What the manifest says of an SST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileMeta {
    pub(crate) number: u64,
    pub(crate) size: u64,
    pub(crate) identity: [u8; 16],
    pub(crate) entries: u64,
    pub(crate) tombstones: u64,
    pub(crate) min_key: Slice,
    pub(crate) max_key: Slice,
    pub(crate) min_seq: SeqNo,
    pub(crate) max_seq: SeqNo,
    /// The lengths of the objects that its entries refer to, once per entry.
    pub(crate) referenced_bytes: u64,
}

/// What the manifest says of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackMeta {
    pub(crate) number: u64,
    pub(crate) identity: [u8; 16],
    /// It never changes any more.
    pub(crate) sealed: bool,
    /// The file's length, when it is sealed; before, how much of it is certainly on the medium, whole records all.
    pub(crate) len: u64,
    /// Bytes of records that nobody needs any more, as far as that has been noticed.
    pub(crate) dead: u64,
}

/// One change. The order inside an edit matters only for the records of one file: removed, then added elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Identity([u8; 16]),
    CreateKeyspace {
        id: KeyspaceId,
        name: String,
        options: KeyspaceOptions,
    },
    DropKeyspace {
        id: KeyspaceId,
    },
    AddFile {
        keyspace: KeyspaceId,
        level: u32,
        file: FileMeta,
    },
    RemoveFile {
        keyspace: KeyspaceId,
        level: u32,
        number: u64,
    },
    Flushed {
        keyspace: KeyspaceId,
        upto: SeqNo,
    },
    NextFileNumber(u64),
    NextKeyspaceId(KeyspaceId),
    LogFloor(u64),
    LogKnown(u64),
    LogEnd(LogEnd),
    LastSeq(SeqNo),
    Pack(PackMeta),
    RemovePack {
        number: u64,
    },
}

/// A list of changes that become true together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) records: Vec<Record>,
}

/// Why bytes are not an edit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum DecodeError {
    Malformed(&'static str),
    Newer(String),
}

impl Edit {
    pub(crate) fn push(&mut self, record: Record) {
        self.records.push(record);
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![EDIT_VERSION];
        put_varint(&mut out, self.records.len() as u64);
        let mut body = Vec::new();
        for record in &self.records {
            body.clear();
            let tag = record.encode(&mut body);
            put_varint(&mut out, tag);
            put_length_prefixed(&mut out, &body);
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Edit, DecodeError> {
        let mut decoder = Decoder::new(bytes);
        match decoder.u8() {
            Some(EDIT_VERSION) => {}
            Some(version) => {
                return Err(DecodeError::Newer(format!(
                    "edit of version {version}, and this release reads version {EDIT_VERSION}"
                )));
            }
            None => return Err(DecodeError::Malformed("empty edit")),
        }
        let count = decoder
            .count()
            .ok_or(DecodeError::Malformed("bad number of records"))?;
        let mut edit = Edit::default();
        for _ in 0..count {
            let tag = decoder.varint().ok_or(DecodeError::Malformed("bad record tag"))?;
            let body = decoder
                .length_prefixed()
                .ok_or(DecodeError::Malformed("record cut off"))?;
            edit.push(Record::decode(tag, body)?);
        }
        if !decoder.is_empty() {
            return Err(DecodeError::Malformed("bytes behind the last record"));
        }
        Ok(edit)
    }
}

impl Record {
    fn encode(&self, out: &mut Vec<u8>) -> u64 {
        match self {
            Record::Identity(identity) => {
                out.extend_from_slice(identity);
                1
            }
            Record::CreateKeyspace { id, name, options } => {
                put_varint(out, u64::from(*id));
                put_length_prefixed(out, name.as_bytes());
                options.encode(out);
                2
            }
            Record::DropKeyspace { id } => {
                put_varint(out, u64::from(*id));
                3
            }
            Record::AddFile {
                keyspace,
                level,
                file,
            } => {
                put_varint(out, u64::from(*keyspace));
                put_varint(out, u64::from(*level));
                file.encode(out);
                4
            }
            Record::RemoveFile {
                keyspace,
                level,
                number,
            } => {
                put_varint(out, u64::from(*keyspace));
                put_varint(out, u64::from(*level));
                put_varint(out, *number);
                5
            }
            Record::Flushed { keyspace, upto } => {
                put_varint(out, u64::from(*keyspace));
                put_varint(out, *upto);
                6
            }
            Record::NextFileNumber(number) => {
                put_varint(out, *number);
                7
            }
            Record::NextKeyspaceId(id) => {
                put_varint(out, u64::from(*id));
                8
            }
            Record::LogFloor(number) => {
                put_varint(out, *number);
                9
            }
            Record::LogKnown(number) => {
                put_varint(out, *number);
                10
            }
            Record::LogEnd(end) => {
                put_varint(out, end.number);
                out.extend_from_slice(&end.identity);
                put_varint(out, end.offset);
                put_varint(out, end.last_seq);
                11
            }
            Record::LastSeq(seq) => {
                put_varint(out, *seq);
                12
            }
            Record::Pack(pack) => {
                pack.encode(out);
                13
            }
            Record::RemovePack { number } => {
                put_varint(out, *number);
                14
            }
        }
    }

    fn decode(tag: u64, body: &[u8]) -> Result<Record, DecodeError> {
        if !(1..=14).contains(&tag) {
            return Err(DecodeError::Newer(format!(
                "record with tag {tag}, and this release knows tags 1 to 14"
            )));
        }
        let mut d = Decoder::new(body);
        let record = Self::decode_known(tag, &mut d).ok_or(DecodeError::Malformed("bad record body"))?;
        if !d.is_empty() {
            return Err(DecodeError::Malformed("bytes behind a record's body"));
        }
        Ok(record)
    }

    fn decode_known(tag: u64, d: &mut Decoder<'_>) -> Option<Record> {
        Some(match tag {
            1 => Record::Identity(d.array()?),
            2 => Record::CreateKeyspace {
                id: keyspace_id(d)?,
                name: String::from_utf8(d.length_prefixed()?.to_vec()).ok()?,
                options: KeyspaceOptions::decode(d)?,
            },
            3 => Record::DropKeyspace { id: keyspace_id(d)? },
            4 => Record::AddFile {
                keyspace: keyspace_id(d)?,
                level: level(d)?,
                file: FileMeta::decode(d)?,
            },
            5 => Record::RemoveFile {
                keyspace: keyspace_id(d)?,
                level: level(d)?,
                number: file_number(d)?,
            },
            6 => Record::Flushed {
                keyspace: keyspace_id(d)?,
                upto: seq(d)?,
            },
            7 => Record::NextFileNumber(file_number(d)?),
            8 => Record::NextKeyspaceId(keyspace_id(d)?),
            9 => Record::LogFloor(file_number(d)?),
            10 => Record::LogKnown(file_number(d)?),
            11 => Record::LogEnd(LogEnd {
                number: file_number(d)?,
                identity: d.array()?,
                offset: d.varint()?,
                last_seq: seq(d)?,
            }),
            12 => Record::LastSeq(seq(d)?),
            13 => Record::Pack(PackMeta::decode(d)?),
            14 => Record::RemovePack {
                number: file_number(d)?,
            },
            _ => return None,
        })
    }
}

impl FileMeta {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.number);
        put_varint(out, self.size);
        out.extend_from_slice(&self.identity);
        put_varint(out, self.entries);
        put_varint(out, self.tombstones);
        put_length_prefixed(out, &self.min_key);
        put_length_prefixed(out, &self.max_key);
        put_varint(out, self.min_seq);
        put_varint(out, self.max_seq);
        put_varint(out, self.referenced_bytes);
    }

    fn decode(d: &mut Decoder<'_>) -> Option<Self> {
        let file = FileMeta {
            // There is always a next one.
            number: file_number(d).filter(|number| *number < MAX_NUMBER)?,
            size: d.varint()?,
            identity: d.array()?,
            entries: d.varint()?,
            tombstones: d.varint()?,
            min_key: key(d)?,
            max_key: key(d)?,
            min_seq: seq(d)?,
            max_seq: seq(d)?,
            referenced_bytes: d.varint()?,
        };
        (file.min_key <= file.max_key && file.min_seq <= file.max_seq).then_some(file)
    }
}

impl PackMeta {
    fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.number);
        out.extend_from_slice(&self.identity);
        out.push(u8::from(self.sealed));
        put_varint(out, self.len);
        put_varint(out, self.dead);
    }

    fn decode(d: &mut Decoder<'_>) -> Option<Self> {
        Some(PackMeta {
            // There is always a next one.
            number: file_number(d).filter(|number| *number < MAX_NUMBER)?,
            identity: d.array()?,
            sealed: match d.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            },
            len: d.varint()?,
            dead: d.varint()?,
        })
    }
}

fn keyspace_id(d: &mut Decoder<'_>) -> Option<KeyspaceId> {
    KeyspaceId::try_from(d.varint()?).ok()
}

fn file_number(d: &mut Decoder<'_>) -> Option<u64> {
    d.varint().filter(|number| *number <= MAX_NUMBER)
}

fn level(d: &mut Decoder<'_>) -> Option<u32> {
    u32::try_from(d.varint()?).ok()
}

fn seq(d: &mut Decoder<'_>) -> Option<SeqNo> {
    d.varint().filter(|seq| *seq <= MAX_SEQ)
}

fn key(d: &mut Decoder<'_>) -> Option<Slice> {
    d.length_prefixed()
        .filter(|key| key.len() <= MAX_KEY_LEN)
        .map(Slice::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Edit {
        let file = FileMeta {
            number: 7,
            size: 4711,
            identity: [9; 16],
            entries: 100,
            tombstones: 3,
            min_key: Slice::from(&b"a"[..]),
            max_key: Slice::from(&b"z"[..]),
            min_seq: 1,
            max_seq: 200,
            referenced_bytes: u64::MAX,
        };
        Edit {
            records: vec![
                Record::Identity([1; 16]),
                Record::CreateKeyspace {
                    id: 3,
                    name: "users".into(),
                    options: KeyspaceOptions::default(),
                },
                Record::DropKeyspace { id: 2 },
                Record::AddFile {
                    keyspace: 3,
                    level: 1,
                    file,
                },
                Record::RemoveFile {
                    keyspace: 3,
                    level: 0,
                    number: 6,
                },
                Record::Flushed {
                    keyspace: 3,
                    upto: 200,
                },
                Record::NextFileNumber(8),
                Record::NextKeyspaceId(4),
                Record::LogFloor(2),
                Record::LogKnown(3),
                Record::LogEnd(LogEnd {
                    number: 2,
                    identity: [4; 16],
                    offset: 99,
                    last_seq: 200,
                }),
                Record::Pack(PackMeta {
                    number: 11,
                    identity: [3; 16],
                    sealed: true,
                    len: 1000,
                    dead: 10,
                }),
                Record::RemovePack { number: 10 },
                Record::LastSeq(200),
            ],
        }
    }

    #[test]
    fn every_record_round_trips() {
        let edit = sample();
        assert_eq!(Edit::decode(&edit.encode()), Ok(edit));
    }

    #[test]
    fn a_cut_or_padded_edit_is_refused() {
        let bytes = sample().encode();
        for len in 0..bytes.len() {
            assert!(Edit::decode(&bytes[..len]).is_err(), "{len}");
        }
        let mut padded = bytes;
        padded.push(0);
        assert!(Edit::decode(&padded).is_err());
    }

    #[test]
    fn unknown_tags_and_versions_say_newer() {
        assert!(matches!(Edit::decode(&[3, 0]), Err(DecodeError::Newer(_))));
        assert!(matches!(Edit::decode(&[2, 1, 99, 0]), Err(DecodeError::Newer(_))));
    }

    #[test]
    fn a_file_whose_bounds_are_turned_round_or_whose_number_is_the_last_is_refused() {
        let decodes = |change: &dyn Fn(&mut FileMeta)| {
            let Some(Record::AddFile { mut file, .. }) = sample()
                .records
                .into_iter()
                .find(|record| matches!(record, Record::AddFile { .. }))
            else {
                panic!("no file in the sample");
            };
            (file.min_key, file.max_key) = (Slice::from(&b"b"[..]), Slice::from(&b"b"[..]));
            (file.min_seq, file.max_seq) = (5, 5);
            change(&mut file);
            let edit = Edit {
                records: vec![Record::AddFile {
                    keyspace: 1,
                    level: 0,
                    file,
                }],
            };
            Edit::decode(&edit.encode()).is_ok()
        };
        assert!(decodes(&|file| file.number = MAX_NUMBER - 1));
        assert!(!decodes(&|file| file.number = MAX_NUMBER));
        assert!(!decodes(&|file| file.min_key = Slice::from(&b"c"[..])));
        assert!(!decodes(&|file| file.min_seq = 6));
    }
}
