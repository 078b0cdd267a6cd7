//! What the targets of packs share: contents, the repair of a pack's checksums, and a disk that refuses oversized reads.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use packstone::env::sim::SimEnv;
use packstone::env::{DirEntry, Env, File, FileSystem, Lock, Mapping};
use packstone::fuzzing::{pack_digest, pack_sum};
use packstone::pack::{ArchiveWriter, PackOptions};

use crate::support::{mix, repair_sst};

/// Bytes that follow from the shape: of lengths around the borders of chunks, compressible or not, sometimes equal to others.
pub fn content(shape: u8, more: u8) -> Vec<u8> {
    let n = u64::from(more);
    let len = match shape & 7 {
        0 => n % 2,
        1 => n,
        2 => 300 + n,
        3 => 4095,
        4 => 4096,
        5 => 4097,
        6 => 8000 + n * 3,
        _ => 12_288,
    };
    let byte = |at: u64| match shape & 8 {
        0 => mix((n / 8) ^ (at << 8)) as u8,
        _ => b'a' + ((at % 7) ^ (n / 8)) as u8 % 26,
    };
    (0..len).map(byte).collect()
}

/// A small archive of two segments, the same in every run.
pub fn sample() -> &'static [u8] {
    static SAMPLE: OnceLock<Vec<u8>> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let sim = SimEnv::new(1);
        let options = PackOptions::default()
            .env(sim.env())
            .identity([7; 16])
            .chunk_size(4096);
        for segment in 0..2 {
            let mut writer = ArchiveWriter::open("/a.pack", &options).unwrap();
            for n in 0..6u8 {
                let name = format!("key {:03}", n + segment * 4);
                writer
                    .add(name.as_bytes(), b"", &content(n, n * 9 + segment))
                    .unwrap();
            }
            writer.finish().unwrap();
        }
        sim.read_file("/a.pack").unwrap()
    })
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}

fn place_at(bytes: &[u8], at: usize) -> Option<usize> {
    u64_at(bytes, at).and_then(|place| usize::try_from(place).ok())
}

/// Makes the checksum in the last four bytes of a part right.
fn reseal(bytes: &mut [u8], identity: &[u8; 16], from: usize, end: usize) {
    let Some(part) = bytes.get_mut(from..end) else {
        return;
    };
    if let Some((covered, sum)) = part.split_last_chunk_mut::<4>() {
        *sum = pack_sum(identity, from as u64, covered).to_le_bytes();
    }
}

/// Makes all checksums of a pack right again, as far as its places make sense: footers from the end back, then of each segment the
/// records from the front; of an unsealed one all that begins like a record. Places are drawn in the library's `src/pack/format.rs`.
pub fn repair_pack(bytes: &mut [u8]) {
    const HEADER: usize = 64;
    const HEADER_AND_LEN: usize = 80;
    const FOOTER: usize = 128;
    const SEAL: usize = 2 * FOOTER;
    if bytes.len() < HEADER_AND_LEN {
        return;
    }
    let mut identity = [0; 16];
    identity.copy_from_slice(&bytes[16..32]);
    reseal(bytes, &identity, 0, HEADER);
    reseal(bytes, &identity, HEADER, HEADER_AND_LEN);
    if u64_at(bytes, HEADER) == Some(0) {
        repair_records(bytes, &identity, HEADER_AND_LEN);
    }
    if bytes.len() < HEADER_AND_LEN + SEAL {
        return;
    }
    let mut footers = Vec::new();
    let mut next = Some(bytes.len() - SEAL);
    while let Some(at) = next {
        footers.push(at);
        next = place_at(bytes, at + 96)
            .filter(|previous| *previous != 0 && previous.checked_add(SEAL).is_some_and(|end| end <= at));
    }
    for at in footers.into_iter().rev() {
        repair_segment(bytes, &identity, at);
        bytes.copy_within(at..at + FOOTER, at + FOOTER);
        for copy in 0..2 {
            let from = at + copy * FOOTER;
            bytes[from + 108] = copy as u8;
            reseal(bytes, &identity, from, from + FOOTER);
        }
    }
}

fn repair_records(bytes: &mut [u8], identity: &[u8; 16], mut at: usize) {
    while bytes.get(at..).is_some_and(|rest| rest.starts_with(b"PKob"))
        && let Some(len) = place_at(bytes, at + 8)
        && let Some(end) = at.checked_add(len).filter(|end| *end <= bytes.len())
        && len >= RECORD
    {
        repair_record(bytes, identity, at, end);
        at = end;
    }
}

