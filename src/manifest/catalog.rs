//! [`Catalog`]: the state of the file set that the manifest describes, as plain data. Knows nothing of open files.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::edit::{Edit, FileMeta, PackMeta, Record};
use crate::options::KeyspaceOptions;
use crate::record_log::LogEnd;
use crate::types::{KeyspaceId, SeqNo};

/// Levels of a keyspace: 0 (flushed SSTs, by age) to 6. Seven levels of factor ten hold a hundred thousand times the
/// first one; LevelDB's and RocksDB's number.
pub(crate) const LEVELS: usize = 7;

/// Everything that the manifest says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Catalog {
    pub(crate) identity: [u8; 16],
    pub(crate) keyspaces: BTreeMap<KeyspaceId, KeyspaceEntry>,
    /// By number.
    pub(crate) packs: BTreeMap<u64, PackMeta>,
    /// No SST and no pack at or above this number exists.
    pub(crate) next_file_number: u64,
    /// No keyspace at or above this id has ever existed.
    pub(crate) next_keyspace_id: KeyspaceId,
    /// Logs below this number are not needed.
    pub(crate) log_floor: u64,
    /// Logs from the floor to this number exist; zero: none has been created yet.
    pub(crate) log_known: u64,
    /// Where earlier recoveries found that logs end.
    pub(crate) log_ends: Vec<LogEnd>,
    /// Numbers at or below this have been given away.
    pub(crate) last_seq: SeqNo,
}

/// One keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyspaceEntry {
    pub(crate) name: Arc<str>,
    pub(crate) options: KeyspaceOptions,
    /// All writes at or below this number are in SSTs.
    pub(crate) flushed: SeqNo,
    pub(crate) levels: [BTreeMap<u64, FileMeta>; LEVELS],
}

impl Catalog {
    /// A database with nothing in it.
    pub(crate) fn new(identity: [u8; 16]) -> Self {
        Catalog {
            identity,
            next_file_number: 1,
            next_keyspace_id: 1,
            log_floor: 1,
            ..Catalog::default()
        }
    }

    /// The whole state as one edit, which makes it out of an empty one.
    pub(crate) fn snapshot(&self) -> Edit {
        let mut edit = Edit::default();
        edit.push(Record::Identity(self.identity));
        for (id, keyspace) in &self.keyspaces {
            edit.push(Record::CreateKeyspace {
                id: *id,
                name: keyspace.name.to_string(),
                options: keyspace.options.clone(),
            });
            edit.push(Record::Flushed {
                keyspace: *id,
                upto: keyspace.flushed,
            });
            for (level, files) in (0..).zip(&keyspace.levels) {
                for file in files.values() {
                    edit.push(Record::AddFile {
                        keyspace: *id,
                        level,
                        file: file.clone(),
                    });
                }
            }
        }
        edit.records
            .extend(self.packs.values().cloned().map(Record::Pack));
        edit.push(Record::NextFileNumber(self.next_file_number));
        edit.push(Record::NextKeyspaceId(self.next_keyspace_id));
        edit.push(Record::LogFloor(self.log_floor));
        edit.push(Record::LogKnown(self.log_known));
        for end in &self.log_ends {
            edit.push(Record::LogEnd(end.clone()));
        }
        edit.push(Record::LastSeq(self.last_seq));
        edit
    }

    /// Applies an edit; says what is wrong with one that does not fit the state, and leaves the state half-changed then.
    pub(crate) fn apply(&mut self, edit: &Edit) -> Result<(), String> {
        edit.records
            .iter()
            .try_for_each(|record| self.apply_record(record))
    }

