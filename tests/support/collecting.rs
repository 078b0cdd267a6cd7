//! Random histories of overwrites and collections on the simulated machine: equal contents come again while what they were is being collected, batches are held
//! open, the power goes off in the middle of anything. Whatever a key has must be there, and must be what was once written to it; what nobody needs must go.

use std::collections::{BTreeMap, BTreeSet};

use packstone::env::sim::{CrashStyle, Fault, SimEnv};
use packstone::pack::{ArchiveWriter, PackOptions};
use packstone::{AdoptMode, AdoptOptions, Batch, Db, Durability, Keyspace, KeyspaceOptions, Options, Result};

use crate::support::data::noise;
use crate::support::rng::Rng;

const KEYS: u64 = 12;
const CONTENTS: u64 = 16;

/// Content `n`: of a length of its own, and told by its first bytes.
fn content(n: u64) -> Vec<u8> {
    let len = 300 + Rng::new(n).below(1200) as usize;
    let mut content = n.to_le_bytes().to_vec();
    content.extend(noise(n, len - 8));
    content
}

struct World {
    sim: SimEnv,
    open: Option<(Db, Keyspace)>,
    /// What has ever been written to a key.
    written: BTreeMap<u64, BTreeSet<u64>>,
    /// What every key has, if no write has failed since the last look.
    expected: Option<BTreeMap<u64, u64>>,
    /// The archives that have been made so far.
    archives: u64,
}

impl World {
    fn open(&mut self) -> Result<()> {
        let options = Options::new()
            .env(self.sim.env())
            .pack_size(4 << 10)
            .write_buffer_size(4 << 10)
            .background_threads(1);
        let db = options.open("/db")?;
        let objects = KeyspaceOptions::new().object_threshold(Some(100));
        let values = db.keyspace_with("values", objects)?;
        self.open = Some((db, values));
        Ok(())
    }

    /// Every key has what was written to it at some time, and now, if that is known.
    fn look(&mut self) {
        let Some((_, values)) = &self.open else { return };
        let mut found = BTreeMap::new();
        for entry in values.iter() {
            let (key, value) = match entry {
                Ok(entry) => entry,
                Err(_) if self.sim.is_off() => return,
                Err(e) => panic!("an entry can't be read: {e}"),
            };
            let key = u64::from_be_bytes(key[..].try_into().unwrap());
            let n = u64::from_le_bytes(value[..8].try_into().unwrap());
            assert!(value == content(n)[..], "content {n} of key {key}");
            assert!(
                self.written.get(&key).is_some_and(|written| written.contains(&n)),
                "key {key} has {n}"
            );
            found.insert(key, n);
        }
        match &self.expected {
            Some(expected) => assert_eq!(&found, expected),
            None => self.expected = Some(found),
        }
    }

    fn note(&mut self, key: u64, n: Option<u64>, outcome: &Result<()>) {
        if let Some(n) = n {
            self.written.entry(key).or_default().insert(n);
        }
        match (outcome, &mut self.expected) {
            (Ok(()), Some(expected)) => match n {
                Some(n) => drop(expected.insert(key, n)),
                None => drop(expected.remove(&key)),
            },
            _ => self.expected = None,
        }
    }

    fn step(&mut self, random: &mut Rng, held: &mut Option<(Batch, Vec<(u64, u64)>)>) {
        let Some((db, values)) = self.open.clone() else {
            return;
        };
        let key = random.below(KEYS);
        let n = random.below(CONTENTS);
        match random.below(25) {
            0..=6 => {
                let durability = match random.below(3) {
                    0 => Durability::Sync,
                    _ => Durability::Buffered,
                };
                let outcome = values.put_with(key.to_be_bytes(), content(n), durability);
                self.note(key, Some(n), &outcome);
            }
            7..=8 => {
                let outcome = values.delete(key.to_be_bytes());
                self.note(key, None, &outcome);
            }
            9 => {
                let outcome = values.put_reader(key.to_be_bytes(), &content(n)[..]).map(|_| ());
                self.note(key, Some(n), &outcome);
            }
            // A batch that has stored its objects, and says so later, or never.
            10..=11 => {
                let (batch, writes) = held.get_or_insert_with(|| (db.batch(), Vec::new()));
                batch.put(&values, key.to_be_bytes(), content(n));
                writes.push((key, n));
            }
            12 => {
                if let Some((batch, writes)) = held.take()
                    && random.below(4) > 0
                {
                    let outcome = batch.commit(Durability::Buffered);
                    for (key, n) in writes {
                        self.note(key, Some(n), &outcome);
                    }
                }
            }
            13..=18 => drop(self.sim.run_one()),
            19 => drop(db.flush()),
            20 => drop(values.compact_range::<&[u8], _>(..)),
            21 => drop(db.collect_garbage()),
            22 => self.sim.run_until_idle(),
            23 => self.adopt(&values, random),
            _ => self.look(),
        }
    }

