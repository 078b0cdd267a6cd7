//! Runs one history under one set of options and writes down every answer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use packstone::env::Env;
use packstone::env::sim::SimEnv;
use packstone::{
    Access, Db, Durability, Error, Keys, Keyspace, KeyspaceOptions, LogMedium, Options, Order, Range, Slice,
    Snapshot, ValueReader,
};

use crate::stress_support::data::{self, Bytes, NAMES};
use crate::stress_support::steps::{End, Ending, History, Id, Item, Move, Span, Step};
use crate::support::hooked;
use crate::support::rng::Rng;

/// Whose disk it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    Simulated,
    Real,
}

/// What a run differs in from others.
#[derive(Clone, Debug)]
pub(crate) struct OptionSet {
    pub(crate) name: String,
    pub(crate) disk: Disk,
    pub(crate) options: Options,
    pub(crate) threads: usize,
    pub(crate) keyspaces: KeyspaceOptions,
    /// Instead of what the history says.
    pub(crate) durability: Option<Durability>,
    /// Each opening takes other options, drawn from this.
    pub(crate) changing: Option<u64>,
}

impl OptionSet {
    pub(crate) fn defaults() -> OptionSet {
        OptionSet {
            name: "defaults".to_owned(),
            disk: Disk::Simulated,
            options: Options::new(),
            threads: 2,
            keyspaces: KeyspaceOptions::new(),
            durability: None,
            changing: None,
        }
    }

    /// A drawn one.
    pub(crate) fn draw(rng: &mut Rng, number: u64) -> OptionSet {
        let threads = rng.between(1, 4) as usize;
        OptionSet {
            name: format!("drawn {number}"),
            disk: if number.is_multiple_of(16) {
                Disk::Real
            } else {
                Disk::Simulated
            },
            options: draw_options(rng).background_threads(threads),
            threads,
            keyspaces: KeyspaceOptions::new()
                .key_block_size(rng.pick(&[64, 200, 1024, 16 << 10, 1 << 20]))
                .value_block_size(rng.pick(&[64, 200, 4096, 1 << 20]))
                .filter(rng.one_in(2))
                .partition_size(rng.pick(&[64, 200, 1024, 32 << 10, 1 << 20]))
                .compression(rng.pick(&[packstone::Compression::None, packstone::Compression::Lz4]))
                .object_threshold(rng.pick(&[None, Some(32), Some(100), Some(4096), Some(16 << 10)]))
                .deduplicate(rng.one_in(2)),
            durability: rng.pick(&[None, None, Some(Durability::Buffered), Some(Durability::Sync)]),
            changing: rng.one_in(2).then(|| rng.next()),
        }
    }
}

/// Options of an opening: caches of no, little and much room, triggers of compaction far and near.
pub(crate) fn draw_options(rng: &mut Rng) -> Options {
    let interval = rng.one_in(4).then(|| Duration::from_millis(rng.between(1, 50)));
    Options::new()
        .write_buffer_size(rng.pick(&[4 << 10, 24 << 10, 48 << 10, 256 << 10, 64 << 20]))
        .max_log_size(rng.pick(&[4 << 10, 16 << 10, 256 << 10, 256 << 20]))
        .max_file_size(rng.pick(&[4 << 10, 8 << 10, 64 << 10, 64 << 20]))
        .manifest_roll_size(rng.pick(&[1 << 10, 4 << 10, 1 << 20]))
        .cache_size(rng.pick(&[0, 1 << 10, 64 << 10, 1 << 30]))
        .compaction_rate_limit(rng.pick(&[None, None, Some(16 << 10), Some(1 << 20)]))
        .sync_interval(interval)
        .memory_limit(rng.pick(&[16 << 20, 512 << 20]))
        .access(rng.pick(&[Access::Mapped, Access::Pread]))
        .log_medium(rng.pick(&[LogMedium::Auto, LogMedium::Plain]))
        .latencies(rng.one_in(4))
        .pack_size(rng.pick(&[4 << 10, 16 << 10, 256 << 10, 256 << 20]))
}

fn is_hashed(keyspace: &Keyspace) -> bool {
    keyspace.options().get_order() == Order::Hash
}

/// The answer to each step, as bytes. Sequence numbers are not in it: places of objects take some.
pub(crate) type Answers = Vec<Vec<u8>>;

enum Cursor {
    Entries(Range),
    Keys(Keys),
}

