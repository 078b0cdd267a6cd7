//! [`World`]: a simulated machine with a database on it, and the oracle beside it. Runs steps and compares.
//!
//! A call of the database may fail; then the error must be one that the faults explain, and the state that it leaves one of
//! those permitted. Everything else is a failure of the test: `Err` with what is wrong.
//!
//! The parts: opening, losing power, and what explains an error here; the steps that write in `writing`, those that read
//! in `reading`, the invariants in `checks`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use packstone::env::sim::{Chance, CrashStyle, Effect, Fault, SimEnv};
use packstone::{
    Access, Db, Error, Keyspace, KeyspaceOptions, LogMedium, Options, Order, RecoveryMode, Slice, Snapshot,
};

use super::beside::Kept;
use super::cursors::HeldCursor;
use super::data::{self, Bytes, NAMES};
use super::explain::is_damage;
use super::oracle::{Found, Incarnation, Loss, Map, Oracle};
use super::reading::HeldRange;
use super::report::Report;
use super::steps::{History, Id, Opts, Step};
use super::streams::HeldReader;
use crate::support::hooked::hooked;
use crate::support::packs::SealedPacks;

pub(crate) const DIR: &str = "/data/db";
/// After so many openings in a row that have failed, faults and the shortage of room end.
const PATIENCE: u32 = 4;
/// After so many operations a database that refuses writes is opened again.
const POISONED_STEPS: u32 = 8;

/// What is in a file that is not the database's.
const FOREIGN: &[u8] = b"not yours";

fn foreign_file() -> PathBuf {
    Path::new(DIR).join("000001.txt")
}

/// What is wrong, if anything is.
pub(crate) type Checked<T = ()> = Result<T, String>;

/// A snapshot, and what it shows.
pub(crate) struct HeldSnapshot {
    pub(crate) snapshot: Snapshot,
    /// The handles keep those keyspaces readable that have been dropped since.
    pub(crate) keyspaces: BTreeMap<Id, (Keyspace, Rc<Map>)>,
    /// Which of all that have had their names they are.
    pub(crate) incarnations: BTreeMap<Id, Incarnation>,
}

pub(crate) struct World {
    pub(crate) sim: SimEnv,
    pub(crate) oracle: Oracle,
    pub(crate) report: Report,
    keys: u64,
    /// Every key that the history writes.
    pub(crate) all_keys: Vec<Bytes>,
    opts: Opts,
    // In this order: ranges and snapshots go before the database.
    pub(crate) ranges: BTreeMap<Id, HeldRange>,
    pub(crate) cursors: BTreeMap<Id, HeldCursor>,
    pub(crate) readers: BTreeMap<Id, HeldReader>,
    pub(crate) snapshots: BTreeMap<Id, HeldSnapshot>,
    pub(crate) keyspaces: BTreeMap<Id, Keyspace>,
    pub(crate) layouts: BTreeMap<Id, KeyspaceOptions>,
    db: Option<Db>,
    pub(crate) kept: Option<Kept>,
    pub(crate) sealed: SealedPacks,
    /// Checkpoints begun.
    pub(crate) made: u64,
    /// The last error of the present step, and whether it has written something.
    pub(crate) last_error: Option<Error>,
    pub(crate) wrote: bool,
    /// What may have been lost since the last opening that succeeded.
    loss: Loss,
    /// How the machine stops when the power goes off by itself.
    style: CrashStyle,
    chances: Vec<Chance>,
    /// Calls that had been made to fail before the opening began.
    pub(crate) failures_at_open: u64,
    /// Whether room is limited, and whether it was at any time since then.
    room_is_limited: bool,
    pub(crate) short_of_room: bool,
    /// Which files bits have flipped in, by a part of their names.
    pub(crate) flipped: Vec<String>,
    failed_opens: u32,
    pub(crate) poisoned_for: u32,
    /// Damage keeps the database from being opened.
    over: bool,
}

/// What a history begins with.
pub(crate) const FIRST_OPTIONS: Opts = Opts {
    write_buffer: 32 << 10,
    max_log: 64 << 10,
    max_file: 16 << 10,
    manifest_roll: 4 << 10,
    cache: 64 << 10,
    threads: 2,
    sync_interval: 0,
    mapped: false,
    point_in_time: false,
    compaction_rate: 0,
    plain_log: false,
    pack_size: Opts::DEFAULT_PACK,
};

