//! Point reads.

use draws::Permutation;

use super::Run;
use crate::Result;
use crate::catalogue::Access;
use crate::data::{Random, Zipf};
use crate::engines::View;

/// Seeds of the workloads' random numbers; a thread adds its number.
const READ_SEED: u64 = 1000;
const MISSING_SEED: u64 = 2000;
/// Which keys are hot follows from this.
const HOT_SEED: u64 = 3000;

/// Draws the numbers of entries.
pub(super) struct Chooser {
    access: Access,
    entries: u64,
    hot: Permutation,
    zipf: Zipf,
}

impl Chooser {
    pub(super) fn new(access: Access, entries: u64) -> Self {
        Chooser {
            access,
            entries,
            hot: Permutation::new(entries, HOT_SEED),
            zipf: Zipf::new(entries),
        }
    }

    pub(super) fn next(&self, random: &mut Random) -> u64 {
        match self.access {
            Access::Uniform => random.below(self.entries),
            Access::Hot => self.hot.at(random.below((self.entries / 100).max(1))),
            Access::Zipf => self.zipf.next(random).min(self.entries - 1),
        }
    }
}

impl Run<'_> {
    pub(super) fn read(&mut self, name: &str, access: Access) -> Result<()> {
        let chooser = Chooser::new(access, self.entries);
        let (limit, asked) = (self.limit(), self.plan.operations);
        let (keys, db) = (self.keys.clone(), self.db);
        let shares: Vec<u64> = (0..self.plan.threads as u64)
            .map(|t| self.share(asked, t))
            .collect();
        let (values, versions) = (self.values.clone(), self.versions);
        self.timed(name, |thread| {
            let mut random = Random::new(READ_SEED + thread);
            let mut checker = crate::data::Checker::new(&values, versions);
            let mut reader = db.reader(View::Still)?;
            let mut key = Vec::new();
            let share = shares[thread as usize];
            for i in 0..share {
                if limit.ends(i) {
                    return Ok(i);
                }
                keys.present(chooser.next(&mut random), &mut key);
                if !reader.get(&key, &mut |value| checker.check(&key, value))? {
                    return Err(format!("key {} is missing", key.escape_ascii()).into());
                }
            }
            Ok(share)
        })?;
        Ok(())
    }

    pub(super) fn read_missing(&mut self, name: &str) -> Result<()> {
        let (limit, asked, entries) = (self.limit(), self.plan.operations, self.entries);
        let (keys, db) = (self.keys.clone(), self.db);
        let shares: Vec<u64> = (0..self.plan.threads as u64)
            .map(|t| self.share(asked, t))
            .collect();
        self.timed(name, |thread| {
            let mut random = Random::new(MISSING_SEED + thread);
            let mut reader = db.reader(View::Still)?;
            let mut key = Vec::new();
            let share = shares[thread as usize];
            for i in 0..share {
                if limit.ends(i) {
                    return Ok(i);
                }
                keys.absent(random.below(entries), &mut key);
                if reader.get(&key, &mut |_| Ok(()))? {
                    return Err(format!("key {} was never written", key.escape_ascii()).into());
                }
            }
            Ok(share)
        })?;
        Ok(())
    }
}
