//! [`PackVerification`]: checks every byte of a pack, on as many threads as call it.
//!
//! Checked are: that records, sections and footers tile the file; each record's ends, tables, chunks; that its content hashes to its
//! id, and that the index finds it; the sections as SSTs, live or not; each row of the live indexes, which must lead to a record of that id;
//! and counts and digest of each segment.
//!
//! Work is given out in pieces under a lock: batches of records, sections, ranges of ids, the names. What is held is a batch for each
//! thread.
//!
//! Callers: programs, the tools.

use std::sync::Arc;

use super::format::{FILE_HEADER_LEN, SEAL_LEN, SEALED_LEN_AT, SectionKind, decode_sealed_len, next_digest};
use super::id::ObjectId;
use super::merge::Rows;
use super::object::{ObjectReader, RecordFile, RecordInfo};
use super::opening::Segment;
use super::reader::Pack;
use super::scan::Scan;
use super::section::{Located, SectionReader};
use crate::sst::BlockCache;
use crate::sync::Mutex;
use crate::{Error, Result};

/// Records are given out up to so many at once, and until they have this many bytes.
const BATCH_RECORDS: usize = 256;
const BATCH_BYTES: u64 = 1 << 20;
/// Ranges of ids, by their first byte.
const ID_RANGES: u16 = 256;
/// Damage beyond this is counted and not kept.
const MOST_KEPT: usize = 1000;

/// What a verification has found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PackVerifyReport {
    /// Objects that were read and hash to their ids.
    pub objects: u64,
    /// The length of these, in bytes.
    pub content_bytes: u64,
    /// Rows of the indexes that were followed.
    pub rows: u64,
    /// Everything that is wrong, up to a thousand things.
    pub damage: Vec<Error>,
    /// How many things are wrong.
    pub damages: u64,
    /// Bytes behind the last seal, which are not checked: what an append that was cut off has left. (If a crash kept the last seal from the
    /// file's header, and the seal was damaged since, it is sealed data; nobody can tell.)
    pub torn_bytes: u64,
}

impl PackVerifyReport {
    /// Whether nothing is wrong, and nothing lies behind the last seal.
    pub fn is_whole(&self) -> bool {
        self.damages == 0 && self.torn_bytes == 0
    }

    fn found(&mut self, error: Error) {
        self.damages += 1;
        if self.damage.len() < MOST_KEPT {
            self.damage.push(error);
        }
    }
}

/// What one thread does next.
enum Piece {
    Records(Vec<RecordInfo>),
    Section(usize, usize),
    Ids(u8),
    /// And the seals.
    Names,
}

struct State {
    report: PackVerifyReport,
    segment: usize,
    scan: Option<Scan>,
    counted: Counted,
    /// Sections in the order of the file.
    section: (usize, usize),
    ids: u16,
    names: bool,
    done: u64,
}

/// What a segment's footer has to say.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Counted {
    objects: u64,
    content_bytes: u64,
    stored_bytes: u64,
    digest: u64,
}

/// A check of a whole pack. See [`Pack::verification`].
pub struct PackVerification<'a> {
    pack: &'a Pack,
    state: Mutex<State>,
}

impl std::fmt::Debug for PackVerification<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackVerification")
            .field("pack", &self.pack)
            .finish_non_exhaustive()
    }
}

impl Pack {
    /// Checks every byte up to the last seal, on the calling thread.
    pub fn verify(&self) -> PackVerifyReport {
        let verification = self.verification();
        verification.work(&|_| {});
        verification.finish()
    }

    /// Begins a check: any number of threads call [`PackVerification::work`], then one [`PackVerification::finish`].
    pub fn verification(&self) -> PackVerification<'_> {
        PackVerification {
            pack: self,
            state: Mutex::new(State {
                report: PackVerifyReport {
                    torn_bytes: self.torn_bytes(),
                    ..PackVerifyReport::default()
                },
                segment: 0,
                scan: None,
                counted: Counted::default(),
                section: (0, 0),
                ids: 0,
                names: false,
                done: 0,
            }),
        }
    }
}

