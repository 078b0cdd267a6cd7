//! [`examine`]: everything that is whole in a pack of a database, whatever state it is in. Repair takes packs over by what this finds, and
//! the tools tell it.
//!
//! ```text
//! sealed      the header says so, and every byte is as it should be                stays as it is
//! unsealed    whole records up to a place, and no whole record behind it           stays up to there
//! damaged     anything else                                                        record by record
//! ```
//!
//! A record is whole if its content hashes to its id. What can't be read is tried once more. 40 bytes for each record are held.
//!
//! Callers: `repair`, `inspect`.

use std::path::Path;

use super::Pack;
use super::format::{
    FILE_HEADER_LEN, FileHeader, RECORD_HEADER_LEN, Seed, decode_owned_len, decode_sealed_len,
};
use super::id::ObjectId;
use super::object::{ObjectReader, RecordFile, RecordInfo, RecordPlace, shared_path};
use super::opening::read_header;
use super::recover::identity_of_a_footer;
use super::scan::{Scan, find_record};
use super::shared::PackFile;
use crate::env::FileSystem;
use crate::{Error, Result};

/// A record whose content hashes to its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WholeRecord {
    pub(crate) id: ObjectId,
    pub(crate) place: RecordPlace,
    pub(crate) content_len: u64,
}

impl WholeRecord {
    fn of(info: &RecordInfo) -> WholeRecord {
        WholeRecord {
            id: info.id,
            place: info.place,
            content_len: info.shape.content_len,
        }
    }

    fn end(&self) -> u64 {
        self.place.offset + self.place.record_len
    }
}

/// The state that a pack is in.
#[derive(Clone, Debug)]
pub(crate) enum Condition {
    /// Sealed, and whole: every byte has been checked.
    Sealed,
    /// Not sealed; all records lie one behind the other.
    Unsealed {
        /// Where the last whole one ends.
        end: u64,
    },
    /// Records have to be picked out of it.
    Damaged(Error),
}

/// A record that has been found and is not whole.
#[derive(Clone, Debug)]
pub(crate) struct DamagedRecord {
    /// Where its end tells.
    pub(crate) id: Option<ObjectId>,
    pub(crate) error: Error,
}

/// What a pack holds.
pub(crate) struct Examined {
    /// Reads the records, whatever the file's header is like.
    pub(crate) file: PackFile,
    pub(crate) identity: [u8; 16],
    pub(crate) len: u64,
    pub(crate) condition: Condition,
    /// In the order of the file.
    pub(crate) records: Vec<WholeRecord>,
    pub(crate) damaged: Vec<DamagedRecord>,
}

/// Reads all of a pack, by read calls. `identity`: the one that the manifest says, where there is one.
///
/// # Errors
/// [`Error::NewerFormat`]; it is the file of another pack, or none at all; it can't be read.
pub(crate) fn examine(
    fs: &dyn FileSystem,
    path: &Path,
    number: u64,
    identity: Option<[u8; 16]>,
) -> Result<Examined> {
    let (file, header, len) = match open(fs, path, number, identity) {
        Err(Error::Io { .. }) => open(fs, path, number, identity)?,
        opened => opened?,
    };
    let identity = header.identity;
    let damage = |condition| Examined {
        file: PackFile::of(file.clone()),
        identity,
        len,
        condition,
        records: Vec::new(),
        damaged: Vec::new(),
    };
    let stated = file.read(0, FILE_HEADER_LEN.min(len));
    let stated = stated.map(|bytes| match FileHeader::decode(&bytes) {
        Ok(_) => decode_sealed_len(&bytes, file.seed),
        Err(_) => None,
    });
    let mut examined = match stated {
        Ok(Some(0)) => damage(Condition::Unsealed { end: 0 }),
        Ok(Some(_)) => match sealed(&file) {
            Ok(records) => {
                let mut examined = damage(Condition::Sealed);
                examined.records = records;
                return Ok(examined);
            }
            Err(error @ Error::NewerFormat { .. }) => return Err(error),
            Err(error) => damage(Condition::Damaged(error)),
        },
        Ok(None) => {
            let what = "expected a pack's header, with the length of the file when it was sealed";
            damage(Condition::Damaged(file.damaged(0, what)))
        }
        Err(error) => damage(Condition::Damaged(error)),
    };
    scan(&file, &mut examined);
    Ok(examined)
}

