//! Manifests: their edits as plain data, and the state that these add up to.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::log::{Frame, FrameContent, LogEnd, LogHeader, LogLimits, LogReport, RawFrame, walk};
use crate::env::FileSystem;
use crate::manifest::{Catalog, DecodeError, Edit, FileMeta, PackMeta, Record, current_number};
use crate::names;
use crate::options::KeyspaceOptions;
use crate::record_log::LogKind;
use crate::sst::Compression;
use crate::types::{KeyspaceId, SeqNo};
use crate::{Error, Result, Slice};

/// What a manifest says of an SST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SstInfo {
    /// Its number, which its name repeats.
    pub number: u64,
    /// Bytes.
    pub size: u64,
    /// The file's random identity.
    pub identity: [u8; 16],
    /// Entries of all kinds.
    pub entries: u64,
    /// Tombstones among them.
    pub tombstones: u64,
    /// The first key.
    pub min_key: Slice,
    /// The last key.
    pub max_key: Slice,
    /// The smallest sequence number.
    pub min_seq: SeqNo,
    /// The largest sequence number.
    pub max_seq: SeqNo,
    /// The lengths of the objects that its entries refer to, once per entry.
    pub referenced_bytes: u64,
}

/// A keyspace's stored options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceSettings {
    /// How blocks are compressed.
    pub compression: Compression,
    /// Bytes of small values that share a block.
    pub value_block_size: u32,
    /// Bytes of keys in a block.
    pub key_block_size: u32,
    /// Whether SSTs carry filters.
    pub filter: bool,
    /// Bytes of a partition of filter or index.
    pub partition_size: u32,
}

/// One change that an edit makes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// The database's identity.
    Identity([u8; 16]),
    /// A keyspace came to be.
    CreateKeyspace {
        /// Its id, never used again.
        id: KeyspaceId,
        /// Its name.
        name: String,
        /// Its options.
        settings: KeyspaceSettings,
    },
    /// A keyspace went, with everything in it.
    DropKeyspace {
        /// Its id.
        id: KeyspaceId,
    },
    /// An SST joined a level.
    AddSst {
        /// The keyspace.
        keyspace: KeyspaceId,
        /// 0 to 6.
        level: u32,
        /// The file.
        sst: SstInfo,
    },
    /// An SST left a level.
    RemoveSst {
        /// The keyspace.
        keyspace: KeyspaceId,
        /// 0 to 6.
        level: u32,
        /// The file's number.
        number: u64,
    },
    /// All writes to the keyspace at or below the number are in SSTs.
    Flushed {
        /// The keyspace.
        keyspace: KeyspaceId,
        /// The number.
        upto: SeqNo,
    },
    /// No SST at or above this number exists.
    NextFileNumber(u64),
    /// No keyspace at or above this id has ever existed.
    NextKeyspaceId(KeyspaceId),
    /// Logs below this number are not needed.
    LogFloor(u64),
    /// The newest log known to exist.
    LogKnown(u64),
    /// Where a recovery found that a log ends.
    LogEnd(LogEnd),
    /// Sequence numbers at or below this one have been given away.
    LastSeq(SeqNo),
    /// A pack was added, or this is how it is now.
    Pack(PackInfo),
    /// A pack was removed.
    RemovePack {
        /// Its number.
        number: u64,
    },
}

/// What the manifest says of a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackInfo {
    /// The number in its name.
    pub number: u64,
    /// The random bytes in its header.
    pub identity: [u8; 16],
    /// Whether it never changes any more.
    pub sealed: bool,
    /// The file's length in bytes when it is sealed; before, how much of it is certainly on the medium.
    pub len: u64,
    /// Bytes that nobody needs any more, as far as that has been noticed.
    pub dead: u64,
}

