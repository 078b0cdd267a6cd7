//! Each I/O call of each history failed in turn: the operation that needs it says so, or background work goes on by
//! itself; nothing acknowledged is lost, now, after reopening, or after a loss of power that follows; nothing hangs.

mod crash_support;
mod support;

use std::io::ErrorKind;

use crash_support::everywhere::crash_and_check;
use crash_support::failing::{End, Run, fail_at_every_call};
use crash_support::oracle::Loss;
use crash_support::world::{Context, Stop, World, show, trace};
use crash_support::{History, Step, histories};
use packstone::env::sim::{Call, CrashStyle, EIO, Effect, Fault, Op};
use packstone::{Error, LogMedium};

/// The histories; in the end each waits for its background work, so that runs with and without a fault make the same calls up to it.
fn settled() -> Vec<History> {
    let mut all = histories::all();
    for history in &mut all {
        history.steps.push(Step::Settle);
    }
    all
}

/// With both media of the log; where objects are what matters, with its own.
fn fail_everywhere(history: &History) {
    if history.objects {
        return fail_at_every_call(history);
    }
    for log_medium in [LogMedium::Auto, LogMedium::Plain] {
        fail_at_every_call(&History {
            log_medium,
            ..history.clone()
        });
    }
}

macro_rules! every_call_fails {
    ($($test:ident: $at:expr;)*) => {
        $(
            #[test]
            fn $test() {
                fail_everywhere(&settled()[$at]);
            }
        )*

        #[test]
        fn every_history_has_its_test() {
            assert_eq!([$($at),*].len(), histories::all().len());
        }
    };
}

every_call_fails! {
    creation_and_writes_bear_a_failure_of_every_call: 0;
    batches_across_keyspaces_bear_a_failure_of_every_call: 1;
    drops_and_new_keyspaces_bear_a_failure_of_every_call: 2;
    log_rotation_bears_a_failure_of_every_call: 3;
    memtable_rotation_bears_a_failure_of_every_call: 4;
    a_flush_of_one_keyspace_bears_a_failure_of_every_call: 5;
    compaction_bears_a_failure_of_every_call: 6;
    medium_values_and_deep_levels_bear_a_failure_of_every_call: 7;
    the_roll_of_the_manifest_bears_a_failure_of_every_call: 8;
    close_and_open_bear_a_failure_of_every_call: 9;
    recovery_itself_bears_a_failure_of_every_call: 10;
    background_sync_bears_a_failure_of_every_call: 11;
    a_held_snapshot_bears_a_failure_of_every_call: 12;
    readers_bear_a_failure_of_every_call: 13;
    checkpoints_bear_a_failure_of_every_call: 14;
    readers_beside_the_writer_bear_a_failure_of_every_call: 15;
    log_files_that_are_used_again_bear_a_failure_of_every_call: 16;
    a_recovery_that_flushes_bears_a_failure_of_every_call: 17;
    objects_bear_a_failure_of_every_call: 18;
    packs_that_are_full_and_streams_bear_a_failure_of_every_call: 19;
}

/// A call fails, the program does what an error asks for, opening the database again if need be, and in the middle of that
/// the power goes.
fn fail_and_crash(history: &History, call: &Call, effect: Effect, later: u64, style: CrashStyle) {
    let context = format!(
        "history {:?}, I/O call {} ({}) fails, {effect:?}; {later} calls later the power goes, {style:?}",
        history.name,
        call.index,
        show(call)
    );
    let _context = Context(context.clone());
    let mut run = Run::new(history, call, EIO, effect);
    run.power_goes = true;
    run.world.sim.set_fault(Fault::PowerOffAt {
        index: call.index + later,
    });
    // What kills the power is not what the run is judged by: only what is left is.
    match run.run(history, End::Drop) {
        Ok(()) | Err(Stop::Error(_)) => {}
        Err(Stop::Broken(what)) if run.world.sim.is_off() && what.contains("although the fault is over") => {}
        Err(Stop::Broken(what)) => panic!("before the crash: {what}\n{context}"),
    }
    crash_and_check(run.world, style, &context);
}

