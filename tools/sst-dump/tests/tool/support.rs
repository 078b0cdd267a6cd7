//! Fixed databases, and running the tool on them.

use std::path::{Path, PathBuf};
use std::process::Command;

use packstone::env::sim::{CrashStyle, SimEnv};
use packstone::pack::{ArchiveWriter, PackBuilder, PackOptions};
use packstone::sst::{
    EntryValue, ObjectRef, SortKeyBuffer, SortOrder, SstIdentity, SstOptions, write_sorted,
};
use packstone::{Compression, Db, Durability, KeyspaceOptions, Options};
use tempfile::TempDir;

/// What a run of the tool gave.
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the tool with these words.
pub(crate) fn run<I: AsRef<std::ffi::OsStr>>(words: impl IntoIterator<Item = I>) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_sst-dump"))
        .args(words)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let run = Run {
        status: output.status.code().expect("no signal"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    };
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
    run
}

/// A database's files in a directory of the machine.
pub(crate) struct Database {
    pub(crate) dir: TempDir,
}

impl Database {
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        let path = self.path().join(name);
        assert!(path.exists(), "{name} is not there: {:?}", self.names());
        path
    }

    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The first file whose name ends so.
    pub(crate) fn first(&self, suffix: &str) -> PathBuf {
        let name = self
            .names()
            .into_iter()
            .find(|name| name.ends_with(suffix))
            .expect(suffix);
        self.path().join(name)
    }

    pub(crate) fn manifest(&self) -> PathBuf {
        let names = self.names();
        self.path()
            .join(names.iter().rfind(|name| name.starts_with("MANIFEST-")).unwrap())
    }

    /// Runs the tool; `@` in a word stands for the directory.
    pub(crate) fn run(&self, line: &str) -> Run {
        let dir = self.path().to_str().unwrap();
        run(line.split(' ').map(|word| word.replace('@', dir)))
    }

    /// A text of the tool's without what differs from run to run (the directory, and how long things took), and
    /// without the rest of very long lines.
    pub(crate) fn steady(&self, text: &str) -> String {
        let text = text.replace(self.path().to_str().unwrap(), "<dir>");
        let lines = text.lines().map(|line| match line.split_once("Write usec:") {
            Some((front, _)) => format!("{front}Write usec: <time>"),
            None => line.to_owned(),
        });
        let cut = |line: String| match line.char_indices().nth(160) {
            Some((at, _)) => format!("{}... ({} bytes)", &line[..at], line.len()),
            None => line,
        };
        lines.map(|line| cut(line.trim_end().to_owned()) + "\n").collect()
    }

    pub(crate) fn change(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(path).unwrap();
        change(&mut bytes);
        std::fs::write(path, bytes).unwrap();
    }
}

/// Two keyspaces, SSTs on two levels, all kinds of values, tombstones, several versions, and writes that are in the log
/// only. Closed in order.
pub(crate) fn closed() -> Database {
    let (sim, db) = build();
    db.close().unwrap();
    write_out(&sim)
}

/// The same as a killed process leaves it: no seal, and nothing synced at the end.
pub(crate) fn killed() -> Database {
    let (sim, db) = build();
    let database = write_out(&sim);
    // Only now: a database that is dropped closes in order.
    drop(db);
    database
}

/// A database that has been opened again after a kill, in which a keyspace has been dropped.
pub(crate) fn reopened() -> Database {
    let (sim, db) = build();
    sim.crash(CrashStyle::KeepAll);
    drop(db);
    let db = Options::new().env(sim.env()).open("/db").unwrap();
    db.keyspace("users").unwrap().put("after", "the kill").unwrap();
    db.drop_keyspace("photos").unwrap();
    db.close().unwrap();
    write_out(&sim)
}

/// Bytes that do not compress, the same in every run.
pub(crate) fn noise(len: u64) -> Vec<u8> {
    let byte = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
    (0..len).map(|i| byte(i * i + 1)).collect()
}

/// A directory with a pack, an archive of two segments, and the same with bytes of an append that was cut off.
pub(crate) fn packs() -> Database {
    let dir = tempfile::tempdir().unwrap();
    let options = PackOptions::default().identity([7; 16]).chunk_size(4096);
    let mut builder = PackBuilder::create(dir.path().join("objects.pack"), &options).unwrap();
    for object in [b"hello".to_vec(), Vec::new(), vec![b'z'; 10_000], noise(5000)] {
        builder.add(&object).unwrap();
    }
    builder.finish().unwrap();
    let letters = dir.path().join("letters.pack");
    let mut writer = ArchiveWriter::create(&letters, &options).unwrap();
    for (name, meta, content) in [
        ("a/alpha", "", "content of alpha"),
        ("b/beta", "", "content of beta"),
        ("c/gamma", "text/plain", "content of gamma"),
    ] {
        writer
            .add(name.as_bytes(), meta.as_bytes(), content.as_bytes())
            .unwrap();
    }
    writer.finish().unwrap();
    let mut writer = ArchiveWriter::append(&letters, &options).unwrap();
    writer.add(b"a/aleph\n", b"", b"content of alpha").unwrap();
    writer.add(b"b/beta", b"", b"another beta").unwrap();
    writer.finish().unwrap();
    let mut bytes = std::fs::read(&letters).unwrap();
    bytes.extend_from_slice(b"half a record");
    std::fs::write(dir.path().join("torn.pack"), bytes).unwrap();
    Database { dir }
}

