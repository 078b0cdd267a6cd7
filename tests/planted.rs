//! The tests' tests: each bug of `packstone::planted` is planted and must be found, within a minute, by the random histories
//! and oracles that the other tests use; and the same histories must pass without it.
//!
//! `cargo test --features planted-bugs --test planted -- --nocapture` prints what found each bug, and how soon.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]
#![allow(clippy::disallowed_methods, reason = "the time that a hunt takes is measured")]

#[path = "support/collecting.rs"]
mod collecting;
#[allow(dead_code, reason = "what histories cover is the other test's business")]
#[path = "support/coverage.rs"]
mod coverage;
mod crash_support;
#[allow(dead_code, reason = "no history takes place on a real directory here")]
#[path = "support/history.rs"]
mod history;
#[path = "support/oracle.rs"]
mod oracle;
mod support;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant};

use crash_support::{soak, world};
use packstone::env::sim::SimEnv;
use packstone::planted::{Bug, plant};

/// A bug that is not found in so long has not been found.
const PATIENCE: Duration = Duration::from_secs(60);
/// Operations of a history against the model.
const OPERATIONS: u64 = 400;

/// What hunts a bug: the machinery of another test, one history a seed.
#[derive(Clone, Copy, Debug)]
enum Hunt {
    /// `tests/soak.rs`: the power goes off at random.
    Crashes,
    /// `tests/soak.rs`: calls fail at random, and the power goes off.
    Faults,
    /// `tests/soak.rs`: bits of SSTs flip.
    Decay,
    /// `tests/crash.rs`: a recovery that flushes, and another one.
    Replay,
    /// `tests/collection.rs`: overwrites and collections, and the power goes off.
    Collections,
    /// `tests/model.rs`: every answer against a map of versions.
    Model,
}

impl Hunt {
    fn history(self, seed: u64) {
        match self {
            Hunt::Crashes => soak::random_crashes(seed),
            Hunt::Faults => soak::random_faults(seed),
            Hunt::Decay => soak::random_decay(seed),
            Hunt::Collections => collecting::history(seed),
            Hunt::Replay => soak::replay_beyond_memory(seed),
            Hunt::Model => {
                let world = history::World::Sim(SimEnv::new(seed));
                let coverage = history::run(seed, world, OPERATIONS, false);
                assert_eq!(coverage.histories, 1);
            }
        }
    }

    /// What went wrong, if anything did.
    fn fails(self, seed: u64) -> Option<String> {
        quietly(|| self.history(seed)).err()
    }

    /// The first seed that finds the bug, and what it finds.
    fn finds(self, bug: Bug) -> Option<(u64, String)> {
        let _planted = plant(bug);
        let start = Instant::now();
        (1..)
            .take_while(|_| start.elapsed() < PATIENCE)
            .find_map(|seed| Some((seed, self.fails(seed)?)))
    }
}

thread_local! {
    /// The message of this thread's last panic, while panics are what is hoped for.
    static HEARD: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs it; its first panic is not shown, but returned.
fn quietly(run: impl FnOnce()) -> Result<(), String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let quiet = HEARD.with_borrow_mut(|heard| {
                let Some(heard) = heard else { return false };
                if heard.is_empty() {
                    let said = info.payload().downcast_ref::<String>().cloned();
                    let said = said.or_else(|| info.payload().downcast_ref::<&str>().map(|s| s.to_string()));
                    let place = info
                        .location()
                        .map_or(String::new(), |at| format!("{}: ", at.file()));
                    *heard = place + &said.unwrap_or_default();
                }
                true
            });
            if !quiet {
                loud(info);
            }
        }));
    });
    HEARD.set(Some(String::new()));
    let result = catch_unwind(AssertUnwindSafe(run));
    let heard = HEARD.take().unwrap_or_default();
    result.map_err(|_| heard)
}

/// `hunt` finds the bug, and finds nothing where it is not.
fn must_be_found(bug: Bug, hunt: Hunt) {
    let (start, before) = (Instant::now(), world::done());
    let Some((seed, found)) = hunt.finds(bug) else {
        panic!("{bug:?} was not found by {hunt:?} in {PATIENCE:?}");
    };
    let (millis, after) = (start.elapsed().as_millis(), world::done());
    let steps = match hunt {
        Hunt::Model => format!("{} operations", seed * OPERATIONS),
        _ => format!(
            "{} operations, {} crashes",
            after.0 - before.0,
            after.1 - before.1
        ),
    };
    println!(
        "{bug:?}: {hunt:?}, history {seed}, {steps}, {millis} ms: {}",
        brief(&found)
    );
    for seed in 1..=seed {
        if let Some(wrong) = hunt.fails(seed) {
            panic!("without {bug:?}, history {seed} of {hunt:?} fails as well: {wrong}");
        }
    }
}

