//! [`Sampler`]: watches a benchmark while it runs, and makes of it the CSV of intervals, the live progress line, and the
//! course that is plotted.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use packstone::{Db, Metrics};
use parking_lot::{Condvar, Mutex};

use super::stats::Shared;

/// How often the sampler looks: fine enough for a plot of seconds, and a hundredth of a percent of a core.
const TICK: Duration = Duration::from_millis(100);

/// One look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    /// Seconds since the first benchmark began.
    pub(crate) seconds: f64,
    pub(crate) ops_per_second: f64,
    /// Microseconds; `None` when nothing was done in the interval.
    pub(crate) p99: Option<f64>,
    pub(crate) level_0_files: u64,
    pub(crate) pending_bytes: u64,
}

/// The course of a whole run, benchmark after benchmark.
#[derive(Debug)]
pub(crate) struct Course {
    pub(crate) start: Instant,
    pub(crate) benchmarks: Vec<(String, Vec<Point>)>,
}

impl Course {
    pub(crate) fn new() -> Self {
        Course {
            start: Instant::now(),
            benchmarks: Vec::new(),
        }
    }
}

/// Where the watching of one benchmark goes.
pub(crate) struct Sampler<'a> {
    pub(crate) name: &'a str,
    pub(crate) db: &'a Db,
    pub(crate) shared: &'a Shared,
    pub(crate) course: Option<&'a mut Course>,
    pub(crate) csv: Option<(&'a mut std::fs::File, Duration)>,
    pub(crate) live: bool,
}

/// Ends a sampler.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    stopped: Mutex<bool>,
    wake: Condvar,
}

impl Stop {
    pub(crate) fn stop(&self) {
        *self.stopped.lock() = true;
        self.wake.notify_all();
    }

    /// Waits until `at`; returns whether it was stopped before.
    fn wait_until(&self, at: Instant) -> bool {
        let mut stopped = self.stopped.lock();
        while !*stopped {
            if self.wake.wait_until(&mut stopped, at).timed_out() {
                break;
            }
        }
        *stopped
    }
}

/// Level-0 SSTs of all keyspaces, and bytes that compaction owes.
fn debt(metrics: &Metrics) -> (u64, u64) {
    let keyspaces = metrics.keyspaces.iter();
    keyspaces.fold((0, 0), |(files, bytes), keyspace| {
        let level_0 = keyspace.levels.first().map_or(0, |level| level.files);
        (files + level_0, bytes + keyspace.pending_compaction_bytes)
    })
}

fn live_line(live: bool) -> ProgressBar {
    if !live {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]") {
        bar.set_style(style);
    }
    bar
}

impl Sampler<'_> {
    /// Runs until stopped.
    pub(crate) fn run(mut self, stop: &Stop) -> std::io::Result<()> {
        let (start, bar) = (Instant::now(), live_line(self.live));
        let (mut last, mut last_ops) = (start, 0);
        let (mut reported, mut reported_ops) = (0, 0);
        let mut points = Vec::new();
        let mut stopped = false;
        let mut result = Ok(());
        while !stopped {
            stopped = stop.wait_until(last + TICK);
            let now = Instant::now();
            let ops = self.shared.ops.load(Ordering::Relaxed);
            let seconds = (now - last).as_secs_f64().max(1e-6);
            let rate = (ops - last_ops) as f64 / seconds;
            (last, last_ops) = (now, ops);
            if let Some(course) = &self.course {
                points.push(self.look((now - course.start).as_secs_f64(), rate));
            }
            if self.live {
                let (files, bytes) = debt(&self.db.metrics());
                let pending = bytes >> 20;
                bar.set_message(format!(
                    "{}: {ops} ops, {rate:.0} ops/s, level 0: {files} files, to compact: {pending} MiB",
                    self.name
                ));
                bar.tick();
            }
            if let Some((file, every)) = &mut self.csv {
                // One row for every whole interval that has passed.
                while start.elapsed() >= *every * (reported + 1) {
                    reported += 1;
                    let qps = (ops - reported_ops) as f64 / every.as_secs_f64();
                    reported_ops = ops;
                    let written = writeln!(file, "{},{qps:.0}", every.as_secs() * u64::from(reported));
                    result = result.and(written);
                }
            }
        }
        bar.finish_and_clear();
        if let Some(course) = self.course {
            course.benchmarks.push((self.name.to_string(), points));
        }
        result
    }

    fn look(&self, seconds: f64, ops_per_second: f64) -> Point {
        let recent = self
            .shared
            .recent
            .as_ref()
            .and_then(|recent| recent.lock().take());
        let (level_0_files, pending_bytes) = debt(&self.db.metrics());
        Point {
            seconds,
            ops_per_second,
            p99: recent
                .filter(|recent| recent.count() > 0)
                .map(|recent| recent.percentile(99.0)),
            level_0_files,
            pending_bytes,
        }
    }
}
