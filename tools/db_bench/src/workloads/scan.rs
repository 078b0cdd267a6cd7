//! Runs over ranges, and seeks.

use packstone::{Keyspace, Range, Slice};

use super::task::Budget;
use super::worker::Worker;
use crate::failure::{Failure, Outcome};
use crate::measure::Op;

pub(super) fn forward(worker: &mut Worker<'_>) -> Outcome<()> {
    scan(worker, false)
}

pub(super) fn backward(worker: &mut Worker<'_>) -> Outcome<()> {
    scan(worker, true)
}

/// Reads up to --reads entries of all keyspaces, one keyspace after the other.
fn scan(worker: &mut Worker<'_>, backwards: bool) -> Outcome<()> {
    let limit = worker.task.reads;
    let mut budget = worker.budget(limit);
    let expected = worker.database.oracle.len();
    let mut entries = 0;
    for keyspace in &worker.database.keyspaces {
        entries += scan_keyspace(worker, keyspace, &mut budget, backwards)?;
    }
    let whole = worker.task.duration.is_none() && !worker.task.puts && !worker.is_cancelled();
    match expected.map(|expected| expected.min(limit)) {
        Some(expected) if whole && entries != expected => Err(Failure(format!(
            "wrong count: the iterators gave {entries} entries, and {expected} were to be found"
        ))),
        _ => Ok(()),
    }
}

fn scan_keyspace(
    worker: &mut Worker<'_>,
    keyspace: &Keyspace,
    budget: &mut Budget,
    backwards: bool,
) -> Outcome<u64> {
    let mut range = keyspace.iter();
    let mut last: Option<Slice> = None;
    let mut entries = 0;
    while !worker.is_cancelled() && budget.take(1) > 0 {
        let Some((key, value)) = step(&mut range, backwards)? else {
            budget.give_back(1);
            break;
        };
        worker.check_entry(&key, &value)?;
        if last.is_some_and(|last| if backwards { last <= key } else { last >= key }) {
            let key = key.escape_ascii();
            return Err(Failure(format!(
                "wrong order: the iterator gave {key} twice or too late"
            )));
        }
        worker.stats.bytes += (key.len() + value.len()) as u64;
        entries += 1;
        last = Some(key);
        worker.finished(Op::Read, 1);
    }
    Ok(entries)
}

fn step(range: &mut Range, backwards: bool) -> Outcome<Option<(Slice, Slice)>> {
    let next = if backwards {
        range.next_back()
    } else {
        range.next()
    };
    Ok(next.transpose()?)
}

pub(super) fn seek_random(worker: &mut Worker<'_>) -> Outcome<()> {
    let mut budget = worker.budget(worker.task.reads);
    let (nexts, backwards) = (worker.config.seek_nexts, worker.config.reverse_iterator);
    while !worker.is_cancelled() && budget.take(1) > 0 {
        let number = worker.random_number();
        seek(worker, number, nexts, backwards)?;
    }
    worker.stats.note = "\n".into();
    Ok(())
}

fn seek(worker: &mut Worker<'_>, number: u64, nexts: u64, backwards: bool) -> Outcome<()> {
    let (found, _, bytes) = worker.seek(number, nexts, backwards)?;
    worker.stats.bytes += bytes;
    worker.stats.looked(found);
    worker.finished(Op::Seek, 1);
    worker.pace_read();
    Ok(())
}

/// Seeks in small random steps forwards, and from the start again: LevelDB's.
pub(super) fn seek_ordered(worker: &mut Worker<'_>) -> Outcome<()> {
    let mut budget = worker.budget(worker.task.reads);
    let (num, nexts, backwards) = (
        worker.task.num,
        worker.config.seek_nexts,
        worker.config.reverse_iterator,
    );
    let mut number = 0;
    while !worker.is_cancelled() && budget.take(1) > 0 {
        number = (number + worker.random.below(100)) % num;
        seek(worker, number, nexts, backwards)?;
    }
    Ok(())
}

/// The scanner beside readers: over everything, again and again, until they are done.
pub(super) fn scanner_beside(worker: &mut Worker<'_>) -> Outcome<()> {
    let mut entries: u64 = 0;
    while !worker.group.is_over() {
        for keyspace in &worker.database.keyspaces {
            for entry in keyspace {
                let (key, value) = entry?;
                worker.check_entry(&key, &value)?;
                entries += 1;
                worker.pace_read();
                if entries.is_multiple_of(256) && worker.group.is_over() {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}
