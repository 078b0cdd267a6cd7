//! [`Run`]: what a registered snapshot sees of one keyspace, entry by entry, both ways. Ranges and cursors are made of it.
//!
//! A run holds the memtables and files that it reads. When the keyspace has got other files since (a flush has written its
//! memtables, a compaction has replaced its files) it takes those at its next step or seek: the number is registered, so
//! whatever the newer state lacks, this snapshot does not see. So a run that moves pins nothing that the keyspace has got
//! rid of, however long it lives; one that nobody moves keeps what it has.

use std::sync::Arc;

use super::core::Core;
use super::keyspace::{KeyspaceCore, View};
use super::level_cursor::LevelCursor;
use super::merge::{Direction, Merge, Source};
use super::visible::Visible;
use crate::memtable::SortedTable;
use crate::sst::CursorOptions;
use crate::types::SeqNo;
use crate::{Result, Slice};

/// See the module's comment. Its user keeps the snapshot registered.
pub(crate) struct Run {
    keyspace: Arc<KeyspaceCore>,
    snapshot: SeqNo,
    options: CursorOptions,
    /// The keyspace's, before the view was pinned that `visible` reads.
    generation: u64,
    visible: Visible,
}

impl Run {
    /// A run that stands before `bound`, see [`Merge::new`]. `values` says whether values are read, too: reading ahead pays
    /// only then, as it takes them along with the keys.
    ///
    /// REQUIRES: `snapshot` is registered, and stays so while the run lives.
    pub(crate) fn new(
        keyspace: &Arc<KeyspaceCore>,
        snapshot: SeqNo,
        values: bool,
        direction: Direction,
        bound: Option<&[u8]>,
    ) -> Result<Self> {
        let options = CursorOptions {
            access: None,
            fill_cache: true,
            read_ahead: values,
        };
        let generation = keyspace.generation();
        let merge = Merge::new(sources(&keyspace.view(), options), direction, bound)?;
        Ok(Run {
            keyspace: keyspace.clone(),
            snapshot,
            options,
            generation,
            visible: Visible::new(merge, snapshot),
        })
    }

    /// Stands before `bound`, see [`Merge::new`].
    pub(crate) fn seek(&mut self, direction: Direction, bound: Option<&[u8]>) -> Result<()> {
        let generation = self.keyspace.generation();
        if generation == self.generation {
            return self.visible.seek(direction, bound);
        }
        let merge = Merge::new(self.sources(), direction, bound)?;
        self.visible = Visible::new(merge, self.snapshot);
        self.generation = generation;
        Ok(())
    }

    /// Goes to the next entry in `direction`; false at the end, where it stands nowhere.
    #[inline]
    pub(crate) fn step(&mut self, direction: Direction) -> Result<bool> {
        if self.keyspace.generation() != self.generation {
            self.take_newer_files(direction)?;
        }
        self.visible.step(direction)
    }

    /// Standing nowhere, it keeps what it has: where it was put is known to the merge only.
    #[cold]
    fn take_newer_files(&mut self, direction: Direction) -> Result<()> {
        if !self.visible.valid() {
            return Ok(());
        }
        let generation = self.keyspace.generation();
        // At its end until `reseat` puts it where it belongs.
        let merge = Merge::of(self.sources(), direction);
        self.visible.reseat(merge, direction)?;
        self.generation = generation;
        Ok(())
    }

    fn sources(&self) -> Vec<Source> {
        sources(&self.keyspace.view(), self.options)
    }

    /// Whether it stands on an entry.
    pub(crate) fn valid(&self) -> bool {
        self.visible.valid()
    }

    /// The current key.
    pub(crate) fn key(&self) -> &[u8] {
        self.visible.key()
    }

    /// Reads the current value.
    pub(crate) fn load(&self, core: &Core) -> Result<Slice> {
        match self.visible.object()? {
            Some(object) => core.load_object(&object),
            None => self.visible.load(),
        }
    }

    /// Reads the current value into the caller's buffer, whose contents are replaced.
    pub(crate) fn load_into(&self, core: &Core, out: &mut Vec<u8>) -> Result<()> {
        match self.visible.object()? {
            Some(object) => core.load_object_into(&object, out),
            None => self.visible.load_into(out),
        }
    }
}

/// The cursors over all that a view has.
fn sources(view: &View, options: CursorOptions) -> Vec<Source> {
    let memory = std::iter::once(&view.active)
        .chain(view.frozen.iter().map(|frozen| &frozen.table))
        .filter(|table| table.len() > 0)
        .map(|table| Source::Memory(table.cursor()));
    let level_0 = view.tree.level(0).iter().map(|table| {
        let cursor = table.sst.cursor(options);
        Source::Table(table.clone(), Box::new(cursor))
    });
    let deeper = view
        .tree
        .levels()
        .skip(1)
        .filter(|(_, tables)| !tables.is_empty())
        .map(|(_, tables)| Source::Level(Box::new(LevelCursor::new(tables.to_vec(), options))));
    memory.chain(level_0).chain(deeper).collect()
}
