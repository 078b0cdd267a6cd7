//! Which objects of some packs are referred to.

use std::sync::Arc;

use crate::cursor::Cursor;
use crate::engine::core::Core;
use crate::engine::keyspace::KeyspaceCore;
use crate::memtable::SortedTable;
use crate::pack::ObjectId;
use crate::sst::Access;
use crate::types::{EntryKind, ObjectRef};
use crate::{Error, Result};

/// Ids, ascending, and whether something refers to each of them.
pub(super) struct Marks {
    ids: Vec<(ObjectId, bool)>,
}

impl Marks {
    pub(super) fn new(mut ids: Vec<ObjectId>) -> Marks {
        ids.sort_unstable();
        ids.dedup();
        Marks {
            ids: ids.into_iter().map(|id| (id, false)).collect(),
        }
    }

    pub(super) fn mark(&mut self, id: &ObjectId) {
        if let Ok(at) = self.ids.binary_search_by_key(id, |(id, _)| *id)
            && let Some((_, marked)) = self.ids.get_mut(at)
        {
            *marked = true;
        }
    }

    /// Marks what an ascending list has.
    fn mark_list(&mut self, list: impl Iterator<Item = Result<ObjectId>>) -> Result<()> {
        let mut ids = self.ids.iter_mut().peekable();
        for id in list {
            let id = id?;
            while ids.next_if(|(candidate, _)| *candidate < id).is_some() {}
            match ids.peek_mut() {
                None => return Ok(()),
                Some((candidate, marked)) if *candidate == id => *marked = true,
                Some(_) => {}
            }
        }
        Ok(())
    }

    pub(super) fn marked(&self) -> impl Iterator<Item = &ObjectId> {
        self.ids.iter().filter(|(_, marked)| *marked).map(|(id, _)| id)
    }
}

impl Core {
    /// Marks what any version of any key refers to, in memtables and SSTs, those of dropped keyspaces that somebody still reads included.
    pub(super) fn mark_referenced(&self, marks: &mut Marks) -> Result<()> {
        let mut keyspaces = self.keyspace_cores();
        keyspaces.extend(self.objects.dropped());
        keyspaces
            .iter()
            .try_for_each(|keyspace| self.mark_referenced_by(keyspace, marks))
    }

    fn mark_referenced_by(&self, keyspace: &Arc<KeyspaceCore>, marks: &mut Marks) -> Result<()> {
        let view = keyspace.view();
        let frozen = view.frozen.iter().map(|frozen| &frozen.table);
        for table in frozen.chain([&view.active]) {
            self.check_not_closed()?;
            let mut cursor = table.cursor();
            cursor.seek_to_first()?;
            while cursor.valid() {
                let value = cursor.value();
                if value.kind() == EntryKind::Object
                    && let Some(object) = ObjectRef::from_bytes(&cursor.load(value)?)
                {
                    marks.mark(&ObjectId(object.id));
                }
                cursor.next()?;
            }
        }
        for table in view.tree.tables() {
            self.check_not_closed()?;
            let list = table.sst.references(Some(Access::Pread));
            marks.mark_list(list.map(|id| id.map(ObjectId)))?;
        }
        Ok(())
    }

    /// All that a keyspace refers to, some of it more than once.
    pub(crate) fn references_of(&self, keyspace: &Arc<KeyspaceCore>) -> Result<Vec<ObjectId>> {
        let view = keyspace.view();
        let mut ids = Vec::new();
        for table in view.tree.tables() {
            for id in table.sst.references(Some(Access::Pread)) {
                ids.push(ObjectId(id?));
            }
        }
        Ok(ids)
    }

    pub(super) fn check_not_closed(&self) -> Result<()> {
        match self.is_closed() {
            true => Err(Error::Closed),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_meet_sorted_lists() {
        let id = |n: u8| ObjectId([n; 16]);
        for list in [
            vec![],
            vec![1, 3, 5, 9],
            vec![0, 2, 10],
            vec![0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
        ] {
            let mut marks = Marks::new([5, 1, 9, 1, 3].map(id).to_vec());
            marks.mark_list(list.iter().map(|n| Ok(id(*n)))).unwrap();
            let found: Vec<ObjectId> = marks.marked().copied().collect();
            let expected: Vec<ObjectId> = [1, 3, 5, 9]
                .into_iter()
                .filter(|n| list.contains(n))
                .map(id)
                .collect();
            assert_eq!(found, expected);
            marks.mark(&id(5));
            marks.mark(&id(6));
            assert!(marks.marked().any(|found| *found == id(5)));
        }
    }
}
