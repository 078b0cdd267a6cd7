//! [`Runner`]: goes through the list of benchmarks: opens databases, starts threads, compares what was done with what the
//! database says was done, and reports.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};

use packstone::Metrics;
use parking_lot::Mutex;

use crate::database::Database;
use crate::failure::{Failure, Outcome};
use crate::flags::Config;
use crate::list::Item;
use crate::measure::{Course, Latencies, Op, Sampler, Shared, Stats, Stop, process};
use crate::report::{self, Account, Console, Repeats, Text, Uptime};
use crate::workloads::{self, Benchmark, Group, Kind, Run, Task, Worker};

pub(crate) struct Runner<'a> {
    config: &'a Config,
    console: Console,
    database: Option<Database>,
    uptime: Uptime,
    /// Threads started so far: each gets a seed of its own.
    threads_started: u64,
    course: Option<Course>,
    csv: Option<File>,
    live: bool,
    latencies: BTreeMap<Op, Latencies>,
}

/// The threads of one measured run.
#[derive(Clone, Copy)]
struct Crew {
    run: Run,
    beside: Option<Run>,
    threads: usize,
}

impl<'a> Runner<'a> {
    pub(crate) fn new(config: &'a Config) -> Outcome<Self> {
        let console = Console::new(config)?;
        let csv = match config.report_interval {
            None => None,
            Some(_) => {
                let path = &config.report_file;
                let mut file = File::create(path).map_err(|e| Failure::io("create", path, &e))?;
                writeln!(file, "secs_elapsed,interval_qps").map_err(|e| Failure::io("write", path, &e))?;
                Some(file)
            }
        };
        Ok(Runner {
            config,
            console,
            database: None,
            uptime: Uptime::new(),
            threads_started: 0,
            course: config.plot.is_some().then(Course::new),
            csv,
            live: config.progress && config.stats_interval == 0 && std::io::stderr().is_terminal(),
            latencies: BTreeMap::new(),
        })
    }

    /// Runs the whole list.
    pub(crate) fn run(&mut self, items: &[Item]) -> Outcome<()> {
        if self.config.seed_drawn {
            self.console.text(&format!(
                "Set seed to {} because --seed was 0\n",
                self.config.seed
            ))?;
        }
        eprint!("{}", report::process_header());
        self.open(!self.config.use_existing_db)?;
        self.console.text(&report::run_header(self.config))?;
        for item in items {
            match workloads::find(&item.name) {
                Some(benchmark) => self.item(item, benchmark)?,
                None => eprintln!("unknown benchmark '{}'", item.name),
            }
        }
        if self.config.statistics
            && let Some(database) = &self.database
        {
            self.console
                .text(&report::statistics(&database.db.metrics(), &self.latencies))?;
        }
        if let Some(database) = self.database.take() {
            close(database)?;
        }
        match (&self.config.plot, &self.course) {
            (Some(path), Some(course)) => report::plot(path, course),
            _ => Ok(()),
        }
    }

    fn open(&mut self, fresh: bool) -> Outcome<()> {
        if let Some(database) = self.database.take() {
            close(database)?;
        }
        let open = if fresh { Database::create } else { Database::open };
        self.database = Some(open(self.config)?);
        self.uptime = Uptime::new();
        Ok(())
    }

    fn item(&mut self, item: &Item, benchmark: &Benchmark) -> Outcome<()> {
        if benchmark.fresh && self.config.use_existing_db {
            return self.console.text(&format!(
                "{:<12} : skipped (--use_existing_db is true)\n",
                item.name
            ));
        }
        if item.warmups > 0 {
            self.console.text(&format!(
                "Warming up benchmark by running {} times\n",
                item.warmups
            ))?;
        }
        for run in 1..=item.warmups {
            self.once(item, benchmark, run, true)?;
        }
        if item.repeats > 1 {
            self.console
                .text(&format!("Running benchmark for {} times\n", item.repeats))?;
        }
        let mut repeats = Repeats::default();
        for run in 1..=item.repeats {
            if let Some(stats) = self.once(item, benchmark, run, false)? {
                repeats.add(&stats);
                self.console
                    .text(&repeats.so_far(&item.name, self.config.confidence_interval_only))?;
            }
        }
        if self.config.confidence_interval_only {
            return Ok(());
        }
        self.console.text(&repeats.whole(&item.name))
    }