    fn apply_record(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Identity(identity) => self.identity = *identity,
            Record::CreateKeyspace { id, name, options } => self.create(*id, name, options)?,
            Record::DropKeyspace { id } => {
                self.keyspaces
                    .remove(id)
                    .ok_or_else(|| format!("drop of keyspace {id}, which does not exist"))?;
            }
            Record::AddFile {
                keyspace,
                level,
                file,
            } => {
                if self
                    .level(*keyspace, *level)?
                    .insert(file.number, file.clone())
                    .is_some()
                {
                    return Err(format!("SST {} added to level {level} twice", file.number));
                }
                self.next_file_number = self.next_file_number.max(file.number.saturating_add(1));
                self.last_seq = self.last_seq.max(file.max_seq);
            }
            Record::RemoveFile {
                keyspace,
                level,
                number,
            } => {
                self.level(*keyspace, *level)?
                    .remove(number)
                    .ok_or_else(|| format!("removal of SST {number}, which is not in level {level}"))?;
            }
            Record::Flushed { keyspace, upto } => {
                let entry = self.keyspace(*keyspace)?;
                entry.flushed = entry.flushed.max(*upto);
                self.last_seq = self.last_seq.max(*upto);
            }
            Record::NextFileNumber(number) => self.next_file_number = self.next_file_number.max(*number),
            Record::NextKeyspaceId(id) => self.next_keyspace_id = self.next_keyspace_id.max(*id),
            Record::LogFloor(number) => {
                self.log_floor = self.log_floor.max(*number);
                self.log_ends.retain(|end| end.number >= self.log_floor);
            }
            Record::LogKnown(number) => self.log_known = self.log_known.max(*number),
            Record::LogEnd(end) => {
                self.log_ends.retain(|known| known.number != end.number);
                self.log_ends.push(end.clone());
                self.log_ends.sort_by_key(|end| end.number);
                self.last_seq = self.last_seq.max(end.last_seq);
            }
            Record::LastSeq(seq) => self.last_seq = self.last_seq.max(*seq),
            Record::Pack(pack) => self.change_pack(pack)?,
            Record::RemovePack { number } => {
                self.packs
                    .remove(number)
                    .ok_or_else(|| format!("removal of pack {number}, which does not exist"))?;
            }
        }
        Ok(())
    }

    /// A pack is added, grows, and is sealed; nothing of that is ever taken back.
    fn change_pack(&mut self, pack: &PackMeta) -> Result<(), String> {
        let number = pack.number;
        if let Some(known) = self.packs.get(&number) {
            if known.identity != pack.identity {
                return Err(format!("pack {number} added twice"));
            }
            let same_file = (known.sealed, known.len) == (pack.sealed, pack.len);
            if known.sealed && !same_file || pack.len < known.len {
                return Err(format!("a change of pack {number}, which is sealed or longer"));
            }
        }
        self.next_file_number = self.next_file_number.max(number.saturating_add(1));
        self.packs.insert(number, pack.clone());
        Ok(())
    }

    fn create(&mut self, id: KeyspaceId, name: &str, options: &KeyspaceOptions) -> Result<(), String> {
        if self.keyspaces.values().any(|keyspace| &*keyspace.name == name) {
            return Err(format!("a second keyspace named {name:?}"));
        }
        let entry = KeyspaceEntry {
            name: Arc::from(name),
            options: options.clone(),
            flushed: 0,
            levels: Default::default(),
        };
        if self.keyspaces.insert(id, entry).is_some() {
            return Err(format!("a second keyspace with the id {id}"));
        }
        self.next_keyspace_id = self.next_keyspace_id.max(id.saturating_add(1));
        Ok(())
    }

    fn keyspace(&mut self, id: KeyspaceId) -> Result<&mut KeyspaceEntry, String> {
        self.keyspaces
            .get_mut(&id)
            .ok_or_else(|| format!("keyspace {id} does not exist"))
    }

    fn level(&mut self, id: KeyspaceId, level: u32) -> Result<&mut BTreeMap<u64, FileMeta>, String> {
        self.keyspace(id)?
            .levels
            .get_mut(level as usize)
            .ok_or_else(|| format!("level {level}, and the deepest is {}", LEVELS - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Slice;

    fn file(number: u64) -> FileMeta {
        FileMeta {
            number,
            size: 1,
            identity: [0; 16],
            entries: 1,
            tombstones: 0,
            min_key: Slice::default(),
            max_key: Slice::default(),
            min_seq: 1,
            max_seq: 1,
            referenced_bytes: 0,
        }
    }

    fn edit(records: Vec<Record>) -> Edit {
        Edit { records }
    }

    #[test]
    fn the_snapshot_of_a_catalog_rebuilds_it() {
        let mut catalog = Catalog::new([5; 16]);
        let options = KeyspaceOptions::default();
        catalog
            .apply(&edit(vec![
                Record::CreateKeyspace {
                    id: 1,
                    name: "a".into(),
                    options: options.clone(),
                },
                Record::CreateKeyspace {
                    id: 2,
                    name: "b".into(),
                    options,
                },
                Record::AddFile {
                    keyspace: 1,
                    level: 0,
                    file: file(9),
                },
                Record::AddFile {
                    keyspace: 2,
                    level: 6,
                    file: file(11),
                },
                Record::Flushed {
                    keyspace: 1,
                    upto: 77,
                },
                Record::LogEnd(LogEnd {
                    number: 4,
                    identity: [1; 16],
                    offset: 5,
                    last_seq: 80,
                }),
                Record::LogKnown(4),
            ]))
            .unwrap();
        let mut rebuilt = Catalog::new([0; 16]);
        rebuilt.apply(&catalog.snapshot()).unwrap();
        assert_eq!(rebuilt, catalog);
        assert_eq!(rebuilt.next_file_number, 12);
        assert_eq!(rebuilt.last_seq, 80);
    }

    #[test]
    fn packs_grow_and_are_sealed_for_ever() {
        let mut catalog = Catalog::new([5; 16]);
        let pack = |number, sealed, len, dead| {
            let identity = [number as u8; 16];
            Record::Pack(PackMeta {
                number,
                identity,
                sealed,
                len,
                dead,
            })
        };
        let grown = [
            pack(7, false, 0, 0),
            pack(7, false, 50, 0),
            pack(9, true, 90, 0),
            pack(7, true, 80, 5),
            pack(7, true, 80, 9),
        ];
        catalog.apply(&edit(grown.to_vec())).unwrap();
        assert_eq!(catalog.next_file_number, 10);
        for bad in [
            pack(7, true, 81, 0),
            pack(7, false, 80, 0),
            Record::RemovePack { number: 8 },
        ] {
            assert!(
                catalog.clone().apply(&edit(vec![bad.clone()])).is_err(),
                "{bad:?}"
            );
        }
        let mut rebuilt = Catalog::new([0; 16]);
        rebuilt.apply(&catalog.snapshot()).unwrap();
        assert_eq!(rebuilt, catalog);
        catalog
            .apply(&edit(vec![Record::RemovePack { number: 7 }]))
            .unwrap();
        assert_eq!(catalog.packs.keys().copied().collect::<Vec<_>>(), [9]);
        assert_eq!(catalog.next_file_number, 10, "numbers are not given again");
    }

    #[test]
    fn ids_of_dropped_keyspaces_are_not_given_again() {
        let mut catalog = Catalog::new([0; 16]);
        let create = Record::CreateKeyspace {
            id: 1,
            name: "a".into(),
            options: KeyspaceOptions::default(),
        };
        catalog
            .apply(&edit(vec![create, Record::DropKeyspace { id: 1 }]))
            .unwrap();
        assert_eq!(catalog.next_keyspace_id, 2);
    }

    #[test]
    fn edits_that_do_not_fit_are_refused() {
        let mut catalog = Catalog::new([0; 16]);
        for bad in [
            Record::DropKeyspace { id: 1 },
            Record::AddFile {
                keyspace: 1,
                level: 0,
                file: file(1),
            },
            Record::Flushed { keyspace: 1, upto: 1 },
        ] {
            assert!(
                catalog.clone().apply(&edit(vec![bad.clone()])).is_err(),
                "{bad:?}"
            );
        }
        let create = Record::CreateKeyspace {
            id: 1,
            name: "a".into(),
            options: KeyspaceOptions::default(),
        };
        catalog.apply(&edit(vec![create])).unwrap();
        for bad in [
            Record::CreateKeyspace {
                id: 2,
                name: "a".into(),
                options: KeyspaceOptions::default(),
            },
            Record::AddFile {
                keyspace: 1,
                level: 7,
                file: file(1),
            },
            Record::RemoveFile {
                keyspace: 1,
                level: 0,
                number: 1,
            },
        ] {
            assert!(
                catalog.clone().apply(&edit(vec![bad.clone()])).is_err(),
                "{bad:?}"
            );
        }
    }
    #[test]
    fn ends_of_logs_go_with_the_floor_and_the_last_word_on_a_log_counts() {
        let mut catalog = Catalog::new([0; 16]);
        let end = |number, offset| LogEnd {
            number,
            identity: [1; 16],
            offset,
            last_seq: 5,
        };
        let ends = [end(3, 10), end(1, 10), end(2, 10), end(2, 20)];
        catalog.apply(&edit(ends.map(Record::LogEnd).to_vec())).unwrap();
        assert_eq!(catalog.log_ends, [end(1, 10), end(2, 20), end(3, 10)]);
        catalog.apply(&edit(vec![Record::LogFloor(2)])).unwrap();
        assert_eq!(catalog.log_ends, [end(2, 20), end(3, 10)]);
        catalog.apply(&edit(vec![Record::LogFloor(1)])).unwrap();
        assert_eq!(
            (catalog.log_floor, catalog.log_ends.len()),
            (2, 2),
            "floors do not sink"
        );
    }
}
