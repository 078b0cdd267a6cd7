//! [`World`]: a simulated machine with one database on it, and the oracle beside it.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use packstone::env::sim::{Call, CrashStyle, SimEnv};
use packstone::{Access, Db, Durability, Error, Keyspace, Options, Result, Snapshot};

use super::beside::Kept;
use super::oracle::{Content, Loss, Op, Oracle};
use super::{History, Item, Reader, Step};
use crate::support::hooked::hooked;
use crate::support::packs::SealedPacks;

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
    pub(super) history: History,
    pub(super) kept: VecDeque<Kept>,
    /// Checkpoints begun.
    pub(super) made: u64,
    // In this order: handles and snapshots go before the database.
    pub(super) snapshots: VecDeque<(Snapshot, Content)>,
    pub(super) keyspaces: BTreeMap<String, Keyspace>,
    pub(super) db: Option<Db>,
    /// Makes every value different.
    stamp: u64,
    /// Contents of logs that have been there: what stale blocks of a disk may hold.
    pub(super) stale: Vec<Vec<u8>>,
    pub(super) sealed: SealedPacks,
    /// What openings have been told of that have failed since the last one that did not: an opening that reads objects may be stopped
    /// when the database is there, and nobody has looked at it.
    pub(super) owed: Loss,
}

thread_local! {
    static DONE: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
}

/// How many steps and crashes there have been on this thread.
pub fn done() -> (u64, u64) {
    DONE.get()
}

impl Drop for World {
    /// A database that is found broken is left as it is: closing it while the failure unwinds could only fail again.
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::mem::forget(std::mem::take(&mut self.snapshots));
            std::mem::forget(std::mem::take(&mut self.keyspaces));
            std::mem::forget(self.db.take());
        }
    }
}

pub fn key(number: u32) -> Vec<u8> {
    format!("key-{number:06}").into_bytes()
}

impl World {
    pub fn new(history: &History, seed: u64) -> World {
        let sim = SimEnv::new(seed);
        sim.set_forgets_removed(true);
        World {
            sim,
            oracle: Oracle::default(),
            history: history.clone(),
            kept: VecDeque::new(),
            made: 0,
            snapshots: VecDeque::new(),
            keyspaces: BTreeMap::new(),
            db: None,
            stamp: 0,
            stale: Vec::new(),
            sealed: SealedPacks::default(),
            owed: Loss::Nothing,
        }
    }

    pub(super) fn options(&self) -> Options {
        let history = &self.history;
        let (access, cache) = if history.read_calls {
            (Access::Pread, 0)
        } else {
            (Access::Mapped, 64 << 10)
        };
        Options::new()
            .access(access)
            .log_medium(history.log_medium)
            .cache_size(cache)
            .write_buffer_size(history.write_buffer_size)
            .max_log_size(history.max_log_size)
            .max_file_size(history.max_file_size)
            .manifest_roll_size(history.manifest_roll_size)
            .pack_size(history.pack_size)
            .sync_interval(history.sync_interval_ms.map(Duration::from_millis))
            .env(hooked(self.sim.env()))
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
        if loss == Loss::Unsynced {
            self.owed = loss;
        }
        self.check_sealed()?;
        let opened = self.options().open(DIR);
        self.check_sealed()?;
        let db = opened?;
        for name in db.keyspaces() {
            self.keyspaces.insert(name.clone(), db.open_keyspace(&name)?);
        }
        self.db = Some(db);
        let content = self.content()?;
        self.oracle.recovered(&content, self.owed)?;
        self.owed = Loss::Nothing;
        self.check_checkpoints()
    }

