//! [`Salvage`]: what can still be read of a damaged SST, entry by entry, and which keys the rest may have held.
//!
//! An intact offset table says where the blocks are. Without it the file is walked frame by frame from its front; behind
//! damage the walk goes on at the next bytes that are a frame. A frame does not carry its block's number, but its checksum
//! does, and the number can be computed back from it ([`Frame::number_of`]): a frame counts if the number is one that can
//! stand there. The seed of all checksums is the identity, which header and footer both have.
//!
//! * A key block that can't be read loses the keys between its neighbours. A value block that can't be read loses the
//!   entries that refer to it, and no others.
//! * Filter and index are not needed; the properties are of use where they are whole.
//! * Memory: eight bytes or so for each block, and one key block and one value block. Work: each byte is read at most a few
//!   times, whatever the file says ([`WORK`]).
//!
//! Callers: repair.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::footer::{self, BlockPlace, FOOTER_LEN, Footer, HEADER_LEN, PLACE_LEN, Refusal};
use super::frame::{BlockKind, FRAME_LEN, Frame, Seed};
use super::key_block::{BlockUse, EntryError, KeyBlock};
use super::properties::Properties;
use crate::coding::array_at;
use crate::env::File;
use crate::types::{SeqNo, ValuePlace};
use crate::{Error, KeyspaceId, Result, Slice};

/// Bytes that are searched at a time for a frame.
const CHUNK: usize = 256 << 10;
/// How often the file's length may be hashed in search of frames before the rest is given up. Bytes that happen to look like
/// a frame's front are one in billions; only a hostile file has more.
const WORK: u64 = 16;
/// Bytes that no block is smaller than, frame included: as many numbers can be missing in lost bytes.
const LEAST_BLOCK: u64 = FRAME_LEN as u64 + 1;
/// Numbers that may lie between those of two neighbouring frames: a key block and a value block are open at a time.
const OPEN_BLOCKS: u64 = 3;

/// Keys that are lost, or may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LostKeys {
    /// Where in the file the damage is.
    pub(crate) offset: u64,
    /// How many bytes, where that is known.
    pub(crate) len: u64,
    /// No key below this one is meant. `None`: no bound is known.
    pub(crate) from: Option<Slice>,
    /// No key above this one is meant.
    pub(crate) to: Option<Slice>,
    /// How many entries, where that is known.
    pub(crate) entries: Option<u64>,
    /// What is wrong.
    pub(crate) what: String,
}

/// In the order of the file.
#[derive(Clone, Debug)]
enum Part {
    KeyBlock(u32),
    /// Bytes that are no block.
    Gap {
        from: u64,
        to: u64,
    },
}

/// A damaged file.
pub(crate) struct Salvage {
    file: Arc<dyn File>,
    path: PathBuf,
    seed: Seed,
    places: BTreeMap<u32, BlockPlace>,
    parts: Vec<Part>,
    /// What the file says of itself, if that is whole.
    pub(crate) properties: Option<Properties>,
    /// The keyspace as the header has it.
    pub(crate) keyspace: Option<KeyspaceId>,
    /// Sections that are damaged and cost no entry.
    pub(crate) notes: Vec<String>,
}

