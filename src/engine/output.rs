//! [`Run`]: the SSTs that one flush or compaction writes, and [`Output`], which writes them one after the other; a compaction
//! in parts has an output for each part.
//!
//! Files are cut between user keys. Only a key whose versions alone exceed a file's limit spans files; all but the first
//! of those hold nothing else. So in level 0, too, the file with the newer versions is the one with the higher numbers.

use std::sync::Arc;

use super::budget::buffers;
use super::compaction::pace::PORTION;
use super::factory::Factory;
use super::keyspace::{KeyspaceCore, Work};
use super::table::{Table, describe};
use crate::manifest::FileMeta;
use crate::names;
use crate::options::Options;
use crate::pack::ObjectId;
use crate::planted::{self, Bug};
use crate::sst::{EntryValue, SstBuilder, SstIdentity, SstOptions, SstOrigin};
use crate::sync::Mutex;
use crate::types::SeqNo;
use crate::{Error, Result};

/// Entries of a file at most: twice as many as 64 MiB of 100-byte values are, and a filter of a megabyte or so.
pub(crate) const MAX_ENTRIES: u64 = 1 << 20;

/// What the files of one flush or compaction have in common. Several parts of a compaction may write into one run.
pub(crate) struct Run {
    keyspace: Arc<KeyspaceCore>,
    /// The numbers of the files that these replace: stands in each of them, for repair.
    replaces: Vec<u64>,
    /// All writes up to this number are in SSTs once these are.
    flushed: SeqNo,
    /// Numbers of all files begun, ascending.
    begun: Mutex<Vec<u64>>,
    /// Of the files that parts have ended with, the one that may be the run's last.
    waiting: Mutex<Option<Begun>>,
    /// The objects that entries left out referred to.
    dropped: Mutex<Vec<ObjectId>>,
}

/// A file that is being written.
struct Begun {
    number: u64,
    builder: SstBuilder,
}

/// What an output has written: files that are finished, and the last one, which waits to be told whether it is the run's last.
#[derive(Default)]
pub(crate) struct Written {
    finished: Vec<FileMeta>,
    last: Option<Begun>,
}

impl Written {
    /// Gives up the file that is not finished; `Run::discard` removes all.
    pub(crate) fn abandon(self) {
        if let Some(Begun { builder, .. }) = self.last {
            builder.abandon();
        }
    }
}

impl Run {
    pub(crate) fn new(keyspace: Arc<KeyspaceCore>, replaces: Vec<u64>, flushed: SeqNo) -> Self {
        Run {
            keyspace,
            replaces,
            flushed,
            begun: Mutex::default(),
            waiting: Mutex::default(),
            dropped: Mutex::default(),
        }
    }

    /// Takes note of entries that are left out.
    pub(crate) fn note_dropped(&self, objects: Vec<ObjectId>) {
        self.dropped.lock().extend(objects);
    }

    /// The objects that entries left out referred to.
    pub(crate) fn take_dropped(&self) -> Vec<ObjectId> {
        std::mem::take(&mut *self.dropped.lock())
    }

    /// How its files are laid out.
    pub(crate) fn sst_options(&self) -> &SstOptions {
        self.keyspace.options.sst()
    }

    fn begin_file(&self, factory: &Factory<'_>) -> Result<Begun> {
        let mut begun = self.begun.lock();
        // Under the lock: a file names all those of the run that have smaller numbers.
        let number = factory.new_file_number()?;
        let earlier = begun.clone();
        begun.push(number);
        drop(begun);
        let path = names::sst(factory.dir, number);
        let created = |e| Error::io("create", &path, e);
        let identity = factory.env.entropy.identity().map_err(created)?;
        let file = factory.env.fs.create(&path).map_err(created)?;
        let identity = SstIdentity {
            keyspace: self.keyspace.id,
            file_number: number,
            identity,
            replaces: self.replaces.clone(),
        };
        let options = match planted::is(Bug::OrderNotTheKeyspaces) {
            false => self.keyspace.options.sst(),
            true => &SstOptions::default(),
        };
        let mut builder = SstBuilder::new(file, &path, options, identity)?;
        let mut keyspace_options = Vec::new();
        self.keyspace.options.encode(&mut keyspace_options);
        builder.set_origin(SstOrigin {
            keyspace_name: self.keyspace.name.to_string(),
            keyspace_options,
            flushed: self.flushed,
            run: earlier,
            last: false,
            dead: factory.trash.dead(),
        });
        Ok(Begun { number, builder })
    }

