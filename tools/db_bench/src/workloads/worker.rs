//! [`Worker`]: a thread of a benchmark, with the operations that benchmarks are made of. Each operation checks itself:
//! a value against its key, a hit or miss against what is known to be in the database.

use std::sync::atomic::Ordering;

use packstone::{Batch, Keyspace, Slice, Snapshot};

use super::task::{Budget, Group, Task};
use crate::data::{KeyMaker, Random, ValueMaker, is_value_of};
use crate::database::Database;
use crate::failure::{Failure, Outcome};
use crate::flags::Config;
use crate::measure::{Op, Shared, Stats};
use crate::report::tree_text;

pub(crate) struct Worker<'a> {
    pub(crate) config: &'a Config,
    pub(crate) task: &'a Task,
    pub(crate) database: &'a Database,
    pub(crate) group: &'a Group,
    pub(crate) shared: &'a Shared,
    pub(crate) random: Random,
    pub(crate) keys: KeyMaker,
    pub(crate) values: ValueMaker,
    pub(crate) stats: Stats,
}

/// The message about a value that is not what was written.
fn wrong_value(key: &[u8], value: &[u8]) -> Failure {
    let key = key.escape_ascii();
    Failure(format!(
        "wrong value: the {} bytes found under key {key} were not written for it by this tool (--check_values=false accepts them)",
        value.len()
    ))
}

impl<'a> Worker<'a> {
    /// `seed` makes the thread's random choices its own.
    pub(crate) fn new(
        config: &'a Config,
        task: &'a Task,
        database: &'a Database,
        group: &'a Group,
        shared: &'a Shared,
        seed: u64,
        stats: Stats,
    ) -> Self {
        // mixgraph's values have lengths of their own.
        let longest = task.sizes.longest().max(config.mixgraph.max_value_size as usize);
        Worker {
            config,
            task,
            database,
            group,
            shared,
            random: Random::new(seed),
            keys: KeyMaker::new(config),
            values: ValueMaker::new(config.compression_ratio, task.sizes.typical(), longest),
            stats,
        }
    }

    pub(crate) fn budget(&self, ops: u64) -> Budget {
        Budget::new(ops, self.task.duration)
    }