pub(crate) fn options(opts: &Opts) -> Options {
    let interval = (opts.sync_interval > 0).then(|| Duration::from_millis(opts.sync_interval));
    Options::new()
        .write_buffer_size(opts.write_buffer)
        .max_log_size(opts.max_log)
        .max_file_size(opts.max_file)
        .manifest_roll_size(opts.manifest_roll)
        .pack_size(opts.pack_size)
        .cache_size(opts.cache)
        .background_threads(opts.threads as usize)
        // Sometimes four threads, and room for one compaction and one flush.
        .memory_limit(if opts.threads == 4 && opts.mapped {
            16 << 20
        } else {
            512 << 20
        })
        .compaction_rate_limit((opts.compaction_rate > 0).then_some(opts.compaction_rate))
        .sync_interval(interval)
        // Histograms change no answer, whoever reads.
        .latencies(opts.mapped)
        .log_medium(if opts.plain_log {
            LogMedium::Plain
        } else {
            LogMedium::Auto
        })
        .access(if opts.mapped {
            Access::Mapped
        } else {
            Access::Pread
        })
        .recovery_mode(if opts.point_in_time {
            RecoveryMode::PointInTime
        } else {
            RecoveryMode::TornTail
        })
}

impl World {
    pub(crate) fn new(history: &History) -> World {
        let sim = SimEnv::new(history.world);
        // The directory is there: that a failed creation is followed by a failed sync of the name that it left behind
        // is more than the engine can see. Whose file lies in it, nobody knows.
        sim.write_file(foreign_file(), FOREIGN).expect("a new disk");
        World {
            sim,
            oracle: Oracle::default(),
            report: Report::default(),
            keys: history.keys,
            all_keys: (0..history.keys_end())
                .map(|number| data::key(history.keys, number))
                .collect(),
            opts: FIRST_OPTIONS,
            ranges: BTreeMap::new(),
            cursors: BTreeMap::new(),
            readers: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            keyspaces: BTreeMap::new(),
            layouts: BTreeMap::new(),
            db: None,
            kept: None,
            sealed: SealedPacks::default(),
            made: 0,
            last_error: None,
            wrote: false,
            loss: Loss::Nothing,
            style: CrashStyle::Random,
            chances: Vec::new(),
            failures_at_open: 0,
            room_is_limited: false,
            short_of_room: false,
            flipped: Vec::new(),
            failed_opens: 0,
            poisoned_for: 0,
            over: false,
        }
    }

    pub(crate) fn options(&self) -> Options {
        options(&self.opts).env(hooked(self.sim.env()))
    }

    pub(crate) fn is_open(&self) -> bool {
        self.db.is_some()
    }

    pub(crate) fn db(&self) -> &Db {
        self.db.as_ref().expect("steps run on an open database")
    }

    pub(crate) fn key(&self, number: Id) -> Bytes {
        data::key(self.keys, number)
    }

    /// The calls that have been made to fail so far.
    pub(crate) fn failures(&self) -> u64 {
        self.sim.failures()
    }

    /// Nothing has gone wrong since the opening began.
    pub(crate) fn is_clean(&self) -> bool {
        self.failures() == self.failures_at_open && !self.short_of_room && self.flipped.is_empty()
    }

    /// Runs one step.
    pub(crate) fn step(&mut self, step: &Step) -> Checked {
        self.report.steps += 1;
        if self.change_world(step) {
            return Ok(());
        }
        if self.over || !self.is_open_now()? {
            return Ok(());
        }
        self.report.operations += 1;
        (self.last_error, self.wrote) = (None, false);
        self.operate(step)?;
        self.check_health(step)?;
        if self.sim.is_off() {
            self.crash(self.style);
        } else if self.poisoned_for > POISONED_STEPS {
            self.drop_all();
        }
        Ok(())
    }

    /// All faults end, and everything is still right; twice, with an orderly close between.
    pub(crate) fn finish(&mut self) -> Checked {
        self.calm();
        self.heals()?;
        for _ in 0..2 {
            if self.over || !self.is_open_now()? {
                break;
            }
            self.operate(&Step::Verify)?;
            self.operate(&Step::Check)?;
            self.operate(&Step::Close)?;
        }
        let foreign = self.sim.read_file(foreign_file());
        if foreign.ok().as_deref() != Some(FOREIGN) {
            return Err("a file of somebody else's has changed".to_owned());
        }
        self.report.packs += self.packs().len() as u64;
        self.report.sealed_packs += self.sealed.len();
        self.report.failures += self.failures();
        self.report.hiccups += self.sim.stats().hiccups;
        self.report.calls += self.sim.io_count();
        Ok(())
    }

