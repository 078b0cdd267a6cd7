//! [`Database`]: the open database of a run: its keyspaces, and what is known of its contents. Also how its files are
//! removed: those only, and only when nobody has it open.

use std::fs;
use std::path::{Path, PathBuf};

use packstone::{Db, Keyspace};

use crate::data::{KeyMaker, Oracle};
use crate::failure::{Failure, Outcome};
use crate::flags::Config;

pub(crate) struct Database {
    pub(crate) dir: PathBuf,
    pub(crate) db: Db,
    pub(crate) keyspaces: Vec<Keyspace>,
    pub(crate) oracle: Oracle,
}

/// The name of the n-th keyspace; the first has RocksDB's.
fn keyspace_name(n: usize) -> String {
    match n {
        0 => "default".to_string(),
        n => format!("keyspace{n}"),
    }
}

impl Database {
    /// Opens what is there.
    pub(crate) fn open(config: &Config) -> Outcome<Database> {
        Self::open_with(config, Oracle::ignorant())
    }

    /// Removes what is there, and creates an empty database.
    pub(crate) fn create(config: &Config) -> Outcome<Database> {
        remove(&config.db)?;
        let distinct = KeyMaker::new(config).distinct();
        Self::open_with(config, Oracle::of_empty(config.num, distinct))
    }

    fn open_with(config: &Config, oracle: Oracle) -> Outcome<Database> {
        if !config.readonly {
            fs::create_dir_all(&config.db).map_err(|e| Failure::io("create", &config.db, &e))?;
        }
        let db = match config.readonly {
            true => config.options().open_read_only(&config.db)?,
            false => config.options().open(&config.db)?,
        };
        let keyspaces = (0..config.keyspaces)
            .map(|n| db.keyspace_with(&keyspace_name(n), config.keyspace_options()))
            .collect::<packstone::Result<Vec<_>>>()?;
        if keyspaces
            .iter()
            .any(|keyspace| *keyspace.options() != config.keyspace_options())
        {
            eprintln!(
                "WARNING: the existing keyspaces keep the order, block sizes, compression and filter that they were created with"
            );
        }
        Ok(Database {
            dir: config.db.clone(),
            db,
            keyspaces,
            oracle,
        })
    }

    /// Where a key lives.
    pub(crate) fn keyspace_of(&self, number: u64) -> &Keyspace {
        &self.keyspaces[(number % self.keyspaces.len() as u64) as usize]
    }
}

/// Whether a name in the directory is that of a database file.
fn is_ours(name: &str) -> bool {
    let digits = |text: &str| text.len() >= 6 && text.bytes().all(|byte| byte.is_ascii_digit());
    match name.split_once('.') {
        Some((number, "sst" | "log" | "pack")) => digits(number),
        _ => {
            ["CURRENT", "CURRENT.tmp", "LOCK"].contains(&name)
                || name.strip_prefix("MANIFEST-").is_some_and(digits)
        }
    }
}

/// Removes a database's files from a directory, and nothing else.
fn remove(dir: &Path) -> Outcome<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Failure::io("read", dir, &e)),
    };
    let lock = dir.join("LOCK");
    if let Ok(file) = fs::File::open(&lock) {
        file.try_lock()
            .map_err(|_| Failure(format!("{} is open elsewhere: not removed", dir.display())))?;
    }
    for entry in entries {
        let entry = entry.map_err(|e| Failure::io("read", dir, &e))?;
        if entry.file_name().to_str().is_some_and(is_ours) {
            fs::remove_file(entry.path()).map_err(|e| Failure::io("remove", &entry.path(), &e))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_databases_files_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let ours = [
            "000001.sst",
            "000001.pack",
            "1234567.log",
            "MANIFEST-000003",
            "CURRENT",
            "CURRENT.tmp",
            "LOCK",
        ];
        let others = [
            "notes.txt",
            "1.sst",
            "x000001.sst",
            "MANIFEST-x",
            "000001.sst.bak",
            "diary.log",
        ];
        for name in ours.iter().chain(&others) {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        remove(dir.path()).unwrap();
        let mut left: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        let mut expected = others.map(str::to_string).to_vec();
        expected.sort();
        assert_eq!(left, expected);
    }

    #[test]
    fn a_database_that_is_open_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(dir.path()).unwrap();
        assert!(remove(dir.path()).is_err());
        assert!(dir.path().join("CURRENT").exists());
        db.close().unwrap();
        remove(dir.path()).unwrap();
        assert!(!dir.path().join("CURRENT").exists());
    }
}
