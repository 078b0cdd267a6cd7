//! Each I/O call of each history failed in turn: the operation that needs it says so, or background work goes on by
//! itself; nothing acknowledged is lost, now, after reopening, or after a loss of power that follows; nothing hangs.

mod crash_support;
mod support;

use std::io::ErrorKind;

use crash_support::oracle::Loss;
use crash_support::world::{Context, Stop, World, show, trace};
use crash_support::{History, Step, histories};
use packstone::env::sim::{Call, CrashStyle, EIO, EMFILE, ENOSPC, Effect, Fault, Op};
use packstone::{Error, LogMedium};

/// What follows when the database had to be opened again after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    GoOn,
    /// Power is lost at once: what the reopened database showed must be durable, whatever the page cache pretends.
    PowerLoss,
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Drop,
    PowerLoss,
    DropThenPowerLoss,
    KillThenPowerLoss,
}

struct Run {
    world: World,
    fault: u64,
    after: After,
    /// The power goes after the fault, some time.
    power_goes: bool,
}

impl Run {
    fn fired(&self) -> bool {
        self.world.sim.io_count() > self.fault
    }

    fn judge(&self, error: &Error) -> Result<(), Stop> {
        let injected = matches!(
            error,
            Error::Io { .. } | Error::Poisoned { .. } | Error::Background { .. }
        );
        if injected && self.fired() {
            return Ok(());
        }
        Err(Stop::Broken(format!(
            "an error that the fault does not explain: {error}"
        )))
    }

    /// Opens after an error: the fault is over, so it must succeed.
    fn reopen(&mut self) -> Result<(), Stop> {
        self.world.drop_all();
        self.world.open(Loss::Nothing)?;
        if self.after == After::PowerLoss {
            self.world.crash(CrashStyle::KeepNothing);
            self.world.open(Loss::Unsynced)?;
        }
        Ok(())
    }

    /// A failed sync is final until the database is reopened, and says so; reads go on.
    fn check_poisoned(&mut self) -> Result<(), Stop> {
        self.world.content()?;
        for name in self.world.oracle.live() {
            let write = self.world.keyspace(&name).put("refused", "");
            if !matches!(write, Err(Error::Poisoned { .. })) {
                return Err(Stop::Broken(format!(
                    "a write after a failed sync gave {write:?}"
                )));
            }
        }
        Ok(())
    }

