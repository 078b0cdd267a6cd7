//! An SST, valid or changed or made of nothing but the fuzzer's bytes, is opened and read in every way.
//!
//! Unchanged it gives what was put in. Changed under its checksums it gives that, or an error. Changed with checksums made
//! right again it gives anything that ends: no panic, no endless loop, no huge allocation.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::support::{Input, mix, repair_sst};
use packstone::env::sim::SimEnv;
use packstone::sst::{
    Access, BlockCache, Compression, Cursor, CursorOptions, EntryValue, Found, ObjectRef, SortKeyBuffer,
    SortOrder, Sst, SstIdentity, SstOptions, SstReadOptions, write_sorted,
};
use packstone::{MAX_SEQ, Result};

const PATH: &str = "/f.sst";

/// What an entry holds of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Value(Vec<u8>),
    Object(ObjectRef),
    Nothing,
}

impl Content {
    fn id(&self) -> Option<[u8; 16]> {
        match self {
            Content::Object(object) => Some(object.id),
            _ => None,
        }
    }

    /// What it loads as.
    fn bytes(&self) -> Vec<u8> {
        match self {
            Content::Value(value) => value.clone(),
            Content::Object(object) => object.to_bytes().to_vec(),
            Content::Nothing => Vec::new(),
        }
    }
}

/// Contents by sort key and, newest first, number.
type Entries = BTreeMap<(Vec<u8>, Reverse<u64>), Content>;

/// One run on the fuzzer's bytes.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.u8();
    let sim = SimEnv::new(1);
    let mut entries = Entries::new();
    let (raw, mut changed, repaired) = (flags & 16 != 0, false, flags & 8 != 0);
    let mut bytes = if raw {
        input.bytes(usize::MAX).to_vec()
    } else {
        entries = sorted(decode_entries(&mut input), order_of(flags));
        build(&sim, flags, &entries)
    };
    while !input.is_empty() {
        let before = bytes.clone();
        input.patch(&mut bytes);
        changed |= before != bytes;
    }
    if repaired {
        repair_sst(&mut bytes);
    }
    sim.write_file(PATH, &bytes).unwrap();
    let access = if flags & 4 != 0 {
        Access::Pread
    } else {
        Access::Mapped
    };
    match read(&sim, access, &entries, !raw && !(changed && repaired)) {
        Ok(()) => {}
        Err(error) => assert!(raw || changed, "{error}"),
    }
}

fn decode_entries(input: &mut Input<'_>) -> Entries {
    // An SST holds at least one entry.
    let count = u64::from(input.u8()) + 1;
    let mut entries = Entries::new();
    for n in 0..count {
        let (shape, letter) = (input.u8(), input.u8());
        let mut key = vec![b'k'; usize::from(shape & 7) * 3];
        key.extend_from_slice(&[letter >> 4, letter & 15][..usize::from(shape >> 3 & 1) + 1]);
        let len = match shape >> 5 {
            0 => None,
            1 | 2 => Some(n % 9),
            7 => Some(4090 + n),
            small => Some(u64::from(small) * 40 + n % 17),
        };
        let value = len.map(|len| (0..len).map(|at| mix(n ^ (at / 4)) as u8).collect());
        let content = match value {
            // Some ids come up more than once.
            _ if shape >> 4 & 1 != 0 => Content::Object(ObjectRef {
                id: [letter; 16],
                len: mix(n),
            }),
            Some(value) => Content::Value(value),
            None => Content::Nothing,
        };
        entries.insert((key, Reverse(n % 50 * 3)), content);
    }
    entries
}

/// Key order, hash order, and hash order with so weak a hash that many keys share one.
fn order_of(flags: u8) -> SortOrder {
    match flags >> 5 & 3 {
        0 | 1 => SortOrder::Key,
        2 => SortOrder::Hash { seed: 7 },
        _ => SortOrder::Hash { seed: 4 },
    }
}

fn sort_key(key: &[u8], order: SortOrder) -> Vec<u8> {
    let mut room = SortKeyBuffer::default();
    order.sort_key(key, order.hash(key), &mut room).to_vec()
}

fn sorted(entries: Entries, order: SortOrder) -> Entries {
    let sorted = entries.into_iter();
    sorted
        .map(|((key, seq), value)| ((sort_key(&key, order), seq), value))
        .collect()
}

fn build(sim: &SimEnv, flags: u8, entries: &Entries) -> Vec<u8> {
    let options = SstOptions {
        key_block_size: 200,
        value_block_size: 300,
        compression: if flags & 1 != 0 {
            Compression::Lz4
        } else {
            Compression::None
        },
        filter: flags & 2 != 0,
        order: order_of(flags),
        // The least: every file of more than 61 keys, or of an index of 64 bytes, has partitions.
        partition_size: if flags & 32 != 0 { 64 } else { 32 << 10 },
    };
    let identity = SstIdentity {
        keyspace: 1,
        file_number: 7,
        identity: [flags; 16],
        replaces: vec![3],
    };
    let file = sim.env().fs.create(Path::new("/new")).unwrap();
    let sorted = entries.iter().map(|((key, seq), value)| {
        let value = match value {
            Content::Value(value) => EntryValue::Put(value),
            Content::Object(object) => EntryValue::Object(object),
            Content::Nothing => EntryValue::Tombstone,
        };
        (&key[..], seq.0, value)
    });
    write_sorted(file, Path::new("/new"), &options, identity, sorted).unwrap();
    sim.read_file("/new").unwrap()
}