    fn once(&mut self, item: &Item, benchmark: &Benchmark, run: u64, warmup: bool) -> Outcome<Option<Stats>> {
        if benchmark.fresh {
            self.open(true)?;
        }
        match benchmark.kind {
            Kind::Told(text) => self.tell(text).map(|()| None),
            Kind::Sustained => self.sustained(&item.name).map(|()| None),
            Kind::Measured {
                run: work,
                beside,
                alone,
            } => {
                let threads = if alone { 1 } else { self.config.threads };
                let crew = Crew {
                    run: work,
                    beside,
                    threads,
                };
                self.measured(item, benchmark, crew, run, warmup).map(Some)
            }
        }
    }

    /// Ends the run with a failure where the engine has not kept what it promises.
    fn sustained(&mut self, name: &str) -> Outcome<()> {
        let Some(database) = &self.database else {
            return Ok(());
        };
        let seed = self.config.seed.wrapping_add(self.threads_started);
        self.threads_started += 2 * self.config.threads as u64;
        let report = workloads::sustained::run(self.config, database, seed)
            .map_err(|failure| Failure(format!("{name}: {failure}")))?;
        // It has switched them on.
        if !self.config.latencies {
            database.db.set_latencies(false);
        }
        self.console.text(&report.text)?;
        if report.held {
            Ok(())
        } else {
            Err(Failure(format!(
                "{name}: writers were held back, see the verdict"
            )))
        }
    }

    fn tell(&mut self, text: Text) -> Outcome<()> {
        let Some(database) = &self.database else {
            return Ok(());
        };
        let metrics = database.db.metrics();
        let text = match text {
            Text::Stats if self.config.latencies => {
                format!("{}\n** Packstone **\n{metrics}", self.uptime.tell(&metrics))
            }
            Text::Stats => self.uptime.tell(&metrics),
            Text::Levels => report::levels_text(&metrics),
            Text::Files => report::files_text(&database.keyspaces),
        };
        self.console.text(&format!("\n{text}\n"))
    }

    fn measured(
        &mut self,
        item: &Item,
        benchmark: &Benchmark,
        crew: Crew,
        run: u64,
        warmup: bool,
    ) -> Outcome<Stats> {
        let Some(database) = &self.database else {
            return Err(Failure("no database is open".into()));
        };
        self.console
            .text(&format!("DB path: [{}]\n", database.dir.display()))?;
        let mut task = Task::new(self.config);
        (benchmark.adjust)(&mut task);
        let before = database.db.metrics();
        process::reset_peak();
        let first_seed = self.threads_started;
        self.threads_started += (crew.threads + usize::from(crew.beside.is_some())) as u64;
        let shared = Shared {
            watched: self.live || self.course.is_some() || self.csv.is_some(),
            ops: AtomicU64::new(0),
            recent: self.course.is_some().then(Mutex::default),
        };
        let sampler = shared.watched.then(|| Sampler {
            name: &item.name,
            db: &database.db,
            shared: &shared,
            course: self.course.as_mut(),
            csv: self.csv.as_mut().zip(self.config.report_interval),
            live: self.live,
        });
        let seed = self.config.seed.wrapping_add(first_seed);
        let (stats, beside) = work(
            self.config,
            &task,
            database,
            crew,
            &shared,
            sampler,
            seed,
            self.live,
        )
        .map_err(|failure| Failure(format!("{}: {failure}", item.name)))?;
        let after = database.db.metrics();
        check_writes(&before, &after, stats.entries_written + beside.entries_written)
            .map_err(|failure| Failure(format!("{}: {failure}", item.name)))?;
        self.console.text(&report::line(
            &item.name,
            &stats,
            benchmark.message,
            self.config.histogram,
        ))?;
        for (op, latencies) in &stats.latencies {
            self.latencies
                .entry(*op)
                .or_insert_with(Latencies::new)
                .add(latencies);
        }
        let account = Account {
            name: &item.name,
            run,
            warmup,
            threads: crew.threads,
            stats: &stats,
            beside: &beside,
            before: &before,
            after: &after,
            live_bytes: database.oracle.live_bytes(),
            live_keys: database.oracle.len(),
            memory: process::memory(),
            seed,
        };
        self.console.json(|| report::object(&account))?;
        Ok(stats)
    }
}

