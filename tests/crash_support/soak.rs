//! What is done to random histories: power goes off, calls fail, files decay. One seed, one history; a broken promise panics.

use std::io::ErrorKind;

use packstone::Error;
use packstone::env::sim::{CrashStyle, Effect, Fault};

use super::oracle::Loss;
use super::world::{Stop, World};
use super::{History, Step};
use super::{histories, random};
use crate::support::rng::Rng;

fn start(rng: &mut Rng, seed: u64, crashes: bool) -> (World, History) {
    let length = 20 + rng.below(60);
    let history = random::history(seed, length, crashes);
    let world = World::new(&history, seed);
    if rng.below(3) == 0 {
        world.sim.set_flaky(Some(2 + rng.below(30)));
    }
    (world, history)
}

fn style(rng: &mut Rng) -> (CrashStyle, Loss) {
    match rng.below(4) {
        0 => (CrashStyle::KeepNothing, Loss::Unsynced),
        1 => (CrashStyle::KeepAll, Loss::Nothing),
        _ => (CrashStyle::Random, Loss::Unsynced),
    }
}

/// The power goes off again and again, in the middle of anything, recovery included.
pub fn random_crashes(seed: u64) {
    let mut rng = Rng::apart(seed, 0xC0FFEE);
    let (mut world, history) = start(&mut rng, seed, true);
    let mut steps = history.steps.iter();
    let mut loss = Loss::Nothing;
    for _ in 0..6 {
        let index = world.sim.io_count() + rng.below(400);
        world.sim.set_fault(Fault::PowerOffAt { index });
        let result = world.open(loss).and_then(|()| {
            steps
                .by_ref()
                .try_for_each(|step| step_if_possible(&mut world, step))
        });
        match result {
            Ok(()) | Err(Stop::Error(_)) => {}
            Err(Stop::Broken(what)) => panic!("{what}"),
        }
        // A crash during recovery loses what the crash before it has left to lose.
        let before = world.owed;
        let (style, now) = style(&mut rng);
        world.crash(style);
        if now == Loss::Unsynced && rng.below(3) == 0 {
            world.show_stale_blocks(&mut rng);
        }
        loss = if before == Loss::Unsynced { before } else { now };
    }
    finish(&mut world, loss);
}

/// Skips what needs a keyspace that a crash has taken before its creation was acknowledged.
fn step_if_possible(world: &mut World, step: &Step) -> Result<(), Stop> {
    let live = world.oracle.live();
    let has = |name: &str| live.iter().any(|known| known == name);
    let possible = match step {
        Step::Write(items, _) | Step::Amid(_, items) => items.iter().all(|(name, ..)| has(name)),
        Step::Fill { keyspace, .. } => has(keyspace),
        Step::Stream(name, ..) | Step::PutReader(name, ..) => has(name),
        Step::GiveUp(name, ..) | Step::FailingReader(name, ..) => has(name),
        Step::Compact(name) | Step::Drop(name) => has(name),
        _ => true,
    };
    let possible = possible
        && step.amidst().is_none_or(|amidst| {
            amidst.drop.is_none_or(has) && amidst.items.iter().all(|(name, ..)| has(name))
        });
    if possible { world.step(step) } else { Ok(()) }
}

fn finish(world: &mut World, loss: Loss) {
    world.sim.set_flaky(None);
    world.sim.clear_faults();
    if let Err(stop) = world.open(loss).and_then(|()| world.exercise()) {
        panic!("at the end: {stop:?}");
    }
}

/// Calls fail at random, rooms runs out and comes back, syncs lie; in between the power goes off.
pub fn random_faults(seed: u64) {
    let mut rng = Rng::apart(seed, 0xFA17);
    let (mut world, history) = start(&mut rng, seed, false);
    let mut steps = history.steps.iter().peekable();
    let mut loss = Loss::Nothing;
    let mut patience = 60;
    while steps.peek().is_some() && patience > 0 {
        if !world.is_open() {
            patience -= 1;
            if patience % 4 == 0 {
                world.sim.clear_faults();
                world.sim.set_capacity(None);
            }
            match world.open(loss) {
                Ok(()) => loss = Loss::Nothing,
                Err(Stop::Error(error)) => {
                    judge(&error);
                    world.drop_all();
                    continue;
                }
                Err(Stop::Broken(what)) => panic!("{what}"),
            }
        }
        disturb(&mut rng, &world);
        if rng.below(30) == 0 {
            let (style, now) = style(&mut rng);
            world.crash(style);
            loss = now;
            continue;
        }
        let Some(step) = steps.next() else { break };
        match step_if_possible(&mut world, step) {
            Ok(()) => {}
            Err(Stop::Error(error)) => {
                judge(&error);
                if matches!(error, Error::Poisoned { .. }) || rng.below(10) == 0 {
                    world.drop_all();
                }
            }
            Err(Stop::Broken(what)) => panic!("{step:?}: {what}"),
        }
    }
    world.sim.set_capacity(None);
    let (style, now) = style(&mut rng);
    world.crash(style);
    finish(&mut world, now);
}

fn disturb(rng: &mut Rng, world: &World) {
    let index = world.sim.io_count() + rng.below(40);
    let effect = rng.pick(&[Effect::Nothing, Effect::Partial]);
    match rng.below(24) {
        0..3 => world.sim.set_fault(Fault::FailCall {
            index,
            kind: rng.pick(&[ErrorKind::Other, ErrorKind::StorageFull]),
            effect,
        }),
        3 => world.sim.set_capacity(Some(world.sim.used() + rng.below(20_000))),
        4..7 => world.sim.set_capacity(None),
        _ => {}
    }
}

/// Only what the faults explain: never damage, never a missing database.
fn judge(error: &Error) {
    assert!(
        matches!(
            error,
            Error::Io { .. } | Error::Poisoned { .. } | Error::Background { .. }
        ),
        "the faults do not explain this: {error}"
    );
}

/// A bit of an SST is not what it was.
pub fn random_decay(seed: u64) {
    let mut rng = Rng::apart(seed, 0xDECA);
    let history = random::history(seed, 60, false);
    let mut world = World::new(&history, seed);
    let result = world
        .open(Loss::Nothing)
        .and_then(|()| world.run(&history.steps))
        .and_then(|()| world.step(&Step::Flush))
        .and_then(|()| world.decay(&mut rng));
    if let Err(stop) = result {
        panic!("{stop:?}");
    }
}

/// The history of `tests/crash.rs` in which a recovery flushes, without further crashes.
pub fn replay_beyond_memory(seed: u64) {
    let history = &histories::all()[17];
    let mut world = World::new(history, seed);
    if let Err(stop) = world.open(Loss::Nothing).and_then(|()| world.run(&history.steps)) {
        panic!("{stop:?}");
    }
}