    /// A part has ended. Its last file is finished, unless it may be the run's last: then it waits, and the one that has waited is
    /// finished, so that only one does, however many parts there are.
    pub(crate) fn end_part(&self, mut written: Written) -> Result<Written> {
        let Some(mine) = written.last.take() else {
            return Ok(written);
        };
        let mut waiting = self.waiting.lock();
        let not_last = match waiting.take() {
            None => {
                *waiting = Some(mine);
                None
            }
            Some(other) => {
                let (earlier, later) = if other.number < mine.number {
                    (other, mine)
                } else {
                    (mine, other)
                };
                *waiting = Some(later);
                Some(earlier)
            }
        };
        drop(waiting);
        if let Some(Begun { builder, .. }) = not_last {
            written.finished.push(describe(&builder.finish()?));
        }
        Ok(written)
    }

    /// Finishes the files that are left and makes all of them, with their names, durable; opens them for reading.
    pub(crate) fn finish(&self, factory: &Factory<'_>, parts: Vec<Written>) -> Result<Vec<Arc<Table>>> {
        let mut finished = Vec::new();
        let mut left = Vec::from_iter(self.waiting.lock().take());
        for part in parts {
            finished.extend(part.finished);
            left.extend(part.last);
        }
        // A part's last file has its greatest number, so the greatest of these is the greatest of all.
        left.sort_by_key(|file| file.number);
        let last = left.last().map(|file| file.number);
        let mut result = Ok(());
        for Begun { number, mut builder } in left {
            if result.is_err() {
                builder.abandon();
                continue;
            }
            if Some(number) == last {
                builder.set_last();
            }
            result = builder.finish().map(|summary| finished.push(describe(&summary)));
        }
        let result = result.and_then(|()| self.publish(factory, finished));
        if result.is_err() {
            self.discard(factory);
        }
        result
    }

    fn publish(&self, factory: &Factory<'_>, finished: Vec<FileMeta>) -> Result<Vec<Arc<Table>>> {
        if finished.is_empty() {
            return Ok(Vec::new());
        }
        let order = self.keyspace.order();
        if !planted::is(Bug::SstNameNotSynced) {
            let synced = factory.env.fs.sync_dir(factory.dir);
            synced.map_err(|e| factory.sync_failed(Error::io("sync", factory.dir, e)))?;
        }
        finished
            .into_iter()
            .map(|meta| factory.open_table(meta, order))
            .collect()
    }

    /// Gives up: the files are in no version, and go. REQUIRES: nobody writes into the run any more.
    pub(crate) fn discard(&self, factory: &Factory<'_>) {
        if let Some(Begun { builder, .. }) = self.waiting.lock().take() {
            builder.abandon();
        }
        for number in self.begun.lock().drain(..) {
            factory.trash.throw_away(names::sst(factory.dir, number));
        }
    }
}

/// How files are cut.
#[derive(Clone, Default)]
pub(crate) struct Cuts {
    /// Bytes at which the next file is started.
    pub(crate) max_bytes: u64,
    /// Entries at which the next file is started.
    pub(crate) max_entries: u64,
    /// Bytes that are gathered for a write.
    pub(crate) gathered: u64,
    /// The tables of the level after the output's that lie in its range, in order: a file that overlaps more than
    /// `max_grandparents` bytes of them ends, and one that is half full ends with one of them.
    pub(crate) grandparents: Vec<Arc<Table>>,
    pub(crate) max_grandparents: u64,
    /// Whether the bytes count for the limit that compactions have.
    pub(crate) paced: bool,
}

impl Cuts {
    pub(crate) fn new(options: &Options, work: Work) -> Self {
        let buffers = buffers(options, work);
        Cuts {
            max_bytes: options.max_file_size,
            max_entries: buffers.max_entries,
            gathered: buffers.gathered,
            ..Cuts::default()
        }
    }
}

