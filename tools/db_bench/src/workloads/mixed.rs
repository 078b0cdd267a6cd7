//! Reads and writes by the same thread, in shares.

use packstone::Slice;

use super::worker::Worker;
use crate::data::{contents, is_value_of};
use crate::failure::{Failure, Outcome};
use crate::measure::Op;

/// --readwritepercent reads in a hundred operations, writes for the rest, as RocksDB deals them out: runs of each.
pub(super) fn read_random_write_random(worker: &mut Worker<'_>) -> Outcome<()> {
    let mut budget = worker.budget(worker.task.reads_writes);
    let (mut reads_left, mut writes_left) = (0, 0);
    while !worker.is_cancelled() && budget.take(1) > 0 {
        if reads_left == 0 && writes_left == 0 {
            reads_left = worker.config.read_percent;
            writes_left = 100 - reads_left;
        }
        let number = worker.random_number();
        worker.stats.count("total", 1);
        if reads_left > 0 {
            reads_left -= 1;
            let found = worker.get(number, None)?;
            worker.stats.bytes += found.unwrap_or(0);
            worker.stats.count("reads", 1);
            worker.stats.count("found", u64::from(found.is_some()));
            worker.finished(Op::Read, 1);
            worker.pace_read();
        } else {
            writes_left -= 1;
            let bytes = worker.put(number, None)?;
            worker.stats.bytes += bytes;
            worker.stats.count("writes", 1);
            worker.finished(Op::Write, 1);
            worker.pace_write(bytes);
        }
    }
    Ok(())
}

/// The keys that randomwithverify writes together, told apart by their last byte.
const SUFFIXES: [u8; 3] = *b"012";

/// Three keys are always written, deleted and read together; a reader that sees them differ has seen half a batch.
pub(super) fn random_with_verify(worker: &mut Worker<'_>) -> Outcome<()> {
    worker.database.oracle.note_others();
    let mut budget = worker.budget(worker.task.reads_writes);
    let (gets, deletes) = (worker.config.read_percent, worker.config.delete_percent);
    let (mut gets_left, mut puts_left, mut deletes_left) = (0, 0, 0);
    while !worker.is_cancelled() && budget.take(1) > 0 {
        if gets_left + puts_left + deletes_left == 0 {
            (gets_left, deletes_left) = (gets, deletes);
            puts_left = 100 - gets - deletes;
        }
        let number = worker.random.below(worker.task.num);
        worker.stats.count("total", 1);
        if gets_left > 0 {
            gets_left -= 1;
            let found = get_three(worker, number)?;
            worker.stats.count("get", 1);
            worker.stats.count("found", u64::from(found));
            worker.finished(Op::Read, 1);
        } else if puts_left > 0 {
            puts_left -= 1;
            let bytes = write_three(worker, number, true)?;
            worker.stats.count("put", 1);
            worker.finished(Op::Write, 1);
            worker.pace_write(bytes);
        } else {
            deletes_left -= 1;
            write_three(worker, number, false)?;
            worker.stats.count("del", 1);
            worker.finished(Op::Delete, 1);
        }
    }
    Ok(())
}

/// The keys of a number.
fn three_keys(worker: &mut Worker<'_>, number: u64) -> [Vec<u8>; 3] {
    let key = worker.keys.key(number);
    SUFFIXES.map(|suffix| [key, &[suffix]].concat())
}

fn write_three(worker: &mut Worker<'_>, number: u64, put: bool) -> Outcome<u64> {
    let keys = three_keys(worker, number);
    let len = worker.task.sizes.next(&mut worker.random);
    let mut batch = worker.database.db.batch();
    let mut bytes = 0;
    for (at, key) in keys.iter().enumerate() {
        // Each in a keyspace of its own, if there are several.
        let keyspace = worker
            .database
            .keyspace_of(number + u64::from(key[key.len() - 1]));
        match put {
            true => {
                let value = match at {
                    0 => worker.values.value(key, len),
                    _ => worker.values.same_value(key, len),
                };
                batch.put(keyspace, key, value);
                bytes += (key.len() + len) as u64;
            }
            false => {
                batch.delete(keyspace, key);
                bytes += key.len() as u64;
            }
        }
    }
    batch.commit(worker.task.durability)?;
    worker.wrote(keys.len() as u64, bytes);
    Ok(bytes)
}

fn get_three(worker: &mut Worker<'_>, number: u64) -> Outcome<bool> {
    let keys = three_keys(worker, number);
    let snapshot = worker.database.db.snapshot();
    let mut values = [const { None }; 3];
    for (key, found) in keys.iter().zip(&mut values) {
        let keyspace = worker
            .database
            .keyspace_of(number + u64::from(key[key.len() - 1]));
        *found = snapshot.get(keyspace, key)?;
        if let Some(value) = found
            && worker.config.check_values
            && !is_value_of(key, value)
        {
            return Err(Failure(format!("wrong value under key {}", key.escape_ascii())));
        }
    }
    let seen = |value: &Option<Slice>| value.as_ref().map(|value| contents(value).to_vec());
    let first = seen(&values[0]);
    if values.iter().any(|value| seen(value) != first) {
        let key = keys[0].escape_ascii();
        return Err(Failure(format!(
            "half a batch: of three keys written together, like {key}, not all are seen alike"
        )));
    }
    Ok(first.is_some())
}
