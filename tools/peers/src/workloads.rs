//! The workloads, in the order in which one process runs them on one database.

use std::path::Path;
use std::time::Instant;

use crate::Result;
use crate::data::{Checker, Random, fill_value, key};
use crate::engine::{Engine, Settings, open};
use crate::measure::{MemoryPeak, disk_usage, written};

/// How many entries a seek reads.
pub(crate) const SEEK_LEN: u64 = 10;

/// How much there is to do.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) entries: u64,
    pub(crate) reads: u64,
    pub(crate) seeks: u64,
    pub(crate) value_size: usize,
}

/// A figure: its name (as in the table of `report`), and its value.
pub(crate) type Figure = (&'static str, f64);

pub(crate) fn run(engine: &str, dir: &Path, settings: Settings, plan: Plan) -> Result<Vec<Figure>> {
    let peak = MemoryPeak::start()?;
    let before = written()?;
    let engine = open(engine, dir, settings)?;
    let db = engine.as_ref();
    let mut figures = load(db, plan)?;
    let after = written()?;
    figures.push(("disk", disk_usage(dir)? as f64));
    figures.push(("written_calls", (after.calls - before.calls) as f64));
    figures.push(("written_pages", (after.pages - before.pages) as f64));
    figures.push(("peak_load", peak.so_far() as f64));
    figures.push(("readrandom", read_present(db, plan)?));
    figures.push(("readmissing", read_absent(db, plan)?));
    figures.push(("readseq", read_all(db, plan, false)?));
    figures.push(("readreverse", read_all(db, plan, true)?));
    figures.push(("seekrandom", seek(db, plan)?));
    figures.push(("peak_all", peak.so_far() as f64));
    engine.close()?;
    Ok(figures)
}

/// Operations a second.
fn rate(operations: u64, start: Instant) -> f64 {
    operations as f64 / start.elapsed().as_secs_f64()
}

fn load(db: &dyn Engine, plan: Plan) -> Result<Vec<Figure>> {
    let mut value = vec![0; plan.value_size];
    let start = Instant::now();
    for number in 0..plan.entries {
        let key = key(number);
        fill_value(&key, &mut value);
        db.put(&key, &value)?;
    }
    let fill = rate(plan.entries, start);
    let uncharged = db.settle()?;
    let settled = start.elapsed().saturating_sub(uncharged);
    Ok(vec![("fillrandom", fill), ("settled", settled.as_secs_f64())])
}

fn read_present(db: &dyn Engine, plan: Plan) -> Result<f64> {
    let (mut random, mut checker) = (Random::new(1), Checker::new(plan.value_size));
    let start = Instant::now();
    for _ in 0..plan.reads {
        let key = key(random.below(plan.entries));
        if !db.get(&key, &mut |value| checker.check(&key, value))? {
            return Err(format!("key {} is missing", key.escape_ascii()).into());
        }
    }
    Ok(rate(plan.reads, start))
}

fn read_absent(db: &dyn Engine, plan: Plan) -> Result<f64> {
    let mut random = Random::new(2);
    let start = Instant::now();
    for _ in 0..plan.reads {
        let key = key(plan.entries + random.below(plan.entries));
        if db.get(&key, &mut |_| Ok(()))? {
            return Err(format!("key {} was never written", key.escape_ascii()).into());
        }
    }
    Ok(rate(plan.reads, start))
}

/// Checks that a scan gives keys in strict order, with their values.
struct Order {
    previous: Vec<u8>,
    backwards: bool,
    seen: u64,
    checker: Checker,
}

impl Order {
    fn new(plan: Plan, backwards: bool) -> Self {
        Order {
            previous: Vec::new(),
            backwards,
            seen: 0,
            checker: Checker::new(plan.value_size),
        }
    }

    fn visit(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if self.seen > 0 && ((self.previous.as_slice() < key) == self.backwards || self.previous == key) {
            return Err(format!("key {} is out of order", key.escape_ascii()).into());
        }
        self.checker.check(key, value)?;
        self.previous.clear();
        self.previous.extend_from_slice(key);
        self.seen += 1;
        Ok(())
    }
}

fn read_all(db: &dyn Engine, plan: Plan, backwards: bool) -> Result<f64> {
    let mut order = Order::new(plan, backwards);
    let start = Instant::now();
    db.scan(backwards, &mut |key, value| {
        order.visit(key, value).map(|()| true)
    })?;
    let rate = rate(order.seen, start);
    if order.seen != plan.entries {
        return Err(format!("a scan gave {} of {} entries", order.seen, plan.entries).into());
    }
    Ok(rate)
}

fn seek(db: &dyn Engine, plan: Plan) -> Result<f64> {
    let mut random = Random::new(3);
    let mut order = Order::new(plan, false);
    let start = Instant::now();
    for _ in 0..plan.seeks {
        let from = key(random.below(plan.entries));
        order.seen = 0;
        db.seek(&from, &mut |key, value| {
            if order.seen == 0 && key != from {
                return Err(format!("a seek to {} missed it", from.escape_ascii()).into());
            }
            order.visit(key, value)?;
            Ok(order.seen < SEEK_LEN)
        })?;
        if order.seen == 0 {
            return Err(format!("a seek to {} found nothing", from.escape_ascii()).into());
        }
    }
    Ok(rate(plan.seeks, start))
}