impl Salvage {
    /// Finds the blocks. An error means that nothing can be found: not an SST, neither end readable, or a newer format.
    pub(crate) fn open(file: Arc<dyn File>, path: &Path) -> Result<Salvage> {
        let len = file.len().map_err(|e| Error::io("read the length of", path, e))?;
        let newer = |what: String| Error::NewerFormat {
            path: path.to_owned(),
            what,
        };
        let mut notes = Vec::new();
        let header = match read_array::<HEADER_LEN>(&*file, 0).map(|bytes| footer::decode_header(&bytes)) {
            Some(Ok(header)) => Some(header),
            Some(Err(Refusal::Newer(what))) => return Err(newer(what)),
            _ => None,
        };
        let keyspace = header
            .map(|(_, keyspace)| keyspace)
            .filter(|keyspace| *keyspace != 0);
        let header = header.map(|(identity, _)| identity);
        let footer_at = len.checked_sub(FOOTER_LEN as u64);
        let end = footer_at.and_then(|at| read_array::<FOOTER_LEN>(&*file, at));
        let footer = match end.map(|bytes| Footer::decode(&bytes)) {
            Some(Err(Refusal::Newer(what))) => return Err(newer(what)),
            Some(Ok(footer)) if footer.file_len == len && header.is_none_or(|id| id == footer.identity) => {
                Some(footer)
            }
            _ => None,
        };
        let Some(identity) = header.or(footer.as_ref().map(|footer| footer.identity)) else {
            let what =
                "expected an SST's header or footer, found neither: nothing in it can be told from noise";
            return Err(Error::corruption(path, 0, what));
        };
        if header.is_none() {
            notes.push("the header is damaged".to_owned());
        }
        if footer.is_none() {
            notes.push("the footer is damaged or missing".to_owned());
        }
        let mut salvage = Salvage {
            file,
            path: path.to_owned(),
            seed: Seed::new(&identity),
            places: BTreeMap::new(),
            parts: Vec::new(),
            properties: None,
            keyspace,
            notes,
        };
        let limit = footer.as_ref().map_or(len, |footer| footer.filter.offset);
        if !footer.as_ref().is_some_and(|footer| salvage.use_sections(footer)) {
            salvage.walk(limit)?;
        }
        Ok(salvage)
    }

    /// Reads properties and offset table; says whether the latter is whole.
    fn use_sections(&mut self, footer: &Footer) -> bool {
        let section = |place: footer::SectionPlace| {
            // Its place has been checked against the file's length.
            let mut bytes = vec![0; place.len as usize];
            let read = self.file.read_exact_at(place.offset, &mut bytes).is_ok();
            (read && self.seed.section(&bytes) == place.crc).then_some(bytes)
        };
        let [filter, index, properties, table] = [
            footer.filter,
            footer.index,
            footer.properties,
            footer.offset_table,
        ]
        .map(section);
        let sections = [
            ("filter", filter.is_some()),
            ("index", index.is_some()),
            ("properties", properties.is_some()),
            ("offset table", table.is_some()),
        ];
        for (name, _) in sections.iter().filter(|(_, whole)| !whole) {
            self.notes.push(format!("the {name} is damaged"));
        }
        self.properties = properties.and_then(|bytes| Properties::decode(&bytes));
        let Some(table) = table else { return false };
        for number in 0..footer.block_count {
            let place = array_at(&table, number as usize * PLACE_LEN).and_then(BlockPlace::decode);
            let inside = |place: &BlockPlace| {
                let end = u64::from(place.start) + u64::from(place.len);
                place.start as usize >= HEADER_LEN
                    && place.len as usize >= FRAME_LEN
                    && end <= footer.filter.offset
            };
            if let Some(place) = place.filter(inside) {
                if place.kind == BlockKind::Key {
                    self.parts.push(Part::KeyBlock(number));
                }
                self.places.insert(number, place);
            }
        }
        true
    }

    /// Walks the frames up to `limit`.
    fn walk(&mut self, limit: u64) -> Result<()> {
        let mut at = HEADER_LEN as u64;
        let mut next_number: u64 = 0;
        let mut lost = 0;
        let mut work = limit.saturating_mul(WORK);
        let mut gap: Option<u64> = None;
        while at < limit {
            let highest = next_number + OPEN_BLOCKS + lost / LEAST_BLOCK;
            if let Some((number, place)) = self.frame_at(at, limit, highest, &mut work) {
                if let Some(from) = gap.take() {
                    self.parts.push(Part::Gap { from, to: at });
                }
                if place.kind == BlockKind::Key {
                    self.parts.push(Part::KeyBlock(number));
                }
                self.places.insert(number, place);
                next_number = next_number.max(u64::from(number) + 1);
                at += u64::from(place.len);
                continue;
            }
            let from = *gap.get_or_insert(at);
            let Some(next) = self.next_candidate(at + 1, limit) else {
                break;
            };
            lost += next - at;
            at = next;
            if work == 0 {
                break;
            }
            debug_assert!(at > from);
        }
        if let Some(from) = gap {
            self.parts.push(Part::Gap { from, to: limit });
        }
        Ok(())
    }

