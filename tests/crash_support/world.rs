//! [`World`]: a simulated machine with one database on it, and the oracle beside it.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::Duration;

use packstone::env::sim::{Call, CrashStyle, SimEnv};
use packstone::{Access, Db, Durability, Error, Keyspace, Options, Result, Snapshot};

use super::oracle::{Content, Loss, Map, Op, Oracle, first_difference};
use super::{History, Item, Step};

pub const DIR: &str = "/db";

/// A check has failed: what was expected and what was found.
pub type Checked = std::result::Result<(), String>;

/// Why a history stopped.
#[derive(Debug)]
pub enum Stop {
    /// A call returned an error. In a history without faults that is a failure of the test.
    Error(Error),
    /// The database broke a promise.
    Broken(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Error(error)
    }
}

impl From<String> for Stop {
    fn from(what: String) -> Self {
        Stop::Broken(what)
    }
}

pub struct World {
    pub sim: SimEnv,
    pub oracle: Oracle,
    history: History,
    // In this order: handles and snapshots go before the database.
    snapshots: VecDeque<(Snapshot, Content)>,
    keyspaces: BTreeMap<String, Keyspace>,
    db: Option<Db>,
    /// Makes every value different.
    stamp: u64,
}

pub fn key(number: u32) -> Vec<u8> {
    format!("key-{number:06}").into_bytes()
}

impl World {
    pub fn new(history: &History, seed: u64) -> World {
        World {
            sim: SimEnv::new(seed),
            oracle: Oracle::default(),
            history: history.clone(),
            snapshots: VecDeque::new(),
            keyspaces: BTreeMap::new(),
            db: None,
            stamp: 0,
        }
    }

    fn options(&self) -> Options {
        let history = &self.history;
        let (access, cache) = if history.read_calls {
            (Access::Pread, 0)
        } else {
            (Access::Mapped, 64 << 10)
        };
        Options::new()
            .access(access)
            .cache_size(cache)
            .write_buffer_size(history.write_buffer_size)
            .max_log_size(history.max_log_size)
            .max_file_size(history.max_file_size)
            .manifest_roll_size(history.manifest_roll_size)
            .sync_interval(history.sync_interval_ms.map(Duration::from_millis))
            .env(self.sim.env())
    }

    pub fn db(&self) -> &Db {
        self.db.as_ref().expect("the history opened it")
    }

    pub fn is_open(&self) -> bool {
        self.db.is_some()
    }

    pub fn keyspace(&self, name: &str) -> &Keyspace {
        &self.keyspaces[name]
    }

    /// Lets go of everything, as a program that ends.
    pub fn drop_all(&mut self) {
        self.snapshots.clear();
        self.keyspaces.clear();
        self.db = None;
    }

    /// Opens the database and checks what it holds.
    pub fn open(&mut self, loss: Loss) -> Result<(), Stop> {
        let db = self.options().open(DIR)?;
        for name in db.keyspaces() {
            self.keyspaces.insert(name.clone(), db.keyspace(&name)?);
        }
        self.db = Some(db);
        let content = self.content()?;
        self.oracle.recovered(&content, loss)?;
        Ok(())
    }

    /// All that readers see.
    pub fn content(&self) -> Result<Content> {
        let mut content = Content::new();
        for (name, keyspace) in &self.keyspaces {
            content.insert(name.clone(), read_all(keyspace.iter())?);
        }
        Ok(content)
    }

    /// Compares what readers see with the oracle.
    pub fn check_visible(&self) -> Result<(), Stop> {
        let found = self.content()?;
        let wanted = self.oracle.visible();
        compare("what readers see", &wanted, &found)?;
        for (name, map) in &wanted {
            let keyspace = self.keyspace(name);
            for (at, (key, value)) in map.iter().enumerate() {
                if at % 7 == 0 && keyspace.get(key)?.as_deref() != Some(&value[..]) {
                    return Err(Stop::Broken(format!(
                        "get of {} in {name:?} differs from the iterator",
                        key.escape_ascii()
                    )));
                }
            }
        }
        Ok(())
    }