/// A keyspace as the manifest has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceState {
    /// Its id.
    pub id: KeyspaceId,
    /// Its name.
    pub name: String,
    /// Its options.
    pub settings: KeyspaceSettings,
    /// All writes at or below this number are in SSTs.
    pub flushed: SeqNo,
    /// The SSTs by level, from level 0 on; in each by number, so that level 0 has the oldest first.
    pub levels: Vec<Vec<SstInfo>>,
}

/// All that a manifest says in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The database's identity.
    pub identity: [u8; 16],
    /// Keyspaces by id.
    pub keyspaces: Vec<KeyspaceState>,
    /// Packs by number.
    pub packs: Vec<PackInfo>,
    /// No SST and no pack at or above this number exists.
    pub next_file_number: u64,
    /// No keyspace at or above this id has ever existed.
    pub next_keyspace_id: KeyspaceId,
    /// Logs below this number are not needed.
    pub log_floor: u64,
    /// Logs from the floor to this number exist; zero: none has been created yet.
    pub log_known: u64,
    /// Where recoveries found that logs end.
    pub log_ends: Vec<LogEnd>,
    /// Numbers at or below this have been given away.
    pub last_seq: SeqNo,
}

/// What a walk through a manifest found.
#[derive(Clone, Debug)]
pub struct ManifestReport {
    /// The file as a record log.
    pub log: LogReport,
    /// Edits read.
    pub edits: u64,
    /// The state after the last edit that could be read; `None`: there was no edit.
    pub state: Option<State>,
}

