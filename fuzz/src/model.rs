//! The whole engine against a `BTreeMap`, on the simulated machine: the fuzzer chooses writes, flushes, compactions,
//! snapshots, ranges and crashes.
//!
//! After a crash the state is one that was, not older than the last sync; after the death of the process it is the last.

use std::collections::BTreeMap;

use crate::support::{Input, mix};
use packstone::env::sim::{CrashStyle, Fault, SimEnv};
use packstone::{
    Access, Compression, Db, Durability, Error, Keyspace, KeyspaceOptions, Options, Order, Result, Slice,
    Snapshot,
};

const DIR: &str = "/db";
const KEYSPACES: [&str; 2] = ["a", "b"];
/// Operations of one run: enough for every mechanism, few enough for thousands of runs a second.
const MAX_OPS: usize = 300;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;
type State = [Map; 2];

/// An open database and what it must hold.
struct Run {
    sim: SimEnv,
    flags: u8,
    db: Option<(Db, [Keyspace; 2])>,
    /// The states since the last sync; the last one is the present.
    states: Vec<State>,
    snapshots: Vec<(Snapshot, State)>,
    writes: u64,
}

/// One run on the fuzzer's bytes.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let (seed, flags) = (input.u16(), input.u8());
    let mut run = Run {
        sim: SimEnv::new(u64::from(seed)),
        flags,
        db: None,
        states: vec![State::default()],
        snapshots: Vec::new(),
        writes: 0,
    };
    run.open().unwrap();
    for _ in 0..MAX_OPS {
        if input.is_empty() {
            break;
        }
        run.step(&mut input);
    }
    run.check();
    run.snapshots.clear();
    if let Some((db, keyspaces)) = run.db.take() {
        drop(keyspaces);
        db.close().unwrap();
        run.states.drain(..run.states.len() - 1);
    }
    run.open().unwrap();
    run.check();
    run.db = None;
    // Queued jobs hold the machine, and the machine holds them.
    run.sim.crash(CrashStyle::KeepAll);
}

impl Run {
    fn open(&mut self) -> Result<()> {
        let access = if self.flags & 1 != 0 {
            Access::Pread
        } else {
            Access::Mapped
        };
        let db = Options::new()
            .write_buffer_size(16 << 10)
            .max_file_size(4 << 10)
            .max_log_size(if self.flags & 4 != 0 { 16 << 10 } else { 1 << 20 })
            .manifest_roll_size(1 << 10)
            .cache_size(if self.flags & 8 != 0 { 0 } else { 64 << 10 })
            .access(access)
            .env(self.sim.env())
            .open(DIR)?;
        let compression = if self.flags & 2 != 0 {
            Compression::Lz4
        } else {
            Compression::None
        };
        let order = |bit| match self.flags & bit {
            0 => Order::Key,
            _ => Order::Hash,
        };
        let layout = KeyspaceOptions::new()
            .compression(compression)
            .key_block_size(200)
            .partition_size(64)
            .value_block_size(200);
        let keyspaces = [
            db.keyspace_with(KEYSPACES[0], layout.clone().order(order(16)))?,
            db.keyspace_with(KEYSPACES[1], layout.filter(false).order(order(32)))?,
        ];
        self.db = Some((db, keyspaces));
        Ok(())
    }

    fn present(&self) -> &State {
        self.states.last().unwrap()
    }

    fn key(input: &mut Input<'_>) -> Vec<u8> {
        let n = input.u8();
        // Short keys, keys that share a long prefix, and the empty key.
        match n >> 6 {
            0 if n == 0 => Vec::new(),
            0 | 1 => vec![n & 63],
            _ => [&[b'p'; 40][..], &[n & 63, n >> 6]].concat(),
        }
    }