fn open(
    fs: &dyn FileSystem,
    path: &Path,
    number: u64,
    identity: Option<[u8; 16]>,
) -> Result<(RecordFile, FileHeader, u64)> {
    let file = fs.open(path).map_err(|e| Error::io("open", path, e))?;
    let len = file.len().map_err(|e| Error::io("measure", path, e))?;
    let mut file = RecordFile {
        file,
        path: shared_path(path),
        seed: Seed::new(&[0; 16]),
    };
    let header = match read_header(&file, len) {
        Ok(header) => header,
        Err(error @ Error::NewerFormat { .. }) => return Err(error),
        Err(error) => {
            let known = match identity {
                Some(known) => Some(known),
                None => identity_of_a_footer(&file, len)?,
            };
            FileHeader {
                identity: known.ok_or(error)?,
                number,
            }
        }
    };
    // One that was taken over has kept the number that programs give.
    let taken = || {
        let stated = file.read(0, FILE_HEADER_LEN.min(len)).ok()?;
        decode_owned_len(&stated, Seed::new(&header.identity))
    };
    let is_adopted = || header.number == 0 && (identity.is_some() || matches!(taken(), Some((_, true))));
    if header.number != number && !is_adopted()
        || identity.is_some_and(|identity| identity != header.identity)
    {
        let what = format!(
            "expected pack {number}, and the file says that it is pack {} with the identity {}: it is another file",
            header.number,
            ObjectId(header.identity)
        );
        return Err(file.damaged(0, what));
    }
    file.seed = Seed::new(&header.identity);
    Ok((file, header, len))
}

/// The records of a sealed pack, every byte of which is checked.
fn sealed(file: &RecordFile) -> Result<Vec<WholeRecord>> {
    let pack = Pack::of_file(file.file.clone(), &file.path, 0, false)?;
    let report = pack.verify();
    if let Some(error) = report.damage.into_iter().next() {
        return Err(error);
    }
    if report.torn_bytes > 0 {
        let what = "expected the end of the file, and there are bytes behind the footers";
        return Err(file.damaged(pack.sealed_len(), what));
    }
    let mut records = Vec::new();
    for segment in &pack.segments {
        let mut scan = Scan::new(file, segment.footer.records_at, segment.footer.records_end);
        while let Some(info) = scan.next()? {
            records.push(WholeRecord::of(&info));
        }
    }
    Ok(records)
}

/// Finds all whole records, and what that makes of the pack.
fn scan(file: &RecordFile, examined: &mut Examined) {
    let len = examined.len;
    let (mut at, mut end) = (FILE_HEADER_LEN.min(len), FILE_HEADER_LEN.min(len));
    while let Some(found) = find_record(file, at, len) {
        let next = || Scan::new(file, found, len).next();
        at = match next().or_else(|_| next()) {
            Ok(Some(info)) => {
                let verify = || ObjectReader::of(file.clone(), info).verify();
                match verify().or_else(|_| verify()) {
                    Ok(()) => {
                        let record = WholeRecord::of(&info);
                        if found == end {
                            end = record.end();
                        }
                        examined.records.push(record);
                    }
                    Err(error) => examined.damaged.push(DamagedRecord {
                        id: Some(info.id),
                        error,
                    }),
                }
                found + info.place.record_len
            }
            Ok(None) => break,
            Err(error) => {
                // Its other end is not there, or is damaged: what lies between may be records.
                examined.damaged.push(DamagedRecord { id: None, error });
                found + RECORD_HEADER_LEN
            }
        };
    }
    if let Condition::Unsealed { end: whole } = &mut examined.condition {
        *whole = end;
        let beyond = examined.records.iter().find(|record| record.end() > end);
        if let Some(record) = beyond {
            let error = examined.damaged.first().map_or_else(
                || file.damaged(end, "expected a record"),
                |damaged| damaged.error.clone(),
            );
            debug_assert!(
                record.place.offset > end,
                "records do not overlap what is before them"
            );
            examined.condition = Condition::Damaged(error);
        }
    }
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "an index out of bounds fails the test")]
mod tests {
    use std::path::PathBuf;