/// What the database counted must be what the threads did.
fn check_writes(before: &Metrics, after: &Metrics, entries: u64) -> Outcome<()> {
    let counted = after.entries_written - before.entries_written;
    if counted != entries {
        return Err(Failure(format!(
            "{entries} entries were written, and the database counted {counted}"
        )));
    }
    Ok(())
}

fn close(database: Database) -> Outcome<()> {
    let Database { db, keyspaces, .. } = database;
    drop(keyspaces);
    Ok(db.close()?)
}

/// Runs the threads of a benchmark. Returns the sum of what was measured, and what the thread beside did.
#[allow(clippy::too_many_arguments, reason = "the parts of one run, passed once")]
fn work(
    config: &Config,
    task: &Task,
    database: &Database,
    crew: Crew,
    shared: &Shared,
    sampler: Option<Sampler<'_>>,
    seed: u64,
    quiet: bool,
) -> Outcome<(Stats, Stats)> {
    let group = Group::new(config, crew.threads);
    let all = crew.threads + usize::from(crew.beside.is_some());
    let (barrier, stop) = (Barrier::new(all), Stop::default());
    let thread = |id: usize| {
        let is_beside = id >= crew.threads;
        let run = if is_beside {
            crew.beside.unwrap_or(crew.run)
        } else {
            crew.run
        };
        let stats = Stats::new(id, config, quiet || is_beside);
        let mut worker = Worker::new(
            config,
            task,
            database,
            &group,
            shared,
            seed.wrapping_add(id as u64),
            stats,
        );
        barrier.wait();
        worker.stats.start();
        let outcome = run(&mut worker);
        worker.stats.stop();
        if outcome.is_err() {
            group.failed.store(true, Ordering::Relaxed);
        }
        if !is_beside {
            group.running.fetch_sub(1, Ordering::Release);
        }
        outcome.map(|()| worker.stats)
    };
    let (outcomes, sampled) = std::thread::scope(|scope| {
        let sampling = sampler.map(|sampler| scope.spawn(|| sampler.run(&stop)));
        let threads: Vec<_> = (0..all).map(|id| scope.spawn(move || thread(id))).collect();
        let outcomes: Vec<Outcome<Stats>> = threads.into_iter().map(joined).collect();
        stop.stop();
        (outcomes, sampling.map_or(Ok(Ok(())), |sampling| sampling.join()))
    });
    match sampled {
        Ok(result) => {
            result.map_err(|e| Failure(format!("cannot write {}: {e}", config.report_file.display())))?
        }
        Err(_) => return Err(Failure("the watching thread panicked".into())),
    }
    let mut stats = outcomes.into_iter().collect::<Outcome<Vec<Stats>>>()?.into_iter();
    let Some(mut sum) = stats.next() else {
        return Err(Failure("no thread ran".into()));
    };
    let mut beside = Stats::new(0, config, true);
    for (id, stats) in (1..).zip(stats) {
        if id < crew.threads {
            sum.add(&stats)
        } else {
            beside.add(&stats)
        }
    }
    Ok((sum, beside))
}

fn joined(thread: std::thread::ScopedJoinHandle<'_, Outcome<Stats>>) -> Outcome<Stats> {
    thread
        .join()
        .unwrap_or_else(|_| Err(Failure("a thread panicked".into())))
}
