//! References that lead to no object: none of them comes through, each is named, and the entries beside them stay.

use packstone::sst::{Cursor, CursorOptions, ObjectRef, ValuePlace};

use super::*;

const COUNT: u64 = 2000;

fn object(n: u64) -> ObjectRef {
    ObjectRef {
        id: [(n % 251) as u8; 16],
        len: n << 30,
    }
}

/// An SST of references and values, without a manifest.
fn source(layout: &SstOptions) -> Files {
    let sim = machine(&Files::new());
    let path = PathBuf::from(format!("{SOURCE}/000004.sst"));
    let file = sim.env().fs.create(&path).unwrap();
    let identity = SstIdentity {
        keyspace: 1,
        file_number: 4,
        identity: [4; 16],
        replaces: Vec::new(),
    };
    let mut entries: Vec<_> = (0..COUNT)
        .map(|n| (sort_key(layout.order, &n.to_be_bytes()), object(n), n % 3 > 0))
        .collect();
    entries.sort();
    let entries = entries.iter().map(|(key, object, is_object)| {
        let value = match is_object {
            true => EntryValue::Object(object),
            false => EntryValue::Put(b"value"),
        };
        (&key[..], 7, value)
    });
    write_sorted(file, &path, layout, identity, entries).unwrap();
    files_of(&sim, SOURCE)
}

/// How many references and values the SSTs of the target have.
fn entries(sim: &SimEnv) -> (usize, usize) {
    let mut found = (0, 0);
    for path in sim.list() {
        if path.parent() != Some(Path::new(TARGET)) || path.extension().is_none_or(|ext| ext != "sst") {
            continue;
        }
        let options = SstReadOptions {
            access: Access::Pread,
            cache: Arc::new(BlockCache::new(0)),
        };
        let sst = Arc::new(Sst::open(sim.env().fs.open(&path).unwrap(), &path, &options).unwrap());
        sst.verify().unwrap();
        let mut cursor = sst.cursor(CursorOptions::default());
        cursor.seek_to_first().unwrap();
        while cursor.valid() {
            match cursor.value().place {
                ValuePlace::Object { .. } => found.0 += 1,
                _ => found.1 += 1,
            }
            cursor.next().unwrap();
        }
    }
    found
}

#[test]
fn references_without_an_object_are_left_out_and_named() {
    for order in [SortOrder::Key, SortOrder::Hash { seed: 7 }] {
        let layout = SstOptions {
            order,
            ..SstOptions::default()
        };
        let files = source(&layout);
        let wanted: BTreeMap<Vec<u8>, ObjectRef> = (0..COUNT)
            .filter(|n| n % 3 > 0)
            .map(|n| (n.to_be_bytes().to_vec(), object(n)))
            .collect();
        // In a whole file; and after damage in a block of keys.
        let sim = machine(&files);
        let report = run(&sim.env(), RepairOptions::default()).unwrap();
        let named = report.lost.iter().filter(|loss| loss.from_key == loss.to_key);
        let named: BTreeSet<Vec<u8>> = named
            .filter_map(|loss| Some(layout.order.key_of(loss.from_key.as_ref()?).to_vec()))
            .collect();
        assert!(named == wanted.keys().cloned().collect());
        assert_eq!(entries(&sim), (0, COUNT as usize - wanted.len()));
        let mut damaged = files.clone();
        for bytes in damaged.values_mut() {
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
        }
        let sim = machine(&damaged);
        let report = run(&sim.env(), KEEP).unwrap();
        assert!(report.written && !report.lost.is_empty());
        let (references, values) = entries(&sim);
        let most = COUNT as usize - wanted.len();
        assert!(references == 0 && values < most && values > most / 2, "{values}");
    }
}
