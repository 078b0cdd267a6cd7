//! Seeks, and scans of everything.

use super::Run;
use crate::Result;
use crate::catalogue::SEEK_LEN;
use crate::data::{Checker, Random};
use crate::engines::{Reader, View};

/// A thread adds its number.
const SEED: u64 = 4000;

/// Checks that a scan gives keys in strict order, with their values.
pub(super) struct Order {
    previous: Vec<u8>,
    backwards: bool,
    pub(super) seen: u64,
    checker: Checker,
}

impl Order {
    pub(super) fn new(checker: Checker, backwards: bool) -> Self {
        Order {
            previous: Vec::new(),
            backwards,
            seen: 0,
            checker,
        }
    }

    pub(super) fn visit(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let right = if self.backwards {
            self.previous.as_slice() > key
        } else {
            self.previous.as_slice() < key
        };
        if self.seen > 0 && !right {
            return Err(format!("key {} is out of order", key.escape_ascii()).into());
        }
        self.checker.check(key, value)?;
        self.previous.clear();
        self.previous.extend_from_slice(key);
        self.seen += 1;
        Ok(())
    }

    /// Reads at most `len` entries from a key that is there.
    pub(super) fn seek(&mut self, reader: &mut dyn Reader, from: &[u8], len: u64) -> Result<()> {
        self.seen = 0;
        reader.scan(Some(from), self.backwards, &mut |key, value| {
            if self.seen == 0 && key != from {
                return Err(format!("a seek to {} missed it", from.escape_ascii()).into());
            }
            self.visit(key, value)?;
            Ok(self.seen < len)
        })?;
        match self.seen {
            0 => Err(format!("a seek to {} found nothing", from.escape_ascii()).into()),
            _ => Ok(()),
        }
    }
}

impl Run<'_> {
    pub(super) fn seek(&mut self, name: &str, backwards: bool) -> Result<()> {
        let (limit, asked, entries) = (self.limit(), self.plan.seeks, self.entries);
        let (keys, db) = (self.keys.clone(), self.db);
        let (values, versions) = (self.values.clone(), self.versions);
        let shares: Vec<u64> = (0..self.plan.threads as u64)
            .map(|t| self.share(asked, t))
            .collect();
        self.timed(name, |thread| {
            let mut random = Random::new(SEED + thread);
            let mut order = Order::new(Checker::new(&values, versions), backwards);
            let mut reader = db.reader(View::Still)?;
            let mut from = Vec::new();
            let share = shares[thread as usize];
            for i in 0..share {
                if limit.ends(i) {
                    return Ok(i);
                }
                keys.present(random.below(entries), &mut from);
                order.seek(reader.as_mut(), &from, SEEK_LEN)?;
            }
            Ok(share)
        })?;
        Ok(())
    }

    pub(super) fn scan(&mut self, name: &str, backwards: bool) -> Result<()> {
        let (db, entries) = (self.db, self.entries);
        let (values, versions) = (self.values.clone(), self.versions);
        self.timed(name, |_| {
            let mut order = Order::new(Checker::new(&values, versions), backwards);
            db.reader(View::Still)?.scan(None, backwards, &mut |key, value| {
                order.visit(key, value).map(|()| true)
            })?;
            if order.seen != entries {
                return Err(format!("a scan gave {} of {entries} entries", order.seen).into());
            }
            Ok(order.seen)
        })?;
        Ok(())
    }
}