    /// The block at `at`, if there is one with a number that can stand there.
    fn frame_at(&self, at: u64, limit: u64, highest: u64, work: &mut u64) -> Option<(u32, BlockPlace)> {
        let front = read_array::<FRAME_LEN>(&*self.file, at)?;
        let frame = Frame::parse(&front)?;
        let len = u64::from(frame.stored_len) + FRAME_LEN as u64;
        if len > limit.checked_sub(at)? {
            return None;
        }
        *work = work.checked_sub(len).unwrap_or_default();
        if *work == 0 {
            return None;
        }
        let mut bytes = vec![0; len as usize];
        self.file.read_exact_at(at, &mut bytes).ok()?;
        let number = Frame::number_of(self.seed, &bytes)?;
        let likely = u64::from(number) <= highest && !self.places.contains_key(&number);
        likely.then_some((
            number,
            BlockPlace {
                start: u32::try_from(at).ok()?,
                len: len as u32,
                kind: frame.kind,
                codec: frame.codec,
            },
        ))
    }

    /// The next offset from `from` on at which bytes look like a frame's front.
    fn next_candidate(&self, from: u64, limit: u64) -> Option<u64> {
        let mut at = from;
        while limit.saturating_sub(at) >= FRAME_LEN as u64 {
            let mut bytes = vec![0; (limit - at).min(CHUNK as u64) as usize];
            for (index, part) in bytes.chunks_mut(4 << 10).enumerate() {
                // What can't be read stays zeros, which are no frame.
                let _ = self.file.read_exact_at(at + (index as u64) * (4 << 10), part);
            }
            let fronts = (at..).zip(bytes.windows(FRAME_LEN));
            let found = fronts
                .filter(|(_, front)| matches!(front.first(), Some(1..=3)))
                .find(|(offset, front)| {
                    Frame::parse(front).is_some_and(|frame| u64::from(frame.stored_len) <= limit - *offset)
                });
            if let Some((offset, _)) = found {
                return Some(offset);
            }
            at += (bytes.len() + 1).saturating_sub(FRAME_LEN) as u64;
        }
        None
    }

    /// A block's bytes.
    fn block(&self, number: u32, kind: BlockKind) -> Result<Arc<[u8]>, String> {
        let place = self.places.get(&number).filter(|place| place.kind == kind);
        let place = place.ok_or_else(|| format!("block {number} is missing"))?;
        let mut bytes = vec![0; place.len as usize];
        self.file
            .read_exact_at(place.start.into(), &mut bytes)
            .map_err(|error| format!("block {number} can't be read: {error}"))?;
        let frame = Frame::parse(&bytes).filter(|frame| frame.kind == kind && frame.codec == place.codec);
        let frame = frame
            .filter(|frame| u64::from(frame.stored_len) + FRAME_LEN as u64 == u64::from(place.len))
            .filter(|_| Frame::checksum_fits(self.seed, number, &bytes))
            .ok_or_else(|| format!("block {number}: the checksum does not fit"))?;
        frame
            .decode(bytes.get(FRAME_LEN..).unwrap_or_default())
            .ok_or_else(|| format!("block {number} does not decompress to its stated length"))
    }

    fn place_of(&self, number: u32) -> (u64, u64) {
        let place = self.places.get(&number);
        place.map_or((0, 0), |place| (place.start.into(), place.len.into()))
    }
}