    fn value(&mut self, input: &mut Input<'_>) -> Vec<u8> {
        self.writes += 1;
        let seed = mix(self.writes);
        let len = match input.u8() {
            n @ 0..=99 => usize::from(n % 9),
            n @ 100..=239 => usize::from(n),
            n => 4080 + usize::from(n) * 2,
        };
        (0..len).map(|at| (seed >> (at % 5 * 8)) as u8).collect()
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let op = input.u8();
        let at = usize::from(op >> 7);
        match op & 31 {
            0..=13 => self.write(input, at, 1, Durability::Buffered),
            14 => self.write(input, at, 1, Durability::Sync),
            15..=17 => {
                let count = input.u8() % 12;
                self.write(input, at, count, Durability::Buffered);
            }
            18 => self.each(|db, _| db.flush()),
            19 => self.each(|_, keyspaces| keyspaces[at].compact_range::<&[u8], _>(..)),
            20 => self.each(|db, _| db.wait_for_background()),
            21 => drop(self.sim.run_one()),
            22 => {
                self.each(|db, _| db.sync());
                self.states.drain(..self.states.len() - 1);
            }
            23 => self.take_snapshot(),
            24 => drop(self.snapshots.pop()),
            25 | 26 => self.check_range(input, at),
            27 => self.check(),
            28 => self.crash(CrashStyle::KeepAll, None),
            29 => self.crash(CrashStyle::KeepNothing, None),
            30 => self.crash(CrashStyle::Random, None),
            _ => {
                let after = input.u8();
                self.crash(CrashStyle::Random, Some(after));
            }
        }
    }

    fn each(&self, act: impl Fn(&Db, &[Keyspace; 2]) -> Result<()>) {
        let (db, keyspaces) = self.db.as_ref().unwrap();
        act(db, keyspaces).unwrap();
    }

    fn write(&mut self, input: &mut Input<'_>, at: usize, count: u8, durability: Durability) {
        let result = self.try_write(input, at, count, durability);
        result.unwrap();
        if durability == Durability::Sync {
            self.states.drain(..self.states.len() - 1);
        }
    }

    /// Writes and adds the new state; a write that fails may have happened.
    fn try_write(
        &mut self,
        input: &mut Input<'_>,
        at: usize,
        count: u8,
        durability: Durability,
    ) -> Result<()> {
        let mut state = self.present().clone();
        let mut writes = Vec::new();
        for n in 0..usize::from(count) {
            let (key, at) = (Self::key(input), (at + n) % 2);
            let value = (input.u8() % 4 != 0).then(|| self.value(input));
            match &value {
                Some(value) => drop(state[at].insert(key.clone(), value.clone())),
                None => drop(state[at].remove(&key)),
            }
            writes.push((at, key, value));
        }
        self.states.push(state);
        let (db, keyspaces) = self.db.as_ref().unwrap();
        if let [(at, key, value)] = &writes[..] {
            return match value {
                Some(value) => keyspaces[*at].put_with(key, value, durability),
                None => keyspaces[*at].delete_with(key, durability),
            };
        }
        let mut batch = db.batch();
        for (at, key, value) in &writes {
            match value {
                Some(value) => batch.put(&keyspaces[*at], key, value),
                None => batch.delete(&keyspaces[*at], key),
            }
        }
        batch.commit(durability)
    }

    fn take_snapshot(&mut self) {
        let snapshot = self.db.as_ref().unwrap().0.snapshot();
        self.snapshots.push((snapshot, self.present().clone()));
        if self.snapshots.len() > 4 {
            self.snapshots.remove(0);
        }
    }

