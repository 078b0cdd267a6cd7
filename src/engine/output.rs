//! [`Output`]: the SSTs that a flush or a compaction writes, one after the other.
//!
//! Files are cut between user keys. Only a key whose versions alone exceed a file's limit spans files; all but the first
//! of those hold nothing else. So in level 0, too, the file with the newer versions is the one with the higher numbers.

use std::sync::Arc;

use super::core::Core;
use super::keyspace::KeyspaceCore;
use super::table::{Table, describe};
use crate::manifest::FileMeta;
use crate::names;
use crate::planted::{self, Bug};
use crate::sst::{EntryValue, SstBuilder, SstIdentity, SstOrigin};
use crate::types::SeqNo;
use crate::{Error, Result};

/// Entries of a file at most: twice as many as 64 MiB of 100-byte values are, and a filter of a megabyte or so.
const MAX_ENTRIES: u64 = 1 << 20;

/// A run of SSTs being written in key order.
pub(crate) struct Output<'a> {
    core: &'a Core,
    keyspace: &'a KeyspaceCore,
    /// The numbers of the files that these replace: stands in each of them, for repair.
    replaces: Vec<u64>,
    /// All writes up to this number are in SSTs once these are.
    flushed: SeqNo,
    builder: Option<SstBuilder>,
    /// The file being written began in the middle of a key.
    spanning: bool,
    last_key: Vec<u8>,
    finished: Vec<FileMeta>,
    /// Numbers of all files begun.
    begun: Vec<u64>,
}

impl<'a> Output<'a> {
    pub(crate) fn new(
        core: &'a Core,
        keyspace: &'a KeyspaceCore,
        replaces: Vec<u64>,
        flushed: SeqNo,
    ) -> Self {
        Output {
            core,
            keyspace,
            replaces,
            flushed,
            builder: None,
            spanning: false,
            last_key: Vec::new(),
            finished: Vec::new(),
            begun: Vec::new(),
        }
    }

    /// Adds an entry; entries come in order (key ascending, number descending).
    pub(crate) fn add(&mut self, key: &[u8], seq: SeqNo, value: EntryValue<'_>) -> Result<()> {
        let max_bytes = self.core.options.max_file_size;
        if let Some(builder) = &self.builder {
            // A key of many versions may overrun the limit by as much again before it is split.
            let same_key = key == self.last_key;
            let limit = if same_key {
                (MAX_ENTRIES * 2, max_bytes * 2)
            } else {
                (MAX_ENTRIES, max_bytes)
            };
            if builder.is_full(limit.0, limit.1) || (self.spanning && !same_key) {
                self.finish_file(false)?;
                self.spanning = same_key;
            }
        }
        if self.builder.is_none() {
            self.builder = Some(self.begin_file()?);
        }
        let Some(builder) = &mut self.builder else {
            return Ok(());
        };
        builder.add(key, seq, value)?;
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        Ok(())
    }

    fn begin_file(&mut self) -> Result<SstBuilder> {
        let core = self.core;
        let number = core.new_file_number()?;
        let path = names::sst(&core.dir, number);
        let identity = core
            .env
            .entropy
            .identity()
            .map_err(|e| Error::io("create", &path, e))?;
        let file = core
            .env
            .fs
            .create(&path)
            .map_err(|e| Error::io("create", &path, e))?;
        let run = self.begun.clone();
        self.begun.push(number);
        let identity = SstIdentity {
            keyspace: self.keyspace.id,
            file_number: number,
            identity,
            replaces: self.replaces.clone(),
        };
        let mut builder = SstBuilder::new(file, &path, self.keyspace.options.sst(), identity)?;
        let mut keyspace_options = Vec::new();
        self.keyspace.options.encode(&mut keyspace_options);
        builder.set_origin(SstOrigin {
            keyspace_name: self.keyspace.name.to_string(),
            keyspace_options,
            flushed: self.flushed,
            run,
            last: false,
            dead: core.trash.dead(),
        });
        Ok(builder)
    }

    fn finish_file(&mut self, last: bool) -> Result<()> {
        if let Some(mut builder) = self.builder.take() {
            if last {
                builder.set_last();
            }
            let summary = builder.finish()?;
            self.finished.push(describe(&summary));
        }
        Ok(())
    }

    /// Finishes the last file and makes all of them, with their names, durable; opens them for reading.
    pub(crate) fn finish(mut self) -> Result<Vec<Arc<Table>>> {
        let result = self.finish_all();
        if result.is_err() {
            self.discard();
        }
        result
    }

    fn finish_all(&mut self) -> Result<Vec<Arc<Table>>> {
        self.finish_file(true)?;
        if self.finished.is_empty() {
            return Ok(Vec::new());
        }
        let core = self.core;
        if !planted::is(Bug::SstNameNotSynced) {
            core.env
                .fs
                .sync_dir(&core.dir)
                // Final, whoever asked: other names that were made meanwhile may be lost with ours.
                .map_err(|e| core.poison(Error::io("sync", &core.dir, e)))?;
        }
        self.finished
            .iter()
            .map(|meta| core.open_table(meta.clone()))
            .collect()
    }

    /// Gives up: the files are in no version, and go.
    pub(crate) fn discard(&mut self) {
        if let Some(builder) = self.builder.take() {
            builder.abandon();
        }
        for number in self.begun.drain(..) {
            self.core.trash.throw_away(names::sst(&self.core.dir, number));
        }
    }
}

/// Deletes tables that were finished but never became part of a version. REQUIRES: no edit that names them has been
/// handed to the manifest; after a failed commit they have to stay.
pub(crate) fn discard_tables(tables: &[Arc<Table>]) {
    for table in tables {
        table.mark_obsolete();
    }
}