/// SSTs being written in key order, into a run.
pub(crate) struct Output<'a> {
    factory: &'a Factory<'a>,
    run: &'a Run,
    cuts: Cuts,
    builder: Option<Begun>,
    /// The file being written began in the middle of a key.
    spanning: bool,
    last_key: Vec<u8>,
    /// The first grandparent that does not end before the last key.
    grandparent: usize,
    /// Bytes of the grandparents that the file being written has passed.
    passed_bytes: u64,
    /// Bytes of the file being written that have been paid for, see `compaction::pace`.
    paid_bytes: u64,
    finished: Vec<FileMeta>,
}

impl<'a> Output<'a> {
    pub(crate) fn new(factory: &'a Factory<'a>, run: &'a Run, cuts: Cuts) -> Self {
        Output {
            factory,
            run,
            cuts,
            builder: None,
            spanning: false,
            last_key: Vec::new(),
            grandparent: 0,
            passed_bytes: 0,
            paid_bytes: 0,
            finished: Vec::new(),
        }
    }

    /// Adds an entry; entries come in order (key ascending, number descending).
    pub(crate) fn add(&mut self, key: &[u8], seq: SeqNo, value: EntryValue<'_>) -> Result<()> {
        let same_key = self.builder.is_some() && key == self.last_key;
        if !same_key {
            self.pass_grandparents(key);
        }
        if self.ends_before(same_key) {
            self.finish_file()?;
            self.spanning = same_key;
        }
        let begun = match self.builder.take() {
            Some(begun) => begun,
            None => {
                let mut begun = self.run.begin_file(self.factory)?;
                begun.builder.set_gathered(self.cuts.gathered);
                begun
            }
        };
        let builder = &mut self.builder.insert(begun).builder;
        builder.add(key, seq, value)?;
        if self.cuts.paced
            && let Some(core) = self.factory.core
        {
            let bytes = builder.estimated_size();
            if bytes >= self.paid_bytes + PORTION {
                core.keep_pace(bytes - self.paid_bytes);
                self.paid_bytes = bytes;
            }
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        Ok(())
    }

    /// Whether the file being written ends before the next entry.
    fn ends_before(&self, same_key: bool) -> bool {
        let Some(Begun { builder, .. }) = &self.builder else {
            return false;
        };
        // A key of many versions may overrun the limit by as much again before it is split.
        let room = if same_key { 2 } else { 1 };
        let cuts = &self.cuts;
        let full = builder.is_full(
            cuts.max_entries.saturating_mul(room),
            cuts.max_bytes.saturating_mul(room),
        );
        let by_grandparents = !same_key
            && self.passed_bytes > 0
            && (self.passed_bytes > cuts.max_grandparents || builder.estimated_size() >= cuts.max_bytes / 2);
        full || by_grandparents || (self.spanning && !same_key)
    }

    fn pass_grandparents(&mut self, key: &[u8]) {
        while let Some(table) = self.cuts.grandparents.get(self.grandparent)
            && &table.meta.max_key[..] < key
        {
            self.grandparent += 1;
            // Those before a file's first key are none that it overlaps.
            if self.builder.is_some() {
                self.passed_bytes += table.meta.size;
            }
        }
    }

    fn finish_file(&mut self) -> Result<()> {
        self.passed_bytes = 0;
        if let Some(Begun { builder, .. }) = self.builder.take() {
            let summary = builder.finish()?;
            if self.cuts.paced
                && let Some(core) = self.factory.core
            {
                core.keep_pace(summary.file_size.saturating_sub(self.paid_bytes));
            }
            self.finished.push(describe(&summary));
        }
        self.paid_bytes = 0;
        self.factory.env.scheduler.breathe();
        Ok(())
    }

    /// What has been written; the last file is still open.
    pub(crate) fn end(self) -> Written {
        Written {
            finished: self.finished,
            last: self.builder,
        }
    }

    /// Gives up the file being written; `Run::discard` removes all.
    pub(crate) fn abandon(self) {
        self.end().abandon();
    }
}

/// Deletes tables that were finished but never became part of a version. REQUIRES: no edit that names them has been
/// handed to the manifest; after a failed commit they have to stay.
pub(crate) fn discard_tables(tables: &[Arc<Table>]) {
    for table in tables {
        table.mark_obsolete();
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