/// Reads everything; with `exact`, every answer must be right.
fn read(sim: &SimEnv, access: Access, entries: &Entries, exact: bool) -> Result<()> {
    let options = SstReadOptions {
        access,
        cache: Arc::new(BlockCache::new(64 << 10)),
    };
    let path = Path::new(PATH);
    let file = sim.env().fs.open(path).unwrap();
    let sst = Arc::new(Sst::open(file, path, &options)?);
    let verified = sst.verify();
    let mut problem = verified.clone().map(drop);
    let mut note = |result: Result<()>| problem = problem.clone().and(result);
    note(sst.blocks().map(drop));
    note(references(&sst, entries, exact));
    note(points(&sst, entries, exact));
    note(forward(&sst, entries, exact));
    note(backward(&sst, entries, exact));
    note(seeks(&sst, entries));
    // What verification lets pass can be read.
    if verified.is_ok() {
        problem.clone().unwrap();
    }
    problem
}

/// The list of references: what the entries refer to, as far as anything is known of these; ascending in any case.
fn references(sst: &Arc<Sst>, entries: &Entries, exact: bool) -> Result<()> {
    let found = sst.references(None).collect::<Result<Vec<_>>>()?;
    assert!(found.is_sorted_by(|a, b| a < b));
    assert_eq!(found.len() as u64, sst.summary().references);
    if exact {
        let wanted: BTreeSet<_> = entries.values().filter_map(Content::id).collect();
        assert!(found.into_iter().eq(wanted));
    }
    Ok(())
}

fn points(sst: &Sst, entries: &Entries, exact: bool) -> Result<()> {
    let mut result = Ok(());
    for (key, seq) in entries.keys() {
        for snapshot in [seq.0, MAX_SEQ, seq.0 + 1] {
            let user_key = sst.order().key_of(key);
            let found = sst.get(user_key, sst.order().hash(user_key), snapshot);
            let wanted = entries.range((key.clone(), Reverse(snapshot))..).next();
            match found {
                Ok(found) if exact => {
                    let found = found.map(|found| match found {
                        Found::Value(seq, value) => (seq, Content::Value(value.to_vec())),
                        Found::Object(seq, object) => (seq, Content::Object(object)),
                        Found::Tombstone(seq) => (seq, Content::Nothing),
                    });
                    let wanted = wanted.filter(|((other, _), _)| other == key);
                    assert_eq!(found, wanted.map(|((_, seq), value)| (seq.0, value.clone())));
                }
                Ok(_) => {}
                Err(error) => result = Err(error),
            }
        }
    }
    result
}

fn forward(sst: &Arc<Sst>, entries: &Entries, exact: bool) -> Result<()> {
    let mut cursor = sst.cursor(CursorOptions {
        access: Some(Access::Pread),
        read_ahead: true,
        fill_cache: false,
    });
    cursor.seek_to_first()?;
    let mut wanted = entries.iter();
    while cursor.valid() {
        let value = cursor.load(cursor.value());
        if exact {
            let ((key, seq), wanted) = wanted.next().unwrap();
            assert_eq!((cursor.key(), cursor.seq()), (&key[..], seq.0));
            if let Ok(value) = &value {
                assert_eq!(value[..], wanted.bytes());
            }
        }
        value?;
        cursor.next()?;
    }
    assert!(!exact || wanted.next().is_none());
    Ok(())
}

fn backward(sst: &Arc<Sst>, entries: &Entries, exact: bool) -> Result<()> {
    let mut cursor = sst.cursor(CursorOptions::default());
    cursor.seek_to_last()?;
    let mut wanted = entries.keys().rev();
    while cursor.valid() {
        if exact {
            let (key, seq) = wanted.next().unwrap();
            assert_eq!((cursor.key(), cursor.seq()), (&key[..], seq.0));
        }
        cursor.load(cursor.value())?;
        cursor.prev()?;
    }
    assert!(!exact || wanted.next().is_none());
    Ok(())
}

/// Turns and jumps, whose answers the model test of the library checks.
fn seeks(sst: &Arc<Sst>, entries: &Entries) -> Result<()> {
    let mut cursor = sst.cursor(CursorOptions::default());
    for (key, seq) in entries.keys().take(40) {
        cursor.seek(key, seq.0)?;
        if cursor.valid() {
            cursor.next()?;
        }
        cursor.seek_before(key, seq.0)?;
        if cursor.valid() {
            cursor.prev()?;
        }
        if cursor.valid() {
            cursor.next()?;
        }
    }
    Ok(())
}