#[test]
fn what_an_error_asks_for_survives_a_crash_in_the_middle_of_it() {
    let styles = [
        CrashStyle::KeepNothing,
        CrashStyle::Random,
        CrashStyle::Blocks,
        CrashStyle::KeepAll,
    ];
    let mut runs = 0;
    for history in settled() {
        for call in &trace(&history, 1) {
            for (turn, effect) in [Effect::Nothing, Effect::Partial].into_iter().enumerate() {
                // Opening takes about forty calls; the places are spread over them, and over the calls that fail.
                let later = 1 + (call.index * 7 + turn as u64 * 19) % 41;
                let style = styles[(call.index as usize + turn) % styles.len()];
                fail_and_crash(&history, call, effect, later, style);
                runs += 1;
            }
        }
    }
    println!("{runs} runs");
}

/// Room runs out at a point of the history and comes back later: errors say so until then, nothing acknowledged is lost,
/// and everything goes on without reopening.
fn run_out_of_room(history: &History, at: usize, room: u64) -> u64 {
    let context = format!(
        "history {:?}, room for {room} more bytes from step {at} on",
        history.name
    );
    let _context = Context(context.clone());
    let mut world = World::new(history, 1);
    let mut refused = 0;
    let run = |world: &mut World, refused: &mut u64| -> Result<(), Stop> {
        world.open(Loss::Nothing)?;
        world.run(&history.steps[..at])?;
        world.sim.set_capacity(Some(world.sim.used() + room));
        for step in &history.steps[at..] {
            match world.step(step) {
                Ok(()) => {}
                Err(Stop::Error(error)) if error.is_out_of_space() => *refused += 1,
                Err(stop) => return Err(stop),
            }
            world.check_visible()?;
        }
        world.sim.set_capacity(None);
        // Nobody has to reopen it, and retries find the room by themselves, when their time has come.
        world.step(&Step::Advance(60_000))?;
        for name in world.oracle.live() {
            let name = ["a", "b", "c"].into_iter().find(|known| *known == name).unwrap();
            world.write(&[(name, 40, Some(100))], true)?;
        }
        world.step(&Step::Flush)?;
        world.step(&Step::Settle)?;
        world.check_visible()?;
        // What fails in the middle of something is not told.
        let quiet = history.steps.iter().all(|step| step.amidst().is_none());
        world.check_files_but_for(*refused > 0 || !quiet)?;
        world.step(&Step::PowerLoss)?;
        world.exercise()
    };
    if let Err(stop) = run(&mut world, &mut refused) {
        panic!("{stop:?}\n{context}");
    }
    refused
}

fn plain(steps: Vec<Step>) -> History {
    History {
        steps,
        ..histories::all()[0].clone()
    }
}

/// What the page cache shows after a failed sync is not on the medium, and no later sync brings it there.
#[test]
fn what_is_recovered_after_a_failed_sync_is_durable() {
    let history = plain(vec![Step::Keyspace("a")]);
    let mut world = World::new(&history, 1);
    world.open(Loss::Nothing).unwrap();
    world.run(&history.steps).unwrap();
    world.write(&[("a", 1, Some(10))], true).unwrap();
    world.write(&[("a", 2, Some(2000))], false).unwrap();
    world
        .sim
        .fail_matching(Some(Op::Sync), ".log", 1, ErrorKind::Other, Effect::Nothing);
    assert!(matches!(world.db().sync(), Err(Error::Poisoned { .. })));
    world.step(&Step::DropAndReopen).unwrap();
    world.write(&[("a", 3, Some(10))], true).unwrap();
    world.step(&Step::PowerLoss).unwrap();
    world.exercise().unwrap();
}

