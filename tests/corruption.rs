//! Damage is an error that names the file, or it is harmless. It is never a wrong value, a missing entry or a panic.
//!
//! A small database with everything in it (several levels, all value classes, a log with synced and unsynced writes) is
//! made on the simulated machine; then every byte of every file is damaged in turn, and the database opened and read.
//!
//! The one exception is written in DESIGN.md: bytes of the log behind its last marker look like a torn tail when they are
//! damaged. Then a suffix of the writes that had not been synced may be missing, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use packstone::env::sim::{CrashStyle, SimEnv};
use packstone::sst::{BlockCache, Sst, SstReadOptions};
use packstone::{
    Access, Compression, Db, Durability, Error, Keyspace, KeyspaceOptions, Options, RecoveryMode,
};

const DIR: &str = "/db";
const KEYSPACES: [&str; 2] = ["plain", "packed"];

type Entry = (Vec<u8>, Vec<u8>);
type Map = BTreeMap<Vec<u8>, Vec<u8>>;
type State = [Map; 2];
/// Names and contents of all files of the database but the lock.
type Files = BTreeMap<String, Vec<u8>>;

/// A database at rest, and what is in it.
struct Sample {
    files: Files,
    /// The states after each write of the log, oldest first; the first one is what SSTs hold alone.
    states: Vec<State>,
    /// How many of the writes in the log were synced.
    synced: usize,
    /// All keys that were ever written, and some that were not.
    keys: BTreeSet<Vec<u8>>,
    closed: bool,
}

fn mix(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn options(sim: &SimEnv) -> Options {
    Options::new()
        .write_buffer_size(256 << 10)
        .max_file_size(4 << 10)
        .max_log_size(20 << 10)
        .cache_size(64 << 10)
        .env(sim.env())
}

// ---- making a sample ----

struct Maker {
    seed: u64,
    db: Db,
    keyspaces: [Keyspace; 2],
    state: State,
    states: Vec<State>,
    keys: BTreeSet<Vec<u8>>,
}

impl Maker {
    fn put(&mut self, at: usize, key: &str, value: Vec<u8>, durability: Durability) {
        self.keyspaces[at].put_with(key, &value, durability).unwrap();
        self.state[at].insert(key.into(), value);
        self.wrote(key);
    }

    fn delete(&mut self, at: usize, key: &str, durability: Durability) {
        self.keyspaces[at].delete_with(key, durability).unwrap();
        self.state[at].remove(key.as_bytes());
        self.wrote(key);
    }

    fn batch(&mut self, key: &str, durability: Durability) {
        let mut batch = self.db.batch();
        for at in 0..2 {
            batch.put(&self.keyspaces[at], key, format!("both {at}"));
            self.state[at].insert(key.into(), format!("both {at}").into_bytes());
        }
        batch.commit(durability).unwrap();
        self.wrote(key);
    }

    fn wrote(&mut self, key: &str) {
        self.keys.insert(key.into());
        self.states.push(self.state.clone());
    }

    /// A layer of 40 entries, each `step`th key.
    fn layer(&mut self, at: usize, step: usize, round: u64) {
        for (i, n) in (0..40).map(|i| (i, i * step)) {
            let seed = mix(self.seed ^ mix(round * 1000 + n as u64));
            let len = match i % 20 {
                0 => 5,                    // inline
                1 if at == 1 => 4097 + 40, // medium
                _ => 30 + seed % 60,
            };
            // Half of a value compresses.
            let value = (0..len)
                .map(|i| {
                    if i % 2 == 0 {
                        b'.'
                    } else {
                        (seed >> (i % 8 * 8)) as u8
                    }
                })
                .collect();
            self.put(at, &format!("key {n:03}"), value, Durability::Buffered);
        }
    }
}

/// Builds the database: two levels or more, level 0 included, and a log.
fn sample(seed: u64, closed: bool) -> Sample {
    let sim = SimEnv::new(seed);
    let db = options(&sim).open(DIR).unwrap();
    // Several blocks of each kind in a file.
    let layout = KeyspaceOptions::new().key_block_size(600).value_block_size(600);
    let plain = layout.clone().compression(Compression::None);
    let keyspaces = [
        db.keyspace_with(KEYSPACES[0], plain).unwrap(),
        db.keyspace_with(KEYSPACES[1], layout).unwrap(),
    ];
    let mut maker = Maker {
        seed,
        db,
        keyspaces,
        state: State::default(),
        states: Vec::new(),
        keys: BTreeSet::from([b"absent".to_vec(), b"key 001a".to_vec(), b"zzz".to_vec()]),
    };
    for at in 0..2 {
        maker.layer(at, 4, 1);
        maker.keyspaces[at].compact_range::<&[u8], _>(..).unwrap();
        maker.layer(at, 3, 2);
        maker.delete(at, "key 008", Durability::Buffered);
    }
    maker.db.flush().unwrap();
    maker.db.wait_for_background().unwrap();
    let metrics = maker.db.metrics();
    for keyspace in &metrics.keyspaces {
        let levels = keyspace.levels.iter().filter(|level| level.files > 0).count();
        assert!(levels >= 2, "{metrics}");
    }
    // From here on it is in the log alone: in several files of it.
    maker.states = vec![maker.state.clone()];
    for n in 0..12 {
        let key = format!("key {:03}", n * 7);
        maker.put(n % 2, &key, vec![seed as u8; 500], Durability::Buffered);
        maker.batch(&format!("batch {n}"), Durability::Buffered);
    }
    maker.delete(1, "key 007", Durability::Sync);
    let mut synced = maker.states.len() - 1;
    for n in 0..8 {
        let key = format!("key {:03}", n * 5);
        maker.put(n % 2, &key, vec![n as u8; 150], Durability::Buffered);
        maker.batch(&format!("batch {n}"), Durability::Buffered);
        maker.delete(n % 2, "key 000", Durability::Buffered);
    }
    let Maker {
        db,
        keyspaces,
        states,
        keys,
        ..
    } = maker;
    if closed {
        db.close().unwrap();
        synced = states.len() - 1;
    } else {
        sim.power_off();
    }
    drop(keyspaces);
    sim.crash(CrashStyle::KeepAll);
    Sample {
        files: files(&sim),
        states,
        synced,
        keys,
        closed,
    }
}

fn files(sim: &SimEnv) -> Files {
    sim.list()
        .into_iter()
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            (name != "LOCK").then(|| (name, sim.read_file(&path).unwrap()))
        })
        .collect()
}

