//! The steps that change the database.

use packstone::{Compression, Durability, Error, KeyspaceOptions, Order};

use super::data::{self, Bytes, NAMES};
use super::steps::{Id, Item, Layout, Span, Step};
use super::world::{Checked, World};

pub(crate) fn keyspace_options(layout: &Layout) -> KeyspaceOptions {
    KeyspaceOptions::new()
        .order(if layout.hash_order {
            Order::Hash
        } else {
            Order::Key
        })
        .key_block_size(layout.key_block)
        .value_block_size(layout.value_block)
        .filter(layout.filter)
        .object_threshold((layout.objects_above > 0).then_some(u64::from(layout.objects_above)))
        .deduplicate(!layout.alone)
        .partition_size(layout.partition)
        .compression(if layout.compressed {
            Compression::Lz4
        } else {
            Compression::None
        })
}

/// The end of the keys that begin with a prefix.
fn after_prefix(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

impl World {
    /// A span as bounds: from one key to before another.
    pub(crate) fn bounds(&self, span: &Span) -> (Option<Bytes>, Option<Bytes>) {
        match span {
            Span::Keys(from, to) => (from.map(|key| self.key(key)), to.map(|key| self.key(key))),
            Span::Prefix(key, len) => {
                let key = self.key(*key);
                let prefix = &key[..key.len().min(usize::from(*len))];
                (Some(prefix.into()), after_prefix(prefix))
            }
        }
    }

    /// The steps that need a database.
    pub(crate) fn operate(&mut self, step: &Step) -> Checked {
        match step {
            Step::Create(id, layout) => self.create(*id, layout),
            Step::Drop(id) => self.drop_keyspace(*id),
            Step::Write(sync, items) => self.write(*sync, items),
            Step::Stream(ending, item) => self.stream(*ending, item),
            Step::Flush => {
                let result = self.db().flush();
                self.made_durable("flush", result)
            }
            Step::Sync => {
                let result = self.db().sync();
                self.made_durable("sync", result)
            }
            Step::Compact(id, span) => self.compact(*id, span),
            Step::Settle => match self.db().wait_for_background() {
                Ok(()) => Ok(()),
                Err(error) => self.tolerate("wait for background work", &error, self.failures_at_open),
            },
            Step::Close => self.close(),
            Step::Abandon => {
                self.drop_all();
                Ok(())
            }
            reading => self.read(reading),
        }
    }

    fn made_durable(&mut self, what: &str, result: packstone::Result<()>) -> Checked {
        match result {
            Ok(()) => self.oracle.synced(),
            Err(error) => {
                self.note_poison(&error);
                self.tolerate(what, &error, self.failures_at_open)?;
            }
        }
        Ok(())
    }

    pub(crate) fn note_poison(&mut self, error: &Error) {
        if matches!(error, Error::Poisoned { .. }) {
            self.poisoned_for += 1;
        }
    }

    fn create(&mut self, id: Id, layout: &Layout) -> Checked {
        let (name, options) = (NAMES[usize::from(id)], keyspace_options(layout));
        let was_live = self.oracle.is_live(id);
        match self.db().keyspace_with(name, options.clone()) {
            Ok(keyspace) => {
                let wanted = self.layouts.get(&id).filter(|_| was_live).unwrap_or(&options);
                if keyspace.options() != wanted && (!was_live || self.layouts.contains_key(&id)) {
                    return Err(format!(
                        "keyspace {name:?} has the options {:?}",
                        keyspace.options()
                    ));
                }
                if !was_live {
                    self.layouts.insert(id, options);
                    self.oracle.created(id);
                }
                self.keyspaces.insert(id, keyspace);
                Ok(())
            }
            Err(error) => {
                self.note_poison(&error);
                if !was_live {
                    self.layouts.remove(&id);
                    self.oracle.creation_failed(id);
                }
                self.tolerate("create a keyspace", &error, self.failures_at_open)
            }
        }
    }

    fn drop_keyspace(&mut self, id: Id) -> Checked {
        if !self.oracle.is_live(id) {
            return match self.db().drop_keyspace(NAMES[usize::from(id)]) {
                Err(Error::KeyspaceNotFound { .. } | Error::Poisoned { .. }) => Ok(()),
                other => Err(format!("drop of a keyspace that does not exist: {other:?}")),
            };
        }
        match self.db().drop_keyspace(NAMES[usize::from(id)]) {
            Ok(()) => {
                self.oracle.dropped(id);
                self.layouts.remove(&id);
                let dropped = self.keyspaces.remove(&id);
                match dropped.map(|keyspace| keyspace.get(self.key(0))) {
                    Some(Err(Error::KeyspaceDropped { .. })) => Ok(()),
                    other => Err(format!("a read of a dropped keyspace: {other:?}")),
                }
            }
            Err(error) => {
                self.note_poison(&error);
                self.oracle.drop_failed(id);
                self.tolerate("drop a keyspace", &error, self.failures_at_open)
            }
        }
    }

    fn write(&mut self, sync: bool, items: &[Item]) -> Checked {
        let live = items.iter().filter(|item| self.oracle.is_live(item.keyspace));
        let writes: Vec<(Id, Bytes, Option<Bytes>)> = live
            .map(|item| {
                let value = item.value.map(|(len, stamp)| data::value(len, stamp));
                (item.keyspace, self.key(item.key), value)
            })
            .collect();
        if writes.is_empty() && !items.is_empty() {
            return Ok(());
        }
        let result = self.commit(sync, &writes);
        self.committed(sync, writes, result)
    }

    /// What became of a write.
    pub(crate) fn committed(
        &mut self,
        sync: bool,
        writes: Vec<(Id, Bytes, Option<Bytes>)>,
        result: packstone::Result<()>,
    ) -> Checked {
        if writes.is_empty() {
            // It writes nothing; synced, it makes durable what came before.
            return if sync {
                self.made_durable("sync", result)
            } else {
                Ok(())
            };
        }
        let ops = writes
            .iter()
            .map(|(id, key, value)| self.oracle.op(*id, key.clone(), value.clone()))
            .collect();
        match result {
            Ok(()) => {
                self.wrote = true;
                self.report.writes += writes.len() as u64;
                self.oracle.commit(ops, true, sync);
                Ok(())
            }
            Err(error) => {
                let refused = self.poisoned_for > 0;
                self.note_poison(&error);
                self.tolerate("write", &error, self.failures_at_open)?;
                if refused {
                    let poisoned = matches!(error, Error::Poisoned { .. });
                    return if poisoned {
                        Ok(())
                    } else {
                        Err(format!("a write after a failed sync gave {error:?}"))
                    };
                }
                self.oracle.commit(ops, false, sync);
                self.after_failed_write(&error, &writes)
            }
        }
    }

    fn commit(&mut self, sync: bool, writes: &[(Id, Bytes, Option<Bytes>)]) -> packstone::Result<()> {
        let durability = if sync {
            Durability::Sync
        } else {
            Durability::Buffered
        };
        if let [(id, key, value)] = writes {
            let keyspace = &self.keyspaces[id];
            return match value {
                Some(value) => keyspace.put_with(key, value, durability),
                None => keyspace.delete_with(key, durability),
            };
        }
        let mut batch = self.db().batch();
        for (id, key, value) in writes {
            match value {
                Some(value) => batch.put(&self.keyspaces[id], key, value),
                None => batch.delete(&self.keyspaces[id], key),
            }
        }
        batch.commit(durability)
    }

    /// A write that failed has not happened; or its sync failed, and all of it is visible.
    fn after_failed_write(&mut self, error: &Error, writes: &[(Id, Bytes, Option<Bytes>)]) -> Checked {
        if self.sim.is_off() {
            return Ok(());
        }
        let poisoned = matches!(error, Error::Poisoned { .. });
        let (mut before, mut after) = (0, 0);
        for (id, key, _) in writes {
            let found = match self.quietly(|world| world.keyspaces[id].get(key)) {
                Ok(found) => found,
                Err(_) => {
                    // What became of it can't be seen. (Reads of their own judge such errors.)
                    self.drop_all();
                    return Ok(());
                }
            };
            let found = found.as_deref();
            before += usize::from(found == self.oracle.map(*id).get(key).map(|value| &value[..]));
            after += usize::from(found == self.oracle.with_last(*id).get(key).map(|value| &value[..]));
        }
        if before == writes.len() {
            return Ok(());
        }
        if poisoned && after == writes.len() {
            self.oracle.last_is_visible();
            return Ok(());
        }
        Err(format!(
            "of a write of {} that failed ({error}), {after} are visible",
            writes.len()
        ))
    }

    fn compact(&mut self, id: Id, span: &Span) -> Checked {
        let Some(keyspace) = self.keyspaces.get(&id).cloned() else {
            return Ok(());
        };
        let result = match self.bounds(span) {
            (Some(from), Some(to)) => keyspace.compact_range(&from[..]..&to[..]),
            (Some(from), None) => keyspace.compact_range(&from[..]..),
            (None, Some(to)) => keyspace.compact_range(..&to[..]),
            (None, None) => keyspace.compact_range::<&[u8], _>(..),
        };
        if let Err(error) = result {
            self.note_poison(&error);
            return self.tolerate("compact", &error, self.failures_at_open);
        }
        let nobody_looks = self.snapshots.is_empty() && self.ranges.is_empty() && self.cursors.is_empty();
        if *span == Span::Keys(None, None) && nobody_looks && self.is_clean() {
            // Nobody sees old versions: what is left is what can be read.
            let files = keyspace.files();
            let entries: u64 = files.iter().map(|file| file.entries).sum();
            let readable = self.oracle.map(id).len() as u64;
            if entries != readable {
                return Err(format!(
                    "after a whole compaction {entries} entries, {readable} of them readable"
                ));
            }
        }
        Ok(())
    }
}
