//! Loads, and overwriting.

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{Limit, Run, parallel};
use crate::Result;
use crate::catalogue::BATCH_LEN;
use crate::data::{Checker, Random};
use crate::engines::{Counters, View};
use crate::figures::Kind;
use crate::measure::{DiskPeak, Written, disk_usage, file_system, written};

/// Threads claim the entries of a load in chunks of about this many bytes, at most so many entries.
const CHUNK_BYTES: u64 = 256 << 10;
const CHUNK_ENTRIES: u64 = 256;
/// How many overwritten entries are checked to be the new version, after the timing.
const SAMPLE: u64 = 1000;
/// Seeds of the workloads' random numbers.
const OVERWRITE_SEED: u64 = 50;

impl Run<'_> {
    pub(super) fn fill(&mut self, name: &str, batches: bool) -> Result<()> {
        touch(&self.plan.dir.join("touch"), self.plan.touch)?;
        let before = (written()?, self.db.counters());
        let limit = Limit::after(self.plan.load_seconds);
        let start = Instant::now();
        let (loaded, time) = self.load(batches, limit)?;
        self.outcome
            .add(name, Kind::Rate, loaded as f64 / time.as_secs_f64());
        self.outcome.add(name, Kind::Entries, loaded as f64);
        self.settle(name, start, before)?;
        self.outcome
            .add(name, Kind::Disk, disk_usage(&self.plan.dir)? as f64);
        self.outcome
            .add(name, Kind::Anonymous, self.memory.anonymous() as f64);
        self.outcome
            .add(name, Kind::FileBacked, self.memory.file() as f64);
        if loaded < self.plan.entries {
            self.outcome.notes.push(format!(
                "{name}: the time limit ended the load after {loaded} of {} entries; what follows it runs on those",
                self.plan.entries
            ));
        }
        (self.entries, self.next) = (loaded, loaded);
        Ok(())
    }

    /// Loads the entries in the order of their numbers, as many as the limit lets.
    pub(super) fn load(&self, batches: bool, limit: Limit) -> Result<(u64, Duration)> {
        let chunk = match batches {
            true => BATCH_LEN,
            false => (CHUNK_BYTES / (self.values.len() as u64 + 1)).clamp(1, CHUNK_ENTRIES),
        };
        let next = AtomicU64::new(0);
        let entries = self.plan.entries;
        parallel(self.plan.threads, |_| {
            let (mut key, mut value) = (Vec::new(), Vec::new());
            let mut operations = 0;
            while !limit.is_over() {
                let first = next.fetch_add(chunk, Ordering::Relaxed);
                let last = (first + chunk).min(entries);
                if first >= entries {
                    break;
                }
                operations += last - first;
                if batches {
                    self.db.batch(&mut |put| {
                        for number in first..last {
                            self.keys.present(number, &mut key);
                            self.values.write(&key, 0, &mut value);
                            put(&key, &value)?;
                        }
                        Ok(())
                    })?;
                } else {
                    for number in first..last {
                        self.keys.present(number, &mut key);
                        self.values.write(&key, 0, &mut value);
                        self.db.put(&key, &value)?;
                    }
                }
            }
            Ok(operations)
        })
    }

    /// Waits for background work, and reports how long writing took with it, and what has been written since.
    fn settle(&mut self, name: &str, start: Instant, (before, own): (Written, Counters)) -> Result<()> {
        let uncharged = self.db.settle()?;
        let settled = start.elapsed().saturating_sub(uncharged);
        let after = written()?;
        self.outcome.add(name, Kind::Settled, settled.as_secs_f64());
        let calls = after.calls.saturating_sub(before.calls);
        self.outcome.add(name, Kind::WrittenByCalls, calls as f64);
        // A file system without a disk below it counts none: no figure rather than a zero.
        let pages = after.pages.saturating_sub(before.pages);
        if file_system(&self.plan.dir) != "tmpfs" {
            self.outcome.add(name, Kind::WrittenPages, pages as f64);
        }
        let own = self.db.counters().since(own);
        let kinds = [
            Kind::OwnLog,
            Kind::OwnFlush,
            Kind::OwnCompaction,
            Kind::OwnApart,
            Kind::OwnMoved,
        ];
        let counts = [own.log, own.flush, own.compaction, own.apart, own.moved];
        for (kind, count) in kinds.into_iter().zip(counts) {
            if let Some(count) = count {
                self.outcome.add(name, kind, count as f64);
            }
        }
        if let [Some(log), Some(flush), Some(compaction), apart, moved] = counts {
            let total = log + flush + compaction + apart.unwrap_or(0) + moved.unwrap_or(0);
            self.outcome.add(name, Kind::OwnTotal, total as f64);
        }
        Ok(())
    }

    pub(super) fn overwrite(&mut self, name: &str) -> Result<()> {
        let version = self.versions.1 + 1;
        self.versions.1 = version;
        let before = (written()?, self.db.counters());
        let start = Instant::now();
        let (limit, entries, asked) = (self.limit(), self.entries, self.plan.operations);
        let (keys, values, db) = (self.keys.clone(), self.values.clone(), self.db);
        let shares: Vec<u64> = (0..self.plan.threads as u64)
            .map(|t| self.share(asked, t))
            .collect();
        let done = self.timed(name, |thread| {
            let mut random = Random::new(OVERWRITE_SEED + thread);
            let (mut key, mut value) = (Vec::new(), Vec::new());
            let share = shares[thread as usize];
            for i in 0..share {
                if limit.ends(i) {
                    return Ok(i);
                }
                keys.present(random.below(entries), &mut key);
                values.write(&key, version, &mut value);
                db.put(&key, &value)?;
            }
            Ok(share)
        })?;
        self.note_cut(name, done, asked);
        self.settle(name, start, before)?;
        if self.plan.threads == 1 {
            self.check_overwritten(version, done.min(SAMPLE))?;
        }
        Ok(())
    }

    /// Overwrites so many times the data, by one thread, no content twice, and reports the most room that this took. It leaves
    /// versions behind that only it knows, so it is the last of its scenario.
    pub(super) fn churn(&mut self, name: &str, times: u64) -> Result<()> {
        let before = (written()?, self.db.counters());
        let (start, limit) = (Instant::now(), self.limit());
        let (entries, oldest) = (self.entries, self.versions.1 + 1);
        let asked = entries * times;
        let (mut newest, mut done) = (vec![0; usize::try_from(entries)?], 0);
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let mut random = Random::new(OVERWRITE_SEED);
        let peak = DiskPeak::start(&self.plan.dir);
        while done < asked && !limit.ends(done) {
            let number = random.below(entries);
            newest[number as usize] = oldest + done;
            self.keys.present(number, &mut key);
            self.values.write(&key, oldest + done, &mut value);
            self.db.put(&key, &value)?;
            done += 1;
        }
        let seconds = start.elapsed().as_secs_f64();
        self.outcome.add(name, Kind::Rate, done as f64 / seconds);
        self.outcome.add(name, Kind::Operations, done as f64);
        self.note_cut(name, done, asked);
        self.settle(name, start, before)?;
        self.outcome.add(name, Kind::DiskPeak, peak.end()? as f64);
        self.outcome
            .add(name, Kind::Disk, disk_usage(&self.plan.dir)? as f64);
        let mut reader = self.db.reader(View::Still)?;
        for (number, version) in newest.iter().enumerate() {
            self.keys.present(number as u64, &mut key);
            self.values.write(&key, *version, &mut value);
            let mut right = false;
            reader.get(&key, &mut |found| {
                right = found == value;
                Ok(())
            })?;
            if !right {
                return Err(format!("key {} has not its last value", key.escape_ascii()).into());
            }
        }
        Ok(())
    }

    /// The first overwritten entries have the new version and no other.
    fn check_overwritten(&self, version: u64, sample: u64) -> Result<()> {
        let mut reader = self.db.reader(View::Still)?;
        let mut random = Random::new(OVERWRITE_SEED);
        let mut checker = Checker::new(&self.values, (version, version));
        let mut key = Vec::new();
        for _ in 0..sample {
            self.keys.present(random.below(self.entries), &mut key);
            if !reader.get(&key, &mut |value| checker.check(&key, value))? {
                return Err(format!("key {} is missing", key.escape_ascii()).into());
            }
        }
        Ok(())
    }
}

/// Fills so many bytes of page cache and gives them back.
fn touch(path: &Path, bytes: u64) -> Result<()> {
    if bytes == 0 {
        return Ok(());
    }
    let (mut file, piece) = (std::fs::File::create(path)?, vec![1; 256 << 10]);
    for _ in 0..bytes / piece.len() as u64 {
        file.write_all(&piece)?;
    }
    drop(file);
    Ok(std::fs::remove_file(path)?)
}
