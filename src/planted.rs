//! Planted bugs: the mistakes that an engine of this kind is most likely to make, each behind a switch, so that tests can
//! show that they would be found (`tests/planted.rs`).
//!
//! Invariants:
//! 1. Without the feature `planted-bugs`, which is for this crate's own tests only, [`is`] is the constant `false` and
//!    [`pause`] does nothing: the shipped library contains neither bug nor switch.
//! 2. With it, nothing is wrong until a test plants a bug, and then only on the thread that planted it. On the simulator all
//!    work of a database happens on the caller's thread, so tests that run side by side do not disturb each other.
//! 3. A pause stands in the sound code too: what a test does there is harmless unless the bug is planted.
//!
//! Callers: any module, at the place of a bug; tests, through [`plant`] and [`at`].
#![cfg_attr(
    not(feature = "planted-bugs"),
    allow(dead_code, unreachable_pub, reason = "only the tests plant")
)]

/// What can be planted. The numbers are those of the table in `DESIGN.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// 1: an SST is named by an edit before its contents are synced.
    DataFileNotSynced,
    /// 2: the directory is not synced after the creation of an SST.
    SstNameNotSynced,
    /// 2: the directory is not synced after the creation of a log.
    LogNameNotSynced,
    /// 3: `CURRENT` names a manifest whose first state is not synced.
    CurrentBeforeManifest,
    /// 4: a flush commits its edit without syncing the log, where the other halves of its batches are.
    LogNotSyncedBeforeFlush,
    /// 5: recovery replays what is in SSTs already.
    FlushedReplayed,
    /// 6: recovery gives the last number in the log again.
    NumbersResumedTooLow,
    /// 7: recovery goes on behind a log that it found, and believes what the page cache shows of it.
    RecoveredLogContinued,
    /// 8: a sync of the log leaves the older files out.
    OlderLogNotSynced,
    /// 9: the checksum of a frame does not depend on the file.
    FrameSumNotSeeded,
    /// 10: a write is acknowledged while its frame, and those before it, are still in the buffer.
    AcknowledgedTooEarly,
    /// 11: a snapshot reads the newest number, and registers it when a job has sampled the open snapshots already.
    SnapshotRegisteredLate,
    /// 12: a point read loads a number and pins its view after.
    PinnedAfterNumber,
    /// 13: a compaction drops a tombstone while an older version lies below.
    TombstoneDropped,
    /// 14: a compaction zeroes a number under an open snapshot.
    ZeroedUnderSnapshot,
    /// 15: a compaction takes one of two files that share a border key.
    BorderKeySplit,
    /// 16: a compaction into a level leaves out the files of that level that it overlaps.
    OverlapLeftOut,
    /// 17: an old file is deleted while somebody reads it.
    DeletedUnderReader,
    /// 18: a failed sync of the log is tried again and called good.
    FailedSyncRetried,
    /// 19: a compaction takes every second SST of level 0.
    LevelZeroNotContiguous,
    /// 20: the checksum of a block is not looked at.
    ChecksumIgnored,
    /// 21: a memtable is frozen between the numbering of a write and its insertion, so that the write lands in the next.
    WriteInNextMemtable,
    /// 22: a marker covers what was written while the sync ran.
    MarkerTooFar,
    /// 23: after a failed write the log goes on behind the torn frame.
    WrittenBehindTornFrame,
    /// 27: a checkpoint's log is copied up to its end of then, and not up to that of the checkpoint's number.
    CheckpointLogBeyond,
    /// 27: a checkpoint's log is copied up to where it has been synced.
    CheckpointLogBelow,
    /// 28: a checkpoint's SSTs are linked when its `CURRENT` is there already, and their names are not synced.
    CheckpointLinkedLate,
    /// 29: a read-only opening does not look again when it has replayed the logs.
    ReaderNotRechecked,
    /// 24: a file is moved into a level that has files which it overlaps.
    MovedAcrossOverlap,
    /// 25: a compaction within level 0 leaves out a file between two that it takes.
    WithinLevelZeroWithGaps,
    /// 26: a file of tombstones is deleted while older versions lie below.
    DeletedWhileHiding,
    /// 30: a failed sync of the manifest counts as one that can be tried again.
    ManifestSyncRetried,
    /// 31: two parts of a compaction are cut between the versions of a key.
    PartsCutInsideKey,
    /// 35: in hash order, an entry of the hash that is sought is taken for the key that is sought.
    EqualHashesEqualKeys,
    /// 36: interpolation search never comes to the last block of a file.
    LastBlockMissed,
    /// 39: a look-up asks the filter of the partition beside the one that can have the key.
    FilterOfNeighbour,
    /// 40: a look-up never comes to the last partition of a file.
    LastPartitionMissed,
    /// 37: a file is written in the default order, whatever its keyspace's is.
    OrderNotTheKeyspaces,
    /// 32: a log file that is used again gets its frames before its new header is synced.
    ReusedHeaderNotSynced,
    /// 33: a log file is used again while its frames are still needed.
    ReusedTooEarly,
    /// 34: frames are stored into a mapped log file without room being reserved for them.
    RoomNotReserved,
    /// 41: the log is synced, and SSTs are named, before the objects that they refer to are synced.
    ReferenceBeforeObject,
    /// 42: a synced write syncs the packs only if it has written an object itself.
    DedupHitUnsynced,
    /// 43: a collection takes what a running write has just found.
    LeaseIgnored,
    /// 44: the active pack is continued behind a torn record.
    TornRecordContinued,
    /// 45: an opening goes on with a pack that has been sealed, if the manifest was not told any more.
    SealedPackChanged,
    /// 47: a pack is removed before it is durable where its objects have gone.
    PackRemovedEarly,
    /// 48: the source of an adoption is removed before the log that says where its objects are is durable.
    AdoptedSourceRemovedEarly,
    /// 46: nobody counts the references that flushes and compactions leave out.
    GarbageUnnoticed,
    /// 38: a flush in the middle of a replay calls all numbers flushed that the replay comes to later.
    SpilledTooFar,
}

