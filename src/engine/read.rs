//! The read path: point look-ups and the cursors of ranges.

use std::sync::Arc;

use super::core::Core;
use super::keyspace::{KeyspaceCore, View};
use super::level_cursor::LevelCursor;
use super::merge::{Direction, Merge, Source};
use super::visible::Visible;
use crate::memtable::SortedTable;
use crate::planted::{self, Bug, Moment};
use crate::sst::CursorOptions;
use crate::types::{Found, SeqNo};
use crate::{Result, Slice};

impl Core {
    /// Whether `key` has a value, as a snapshot at `snapshot` sees it, or now.
    pub(crate) fn contains_key(
        &self,
        keyspace: &KeyspaceCore,
        key: &[u8],
        snapshot: Option<SeqNo>,
    ) -> Result<bool> {
        let (view, seq) = self.pin(keyspace, snapshot)?;
        view.contains(key, seq)
    }

    /// The value of `key`, as a snapshot at `snapshot` sees it, or as it is now.
    pub(crate) fn get(
        &self,
        keyspace: &KeyspaceCore,
        key: &[u8],
        snapshot: Option<SeqNo>,
    ) -> Result<Option<Slice>> {
        let (view, seq) = self.pin(keyspace, snapshot)?;
        Ok(match view.get(key, seq)? {
            Some(Found::Value(_, value)) => Some(value),
            Some(Found::Tombstone(_)) | None => None,
        })
    }

    /// What a point read reads, and as of which number.
    fn pin(&self, keyspace: &KeyspaceCore, snapshot: Option<SeqNo>) -> Result<(Arc<View>, SeqNo)> {
        self.check_open()?;
        if snapshot.is_none() {
            keyspace.check_alive()?;
        }
        // Files and memtables first, the number after: so whatever a flush or compaction drops, it drops for numbers that
        // this read does not use. A snapshot's number is registered, which protects it as well.
        let early = planted::is(Bug::PinnedAfterNumber).then(|| self.snapshots.published());
        planted::pause(Moment::PointRead);
        let view = keyspace.view();
        planted::pause(Moment::PointRead);
        let seq = snapshot.or(early).unwrap_or_else(|| self.snapshots.published());
        Ok((view, seq))
    }
}

/// A run over what `snapshot` sees of `view`, from `bound` on in `direction`. `values` says whether the values are read,
/// too: reading ahead pays only then, as it takes them along with the keys.
pub(crate) fn visible(
    view: &Arc<View>,
    snapshot: SeqNo,
    direction: Direction,
    bound: Option<&[u8]>,
    values: bool,
) -> Result<Visible> {
    let options = CursorOptions {
        access: None,
        fill_cache: true,
        read_ahead: values,
    };
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
    let sources = memory.chain(level_0).chain(deeper).collect();
    Ok(Visible::new(
        Merge::new(sources, direction, bound)?,
        direction,
        snapshot,
    ))
}