    pub fn run(&mut self, steps: &[Step]) -> Result<(), Stop> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    pub fn step(&mut self, step: &Step) -> Result<(), Stop> {
        match step {
            Step::Keyspace(name) => self.create(name)?,
            Step::Drop(name) => self.drop_keyspace(name)?,
            Step::Write(items, sync) => self.write(items, *sync)?,
            Step::Fill {
                keyspace,
                from,
                count,
                len,
            } => {
                for number in *from..*from + *count {
                    self.write(&[(keyspace, number, Some(*len))], false)?;
                }
            }
            Step::Sync => {
                self.db().sync()?;
                self.oracle.synced();
            }
            Step::Flush => {
                let before = self.db().clone();
                before.flush()?;
            }
            Step::Compact(name) => {
                let keyspace = self.keyspace(name).clone();
                keyspace.compact_range::<&[u8], _>(..)?;
            }
            Step::RunOne => {
                self.sim.run_one();
            }
            Step::RunIdle => self.sim.run_until_idle(),
            Step::Settle => self.db().wait_for_background()?,
            Step::Advance(ms) => {
                self.sim.advance(Duration::from_millis(*ms));
                self.sim.run_until_idle();
                self.check_background_sync(*ms)?;
            }
            Step::TakeSnapshot => {
                let snapshot = self.db().snapshot();
                self.snapshots.push_back((snapshot, self.oracle.visible()));
            }
            Step::Look => self.check_visible()?,
            Step::CheckSnapshot => self.check_snapshot()?,
            Step::Reopen => {
                self.snapshots.clear();
                self.keyspaces.clear();
                if let Some(db) = self.db.take() {
                    db.close()?;
                    self.oracle.synced();
                }
                self.open(Loss::Nothing)?;
            }
            Step::DropAndReopen => self.reopen_after(None)?,
            Step::Kill => self.reopen_after(Some(CrashStyle::KeepAll))?,
            Step::PowerLoss => self.reopen_after(Some(CrashStyle::KeepNothing))?,
            Step::PowerLossRandom => self.reopen_after(Some(CrashStyle::Random))?,
        }
        Ok(())
    }

    /// After the sync interval everything is synced: asking for it costs no I/O.
    fn check_background_sync(&mut self, ms: u64) -> Result<(), Stop> {
        if self.history.sync_interval_ms.is_none_or(|interval| interval > ms) {
            return Ok(());
        }
        let before = self.sim.io_count();
        self.db().sync()?;
        self.oracle.synced();
        if self.sim.io_count() == before {
            Ok(())
        } else {
            Err(Stop::Broken(
                "the background sync has left something unsynced".to_owned(),
            ))
        }
    }

    /// `None`: the handles are dropped, and the machine goes on.
    fn reopen_after(&mut self, crash: Option<CrashStyle>) -> Result<(), Stop> {
        self.drop_after(crash);
        self.open(if matches!(crash, None | Some(CrashStyle::KeepAll)) {
            Loss::Nothing
        } else {
            Loss::Unsynced
        })
    }

    fn drop_after(&mut self, crash: Option<CrashStyle>) {
        if let Some(style) = crash {
            // The power goes first: dropping the handles would close the database in order.
            self.sim.power_off();
            self.drop_all();
            self.sim.crash(style);
        } else {
            self.drop_all();
        }
    }

    /// The machine stops here and now.
    pub fn crash(&mut self, style: CrashStyle) {
        self.drop_after(Some(style));
    }

    fn create(&mut self, name: &str) -> Result<()> {
        match self.db().keyspace(name) {
            Ok(keyspace) => {
                self.oracle.created(name);
                self.keyspaces.insert(name.to_owned(), keyspace);
                Ok(())
            }
            Err(error) => {
                self.oracle.creation_failed(name);
                Err(error)
            }
        }
    }

    fn drop_keyspace(&mut self, name: &str) -> Result<()> {
        match self.db().drop_keyspace(name) {
            Ok(()) => {
                self.oracle.dropped(name);
                self.keyspaces.remove(name);
                Ok(())
            }
            Err(error) => {
                self.oracle.drop_failed(name);
                Err(error)
            }
        }
    }

    fn value(&mut self, len: usize) -> Vec<u8> {
        self.stamp += 1;
        let stamp = format!("{}:", self.stamp);
        // Half of it repeats, so that some blocks are compressed and others not.
        let mut state = self.stamp.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut value: Vec<u8> = stamp.bytes().take(len).collect();
        while value.len() < len {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            value.push(if self.stamp.is_multiple_of(2) {
                (state >> 56) as u8
            } else {
                b'x'
            });
        }
        value
    }

    pub fn write(&mut self, items: &[Item], sync: bool) -> Result<()> {
        let mut batch = self.db().batch();
        let mut ops: Vec<Op> = Vec::new();
        for (name, number, len) in items {
            let value = len.map(|len| self.value(len));
            match &value {
                Some(value) => batch.put(&self.keyspaces[*name], key(*number), value),
                None => batch.delete(&self.keyspaces[*name], key(*number)),
            }
            ops.push(self.oracle.op(name, key(*number), value));
        }
        let durability = if sync {
            Durability::Sync
        } else {
            Durability::Buffered
        };
        let result = batch.commit(durability);
        self.oracle.commit(ops, result.is_ok(), sync);
        result
    }

    fn check_snapshot(&mut self) -> Result<(), Stop> {
        let Some((snapshot, wanted)) = self.snapshots.pop_front() else {
            return Ok(());
        };
        for (name, wanted) in &wanted {
            // A keyspace that was dropped meanwhile has no handle here any more.
            let Some(keyspace) = self.keyspaces.get(name) else {
                continue;
            };
            let found = read_all(snapshot.iter(keyspace))?;
            if found != *wanted && !found.is_empty() {
                return Err(Stop::Broken(format!(
                    "a snapshot: {}",
                    first_difference(name, wanted, &found)
                )));
            }
        }
        Ok(())
    }

