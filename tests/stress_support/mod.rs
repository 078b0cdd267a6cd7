//! The stress driver: random histories on the simulated machine, with everything going wrong that can.
//!
//! Callers: `tests/stress.rs`, and any test that wants to know whether the engine passes: [`run`] takes a seed and a
//! [`Plan`] and gives a [`Report`], or a [`Failure`] with the history that shows it, shortened.
//!
//! * `steps`: histories as data, and as text;
//! * `generate`: histories drawn from a seed; `data`: keys and values from numbers;
//! * `oracle`: what the database must hold; `world`, `writing`, `reading`, `streams`, `beside`, `checks`: runs steps and compares; `explain`: which
//!   errors the faults explain;
//! * `shrink`: shortens what fails; `report`: what was done.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failure here is a failed test"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "campaigns are spread over threads and look at the clock"
)]

mod beside;
mod checks;
mod cursors;
pub(crate) mod data;
mod explain;
pub(crate) mod generate;
mod oracle;
mod reading;
pub(crate) mod report;
pub(crate) mod shrink;
pub(crate) mod steps;
mod streams;
mod world;
pub(crate) mod writing;

use std::cell::RefCell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use packstone::env::sim::Call;

pub(crate) use report::Report;
pub(crate) use steps::{History, Step};
use world::World;

/// What histories are made of.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Steps drawn, besides what goes wrong between them.
    pub(crate) steps: u64,
    pub(crate) crashes: bool,
    pub(crate) faults: bool,
    pub(crate) flips: bool,
    /// How often a failing history may be run again to shorten it; 0 leaves it as it is.
    pub(crate) shortenings: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            steps: 600,
            crashes: true,
            faults: true,
            flips: true,
            shortenings: 3000,
        }
    }
}

/// A history that shows that something is wrong.
#[derive(Clone)]
pub(crate) struct Failure {
    /// Where it was drawn from.
    pub(crate) seed: Option<u64>,
    /// What is wrong.
    pub(crate) what: String,
    /// The step at which it showed.
    pub(crate) at: usize,
    pub(crate) history: History,
    /// The same, shortened, and what is wrong there.
    pub(crate) shortened: Option<(History, String)>,
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        let steps = self.history.steps.len();
        let last = self
            .history
            .steps
            .get(self.at)
            .map_or("the end".to_owned(), Step::to_string);
        writeln!(f, "at step {} of {steps}: {last}", self.at)?;
        let release = if cfg!(debug_assertions) { "" } else { "--release " };
        if let Some(seed) = self.seed {
            writeln!(
                f,
                "again: PACKSTONE_STRESS_SEED={seed} cargo test {release}--test stress"
            )?;
        }
        if let Some((short, what)) = &self.shortened {
            writeln!(
                f,
                "shortened to {} steps, which fail with: {what}",
                short.steps.len()
            )?;
            writeln!(
                f,
                "again: put these lines into a file, PACKSTONE_STRESS_HISTORY=<file> cargo test {release}--test stress\n{short}"
            )?;
        }
        Ok(())
    }
}

/// Runs the history of a seed. What fails is shortened.
pub(crate) fn run(seed: u64, plan: &Plan) -> Result<Report, Box<Failure>> {
    let history = generate::history(seed, plan);
    run_history(&history, Tell::Nothing).map_err(|mut failure| {
        failure.seed = Some(seed);
        shorten(&mut failure, plan.shortenings);
        failure
    })
}

/// A call as a line, indented below its step.
fn tell_call(call: &Call) {
    let failed = if call.failed { ", which fails" } else { "" };
    let (path, to) = (call.path.display(), call.to.as_deref());
    let to = to.map_or(String::new(), |to| format!(" to {}", to.display()));
    eprintln!(
        "    {} {:?} {path}{to} at {}, {} bytes{failed}",
        call.index, call.op, call.offset, call.len
    );
}

/// What is written to standard error while a history runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    Nothing,
    /// Each step, with its I/O calls.
    Steps,
}

/// Runs a history as it is.
pub(crate) fn run_history(history: &History, tell: Tell) -> Result<Report, Box<Failure>> {
    run_world(history, tell, false).map(|(report, _)| report)
}

/// Runs a history and gives all its I/O calls as well.
pub(crate) fn run_traced(history: &History) -> Result<(Report, Vec<Call>), Box<Failure>> {
    run_world(history, Tell::Nothing, true)
}

