//! YCSB's core workloads A to F (Cooper et al., "Benchmarking Cloud Serving Systems with YCSB", 2010), with records of
//! one value. They run on one database in the order A, B, C, D, E, F.

use super::Run;
use super::scan::Order;
use crate::Result;
use crate::catalogue::{Access, Ycsb};
use crate::data::{Checker, Keys, Random, Values, Zipf};
use crate::engines::{Engine, Reader, View};
use crate::workloads::read::Chooser;

/// A thread adds its number.
const SEED: u64 = 7000;
const LONGEST_SCAN: u64 = 100;
/// Updates write this version; loads and inserts write 0.
const UPDATED: u64 = 1;
/// Percent of writes from which on background work matters.
const HALF: u64 = 50;

/// Percent of the operations; the rest reads.
struct Mix {
    update: u64,
    insert: u64,
    scan: u64,
    modify: u64,
}

impl Ycsb {
    fn mix(self) -> Mix {
        let (update, insert, scan, modify) = match self {
            Ycsb::A => (50, 0, 0, 0),
            Ycsb::B => (5, 0, 0, 0),
            Ycsb::C => (0, 0, 0, 0),
            Ycsb::D => (0, 5, 0, 0),
            Ycsb::E => (0, 5, 95, 0),
            Ycsb::F => (0, 0, 0, 50),
        };
        Mix {
            update,
            insert,
            scan,
            modify,
        }
    }
}

/// One thread of a workload.
struct Client<'a> {
    db: &'a dyn Engine,
    keys: Keys,
    values: Values,
    chooser: Chooser,
    zipf: Zipf,
    /// Reads ask for what was inserted last.
    latest: bool,
    random: Random,
    entries: u64,
    /// This thread inserts the numbers `first`, `first + step`, ...: so many so far.
    first: u64,
    step: u64,
    inserted: u64,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Client<'_> {
    /// The number of an entry to read. With `latest`, ranks count backwards over what this thread has inserted, and then
    /// over the load.
    fn choose(&mut self) -> u64 {
        if !self.latest {
            return self.chooser.next(&mut self.random);
        }
        let rank = self.zipf.rank(&mut self.random);
        match self.inserted.checked_sub(rank + 1) {
            Some(place) => self.first + place * self.step,
            None => (self.entries - 1).saturating_sub(rank - self.inserted),
        }
    }

    fn read(&mut self, reader: &mut dyn Reader, checker: &mut Checker) -> Result<()> {
        let number = self.choose();
        self.keys.present(number, &mut self.key);
        if !reader.get(&self.key, &mut |value| checker.check(&self.key, value))? {
            return Err(format!("key {} is missing", self.key.escape_ascii()).into());
        }
        Ok(())
    }

    /// Writes the entry whose key is at hand.
    fn write(&mut self, version: u64) -> Result<()> {
        self.values.write(&self.key, version, &mut self.value);
        self.db.put(&self.key, &self.value)
    }

    fn insert(&mut self) -> Result<()> {
        let number = self.first + self.inserted * self.step;
        self.keys.present(number, &mut self.key);
        self.write(0)?;
        self.inserted += 1;
        Ok(())
    }

    fn operation(
        &mut self,
        mix: &Mix,
        reader: &mut dyn Reader,
        order: &mut Order,
        checker: &mut Checker,
    ) -> Result<()> {
        let mut draw = self.random.below(100);
        let mut is = |percent: u64| {
            let hit = draw < percent;
            draw = draw.wrapping_sub(percent);
            hit
        };
        if is(mix.update) {
            let number = self.choose();
            self.keys.present(number, &mut self.key);
            self.write(UPDATED)
        } else if is(mix.insert) {
            self.insert()
        } else if is(mix.scan) {
            let number = self.choose();
            self.keys.present(number, &mut self.key);
            let len = 1 + self.random.below(LONGEST_SCAN);
            order.seek(reader, &self.key, len)
        } else if is(mix.modify) {
            self.read(reader, checker)?;
            self.write(UPDATED)
        } else {
            self.read(reader, checker)
        }
    }
}

impl Run<'_> {
    pub(super) fn ycsb(&mut self, name: &str, ycsb: Ycsb) -> Result<()> {
        self.versions.1 = UPDATED;
        let asked = match ycsb {
            Ycsb::E => self.plan.seeks,
            _ => self.plan.operations,
        };
        let limit = self.limit();
        let (db, threads, entries) = (self.db, self.plan.threads as u64, self.entries);
        let (keys, values, versions, next) =
            (&self.keys.clone(), &self.values.clone(), self.versions, self.next);
        let shares: Vec<u64> = (0..threads).map(|t| self.share(asked, t)).collect();
        let mix = ycsb.mix();
        let view = match ycsb {
            Ycsb::C => View::Still,
            _ => View::Fresh,
        };
        let done = self.timed(name, |thread| {
            let mut client = Client {
                db,
                keys: keys.clone(),
                values: values.clone(),
                chooser: Chooser::new(Access::Zipf, entries),
                zipf: Zipf::new(entries),
                latest: ycsb == Ycsb::D,
                random: Random::new(SEED + thread),
                entries,
                first: next + thread,
                step: threads,
                inserted: 0,
                key: Vec::new(),
                value: Vec::new(),
            };
            let mut reader = db.reader(view)?;
            let mut checker = Checker::new(values, versions);
            let mut order = Order::new(Checker::new(values, versions), false);
            let share = shares[thread as usize];
            for i in 0..share {
                if limit.ends(i) {
                    return Ok(i);
                }
                client.operation(&mix, reader.as_mut(), &mut order, &mut checker)?;
            }
            Ok(share)
        })?;
        if mix.update + mix.modify >= HALF {
            self.note_cut(name, done, asked);
        }
        // No thread inserts more than it has operations.
        self.next += asked + threads;
        Ok(())
    }
}