fn brief(found: &str) -> String {
    let line: String = found.chars().take(240).collect();
    line.replace('\n', " ")
}

macro_rules! hunts {
    ($($test:ident: $bug:ident by $hunt:ident;)*) => {
        $(
            #[test]
            fn $test() {
                must_be_found(Bug::$bug, Hunt::$hunt);
            }
        )*

        #[test]
        fn every_bug_has_its_test() {
            assert_eq!([$(Bug::$bug),*], Bug::ALL);
        }
    };
}

hunts! {
    a_data_file_that_is_not_synced: DataFileNotSynced by Crashes;
    the_name_of_an_sst_that_is_not_synced: SstNameNotSynced by Crashes;
    the_name_of_a_log_that_is_not_synced: LogNameNotSynced by Crashes;
    a_current_before_its_manifest: CurrentBeforeManifest by Crashes;
    a_flush_before_its_log: LogNotSyncedBeforeFlush by Crashes;
    a_replay_of_what_is_flushed: FlushedReplayed by Model;
    numbers_that_are_given_again: NumbersResumedTooLow by Crashes;
    a_recovered_log_that_goes_on: RecoveredLogContinued by Faults;
    an_older_log_that_is_not_synced: OlderLogNotSynced by Crashes;
    a_frame_sum_without_seed: FrameSumNotSeeded by Crashes;
    an_acknowledgement_before_the_frame: AcknowledgedTooEarly by Crashes;
    a_snapshot_registered_late: SnapshotRegisteredLate by Crashes;
    a_view_pinned_after_the_number: PinnedAfterNumber by Crashes;
    a_dropped_tombstone: TombstoneDropped by Model;
    a_number_zeroed_under_a_snapshot: ZeroedUnderSnapshot by Model;
    a_border_key_split: BorderKeySplit by Model;
    an_overlap_left_out: OverlapLeftOut by Model;
    a_file_deleted_under_a_reader: DeletedUnderReader by Model;
    a_failed_sync_tried_again: FailedSyncRetried by Faults;
    a_level_zero_with_gaps: LevelZeroNotContiguous by Model;
    a_checksum_ignored: ChecksumIgnored by Decay;
    a_write_in_the_next_memtable: WriteInNextMemtable by Crashes;
    a_marker_that_says_too_much: MarkerTooFar by Crashes;
    a_write_behind_a_torn_frame: WrittenBehindTornFrame by Faults;
    a_checkpoint_of_too_much_log: CheckpointLogBeyond by Crashes;
    a_checkpoint_of_too_little_log: CheckpointLogBelow by Crashes;
    a_checkpoint_linked_late: CheckpointLinkedLate by Crashes;
    a_reader_that_does_not_look_again: ReaderNotRechecked by Crashes;
    a_move_across_an_overlap: MovedAcrossOverlap by Model;
    a_gap_within_level_zero: WithinLevelZeroWithGaps by Model;
    a_deletion_of_what_hides: DeletedWhileHiding by Model;
    a_failed_sync_of_the_manifest_tried_again: ManifestSyncRetried by Faults;
    parts_cut_inside_a_key: PartsCutInsideKey by Model;
    equal_hashes_taken_for_equal_keys: EqualHashesEqualKeys by Model;
    a_last_block_that_is_missed: LastBlockMissed by Model;
    a_filter_of_the_neighbour: FilterOfNeighbour by Model;
    a_last_partition_that_is_missed: LastPartitionMissed by Model;
    an_order_that_is_not_the_keyspaces: OrderNotTheKeyspaces by Model;
    a_header_that_is_not_synced_in_a_file_used_again: ReusedHeaderNotSynced by Crashes;
    a_log_file_used_again_too_early: ReusedTooEarly by Crashes;
    room_that_is_not_reserved: RoomNotReserved by Crashes;
    a_reference_before_its_object: ReferenceBeforeObject by Crashes;
    a_duplicate_that_is_not_durable: DedupHitUnsynced by Crashes;
    a_pack_that_goes_on_behind_a_torn_record: TornRecordContinued by Crashes;
    a_sealed_pack_that_is_changed: SealedPackChanged by Crashes;
    a_collection_that_takes_what_a_write_has_found: LeaseIgnored by Collections;
    a_pack_removed_before_its_copies_are_durable: PackRemovedEarly by Collections;
    an_adopted_file_removed_before_its_keys_are_durable: AdoptedSourceRemovedEarly by Collections;
    garbage_that_is_never_noticed: GarbageUnnoticed by Collections;
    a_flush_in_a_replay_that_claims_too_much: SpilledTooFar by Replay;
}
