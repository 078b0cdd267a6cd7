//! Entries for the fuzz targets (`fuzz/`) into formats that are private otherwise: what they decode, and what they encode.
//!
//! Why it exists: a fuzzer that can only come in through a file has to get past names, headers and checksums before it
//! reaches a decoder, and can't compare what was decoded with its encoding again. Here each decoder is one call away. The
//! module is compiled only with the feature `fuzzing`, is hidden from the documentation, and promises nothing to anybody.
//!
//! Everything is thin: plain data in and out, the formats' own functions in between. What must hold is asserted by the
//! targets; only where two private values have to be compared (catalogs) is the comparison made here.
//!
//! Callers: `fuzz/src`, and nobody else.
#![allow(missing_docs)]

mod packs;

use std::path::{Path, PathBuf};

use crate::coding::Decoder;
use crate::env::{Env, FileSystem};
use crate::inspect;
use crate::manifest::{self, Catalog, Edit, Manifest};
use crate::record_log::{LogEnd, RecoveryMode};
use crate::sst::Properties;
use crate::types::ObjectRef;
use crate::wal::{self, Frame, Op, Payload, PayloadBuilder, ReplayOptions, Wal, WalOptions};
use crate::{Error, KeyspaceId, KeyspaceOptions, Result, SeqNo};

pub use self::packs::{
    Placed, PlacedReader, ReopenedPack, Sealed, UnsealedPack, pack_digest, pack_sum, survey_pack,
};
pub use crate::sst::fuzzing::{SST_VERSION, block_place, filter_answers, filter_build, footer, sst_header};

// ---- batches ----

/// One write of a batch: no value, a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub keyspace: KeyspaceId,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
    /// In place of a value.
    pub object: Option<ObjectRef>,
}

/// A batch as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub first_seq: SeqNo,
    pub writes: Vec<Write>,
}

impl Batch {
    /// The number of the last write. REQUIRES: there is one.
    pub fn last_seq(&self) -> SeqNo {
        self.first_seq + (self.writes.len() as u64).saturating_sub(1)
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut builder = PayloadBuilder::new();
        for write in &self.writes {
            match (&write.value, &write.object) {
                (_, Some(object)) => builder.put_object(write.keyspace, &write.key, object),
                (Some(value), None) => builder.put(write.keyspace, &write.key, value),
                (None, None) => builder.delete(write.keyspace, &write.key),
            }
        }
        builder.set_first_seq(self.first_seq);
        builder.as_bytes().to_vec()
    }

    pub fn decode(bytes: &[u8]) -> Result<Batch> {
        Batch::from_payload(&Payload::parse(Path::new("payload"), 0, bytes)?)
    }

    fn from_payload(payload: &Payload<'_>) -> Result<Batch> {
        let mut writes = Vec::new();
        for op in payload {
            writes.push(match op? {
                Op::Put { keyspace, key, value } => Write {
                    keyspace,
                    key: key.to_vec(),
                    value: Some(value.to_vec()),
                    object: None,
                },
                Op::PutObject {
                    keyspace,
                    key,
                    object,
                } => Write {
                    keyspace,
                    key: key.to_vec(),
                    value: None,
                    object: Some(object),
                },
                Op::Delete { keyspace, key } => Write {
                    keyspace,
                    key: key.to_vec(),
                    value: None,
                    object: None,
                },
            });
        }
        Ok(Batch {
            first_seq: payload.first_seq(),
            writes,
        })
    }
}

// ---- the log ----

/// A log that is open for appending.
pub struct Log(Wal);

impl Log {
    /// Appends the batches as one group.
    pub fn append(&self, batches: &[Batch]) -> Result<()> {
        let payloads: Vec<Vec<u8>> = batches.iter().map(Batch::encode).collect();
        let frames: Vec<Frame<'_>> = batches
            .iter()
            .zip(&payloads)
            .map(|(batch, payload)| Frame {
                first_seq: batch.first_seq,
                last_seq: batch.last_seq(),
                payload,
            })
            .collect();
        self.0.append(&frames).map(drop)
    }

    pub fn sync(&self) -> Result<()> {
        self.0.sync(self.0.end())
    }

    /// Lets go of all files but the current one, as after a flush of all that is in them.
    pub fn let_go(&self, facts: &mut LogFacts) -> Result<()> {
        let floor = self.0.current_number();
        facts.floor = floor;
        facts.must_exist = vec![floor];
        facts.ends.retain(|end| end.number >= floor);
        self.0.remove_below(floor)
    }

    /// Syncs and seals.
    pub fn close(&self) -> Result<()> {
        self.0.close()
    }
}

/// What a manifest would know of the log.
#[derive(Clone, Debug, Default)]
pub struct LogFacts {
    floor: u64,
    must_exist: Vec<u64>,
    ends: Vec<LogEnd>,
}

impl LogFacts {
    /// Nothing: there is no log yet.
    pub fn none() -> LogFacts {
        LogFacts {
            floor: 1,
            ..LogFacts::default()
        }
    }
}

