//! mixgraph: gets, puts and scans in shares, with modelled keys, value sizes, scan lengths and rate.

use std::time::Instant;

use super::keys_of_mixgraph::{Draw, Drawn, pareto};
use super::worker::Worker;
use crate::failure::Outcome;
use crate::flags::Sine;
use crate::measure::Op;

/// The shortest value.
const LEAST_VALUE: u64 = 10;

pub(super) fn run(worker: &mut Worker<'_>) -> Outcome<()> {
    let config = worker.config;
    let draw = Draw::new(worker.task.num, &config.mixgraph);
    let mut rate = config.mixgraph.sine.map(Rate::new);
    let mut budget = worker.budget(worker.task.reads);
    while !worker.is_cancelled() && budget.take(1) > 0 {
        let drawn = draw.next(&mut worker.random);
        match draw.kind(drawn) {
            0 => get(worker, drawn)?,
            1 => put(worker, drawn)?,
            _ => seek(worker, drawn)?,
        }
        if let Some(rate) = &mut rate {
            rate.pace(worker);
        }
    }
    Ok(())
}

fn get(worker: &mut Worker<'_>, drawn: Drawn) -> Outcome<()> {
    let found = worker.get(drawn.key, None)?;
    worker.stats.bytes += found.unwrap_or(0);
    worker.stats.count("gets", 1);
    worker.finished(Op::Read, 1);
    worker.pace_read();
    Ok(())
}

fn put(worker: &mut Worker<'_>, drawn: Drawn) -> Outcome<()> {
    let mix = &worker.config.mixgraph;
    let mut len = pareto(drawn.value, mix.value).max(LEAST_VALUE);
    if len > mix.max_value_size {
        len %= mix.max_value_size;
    }
    worker.put(drawn.key, Some(len as usize))?;
    worker.stats.count("puts", 1);
    worker.stats.count("value bytes", len);
    worker.finished(Op::Write, 1);
    worker.pace_write(len);
    Ok(())
}

fn seek(worker: &mut Worker<'_>, drawn: Drawn) -> Outcome<()> {
    let mix = &worker.config.mixgraph;
    let nexts = pareto(drawn.scan, mix.iter) % mix.max_scan_len;
    let (found, entries, bytes) = worker.seek(drawn.key, nexts, false)?;
    worker.stats.looked(found);
    worker.stats.bytes += bytes;
    worker.stats.count("seeks", 1);
    worker.stats.count("scanned", entries);
    worker.finished(Op::Seek, 1);
    worker.pace_read();
    Ok(())
}

/// Sets the rate of all threads anew, every interval.
struct Rate {
    sine: Sine,
    start: Instant,
    /// In which interval the rate was set.
    set_in: Option<u128>,
}

impl Rate {
    fn new(sine: Sine) -> Self {
        Rate {
            sine,
            start: Instant::now(),
            set_in: None,
        }
    }

    fn pace(&mut self, worker: &mut Worker<'_>) {
        let passed = self.start.elapsed();
        let interval = passed.as_millis() / self.sine.interval.as_millis().max(1);
        if self.set_in != Some(interval) {
            self.set_in = Some(interval);
            let noise = (worker.random.unit() - 0.5) * self.sine.abcd[0] * self.sine.noise;
            let rate = sine_rate(self.sine.abcd, passed.as_secs_f64()) + noise;
            // At a rate of zero nothing would ever set it again.
            worker.group.mix_pacer.set_rate(rate.max(1.0) as u64);
        }
        if worker.group.mix_pacer.take(1) {
            worker.stats.forget_wait();
        }
    }
}

fn sine_rate([a, b, c, d]: [f64; 4], seconds: f64) -> f64 {
    a * (b * seconds + c).sin() + d
}