    /// Whether files and metrics agree: no leftover, nothing missing. REQUIRES: no snapshot is open.
    pub fn check_files(&mut self) -> Result<(), Stop> {
        self.snapshots.clear();
        self.db().wait_for_background()?;
        self.sim.run_until_idle();
        if self.sim.is_off() {
            return Ok(()); // nothing can be removed any more
        }
        let metrics = self.db().metrics();
        let counted: u64 = metrics
            .keyspaces
            .iter()
            .flat_map(|keyspace| &keyspace.levels)
            .map(|level| level.files)
            .sum();
        let names = self.names();
        let ending = |end: &str| names.iter().filter(|name| name.ends_with(end)).count() as u64;
        let manifests = names.iter().filter(|name| name.starts_with("MANIFEST-")).count() as u64;
        let known = ending(".sst") + ending(".log") + manifests + 2;
        if ending(".sst") != counted || manifests != 1 || known != names.len() as u64 {
            return Err(Stop::Broken(format!(
                "{counted} SSTs in the metrics, and these files: {names:?}"
            )));
        }
        Ok(())
    }

    /// The same; after failures, files that no edit has named may lie about until the next open.
    pub fn check_files_but_for(&mut self, leftovers: bool) -> Result<(), Stop> {
        if leftovers { Ok(()) } else { self.check_files() }
    }

    fn names(&self) -> Vec<String> {
        let in_dir = |path: &Path| path.parent() == Some(Path::new(DIR));
        let paths = self.sim.list();
        let ours = paths.iter().filter(|path| in_dir(path));
        ours.filter_map(|path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned))
            .collect()
    }

    /// The database goes on: writes, flush, compaction, no leftovers, a clean close, and all is there again.
    pub fn exercise(&mut self) -> Result<(), Stop> {
        self.check_files()?;
        self.create("exercise")?;
        for name in self.oracle.live() {
            let name: &'static str = known_name(&name);
            self.write(
                &[(name, 3, Some(30)), (name, 900, Some(5000)), (name, 5, None)],
                false,
            )?;
        }
        self.check_visible()?;
        self.step(&Step::Flush)?;
        self.check_logs()?;
        self.check_visible()?;
        for name in self.oracle.live() {
            self.step(&Step::Compact(known_name(&name)))?;
        }
        self.check_visible()?;
        self.write(&[("exercise", 1, Some(10))], true)?;
        self.step(&Step::Reopen)?;
        self.check_visible()?;
        self.check_files()
    }

    /// After everything was flushed, only the current log is left.
    fn check_logs(&self) -> Checked {
        let logs: Vec<String> = self
            .names()
            .into_iter()
            .filter(|name| name.ends_with(".log"))
            .collect();
        if logs.len() == 1 {
            Ok(())
        } else {
            Err(format!(
                "everything is flushed, and these logs are left: {logs:?}"
            ))
        }
    }
}

fn known_name(name: &str) -> &'static str {
    ["a", "b", "c", "exercise"]
        .into_iter()
        .find(|known| *known == name)
        .expect("histories use these names only")
}

fn read_all(range: packstone::Range) -> Result<Map> {
    let mut map = Map::new();
    for entry in range {
        let (key, value) = entry?;
        map.insert(key.to_vec(), value.to_vec());
    }
    Ok(map)
}

fn compare(what: &str, wanted: &Content, found: &Content) -> Checked {
    if wanted == found {
        return Ok(());
    }
    for (name, wanted) in wanted {
        match found.get(name) {
            None => return Err(format!("{what}: keyspace {name:?} is missing")),
            Some(found) if found != wanted => {
                return Err(format!("{what}: {}", first_difference(name, wanted, found)));
            }
            _ => {}
        }
    }
    Err(format!("{what}: keyspaces {:?} are too many", found.keys()))
}

/// Shows a panic's place in the history: prints `context` if the thread unwinds.
pub struct Context(pub String);

impl Drop for Context {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("\n--- {}", self.0);
        }
    }
}

/// A call as one line.
pub fn show(call: &Call) -> String {
    format!(
        "{:?} {} at {} len {}",
        call.op,
        call.path.display(),
        call.offset,
        call.len
    )
}

/// The calls of a whole run without faults: the numbers to make fail, with what each does. The first one is number 0.
pub fn trace(history: &History, seed: u64) -> Vec<Call> {
    let mut world = World::new(history, seed);
    world.sim.set_trace(true);
    let _context = Context(format!("history {}, without faults", history.name));
    match world.open(Loss::Nothing).and_then(|()| world.run(&history.steps)) {
        Ok(()) => {}
        Err(stop) => panic!("history {} without faults: {stop:?}", history.name),
    }
    world
        .check_visible()
        .unwrap_or_else(|stop| panic!("{}: {stop:?}", history.name));
    world.drop_all();
    let calls = world.sim.take_trace();
    world.sim.set_trace(false);
    calls
}
