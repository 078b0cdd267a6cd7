//! YCSB's core workloads, on the keys that a fill has loaded: --num records, more as D and E insert them.

use super::worker::Worker;
use crate::data::Zipf;
use crate::failure::{Failure, Outcome};
use crate::measure::Op;

/// The longest scan of workload E.
const LONGEST_SCAN: u64 = 100;

/// Shares in a hundred operations; the rest are reads that are changed and written back.
#[derive(Clone, Copy, Debug, Default)]
struct Mix {
    reads: u64,
    updates: u64,
    inserts: u64,
    scans: u64,
    /// The newest records are read most, not certain ones.
    latest: bool,
}

const NONE: Mix = Mix {
    reads: 0,
    updates: 0,
    inserts: 0,
    scans: 0,
    latest: false,
};

pub(super) fn a(worker: &mut Worker<'_>) -> Outcome<()> {
    run(
        worker,
        Mix {
            reads: 50,
            updates: 50,
            ..NONE
        },
    )
}

pub(super) fn b(worker: &mut Worker<'_>) -> Outcome<()> {
    run(
        worker,
        Mix {
            reads: 95,
            updates: 5,
            ..NONE
        },
    )
}

pub(super) fn c(worker: &mut Worker<'_>) -> Outcome<()> {
    run(worker, Mix { reads: 100, ..NONE })
}

pub(super) fn d(worker: &mut Worker<'_>) -> Outcome<()> {
    run(
        worker,
        Mix {
            reads: 95,
            inserts: 5,
            latest: true,
            ..NONE
        },
    )
}

pub(super) fn e(worker: &mut Worker<'_>) -> Outcome<()> {
    run(
        worker,
        Mix {
            scans: 95,
            inserts: 5,
            ..NONE
        },
    )
}

pub(super) fn f(worker: &mut Worker<'_>) -> Outcome<()> {
    run(worker, Mix { reads: 50, ..NONE })
}

fn run(worker: &mut Worker<'_>, mix: Mix) -> Outcome<()> {
    let zipf = Zipf::new(worker.task.num);
    let mut budget = worker.budget(worker.task.reads_writes);
    while !worker.is_cancelled() && budget.take(1) > 0 {
        let records = worker.group.inserts.written();
        let number = match mix.latest {
            true => records - 1 - zipf.next(&mut worker.random).min(records - 1),
            false => zipf.scrambled(&mut worker.random) % worker.task.num,
        };
        one(worker, mix, number)?;
    }
    Ok(())
}

fn one(worker: &mut Worker<'_>, mix: Mix, number: u64) -> Outcome<()> {
    let mut dice = worker.random.below(100);
    let mut chosen = |share: u64| {
        let yes = dice < share;
        dice = dice.wrapping_sub(share);
        yes
    };
    if chosen(mix.reads) {
        let found = worker.get(number, None)?;
        // The oracle has no bits for what was inserted.
        if found.is_none() && number >= worker.task.num {
            return Err(Failure(format!(
                "lost record: number {number} was inserted and is not found"
            )));
        }
        worker.stats.count("reads", 1);
        worker.stats.bytes += found.unwrap_or(0);
        worker.finished(Op::Read, 1);
        worker.pace_read();
    } else if chosen(mix.updates) {
        write(worker, "updates", Op::Write, number)?;
    } else if chosen(mix.inserts) {
        let number = worker.group.inserts.begin();
        write(worker, "inserts", Op::Write, number)?;
        worker.group.inserts.end(number);
    } else if chosen(mix.scans) {
        let nexts = 1 + worker.random.below(LONGEST_SCAN);
        let (found, entries, bytes) = worker.seek(number, nexts, false)?;
        worker.stats.looked(found);
        worker.stats.count("scans", 1);
        worker.stats.count("scanned", entries);
        worker.stats.bytes += bytes;
        worker.finished(Op::Seek, 1);
        worker.pace_read();
    } else {
        let found = worker.get(number, None)?;
        worker.stats.bytes += found.unwrap_or(0);
        write(worker, "rmws", Op::Update, number)?;
    }
    Ok(())
}

fn write(worker: &mut Worker<'_>, name: &'static str, op: Op, number: u64) -> Outcome<()> {
    let bytes = worker.put(number, None)?;
    worker.stats.count(name, 1);
    worker.stats.bytes += bytes;
    worker.finished(op, 1);
    worker.pace_write(bytes);
    Ok(())
}
