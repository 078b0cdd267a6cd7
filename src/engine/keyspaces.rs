//! Keyspaces come and go: creation, drops, and drops whose outcome is open.

use std::sync::Arc;

use super::core::{ActiveTable, Core};
use super::keyspace::KeyspaceCore;
use super::table::Table;
use crate::coding::u64_at;
use crate::manifest::{Edit, Record};
use crate::memtable::{Memtable, SortedTable};
use crate::options::{KeyspaceOptions, Order};
use crate::types::{KeyspaceId, MAX_SEQ};
use crate::{Error, Result};

impl Core {
    /// Creates a keyspace, or finds the one that has the name already.
    pub(crate) fn open_or_create(
        &self,
        name: &str,
        options: Option<KeyspaceOptions>,
    ) -> Result<Arc<KeyspaceCore>> {
        self.check_open()?;
        if let Some(found) = self.find_keyspace(name) {
            return Ok(found);
        }
        if self.wal.is_none() {
            return Err(Error::KeyspaceNotFound {
                name: name.to_owned(),
            });
        }
        let mut options = options.unwrap_or_default();
        options.validate()?;
        if options.get_order() == Order::Hash {
            let random = self.env.entropy.identity();
            let random = random.map_err(|e| Error::io("create a keyspace in", &self.dir, e))?;
            options.set_seed(u64_at(&random, 0).unwrap_or_default());
        }
        let mut state = self.manifest.lock();
        if let Some(found) = self.find_keyspace(name) {
            return Ok(found);
        }
        let id = state.catalog.next_keyspace_id;
        if id == KeyspaceId::MAX {
            let limit = u64::from(id);
            return Err(Error::LimitExceeded {
                what: "number of keyspaces ever created",
                size: limit,
                limit,
            });
        }
        let edit = Edit {
            records: vec![Record::CreateKeyspace {
                id,
                name: name.to_owned(),
                options: options.clone(),
            }],
        };
        let table = Arc::new(Memtable::new());
        let core = KeyspaceCore::new(
            id,
            Arc::from(name),
            options,
            table.clone(),
            Vec::new(),
            Default::default(),
        );
        // Durable before its first frame: the keyspace takes writes only once it is in `active`.
        self.commit_edit(&mut state, edit, &[], |_| {
            let active = ActiveTable::new(core.clone(), table);
            self.writes.lock().active.insert(id, active);
            self.keyspaces.write().insert(id, core.clone());
        })?;
        Ok(core)
    }

    pub(crate) fn find_keyspace(&self, name: &str) -> Option<Arc<KeyspaceCore>> {
        self.keyspaces
            .read()
            .values()
            .find(|keyspace| &*keyspace.name == name)
            .cloned()
    }

    /// Drops a keyspace: no writes from here on; its files go when the last snapshot or iterator that uses them does.
    pub(crate) fn drop_keyspace(&self, name: &str) -> Result<()> {
        self.check_open()?;
        self.wal()?;
        let mut state = self.manifest.lock();
        let keyspace = self.find_keyspace(name).ok_or_else(|| Error::KeyspaceNotFound {
            name: name.to_owned(),
        })?;
        // Writers first: nothing may be acknowledged for it behind the synced part of the log.
        {
            let _no_group_is_being_written = self.writes.lock();
            keyspace.set_refusing(true);
        }
        let edit = Edit {
            records: vec![Record::DropKeyspace { id: keyspace.id }],
        };
        let tables: Vec<Arc<Table>> = keyspace.view().tree.tables().cloned().collect();
        // A batch may have written here and elsewhere: its other half must not get lost.
        let result = self.sync_log().and_then(|()| {
            self.commit_edit(&mut state, edit, &tables, |_| {
                self.note_drop(&keyspace);
                self.keyspaces.write().remove(&keyspace.id);
                self.forget_failures_of(keyspace.id);
            })
        });
        if result.is_err() {
            // The edit may be on disk all the same. Writes go on once it is settled that the drop has not happened.
            state.undecided_drops.push(keyspace.clone());
            let _ = self.commit_edit(&mut state, Edit::default(), &[], |_| {});
        }
        drop(state);
        self.update_pressure();
        if result.is_ok() {
            self.objects.note_dropped_keyspace(&keyspace);
            // An estimate all the same, should a list be damaged.
            self.note_dropped(&self.references_of(&keyspace).unwrap_or_default());
            // They go with the last handle.
            let view = keyspace.view();
            let frozen = view.frozen.iter().map(|frozen| &frozen.table);
            self.memory.retire(frozen.chain([&view.active]));
            // The drop has happened; logs that stay now go after the next flush.
            let _ = self.drop_old_logs();
        }
        result.map(|_| ())
    }

    /// A drop takes a number as a write does: so every snapshot is from before it or from after it.
    fn note_drop(&self, keyspace: &KeyspaceCore) {
        let mut writes = self.writes.lock();
        if let Some(active) = writes.active.remove(&keyspace.id) {
            writes.active_bytes -= active.noted_bytes;
        }
        keyspace.give_up_chosen();
        let seq = writes.next_seq;
        keyspace.mark_dropped(seq);
        // Where nothing is written any more the numbers before this one may be missing, and it is not published.
        if seq < MAX_SEQ && self.poisoned().is_none() {
            writes.next_seq = seq + 1;
            self.snapshots.publish(seq);
        }
    }

    /// Waits for a drop that is under way, and settles one that has failed: see `ManifestState::undecided_drops`.
    pub(crate) fn settle_drops(&self) -> Result<()> {
        let mut state = self.manifest.lock();
        if state.undecided_drops.is_empty() {
            return Ok(());
        }
        self.commit_edit(&mut state, Edit::default(), &[], |_| {})
            .map(|_| ())
    }
}