impl PackVerification<'_> {
    /// Takes pieces of the check until there are none left. `progress` hears how many bytes of the file have been checked.
    pub fn work(&self, progress: &(dyn Fn(u64) + Sync)) {
        while let Some(piece) = self.next_piece() {
            let mut found = PackVerifyReport::default();
            let bytes = self.check(&piece, &mut found);
            let mut state = self.state.lock();
            state.done += bytes;
            let done = state.done;
            let report = &mut state.report;
            report.objects += found.objects;
            report.content_bytes += found.content_bytes;
            report.rows += found.rows;
            found.damage.into_iter().for_each(|error| report.found(error));
            drop(state);
            progress(done);
        }
    }

    /// What was found. REQUIRES: all threads have returned from `work`.
    pub fn finish(self) -> PackVerifyReport {
        std::mem::take(&mut self.state.lock().report)
    }

    fn next_piece(&self) -> Option<Piece> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let segments = &self.pack.segments;
        while let Some(segment) = segments.get(state.segment) {
            let batch = self.batch(state, segment);
            if !batch.is_empty() {
                return Some(Piece::Records(batch));
            }
            state.segment += 1;
            state.scan = None;
        }
        while let Some(segment) = segments.get(state.section.0) {
            let (of, number) = state.section;
            if number < segment.sections.len() {
                state.section.1 += 1;
                return Some(Piece::Section(of, number));
            }
            state.section = (of + 1, 0);
        }
        if state.ids < ID_RANGES {
            state.ids += 1;
            return Some(Piece::Ids((state.ids - 1) as u8));
        }
        (!std::mem::replace(&mut state.names, true)).then_some(Piece::Names)
    }

    /// The next records of this segment; none at its end, where it is compared with its footer.
    fn batch(&self, state: &mut State, segment: &Segment) -> Vec<RecordInfo> {
        let footer = &segment.footer;
        let scan = match &mut state.scan {
            Some(scan) => scan,
            empty => {
                state.counted = Counted::default();
                empty.insert(Scan::new(&self.pack.file, footer.records_at, footer.records_end))
            }
        };
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH_RECORDS && bytes < BATCH_BYTES {
            match scan.next() {
                Ok(Some(info)) => {
                    bytes += info.place.record_len;
                    let counted = &mut state.counted;
                    counted.objects += 1;
                    counted.content_bytes = counted.content_bytes.wrapping_add(info.shape.content_len);
                    counted.stored_bytes += info.shape.stored_len;
                    counted.digest = next_digest(counted.digest, info.trailer_hash);
                    batch.push(info);
                }
                Ok(None) => break,
                Err(e) => {
                    // Where the next record begins is not known: `recover` searches for it.
                    state.report.found(e);
                    *scan = Scan::new(&self.pack.file, footer.records_end, footer.records_end);
                    state.counted = Counted::of(segment);
                    break;
                }
            }
        }
        if batch.is_empty() && state.counted != Counted::of(segment) {
            let what = format!(
                "expected {} objects with the digest {:016x}, found {} with {:016x}",
                footer.objects, footer.digest, state.counted.objects, state.counted.digest
            );
            state
                .report
                .found(self.pack.file.damaged(segment.footer_at, what));
            state.counted = Counted::of(segment);
        }
        batch
    }

    /// Both copies of each footer, and the length in the header.
    fn check_seals(&self, found: &mut PackVerifyReport) -> Result<()> {
        let file = &self.pack.file;
        for segment in &self.pack.segments {
            segment
                .damage
                .iter()
                .for_each(|damage| found.found(damage.clone()));
            let at = segment.footer_at;
            let stored = file.read(at, SEAL_LEN.min(self.pack.file_bytes() - at))?;
            let expected = segment.footer.encode(at);
            if let Some(place) = (0..expected.len()).find(|place| stored.get(*place) != expected.get(*place))
            {
                let what = "expected two equal copies of the footer (the other one is used; an append writes both anew)";
                found.found(file.damaged(at + place as u64, what));
            }
        }
        if decode_sealed_len(&file.read(0, FILE_HEADER_LEN)?, file.seed).is_none() {
            found.found(file.damaged(SEALED_LEN_AT, "expected the length of the sealed file"));
        }
        Ok(())
    }

    fn check(&self, piece: &Piece, found: &mut PackVerifyReport) -> u64 {
        match piece {
            Piece::Records(records) => {
                for info in records {
                    match self.check_record(info) {
                        Ok(()) => {
                            found.objects += 1;
                            found.content_bytes += info.shape.content_len;
                        }
                        Err(e) => found.found(e),
                    }
                }
                records.iter().map(|info| info.place.record_len).sum()
            }
            Piece::Section(segment, number) => {
                let segment = self.pack.segments.get(*segment);
                let Some(section) = segment.and_then(|segment| segment.sections.get(*number)) else {
                    return 0;
                };
                let cache = Arc::new(BlockCache::new(0));
                let RecordFile { file, path, .. } = &self.pack.file;
                let open = SectionReader::open(file, path, *section, &self.pack.header.identity, &cache);
                if let Err(e) = open.and_then(|open| open.verify()) {
                    found.found(e);
                }
                section.len
            }
            Piece::Ids(first) => {
                if let Err(e) = self.check_ids(*first, found) {
                    found.found(e);
                }
                0
            }
            Piece::Names => {
                if let Err(e) = self.check_seals(found).and_then(|()| self.check_names(found)) {
                    found.found(e);
                }
                0
            }
        }
    }

    fn check_record(&self, info: &RecordInfo) -> Result<()> {
        ObjectReader::of(self.pack.file.clone(), *info).verify()?;
        match self.pack.contains(&info.id) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let what = format!("expected object {} in the index", info.id);
                Err(self.pack.file.damaged(info.place.offset, what))
            }
            // Told once, where the section is checked.
            Err(_) => Ok(()),
        }
    }

    fn check_ids(&self, first: u8, found: &mut PackVerifyReport) -> Result<()> {
        let mut rows = self.pack.rows(SectionKind::Ids, &[first]);
        while rows.advance()? && rows.key().first() == Some(&first) {
            let id = <[u8; 16]>::try_from(rows.key()).map(ObjectId).ok();
            self.check_row(id.zip(Located::of_id(rows.value())), found);
        }
        Ok(())
    }

    fn check_names(&self, found: &mut PackVerifyReport) -> Result<()> {
        let mut rows = self.pack.rows(SectionKind::Names, &[]);
        let (mut last, mut names) = (None, 0);
        while rows.advance()? {
            let row = Located::of_name(rows.value()).map(|(located, id, _)| (id, located));
            self.check_row(row, found);
            if last.as_deref() != Some(rows.key()) {
                names += 1;
                last = Some(rows.key().to_vec());
            }
        }
        if names != self.pack.names() {
            let what = format!("expected {} names, found {names}", self.pack.names());
            found.found(self.pack.file.damaged(self.pack.last_segment().0, what));
        }
        Ok(())
    }

    fn check_row(&self, row: Option<(ObjectId, Located)>, found: &mut PackVerifyReport) {
        let Some((id, located)) = row.filter(|(_, located)| self.pack.is_possible(located)) else {
            let what = "expected a place in the pack in a row of the index";
            found.found(self.pack.file.damaged(self.pack.last_segment().0, what));
            return;
        };
        match self.pack.open_at(&id, &located) {
            Ok(_) => found.rows += 1,
            Err(e) => found.found(e),
        }
    }
}

impl Counted {
    fn of(segment: &Segment) -> Counted {
        let footer = &segment.footer;
        Counted {
            objects: footer.objects,
            content_bytes: footer.content_bytes,
            stored_bytes: footer.stored_bytes,
            digest: footer.digest,
        }
    }
}
