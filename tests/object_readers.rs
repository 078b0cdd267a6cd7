//! Two readers in the middle of a value while its key is overwritten, what it was is collected, and its pack removed: each goes on with the version that it has opened,
//! to the end, and the file goes with the last of them. On the simulated machine, whose removed files are gone for those who have them open.

mod support;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use packstone::env::sim::SimEnv;
use packstone::{Db, Keyspace, KeyspaceOptions, Options, ValueReader};
use support::data::noise;
use support::hooked;

const DIR: &str = "/db";
const PACK: u64 = 256 << 10;
/// Of the value that is read: several chunks. Longer than this a stream gets a pack of its own.
const LEN: usize = 200 << 10;
/// What is read at once.
const PIECE: usize = 5000;

/// What happens in a history.
#[derive(Clone, Copy, Debug)]
struct Plan {
    seed: u64,
    /// Values come as streams, which get packs of their own; otherwise others, which are moved, lie beside them.
    streams: bool,
    /// The collection is asked for, and does not come by itself.
    asked: bool,
    /// The step before which the first reader goes.
    leaves: u64,
}

/// Somebody who reads a value.
struct Reading {
    reader: ValueReader,
    content: Vec<u8>,
    at: usize,
    /// Where it reads next, seen from here; `None`: behind what it has read.
    jump: Option<usize>,
}

impl Reading {
    fn new(values: &Keyspace, content: &[u8], jump: Option<usize>) -> Reading {
        let reader = values.open("key").unwrap().expect("it was written");
        assert_eq!(reader.len(), content.len() as u64);
        Reading {
            reader,
            content: content.to_vec(),
            at: 0,
            jump,
        }
    }

    /// Reads a piece.
    fn go_on(&mut self) {
        let end = self.content.len().min(self.at + PIECE);
        let wanted = &self.content[self.at..end];
        let mut found = vec![0; wanted.len()];
        self.reader
            .read_exact(&mut found)
            .unwrap_or_else(|e| panic!("at {}: {e}", self.at));
        assert!(found == wanted, "at {}", self.at);
        self.at = end;
        if self.jump.is_some() || end == self.content.len() {
            self.at = (end + self.jump.unwrap_or(0)) % self.content.len();
            self.reader.seek(SeekFrom::Start(self.at as u64)).unwrap();
        }
    }
}

/// Everybody who reads, and when the first of them goes.
struct Readers {
    readings: Vec<Reading>,
    steps: u64,
    leaves: u64,
}

impl Readers {
    fn step(&mut self) {
        if self.steps == self.leaves {
            self.readings.remove(0);
        }
        self.steps += 1;
        self.readings.iter_mut().for_each(Reading::go_on);
    }
}

struct World {
    sim: SimEnv,
    db: Db,
    values: Keyspace,
    readers: Rc<RefCell<Readers>>,
}

fn content(plan: Plan, n: u64) -> Vec<u8> {
    let len = if plan.streams { LEN + PACK as usize } else { LEN };
    noise(plan.seed << 8 | n, len)
}

impl World {
    fn new(plan: Plan) -> World {
        let sim = SimEnv::new(plan.seed);
        sim.set_forgets_removed(true);
        let options = Options::new()
            .pack_size(PACK)
            .write_buffer_size(16 << 10)
            .env(hooked::hooked(sim.env()));
        let db = options.open(DIR).unwrap();
        let objects = KeyspaceOptions::new().object_threshold(Some(1000));
        let values = db.keyspace_with("values", objects).unwrap();
        let readers = Readers {
            readings: Vec::new(),
            steps: 0,
            leaves: plan.leaves,
        };
        World {
            sim,
            db,
            values,
            readers: Rc::new(RefCell::new(readers)),
        }
    }

    fn packs(&self) -> BTreeSet<PathBuf> {
        let is_pack = |path: &PathBuf| path.extension().is_some_and(|end| end == "pack");
        self.sim.list().into_iter().filter(is_pack).collect()
    }

