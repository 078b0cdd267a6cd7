//! [`History`]: random operations on a database, each answer compared with the [`Oracle`]'s.
//!
//! On the simulator a history runs on one thread, background jobs included, which run whenever the history says so: the
//! seed decides everything. On a real directory the background is real too, and the answers must be the same.

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
    Access, Compression, Db, Durability, Error, Keyspace, KeyspaceOptions, Metrics, Options, Range, Slice,
    Snapshot,
};

use crate::coverage::Coverage;
use crate::oracle::{Bounds, Entries, Oracle, Time, Value};
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
    sync_interval: Option<Duration>,
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
        Options::new()
            .write_buffer_size(self.limits.write_buffer_size)
            .max_log_size(self.limits.max_log_size)
            .max_file_size(self.limits.max_file_size)
            .manifest_roll_size(self.limits.manifest_roll_size)
            .cache_size(self.limits.cache_size)
            .background_threads(self.limits.threads)
            .sync_interval(self.limits.sync_interval)
            .access(access)
            .env(self.env())
    }

    fn open(&mut self) -> Open {
        let options = self.options();
        trace!(self, "open");
        self.dropped_in_session = false;
        let db = options.open(&self.dir).expect("opens");
        assert_eq!(db.metrics().torn_log_bytes, 0, "nothing was torn");
        assert_eq!(
            db.snapshot().seq(),
            self.oracle.now,
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

    /// Ends a session in order, or by dropping everything.
    fn end(&mut self, session: Open, close: bool) {
        trace!(self, "close {close}");
        self.coverage.note_session(&session.db.metrics());
        let Session {
            running,
            held,
            keyspaces,
            db,
            first_files,
            ..
        } = ManuallyDrop::into_inner(session);
        drop((running, held, keyspaces));
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
        self.coverage.note_session(&session.db.metrics());
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
            compare(keyspace.iter(), self.oracle.stores[*id].all(self.oracle.now));
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

/// One operation after the other.
impl History {
    fn operate(&mut self, mut session: Open) -> Open {
        if session.keyspaces.is_empty() {
            self.create(&mut session);
        }
        match self.rng.below(1000) {
            0..230 => self.put(&session, Durability::Buffered),
            230..250 => self.put(&session, Durability::Sync),
            250..310 => self.delete(&session),
            310..320 => self.delete_run(&session),
            320..390 => self.batch(&session),
            390..480 => self.get(&session),
            480..510 => self.ends(&session),
            510..560 => self.range(&session),
            560..580 => self.keys(&session),
            580..600 => self.take_snapshot(&mut session),
            600..640 => self.check_snapshot(&session),
            640..652 => self.drop_snapshot(&mut session),
            652..672 => self.begin_range(&mut session),
            672..740 => self.step_range(&mut session),
            740..750 => self.drop_range(&mut session),
            750..756 => self.create(&mut session),
            756..760 => self.drop_keyspace(&mut session),
            760..775 => session.db.flush().expect("flushes"),
            775..781 => self.compact_all(&session),
            781..790 => self.compact_part(&session),
            790..796 => session.db.sync().expect("syncs"),
            796..800 => session.db.wait_for_background().expect("settles"),
            800..815 => self.metrics(&session),
            815..819 => {
                self.end(session, true);
                return self.open();
            }
            819..822 => {
                self.end(session, false);
                return self.open();
            }
            822..827 => return self.kill(session),
            827..830 => self.read_only_beside(&session),
            830..832 => {
                self.end(session, true);
                self.read_only(true);
                return self.open();
            }
            _ => self.background(),
        }
        session
    }

    fn background(&mut self) {
        if let World::Sim(sim) = &self.world {
            for _ in 0..self.rng.between(1, 3) {
                if sim.run_one() {
                    self.coverage.jobs += 1;
                }
            }
            if self.rng.one_in(8) {
                sim.advance(Duration::from_millis(self.rng.between(1, 100)));
            }
        }
    }

    fn any_keyspace<'a>(&mut self, session: &'a Session) -> (usize, &'a Keyspace) {
        // The first gets most of the writes, so that it grows deep.
        let upto = 1 + self.rng.below(session.keyspaces.len() as u64);
        let (id, keyspace) = &session.keyspaces[self.rng.below(upto) as usize];
        (*id, keyspace)
    }

    fn put(&mut self, session: &Session, durability: Durability) {
        let (id, keyspace) = self.any_keyspace(session);
        let (key, value) = (self.keys.any(&mut self.rng), self.values.any(&mut self.rng));
        trace!(
            self,
            "{} put {id} {} {}",
            self.oracle.now + 1,
            brief(&key),
            brief(&value)
        );
        keyspace.put_with(&key, &value, durability).expect("writes");
        self.oracle.write(id, &key, Some(value));
    }

    fn delete(&mut self, session: &Session) {
        let (id, keyspace) = self.any_keyspace(session);
        let key = self.keys.near(&mut self.rng);
        trace!(self, "{} delete {id} {}", self.oracle.now + 1, brief(&key));
        keyspace.delete(&key).expect("deletes");
        self.oracle.write(id, &key, None);
    }

    /// Deletes what a range gives, while the range is open.
    fn delete_run(&mut self, session: &Session) {
        let (id, keyspace) = self.any_keyspace(session);
        let from = self.keys.near(&mut self.rng);
        let most = self.rng.between(1, 40) as usize;
        trace!(
            self,
            "{} delete run {id} from {}",
            self.oracle.now + 1,
            brief(&from)
        );
        for key in keyspace.range(&from[..]..).keys().take(most) {
            let key = key.expect("reads");
            keyspace.delete(&key).expect("deletes");
            self.oracle.write(id, &key, None);
        }
    }

    fn batch(&mut self, session: &Session) {
        let mut batch = session.db.batch();
        let mut writes: Vec<(usize, Vec<u8>, Option<Vec<u8>>)> = Vec::new();
        for _ in 0..self.rng.below(12) {
            let (id, keyspace) = self.any_keyspace(session);
            let again = writes.last().filter(|(last, ..)| *last == id);
            let key = match again {
                Some((_, key, _)) if self.rng.one_in(3) => key.clone(),
                _ => self.keys.any(&mut self.rng),
            };
            if self.rng.one_in(4) {
                batch.delete(keyspace, &key);
                writes.push((id, key, None));
            } else {
                let value = self.values.any(&mut self.rng);
                batch.put(keyspace, &key, &value);
                writes.push((id, key, Some(value)));
            }
        }
        trace!(self, "{} batch of {}", self.oracle.now + 1, writes.len());
        assert_eq!(batch.len(), writes.len());
        if self.rng.one_in(10) {
            return drop(batch); // which writes nothing
        }
        let durability = self
            .rng
            .pick(&[Durability::Buffered, Durability::Buffered, Durability::Sync]);
        batch.commit(durability).expect("commits");
        for (id, key, value) in writes {
            trace!(
                self,
                "  {} {id} {} {:?}",
                self.oracle.now + 1,
                brief(&key),
                value.as_ref().map(|value| brief(value))
            );
            self.oracle.write(id, &key, value);
        }
    }

    fn get(&mut self, session: &Session) {
        let (id, keyspace) = self.any_keyspace(session);
        let key = self.keys.near(&mut self.rng);
        let expected = self.oracle.stores[id].get(&key, self.oracle.now);
        assert_eq!(
            keyspace.contains_key(&key).expect("reads"),
            expected.is_some(),
            "{}",
            brief(&key)
        );
        same_value(&key, keyspace.get(&key).expect("reads"), expected);
    }

    fn ends(&mut self, session: &Session) {
        let (id, keyspace) = self.any_keyspace(session);
        let all = self.oracle.stores[id].all(self.oracle.now);
        same_entry(keyspace.first().expect("reads"), all.first().cloned());
        same_entry(keyspace.last().expect("reads"), all.last().cloned());
    }

    fn bounds(&mut self) -> Bounds {
        if self.rng.one_in(4) {
            let mut prefix = self.keys.near(&mut self.rng);
            prefix.truncate(self.rng.below(prefix.len() as u64 + 1) as usize);
            return Bounds::Prefix(prefix);
        }
        let mut bound = || match self.rng.below(3) {
            0 => Bound::Included(self.keys.near(&mut self.rng)),
            1 => Bound::Excluded(self.keys.near(&mut self.rng)),
            _ => Bound::Unbounded,
        };
        Bounds::Keys(bound(), bound())
    }

    fn range(&mut self, session: &Session) {
        let (id, keyspace) = self.any_keyspace(session);
        let bounds = self.bounds();
        let expected = self.oracle.stores[id].range(&bounds, self.oracle.now);
        trace!(self, "range {id} {}", brief_bounds(&bounds));
        let range = open_range(keyspace, &bounds);
        self.read_through(range, expected);
    }

    /// Reads a range from one end, from the other, or from both until they meet.
    fn read_through(&mut self, range: Range, expected: Entries) {
        match self.rng.below(4) {
            0 => compare(range, expected),
            1 => {
                let mut expected = expected.into_iter().rev();
                for entry in range.rev() {
                    same_entry(Some(entry.expect("reads")), expected.next());
                }
                same_entry(None, expected.next());
            }
            _ => {
                let mut running = Running {
                    range,
                    left: expected.into(),
                };
                while self.step(&mut running) {}
                assert!(running.range.next().is_none());
                assert!(running.range.next_back().is_none(), "the end is final");
            }
        }
    }

    /// One step at either end; false at the end.
    fn step(&mut self, running: &mut Running) -> bool {
        let (got, expected) = if self.rng.one_in(2) {
            (running.range.next(), running.left.pop_front())
        } else {
            (running.range.next_back(), running.left.pop_back())
        };
        let more = expected.is_some();
        same_entry(got.map(|entry| entry.expect("reads")), expected);
        more
    }

    fn keys(&mut self, session: &Session) {
        let (id, keyspace) = self.any_keyspace(session);
        let bounds = self.bounds();
        let expected = self.oracle.stores[id].range(&bounds, self.oracle.now);
        let mut left: VecDeque<Vec<u8>> = expected.into_iter().map(|(key, _)| key).collect();
        let mut keys = open_range(keyspace, &bounds).keys();
        loop {
            let (got, expected) = match self.rng.below(3) {
                0 => (keys.next_back(), left.pop_back()),
                _ => (keys.next(), left.pop_front()),
            };
            let got = got.map(|key| key.expect("reads").to_vec());
            assert!(got == expected, "keys differ");
            if expected.is_none() {
                return;
            }
        }
    }
}

fn open_range(keyspace: &Keyspace, bounds: &Bounds) -> Range {
    match bounds {
        Bounds::Prefix(prefix) => keyspace.prefix(prefix),
        Bounds::Keys(lower, upper) => keyspace.range::<Vec<u8>, _>((lower.clone(), upper.clone())),
    }
}

fn open_snapshot_range(snapshot: &Snapshot, keyspace: &Keyspace, bounds: &Bounds) -> Range {
    match bounds {
        Bounds::Prefix(prefix) => snapshot.prefix(keyspace, prefix),
        Bounds::Keys(lower, upper) => snapshot.range::<Vec<u8>, _>(keyspace, (lower.clone(), upper.clone())),
    }
}

/// What is held for long.
impl History {
    fn take_snapshot(&mut self, session: &mut Session) {
        if session.held.len() >= 6 {
            return;
        }
        trace!(self, "snapshot at {}", self.oracle.now);
        session.held.push(Held {
            snapshot: session.db.snapshot(),
            time: self.oracle.now,
            keyspaces: session.keyspaces.clone(),
        });
        self.coverage.snapshots += 1;
    }

    fn check_snapshot(&mut self, session: &Session) {
        if session.held.is_empty() {
            return;
        }
        let at = self.rng.below(session.held.len() as u64) as usize;
        self.check_held(&session.held[at]);
    }

    fn check_held(&mut self, held: &Held) {
        for (id, keyspace) in &held.keyspaces {
            let key = self.keys.near(&mut self.rng);
            let expected = self.oracle.stores[*id].get(&key, held.time);
            let found = held.snapshot.contains_key(keyspace, &key).expect("reads");
            assert_eq!(found, expected.is_some(), "{}", brief(&key));
            same_value(&key, held.snapshot.get(keyspace, &key).expect("reads"), expected);
            let bounds = self.bounds();
            let expected = self.oracle.stores[*id].range(&bounds, held.time);
            let range = open_snapshot_range(&held.snapshot, keyspace, &bounds);
            self.read_through(range, expected);
            if !self.oracle.live.values().any(|live| live == id) {
                self.coverage.reads_of_dropped += 1;
            }
        }
    }

    fn drop_snapshot(&mut self, session: &mut Session) {
        if !session.held.is_empty() {
            let at = self.rng.below(session.held.len() as u64) as usize;
            trace!(self, "drop snapshot of {}", session.held[at].time);
            session.held.swap_remove(at);
        }
    }

    fn begin_range(&mut self, session: &mut Session) {
        if session.running.len() >= 4 {
            return;
        }
        let bounds = self.bounds();
        let by_snapshot = self.rng.one_in(2) && !session.held.is_empty();
        let (range, expected) = if by_snapshot {
            let held = &session.held[self.rng.below(session.held.len() as u64) as usize];
            let Some((id, keyspace)) = held.keyspaces.first() else {
                return;
            };
            let expected = self.oracle.stores[*id].range(&bounds, held.time);
            (open_snapshot_range(&held.snapshot, keyspace, &bounds), expected)
        } else {
            let (id, keyspace) = self.any_keyspace(session);
            let expected = self.oracle.stores[id].range(&bounds, self.oracle.now);
            (open_range(keyspace, &bounds), expected)
        };
        session.running.push(Running {
            range,
            left: expected.into(),
        });
    }

    fn step_range(&mut self, session: &mut Session) {
        if session.running.is_empty() {
            return;
        }
        let at = self.rng.below(session.running.len() as u64) as usize;
        let mut running = session.running.swap_remove(at);
        for _ in 0..self.rng.between(1, 5) {
            self.coverage.steps_of_held_ranges += 1;
            if !self.step(&mut running) {
                return;
            }
        }
        session.running.push(running);
    }

    fn drop_range(&mut self, session: &mut Session) {
        if !session.running.is_empty() {
            let at = self.rng.below(session.running.len() as u64) as usize;
            session.running.swap_remove(at);
        }
    }

    /// All that can be read, through everything that is open.
    fn check_everything(&mut self, session: &Session) {
        for (id, keyspace) in &session.keyspaces {
            let all = self.oracle.stores[*id].all(self.oracle.now);
            for (key, value) in &all {
                same_value(key, keyspace.get(key).expect("reads"), Some(value.clone()));
            }
            compare(keyspace.iter(), all);
        }
        for held in &session.held {
            self.check_held(held);
        }
    }
}

/// Keyspaces, and what works on all of one.
impl History {
    fn create(&mut self, session: &mut Session) {
        let name = self.rng.pick(&NAMES);
        let options = KeyspaceOptions::new()
            .compression(self.rng.pick(&[Compression::None, Compression::Lz4]))
            .filter(self.rng.one_in(2))
            .key_block_size(self.rng.pick(&[64, 256, 1024, 16 << 10]))
            .value_block_size(self.rng.pick(&[64, 256, 4096, 8 << 10]));
        let keyspace = session.db.keyspace_with(name, options.clone()).expect("creates");
        if self.oracle.live.contains_key(name) {
            return; // it keeps the options that it was created with
        }
        trace!(self, "create {name} {options:?}");
        assert_eq!(*keyspace.options(), options);
        assert_eq!(keyspace.name(), name);
        assert!(keyspace.iter().next().is_none(), "a new keyspace is empty");
        session.keyspaces.push((self.oracle.create(name), keyspace));
        self.coverage.keyspaces += 1;
    }

    fn drop_keyspace(&mut self, session: &mut Session) {
        let at = self.rng.below(session.keyspaces.len() as u64) as usize;
        let (id, keyspace) = session.keyspaces.remove(at);
        let name = self.oracle.stores[id].name.clone();
        trace!(self, "drop keyspace {name}");
        session.db.drop_keyspace(&name).expect("drops");
        self.oracle.drop_store(&name);
        self.dropped_in_session = true;
        let dropped = |error| matches!(error, Error::KeyspaceDropped { .. });
        assert!(dropped(keyspace.put("k", "v").unwrap_err()));
        assert!(dropped(keyspace.get("k").unwrap_err()));
        assert!(dropped(keyspace.iter().next().unwrap().unwrap_err()));
        self.coverage.keyspaces_dropped += 1;
    }

    fn compact_all(&mut self, session: &Session) {
        let (id, keyspace) = self.any_keyspace(session);
        trace!(self, "compact {id}");
        keyspace.compact_range::<&[u8], _>(..).expect("compacts");
        self.coverage.whole_compactions += 1;
        if !session.held.is_empty() || !session.running.is_empty() {
            return;
        }
        // Nobody sees old versions: what is left is what can be read, and no tombstone.
        let metrics = session.db.metrics();
        let of_keyspace = metrics.keyspaces.iter().find(|k| k.name == keyspace.name());
        let levels = &of_keyspace.expect("it has metrics").levels;
        let entries: u64 = levels.iter().map(|level| level.entries).sum();
        let tombstones: u64 = levels.iter().map(|level| level.tombstones).sum();
        let all = self.oracle.stores[id].all(self.oracle.now);
        assert_eq!((entries, tombstones), (all.len() as u64, 0));
        self.coverage.exact_compactions += 1;
    }

    fn compact_part(&mut self, session: &Session) {
        let (id, keyspace) = self.any_keyspace(session);
        let (from, to) = (self.keys.near(&mut self.rng), self.keys.near(&mut self.rng));
        trace!(self, "compact {id} {}..{}", brief(&from), brief(&to));
        match self.rng.below(3) {
            0 => keyspace.compact_range(&from[..]..),
            1 => keyspace.compact_range(..&to[..]),
            _ => keyspace.compact_range(&from[..]..=&to[..]),
        }
        .expect("compacts");
    }

    fn metrics(&mut self, session: &Session) {
        let metrics = session.db.metrics();
        assert_eq!(metrics.entries_written, self.oracle.now - session.opened_at);
        assert_eq!(metrics.background_failures, 0);
        assert_eq!(metrics.undeleted_files, 0);
        let open = session.held.len() + session.running.len();
        assert_eq!(metrics.open_snapshots, open as u64);
        let names: Vec<&String> = metrics.keyspaces.iter().map(|keyspace| &keyspace.name).collect();
        assert!(names.into_iter().eq(self.oracle.live.keys()));
        for level in metrics.keyspaces.iter().flat_map(|keyspace| &keyspace.levels) {
            assert!(level.tombstones <= level.entries);
            assert_eq!(level.files == 0, level.entries == 0);
        }
        assert!(metrics.cache_bytes <= self.limits.cache_size.max(1));
        assert!(!metrics.to_string().is_empty());
    }

    /// A reader beside a writer that is quiet.
    fn read_only_beside(&mut self, session: &Session) {
        if let World::Real(_) = self.world {
            session.db.wait_for_background().expect("settles");
            if self.limits.sync_interval.is_some() {
                return;
            }
        }
        self.read_only(false);
    }
}

fn brief_bounds(bounds: &Bounds) -> String {
    let end = |bound: &Bound<Vec<u8>>| match bound {
        Bound::Included(key) => format!("with {}", brief(key)),
        Bound::Excluded(key) => format!("without {}", brief(key)),
        Bound::Unbounded => "all".to_owned(),
    };
    match bounds {
        Bounds::Prefix(prefix) => format!("prefix {}", brief(prefix)),
        Bounds::Keys(lower, upper) => format!("{} to {}", end(lower), end(upper)),
    }
}