/// An SST in key order and one in hash order, with values, tombstones and references to two objects.
pub(crate) fn objects() -> Database {
    let sim = SimEnv::new(21);
    let big = ObjectRef {
        id: *b"\x00\x01 sixteen bytes",
        len: 5 << 30,
    };
    let other = ObjectRef {
        id: [0xfe; 16],
        len: 70_000,
    };
    sim.env().fs.create_dir_all(Path::new("/db")).unwrap();
    for (number, order) in [(1, SortOrder::Key), (2, SortOrder::Hash { seed: 7 })] {
        let path = PathBuf::from(format!("/db/{number:06}.sst"));
        let options = SstOptions {
            order,
            ..SstOptions::default()
        };
        let identity = SstIdentity {
            keyspace: 1,
            file_number: number,
            identity: [number as u8; 16],
            replaces: Vec::new(),
        };
        let entries = [
            ("film", 9, EntryValue::Object(&big)),
            ("film", 4, EntryValue::Object(&other)),
            ("gone", 5, EntryValue::Tombstone),
            ("picture", 6, EntryValue::Object(&other)),
            ("text", 7, EntryValue::Put(b"words")),
        ];
        let mut room = SortKeyBuffer::default();
        let mut sorted: Vec<_> = entries
            .into_iter()
            .map(|(key, seq, value)| {
                let key = key.as_bytes();
                (
                    order.sort_key(key, order.hash(key), &mut room).to_vec(),
                    seq,
                    value,
                )
            })
            .collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        let rows = sorted.iter().map(|(key, seq, value)| (&key[..], *seq, *value));
        let file = sim.env().fs.create(&path).unwrap();
        write_sorted(file, &path, &options, identity, rows).unwrap();
    }
    write_out(&sim)
}

/// A database with values in packs, one of which is sealed. Two keys share a value, nobody refers to one object any more, and one is in the log only.
pub(crate) fn large() -> Database {
    let sim = SimEnv::new(22);
    let db = Options::new().env(sim.env()).open("/db").unwrap();
    let options = KeyspaceOptions::new().object_threshold(Some(1000));
    let photos = db.keyspace_with("photos", options).unwrap();
    photos.put("cat", noise(5000)).unwrap();
    photos.put("same cat", noise(5000)).unwrap();
    photos.put("dog", noise(6000)).unwrap();
    photos.put("text", "few words").unwrap();
    photos.put_reader("film", &noise(1_200_000)[..]).unwrap();
    db.flush().unwrap();
    photos.put("dog", noise(7000)).unwrap();
    db.flush().unwrap();
    photos.compact_range::<&[u8], _>(..).unwrap();
    photos.put("bird", noise(8000)).unwrap();
    db.close().unwrap();
    write_out(&sim)
}

fn build() -> (SimEnv, Db) {
    let sim = SimEnv::new(20);
    let db = Options::new().env(sim.env()).open("/db").unwrap();
    let users = db.keyspace("users").unwrap();
    let options = KeyspaceOptions::new().compression(Compression::None);
    let photos = db.keyspace_with("photos", options).unwrap();
    for i in 0..40u32 {
        users
            .put(
                format!("user-{i:03}"),
                format!("the person of number {i}, of whom little is known"),
            )
            .unwrap();
    }
    users.put("user-007", "bond").unwrap();
    photos.put("cat", vec![0xca; 6000]).unwrap();
    db.flush().unwrap();
    users.delete("user-003").unwrap();
    users.put("user-007", "James Bond, whose name is Bond").unwrap();
    db.flush().unwrap();
    users.compact_range::<&[u8], _>(..).unwrap();
    users.delete("user-011").unwrap();
    users.put("user-012", "twelve").unwrap();
    photos.put("dog", "woof").unwrap();
    db.flush().unwrap();
    let mut batch = db.batch();
    batch.put(&users, "user-007", "007");
    batch.put(&photos, "fox\n\u{1b}\u{fc}", "x");
    batch.delete(&photos, "cat");
    batch.commit(Durability::Sync).unwrap();
    users.put("user-999", "the last one").unwrap();
    (sim, db)
}

fn write_out(sim: &SimEnv) -> Database {
    let dir = tempfile::tempdir().unwrap();
    for path in sim.list() {
        let bytes = sim.read_file(&path).unwrap();
        std::fs::write(dir.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    Database { dir }
}