    pub fn run(&mut self, steps: &[Step]) -> Result<(), Stop> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    pub fn step(&mut self, step: &Step) -> Result<(), Stop> {
        let (steps, crashes) = DONE.get();
        DONE.set((steps + 1, crashes));
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
            Step::Stream(name, number, len, sync) => self.stream(name, *number, *len, *sync)?,
            Step::PutReader(name, number, len) => self.put_reader(name, *number, *len)?,
            Step::GiveUp(name, number, len) => self.give_up(name, *number, *len)?,
            Step::FailingReader(name, number, len) => self.failing_reader(name, *number, *len)?,
            Step::Collect => drop(self.db().collect_garbage()?),
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
                let places = self.db().metrics().objects.places_written;
                self.sim.advance(Duration::from_millis(*ms));
                self.sim.run_until_idle();
                self.check_background_sync(*ms, places)?;
            }
            Step::TakeSnapshot => {
                let snapshot = self.db().snapshot();
                self.snapshots.push_back((snapshot, self.oracle.visible()));
            }
            Step::Look => self.check_visible()?,
            Step::CheckSnapshot => self.check_snapshot()?,
            Step::Amid(reader, items) => self.amid(*reader, items)?,
            Step::Checkpoint(amidst) => self.checkpoint(amidst)?,
            Step::Beside(amidst) => self.beside(amidst)?,
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
            let (steps, crashes) = DONE.get();
            DONE.set((steps, crashes + 1));
            self.remember_logs();
            // The power goes first: dropping the handles would close the database in order.
            self.sim.power_off();
            self.drop_all();
            self.sim.crash(style);
            if style != CrashStyle::KeepAll {
                self.sealed.forget();
            }
        } else {
            self.drop_all();
        }
    }

    /// The machine stops here and now.
    pub fn crash(&mut self, style: CrashStyle) {
        self.drop_after(Some(style));
    }

    pub(super) fn create(&mut self, name: &str) -> Result<()> {
        match self.db().keyspace_with(name, self.keyspace_options(name)) {
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

    pub(super) fn check_sealed(&mut self) -> Checked {
        self.sealed.check(&self.sim, std::path::Path::new(DIR))
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

    pub(super) fn value(&mut self, len: usize) -> Vec<u8> {
        self.stamp += 1;
        let (mut number, mut len) = (self.stamp, len);
        if self.history.objects && len > 64 {
            // Equal ones come up often.
            (number, len) = (number / 4, len.next_multiple_of(100));
        }
        let stamp = format!("{number}:");
        // Half of it repeats, so that some blocks are compressed and others not.
        let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut value: Vec<u8> = stamp.bytes().take(len).collect();
        while value.len() < len {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            value.push(if number.is_multiple_of(2) {
                (state >> 56) as u8
            } else {
                b'x'
            });
        }
        value
    }

    pub(super) fn batch(&mut self, items: &[Item]) -> (packstone::Batch, Vec<Op>) {
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
        (batch, ops)
    }

    pub fn write(&mut self, items: &[Item], sync: bool) -> Result<()> {
        let (batch, ops) = self.batch(items);
        let durability = if sync {
            Durability::Sync
        } else {
            Durability::Buffered
        };
        let result = batch.commit(durability);
        self.oracle.commit(ops, result.is_ok(), sync);
        result
    }

    /// `Step::Amid`.
    fn amid(&mut self, reader: Reader, items: &[Item]) -> Result<(), Stop> {
        let (batch, ops) = self.batch(items);
        let names = items.iter().map(|(name, ..)| *name);
        let compacted: Vec<Keyspace> = match reader {
            Reader::Sync => Vec::new(),
            _ => names.map(|name| self.keyspaces[name].clone()).collect(),
        };
        let outcome = Rc::new(Cell::new(None));
        let noted = outcome.clone();
        let write = move || {
            noted.set(Some(batch.commit(Durability::Buffered).is_ok()));
            for keyspace in compacted {
                // A failure here shows itself elsewhere.
                let _ = keyspace.compact_range::<&[u8], _>(..);
            }
        };
        let armed = Armed::new(reader, write);
        let (name, number, _) = items[0];
        let result = match reader {
            Reader::Snapshot => {
                let snapshot = self.db().snapshot();
                drop(armed);
                self.note(&outcome, ops);
                self.snapshots.push_back((snapshot, self.oracle.visible()));
                Ok(())
            }
            Reader::Get => {
                let found = self.keyspace(name).get(key(number));
                drop(armed);
                self.note(&outcome, ops);
                let visible = self.oracle.visible();
                let wanted = visible.get(name).and_then(|map| map.get(&key(number)));
                match found {
                    Ok(found) if found.as_deref() != wanted.map(|value| &value[..]) => {
                        return Err(Stop::Broken(format!(
                            "a read of key {number} in {name:?} during a write and a compaction finds {} bytes, not {:?}",
                            found.map_or("no".to_owned(), |value| value.len().to_string()),
                            wanted.map(Vec::len)
                        )));
                    }
                    found => found.map(drop),
                }
            }
            Reader::Sync => {
                let synced = self.db().sync();
                drop(armed);
                if synced.is_ok() {
                    self.oracle.synced();
                }
                self.note(&outcome, ops);
                synced
            }
        };
        Ok(result?)
    }

    fn note(&mut self, outcome: &Cell<Option<bool>>, ops: Vec<Op>) {
        if let Some(acknowledged) = outcome.take() {
            self.oracle.commit(ops, acknowledged, false);
        }
    }
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

/// What happens amid the next operation, armed until dropped. Without the library's pauses it happens at once.
struct Armed;

impl Armed {
    #[cfg(feature = "planted-bugs")]
    fn new(reader: Reader, step: impl FnOnce() + 'static) -> Armed {
        use packstone::planted::{Moment, at};
        let moment = match reader {
            Reader::Snapshot => Moment::Registration,
            Reader::Get => Moment::PointRead,
            Reader::Sync => Moment::LogSynced,
        };
        at(Some((moment, Box::new(step))));
        Armed
    }

    #[cfg(not(feature = "planted-bugs"))]
    fn new(_: Reader, step: impl FnOnce()) -> Armed {
        step();
        Armed
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        #[cfg(feature = "planted-bugs")]
        drop(packstone::planted::at(None));
    }
}
