//! [`Spill`]: keeps a replay within the memory limit. What has been replayed and does not fit is flushed in the middle of it.
//!
//! The log may hold more than memory may: it was written under a larger limit. So whenever the memtables take more than writers may
//! fill without being slowed down, or a keyspace has too many that are frozen, the largest keyspace's become SSTs of level 0.
//!
//! These SSTs are in no version before the new manifest is in force, which names them together with the number up to which their keyspace
//! is flushed: that is the point of no return of the whole opening, and there is no other. A crash before it leaves files that
//! nothing refers to, and the logs as they were; the next opening begins anew, with higher file numbers. The log is synced, or
//! written anew and synced, before the manifest is written, as before the edit of any flush.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crate::Result;
use crate::engine::core::WriteState;
use crate::engine::factory::Factory;
use crate::engine::flush::write_frozen;
use crate::engine::keyspace::KeyspaceCore;
use crate::engine::memory::{Memory, free_memtables, limit_of};
use crate::engine::table::Trash;
use crate::env::Env;
use crate::manifest::{Edit, Record};
use crate::memtable::SortedTable;
use crate::names;
use crate::options::Options;
use crate::planted::{self, Bug};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::types::{KeyspaceId, SeqNo};

/// Frozen memtables that a keyspace may have after a replay: with more, it would slow writers down (`pressure`).
const MOST_FROZEN: usize = 2;

/// See the module's comment.
pub(super) struct Spill {
    env: Env,
    options: Options,
    memory: Arc<Memory>,
    trash: Arc<Trash>,
    /// What memtables may take together, in bytes.
    most_bytes: u64,
    first_file_number: u64,
    next_file_number: AtomicU64,
    /// Bytes of frozen memtables, by keyspace, and all together.
    frozen: BTreeMap<KeyspaceId, u64>,
    frozen_bytes: u64,
    /// Keyspaces that have too many frozen ones.
    crowded: BTreeSet<KeyspaceId>,
    /// What the new manifest has to say of all this.
    edit: Edit,
    pub(super) flushes: u64,
}

impl Spill {
    /// `first`: no SST has this number or a higher one, or ever had.
    pub(super) fn new(
        env: &Env,
        options: &Options,
        memory: &Arc<Memory>,
        trash: &Arc<Trash>,
        first: u64,
    ) -> Self {
        Spill {
            env: env.clone(),
            options: options.clone(),
            memory: memory.clone(),
            trash: trash.clone(),
            most_bytes: free_memtables(limit_of(options)),
            first_file_number: first,
            next_file_number: AtomicU64::new(first),
            frozen: BTreeMap::new(),
            frozen_bytes: 0,
            crowded: BTreeSet::new(),
            edit: Edit::default(),
            flushes: 0,
        }
    }

    /// Takes note of a memtable that has been frozen.
    pub(super) fn note_frozen(&mut self, keyspace: &KeyspaceCore) {
        let view = keyspace.view();
        let sizes = view
            .frozen
            .iter()
            .map(|frozen| frozen.table.memory_usage() as u64);
        let bytes = sizes.sum();
        self.frozen_bytes -= self.frozen.insert(keyspace.id, bytes).unwrap_or(0);
        self.frozen_bytes += bytes;
        if view.frozen.len() > MOST_FROZEN {
            self.crowded.insert(keyspace.id);
        }
    }

    /// Flushes until what is left fits. All numbers up to `last` have been replayed. Asked for each frame, and cheap where there is room.
    pub(super) fn make_room(&mut self, dir: &Path, writes: &mut WriteState, last: SeqNo) -> Result<()> {
        while let Some(id) = self.next(writes) {
            if let Some(frozen) = freeze(writes, id, last) {
                self.note_frozen(&frozen);
            }
            let Some(active) = writes.active.get(&id) else {
                return Ok(());
            };
            self.flush(dir, &active.keyspace.clone(), last)?;
        }
        Ok(())
    }

    /// The keyspace that has to be flushed now.
    fn next(&self, writes: &WriteState) -> Option<KeyspaceId> {
        if writes.active_bytes + self.frozen_bytes <= self.most_bytes {
            return self.crowded.first().copied();
        }
        let bytes = |id: &KeyspaceId| {
            let active = writes.active.get(id).map_or(0, |active| active.noted_bytes);
            active + self.frozen.get(id).copied().unwrap_or(0)
        };
        let holds_any = writes
            .active
            .iter()
            .filter(|(id, active)| active.min_seq.is_some() || self.frozen.contains_key(id));
        holds_any.map(|(id, _)| *id).max_by_key(bytes)
    }

    /// Makes SSTs of all frozen memtables of a keyspace; these hold all its numbers up to `last`.
    fn flush(&mut self, dir: &Path, keyspace: &Arc<KeyspaceCore>, last: SeqNo) -> Result<()> {
        self.frozen_bytes -= self.frozen.remove(&keyspace.id).unwrap_or(0);
        self.crowded.remove(&keyspace.id);
        let frozen = keyspace.view().frozen.clone();
        let factory = Factory {
            env: &self.env,
            dir,
            options: &self.options,
            trash: &self.trash,
            read_options: self.memory.read_options(self.options.access),
            next_file_number: &self.next_file_number,
            core: None,
        };
        // Nobody reads yet.
        let tables = write_frozen(&factory, keyspace, &frozen, Vec::new())?.tables;
        for table in &tables {
            self.edit.push(Record::AddFile {
                keyspace: keyspace.id,
                level: 0,
                file: table.meta.clone(),
            });
        }
        self.edit.push(Record::Flushed {
            keyspace: keyspace.id,
            upto: last,
        });
        self.flushes += 1;
        let added: Vec<_> = tables.into_iter().map(|table| (0, table)).collect();
        keyspace.update(|view| {
            view.tree = Arc::new(view.tree.with(&[], &added));
            view.frozen.clear();
        });
        Ok(())
    }

    /// The edit that makes what has been flushed true. All numbers up to `last` have been replayed.
    pub(super) fn edit(&self, last: SeqNo) -> Edit {
        let mut edit = self.edit.clone();
        if planted::is(Bug::SpilledTooFar) {
            for record in &mut edit.records {
                if let Record::Flushed { upto, .. } = record {
                    *upto = last;
                }
            }
        }
        edit.push(Record::NextFileNumber(
            self.next_file_number.load(Ordering::Relaxed),
        ));
        edit
    }

    /// Removes the files again: the opening has failed before any manifest names them. What can't be removed is a leftover.
    pub(super) fn discard(&self, dir: &Path) {
        for number in self.first_file_number..self.next_file_number.load(Ordering::Relaxed) {
            let _ = self.env.fs.remove(&names::sst(dir, number));
        }
    }
}

/// Freezes a keyspace's memtable, if it holds anything.
pub(super) fn freeze(writes: &mut WriteState, id: KeyspaceId, upto: SeqNo) -> Option<Arc<KeyspaceCore>> {
    let active = writes.active.get_mut(&id)?;
    let min_seq = active.min_seq.take()?;
    active.table = active.keyspace.rotate(min_seq, upto);
    writes.active_bytes -= std::mem::take(&mut active.noted_bytes);
    Some(active.keyspace.clone())
}