/// What a replay gave. Batches that were handed out before an error are there too.
pub struct LogReplay {
    pub batches: Vec<Batch>,
    pub torn_bytes: u64,
    pub dropped: usize,
    pub error: Option<Error>,
    found: wal::Replayed,
}

/// Replays the logs in `dir`.
pub fn replay_logs(fs: &dyn FileSystem, dir: &Path, facts: &LogFacts, mode: RecoveryMode) -> LogReplay {
    let options = ReplayOptions {
        floor: facts.floor,
        must_exist: facts.must_exist.clone(),
        ends: facts.ends.clone(),
        mode,
    };
    let mut batches = Vec::new();
    let found = wal::replay(fs, dir, &options, &mut |_, payload| {
        batches.push(Batch::from_payload(&payload)?);
        Ok(())
    });
    let (found, error) = match found {
        Ok(found) => (found, None),
        Err(error) => (wal::Replayed::default(), Some(error)),
    };
    LogReplay {
        batches,
        torn_bytes: found.torn_bytes,
        dropped: found.dropped.len(),
        error,
        found,
    }
}

impl LogReplay {
    /// Goes on with the log, as an open does, and returns what the manifest would know then, and what it would delete.
    pub fn resume(
        &self,
        env: &Env,
        dir: &Path,
        max_file_size: u64,
        mapped: bool,
    ) -> Result<(Log, LogFacts, Vec<PathBuf>)> {
        let number = self.found.next_number.max(1);
        let options = match mapped {
            true => WalOptions::mapped(max_file_size),
            false => WalOptions::plain(max_file_size),
        };
        let resumed = wal::resume(env, dir, number, &self.found, options)?;
        let ends: Vec<LogEnd> = resumed.kept.iter().map(|log| log.end.clone()).collect();
        let facts = LogFacts {
            floor: ends.first().map_or(number, |end| end.number),
            must_exist: vec![number],
            ends,
        };
        let mut old = self.found.leftovers.clone();
        old.extend(resumed.replaced);
        Ok((Log(resumed.wal), facts, old))
    }
}

// ---- the manifest ----

/// The edit that these bytes are, encoded again.
pub fn edit(bytes: &[u8]) -> Option<Vec<u8>> {
    Edit::decode(bytes).ok().map(|edit| edit.encode())
}

/// A catalog, which edits change.
#[derive(Clone, PartialEq, Eq)]
pub struct State(Catalog);

impl State {
    pub fn new(identity: [u8; 16]) -> State {
        State(Catalog::new(identity))
    }

    /// The state with the edit applied; `None` when these bytes are no edit, or one that does not fit.
    pub fn apply(&self, edit: &[u8]) -> Option<State> {
        let edit = Edit::decode(edit).ok()?;
        let mut next = self.0.clone();
        next.apply(&edit).ok()?;
        Some(State(next))
    }

    /// The whole state as one edit.
    pub fn snapshot(&self) -> Vec<u8> {
        self.0.snapshot().encode()
    }

    /// The state that a snapshot alone makes.
    pub fn of_snapshot(snapshot: &[u8]) -> Option<State> {
        State(Catalog::default()).apply(snapshot)
    }

    /// As tools show it.
    pub fn describe(&self) -> inspect::State {
        inspect::State::from(&self.0)
    }

    /// What `CURRENT` in `dir` leads to, as an open reads it; `None`: there is no `CURRENT`.
    pub fn load(fs: &dyn FileSystem, dir: &Path) -> Result<Option<State>> {
        Ok(manifest::load(fs, dir)?.map(|loaded| State(loaded.catalog)))
    }
}

/// A manifest that is being written.
pub struct Writer(Manifest);

impl Writer {
    pub fn create(env: &Env, dir: &Path, number: u64, roll_size: u64, state: &State) -> Option<Writer> {
        Manifest::create(env, dir, number, roll_size, &state.0)
            .ok()
            .map(Writer)
    }

    /// Commits an edit that leads to the state `next`. REQUIRES: `State::apply` has taken it.
    pub fn commit(&mut self, edit: &[u8], next: &State) -> bool {
        Edit::decode(edit).is_ok_and(|edit| self.0.commit(&edit, &next.0).is_ok())
    }

    pub fn close(&mut self) -> Result<()> {
        self.0.close()
    }
}

// ---- stored options, properties ----

/// The options that these bytes begin with, and how many bytes they take.
pub fn keyspace_options(bytes: &[u8]) -> Option<(KeyspaceOptions, usize)> {
    let mut decoder = Decoder::new(bytes);
    let options = KeyspaceOptions::decode(&mut decoder)?;
    Some((options, bytes.len() - decoder.remaining()))
}

pub fn encode_keyspace_options(options: &KeyspaceOptions) -> Vec<u8> {
    let mut out = Vec::new();
    options.encode(&mut out);
    out
}

pub fn properties(bytes: &[u8]) -> Option<Properties> {
    Properties::decode(bytes)
}

pub fn encode_properties(properties: &Properties) -> Vec<u8> {
    properties.encode()
}
