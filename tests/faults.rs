//! Each I/O call of each history failed in turn: the operation that needs it says so, or background work goes on by
//! itself; nothing acknowledged is lost, now, after reopening, or after a loss of power that follows; nothing hangs.

mod crash_support;

use std::io::ErrorKind;

use crash_support::oracle::Loss;
use crash_support::world::{Context, Stop, World, show, trace};
use crash_support::{History, Step, histories};
use packstone::Error;
use packstone::env::sim::{Call, CrashStyle, Effect, Fault, Op};

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
}

impl Run {
    fn fired(&self) -> bool {
        self.world.sim.io_count() > self.fault
    }

    fn judge(&self, error: &Error) -> Result<(), Stop> {
        let injected = match error {
            Error::Io { .. } | Error::Poisoned { .. } | Error::Background { .. } => true,
            _ => false,
        };
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
        self.step(&Step::Settle)?;
        self.world.check_visible()?;
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

fn fail_at(history: &History, call: &Call, kind: ErrorKind, effect: Effect, after: After, end: End) {
    let context = format!(
        "history {:?}, I/O call {} ({}), {kind:?} {effect:?}, {after:?}, {end:?}",
        history.name,
        call.index,
        show(call)
    );
    let _context = Context(context.clone());
    let index = call.index;
    let mut run = Run {
        world: World::new(history, 1),
        fault: index,
        after,
    };
    run.world.sim.set_fault(Fault::FailCall { index, kind, effect });
    if let Err(stop) = run.run(history, end) {
        panic!("{stop:?}\n{context}");
    }
}

fn takes_room(call: &Call) -> bool {
    matches!(
        call.op,
        Op::Create | Op::Write | Op::SetLen | Op::Rename | Op::CreateDir | Op::Sync | Op::SyncDir
    )
}

fn fail_everywhere(history: &History) {
    let calls = trace(history, 1);
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
                fail_at(history, call, ErrorKind::Other, effect, after, end);
                faults += 1;
            }
        }
        if takes_room(call) {
            let end = ends[call.index as usize % ends.len()];
            fail_at(
                history,
                call,
                ErrorKind::StorageFull,
                Effect::Nothing,
                After::GoOn,
                end,
            );
            faults += 1;
        }
    }
    println!("{}: {} I/O calls, {faults} faults", history.name, calls.len());
}

macro_rules! every_call_fails {
    ($($test:ident: $at:expr;)*) => {
        $(
            #[test]
            fn $test() {
                fail_everywhere(&histories::all()[$at]);
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
}