    use super::super::record::RecordOptions;
    use super::super::shared::{RecordBuffers, SharedPack};
    use super::*;
    use crate::env::sim::SimEnv;
    use crate::sst::Compression;

    const IDENTITY: [u8; 16] = *b"a pack's own one";

    fn content(n: u8) -> Vec<u8> {
        (0..3000u32 + 100 * u32::from(n))
            .map(|i| (i * 7 % 251) as u8 ^ n)
            .collect()
    }

    /// A pack of three objects.
    fn pack(sim: &SimEnv, seal: bool) -> PathBuf {
        let path = PathBuf::from("/000007.pack");
        let writer = SharedPack::create(&*sim.env().fs, &path, IDENTITY, 7).unwrap();
        let options = RecordOptions::new(4096, Compression::Lz4).unwrap();
        for n in 0..3 {
            let content = content(n);
            let mut buffers = RecordBuffers::default();
            let record = buffers.prepare(&content, ObjectId::of(&content), &options);
            writer.append(&record).unwrap();
        }
        writer.sync().unwrap();
        if seal {
            writer.seal().unwrap();
        }
        path
    }

    fn ids(examined: &Examined) -> Vec<ObjectId> {
        examined.records.iter().map(|record| record.id).collect()
    }

    #[test]
    fn whole_packs_are_told_by_their_seal() {
        for seal in [false, true] {
            let sim = SimEnv::new(1);
            let path = pack(&sim, seal);
            let examined = examine(&*sim.env().fs, &path, 7, None).unwrap();
            assert_eq!(ids(&examined), [0, 1, 2].map(|n| ObjectId::of(&content(n))));
            match examined.condition {
                Condition::Sealed => assert!(seal),
                Condition::Unsealed { end } => assert_eq!((seal, end), (false, examined.len)),
                Condition::Damaged(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn another_pack_is_refused_by_number_and_by_identity() {
        let sim = SimEnv::new(1);
        let path = pack(&sim, true);
        for (number, identity) in [(8, None), (7, Some([1; 16]))] {
            let found = examine(&*sim.env().fs, &path, number, identity);
            let error = found.err().unwrap().to_string();
            assert!(error.contains("another file"), "{error}");
        }
    }

    #[test]
    fn any_flipped_byte_costs_one_object_at_most_and_is_noticed_in_a_sealed_pack() {
        for seal in [false, true] {
            let sim = SimEnv::new(1);
            let path = pack(&sim, seal);
            let bytes = sim.read_file(&path).unwrap();
            for at in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1;
                sim.write_file(&path, &flipped).unwrap();
                let examined = examine(&*sim.env().fs, &path, 7, Some(IDENTITY));
                let Ok(examined) = examined else {
                    // Number and identity lie in the header, under its checksum.
                    assert!(at < FILE_HEADER_LEN as usize, "{at}");
                    continue;
                };
                assert!(examined.records.len() >= 2, "{at}");
                if seal {
                    assert!(matches!(examined.condition, Condition::Damaged(_)), "{at}");
                }
            }
        }
    }

    #[test]
    fn a_torn_tail_is_no_damage() {
        let sim = SimEnv::new(1);
        let path = pack(&sim, false);
        let bytes = sim.read_file(&path).unwrap();
        let whole = examine(&*sim.env().fs, &path, 7, None).unwrap().records;
        for len in FILE_HEADER_LEN as usize..bytes.len() {
            sim.write_file(&path, &bytes[..len]).unwrap();
            let examined = examine(&*sim.env().fs, &path, 7, None).unwrap();
            let expected: Vec<WholeRecord> = whole
                .iter()
                .copied()
                .filter(|record| record.end() <= len as u64)
                .collect();
            assert_eq!(examined.records, expected, "{len}");
            let ends = expected.last().map_or(FILE_HEADER_LEN, WholeRecord::end);
            assert!(
                matches!(examined.condition, Condition::Unsealed { end } if end == ends),
                "{len}"
            );
        }
    }
}