fn run_world(history: &History, tell: Tell, trace: bool) -> Result<(Report, Vec<Call>), Box<Failure>> {
    let mut world = ManuallyDrop::new(World::new(history));
    if trace || tell == Tell::Steps {
        world.sim.set_trace(true);
    }
    let mut at = 0;
    let outcome = quiet_panics(|| -> Result<(), String> {
        for (number, step) in history.steps.iter().enumerate() {
            at = number;
            if tell == Tell::Steps {
                eprintln!("{number}: {step}");
            }
            let outcome = world.step(step);
            if tell == Tell::Steps {
                world.sim.take_trace().iter().for_each(tell_call);
            }
            outcome?;
        }
        at = history.steps.len();
        world.finish()
    });
    match outcome {
        Ok(()) => {
            let mut world = ManuallyDrop::into_inner(world);
            world.report.histories = 1;
            let calls = world.sim.take_trace();
            Ok((world.report.clone(), calls))
        }
        // What has failed is left as it is: closing it could only fail again.
        Err(what) => Err(Box::new(Failure {
            seed: None,
            what,
            at,
            history: history.clone(),
            shortened: None,
        })),
    }
}

/// In how many worlds a shorter history may fail.
const WORLDS: u64 = 4;

/// Puts a shorter history that fails as well beside a failure.
pub(crate) fn shorten(failure: &mut Failure, budget: usize) {
    if budget == 0 {
        return;
    }
    let mut upto_failure = failure.history.clone();
    upto_failure.steps.truncate(failure.at + 1);
    let mut last = None;
    let mut world = upto_failure.world;
    // Leaving a step out changes which calls fail and which job is next. So a few other worlds are tried as well, and
    // the one that a shorter history fails in is the next one's first.
    let mut fails = |history: &History| {
        (0..WORLDS).any(|other| {
            let history = History {
                world: world ^ other,
                ..history.clone()
            };
            let failure = run_history(&history, Tell::Nothing).err();
            failure.is_some_and(|failure| {
                world = history.world;
                last = Some((failure.history, failure.what));
                true
            })
        })
    };
    // What shows only at the end, shows after the last step as well.
    if fails(&upto_failure) {
        shrink::shorten_history(&upto_failure, budget, &mut fails);
        failure.shortened = last;
    }
}

thread_local! {
    /// The message of a panic that is being caught.
    static MESSAGE: RefCell<Option<String>> = const { RefCell::new(None) };
    static CATCHING: RefCell<bool> = const { RefCell::new(false) };
}

/// Runs `work`; a panic in it is an error with the panic's message and place.
fn quiet_panics(work: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if CATCHING.with_borrow(|catching| *catching) {
                MESSAGE.with_borrow_mut(|message| {
                    message.get_or_insert_with(|| info.to_string());
                });
            } else {
                before(info);
            }
        }));
    });
    CATCHING.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    CATCHING.set(false);
    let message = MESSAGE.take();
    outcome.unwrap_or_else(|_| Err(message.unwrap_or_else(|| "a panic".to_owned())))
}

/// A history that takes longer than this hangs.
const HANG: Duration = Duration::from_secs(300);

/// Runs the histories of the seeds that `next` gives, one on each thread. Ends with the first failure. `told` hears
/// the sum after each history.
pub(crate) fn campaign(
    threads: usize,
    plan: &Plan,
    next: impl Fn() -> Option<u64> + Sync,
    told: impl Fn(&Report) + Sync,
) -> Result<Report, Box<Failure>> {
    let total: Mutex<Report> = Mutex::default();
    let failed: Mutex<Option<Box<Failure>>> = Mutex::default();
    let running: Mutex<Vec<Option<(u64, Instant)>>> = Mutex::new(vec![None; threads]);
    let (running, total_of, failed_of, told, next) = (&running, &total, &failed, &told, &next);
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                while failed_of.lock().unwrap().is_none()
                    && let Some(seed) = next()
                {
                    running.lock().unwrap()[thread] = Some((seed, Instant::now()));
                    let outcome = run(seed, plan);
                    running.lock().unwrap()[thread] = None;
                    match outcome {
                        Ok(report) => {
                            let mut total = total_of.lock().unwrap();
                            *total += report;
                            told(&total);
                        }
                        Err(failure) => _ = failed_of.lock().unwrap().get_or_insert(failure),
                    }
                }
                running.lock().unwrap()[thread] = None;
                stop_if_hanging(running);
            });
        }
    });
    match failed.into_inner().unwrap() {
        Some(failure) => Err(failure),
        None => Ok(total.into_inner().unwrap()),
    }
}

/// Waits for the others; one that hangs can't be stopped, so the whole program is.
fn stop_if_hanging(running: &Mutex<Vec<Option<(u64, Instant)>>>) {
    loop {
        let oldest = running
            .lock()
            .unwrap()
            .iter()
            .flatten()
            .min_by_key(|(_, since)| *since)
            .copied();
        let Some((seed, since)) = oldest else { return };
        if since.elapsed() > HANG {
            eprintln!("the history of PACKSTONE_STRESS_SEED={seed} does not end");
            std::process::exit(101);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
