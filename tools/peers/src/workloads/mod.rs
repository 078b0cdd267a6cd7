//! The workloads of one scenario, run in this process on one database. Knows engines only by their trait and the report
//! not at all: what it finds out goes into an [`Outcome`].
//!
//! Inside the timing of every operation: making the key, and the value if there is one; checking the value that is read
//! (length and identity always, every byte of one in sixteen). Outside: opening, settling, and the memory that the
//! generator itself takes.

mod fill;
mod mixed;
mod read;
mod reopen;
mod scan;
mod ycsb;

pub(crate) use reopen::READY;

use std::time::{Duration, Instant};

use crate::Result;
use crate::catalogue::{Step, Workload};
use crate::data::{Keys, Values};
use crate::engines::{Engine, open};
use crate::figures::{Kind, Outcome};
use crate::measure::MemoryPeak;
use crate::plan::{Plan, Role};

/// Does what the plan says.
pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    match plan.role {
        Role::Measure => measure(plan),
        Role::Victim => reopen::load_and_wait(plan),
        Role::Survivor => reopen::open_again(plan),
    }
}

/// What the workloads of a scenario share.
struct Run<'a> {
    plan: &'a Plan,
    db: &'a dyn Engine,
    keys: Keys,
    values: Values,
    /// Entries loaded: the numbers below this are there.
    entries: u64,
    /// The number of the next entry that YCSB inserts.
    next: u64,
    /// The oldest and the newest version that a value may be of.
    versions: (u64, u64),
    memory: &'a MemoryPeak,
    outcome: Outcome,
}

fn measure(plan: &Plan) -> Result<Outcome> {
    let scenario = plan.scenario()?;
    let (keys, values) = (plan.keys(), plan.values()?);
    let memory = MemoryPeak::start()?;
    let db = open(&plan.engine, &plan.dir, plan.config)?;
    let mut run = Run {
        plan,
        db: db.as_ref(),
        keys,
        values,
        entries: plan.entries,
        next: plan.entries,
        versions: (0, 0),
        memory: &memory,
        outcome: Outcome::default(),
    };
    for (i, workload) in scenario.workloads.iter().enumerate() {
        if i == 0 || plan.workloads.iter().any(|name| name == workload.name) {
            run.step(workload)
                .map_err(|e| format!("{}: {e}", workload.name))?;
        }
    }
    if let Some(load) = scenario.workloads.first() {
        let (anonymous, file) = (memory.anonymous() as f64, memory.file() as f64);
        run.outcome.add(load.name, Kind::AnonymousAll, anonymous);
        run.outcome.add(load.name, Kind::FileBackedAll, file);
    }
    let outcome = run.outcome;
    db.close()?;
    Ok(outcome)
}

impl Run<'_> {
    fn step(&mut self, workload: &Workload) -> Result<()> {
        let name = workload.name;
        if workload.step.needs_order() && !self.db.is_ordered() {
            let note = format!("{name}: left out, in hash order there is nothing to scan");
            self.outcome.notes.push(note);
            return Ok(());
        }
        match workload.step {
            Step::Fill => self.fill(name, false),
            Step::FillBatches => self.fill(name, true),
            Step::Read(access) => self.read(name, access),
            Step::ReadMissing => self.read_missing(name),
            Step::Seek { backwards } => self.seek(name, backwards),
            Step::Scan { backwards } => self.scan(name, backwards),
            Step::ReadBesideWriter => self.read_beside_writer(name),
            Step::Overwrite => self.overwrite(name),
            Step::Churn(times) => self.churn(name, times),
            Step::Ycsb(mix) => self.ycsb(name, mix),
            Step::Reopen => Err("it takes two processes".into()),
        }
    }

    /// A limit for a workload that is not a load.
    fn limit(&self) -> Limit {
        Limit::after(self.plan.step_seconds)
    }

    /// Runs `work` in each thread and reports the rate of all operations together.
    fn timed(&mut self, name: &str, work: impl Fn(u64) -> Result<u64> + Sync) -> Result<u64> {
        let (operations, time) = parallel(self.plan.threads, work)?;
        self.outcome
            .add(name, Kind::Rate, operations as f64 / time.as_secs_f64());
        self.outcome.add(name, Kind::Operations, operations as f64);
        Ok(operations)
    }

    /// Takes note of a workload that wrote less than it was to, and so left less to background work. (Of reads there are
    /// enough within any limit.)
    fn note_cut(&mut self, name: &str, done: u64, asked: u64) {
        if done < asked {
            self.outcome.notes.push(format!(
                "{name}: the time limit ended it after {done} of {asked} operations"
            ));
        }
    }

    /// How many of `all` operations a thread does.
    fn share(&self, all: u64, thread: u64) -> u64 {
        let threads = self.plan.threads as u64;
        all / threads + u64::from(thread < all % threads)
    }
}

/// Runs `work` in so many threads, each of which is told its number and gives how many operations it has done. One
/// thread is this one.
fn parallel(threads: usize, work: impl Fn(u64) -> Result<u64> + Sync) -> Result<(u64, Duration)> {
    let start = Instant::now();
    if threads == 1 {
        let operations = work(0)?;
        return Ok((operations, start.elapsed()));
    }
    let operations = std::thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> = (0..threads as u64)
            .map(|thread| scope.spawn(move || work(thread)))
            .collect();
        let mut sum = 0;
        for worker in workers {
            sum += worker.join().map_err(|_| "a thread of the workload panicked")??;
        }
        Ok::<u64, Box<dyn std::error::Error + Send + Sync>>(sum)
    })?;
    Ok((operations, start.elapsed()))
}

/// Ends workloads that would take too long.
#[derive(Clone, Copy)]
struct Limit {
    end: Option<Instant>,
}

/// How many operations pass between two looks at the clock. REQUIRES: a power of two.
const OPERATIONS_PER_LOOK: u64 = 32;

impl Limit {
    /// So many seconds from now on; 0 for never.
    fn after(seconds: u64) -> Self {
        let end = (seconds > 0).then(|| Instant::now() + Duration::from_secs(seconds));
        Limit { end }
    }

    /// Whether to stop before this operation (they are numbered from 0 on).
    fn ends(&self, operation: u64) -> bool {
        operation.is_multiple_of(OPERATIONS_PER_LOOK) && self.is_over()
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }
}