fn restore(files: &Files) -> SimEnv {
    let sim = SimEnv::new(1);
    for (name, bytes) in files {
        sim.write_file(Path::new(DIR).join(name), bytes).unwrap();
    }
    sim
}

// ---- judging ----

/// How a damaged database is opened and what is done with it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Way {
    access: Access,
    read_only: bool,
    /// Rewrite everything before the second reading: compaction must not launder damage.
    rewrite: bool,
    mode: RecoveryMode,
}

const WRITE: Way = Way {
    access: Access::Mapped,
    read_only: false,
    rewrite: false,
    mode: RecoveryMode::TornTail,
};
const READ: Way = Way {
    access: Access::Pread,
    read_only: true,
    rewrite: false,
    mode: RecoveryMode::TornTail,
};

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    OpenRefused,
    ReadRefused,
    SuffixLost,
    Harmless,
}

/// What damage may do besides being an error that names the file.
#[derive(Clone, Copy, PartialEq)]
enum Excuse {
    /// Nothing.
    None,
    /// A suffix of the writes behind this many of the log may be missing.
    LostBehind(usize),
}

impl Sample {
    fn names(&self, end: &str) -> Vec<String> {
        self.files
            .keys()
            .filter(|name| name.contains(end))
            .cloned()
            .collect()
    }

    /// What may be missing after damage to a byte of `name`.
    fn excuse(&self, name: &str) -> Excuse {
        if name.ends_with(".log") && !self.closed {
            Excuse::LostBehind(self.synced)
        } else {
            Excuse::None
        }
    }