/// A moment at which a test can step in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A snapshot is about to be registered.
    Registration,
    /// A point read is about to pin its view, or has pinned it and is about to load its number.
    PointRead,
    /// A sync of the log has ended, and its marker is about to be written.
    LogSynced,
}

#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn is(_: Bug) -> bool {
    false
}

#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn pause(_: Moment) {}

#[cfg(feature = "planted-bugs")]
pub use switch::{Planted, at, plant};
#[cfg(feature = "planted-bugs")]
pub(crate) use switch::{is, pause};

#[cfg(feature = "planted-bugs")]
mod switch {
    use std::cell::{Cell, RefCell};

    use super::{Bug, Moment};

    impl Bug {
        /// All of them.
        pub const ALL: [Bug; 50] = [
            Bug::DataFileNotSynced,
            Bug::SstNameNotSynced,
            Bug::LogNameNotSynced,
            Bug::CurrentBeforeManifest,
            Bug::LogNotSyncedBeforeFlush,
            Bug::FlushedReplayed,
            Bug::NumbersResumedTooLow,
            Bug::RecoveredLogContinued,
            Bug::OlderLogNotSynced,
            Bug::FrameSumNotSeeded,
            Bug::AcknowledgedTooEarly,
            Bug::SnapshotRegisteredLate,
            Bug::PinnedAfterNumber,
            Bug::TombstoneDropped,
            Bug::ZeroedUnderSnapshot,
            Bug::BorderKeySplit,
            Bug::OverlapLeftOut,
            Bug::DeletedUnderReader,
            Bug::FailedSyncRetried,
            Bug::LevelZeroNotContiguous,
            Bug::ChecksumIgnored,
            Bug::WriteInNextMemtable,
            Bug::MarkerTooFar,
            Bug::WrittenBehindTornFrame,
            Bug::CheckpointLogBeyond,
            Bug::CheckpointLogBelow,
            Bug::CheckpointLinkedLate,
            Bug::ReaderNotRechecked,
            Bug::MovedAcrossOverlap,
            Bug::WithinLevelZeroWithGaps,
            Bug::DeletedWhileHiding,
            Bug::ManifestSyncRetried,
            Bug::PartsCutInsideKey,
            Bug::EqualHashesEqualKeys,
            Bug::LastBlockMissed,
            Bug::FilterOfNeighbour,
            Bug::LastPartitionMissed,
            Bug::OrderNotTheKeyspaces,
            Bug::ReusedHeaderNotSynced,
            Bug::ReusedTooEarly,
            Bug::RoomNotReserved,
            Bug::ReferenceBeforeObject,
            Bug::DedupHitUnsynced,
            Bug::TornRecordContinued,
            Bug::SealedPackChanged,
            Bug::LeaseIgnored,
            Bug::PackRemovedEarly,
            Bug::AdoptedSourceRemovedEarly,
            Bug::GarbageUnnoticed,
            Bug::SpilledTooFar,
        ];
    }

    /// What a test does at a moment.
    type Step = Box<dyn FnOnce()>;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
        static STEP: RefCell<Option<(Moment, Step)>> = const { RefCell::new(None) };
    }

    /// The bug is there as long as this lives.
    #[derive(Debug)]
    #[must_use]
    pub struct Planted(());

    /// Plants a bug for this thread, and removes any other.
    pub fn plant(bug: Bug) -> Planted {
        PLANTED.set(Some(bug));
        Planted(())
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }

    /// Has `step` run, once, when this thread comes to `moment`; gives back what has not been run.
    pub fn at(step: Option<(Moment, Step)>) -> Option<(Moment, Step)> {
        STEP.replace(step)
    }

    /// Whether the bug is planted.
    pub(crate) fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Lets a test step in. No lock is held that a reader, a writer or a job needs.
    pub(crate) fn pause(moment: Moment) {
        let step = STEP.with_borrow_mut(|step| step.take_if(|(wanted, _)| *wanted == moment));
        if let Some((_, step)) = step {
            step();
        }
    }
}
