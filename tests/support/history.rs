//! [`History`]: random operations on a database, each answer compared with the [`Oracle`]'s.
//!
//! On the simulator a history runs on one thread, background jobs included, which run whenever the history says so: the
//! seed decides everything. On a real directory the background is real too, and the answers must be the same.
//!
//! The operations are in `history_operations.rs` and, where they concern what stays open, or a whole keyspace, in
//! `history_held.rs`.

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use packstone::env::sim::{CrashStyle, SimEnv};
use packstone::env::{Env, FileSystem};
use packstone::sst::{BlockCache, Codec, Sst, SstReadOptions};
use packstone::{
    Access, Compression, Db, Durability, Error, Keyspace, KeyspaceOptions, LogMedium, Metrics, Options,
    Order, Range, Slice, Snapshot,
};

use crate::coverage::Coverage;
use crate::oracle::{Bounds, Entries, Oracle, Store, Time, Value};
use crate::support::data::{Keys, Values};
use crate::support::rng::Rng;
use crate::support::{count_suffix, file_names, highest_number};

const NAMES: [&str; 4] = ["a", "b", "c", "an idle one"];

/// Where a history takes place.
pub(crate) enum World {
    Sim(SimEnv),
    Real(tempfile::TempDir),
}

/// The options that stay the same for the length of a history.
#[derive(Clone, Debug)]
struct Limits {
    write_buffer_size: u64,
    max_log_size: u64,
    max_file_size: u64,
    manifest_roll_size: u64,
    cache_size: u64,
    threads: usize,
    memory_limit: u64,
    compaction_rate_limit: Option<u64>,
    sync_interval: Option<Duration>,
    pack_size: u64,
    /// Half of the histories have none, and grow deeper.
    objects: bool,
}

impl Limits {
    fn draw(rng: &mut Rng) -> Limits {
        Limits {
            write_buffer_size: rng.pick(&[4, 24, 32, 48, 64, 128]) << 10,
            max_log_size: rng.pick(&[4, 16, 64, 64, 256, 1024]) << 10,
            max_file_size: rng.pick(&[4, 4, 8, 64, 1024]) << 10,
            manifest_roll_size: rng.pick(&[1, 1, 4, 1024]) << 10,
            cache_size: rng.pick(&[0, 4 << 10, 64 << 10, 8 << 20]),
            threads: rng.pick(&[1, 2, 4]),
            // The least has room for one compaction.
            memory_limit: rng.pick(&[16 << 20, 512 << 20, 512 << 20]),
            compaction_rate_limit: rng.pick(&[None, None, Some(16 << 10), Some(1 << 20)]),
            pack_size: rng.pick(&[4, 16, 64, 1024]) << 10,
            objects: rng.one_in(2),
            sync_interval: rng.one_in(8).then(|| Duration::from_millis(rng.between(1, 50))),
        }
    }
}

/// A snapshot, and the moment that it shows.
struct Held {
    snapshot: Snapshot,
    time: Time,
    /// Keyspaces that lived then; the handles keep those readable that have been dropped since.
    keyspaces: Vec<(usize, Keyspace)>,
}

/// A range in the middle of being read, and what it has still to give.
struct Running {
    range: Range,
    left: VecDeque<(Vec<u8>, Value)>,
}

/// What is open between two openings. The order matters: ranges and snapshots before the database.
struct Session {
    running: Vec<Running>,
    held: Vec<Held>,
    keyspaces: Vec<(usize, Keyspace)>,
    db: Db,
    opened_at: Time,
    /// Numbers of manifest and log when the session began.
    first_files: (u64, u64),
}

/// A history that fails leaves its database open: closing it while the failure unwinds could only fail again.
type Open = ManuallyDrop<Session>;

pub(crate) struct History {
    rng: Rng,
    world: World,
    dir: PathBuf,
    limits: Limits,
    keys: Keys,
    values: Values,
    /// Some long ones that have been written: equal objects are stored once.
    lately: Vec<Vec<u8>>,
    oracle: Oracle,
    trace: bool,
    /// A keyspace has been dropped since the last opening.
    dropped_in_session: bool,
    pub(crate) coverage: Coverage,
}

macro_rules! trace {
    ($self:expr, $($arg:tt)*) => {
        if $self.trace {
            eprintln!($($arg)*);
        }
    };
}

#[path = "history_held.rs"]
mod held;
#[path = "history_operations.rs"]
mod operations;

/// Runs one history; panics when the database answers wrongly.
pub(crate) fn run(seed: u64, world: World, operations: u64, trace: bool) -> Coverage {
    let mut rng = Rng::new(seed);
    let dir = match &world {
        World::Sim(sim) => {
            sim.set_forgets_removed(true);
            PathBuf::from("/data/db")
        }
        World::Real(dir) => dir.path().join("db"),
    };
    let count = rng.pick(&[5, 20, 60, 200, 400]);
    let mut history = History {
        limits: Limits::draw(&mut rng),
        keys: Keys::draw(&mut rng, count),
        values: Values::draw(&mut rng),
        lately: Vec::new(),
        rng,
        world,
        dir,
        oracle: Oracle::default(),
        trace,
        dropped_in_session: false,
        coverage: Coverage::default(),
    };
    trace!(history, "{:?} {:?}", history.limits, history.values);
    let mut session = history.open();
    for _ in 0..operations {
        session = history.operate(session);
    }
    history.check_everything(&session);
    history.end(session, true);
    history.read_only(true);
    history.note_files();
    history.coverage.histories += 1;
    history.coverage.operations += operations;
    history.coverage
}

