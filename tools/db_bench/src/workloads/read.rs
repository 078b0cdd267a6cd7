//! Look-ups of keys.

use super::worker::Worker;
use crate::failure::{Failure, Outcome};
use crate::measure::Op;

/// The share of the keys that readhot reads: LevelDB's.
const HOT_SHARE: u64 = 100;

pub(super) fn random(worker: &mut Worker<'_>) -> Outcome<()> {
    let num = worker.task.num;
    read(worker, num)?;
    // RocksDB ends this message with a newline.
    worker.stats.note = "\n".into();
    Ok(())
}

pub(super) fn hot(worker: &mut Worker<'_>) -> Outcome<()> {
    let num = worker.task.num;
    read(worker, num.div_ceil(HOT_SHARE))
}

/// Reads below `range`, skewed as the flags say.
fn read(worker: &mut Worker<'_>, range: u64) -> Outcome<()> {
    let mut budget = worker.budget(worker.task.reads);
    while !worker.is_cancelled() && budget.take(1) > 0 {
        let number = worker.random_number() % range;
        worker.stats.bytes += worker.get(number, None)?.unwrap_or(0);
        worker.finished(Op::Read, 1);
        worker.pace_read();
    }
    Ok(())
}

pub(super) fn missing(worker: &mut Worker<'_>) -> Outcome<()> {
    let mut budget = worker.budget(worker.task.reads);
    while !worker.is_cancelled() && budget.take(1) > 0 {
        let number = worker.random_number();
        worker.get_absent(number)?;
        worker.finished(Op::Read, 1);
        worker.pace_read();
    }
    Ok(())
}

/// The engine has no look-up of several keys at once: they are sorted and looked up in one snapshot.
pub(super) fn multi(worker: &mut Worker<'_>) -> Outcome<()> {
    let mut budget = worker.budget(worker.task.reads);
    let mut numbers = Vec::new();
    while !worker.is_cancelled() {
        let entries = budget.take(worker.task.batch_size as u64);
        if entries == 0 {
            break;
        }
        numbers.clear();
        for _ in 0..entries {
            numbers.push(worker.random_number());
        }
        numbers.sort_unstable();
        let snapshot = worker.database.db.snapshot();
        for number in &numbers {
            worker.stats.bytes += worker.get(*number, Some(&snapshot))?.unwrap_or(0);
        }
        worker.finished(Op::Read, entries);
        worker.pace_read();
    }
    Ok(())
}

/// Reads a key, and writes a new value for it.
pub(super) fn update(worker: &mut Worker<'_>) -> Outcome<()> {
    let mut budget = worker.budget(worker.task.reads_writes);
    while !worker.is_cancelled() && budget.take(1) > 0 {
        let number = worker.random.below(worker.task.num);
        let found = worker.get(number, None)?;
        let written = worker.put(number, None)?;
        worker.stats.bytes += found.unwrap_or(0) + written;
        worker.stats.count("updates", 1);
        worker.stats.count("found", u64::from(found.is_some()));
        worker.finished(Op::Update, 1);
        worker.pace_write(written);
    }
    Ok(())
}

/// Makes ranges over everything without stepping into them; one more at the end, which must work.
pub(super) fn new_iterator(worker: &mut Worker<'_>) -> Outcome<()> {
    let mut budget = worker.budget(worker.task.reads);
    let empty = worker.database.oracle.len() == Some(0);
    let mut made: u64 = 0;
    while !worker.is_cancelled() && budget.take(1) > 0 {
        drop(worker.database.keyspace_of(0).iter());
        made += 1;
        worker.finished(Op::Other, 1);
    }
    let first = worker
        .database
        .keyspaces
        .iter()
        .find_map(|keyspace| keyspace.first().transpose());
    match first.transpose()? {
        Some(_) if empty => Err(Failure("the iterator finds an entry in an empty database".into())),
        Some((key, value)) => worker.check_entry(&key, &value),
        None if !empty && worker.database.oracle.len().is_some() && made > 0 => {
            Err(Failure("the iterator finds nothing".into()))
        }
        None => Ok(()),
    }
}
