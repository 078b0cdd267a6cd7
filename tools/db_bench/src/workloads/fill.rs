//! Writes without reads: fills, overwrites, deletes.

use super::task::Budget;
use super::worker::Worker;
use crate::failure::Outcome;
use crate::measure::Op;
use draws::Permutation;

/// In which order keys are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Sequential,
    Random,
    /// Every key once.
    Unique,
}

pub(super) fn sequential(worker: &mut Worker<'_>) -> Outcome<()> {
    fill(worker, Order::Sequential)
}

pub(super) fn random(worker: &mut Worker<'_>) -> Outcome<()> {
    fill(worker, Order::Random)
}

pub(super) fn unique(worker: &mut Worker<'_>) -> Outcome<()> {
    fill(worker, Order::Unique)
}

fn fill(worker: &mut Worker<'_>, order: Order) -> Outcome<()> {
    // As in RocksDB, only random writes go on for a duration: the others have an end.
    let (num, writes) = (worker.task.num, worker.task.writes);
    let mut budget = match order {
        Order::Random => worker.budget(writes),
        Order::Sequential => Budget::new(writes, None),
        Order::Unique => Budget::new(writes.min(num), None),
    };
    let permutation = Permutation::new(num, worker.random.next());
    let mut next = 0;
    let mut number = move |worker: &mut Worker<'_>| {
        next += 1;
        match order {
            Order::Sequential => next - 1,
            Order::Random => worker.random.below(num),
            Order::Unique => permutation.at(next - 1),
        }
    };
    let batch_size = worker.task.batch_size as u64;
    while !worker.is_cancelled() {
        let entries = budget.take(batch_size);
        let bytes = match entries {
            0 => break,
            1 => {
                let number = number(worker);
                worker.put(number, None)?
            }
            _ => put_batch(worker, entries, &mut number)?,
        };
        worker.stats.bytes += bytes;
        worker.finished(Op::Write, entries);
        worker.pace_write(bytes);
    }
    if worker.task.scaled {
        worker.stats.note = format!("({} ops)", worker.task.writes);
    }
    Ok(())
}

fn put_batch(
    worker: &mut Worker<'_>,
    entries: u64,
    number: &mut impl FnMut(&mut Worker<'_>) -> u64,
) -> Outcome<u64> {
    let mut batch = worker.database.db.batch();
    let mut put = Vec::with_capacity(entries as usize);
    for _ in 0..entries {
        let number = number(worker);
        put.push((number, worker.put_in(&mut batch, number)));
    }
    batch.commit(worker.task.durability)?;
    // Noted only now: readers may rely on what is noted.
    for (number, bytes) in &put {
        worker.database.oracle.put(*number, *bytes);
    }
    let bytes = put.iter().map(|(_, bytes)| bytes).sum();
    worker.wrote(entries, bytes);
    Ok(bytes)
}

/// Writes random keys, one by one or in a batch. Returns bytes of keys and values.
pub(super) fn write_random(worker: &mut Worker<'_>, entries: u64) -> Outcome<u64> {
    let num = worker.task.num;
    if entries == 1 {
        let number = worker.random.below(num);
        return worker.put(number, None);
    }
    put_batch(worker, entries, &mut |worker| worker.random.below(num))
}

pub(super) fn delete_sequential(worker: &mut Worker<'_>) -> Outcome<()> {
    delete(worker, true)
}

pub(super) fn delete_random(worker: &mut Worker<'_>) -> Outcome<()> {
    delete(worker, false)
}

fn delete(worker: &mut Worker<'_>, sequential: bool) -> Outcome<()> {
    let duration = if sequential { None } else { worker.task.duration };
    let mut budget = Budget::new(worker.task.deletes, duration);
    let mut next = 0;
    while !worker.is_cancelled() {
        let entries = budget.take(worker.task.batch_size as u64);
        if entries == 0 {
            break;
        }
        let mut batch = worker.database.db.batch();
        let mut bytes = 0;
        for _ in 0..entries {
            let number = if sequential {
                next
            } else {
                worker.random.below(worker.task.num)
            };
            next += 1;
            worker.database.oracle.delete(number);
            let key = worker.keys.key(number);
            bytes += key.len() as u64;
            batch.delete(worker.database.keyspace_of(number), key);
        }
        batch.commit(worker.task.durability)?;
        worker.wrote(entries, bytes);
        worker.finished(Op::Delete, entries);
        worker.pace_write(bytes);
    }
    Ok(())
}

/// The writer beside readers: random puts until they are done.
pub(super) fn writer_beside(worker: &mut Worker<'_>) -> Outcome<()> {
    while !worker.group.is_over() {
        let number = worker.random.below(worker.task.num);
        let bytes = worker.put(number, None)?;
        worker.stats.bytes += bytes;
        worker.stats.finished(&Default::default(), Op::Write, 1);
        worker.pace_write(bytes);
    }
    Ok(())
}