/// Opening and closing.
impl History {
    fn env(&self) -> Env {
        match &self.world {
            World::Sim(sim) => sim.env(),
            World::Real(_) => Env::real(self.limits.threads),
        }
    }

    fn fs(&self) -> Arc<dyn FileSystem> {
        self.env().fs
    }

    fn names(&self) -> Vec<String> {
        file_names(&*self.fs(), &self.dir)
    }

    fn options(&mut self) -> Options {
        let access = self.rng.pick(&[Access::Mapped, Access::Pread]);
        let limit = match &self.world {
            World::Sim(_) => self.limits.compaction_rate_limit,
            // There it would take the time that it says.
            World::Real(_) => None,
        };
        let medium = self.rng.pick(&[LogMedium::Auto, LogMedium::Plain]);
        Options::new()
            .write_buffer_size(self.limits.write_buffer_size)
            .max_log_size(self.limits.max_log_size)
            .max_file_size(self.limits.max_file_size)
            .manifest_roll_size(self.limits.manifest_roll_size)
            .cache_size(self.limits.cache_size)
            .background_threads(self.limits.threads)
            .memory_limit(self.limits.memory_limit)
            .compaction_rate_limit(limit)
            .sync_interval(self.limits.sync_interval)
            .pack_size(self.limits.pack_size)
            .access(access)
            .log_medium(medium)
            .env(self.env())
    }

    fn open(&mut self) -> Open {
        let options = self.options();
        trace!(self, "open");
        self.dropped_in_session = false;
        let db = options.open(&self.dir).expect("opens");
        assert_eq!(db.metrics().torn_log_bytes, 0, "nothing was torn");
        let seq = db.snapshot().seq();
        assert!(
            self.oracle.reopened_at(seq),
            "numbers go on where they ended, without a gap"
        );
        let names: Vec<String> = self.oracle.live.keys().cloned().collect();
        assert_eq!(db.keyspaces(), names);
        let keyspaces = self.oracle.live.iter();
        let keyspaces = keyspaces
            .map(|(name, id)| (*id, db.keyspace(name).expect("a keyspace that exists")))
            .collect();
        let files = self.names();
        if let World::Sim(_) = self.world {
            // No job has run yet: what lies there is what the opening left.
            assert_eq!(
                count_suffix(&files, ".sst"),
                sst_files(&db.metrics()),
                "leftovers are gone"
            );
        }
        ManuallyDrop::new(Session {
            running: Vec::new(),
            held: Vec::new(),
            keyspaces,
            opened_at: self.oracle.now,
            first_files: file_numbers(&files),
            db,
        })
    }

    /// REQUIRES: no collection runs on another thread, or will.
    fn note_session(&mut self, db: &Db) {
        let metrics = db.metrics();
        self.coverage.note_session(&metrics);
        // Where an object lies is a write as well.
        self.oracle.places += metrics.objects.places_written;
    }

    /// Ends a session in order, or by dropping everything.
    fn end(&mut self, session: Open, close: bool) {
        trace!(self, "close {close}");
        let Session {
            running,
            held,
            keyspaces,
            db,
            first_files,
            ..
        } = ManuallyDrop::into_inner(session);
        drop((running, held, keyspaces));
        if let World::Real(_) = self.world
            && db.metrics().objects.packs > 0
        {
            // Where objects have gone are writes of the engine's own, until the last collection has ended.
            db.wait_for_background().expect("nothing fails");
        }
        self.note_session(&db);
        if close {
            db.close().expect("closes");
        } else {
            drop(db);
        }
        let last_files = file_numbers(&self.names());
        self.coverage.manifest_rolls += last_files.0 - first_files.0;
        self.coverage.log_rotations += last_files.1 - first_files.1;
    }

    /// The process is killed: nothing that was written to the operating system is lost.
    fn kill(&mut self, session: Open) -> Open {
        let World::Sim(sim) = &self.world else {
            self.end(session, false);
            return self.open();
        };
        trace!(self, "kill");
        let sim = sim.clone();
        self.note_session(&session.db);
        self.coverage.kills += 1;
        sim.crash(CrashStyle::KeepAll);
        drop(ManuallyDrop::into_inner(session));
        self.open()
    }

