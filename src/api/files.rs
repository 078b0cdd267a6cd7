//! [`SstFile`]: the files that a keyspace is made of; and the check of every byte of them.

use std::path::PathBuf;

use super::db::Db;
use super::keyspace::Keyspace;
use crate::sst::VerifyReport;
use crate::{Result, Slice};

/// An SST of a keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SstFile {
    /// Where it lies. It may be deleted by a compaction as soon as this is known.
    pub path: PathBuf,
    /// Its level.
    pub level: usize,
    /// Its bytes.
    pub bytes: u64,
    /// Entries, tombstones and old versions counted.
    pub entries: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// The least key. In hash order, here and below, eight bytes of hash come first.
    pub min_key: Slice,
    /// The greatest key.
    pub max_key: Slice,
}

impl Keyspace {
    /// The SSTs of this moment: level 0 newest first, the deeper levels by key.
    ///
    /// ```
    /// # fn main() -> packstone::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = packstone::Db::open(dir.path())?;
    /// let users = db.keyspace("users")?;
    /// users.put("alice", "1")?;
    /// db.flush()?;
    /// let files = users.files();
    /// assert_eq!((files.len(), files[0].level, files[0].entries), (1, 0, 1));
    /// # db.close()
    /// # }
    /// ```
    pub fn files(&self) -> Vec<SstFile> {
        let tree = self.core.view().tree.clone();
        tree.levels()
            .flat_map(|(level, tables)| tables.iter().map(move |table| (level, table)))
            .map(|(level, table)| SstFile {
                path: table.sst.path().to_owned(),
                level,
                bytes: table.meta.size,
                entries: table.meta.entries,
                tombstones: table.meta.tombstones,
                min_key: table.meta.min_key.clone(),
                max_key: table.meta.max_key.clone(),
            })
            .collect()
    }
}

impl Db {
    /// Reads every byte of every SST, by read calls, and checks all that readers rely on: checksums, order, references,
    /// filters, counts. What is in memtables and logs is not looked at. Takes as long as reading the files twice;
    /// reads and writes go on meanwhile.
    ///
    /// # Errors
    /// [`crate::Error::Corruption`]: the first damage found, with file and offset.
    ///
    /// ```
    /// # fn main() -> packstone::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let db = packstone::Db::open(dir.path())?;
    /// db.keyspace("users")?.put("alice", "1")?;
    /// db.flush()?;
    /// assert_eq!(db.verify()?.entries, 1);
    /// # db.close()
    /// # }
    /// ```
    pub fn verify(&self) -> Result<VerifyReport> {
        let mut total = VerifyReport::default();
        for keyspace in self.core().keyspace_cores() {
            // Pinned, so that no compaction takes the files away.
            let tree = keyspace.view().tree.clone();
            for table in tree.tables() {
                self.core().check_open()?;
                let report = table.sst.verify()?;
                total.file_bytes += report.file_bytes;
                total.blocks += report.blocks;
                total.entries += report.entries;
            }
        }
        Ok(total)
    }
}