fn read_array<const N: usize>(file: &dyn File, offset: u64) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(offset, &mut bytes).ok()?;
    Some(bytes)
}

/// The key block that a cursor stands in.
struct Loaded {
    number: u32,
    bytes: Arc<[u8]>,
    keys: KeyBlock,
    i: u32,
}

/// A block's bytes, or why there are none.
type BlockResult = Result<Arc<[u8]>, String>;

/// The readable entries of a damaged file, in order.
pub(crate) struct SalvageCursor {
    salvage: Arc<Salvage>,
    next_part: usize,
    loaded: Option<Loaded>,
    values: Option<(u32, BlockResult)>,
    key: Vec<u8>,
    seq: SeqNo,
    value: Option<Slice>,
    /// Whether there has been an entry: `key` and `seq` are the last one's.
    started: bool,
    /// Lost keys whose upper bound is not known yet.
    open: Vec<LostKeys>,
    lost: Vec<LostKeys>,
    /// The value block of the last of `lost`, while only its entries have been lost since.
    losing: Option<u32>,
}

impl SalvageCursor {
    pub(crate) fn new(salvage: Arc<Salvage>) -> Self {
        SalvageCursor {
            salvage,
            next_part: 0,
            loaded: None,
            values: None,
            key: Vec::new(),
            seq: 0,
            value: None,
            started: false,
            open: Vec::new(),
            lost: Vec::new(),
            losing: None,
        }
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn seq(&self) -> SeqNo {
        self.seq
    }

    /// The value; `None`: a tombstone.
    pub(crate) fn value(&self) -> Option<&Slice> {
        self.value.as_ref()
    }

    /// What has been lost; whole once `advance` has said that there is nothing more.
    pub(crate) fn into_lost(self) -> Vec<LostKeys> {
        self.lost
    }

    /// Goes to the next readable entry; false at the end. An error is one of a newer format: nothing is lost then, but
    /// this release can't read it.
    pub(crate) fn advance(&mut self) -> Result<bool> {
        loop {
            let Some(loaded) = &mut self.loaded else {
                if !self.next_block() {
                    let end = self.salvage.properties.as_ref().map(|p| p.max_key.clone());
                    self.close(end);
                    return Ok(false);
                }
                continue;
            };
            if loaded.i >= loaded.keys.count() {
                self.loaded = None;
                continue;
            }
            let (i, number, bytes) = (loaded.i, loaded.number, loaded.bytes.clone());
            loaded.i += 1;
            let keys = loaded.keys;
            let parts = keys.prefix(&bytes).zip(keys.suffix(&bytes, i));
            let entry = match keys.entry(&bytes, i) {
                Err(EntryError::Newer(kind)) => {
                    let what =
                        format!("block {number} has an entry of kind {kind}, written by a newer release");
                    let path = self.salvage.path.clone();
                    return Err(Error::NewerFormat { path, what });
                }
                entry => entry.ok(),
            };
            let (Some((prefix, suffix)), Some((seq, place))) = (parts, entry) else {
                self.give_up_block(number, "expected an entry");
                continue;
            };
            let key = [prefix, suffix].concat();
            let ascends = match self.key.cmp(&key) {
                std::cmp::Ordering::Less => true,
                std::cmp::Ordering::Equal => seq < self.seq,
                std::cmp::Ordering::Greater => false,
            };
            if self.started && !ascends {
                self.give_up_block(
                    number,
                    "expected entries that ascend by key and descend by number",
                );
                continue;
            }
            self.close(Some(Slice::from(key.as_slice())));
            (self.key, self.seq, self.started) = (key, seq, true);
            match self.load(place) {
                Ok(value) => {
                    self.value = value;
                    return Ok(true);
                }
                Err((block, what)) => self.lose_entry(block, what),
            }
        }
    }

    /// Loads the next key block, noting what lies before it and can't be read; false at the end.
    fn next_block(&mut self) -> bool {
        loop {
            let Some(part) = self.salvage.parts.get(self.next_part).cloned() else {
                return false;
            };
            self.next_part += 1;
            match part {
                Part::Gap { from, to } => self.lose(from, to - from, "no block, and maybe lost ones".into()),
                Part::KeyBlock(number) => {
                    let block = self.salvage.block(number, BlockKind::Key);
                    let parsed = block.and_then(|bytes| {
                        let keys = KeyBlock::parse(&bytes, BlockUse::Keys);
                        let keys = keys.ok_or_else(|| format!("block {number}: expected a key block"))?;
                        Ok((bytes, keys))
                    });
                    match parsed {
                        Ok((bytes, keys)) => {
                            self.loaded = Some(Loaded {
                                number,
                                bytes,
                                keys,
                                i: 0,
                            });
                            return true;
                        }
                        Err(what) => {
                            let (offset, len) = self.salvage.place_of(number);
                            self.lose(offset, len, what);
                        }
                    }
                }
            }
        }
    }

    fn give_up_block(&mut self, number: u32, what: &str) {
        self.loaded = None;
        let (offset, len) = self.salvage.place_of(number);
        self.lose(offset, len, format!("block {number}: {what}"));
    }

    /// Keys from the last one on are lost, up to the next one that can be read.
    fn lose(&mut self, offset: u64, len: u64, what: String) {
        let min = self.salvage.properties.as_ref().map(|p| p.min_key.clone());
        self.losing = None;
        self.open.push(LostKeys {
            offset,
            len,
            from: if self.started {
                Some(Slice::from(self.key.as_slice()))
            } else {
                min
            },
            to: None,
            entries: None,
            what,
        });
    }

    /// The next readable key bounds what was lost before it.
    fn close(&mut self, to: Option<Slice>) {
        for mut lost in self.open.drain(..) {
            lost.to = to.clone();
            self.lost.push(lost);
        }
    }

    /// The current entry is lost with its value.
    fn lose_entry(&mut self, block: u32, what: String) {
        let key = Slice::from(self.key.as_slice());
        if let (Some(last), true) = (self.lost.last_mut(), self.losing == Some(block)) {
            last.to = Some(key);
            last.entries = last.entries.map(|entries| entries + 1);
            return;
        }
        let (offset, len) = self.salvage.place_of(block);
        self.losing = Some(block);
        self.lost.push(LostKeys {
            offset,
            len,
            from: Some(key.clone()),
            to: Some(key),
            entries: Some(1),
            what,
        });
    }

    fn load(&mut self, place: ValuePlace) -> Result<Option<Slice>, (u32, String)> {
        match place {
            ValuePlace::Tombstone => Ok(None),
            ValuePlace::Inline { len, bytes } => {
                let value = bytes.get(..usize::from(len)).unwrap_or_default();
                Ok(Some(Slice::from(value)))
            }
            ValuePlace::Memory { .. } => Err((0, "expected a value's place in a file".into())),
            ValuePlace::Small { block, offset, len } => {
                if self.values.as_ref().is_none_or(|(number, _)| *number != block) {
                    self.values = Some((block, self.salvage.block(block, BlockKind::Value)));
                }
                let bytes = match &self.values {
                    Some((_, Ok(bytes))) => bytes,
                    Some((_, Err(what))) => return Err((block, what.clone())),
                    None => return Err((block, String::new())),
                };
                let range = offset as usize..(offset as usize).saturating_add(len as usize);
                let value = bytes.get(range).map(Slice::from);
                value
                    .map(Some)
                    .ok_or((block, format!("block {block}: a value beyond its end")))
            }
            ValuePlace::Medium { block, len } => {
                let bytes = self
                    .salvage
                    .block(block, BlockKind::Medium)
                    .map_err(|what| (block, what))?;
                if bytes.len() != len as usize {
                    return Err((block, format!("block {block}: a value of another length")));
                }
                Ok(Some(Slice::from(bytes)))
            }
        }
    }
}