    /// Opens, reads, goes on working, reads again.
    fn try_out(&self, sim: &SimEnv, culprits: &[&str], excuse: Excuse, way: Way) -> Outcome {
        let before = files(sim);
        let options = options(sim).access(way.access).recovery_mode(way.mode);
        let opened = if way.read_only {
            options.open_read_only(DIR)
        } else {
            options.open(DIR)
        };
        let db = match opened {
            Ok(db) => db,
            Err(error) => {
                check_error(&error, culprits);
                assert!(
                    files(sim) == before,
                    "a failed open changed the directory: {error}"
                );
                return Outcome::OpenRefused;
            }
        };
        let mut outcome = self.read(&db, culprits, excuse);
        if way.read_only {
            drop(db);
            assert!(files(sim) == before, "a read-only open changed the directory");
            return outcome;
        }
        if let Err(error) = db.wait_for_background() {
            check_error(&error, culprits);
            outcome = outcome.min(Outcome::ReadRefused);
        }
        if way.rewrite {
            for name in db.keyspaces() {
                let keyspace = db.keyspace(&name).unwrap();
                if let Err(error) = keyspace.compact_range::<&[u8], _>(..) {
                    check_error(&error, culprits);
                    assert_ne!(outcome, Outcome::Harmless, "reads see nothing of: {error}");
                }
            }
            outcome = outcome.min(self.read(&db, culprits, excuse));
        }
        outcome
    }

    /// Reads everything in every way: the right answers or errors that name the culprit.
    fn read(&self, db: &Db, culprits: &[&str], excuse: Excuse) -> Outcome {
        let mut seen = Seen::default();
        for (at, name) in KEYSPACES.into_iter().enumerate() {
            let keyspace = db.keyspace(name).unwrap();
            seen.look(at, &keyspace, &self.keys);
        }
        for error in &seen.errors {
            check_error(error, culprits);
        }
        let newest = self.states.len() - 1;
        let oldest = match excuse {
            Excuse::None => newest,
            Excuse::LostBehind(synced) => synced,
        };
        let in_force = (oldest..=newest)
            .rev()
            .find(|at| seen.difference(&self.states[*at]).is_none());
        match in_force {
            None => panic!("wrong answer: {}", seen.difference(&self.states[newest]).unwrap()),
            Some(_) if !seen.errors.is_empty() => Outcome::ReadRefused,
            Some(at) if at == newest => Outcome::Harmless,
            Some(_) => Outcome::SuffixLost,
        }
    }
}

/// All answers that reading a database gave.
#[derive(Default)]
struct Seen {
    /// By keyspace: what a scan gave, and whether it came to its end.
    forward: [(Vec<Entry>, bool); 2],
    backward: [(Vec<Vec<u8>>, bool); 2],
    gets: Vec<(usize, Vec<u8>, Option<Vec<u8>>)>,
    errors: Vec<Error>,
}

impl Seen {
    fn look(&mut self, at: usize, keyspace: &Keyspace, keys: &BTreeSet<Vec<u8>>) {
        let (found, whole) = &mut self.forward[at];
        *whole = true;
        for entry in keyspace.iter() {
            match entry {
                Ok((key, value)) => found.push((key.to_vec(), value.to_vec())),
                Err(error) => (*whole, _) = (false, self.errors.push(error)),
            }
        }
        let (found, whole) = &mut self.backward[at];
        *whole = true;
        for key in keyspace.iter().keys().rev() {
            match key {
                Ok(key) => found.push(key.to_vec()),
                Err(error) => (*whole, _) = (false, self.errors.push(error)),
            }
        }
        for key in keys {
            match keyspace.get(key) {
                Ok(value) => self
                    .gets
                    .push((at, key.clone(), value.map(|value| value.to_vec()))),
                Err(error) => self.errors.push(error),
            }
        }
    }

    /// The first answer that is not right in that state.
    fn difference(&self, state: &State) -> Option<String> {
        let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        for (at, map) in state.iter().enumerate() {
            let (found, whole) = &self.forward[at];
            if *whole && found.len() < map.len() {
                return Some(format!("{} of {} entries scanned", found.len(), map.len()));
            }
            let mut wanted = map.iter();
            for (key, value) in found {
                if wanted.next() != Some((key, value)) {
                    return Some(format!("{} is wrong in a scan", text(key)));
                }
            }
            let (found, whole) = &self.backward[at];
            if *whole && found.len() < map.len() {
                return Some(format!("{} of {} keys scanned back", found.len(), map.len()));
            }
            let mut wanted = map.keys().rev();
            for key in found {
                if wanted.next() != Some(key) {
                    return Some(format!("{} is wrong in a backward scan", text(key)));
                }
            }
        }
        let wrong = self
            .gets
            .iter()
            .find(|(at, key, value)| state[*at].get(key) != value.as_ref())?;
        Some(format!(
            "get of {} in keyspace {}: {:?}",
            text(&wrong.1),
            wrong.0,
            wrong.2
        ))
    }
}