    /// The steps that don't need a database.
    fn change_world(&mut self, step: &Step) -> bool {
        match step {
            Step::Options(opts) => self.opts = *opts,
            Step::PowerOff(calls, style) => {
                self.style = *style;
                let index = self.sim.io_count() + calls;
                self.sim.set_fault(Fault::PowerOffAt { index });
            }
            Step::Crash(style) => self.crash(*style),
            Step::Fault(calls, errno, half) => self.sim.set_fault(Fault::FailCallWith {
                index: self.sim.io_count() + calls,
                errno: *errno,
                effect: if *half { Effect::Partial } else { Effect::Nothing },
            }),
            Step::Chance(one_in, errno, op) => {
                self.chances.push(Chance {
                    op: *op,
                    one_in: *one_in,
                    errno: *errno,
                    effect: None,
                });
                self.sim.set_chances(self.chances.clone());
            }
            Step::Calm => self.calm(),
            Step::Room(room) => {
                self.room_is_limited = room.is_some();
                self.short_of_room |= room.is_some();
                let capacity = room.map(|room| self.sim.used() + room);
                self.sim.set_capacity(capacity);
            }
            Step::Flaky(one_in) => self.sim.set_flaky(Some(*one_in).filter(|n| *n > 0)),
            Step::Slow(micros) => self.sim.set_slow(Duration::from_micros(*micros)),
            Step::Flip(part) => self.flip(part),
            Step::Advance(ms) => self.sim.advance(Duration::from_millis(*ms)),
            Step::Jobs(n) => {
                for _ in 0..*n {
                    self.sim.run_one();
                }
                self.notice_power();
            }
            Step::Idle => {
                self.sim.run_until_idle();
                self.notice_power();
            }
            _ => return false,
        }
        true
    }

    fn notice_power(&mut self) {
        if self.sim.is_off() {
            self.crash(self.style);
        }
    }

    fn calm(&mut self) {
        self.chances.clear();
        self.sim.set_chances(Vec::new());
        self.sim.set_capacity(None);
        self.room_is_limited = false;
        if self.sim.is_off() {
            self.crash(self.style);
        }
        self.sim.clear_faults();
        self.sim.set_flaky(None);
        self.sim.set_slow(Duration::ZERO);
    }

    fn flip(&mut self, part: &str) {
        if self.sim.flip_some_bit(part).is_some() {
            self.report.flips += 1;
            self.sealed.forget();
            self.flipped.push(part.to_owned());
        }
    }

    /// Does something without failures by chance.
    pub(crate) fn quietly<T>(&mut self, work: impl FnOnce(&mut World) -> T) -> T {
        self.sim.set_chances(Vec::new());
        let result = work(self);
        self.sim.set_chances(self.chances.clone());
        result
    }
}

/// Opening, and ways of ending.
impl World {
    pub(crate) fn drop_all(&mut self) {
        self.ranges.clear();
        self.cursors.clear();
        self.readers.clear();
        self.snapshots.clear();
        self.keyspaces.clear();
        self.poisoned_for = 0;
        if let Some(db) = self.db.take() {
            self.report.note_session(&db.metrics());
        }
    }

    pub(crate) fn close(&mut self) -> Checked {
        self.ranges.clear();
        self.cursors.clear();
        self.readers.clear();
        self.snapshots.clear();
        let Some(db) = self.db.take() else {
            return Ok(());
        };
        self.report.note_session(&db.metrics());
        let result = db.close();
        self.keyspaces.clear();
        self.poisoned_for = 0;
        match result {
            Ok(()) => self.oracle.synced(),
            Err(error) => self.tolerate("close", &error, self.failures_at_open)?,
        }
        Ok(())
    }

    /// The power goes, now.
    fn crash(&mut self, style: CrashStyle) {
        // First the power: dropping the handles would close the database in order.
        self.sim.power_off();
        self.drop_all();
        self.sim.crash(style);
        self.sealed.forget();
        if style != CrashStyle::KeepAll {
            self.loss = self.loss.max(Loss::Unsynced);
        }
        self.report.crashes += 1;
    }