    /// Whether another thread has failed.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.group.failed.load(Ordering::Relaxed)
    }

    /// Counts finished operations, and prints what is due.
    pub(crate) fn finished(&mut self, op: Op, ops: u64) {
        if self.stats.finished(self.shared, op, ops) && self.config.stats_per_interval {
            eprintln!("{}", tree_text(&self.database.db.metrics(), None));
        }
    }

    /// Waits for the turn of a read, if reads are limited.
    pub(crate) fn pace_read(&mut self) {
        if self.group.read_pacer.take(1) {
            self.stats.forget_wait();
        }
    }

    /// Waits for the turn of so many bytes, if writes are limited.
    pub(crate) fn pace_write(&mut self, bytes: u64) {
        if self.group.write_pacer.take(bytes) {
            self.stats.forget_wait();
        }
    }

    /// A random number below the number of keys, skewed as the flags say.
    pub(crate) fn random_number(&mut self) -> u64 {
        let (num, range) = (self.task.num, self.config.read_random_exp_range);
        if range == 0.0 {
            return self.random.below(num);
        }
        let order = -self.random.unit() * range;
        let ranked = (order.exp() * num as f64) as u64;
        // RocksDB's: neighbours in rank shall not be neighbours in place.
        ranked.wrapping_mul(0x5bd1_e995) % num
    }

    /// Puts a value for a number, of a length drawn or given. Returns bytes of key and value.
    pub(crate) fn put(&mut self, number: u64, len: Option<usize>) -> Outcome<u64> {
        let len = len.unwrap_or_else(|| self.task.sizes.next(&mut self.random));
        let key = self.keys.key(number);
        let value = self.values.value(key, len);
        self.database
            .keyspace_of(number)
            .put_with(key, value, self.task.durability)?;
        let bytes = (key.len() + len) as u64;
        self.database.oracle.put(number, bytes);
        self.wrote(1, bytes);
        Ok(bytes)
    }

    /// Adds a put to a batch. Returns bytes of key and value; `committed` comes after the commit.
    pub(crate) fn put_in(&mut self, batch: &mut Batch, number: u64) -> u64 {
        let len = self.task.sizes.next(&mut self.random);
        let key = self.keys.key(number);
        let value = self.values.value(key, len);
        batch.put(self.database.keyspace_of(number), key, value);
        (key.len() + len) as u64
    }

    /// So many entries of a batch have been written.
    pub(crate) fn wrote(&mut self, entries: u64, bytes: u64) {
        self.stats.entries_written += entries;
        self.stats.user_bytes += bytes;
    }

    /// Looks a number up: bytes of key and value, if there is one. With a snapshot, as of then.
    pub(crate) fn get(&mut self, number: u64, snapshot: Option<&Snapshot>) -> Outcome<Option<u64>> {
        let expected = self.database.oracle.has(number);
        let key = self.keys.key(number);
        let keyspace = self.database.keyspace_of(number);
        let value = match snapshot {
            Some(snapshot) => snapshot.get(keyspace, key)?,
            None => keyspace.get(key)?,
        };
        if let Some(value) = &value
            && self.config.check_values
            && !is_value_of(key, value)
        {
            return Err(wrong_value(key, value));
        }
        let found = value.is_some();
        // A snapshot is older than the look at what should be there.
        let certain = snapshot.is_none() || !self.task.puts;
        match expected {
            Some(true) if !found && certain => {
                let key = key.escape_ascii();
                return Err(Failure(format!("lost key: {key} was written and is not found")));
            }
            Some(false) if found && !self.task.puts => {
                let key = key.escape_ascii();
                return Err(Failure(format!(
                    "stray key: {key} is found and was not written, or was deleted"
                )));
            }
            _ => {}
        }
        self.stats.looked(found);
        Ok(value.map(|value| (key.len() + value.len()) as u64))
    }

    /// Looks for a key that can't be there.
    pub(crate) fn get_absent(&mut self, number: u64) -> Outcome<()> {
        let key = self.keys.absent(number);
        if self.database.keyspace_of(number).get(key)?.is_some() {
            return Err(Failure(format!(
                "stray key: {} is found and is never written",
                key.escape_ascii()
            )));
        }
        self.stats.looked(false);
        Ok(())
    }

    /// Checks an entry that an iterator gave.
    pub(crate) fn check_entry(&self, key: &[u8], value: &[u8]) -> Outcome<()> {
        if self.config.check_values && !is_value_of(key, value) {
            return Err(wrong_value(key, value));
        }
        Ok(())
    }

    /// Seeks a number's key and takes up to `nexts` entries from there. Returns whether the key itself is there, how
    /// many entries were taken, and their bytes. With none to take, no value is read.
    pub(crate) fn seek(&mut self, number: u64, nexts: u64, backwards: bool) -> Outcome<(bool, u64, u64)> {
        let expected = self.database.oracle.has(number);
        let key = self.keys.key(number).to_vec();
        let keyspace = self.database.keyspace_of(number);
        let (first, entries, bytes) = match nexts {
            0 => (seek_key(keyspace, &key, backwards)?, 0, 0),
            _ => self.take_entries(keyspace, &key, nexts, backwards)?,
        };
        let found = first.is_some_and(|first| first == key[..]);
        match expected {
            Some(true) if !found => Err(Failure(format!(
                "lost key: the seek to {} finds another",
                key.escape_ascii()
            ))),
            Some(false) if found && !self.task.puts => Err(Failure(format!(
                "stray key: the seek finds {}, which was not written",
                key.escape_ascii()
            ))),
            _ => Ok((found, entries, bytes)),
        }
    }

    fn take_entries(
        &self,
        keyspace: &Keyspace,
        key: &[u8],
        nexts: u64,
        backwards: bool,
    ) -> Outcome<(Option<Slice>, u64, u64)> {
        let mut range = if backwards {
            keyspace.range(..=key)
        } else {
            keyspace.range(key..)
        };
        let (mut first, mut last): (Option<Slice>, Option<Slice>) = (None, None);
        let (mut entries, mut bytes) = (0, 0);
        while entries < nexts {
            let next = if backwards {
                range.next_back()
            } else {
                range.next()
            };
            let Some((key, value)) = next.transpose()? else {
                break;
            };
            self.check_entry(&key, &value)?;
            if last.is_some_and(|last| if backwards { last <= key } else { last >= key }) {
                return Err(Failure(format!(
                    "wrong order: the iterator gave {} twice or too late",
                    key.escape_ascii()
                )));
            }
            entries += 1;
            bytes += (key.len() + value.len()) as u64;
            first.get_or_insert_with(|| key.clone());
            last = Some(key);
        }
        Ok((first, entries, bytes))
    }
}

fn seek_key(keyspace: &Keyspace, key: &[u8], backwards: bool) -> Outcome<Option<Slice>> {
    Ok(match backwards {
        true => keyspace.range(..=key).keys().next_back(),
        false => keyspace.range(key..).keys().next(),
    }
    .transpose()?)
}