    /// Makes content `n` the value of "key", with others beside it; gives the packs that are new with it.
    fn put(&self, plan: Plan, n: u64) -> BTreeSet<PathBuf> {
        let before = self.packs();
        let content = content(plan, n);
        match plan.streams {
            true => drop(self.values.put_reader("key", &content[..]).unwrap()),
            false => {
                self.values.put("key", content).unwrap();
                self.values.put(n.to_be_bytes(), self.neighbour(n)).unwrap();
            }
        }
        self.packs().difference(&before).cloned().collect()
    }

    fn neighbour(&self, n: u64) -> Vec<u8> {
        noise(0xBE51DE00 + n, 20_000)
    }

    fn open(&self, plan: Plan, n: u64, jump: Option<usize>) {
        let reading = Reading::new(&self.values, &content(plan, n), jump);
        self.readers.borrow_mut().readings.push(reading);
    }

    /// Does it; before each of its calls to the file system everybody reads on.
    fn amid_reads<T>(&self, work: impl FnOnce() -> T) -> T {
        let readers = self.readers.clone();
        hooked::during(Path::new(DIR), move |_| readers.borrow_mut().step(), work)
    }

    /// Everything that is due, job by job.
    fn run_jobs(&self) {
        while self.amid_reads(|| self.sim.run_one()) {
            self.readers.borrow_mut().step();
        }
    }

    /// Lets the last reader go; the files of what it read are there before, and not after.
    fn last_leaves(&self, packs: &BTreeSet<PathBuf>) {
        self.run_jobs();
        assert!(self.packs().is_superset(packs), "{packs:?} of {:?}", self.packs());
        self.readers.borrow_mut().readings.remove(0);
        self.run_jobs();
        assert!(self.packs().is_disjoint(packs), "{packs:?} of {:?}", self.packs());
    }
}

/// Gives the number of steps.
fn history(plan: Plan) -> u64 {
    let world = World::new(plan);
    let first = world.put(plan, 1);
    assert!(!first.is_empty());
    world.open(plan, 1, None);
    world.open(plan, 1, Some(61_111));
    let second = world.amid_reads(|| world.put(plan, 2));
    world.open(plan, 2, Some(70_001));
    let third = world.amid_reads(|| world.put(plan, 3));
    assert!(!second.is_empty() && !third.is_empty());
    world.amid_reads(|| world.db.flush()).unwrap();
    world
        .amid_reads(|| world.values.compact_range::<&[u8], _>(..))
        .unwrap();
    if plan.asked {
        world.amid_reads(|| world.db.collect_garbage()).unwrap();
    }
    world.run_jobs();
    // The database knows only what is live.
    let known = world.db.metrics().objects.packs;
    let gone = (first.len() + second.len()) as u64;
    assert_eq!(world.packs().len() as u64, known + gone, "{:?}", world.packs());
    let steps = world.readers.borrow().steps;
    if world.readers.borrow().readings.len() == 3 {
        world.readers.borrow_mut().readings.remove(0);
    }
    world.last_leaves(&first);
    world.last_leaves(&second);
    assert_eq!(world.packs().len() as u64, known);
    assert!(world.values.get("key").unwrap().unwrap() == content(plan, 3)[..]);
    for n in 1..=3 {
        let beside = world.values.get(u64::to_be_bytes(n)).unwrap();
        assert!(plan.streams || beside.unwrap() == world.neighbour(n)[..]);
    }
    world.db.close().unwrap();
    steps
}

/// The first reader goes before each step in turn.
fn at_each_step(streams: bool, asked: bool) {
    for seed in 1..=2 {
        let plan = |leaves| Plan {
            seed,
            streams,
            asked,
            leaves,
        };
        let steps = history(plan(u64::MAX));
        for leaves in 0..steps {
            history(plan(leaves));
        }
        println!("{:?}: {steps} steps", plan(u64::MAX));
    }
}

#[test]
fn readers_keep_their_version_while_its_pack_is_collected() {
    at_each_step(false, false);
}

#[test]
fn readers_keep_their_version_while_a_collection_is_asked_for() {
    at_each_step(false, true);
}

#[test]
fn readers_of_streams_keep_their_version_while_its_pack_is_collected() {
    at_each_step(true, false);
}

#[test]
fn readers_of_streams_keep_their_version_while_a_collection_is_asked_for() {
    at_each_step(true, true);
}
