//! Each call of a history fails.

use packstone::Error;
use packstone::env::sim::{Call, CrashStyle, EIO, EMFILE, ENOSPC, Effect, Fault, Op};

use super::oracle::Loss;
use super::world::{Context, Stop, World, show, trace};
use super::{History, Step};

/// What follows when the database had to be opened again after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    GoOn,
    /// Power is lost at once: what the reopened database showed must be durable, whatever the page cache pretends.
    PowerLoss,
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Drop,
    PowerLoss,
    DropThenPowerLoss,
    KillThenPowerLoss,
}

pub struct Run {
    pub world: World,
    fault: u64,
    after: After,
    /// The power goes after the fault, some time.
    pub power_goes: bool,
}

impl Run {
    /// The call of this number will fail.
    pub fn new(history: &History, call: &Call, errno: i32, effect: Effect) -> Run {
        let (world, index) = (World::new(history, 1), call.index);
        world.sim.set_fault(Fault::FailCallWith { index, errno, effect });
        Run {
            world,
            fault: index,
            after: After::GoOn,
            power_goes: false,
        }
    }

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

    pub fn run(&mut self, history: &History, end: End) -> Result<(), Stop> {
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

pub fn fail_at(history: &History, call: &Call, errno: i32, effect: Effect, after: After, end: End) {
    let context = format!(
        "history {:?}, log {:?}, I/O call {} ({}), error {errno}, {effect:?}, {after:?}, {end:?}",
        history.name,
        history.log_medium,
        call.index,
        show(call)
    );
    let _context = Context(context.clone());
    let mut run = Run::new(history, call, errno, effect);
    run.after = after;
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

pub fn fail_at_every_call(history: &History) {
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
