//! Large values, with the power going, the process killed and a call failing at each call to the file system: of puts, batches, streams that are kept and that come
//! to nothing, seals, collections, reopenings. What was acknowledged is there, no key is without its object, and what nobody needs goes.

mod crash_support;
mod support;

use std::io::ErrorKind;

use crash_support::everywhere::crash_at_every_call;
use crash_support::failing::fail_at_every_call;
use crash_support::object_histories;
use crash_support::oracle::Loss;
use crash_support::world::World;
use crash_support::{History, Step};
use packstone::ObjectMetrics;
use packstone::env::sim::{CrashStyle, Effect, Op};

fn crash(history: &History) {
    crash_at_every_call(history, &[CrashStyle::Random, CrashStyle::Blocks]);
}

/// In the end it waits for its background work, so that runs with and without a fault make the same calls up to it.
fn fail(mut history: History) {
    history.steps.push(Step::Settle);
    fail_at_every_call(&history);
}

macro_rules! at_every_call {
    ($($name:ident: $at:expr;)*) => {
        mod power_loss {
            $(
                #[test]
                fn $name() {
                    super::crash(&super::object_histories::all()[$at]);
                }
            )*
        }

        mod failures {
            $(
                #[test]
                fn $name() {
                    super::fail(super::object_histories::all().swap_remove($at));
                }
            )*
        }

        #[test]
        fn every_history_has_its_tests() {
            assert_eq!([$($at),*].len(), object_histories::all().len());
        }
    };
}

at_every_call! {
    puts: 0;
    batches: 1;
    streams: 2;
    streams_that_come_to_nothing: 3;
    seals: 4;
    collections: 5;
    collections_of_long_records: 6;
    collections_beside_a_snapshot: 7;
    collections_unasked: 8;
    reopenings: 9;
    reopenings_of_full_packs: 10;
}

/// The pack that is to be sealed takes no values any more, and whoever waits for background work waits for its seal.
#[test]
fn a_seal_that_fails_in_a_collection_is_left_to_the_background() {
    for failures in 1..=3 {
        let history = &object_histories::all()[0];
        let mut world = World::new(history, 1);
        let run = world.open(Loss::Nothing).and_then(|()| world.run(&history.steps));
        run.unwrap();
        world.db().wait_for_background().unwrap(); // for the next pack, whose write would be the one that fails
        world.sim.fail_matching(
            Some(Op::Write),
            ".pack",
            failures,
            ErrorKind::Other,
            Effect::Nothing,
        );
        world.db().collect_garbage().unwrap_err();
        // Each attempt that fails is told once.
        for _ in 1..failures {
            world.db().wait_for_background().unwrap_err();
        }
        world.db().wait_for_background().unwrap();
        assert_eq!(world.db().metrics().objects.sealed_packs, 1);
        world.exercise().unwrap();
    }
}

/// The metrics at the end of a history to which nothing happens.
fn at_the_end(history: &History) -> ObjectMetrics {
    let mut world = World::new(history, 1);
    let run = world.open(Loss::Nothing).and_then(|()| world.run(&history.steps));
    run.unwrap_or_else(|stop| panic!("{}: {stop:?}", history.name));
    world.db().metrics().objects
}

#[test]
fn the_histories_do_what_they_are_for() {
    let all: Vec<ObjectMetrics> = object_histories::all().iter().map(at_the_end).collect();
    let [
        puts,
        batches,
        streams,
        nothing,
        seals,
        collections,
        long,
        snapshot,
        unasked,
        reopenings,
        full,
    ] = &all[..]
    else {
        panic!("{} histories", all.len());
    };
    println!("{all:#?}");
    assert!(puts.packs == 1 && puts.duplicates > 0, "{puts:?}");
    assert!(batches.stored > 5 && batches.duplicates > 0, "{batches:?}");
    assert!(streams.sealed_packs >= 3 && streams.duplicates > 0, "{streams:?}");
    assert!(nothing.sealed_packs == 1, "{nothing:?}");
    assert!(seals.sealed_packs >= 3, "{seals:?}");
    assert!(collections.moved > 3, "{collections:?}");
    assert!(long.moved_bytes > 70_000 && long.moved > 1, "{long:?}");
    assert!(snapshot.moved > 0, "{snapshot:?}");
    assert!(unasked.moved > 0, "{unasked:?}");
    assert!(reopenings.packs == 1, "{reopenings:?}");
    assert!(full.packs > 2, "{full:?}");
}