/// What a manifest's frame is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum ManifestFrame<'a> {
    /// Changes that became true together.
    Edit(&'a [Change]),
    /// A marker or seal.
    Mark(FrameContent<'a>),
}

/// The path of the manifest that `CURRENT` names; `None` where there is no `CURRENT`.
///
/// # Errors
/// `CURRENT` can't be read, is damaged, or was written by a newer release.
pub fn read_current(fs: &dyn FileSystem, dir: &Path) -> Result<Option<PathBuf>> {
    Ok(current_number(fs, dir)?.map(|number| names::manifest(dir, number)))
}

/// Walks through a manifest to its end and returns what it adds up to.
///
/// # Errors
/// As [`walk_manifest`].
pub fn load_state(fs: &dyn FileSystem, path: &Path) -> Result<ManifestReport> {
    walk_manifest(fs, path, &mut |_, _, _| ControlFlow::Continue(()))
}

/// Walks through a manifest and hands each good frame, with its offset and length, to `sink`, which may stop it.
///
/// # Errors
/// The file can't be read or has no manifest's header; a record of a newer release; an edit that does not decode, or does
/// not fit the state before it, although its checksum is right. Damage behind the header is no error but a
/// [`Tail`](super::Tail).
pub fn walk_manifest(
    fs: &dyn FileSystem,
    path: &Path,
    sink: &mut dyn FnMut(u64, u64, ManifestFrame<'_>) -> ControlFlow<()>,
) -> Result<ManifestReport> {
    let mut catalog: Option<Catalog> = None;
    let mut edits = 0;
    let limits = LogLimits::default();
    let mut no_header = |_: &LogHeader| {};
    let log = walk(
        fs,
        path,
        LogKind::Manifest,
        &limits,
        &mut no_header,
        &mut |offset, frame| match frame {
            RawFrame::Mark(Frame { len, content, .. }) => Ok(sink(offset, len, ManifestFrame::Mark(content))),
            RawFrame::Data(payload) => {
                let edit = Edit::decode(payload).map_err(|error| match error {
                    DecodeError::Malformed(what) => Error::corruption(path, offset, what),
                    DecodeError::Newer(what) => Error::NewerFormat {
                        path: path.to_owned(),
                        what,
                    },
                })?;
                catalog
                    .get_or_insert_default()
                    .apply(&edit)
                    .map_err(|what| Error::corruption(path, offset, what))?;
                edits += 1;
                let changes: Vec<Change> = edit.records.iter().map(Change::from).collect();
                let len = crate::record_log::FRAME_HEADER_LEN + payload.len() as u64;
                Ok(sink(offset, len, ManifestFrame::Edit(&changes)))
            }
        },
    )?;
    Ok(ManifestReport {
        log,
        edits,
        state: catalog.as_ref().map(State::from),
    })
}

impl From<&FileMeta> for SstInfo {
    fn from(meta: &FileMeta) -> Self {
        SstInfo {
            number: meta.number,
            size: meta.size,
            identity: meta.identity,
            entries: meta.entries,
            tombstones: meta.tombstones,
            min_key: meta.min_key.clone(),
            max_key: meta.max_key.clone(),
            min_seq: meta.min_seq,
            max_seq: meta.max_seq,
            referenced_bytes: meta.referenced_bytes,
        }
    }
}

impl From<&PackMeta> for PackInfo {
    fn from(pack: &PackMeta) -> Self {
        PackInfo {
            number: pack.number,
            identity: pack.identity,
            sealed: pack.sealed,
            len: pack.len,
            dead: pack.dead,
        }
    }
}

impl From<&KeyspaceOptions> for KeyspaceSettings {
    fn from(options: &KeyspaceOptions) -> Self {
        let sst = options.sst();
        KeyspaceSettings {
            compression: sst.compression,
            value_block_size: sst.value_block_size,
            key_block_size: sst.key_block_size,
            filter: sst.filter,
            partition_size: sst.partition_size,
        }
    }
}

impl From<&Record> for Change {
    fn from(record: &Record) -> Self {
        match record {
            Record::Identity(identity) => Change::Identity(*identity),
            Record::CreateKeyspace { id, name, options } => Change::CreateKeyspace {
                id: *id,
                name: name.clone(),
                settings: options.into(),
            },
            Record::DropKeyspace { id } => Change::DropKeyspace { id: *id },
            Record::AddFile {
                keyspace,
                level,
                file,
            } => Change::AddSst {
                keyspace: *keyspace,
                level: *level,
                sst: file.into(),
            },
            Record::RemoveFile {
                keyspace,
                level,
                number,
            } => Change::RemoveSst {
                keyspace: *keyspace,
                level: *level,
                number: *number,
            },
            Record::Flushed { keyspace, upto } => Change::Flushed {
                keyspace: *keyspace,
                upto: *upto,
            },
            Record::NextFileNumber(number) => Change::NextFileNumber(*number),
            Record::NextKeyspaceId(id) => Change::NextKeyspaceId(*id),
            Record::LogFloor(number) => Change::LogFloor(*number),
            Record::LogKnown(number) => Change::LogKnown(*number),
            Record::LogEnd(end) => Change::LogEnd(end.into()),
            Record::LastSeq(seq) => Change::LastSeq(*seq),
            Record::Pack(pack) => Change::Pack(pack.into()),
            Record::RemovePack { number } => Change::RemovePack { number: *number },
        }
    }
}

impl From<&Catalog> for State {
    fn from(catalog: &Catalog) -> Self {
        let keyspace = |(id, entry): (&KeyspaceId, &crate::manifest::KeyspaceEntry)| KeyspaceState {
            id: *id,
            name: entry.name.to_string(),
            settings: (&entry.options).into(),
            flushed: entry.flushed,
            levels: entry
                .levels
                .iter()
                .map(|files| files.values().map(SstInfo::from).collect())
                .collect(),
        };
        State {
            identity: catalog.identity,
            keyspaces: catalog.keyspaces.iter().map(keyspace).collect(),
            packs: catalog.packs.values().map(PackInfo::from).collect(),
            next_file_number: catalog.next_file_number,
            next_keyspace_id: catalog.next_keyspace_id,
            log_floor: catalog.log_floor,
            log_known: catalog.log_known,
            log_ends: catalog.log_ends.iter().map(LogEnd::from).collect(),
            last_seq: catalog.last_seq,
        }
    }
}