    /// Stops the machine, at once or in the middle of some work, and opens the database again.
    fn crash(&mut self, style: CrashStyle, after: Option<u8>) {
        if let Some(after) = after {
            let index = self.sim.io_count() + u64::from(after);
            self.sim.set_fault(Fault::PowerOffAt { index });
            let made_up: Vec<u8> = (0..90).map(|n| mix(u64::from(after) ^ n) as u8).collect();
            let mut input = Input(&made_up);
            for n in 0..6 {
                // What fails for this process may be found all the same.
                if self
                    .try_write(&mut input, n % 2, 2, Durability::Buffered)
                    .is_err()
                {
                    break;
                }
            }
            let (db, _) = self.db.as_ref().unwrap();
            let _ = db.flush();
            let _ = db.wait_for_background();
        }
        self.sim.power_off();
        self.snapshots.clear();
        self.db = None;
        self.sim.crash(style);
        self.open().unwrap();
        let found = self.read_all();
        let index = self.states.iter().rposition(|state| *state == found);
        let index = index.expect("a state that never was, or one older than the last sync");
        if style == CrashStyle::KeepAll {
            assert_eq!(found, *self.present());
        }
        // Opening has made it durable.
        self.states = vec![self.states.swap_remove(index)];
    }

    fn read_all(&self) -> State {
        let (_, keyspaces) = self.db.as_ref().unwrap();
        [0, 1].map(|at| entries(&keyspaces[at], None))
    }

    fn check(&self) {
        let (_, keyspaces) = self.db.as_ref().unwrap();
        let present = self.present();
        assert_eq!(self.read_all(), *present);
        for (keyspace, map) in keyspaces.iter().zip(present) {
            if !is_hashed(keyspace) {
                let backward = keyspace.iter().rev().map(|entry| entry.unwrap().0.to_vec());
                assert!(backward.eq(map.keys().rev().cloned()));
            }
            for key in all_keys() {
                assert_eq!(
                    keyspace.get(&key).unwrap().as_deref(),
                    map.get(&key).map(|value| &value[..])
                );
            }
        }
        for (snapshot, state) in &self.snapshots {
            for (keyspace, map) in keyspaces.iter().zip(state) {
                assert_eq!(entries(keyspace, Some(snapshot)), *map);
            }
        }
    }

    fn check_range(&self, input: &mut Input<'_>, at: usize) {
        let (low, high) = (Self::key(input), Self::key(input));
        let keyspace = &self.db.as_ref().unwrap().1[at];
        let mut range = keyspace.range(low.clone()..high.clone());
        let mut wanted = self.present()[at]
            .iter()
            .filter(|(key, _)| **key >= low && **key < high);
        let turns = input.u8();
        if is_hashed(keyspace) {
            assert!(matches!(range.next(), Some(Err(Error::HashOrder { .. }))));
            return;
        }
        for turn in 0.. {
            let (found, wanted) = match turns >> (turn % 8) & 1 {
                0 => (range.next(), wanted.next()),
                _ => (range.next_back(), wanted.next_back()),
            };
            let found = found.map(Result::unwrap);
            assert_eq!(
                found.as_ref().map(|(key, value)| (&key[..], &value[..])),
                wanted.map(|(key, value)| (&key[..], &value[..]))
            );
            if wanted.is_none() {
                break;
            }
        }
    }
}

fn is_hashed(keyspace: &Keyspace) -> bool {
    keyspace.options().get_order() == Order::Hash
}

/// All keys that `Run::key` gives.
fn all_keys() -> impl Iterator<Item = Vec<u8>> {
    (0..=255u8).map(|n| Run::key(&mut Input(&[n])))
}

/// All that is in a keyspace, by a range or, in hash order, by looking for every key.
fn entries(keyspace: &Keyspace, snapshot: Option<&Snapshot>) -> Map {
    let owned = |(key, value): (Slice, Slice)| (key.to_vec(), value.to_vec());
    if !is_hashed(keyspace) {
        let range = match snapshot {
            Some(snapshot) => snapshot.iter(keyspace),
            None => keyspace.iter(),
        };
        return range.map(|entry| owned(entry.unwrap())).collect();
    }
    let get = |key: Vec<u8>| {
        let value = match snapshot {
            Some(snapshot) => snapshot.get(keyspace, &key),
            None => keyspace.get(&key),
        };
        Some((key, value.unwrap()?.to_vec()))
    };
    all_keys().filter_map(get).collect()
}
