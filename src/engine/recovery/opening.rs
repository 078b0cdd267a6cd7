//! [`Opening`]: SSTs are opened, logs are replayed. Changes nothing that is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::directory::Listing;
use super::spill::{Spill, freeze};
use crate::engine::commit::apply_ops;
use crate::engine::core::{ActiveTable, Core, Parts, WriteState};
use crate::engine::keyspace::KeyspaceCore;
use crate::engine::memory::Memory;
use crate::engine::objects::reopen::Survey;
use crate::engine::objects::{self, Objects};
use crate::engine::snapshots::Snapshots;
use crate::engine::table::{Table, Trash};
use crate::engine::tree::Tree;
use crate::engine::versions::ManifestState;
use crate::env::{Env, Lock};
use crate::manifest::{Catalog, FileMeta, Loaded, Record};
use crate::memtable::{Memtable, SortedTable};
use crate::names::FileKind;
use crate::options::Options;
use crate::planted::{self, Bug};
use crate::sst::{SortOrder, SstReadOptions};
use crate::types::KeyspaceId;
use crate::wal::{self, Op, Payload, ReplayOptions, Replayed, Wal};
use crate::{Error, Result};

/// The SSTs that have been opened so far: whoever starts over need not open them again, and they may have gone meanwhile.
pub(super) struct Tables {
    options: SstReadOptions,
    memory: Arc<Memory>,
    trash: Arc<Trash>,
    open: BTreeMap<u64, Arc<Table>>,
}

impl Tables {
    pub(super) fn new(env: &Env, options: &Options) -> Self {
        let memory = Arc::new(Memory::new(options));
        let options = memory.read_options(options.access);
        Tables {
            options,
            memory,
            trash: Trash::new(env),
            open: BTreeMap::new(),
        }
    }

    pub(super) fn get(
        &mut self,
        env: &Env,
        dir: &Path,
        meta: &FileMeta,
        order: SortOrder,
    ) -> Result<Arc<Table>> {
        if let Some(table) = self.open.get(&meta.number).filter(|table| table.meta == *meta) {
            return Ok(table.clone());
        }
        let table = Table::open(env, dir, meta.clone(), order, &self.options, &self.trash)?;
        self.open.insert(meta.number, table.clone());
        Ok(table)
    }
}

/// A database on its way in.
pub(super) struct Opening {
    pub(super) env: Env,
    pub(super) dir: PathBuf,
    pub(super) options: Options,
    pub(super) catalog: Catalog,
    /// Where the catalog was read, and where it ends: what contradicts it is reported there.
    pub(super) source: (PathBuf, u64),
    memory: Arc<Memory>,
    trash: Arc<Trash>,
    pub(super) writes: WriteState,
    pub(super) replayed: u64,
    /// How far unsealed packs are whole.
    survey: Survey,
}

impl Opening {
    /// Opens every SST of the catalog.
    pub(super) fn new(
        env: Env,
        dir: &Path,
        options: Options,
        loaded: Loaded,
        known: &mut Tables,
    ) -> Result<Self> {
        let (catalog, source) = (loaded.catalog, (loaded.path, loaded.end));
        let mut active = BTreeMap::new();
        for (id, entry) in &catalog.keyspaces {
            let order = entry.options.sst().order;
            let mut tables = Vec::new();
            for (level, files) in entry.levels.iter().enumerate() {
                for meta in files.values() {
                    tables.push((level, known.get(&env, dir, meta, order)?));
                }
            }
            let tree = Tree::new(tables);
            tree.check()
                .map_err(|what| Error::corruption(&source.0, source.1, what))?;
            let table = Arc::new(Memtable::new());
            let keyspace = KeyspaceCore::new(
                *id,
                entry.name.clone(),
                entry.options.clone(),
                table.clone(),
                Vec::new(),
                tree,
            );
            active.insert(*id, ActiveTable::new(keyspace, table));
        }
        let writes = WriteState {
            next_seq: catalog.last_seq + 1,
            active,
            log_number: 0,
            active_bytes: 0,
        };
        let survey = Survey::of(&env, dir, &catalog, options.recovery_mode)?;
        Ok(Opening {
            survey,
            env,
            dir: dir.to_owned(),
            options,
            catalog,
            source,
            memory: known.memory.clone(),
            trash: known.trash.clone(),
            writes,
            replayed: 0,
        })
    }