struct Run<'h> {
    set: &'h OptionSet,
    history: &'h History,
    sim: SimEnv,
    dir: PathBuf,
    rng: Rng,
    ranges: BTreeMap<Id, Cursor>,
    cursors: BTreeMap<Id, packstone::Cursor>,
    readers: BTreeMap<Id, ValueReader>,
    snapshots: BTreeMap<Id, (Snapshot, BTreeMap<Id, Keyspace>)>,
    keyspaces: BTreeMap<Id, Keyspace>,
    db: Option<Db>,
    /// Checkpoints made.
    made: u64,
    answer: Vec<u8>,
}

/// Runs the history; panics where a call fails.
pub(crate) fn answers(history: &History, set: &OptionSet) -> Answers {
    let real = (set.disk == Disk::Real).then(|| tempfile::tempdir().unwrap());
    let dir = real
        .as_ref()
        .map_or(PathBuf::from("/db"), |dir| dir.path().join("db"));
    let mut run = Run {
        set,
        history,
        sim: SimEnv::new(history.world),
        dir,
        rng: Rng::new(set.changing.unwrap_or(0)),
        ranges: BTreeMap::new(),
        cursors: BTreeMap::new(),
        readers: BTreeMap::new(),
        snapshots: BTreeMap::new(),
        keyspaces: BTreeMap::new(),
        db: None,
        made: 0,
        answer: Vec::new(),
    };
    run.open();
    let steps = history.steps.iter();
    let mut answers: Answers = steps.map(|step| run.step(step)).collect();
    answers.push(run.step(&Step::Check));
    answers
}

