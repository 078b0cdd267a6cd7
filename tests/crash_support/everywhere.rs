//! The power goes off at each call of a history.

use packstone::env::sim::{Call, CrashStyle, Fault};

use super::History;
use super::oracle::Loss;
use super::world::{Context, Stop, World, show, trace};

/// Runs `history` until the power goes off at `call`, and checks what is left.
pub fn crash_at(history: &History, call: &Call, style: CrashStyle, seed: u64) {
    let context = format!(
        "history {:?}, log {:?}, I/O call {} ({}), {style:?}, seed {seed}",
        history.name,
        history.log_medium,
        call.index,
        show(call)
    );
    let _context = Context(context.clone());
    let mut world = World::new(history, seed);
    world.sim.set_fault(Fault::PowerOffAt { index: call.index });
    match world.open(Loss::Nothing).and_then(|()| world.run(&history.steps)) {
        Ok(()) | Err(Stop::Error(_)) => {}
        Err(Stop::Broken(what)) => panic!("before the crash: {what}\n{context}"),
    }
    crash_and_check(world, style, &context);
}

/// The machine stops; what is left of the database is right, and goes on.
pub fn crash_and_check(mut world: World, style: CrashStyle, context: &str) {
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

/// With the worst of what may be left of what was not synced, with all of it, and with what each of these styles draws.
pub fn crash_at_every_call(history: &History, styles: &[CrashStyle]) {
    // The seed decides the order of the jobs, and so the calls: each seed has its own numbering.
    let calls = trace(history, 1);
    for call in &calls {
        crash_at(history, call, CrashStyle::KeepNothing, 1);
        crash_at(history, call, CrashStyle::KeepAll, 1);
    }
    let mut crashes = calls.len() as u64 * 2;
    for (style, seed) in styles.iter().zip(2..) {
        for call in &trace(history, seed) {
            crash_at(history, call, *style, seed);
            crashes += 1;
        }
    }
    println!(
        "{}, log {:?}: {} I/O calls, {crashes} crashes",
        history.name,
        history.log_medium,
        calls.len()
    );
}