/// An error about damage names one of the culprits, and where in it, in one readable line.
fn check_error(error: &Error, culprits: &[&str]) {
    let path = match error {
        Error::Corruption { path, .. }
        | Error::NewerFormat { path, .. }
        | Error::NotADatabase { path, .. }
        | Error::Io { path, .. } => path,
        Error::Background { cause } => return check_error(cause, culprits),
        _ => panic!("not an error about damage: {error:?}"),
    };
    let text = error.to_string();
    assert!(
        culprits.iter().any(|culprit| text.contains(culprit)),
        "expected one of {culprits:?} to be named: {text}"
    );
    assert!(path.starts_with(DIR) && !text.contains('\n'), "{text}");
}

/// Runs the cases, and reports all that fail by name.
struct Cases {
    outcomes: BTreeMap<Outcome, u64>,
    failed: Vec<String>,
}

impl Cases {
    fn new() -> Self {
        Cases {
            outcomes: BTreeMap::new(),
            failed: Vec::new(),
        }
    }

    fn run(&mut self, name: impl FnOnce() -> String, case: impl FnOnce() -> Outcome) {
        match catch_unwind(AssertUnwindSafe(case)) {
            Ok(outcome) => *self.outcomes.entry(outcome).or_default() += 1,
            Err(cause) => {
                let said = cause.downcast_ref::<String>().cloned();
                let said = said.or_else(|| cause.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                self.failed
                    .push(format!("{}: {}", name(), said.unwrap_or_default()));
            }
        }
    }

    fn finish(self, title: &str) {
        println!("{title}: {:?}", self.outcomes);
        let first: Vec<_> = self.failed.iter().take(40).collect();
        assert!(
            first.is_empty(),
            "{title}: {} cases failed: {first:#?}",
            self.failed.len()
        );
    }

    fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(&outcome).copied().unwrap_or(0)
    }
}

// ---- flipped bits ----

fn flip_every_byte(
    sample: &Sample,
    end: &str,
    bits: impl Fn(u64) -> Vec<u8>,
    way: impl Fn(u64) -> Way,
) -> Cases {
    let mut cases = Cases::new();
    for name in sample.names(end) {
        for at in 0..sample.files[&name].len() as u64 {
            for bit in bits(at) {
                let way = way(at);
                let case = || {
                    let sim = restore(&sample.files);
                    sim.flip_bit(Path::new(DIR).join(&name), at, bit).unwrap();
                    sample.try_out(&sim, &[&name], sample.excuse(&name), way)
                };
                cases.run(|| format!("{name}, byte {at}, bit {bit}, {way:?}"), case);
            }
        }
    }
    cases
}

fn random_bit(at: u64) -> Vec<u8> {
    vec![(mix(at) % 8) as u8]
}

#[test]
fn the_sample_is_whole() {
    for closed in [false, true] {
        let sample = sample(7, closed);
        for (name, bytes) in &sample.files {
            println!("{name}: {} bytes", bytes.len());
        }
        for way in [
            WRITE,
            READ,
            Way {
                rewrite: true,
                ..WRITE
            },
        ] {
            let outcome = sample.try_out(&restore(&sample.files), &[], Excuse::None, way);
            assert_eq!(outcome, Outcome::Harmless);
        }
    }
}

#[test]
fn every_flipped_byte_of_an_sst_is_noticed_when_mapped() {
    let sample = sample(7, false);
    let cases = flip_every_byte(&sample, ".sst", random_bit, |at| Way {
        rewrite: at % 8 == 0,
        ..WRITE
    });
    // Harmless is what nobody reads any more: a block all of whose values have been replaced.
    assert!(cases.count(Outcome::Harmless) < cases.count(Outcome::ReadRefused) / 10);
    cases.finish("SSTs, mapped");
}

#[test]
fn every_flipped_byte_of_an_sst_is_noticed_when_read_by_pread() {
    let sample = sample(8, true);
    let cases = flip_every_byte(&sample, ".sst", random_bit, |_| READ);
    assert!(cases.count(Outcome::Harmless) < cases.count(Outcome::ReadRefused) / 10);
    cases.finish("SSTs, pread");
}