    fn attempt(&mut self, step: &Step) -> Result<(), Error> {
        match self.world.step(step) {
            Ok(()) => Ok(()),
            Err(Stop::Error(error)) => Err(error),
            Err(Stop::Broken(what)) => panic!("{step:?}: {what}"),
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), Stop> {
        for _ in 0..3 {
            let Err(error) = self.attempt(step) else {
                return Ok(());
            };
            self.judge(&error)?;
            if !self.world.is_open() {
                // A close that failed, or an open.
                self.reopen()?;
                return Ok(());
            }
            if matches!(error, Error::Poisoned { .. }) {
                self.check_poisoned()?;
                self.reopen()?;
                if matches!(step, Step::Keyspace(_) | Step::Drop(_)) {
                    // It may have happened.
                    if self.is_done(step) {
                        return Ok(());
                    }
                }
            } else {
                self.world.check_visible()?;
            }
        }
        Err(Stop::Broken(format!(
            "{step:?} does not succeed although the fault is over"
        )))
    }

    fn is_done(&self, step: &Step) -> bool {
        let live = self.world.oracle.live();
        match step {
            Step::Keyspace(name) => live.iter().any(|known| known == name),
            Step::Drop(name) => live.iter().all(|known| known != name),
            _ => false,
        }
    }

    fn run(&mut self, history: &History, end: End) -> Result<(), Stop> {
        if let Err(stop) = self.world.open(Loss::Nothing) {
            let Stop::Error(error) = stop else {
                return Err(stop);
            };
            self.judge(&error)?;
            self.reopen()?;
        }
        for step in &history.steps {
            self.step(step)?;
        }
        self.step(&Step::Look)?;
        if !self.power_goes && !self.fired() {
            // What is left are the calls of letting go.
            self.world.drop_all();
            if !self.fired() {
                return Err(Stop::Broken("the call that was to fail never came".to_owned()));
            }
        }
        let world = &mut self.world;
        match end {
            End::Drop => {
                world.drop_all();
                world.open(Loss::Nothing)?;
            }
            End::PowerLoss => {
                world.crash(CrashStyle::KeepNothing);
                world.open(Loss::Unsynced)?;
            }
            End::DropThenPowerLoss => {
                world.drop_all();
                world.open(Loss::Nothing)?;
                world.crash(CrashStyle::KeepNothing);
                world.open(Loss::Unsynced)?;
            }
            End::KillThenPowerLoss => {
                world.crash(CrashStyle::KeepAll);
                world.open(Loss::Nothing)?;
                world.crash(CrashStyle::KeepNothing);
                world.open(Loss::Unsynced)?;
            }
        }
        world.exercise()
    }
}

fn fail_at(history: &History, call: &Call, errno: i32, effect: Effect, after: After, end: End) {
    let context = format!(
        "history {:?}, log {:?}, I/O call {} ({}), error {errno}, {effect:?}, {after:?}, {end:?}",
        history.name,
        history.log_medium,
        call.index,
        show(call)
    );
    let _context = Context(context.clone());
    let index = call.index;
    let mut run = Run {
        world: World::new(history, 1),
        fault: index,
        after,
        power_goes: false,
    };
    run.world
        .sim
        .set_fault(Fault::FailCallWith { index, errno, effect });
    if let Err(stop) = run.run(history, end) {
        panic!("{stop:?}\n{context}");
    }
}

fn takes_room(call: &Call) -> bool {
    matches!(
        call.op,
        Op::Create
            | Op::Write
            | Op::Reserve
            | Op::SetLen
            | Op::Rename
            | Op::CreateDir
            | Op::Sync
            | Op::SyncDir
    )
}

fn opens(call: &Call) -> bool {
    matches!(call.op, Op::Create | Op::Open | Op::Lock | Op::List | Op::SyncDir)
}

/// The histories; in the end each waits for its background work, so that runs with and without a fault make the same calls up to it.
fn settled() -> Vec<History> {
    let mut all = histories::all();
    for history in &mut all {
        history.steps.push(Step::Settle);
    }
    all
}

/// With both media of the log.
fn fail_everywhere(history: &History) {
    for log_medium in [LogMedium::Auto, LogMedium::Plain] {
        fail_at_every_call(&History {
            log_medium,
            ..history.clone()
        });
    }
}

fn fail_at_every_call(history: &History) {
    let mut calls = trace(history, 1);
    calls.retain(|call| call.op != Op::Store); // which can't fail
    let mut faults = 0;
    for call in &calls {
        let ends = [
            End::Drop,
            End::PowerLoss,
            End::DropThenPowerLoss,
            End::KillThenPowerLoss,
        ];
        // Not each with each: the end changes with the call, and both ways after a reopening are tried.
        for (turn, after) in [After::GoOn, After::PowerLoss].into_iter().enumerate() {
            for (shift, effect) in [Effect::Nothing, Effect::Partial].into_iter().enumerate() {
                let end = ends[(call.index as usize + turn + 2 * shift) % ends.len()];
                fail_at(history, call, EIO, effect, after, end);
                faults += 1;
            }
        }
        let end = ends[call.index as usize % ends.len()];
        for (errno, suits) in [(ENOSPC, takes_room(call)), (EMFILE, opens(call))] {
            if suits {
                fail_at(history, call, errno, Effect::Nothing, After::GoOn, end);
                faults += 1;
            }
        }
    }
    println!(
        "{}, log {:?}: {} I/O calls, {faults} faults",
        history.name,
        history.log_medium,
        calls.len()
    );
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
    let index = call.index;
    let mut run = Run {
        world: World::new(history, 1),
        fault: index,
        after: After::GoOn,
        power_goes: true,
    };
    let errno = EIO;
    run.world
        .sim
        .set_fault(Fault::FailCallWith { index, errno, effect });
    run.world
        .sim
        .set_fault(Fault::PowerOffAt { index: index + later });
    // What kills the power is not what the run is judged by: only what is left is.
    match run.run(history, End::Drop) {
        Ok(()) | Err(Stop::Error(_)) => {}
        Err(Stop::Broken(what)) if run.world.sim.is_off() && what.contains("although the fault is over") => {}
        Err(Stop::Broken(what)) => panic!("before the crash: {what}\n{context}"),
    }
    let mut world = run.world;
    world.crash(style);
    let loss = if style == CrashStyle::KeepAll {
        Loss::Nothing
    } else {
        Loss::Unsynced
    };
    if let Err(stop) = world.open(loss).and_then(|()| world.exercise()) {
        panic!("after the crash: {stop:?}\n{context}");
    }
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
