//! Archives to adopt, and what a database must have afterwards.

use std::collections::BTreeMap;
use std::path::Path;

use packstone::pack::{ArchiveWriter, PackOptions};
use packstone::{AdoptMode, AdoptOptions, Db, KeyspaceOptions};

pub(crate) const MODES: [AdoptMode; 2] = [AdoptMode::Copy, AdoptMode::Move];

pub(crate) type Contents = BTreeMap<String, Vec<u8>>;

/// Bytes that do not compress, and differ from seed to seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub(crate) fn low_threshold() -> KeyspaceOptions {
    KeyspaceOptions::new().object_threshold(Some(100))
}

pub(crate) fn how(mode: AdoptMode) -> AdoptOptions {
    AdoptOptions::new().mode(mode)
}

/// Writes an archive, or appends to it.
pub(crate) fn archive(path: &Path, contents: &Contents, options: &PackOptions) {
    let mut writer = ArchiveWriter::open(path, options).unwrap();
    for (name, content) in contents {
        writer.add(name.as_bytes(), b"meta", content).unwrap();
    }
    writer.finish().unwrap();
}

pub(crate) fn check(db: &Db, contents: &Contents, when: &str) {
    let values = db.open_keyspace("values").unwrap();
    for (name, content) in contents {
        let value = values
            .get(name)
            .unwrap()
            .unwrap_or_else(|| panic!("{when}: {name}"));
        assert!(value == content[..], "{when}: {name}");
    }
    let found = db.verify_objects().unwrap();
    assert!(found.damage.is_empty(), "{when}: {:?}", found.damage);
    db.verify().unwrap();
}
