//! Point reads beside one writer at a fixed rate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Run, parallel};
use crate::Result;
use crate::catalogue::Access;
use crate::data::{Checker, Random};
use crate::engines::View;
use crate::figures::Kind;
use crate::measure::Pacer;
use crate::workloads::read::Chooser;

/// Seeds; a reading thread adds its number.
const READ_SEED: u64 = 5000;
const WRITE_SEED: u64 = 6000;
/// A writer below this part of its rate is noted.
const ALMOST: f64 = 0.98;

impl Run<'_> {
    pub(super) fn read_beside_writer(&mut self, name: &str) -> Result<()> {
        self.versions.1 += 1;
        let stop = AtomicBool::new(false);
        let this = &*self;
        let (written, writing, read, reading) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| this.write_paced(&stop));
            let readers = parallel(this.plan.threads, |thread| this.read_for_a_while(thread, &stop));
            // Also after a failure, or the writer would never end.
            stop.store(true, Ordering::Relaxed);
            let (written, writing) = writer.join().map_err(|_| "the writer panicked")??;
            let (read, reading) = readers?;
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((written, writing, read, reading))
        })?;
        let rate = read as f64 / reading.as_secs_f64();
        let achieved = written as f64 / writing.as_secs_f64();
        self.outcome.add(name, Kind::Rate, rate);
        self.outcome.add(name, Kind::Operations, read as f64);
        self.outcome.add(name, Kind::WriterRate, achieved);
        let asked = self.plan.writer_rate;
        if achieved < asked as f64 * ALMOST {
            self.outcome.notes.push(format!(
                "{name}: the writer achieved {achieved:.0} of {asked} writes a second, so the reads had less beside them"
            ));
        }
        // What the writer has left to do in the background is not the next workload's.
        self.db.settle()?;
        Ok(())
    }

    fn write_paced(&self, stop: &AtomicBool) -> Result<(u64, Duration)> {
        let mut random = Random::new(WRITE_SEED);
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let (mut written, start) = (0, Instant::now());
        let mut pacer = Pacer::new(self.plan.writer_rate);
        while !stop.load(Ordering::Relaxed) {
            pacer.wait();
            self.keys.present(random.below(self.entries), &mut key);
            self.values.write(&key, self.versions.1, &mut value);
            self.db.put(&key, &value)?;
            written += 1;
        }
        Ok((written, start.elapsed()))
    }

    fn read_for_a_while(&self, thread: u64, stop: &AtomicBool) -> Result<u64> {
        let end = Instant::now() + Duration::from_secs(self.plan.mixed_seconds);
        let chooser = Chooser::new(Access::Uniform, self.entries);
        let mut random = Random::new(READ_SEED + thread);
        let mut checker = Checker::new(&self.values, self.versions);
        let mut reader = self.db.reader(View::Fresh)?;
        let (mut key, mut done) = (Vec::new(), 0_u64);
        // A look at the clock for every few reads costs nothing to speak of.
        while !(done.is_multiple_of(16) && (Instant::now() >= end || stop.load(Ordering::Relaxed))) {
            self.keys.present(chooser.next(&mut random), &mut key);
            if !reader.get(&key, &mut |value| checker.check(&key, value))? {
                return Err(format!("key {} is missing", key.escape_ascii()).into());
            }
            done += 1;
        }
        Ok(done)
    }
}
