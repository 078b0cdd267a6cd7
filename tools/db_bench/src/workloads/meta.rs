//! What is done to the database as a whole: flush, compaction, verification.

use super::worker::Worker;
use crate::failure::{Failure, Outcome};
use crate::measure::Op;

pub(super) fn compact(worker: &mut Worker<'_>) -> Outcome<()> {
    for keyspace in &worker.database.keyspaces {
        keyspace.compact_range::<&[u8], _>(..)?;
    }
    worker.finished(Op::Other, 1);
    let metrics = worker.database.db.metrics();
    // Everything lies in one level now: unless somebody else wrote, no level 0 is left.
    match metrics
        .keyspaces
        .iter()
        .any(|keyspace| keyspace.levels.first().is_some_and(|level| level.files > 0))
    {
        true => Err(Failure("level 0 has files after everything was compacted".into())),
        false => Ok(()),
    }
}

pub(super) fn flush(worker: &mut Worker<'_>) -> Outcome<()> {
    worker.database.db.flush()?;
    worker.finished(Op::Other, 1);
    let metrics = worker.database.db.metrics();
    match metrics
        .keyspaces
        .iter()
        .any(|keyspace| keyspace.frozen_memtables > 0)
    {
        true => Err(Failure("a memtable is left after the flush".into())),
        false => Ok(()),
    }
}

pub(super) fn wait_for_compaction(worker: &mut Worker<'_>) -> Outcome<()> {
    worker.database.db.wait_for_background()?;
    worker.finished(Op::Other, 1);
    let metrics = worker.database.db.metrics();
    match metrics
        .keyspaces
        .iter()
        .any(|keyspace| keyspace.pending_compaction_bytes > 0)
    {
        true => Err(Failure("compaction is still due after waiting for it".into())),
        false => Ok(()),
    }
}

pub(super) fn verify_checksum(worker: &mut Worker<'_>) -> Outcome<()> {
    let report = worker.database.db.verify()?;
    worker.finished(Op::Other, 1);
    worker.stats.bytes += report.file_bytes;
    worker.stats.note = format!(
        "({} bytes, {} blocks, {} entries whole)",
        report.file_bytes, report.blocks, report.entries
    );
    Ok(())
}