fn repair_segment(bytes: &mut [u8], identity: &[u8; 16], footer: usize) -> Option<()> {
    let mut at = place_at(bytes, footer + 32)?;
    let records_end = place_at(bytes, footer + 40)?.min(footer);
    let mut digest = 0;
    while let Some(len) = place_at(bytes, at.checked_add(8)?) {
        let end = at.checked_add(len)?;
        if len < RECORD || end > records_end {
            break;
        }
        repair_record(bytes, identity, at, end);
        digest = pack_digest(digest, bytes.get(end - TRAILER..end)?);
        at = end;
    }
    bytes[footer + 72..footer + 80].copy_from_slice(&digest.to_le_bytes());
    let table = place_at(bytes, footer + 80)?;
    let sections = (u64_at(bytes, footer + 88)? & 0xffff) as usize;
    for section in 0..sections {
        let (from, len) = (
            place_at(bytes, table.checked_add(section * 32 + 8)?)?,
            place_at(bytes, table.checked_add(section * 32 + 16)?)?,
        );
        if let Some(end) = from.checked_add(len).filter(|end| *end <= table)
            && let Some(section) = bytes.get_mut(from..end)
        {
            repair_sst(section);
        }
    }
    reseal(bytes, identity, table, table.checked_add(sections * 32 + 4)?);
    Some(())
}

const RECORD_HEADER: usize = 20;
const TRAILER: usize = 64;
/// The shortest record.
const RECORD: usize = RECORD_HEADER + TRAILER;

/// A record of one group of chunks; those of more are too long for a fuzzer. REQUIRES: it lies in `bytes`, and has [`RECORD`] bytes at least.
fn repair_record(bytes: &mut [u8], identity: &[u8; 16], at: usize, end: usize) -> Option<()> {
    let trailer = end - TRAILER;
    reseal(bytes, identity, trailer, end);
    reseal(bytes, identity, at, at + RECORD_HEADER);
    let shift = bytes[at + 5].clamp(12, 22);
    let chunks = u64_at(bytes, trailer + 32)?.div_ceil(1 << shift);
    let table = at
        .checked_add(RECORD_HEADER)?
        .checked_add(place_at(bytes, trailer + 40)?)?;
    let table_end = table.checked_add(usize::try_from(chunks).ok()?.checked_mul(8)?)?;
    if table_end.checked_add(4)? > trailer {
        return None;
    }
    let mut from = at + RECORD_HEADER;
    for entry in (table..table_end).step_by(8) {
        let len = (u64_at(bytes, entry)? & 0x7fff_ffff) as usize;
        let stored = bytes.get(from..from.checked_add(len)?)?;
        let sum = pack_sum(identity, from as u64, stored);
        bytes[entry + 4..entry + 8].copy_from_slice(&sum.to_le_bytes());
        from += len;
    }
    reseal(bytes, identity, table, table_end + 4);
    Some(())
}

/// More than a file's length no reader asks for at once, but for what is read ahead: a buffer is an allocation.
const READ_AHEAD: u64 = 1 << 20;

/// The machine with a disk on which a read that is larger than its file panics.
pub fn modest(env: Env) -> Env {
    Env {
        fs: Arc::new(Modest(Arc::clone(&env.fs))),
        ..env
    }
}

struct Modest(Arc<dyn FileSystem>);

struct ModestFile(Arc<dyn File>);

fn wrap(file: Arc<dyn File>) -> Arc<dyn File> {
    Arc::new(ModestFile(file))
}

impl FileSystem for Modest {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.0.create(path).map(wrap)
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.0.open(path).map(wrap)
    }
    fn open_writable(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.0.open_writable(path).map(wrap)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.hard_link(from, to)
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir_all(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.0.list(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        self.0.lock(path)
    }
}

impl File for ModestFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let len = self.0.len()?;
        assert!(
            buf.len() as u64 <= len + READ_AHEAD,
            "{} bytes wanted of a file of {len}",
            buf.len()
        );
        self.0.read_at(offset, buf)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        self.0.write_at(offset, data)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn map(&self) -> io::Result<Mapping> {
        self.0.map()
    }
}
