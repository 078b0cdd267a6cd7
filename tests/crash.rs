//! Power loss after every I/O call: what was acknowledged as synced is there, and what survived is a prefix.
//!
//! Every history of `crash_support::histories` runs once to learn its I/O calls, and then once for each call and each
//! style of crash, with the power going off at that call. `PACKSTONE_CRASH_SEEDS=n` draws `n` random crashes a call
//! instead of two.

mod crash_support;
mod support;

use crash_support::everywhere::crash_at_every_call;
use crash_support::histories;
use crash_support::oracle::Loss;
use crash_support::world::World;
use crash_support::{History, Step};
use packstone::LogMedium;
use packstone::env::sim::CrashStyle;

fn random_styles() -> usize {
    let wanted = std::env::var("PACKSTONE_CRASH_SEEDS").ok();
    wanted.and_then(|n| n.parse().ok()).unwrap_or(2)
}

/// With both media of the log; where objects are what matters, with its own.
fn crash_everywhere(history: &History) {
    let styles = vec![CrashStyle::Random; random_styles()];
    if history.objects {
        return crash_at_every_call(history, &styles);
    }
    for log_medium in [LogMedium::Auto, LogMedium::Plain] {
        let history = History {
            log_medium,
            ..history.clone()
        };
        crash_at_every_call(&history, &styles);
    }
}

#[test]
fn the_replay_beyond_memory_flushes_in_its_middle() {
    let history = &histories::all()[17];
    let kill = history
        .steps
        .iter()
        .position(|step| matches!(step, Step::Kill))
        .unwrap();
    let (before, rest) = history.steps.split_at(kill);
    let mut world = World::new(history, 1);
    world
        .open(Loss::Nothing)
        .and_then(|()| world.run(before))
        .unwrap();
    assert_eq!(world.db().metrics().flushes, 0);
    world.run(&rest[..1]).unwrap();
    assert!(world.db().metrics().replay_flushes > 0);
}

macro_rules! power_loss_at_every_call {
    ($($test:ident: $at:expr;)*) => {
        $(
            #[test]
            fn $test() {
                crash_everywhere(&histories::all()[$at]);
            }
        )*

        #[test]
        fn every_history_has_its_test() {
            assert_eq!([$($at),*].len(), histories::all().len());
        }
    };
}

power_loss_at_every_call! {
    creation_and_writes_survive_a_crash_at_every_call: 0;
    batches_across_keyspaces_are_whole_after_a_crash_at_every_call: 1;
    drops_and_new_keyspaces_survive_a_crash_at_every_call: 2;
    log_rotation_survives_a_crash_at_every_call: 3;
    memtable_rotation_survives_a_crash_at_every_call: 4;
    a_flush_of_one_keyspace_leaves_no_half_batch_at_any_call: 5;
    compaction_survives_a_crash_at_every_call: 6;
    medium_values_and_deep_levels_survive_a_crash_at_every_call: 7;
    the_roll_of_the_manifest_survives_a_crash_at_every_call: 8;
    close_and_open_survive_a_crash_at_every_call: 9;
    recovery_itself_survives_a_crash_at_every_call: 10;
    background_sync_survives_a_crash_at_every_call: 11;
    a_held_snapshot_survives_nothing_but_harms_nothing_at_any_call: 12;
    readers_are_no_hindrance_to_a_crash_at_every_call: 13;
    checkpoints_survive_a_crash_at_every_call: 14;
    readers_beside_the_writer_survive_a_crash_at_every_call: 15;
    log_files_that_are_used_again_survive_a_crash_at_every_call: 16;
    a_recovery_that_flushes_survives_a_crash_at_every_call: 17;
    objects_survive_a_crash_at_every_call: 18;
    packs_that_are_full_and_streams_survive_a_crash_at_every_call: 19;
}