    /// Opens the database if it is not open; false when that has failed, as it may.
    fn is_open_now(&mut self) -> Checked<bool> {
        if self.db.is_some() {
            return Ok(true);
        }
        if self.failed_opens >= PATIENCE {
            self.calm();
        }
        self.report.opens += 1;
        self.failures_at_open = self.failures();
        let opened = self.open()?;
        if opened {
            self.failed_opens = 0;
        } else {
            self.report.failed_opens += 1;
            self.failed_opens += 1;
            self.drop_all();
            if self.sim.is_off() {
                self.crash(self.style);
            }
            if self.failed_opens > 2 * PATIENCE {
                return Err("the faults are over, and still it can't be opened".to_owned());
            }
        }
        Ok(opened)
    }

    fn open(&mut self) -> Checked<bool> {
        let since = self.failures();
        self.sealed.check(&self.sim, Path::new(DIR))?;
        let opened = self.options().open(DIR);
        self.sealed.check(&self.sim, Path::new(DIR))?;
        match opened {
            Ok(db) => self.db = Some(db),
            Err(error) => {
                self.tolerate("open", &error, since)?;
                self.over |= is_damage(&error);
                return Ok(false);
            }
        }
        if let Err(error) = self.take_keyspaces() {
            self.tolerate("open a keyspace", &error, since)?;
            return Ok(false);
        }
        if self.is_damaged() {
            return self.look_at_damage();
        }
        let found = match self.quietly(|world| world.found()) {
            Ok(found) => found,
            Err(error) => {
                self.tolerate("read everything", &error, since)?;
                return Ok(false);
            }
        };
        self.oracle
            .recovered(&found, self.loss)
            .map_err(|what| format!("after opening: {what}"))?;
        self.opened();
        self.look_at_kept()?;
        if self.sim.is_off() {
            return Ok(false);
        }
        self.check_space("after opening")?;
        Ok(true)
    }

    fn opened(&mut self) {
        self.loss = Loss::Nothing;
        self.short_of_room = self.room_is_limited;
        let oracle = &self.oracle;
        self.layouts.retain(|id, _| oracle.is_live(*id));
    }

    /// With flipped bits: what can be read is right.
    fn look_at_damage(&mut self) -> Checked<bool> {
        let only_in_ssts = self.flipped.iter().all(|part| part.contains("sst"));
        match self.quietly(|world| world.found()) {
            Ok(found) => {
                let loss = if only_in_ssts { self.loss } else { Loss::Unproven };
                self.oracle
                    .recovered(&found, loss)
                    .map_err(|what| format!("after opening with damage: {what}"))?;
            }
            Err(error) => {
                self.tolerate("read everything", &error, self.failures_at_open)?;
                if self.sim.is_off() {
                    return Ok(false);
                }
                let known = only_in_ssts && self.loss == Loss::Nothing && !self.oracle.has_pending();
                if !known {
                    self.over = true;
                    return Ok(false);
                }
            }
        }
        self.opened();
        Ok(!self.sim.is_off())
    }

    fn take_keyspaces(&mut self) -> packstone::Result<()> {
        let db = self.db().clone();
        for name in db.keyspaces() {
            let id = NAMES.iter().position(|known| *known == name);
            let id = id.expect("histories create no others") as Id;
            self.keyspaces.insert(id, db.open_keyspace(&name)?);
        }
        Ok(())
    }

    /// All that readers see.
    fn found(&self) -> packstone::Result<Found> {
        found_in(&self.keyspaces, &self.all_keys)
    }
}

/// `keys`: all that may be there, for keyspaces that can't be iterated over.
pub(crate) fn found_in(keyspaces: &BTreeMap<Id, Keyspace>, keys: &[Bytes]) -> packstone::Result<Found> {
    let mut found = Found::new();
    for (id, keyspace) in keyspaces {
        let mut map = Map::new();
        if is_hashed(keyspace) {
            map = looked_up(keys, |key| keyspace.get(key))?;
        } else {
            for entry in keyspace.iter() {
                let (key, value) = entry?;
                map.insert(key[..].into(), value[..].into());
            }
        }
        found.insert(*id, map);
    }
    Ok(found)
}

pub(crate) fn is_hashed(keyspace: &Keyspace) -> bool {
    keyspace.options().get_order() == Order::Hash
}

/// What look-ups of all keys give.
pub(crate) fn looked_up(
    keys: &[Bytes],
    get: impl Fn(&[u8]) -> packstone::Result<Option<Slice>>,
) -> packstone::Result<Map> {
    let mut map = Map::new();
    for key in keys {
        if let Some(value) = get(key)? {
            map.insert(key.clone(), value[..].into());
        }
    }
    Ok(map)
}
