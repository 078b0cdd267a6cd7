//! References come through repair as they are.

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

/// The objects in the SSTs of the target, by key.
fn objects(sim: &SimEnv) -> BTreeMap<Vec<u8>, ObjectRef> {
    let mut found = BTreeMap::new();
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
            if let place @ ValuePlace::Object { .. } = cursor.value().place {
                let key = sst.order().key_of(cursor.key()).to_vec();
                found.insert(key, sst.object(place).unwrap());
            }
            cursor.next().unwrap();
        }
    }
    found
}

#[test]
fn references_come_through_repair() {
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
        // Copied whole; and written anew, after damage in a block of keys.
        let sim = machine(&files);
        run(&sim.env(), RepairOptions::default()).unwrap();
        assert!(objects(&sim) == wanted);
        let mut damaged = files.clone();
        for bytes in damaged.values_mut() {
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
        }
        let sim = machine(&damaged);
        let report = run(&sim.env(), KEEP).unwrap();
        assert!(report.written && !report.lost.is_empty());
        let found = objects(&sim);
        assert!(found.len() < wanted.len() && found.len() > wanted.len() / 2);
        assert!(found.iter().all(|(key, object)| wanted[key] == *object));
    }
}