    /// An archive of some contents, which may be there already, and some of which are copied or moved.
    fn adopt(&mut self, values: &Keyspace, random: &mut Rng) {
        self.archives += 1;
        let path = format!("/{}.archive", self.archives);
        let options = PackOptions::default().env(self.sim.env()).sort_memory(512 << 10);
        let writes: BTreeMap<u64, u64> = (0..1 + random.below(6))
            .map(|_| (random.below(KEYS), random.below(CONTENTS)))
            .collect();
        let archive = ArchiveWriter::create(&path, &options).and_then(|mut writer| {
            for (key, n) in &writes {
                writer.add(&key.to_be_bytes(), b"", &content(*n))?;
            }
            writer.finish()
        });
        if archive.is_err() {
            return;
        }
        let mode = match random.below(3) {
            0 => AdoptMode::Copy,
            _ => AdoptMode::Move,
        };
        let outcome = values.adopt_archive(&path, &AdoptOptions::new().mode(mode));
        let outcome = outcome.map(|report| assert_eq!(report.keys, writes.len() as u64));
        for (key, n) in writes {
            self.note(key, Some(n), &outcome);
        }
        if outcome.is_ok() && random.below(3) == 0 {
            // All of it is durable now.
            let expected = self.expected.clone();
            self.power_cut(random);
            self.expected = expected;
            self.open().unwrap();
            self.look();
        }
    }

    fn crash(&mut self, random: &mut Rng) {
        self.power_cut(random);
        // Unsynced writes may have gone: what is left is a prefix, which the other tests look at.
        self.expected = None;
        self.open().unwrap();
        self.look();
    }

    fn power_cut(&mut self, random: &mut Rng) {
        self.sim.power_off();
        self.open = None;
        let styles = [
            CrashStyle::KeepNothing,
            CrashStyle::KeepAll,
            CrashStyle::Random,
            CrashStyle::Blocks,
        ];
        self.sim.crash(styles[random.below(4) as usize]);
    }
}

/// One history. REQUIRES: one thread.
pub(crate) fn history(seed: u64) {
    let mut random = Rng::new(seed);
    let mut world = World {
        sim: SimEnv::new(seed),
        open: None,
        written: BTreeMap::new(),
        expected: Some(BTreeMap::new()),
        archives: 0,
    };
    world.open().unwrap();
    let mut held = None;
    for _ in 0..400 {
        world.step(&mut random, &mut held);
        if random.below(60) == 0 {
            // In the middle of one of the next steps, or between two.
            if random.below(3) > 0 {
                let index = world.sim.io_count() + random.below(60);
                world.sim.set_fault(Fault::PowerOffAt { index });
                for _ in 0..20 {
                    if !world.sim.is_off() {
                        world.step(&mut random, &mut held);
                    }
                }
            }
            held = None;
            world.crash(&mut random);
        }
    }
    drop(held);
    world.look();
    // What nobody needs goes by itself: each key is written again and again.
    let (db, values) = world.open.clone().unwrap();
    for n in 0..40 * KEYS {
        values.put((n % KEYS).to_be_bytes(), content(1000 + n)).unwrap();
    }
    db.flush().unwrap();
    db.wait_for_background().unwrap();
    values.compact_range::<&[u8], _>(..).unwrap();
    db.wait_for_background().unwrap();
    let live: u64 = values.iter().map(|entry| entry.unwrap().1.len() as u64).sum();
    let bytes = db.metrics().objects.bytes;
    assert!(
        bytes < 4 * live + (16 << 10),
        "{bytes} bytes of packs, {live} of them live"
    );
    db.collect_garbage().unwrap();
    world.sim.run_until_idle();
    let bytes = db.metrics().objects.bytes;
    // Packs of 4 KiB have as much of indexes as of objects.
    assert!(
        bytes < 3 * live + (8 << 10),
        "{bytes} bytes of packs, {live} of them live"
    );
    let entries: Vec<_> = values.iter().map(Result::unwrap).collect();
    assert_eq!(entries.len() as u64, KEYS);
}