/// The rename of CURRENT can happen and report failure: the manifest in force then contains the drop.
#[test]
fn a_drop_that_failed_takes_no_acknowledged_write_with_it() {
    for effect in [Effect::Nothing, Effect::Partial] {
        // With one failure the engine settles at once that the drop has not happened; with two the write does it; with
        // three the write fails, and the next one does it.
        for failures in [1, 2, 3] {
            let mut history = plain(vec![Step::Keyspace("a"), Step::Keyspace("b")]);
            history.manifest_roll_size = 1 << 10;
            for n in 0..6 {
                history
                    .steps
                    .push(Step::Write(vec![("a", n, Some(300)), ("b", n, Some(9))], false));
                history.steps.push(Step::Flush);
            }
            let mut world = World::new(&history, 1);
            world.open(Loss::Nothing).unwrap();
            world.run(&history.steps).unwrap();
            world
                .sim
                .fail_matching(Some(Op::Write), "MANIFEST", 1, ErrorKind::Other, Effect::Nothing);
            world.step(&Step::Keyspace("c")).unwrap_err();
            world
                .sim
                .fail_matching(Some(Op::Rename), "CURRENT", failures, ErrorKind::Other, effect);
            assert!(matches!(
                world.step(&Step::Drop("a")),
                Err(Stop::Error(Error::Io { .. }))
            ));
            let written = world.write(&[("a", 77, Some(5))], true);
            assert_eq!(written.is_ok(), failures < 3, "{written:?}");
            world.check_visible().unwrap();
            if failures == 3 {
                assert!(matches!(written, Err(Error::Io { .. })));
                world.write(&[("a", 77, Some(5))], true).unwrap();
            }
            world.step(&Step::PowerLoss).unwrap();
            world.exercise().unwrap();
        }
    }
}

#[test]
fn a_full_disk_heals_when_there_is_room_again() {
    let (mut runs, mut refused) = (0, 0);
    for history in histories::all() {
        // What reopens the database needs room for a manifest: a matter of its own, see below.
        let reopens = |step: &Step| {
            matches!(
                step,
                Step::Reopen | Step::DropAndReopen | Step::Kill | Step::PowerLoss | Step::PowerLossRandom
            )
        };
        if history.steps.iter().any(reopens) {
            continue;
        }
        for at in 0..history.steps.len() {
            // Drops and creations can be refused as well, and the steps behind them rely on their outcome.
            let ddl = |step: &Step| matches!(step, Step::Keyspace(_) | Step::Drop(_));
            if history.steps[at..].iter().any(ddl) {
                continue;
            }
            for room in [0, 10, 150, 600, 1500, 4000, 9000, 30_000] {
                runs += 1;
                refused += run_out_of_room(&history, at, room);
            }
        }
    }
    println!("{runs} runs, {refused} operations refused");
    assert!(refused > 1000);
}

#[test]
fn keyspaces_can_be_created_and_dropped_again_after_a_full_disk() {
    for room in 0..400 {
        let history = plain(vec![
            Step::Keyspace("a"),
            Step::Write(vec![("a", 1, Some(10))], false),
        ]);
        let mut world = World::new(&history, 1);
        world.open(Loss::Nothing).unwrap();
        world.run(&history.steps).unwrap();
        world.sim.set_capacity(Some(world.sim.used() + room));
        let results = [
            world.step(&Step::Keyspace("b")),
            world.step(&Step::Drop("a")),
            world.step(&Step::Keyspace("c")),
        ];
        for result in &results {
            match result {
                Err(Stop::Error(error)) => assert!(error.is_out_of_space(), "room {room}: {error}"),
                other => assert!(other.is_ok(), "room {room}: {other:?}"),
            }
        }
        world.sim.set_capacity(None);
        for name in ["a", "b", "c"] {
            world.step(&Step::Keyspace(name)).unwrap();
            world.write(&[(name, 2, Some(10))], true).unwrap();
        }
        world.step(&Step::PowerLoss).unwrap();
        world.exercise().unwrap();
    }
}

#[test]
fn a_database_that_could_not_be_opened_for_want_of_room_opens_when_there_is_some() {
    for crash in [Step::Reopen, Step::Kill] {
        for room in (0..2500).step_by(20) {
            let history = plain(vec![
                Step::Keyspace("a"),
                Step::Write(vec![("a", 1, Some(900))], true),
            ]);
            let mut world = World::new(&history, 1);
            world.open(Loss::Nothing).unwrap();
            world.run(&history.steps).unwrap();
            world.write(&[("a", 2, Some(900))], false).unwrap();
            world.sim.set_capacity(Some(world.sim.used() + room));
            match world.step(&crash) {
                Ok(()) => {}
                Err(Stop::Error(error)) => assert!(error.is_out_of_space(), "room {room}: {error}"),
                Err(stop) => panic!("room {room}: {stop:?}"),
            }
            world.sim.set_capacity(None);
            world.step(&Step::DropAndReopen).unwrap();
            world.exercise().unwrap();
        }
    }
}