    /// Reads everything through a read-only opening. REQUIRES: nobody writes meanwhile; `alone`: nobody has it open.
    fn read_only(&mut self, alone: bool) {
        trace!(self, "read-only");
        let before = self.names();
        let db = self.options().open_read_only(&self.dir).expect("opens read-only");
        for (name, id) in &self.oracle.live {
            let keyspace = db.keyspace(name).expect("a keyspace that exists");
            compare_all(&keyspace, &self.oracle.stores[*id], self.oracle.now);
            assert!(matches!(keyspace.put("k", "v"), Err(Error::ReadOnly)));
        }
        let metrics = db.metrics();
        db.close().expect("closes");
        self.coverage.read_only += 1;
        match (&self.world, alone) {
            // The writer may still be deleting what its last compaction replaced.
            (World::Real(_), false) => {}
            (_, false) => assert_eq!(self.names(), before, "a read-only opening changes nothing"),
            (_, true) => {
                assert_eq!(self.names(), before, "a read-only opening changes nothing");
                let files = count_suffix(&before, ".sst");
                let needed = sst_files(&metrics);
                // Jobs that never got to run may have held a dropped keyspace's files: the next opening removes those.
                let exact = !self.dropped_in_session;
                assert!(
                    files == needed || files > needed && !exact,
                    "closing leaves superfluous files: {files} instead of {needed}"
                );
            }
        }
    }
}

impl History {
    /// What the SSTs that are left are made of, for the proof of coverage.
    fn note_files(&mut self) {
        let fs = self.fs();
        let names = self.names();
        self.coverage.packs += count_suffix(&names, ".pack");
        for name in names.iter().filter(|name| name.ends_with(".sst")) {
            let path = self.dir.join(name);
            let options = SstReadOptions {
                access: Access::Pread,
                cache: Arc::new(BlockCache::new(0)),
            };
            let sst = Sst::open(fs.open(&path).expect("opens"), &path, &options).expect("opens");
            let has = sst.properties();
            let coverage = &mut self.coverage;
            coverage.inline_values += has.inline_count;
            coverage.small_values += has.small_count;
            coverage.medium_values += has.medium_count;
            if !has.replaces.is_empty() {
                coverage.medium_values_carried_over += has.medium_count;
            }
            coverage.tombstones += has.tombstone_count;
            coverage.numbers_zeroed += u64::from(has.max_seq == 0);
            coverage.files_of_old_versions += u64::from(has.entry_count > has.key_count);
            coverage.files_in_mid_key += u64::from(has.min_key == has.max_key && has.entry_count > 1);
            coverage.compressed_blocks += sst
                .blocks()
                .expect("has blocks")
                .iter()
                .filter(|block| block.codec != Codec::Raw)
                .count() as u64;
            coverage.files_of_many_key_blocks += u64::from(has.key_blocks.count > 1);
            coverage.files_in_hash_order += u64::from(has.order.is_hash());
        }
    }
}

fn sst_files(metrics: &Metrics) -> u64 {
    let levels = metrics.keyspaces.iter().flat_map(|keyspace| &keyspace.levels);
    levels.map(|level| level.files).sum()
}

fn file_numbers(names: &[String]) -> (u64, u64) {
    (
        highest_number(names, "MANIFEST-", ""),
        highest_number(names, "", ".log"),
    )
}

/// Compares all that a keyspace holds.
fn compare_all(keyspace: &Keyspace, store: &Store, now: Time) {
    if !store.hash_order {
        return compare(keyspace.iter(), store.all(now));
    }
    for key in store.keys() {
        same_value(key, keyspace.get(key).expect("reads"), store.get(key, now));
    }
    assert_eq!(keyspace.is_empty().expect("reads"), store.all(now).is_empty());
}

/// In hash order there is nothing to iterate over, and that is what a range says.
fn assert_refused(mut range: Range) {
    assert!(matches!(range.next(), Some(Err(Error::HashOrder { .. }))));
    assert!(range.next().is_none());
}

fn compare(range: Range, expected: Entries) {
    let mut expected = expected.into_iter();
    for entry in range {
        let entry = entry.expect("reads");
        same_entry(Some(entry), expected.next());
    }
    same_entry(None, expected.next());
}

#[track_caller]
fn same_entry(got: Option<(Slice, Slice)>, expected: Option<(Vec<u8>, Value)>) {
    match (got, expected) {
        (None, None) => {}
        (Some((key, value)), Some((expected_key, expected_value))) => {
            assert!(
                key == expected_key,
                "key {} instead of {}",
                brief(&key),
                brief(&expected_key)
            );
            assert!(
                value == *expected_value,
                "key {} has value {} instead of {}",
                brief(&key),
                brief(&value),
                brief(&expected_value)
            );
        }
        (got, expected) => panic!(
            "entry {:?} instead of {:?}",
            got.map(|(key, _)| brief(&key)),
            expected.map(|(key, _)| brief(&key))
        ),
    }
}

#[track_caller]
fn same_value(key: &[u8], got: Option<Slice>, expected: Option<Value>) {
    let same = match (&got, &expected) {
        (None, None) => true,
        (Some(got), Some(expected)) => *got == **expected,
        _ => false,
    };
    assert!(
        same,
        "key {} has {:?} instead of {:?}",
        brief(key),
        got.map(|value| brief(&value)),
        expected.map(|value| brief(&value))
    );
}

fn brief(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(24)];
    format!("{}[{}]", shown.escape_ascii(), bytes.len())
}