impl Run<'_> {
    fn open(&mut self) {
        self.ranges.clear();
        self.cursors.clear();
        self.readers.clear();
        self.snapshots.clear();
        self.keyspaces.clear();
        self.db = None;
        let options = match self.set.changing {
            Some(_) => draw_options(&mut self.rng),
            None => self.set.options.clone(),
        };
        let options = match self.set.disk {
            Disk::Simulated => options,
            // There it would take the time that it says.
            Disk::Real => options.compaction_rate_limit(None),
        };
        let db = options.env(self.env()).open(&self.dir).expect("opens");
        for name in db.keyspaces() {
            let id = NAMES.iter().position(|known| *known == name).unwrap();
            self.keyspaces.insert(id as Id, db.open_keyspace(&name).unwrap());
            self.put(name.as_bytes());
        }
        self.db = Some(db);
    }

    fn env(&self) -> Env {
        hooked::hooked(match self.set.disk {
            Disk::Simulated => self.sim.env(),
            Disk::Real => Env::real(self.set.threads),
        })
    }

    fn db(&self) -> &Db {
        self.db.as_ref().unwrap()
    }

    fn key(&self, number: Id) -> Bytes {
        data::key(self.history.keys, number)
    }

    /// A part of the answer, with its length.
    fn put(&mut self, bytes: &[u8]) {
        self.answer.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        self.answer.extend_from_slice(bytes);
    }

    fn put_maybe(&mut self, bytes: Option<Slice>) {
        match bytes {
            Some(bytes) => self.put(&bytes),
            None => self.answer.push(b'-'),
        }
    }

    fn put_entry(&mut self, entry: Option<(Slice, Slice)>) {
        let (key, value) = entry.unzip();
        self.put_maybe(key);
        self.put_maybe(value);
    }

    fn step(&mut self, step: &Step) -> Vec<u8> {
        match step {
            Step::Jobs(_) | Step::Idle | Step::Advance(_) => self.background(step),
            Step::Create(id, layout) => self.create(*id, layout.hash_order),
            Step::Drop(id) => {
                self.keyspaces.remove(id);
                let dropped = self.db().drop_keyspace(NAMES[usize::from(*id)]);
                self.put(format!("{dropped:?}").as_bytes());
            }
            Step::Write(sync, items) => self.write(*sync, items),
            Step::Stream(ending, item) => self.stream(*ending, item),
            Step::Open(slot, id, key, snapshot) => self.open_value(*slot, *id, *key, *snapshot),
            Step::Pour(slot, to, count) => self.pour(*slot, *to, *count),
            Step::Get(id, key) => self.get(*id, *key),
            Step::Ends(id) => {
                if let Some(keyspace) = self.keyspaces.get(id).cloned() {
                    if is_hashed(&keyspace) {
                        assert!(matches!(keyspace.first(), Err(Error::HashOrder { .. })));
                        assert!(matches!(keyspace.last(), Err(Error::HashOrder { .. })));
                    } else {
                        self.put_entry(keyspace.first().unwrap());
                        self.put_entry(keyspace.last().unwrap());
                    }
                    self.answer.push(u8::from(keyspace.is_empty().unwrap()));
                }
            }
            Step::Range(id, span, end, keys_only) => {
                if let Some(mut cursor) = self.range(*id, span, None, *keys_only) {
                    while self.advance(&mut cursor, *end) {}
                }
            }
            Step::Snapshot(slot) => {
                let snapshot = self.db().snapshot();
                self.snapshots.insert(*slot, (snapshot, self.keyspaces.clone()));
            }
            Step::Look(slot) => self.look(*slot),
            Step::Peek(slot, id, key) => {
                let key = self.key(*key);
                let held = self.snapshots.get(slot);
                if let Some((snapshot, Some(keyspace))) = held.map(|(s, all)| (s, all.get(id))) {
                    let found = snapshot.get(keyspace, &key).unwrap();
                    self.put_maybe(found);
                }
            }
            Step::Release(slot) => drop(self.snapshots.remove(slot)),
            Step::Begin(slot, id, span, snapshot) => {
                if let Some(cursor) = self.range(*id, span, *snapshot, *slot % 3 == 0) {
                    self.ranges.insert(*slot, cursor);
                }
            }
            Step::Next(slot, count, end) => self.next(*slot, *count, *end),
            Step::Finish(slot) => self.next(*slot, u64::MAX, End::Both),
            Step::GetMany(id, snapshot, keys) => self.get_many(*id, *snapshot, keys),
            Step::Cursor(slot, id, snapshot) => self.place_cursor(*slot, *id, *snapshot),
            Step::Move(slot, to) => self.move_cursor(*slot, to),
            Step::Flush => self.db().flush().unwrap(),
            Step::Sync => self.db().sync().unwrap(),
            Step::Settle => self.db().wait_for_background().unwrap(),
            Step::Verify => _ = self.db().verify().unwrap(),
            Step::Compact(id, span) => self.compact(*id, span),
            Step::Check | Step::ReadOnly => self.everything(),
            Step::Beside => self.beside(),
            Step::Checkpoint(no_links) => self.checkpoint(*no_links),
            Step::Close => {
                self.db.take().unwrap().close().unwrap();
                self.open();
            }
            Step::Abandon => self.open(),
            // What the world is like is the option set's business.
            _ => {}
        }
        std::mem::take(&mut self.answer)
    }

    fn background(&mut self, step: &Step) {
        if self.set.disk == Disk::Simulated {
            match step {
                Step::Jobs(n) => (0..*n).for_each(|_| _ = self.sim.run_one()),
                Step::Advance(ms) => self.sim.advance(Duration::from_millis(*ms)),
                _ => self.sim.run_until_idle(),
            }
        }
    }

    /// The order is the history's: answers follow from it.
    fn create(&mut self, id: Id, hash_order: bool) {
        let order = if hash_order { Order::Hash } else { Order::Key };
        let options = self.set.keyspaces.clone().order(order);
        let keyspace = self.db().keyspace_with(NAMES[usize::from(id)], options).unwrap();
        self.keyspaces.insert(id, keyspace);
    }

    fn write(&mut self, sync: bool, items: &[Item]) {
        let asked = if sync {
            Durability::Sync
        } else {
            Durability::Buffered
        };
        let durability = self.set.durability.unwrap_or(asked);
        let mut batch = self.db().batch();
        for item in items {
            let (Some(keyspace), key) = (self.keyspaces.get(&item.keyspace), self.key(item.key)) else {
                continue;
            };
            match item.value {
                Some((len, stamp)) => batch.put(keyspace, key, data::value(len, stamp)),
                None => batch.delete(keyspace, key),
            }
        }
        batch.commit(durability).unwrap();
    }

    fn stream(&mut self, ending: Ending, item: &Item) {
        let (Some((len, stamp)), Some(keyspace)) = (item.value, self.keyspaces.get(&item.keyspace)) else {
            return;
        };
        let (key, value) = (self.key(item.key), data::value(len, stamp));
        let mut writer = keyspace.writer(key).unwrap();
        for piece in value.chunks(1 + stamp as usize % 3000) {
            writer.push(piece).unwrap();
        }
        match ending {
            Ending::Abort | Ending::Fail => writer.abort(),
            Ending::Reader | Ending::Commit => writer.commit(Durability::Buffered).unwrap(),
            Ending::Synced => writer.commit(Durability::Sync).unwrap(),
        }
    }

    fn open_value(&mut self, slot: Id, id: Id, key: Id, snapshot: Option<Id>) {
        let key = self.key(key);
        let held = snapshot.map(|slot| self.snapshots.get(&slot));
        let opened = match held {
            None => self.keyspaces.get(&id).map(|keyspace| keyspace.open(&key)),
            Some(held) => held.and_then(|(snapshot, all)| Some(snapshot.open(all.get(&id)?, &key))),
        };
        if let Some(reader) = opened.and_then(Result::unwrap) {
            self.put(&reader.len().to_le_bytes());
            self.readers.insert(slot, reader);
        }
    }

    fn pour(&mut self, slot: Id, to: Option<u64>, count: u64) {
        let Some(mut reader) = self.readers.remove(&slot) else {
            return;
        };
        if let Some(to) = to {
            // Behind the end there is nothing.
            reader.seek(SeekFrom::Start(to)).unwrap();
        }
        let mut piece = Vec::new();
        reader.by_ref().take(count).read_to_end(&mut piece).unwrap();
        self.put(&piece);
        self.readers.insert(slot, reader);
    }

    fn get(&mut self, id: Id, key: Id) {
        let Some(keyspace) = self.keyspaces.get(&id).cloned() else {
            return;
        };
        let key = self.key(key);
        self.put_maybe(keyspace.get(&key).unwrap());
        self.answer.push(u8::from(keyspace.contains_key(&key).unwrap()));
    }

    fn range(&self, id: Id, span: &Span, snapshot: Option<Id>, keys_only: bool) -> Option<Cursor> {
        let held = match snapshot {
            Some(slot) => Some(self.snapshots.get(&slot)?),
            None => None,
        };
        let keyspace = held.map_or(&self.keyspaces, |(_, all)| all).get(&id)?;
        let range = match span {
            Span::Prefix(key, len) => {
                let key = self.key(*key);
                let prefix = &key[..key.len().min(usize::from(*len))];
                match held {
                    Some((snapshot, _)) => snapshot.prefix(keyspace, prefix),
                    None => keyspace.prefix(prefix),
                }
            }
            Span::Keys(from, to) => {
                let from = from.map_or(std::ops::Bound::Unbounded, |key| {
                    std::ops::Bound::Included(self.key(key))
                });
                let to = to.map_or(std::ops::Bound::Unbounded, |key| {
                    std::ops::Bound::Excluded(self.key(key))
                });
                match held {
                    Some((snapshot, _)) => snapshot.range(keyspace, (from, to)),
                    None => keyspace.range((from, to)),
                }
            }
        };
        if is_hashed(keyspace) {
            let mut range = range;
            assert!(matches!(range.next(), Some(Err(Error::HashOrder { .. }))));
            return None;
        }
        Some(if keys_only {
            Cursor::Keys(range.keys())
        } else {
            Cursor::Entries(range)
        })
    }

    /// One step of a range; false at its end.
    fn advance(&mut self, cursor: &mut Cursor, end: End) -> bool {
        let back = match end {
            End::Front => false,
            End::Back => true,
            // By what has been answered so far, which is the same in every run or else reported.
            End::Both => self.answer.len() % 2 == 1,
        };
        let (key, value) = match cursor {
            Cursor::Entries(range) => {
                let entry = if back { range.next_back() } else { range.next() };
                entry.transpose().unwrap().unzip()
            }
            Cursor::Keys(keys) => {
                let key = if back { keys.next_back() } else { keys.next() };
                (key.transpose().unwrap(), None)
            }
        };
        let more = key.is_some();
        self.put_maybe(key);
        self.put_maybe(value);
        more
    }

    fn next(&mut self, slot: Id, count: u64, end: End) {
        let Some(mut cursor) = self.ranges.remove(&slot) else {
            return;
        };
        for _ in 0..count {
            if !self.advance(&mut cursor, end) {
                return;
            }
        }
        self.ranges.insert(slot, cursor);
    }

    fn get_many(&mut self, id: Id, snapshot: Option<Id>, numbers: &[Id]) {
        let keys: Vec<Bytes> = numbers.iter().map(|number| self.key(*number)).collect();
        let held = snapshot.map(|slot| self.snapshots.get(&slot));
        let found = match held {
            None => self.keyspaces.get(&id).map(|keyspace| keyspace.multi_get(&keys)),
            Some(held) => held.and_then(|(snapshot, all)| Some(snapshot.multi_get(all.get(&id)?, &keys))),
        };
        for value in found.into_iter().flat_map(Result::unwrap) {
            self.put_maybe(value);
        }
    }

    fn place_cursor(&mut self, slot: Id, id: Id, snapshot: Option<Id>) {
        let held = snapshot.map(|slot| self.snapshots.get(&slot));
        let cursor = match held {
            None => self.keyspaces.get(&id).map(Keyspace::cursor),
            Some(held) => held.and_then(|(snapshot, all)| Some(snapshot.cursor(all.get(&id)?))),
        };
        if let Some(Err(Error::HashOrder { .. })) = cursor {
            return;
        }
        if let Some(cursor) = cursor {
            self.cursors.insert(slot, cursor.unwrap());
        }
    }

    fn move_cursor(&mut self, slot: Id, to: &Move) {
        let Some(mut cursor) = self.cursors.remove(&slot) else {
            return;
        };
        match to {
            Move::First => _ = cursor.seek_to_first().unwrap(),
            Move::Last => _ = cursor.seek_to_last().unwrap(),
            Move::Seek(number) => _ = cursor.seek(self.key(*number)).unwrap(),
            Move::SeekForPrev(number) => _ = cursor.seek_for_prev(self.key(*number)).unwrap(),
            Move::Next => _ = cursor.next().unwrap(),
            Move::Prev => _ = cursor.prev().unwrap(),
            // Of a dropped keyspace.
            Move::Refresh => self.put(format!("{:?}", cursor.refresh()).as_bytes()),
        }
        self.put_maybe(cursor.key().map(Slice::from));
        self.put_maybe(cursor.value().unwrap());
        self.cursors.insert(slot, cursor);
    }

    fn look(&mut self, slot: Id) {
        let Some((snapshot, keyspaces)) = self.snapshots.get(&slot).cloned() else {
            return;
        };
        for keyspace in keyspaces.values() {
            if is_hashed(keyspace) {
                for number in 0..self.history.keys_end() {
                    let found = snapshot.get(keyspace, self.key(number)).unwrap();
                    self.put_maybe(found);
                }
                continue;
            }
            for entry in snapshot.iter(keyspace) {
                self.put_entry(Some(entry.unwrap()));
            }
        }
    }

    fn compact(&mut self, id: Id, span: &Span) {
        let (Some(keyspace), Span::Keys(from, to)) = (self.keyspaces.get(&id), span) else {
            return;
        };
        let from = from.map_or(std::ops::Bound::Unbounded, |key| {
            std::ops::Bound::Included(self.key(key))
        });
        let to = to.map_or(std::ops::Bound::Unbounded, |key| {
            std::ops::Bound::Excluded(self.key(key))
        });
        keyspace.compact_range((from, to)).unwrap();
    }

    fn everything(&mut self) {
        for (id, keyspace) in self.keyspaces.clone() {
            self.put(&id.to_le_bytes());
            self.all_of(&keyspace);
        }
    }

    /// All entries, in hash order by looking for all keys.
    fn all_of(&mut self, keyspace: &Keyspace) {
        if is_hashed(keyspace) {
            for number in 0..self.history.keys_end() {
                let found = keyspace.get(self.key(number)).unwrap();
                self.put_maybe(found);
            }
            return;
        }
        for entry in keyspace.iter() {
            self.put_entry(Some(entry.unwrap()));
        }
    }

    /// What another opening of a directory sees.
    fn reader(&mut self, dir: &Path) -> Db {
        let options = match self.set.changing {
            Some(_) => draw_options(&mut self.rng),
            None => self.set.options.clone(),
        };
        options
            .env(self.env())
            .open_read_only(dir)
            .expect("opens for reading")
    }

    fn contents(&mut self, db: &Db) {
        for name in db.keyspaces() {
            self.put(name.as_bytes());
            self.all_of(&db.open_keyspace(&name).unwrap());
        }
    }

    fn beside(&mut self) {
        let reader = self.reader(&self.dir.clone());
        self.contents(&reader);
    }

    fn checkpoint(&mut self, no_links: bool) {
        self.made += 1;
        let dir = self.dir.with_extension(format!("checkpoint-{}", self.made));
        let report = hooked::without_links(no_links, || self.db().checkpoint(&dir).unwrap());
        // A pack that grows is copied.
        assert!(!no_links || report.linked_files == 0);
        let reader = self.reader(&dir);
        self.contents(&reader);
    }
}
