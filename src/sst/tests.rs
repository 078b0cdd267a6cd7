//! The promises of whole files. Parts have their tests beside them.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::describe::SstBlock;
use super::*;
use crate::env::{File, Mapping};
use crate::types::{EntryKind, MAX_KEY_LEN, MAX_SEQ, MAX_SMALL_LEN, MAX_VALUE_LEN, SeqNo};
use crate::{Error, Result};

mod damage;
mod hash_order;
mod key_blocks;
mod model;
mod partitions;
mod parts;
mod references;
mod writing;

const PATH: &str = "000007.sst";

/// A file in memory that counts reads.
#[derive(Default)]
struct MemFile {
    bytes: Mutex<Vec<u8>>,
    reads: AtomicU64,
    bytes_read: AtomicU64,
    /// Pretends to have taken writes beyond this offset: for files near the limit.
    forget_beyond: Option<u64>,
}

impl MemFile {
    fn of(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(MemFile {
            bytes: Mutex::new(bytes),
            ..MemFile::default()
        })
    }

    fn contents(&self) -> Vec<u8> {
        self.bytes.lock().clone()
    }

    fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }
}

impl File for MemFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let bytes = self.bytes.lock();
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        self.bytes_read.fetch_add(len as u64, Ordering::Relaxed);
        Ok(len)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<usize> {
        if self
            .forget_beyond
            .is_some_and(|limit| offset + data.len() as u64 > limit)
        {
            return Ok(data.len());
        }
        let mut bytes = self.bytes.lock();
        let end = offset as usize + data.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(data);
        Ok(data.len())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().len() as u64)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.lock().resize(len as usize, 0);
        Ok(())
    }
    fn map(&self) -> io::Result<Mapping> {
        Ok(Mapping::from(self.contents()))
    }
}

/// An entry of the model: `None` is a tombstone, a value as `object` makes it is a reference.
type Entry = (Vec<u8>, SeqNo, Option<Vec<u8>>);

/// What the ids of the model's objects begin with.
const OBJECT: &[u8] = b"object: ";

/// The reference to object `n` of the model.
fn reference(n: u64, len: u64) -> ObjectRef {
    let mut id = [0; 16];
    id[..8].copy_from_slice(OBJECT);
    id[8..].copy_from_slice(&n.to_be_bytes());
    ObjectRef { id, len }
}

/// The same as a value of the model.
fn object(n: u64, len: u64) -> Option<Vec<u8>> {
    Some(reference(n, len).to_bytes().to_vec())
}

/// The reference that a value of the model stands for.
fn object_of(value: Option<&[u8]>) -> Option<ObjectRef> {
    ObjectRef::from_bytes(value?).filter(|object| object.id.starts_with(OBJECT))
}

fn identity() -> SstIdentity {
    SstIdentity {
        keyspace: 3,
        file_number: 7,
        identity: *b"sixteen bytes id",
        replaces: vec![4, 5],
    }
}

fn tiny() -> SstOptions {
    SstOptions {
        key_block_size: 200,
        value_block_size: 100,
        ..SstOptions::default()
    }
}

/// The references of entries, in the places of these.
fn objects_of(entries: &[Entry]) -> Vec<Option<ObjectRef>> {
    entries
        .iter()
        .map(|entry| object_of(entry.2.as_deref()))
        .collect()
}

fn rows<'a>(
    entries: &'a [Entry],
    objects: &'a [Option<ObjectRef>],
) -> impl Iterator<Item = (&'a [u8], SeqNo, EntryValue<'a>)> {
    entries.iter().zip(objects).map(|((key, seq, value), object)| {
        let value = match (value, object) {
            (None, _) => EntryValue::Tombstone,
            (Some(_), Some(object)) => EntryValue::Object(object),
            (Some(value), None) => EntryValue::Put(value),
        };
        (key.as_slice(), *seq, value)
    })
}

fn write(entries: &[Entry], options: &SstOptions) -> (Vec<u8>, SstSummary) {
    let file = Arc::new(MemFile::default());
    let objects = objects_of(entries);
    let rows = rows(entries, &objects);
    let summary = write_sorted(file.clone(), Path::new(PATH), options, identity(), rows).unwrap();
    (file.contents(), summary)
}