#[test]
fn every_flipped_byte_of_an_sst_is_found_by_its_verification() {
    let sample = sample(7, true);
    let mut cases = Cases::new();
    for name in sample.names(".sst") {
        let path = Path::new(DIR).join(&name);
        let sim = restore(&sample.files);
        for at in 0..sample.files[&name].len() as u64 {
            for access in [Access::Mapped, Access::Pread] {
                let case = || {
                    sim.flip_bit(&path, at, (mix(at) % 8) as u8).unwrap();
                    let options = SstReadOptions {
                        access,
                        cache: Arc::new(BlockCache::new(0)),
                    };
                    let file = sim.env().fs.open(&path).unwrap();
                    let found = Sst::open(file, &path, &options).and_then(|sst| sst.verify());
                    sim.flip_bit(&path, at, (mix(at) % 8) as u8).unwrap();
                    check_error(&found.unwrap_err(), &[&name]);
                    Outcome::ReadRefused
                };
                cases.run(|| format!("{name}, byte {at}, {access:?}"), case);
            }
        }
    }
    cases.finish("SSTs, verified");
}

#[test]
fn every_flipped_bit_of_current_is_noticed() {
    let sample = sample(7, false);
    for way in [WRITE, READ] {
        let cases = flip_every_byte(&sample, "CURRENT", |_| (0..8).collect(), |_| way);
        assert_eq!(cases.outcomes.keys().collect::<Vec<_>>(), [&Outcome::OpenRefused]);
        cases.finish("CURRENT");
    }
}

#[test]
fn every_flipped_byte_of_a_manifest_is_noticed_or_costs_nothing() {
    for closed in [false, true] {
        let sample = sample(7, closed);
        let cases = flip_every_byte(&sample, "MANIFEST", random_bit, |at| {
            if at % 2 == 0 { WRITE } else { READ }
        });
        assert!(cases.count(Outcome::OpenRefused) > 100);
        cases.finish("manifest");
    }
}

#[test]
fn every_flipped_byte_of_a_log_is_noticed_or_costs_unsynced_writes_only() {
    for closed in [false, true] {
        let sample = sample(7, closed);
        let cases = flip_every_byte(&sample, ".log", random_bit, |at| {
            if at % 2 == 0 { WRITE } else { READ }
        });
        assert!(cases.count(Outcome::OpenRefused) > 100);
        // A closed log is sealed: nothing in it may pass as a torn tail, except the seal itself.
        assert!(cases.count(Outcome::SuffixLost) > 0 || closed);
        cases.finish("log");
    }
}

#[test]
fn going_on_at_the_users_word_gives_a_state_that_once_was() {
    let sample = sample(7, true);
    let mut cases = Cases::new();
    for name in sample.names(".log") {
        for at in (0..sample.files[&name].len() as u64).step_by(3) {
            let case = || {
                let sim = restore(&sample.files);
                sim.flip_bit(Path::new(DIR).join(&name), at, (mix(at) % 8) as u8)
                    .unwrap();
                let way = Way {
                    mode: RecoveryMode::PointInTime,
                    ..WRITE
                };
                sample.try_out(&sim, &[&name], Excuse::LostBehind(0), way)
            };
            cases.run(|| format!("{name}, byte {at}"), case);
        }
    }
    assert!(cases.count(Outcome::SuffixLost) > 100);
    cases.finish("point in time");
}

// ---- files cut, lost, exchanged ----

/// Opens with `name` holding `bytes`, for writing and for reading.
fn replace(sample: &Sample, cases: &mut Cases, name: &str, what: &str, bytes: &[u8], excuse: Excuse) {
    for way in [WRITE, READ] {
        let case = || {
            let sim = restore(&sample.files);
            sim.write_file(Path::new(DIR).join(name), bytes).unwrap();
            sample.try_out(&sim, &sample.culprits(name), excuse, way)
        };
        cases.run(|| format!("{name} {what}, {way:?}"), case);
    }
}

impl Sample {
    /// The end of a file takes its markers with it, and what they prove. Where a log ends is in the manifest only once
    /// the database has been closed, so until then a suffix of the log may be missing.
    fn excuse_of_a_cut(&self, name: &str) -> Excuse {
        if name.ends_with(".log") && !self.closed {
            Excuse::LostBehind(0)
        } else {
            Excuse::None
        }
    }