    /// Replays the logs into the memtables. With a `spill`, what does not fit into memory becomes SSTs; without one (a read-only opening
    /// changes nothing on disk) all that is unflushed is held.
    pub(super) fn replay(&mut self, mut spill: Option<&mut Spill>) -> Result<Replayed> {
        let options = ReplayOptions {
            floor: self.catalog.log_floor,
            // Numbers may be left out (a failed creation uses one up); the chain of headers covers what lies between.
            must_exist: vec![self.catalog.log_known],
            ends: self.catalog.log_ends.clone(),
            mode: self.options.recovery_mode,
        };
        let (catalog, writes, replayed) = (&self.catalog, &mut self.writes, &mut self.replayed);
        let write_buffer_size = self.options.write_buffer_size;
        let (dir, (manifest, manifest_end)) = (&self.dir, &self.source);
        // The keyspaces that a frame writes to.
        let mut touched = Vec::new();
        let survey = &self.survey;
        let check = |payload: &Payload<'_>| {
            let faults = payload.ops().map(|op| match op {
                Ok(Op::Put { keyspace, key, value }) => survey.fault(keyspace, key, value),
                _ => None,
            });
            faults.flatten().next()
        };
        let found = wal::replay_checked(&*self.env.fs, dir, &options, &check, &mut |first_seq, payload| {
            let mut unknown = None;
            touched.clear();
            apply_ops(writes, first_seq, payload.ops(), |id, seq| {
                let wanted = is_wanted(catalog, id, seq).unwrap_or_else(|id| {
                    unknown = Some(id);
                    false
                });
                *replayed += u64::from(wanted);
                if wanted && touched.last() != Some(&id) {
                    touched.push(id);
                }
                wanted
            })?;
            if let Some(id) = unknown {
                // The frame in the log is whole, so it is the manifest that lacks something.
                return Err(Error::corruption(
                    manifest,
                    *manifest_end,
                    format!("expected the creation of keyspace {id}, to which the log writes; found the end"),
                ));
            }
            let last = payload.last_seq();
            for id in &touched {
                if writes.note_bytes(*id).0 >= write_buffer_size
                    && let Some(keyspace) = freeze(writes, *id, last)
                    && let Some(spill) = &mut spill
                {
                    spill.note_frozen(&keyspace);
                }
            }
            match &mut spill {
                Some(spill) => spill.make_room(dir, writes, last),
                None => Ok(()),
            }
        })?;
        let next_in_log = found.last_seq + u64::from(!planted::is(Bug::NumbersResumedTooLow));
        self.writes.next_seq = self.writes.next_seq.max(next_in_log);
        Ok(found)
    }

    /// What is wrong with unsealed packs, that the user asked to go on without.
    pub(super) fn damage_of_packs(&self) -> Result<Vec<Error>> {
        self.survey.damage(&self.catalog)
    }

    /// What keeps the replay of a writer's opening within the memory limit.
    pub(super) fn spill(&self, names: &Listing) -> Spill {
        let highest = names.highest(|kind| match kind {
            FileKind::Sst(number) | FileKind::Pack(number) => Some(number),
            _ => None,
        });
        let first = self.catalog.next_file_number.max(highest.saturating_add(1));
        Spill::new(&self.env, &self.options, &self.memory, &self.trash, first)
    }

    /// `began`: when the reading of this state began.
    pub(super) fn finish_read_only(self, began: Duration) -> Result<Arc<Core>> {
        let (objects, _) = self.open_packs(false)?;
        let manifest = ManifestState {
            manifest: None,
            catalog: self.catalog.clone(),
            undecided_drops: Vec::new(),
            undecided_tables: Vec::new(),
        };
        Ok(self.into_core(None, manifest, objects, None, Some(began)))
    }

    /// Opens the packs; says what has changed of them with that.
    pub(super) fn open_packs(&self, for_writing: bool) -> Result<(Arc<Objects>, Vec<Record>)> {
        objects::reopen::open(
            &self.env,
            &self.dir,
            &self.options,
            (&self.catalog, &self.survey),
            &self.trash,
            for_writing,
        )
    }

    pub(super) fn into_core(
        self,
        wal: Option<Wal>,
        manifest: ManifestState,
        objects: Arc<Objects>,
        lock: Option<Box<dyn Lock>>,
        read_at: Option<Duration>,
    ) -> Arc<Core> {
        let snapshots = Arc::new(Snapshots::default());
        snapshots.publish(self.writes.next_seq - 1);
        let keyspaces = self
            .writes
            .active
            .iter()
            .map(|(id, active)| (*id, active.keyspace.clone()))
            .collect();
        Core::new(Parts {
            env: self.env,
            dir: self.dir,
            options: self.options,
            wal,
            writes: self.writes,
            snapshots,
            keyspaces,
            manifest,
            memory: self.memory,
            objects,
            trash: self.trash,
            lock,
            read_at,
        })
    }
}

/// Whether a logged write is still needed: its keyspace lives and has not flushed it. An error names a keyspace that has
/// never been created.
fn is_wanted(catalog: &Catalog, id: KeyspaceId, seq: u64) -> Result<bool, KeyspaceId> {
    match catalog.keyspaces.get(&id) {
        Some(keyspace) => Ok(seq > keyspace.flushed || planted::is(Bug::FlushedReplayed)),
        None if id < catalog.next_keyspace_id => Ok(false),
        None => Err(id),
    }
}
