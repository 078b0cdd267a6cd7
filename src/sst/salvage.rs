//! [`Salvage`]: what can still be read of a damaged SST, entry by entry, and which keys the rest may have held.
//!
//! An intact offset table says where the blocks are. Without it the file is walked frame by frame from its front; behind
//! damage the walk goes on at the next bytes that are a frame. A frame does not carry its block's number, but its checksum
//! does, and the number can be computed back from it ([`Frame::number_of`]): a frame counts if the number is one that can
//! stand there. The seed of all checksums is the identity, which header and footer both have.
//!
//! * A key block that can't be read loses the keys between its neighbours. A value block that can't be read loses the
//!   entries that refer to it, and no others.
//! * Filter and index, partitions of them too, and the list of references are not needed; the properties are of use where they are whole.
//! * Memory: eight bytes or so for each block, and one key block and one value block. Work: each byte is read at most a few
//!   times, whatever the file says ([`WORK`]).
//!
//! Callers: repair.

mod cursor;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use self::cursor::SalvageCursor;
use super::footer::{self, FOOTER_LEN, Footer, HEADER_LEN, Refusal, SectionPlace};
use super::frame::{BlockKind, FRAME_LEN, Frame, Seed};
use super::offset_table::{BlockPlace, PLACE_LEN, page_fits, place_at, sums_len};
use super::order::SortOrder;
use super::properties::Properties;
use crate::env::File;
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
    /// What the entries are sorted by, if anything says so.
    pub(crate) order: Option<SortOrder>,
    /// Sections that are damaged and cost no entry.
    pub(crate) notes: Vec<String>,
}

impl Salvage {
    /// Finds the blocks. An error means that nothing can be found: not an SST, neither end readable, or a newer format.
    /// `known_order` counts where the file does not say its own.
    pub(crate) fn open(file: Arc<dyn File>, path: &Path, known_order: Option<SortOrder>) -> Result<Salvage> {
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
            .map(|header| header.keyspace)
            .filter(|keyspace| *keyspace != 0);
        let order = header.map(|header| header.order);
        let header = header.map(|header| header.identity);
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
            order,
            notes,
        };
        let limit = footer.as_ref().map_or(len, |footer| footer.filter.offset);
        if !footer.as_ref().is_some_and(|footer| salvage.use_sections(footer)) {
            salvage.walk(limit)?;
        }
        let said = salvage.properties.as_ref().map(|properties| properties.order);
        salvage.order = salvage.order.or(said).or(known_order);
        Ok(salvage)
    }

    /// Reads properties and offset table; says whether the latter is whole.
    fn use_sections(&mut self, footer: &Footer) -> bool {
        let read = |place: SectionPlace| {
            // Its place has been checked against the file's length.
            let mut bytes = vec![0; place.len as usize];
            let read = self.file.read_exact_at(place.offset, &mut bytes);
            read.is_ok().then_some(bytes)
        };
        let section = |place: SectionPlace| {
            let bytes = read(place);
            bytes.filter(|bytes| self.seed.section(bytes) == place.crc)
        };
        let [filter, index, properties] = [footer.filter, footer.index, footer.properties].map(section);
        let table = read(footer.offset_table).and_then(|bytes| self.places_of(footer, &bytes));
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
            let place = place_at(&table, number as usize);
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

    /// The places of an offset table that is whole.
    fn places_of(&self, footer: &Footer, table: &[u8]) -> Option<Vec<u8>> {
        let sums_len = usize::try_from(sums_len(footer.block_count, footer.page_places)).ok()?;
        let (sums, places) = table.split_at_checked(sums_len)?;
        let page_len = (footer.page_places as usize * PLACE_LEN).max(1);
        let pages_fit = (0..)
            .zip(places.chunks(page_len))
            .all(|(page, bytes)| page_fits(sums, page, bytes, self.seed));
        (pages_fit && self.seed.section(sums) == footer.offset_table.crc).then(|| places.to_vec())
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
                .filter(|(_, front)| matches!(front.first(), Some(1..=6)))
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