    /// The same for a file that is gone altogether: until it is closed, the newest log may be unknown to the manifest.
    fn excuse_of_a_loss(&self, name: &str) -> Excuse {
        let newest = self.names(".log").pop();
        if newest.is_some_and(|newest| newest == name) {
            self.excuse_of_a_cut(name)
        } else {
            Excuse::None
        }
    }

    /// Who may be named: the file; or where an old state of the manifest is whole in itself, a file that does not fit it.
    fn culprits<'a>(&'a self, name: &'a str) -> Vec<&'a str> {
        if name.starts_with("MANIFEST") {
            vec![DIR]
        } else {
            vec![name]
        }
    }
}

#[test]
fn a_file_cut_short_is_noticed_or_costs_a_suffix_of_the_log() {
    for closed in [false, true] {
        let sample = sample(7, closed);
        let mut cases = Cases::new();
        for (name, bytes) in &sample.files {
            let step = if name.ends_with(".sst") { 13 } else { 1 };
            for len in (0..bytes.len()).step_by(step) {
                replace(
                    &sample,
                    &mut cases,
                    name,
                    &format!("cut to {len}"),
                    &bytes[..len],
                    sample.excuse_of_a_cut(name),
                );
            }
        }
        cases.finish("cut");
    }
}

#[test]
fn a_file_with_something_behind_it_is_noticed_or_read_as_it_was() {
    for closed in [false, true] {
        let sample = sample(7, closed);
        let mut cases = Cases::new();
        for (name, bytes) in &sample.files {
            for (what, more) in [
                ("and zeros", vec![0; 700]),
                ("and one byte", vec![1]),
                ("and garbage", (0..700u32).map(|n| mix(n.into()) as u8).collect()),
                ("and itself", bytes.clone()),
            ] {
                let longer = [bytes.clone(), more].concat();
                replace(&sample, &mut cases, name, what, &longer, Excuse::None);
            }
        }
        cases.finish("longer");
    }
}

#[test]
fn a_file_that_is_lost_empty_or_a_directory_is_noticed() {
    for closed in [false, true] {
        let sample = sample(7, closed);
        let mut cases = Cases::new();
        for name in sample.files.keys() {
            let excuse = sample.excuse_of_a_loss(name);
            replace(&sample, &mut cases, name, "emptied", &[], excuse);
            replace(
                &sample,
                &mut cases,
                name,
                "zeroed",
                &vec![0; sample.files[name].len()],
                excuse,
            );
            let path = PathBuf::from(DIR).join(name);
            for (what, directory) in [("removed", false), ("a directory", true)] {
                for way in [WRITE, READ] {
                    let case = || {
                        let sim = restore(&sample.files);
                        sim.remove_file(&path).unwrap();
                        if directory {
                            sim.env().fs.create_dir_all(&path).unwrap();
                        }
                        sample.try_out(&sim, &[name], excuse, way)
                    };
                    cases.run(|| format!("{name} {what}, {way:?}"), case);
                }
            }
        }
        let harmless = cases.count(Outcome::Harmless);
        cases.finish("lost");
        assert_eq!(harmless, 0);
    }
}

#[test]
fn files_that_changed_places_are_noticed() {
    let (here, there) = (sample(7, true), sample(9, true));
    let mut cases = Cases::new();
    // Within one database: every two SSTs, every two logs.
    for (name, bytes) in &here.files {
        for (other, others) in here.files.iter().filter(|(other, _)| *other > name) {
            for way in [WRITE, READ] {
                let case = || {
                    let sim = restore(&here.files);
                    sim.write_file(Path::new(DIR).join(name), others).unwrap();
                    sim.write_file(Path::new(DIR).join(other), bytes).unwrap();
                    here.try_out(&sim, &[name, other], Excuse::None, way)
                };
                cases.run(|| format!("{name} and {other} exchanged"), case);
            }
        }
    }
    // From another database, which was made in the same way.
    for name in here.files.keys().filter(|name| *name != "CURRENT") {
        if let Some(bytes) = there.files.get(name) {
            for way in [WRITE, READ] {
                let case = || {
                    let sim = restore(&here.files);
                    sim.write_file(Path::new(DIR).join(name), bytes).unwrap();
                    here.try_out(&sim, &here.culprits(name), Excuse::None, way)
                };
                cases.run(|| format!("{name} of another database"), case);
            }
        }
    }
    let harmless = cases.count(Outcome::Harmless);
    cases.finish("exchanged");
    assert_eq!(harmless, 0);
}