fn open_with(file: Arc<MemFile>, access: Access, cache: u64) -> Result<Arc<Sst>> {
    let options = SstReadOptions {
        access,
        cache: Arc::new(BlockCache::new(cache)),
    };
    Sst::open(file, Path::new(PATH), &options).map(Arc::new)
}

fn open(bytes: &[u8], access: Access) -> Result<Arc<Sst>> {
    open_with(MemFile::of(bytes.to_vec()), access, 1 << 20)
}

fn get(sst: &Sst, key: &[u8], snapshot: SeqNo) -> Result<Option<Found>> {
    sst.get(key, sst.order().hash(key), snapshot)
}

/// A weak seed: eight hashes for all keys.
const WEAK: SortOrder = SortOrder::Hash { seed: 4 };

fn sort_key(key: &[u8], order: SortOrder) -> Vec<u8> {
    let mut room = SortKeyBuffer::default();
    order.sort_key(key, order.hash(key), &mut room).to_vec()
}

/// Entries with sort keys instead of keys, in order.
fn sorted(mut entries: Vec<Entry>, order: SortOrder) -> Vec<Entry> {
    for entry in &mut entries {
        entry.0 = sort_key(&entry.0, order);
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    entries
}

/// What the model says a look-up finds.
fn expected(entries: &[Entry], key: &[u8], snapshot: SeqNo) -> Option<Found> {
    let (_, seq, value) = entries
        .iter()
        .find(|entry| entry.0 == key && entry.1 <= snapshot)?;
    Some(match (value, object_of(value.as_deref())) {
        (None, _) => Found::Tombstone(*seq),
        (Some(_), Some(object)) => Found::Object(*seq, object),
        (Some(value), None) => Found::Value(*seq, crate::Slice::from(value.as_slice())),
    })
}

/// The list of references.
fn ids(sst: &Arc<Sst>) -> Result<Vec<[u8; 16]>> {
    sst.references(None).collect()
}

/// What it should be.
fn ids_of(entries: &[Entry]) -> Vec<[u8; 16]> {
    let objects = objects_of(entries).into_iter().flatten();
    let ids: BTreeSet<_> = objects.map(|object| object.id).collect();
    ids.into_iter().collect()
}

/// All entries, forwards.
fn scan(sst: &Arc<Sst>, options: CursorOptions) -> Result<Vec<Entry>> {
    let mut cursor = sst.cursor(options);
    let mut out = Vec::new();
    cursor.seek_to_first()?;
    while cursor.valid() {
        out.push(current(&cursor)?);
        cursor.next()?;
    }
    Ok(out)
}

fn current(cursor: &SstCursor) -> Result<Entry> {
    let value = match cursor.value().place {
        ValuePlace::Tombstone => None,
        _ => Some(cursor.load(cursor.value())?.to_vec()),
    };
    Ok((cursor.key().to_vec(), cursor.seq(), value))
}

/// A small generator of numbers, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % n
    }
}

/// A value of a length of its class, half compressible.
fn value(random: &mut Random, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| {
            if i % 64 < 32 {
                b'x'
            } else {
                random.below(256) as u8
            }
        })
        .collect()
}

/// One entry of every class and kind.
fn one_of_each() -> Vec<Entry> {
    let mut random = Random(99);
    let lens = [0, 1, 8, 9, 100, MAX_SMALL_LEN, MAX_SMALL_LEN + 1, 20_000];
    let mut entries: Vec<Entry> = lens
        .iter()
        .enumerate()
        .map(|(i, &len)| {
            (
                format!("key{i:02}").into_bytes(),
                i as u64 * 3,
                Some(value(&mut random, len)),
            )
        })
        .collect();
    entries.push((b"key98".to_vec(), 7, object(98, 1 << 40)));
    entries.push((b"key99".to_vec(), MAX_SEQ, None));
    entries
}

const BOTH: [Access; 2] = [Access::Mapped, Access::Pread];
const CODECS: [Compression; 2] = [Compression::None, Compression::Lz4];
