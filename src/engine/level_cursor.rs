//! [`LevelCursor`]: one cursor over the tables of a sorted level, which opens them one at a time.

use std::sync::Arc;

use super::table::Table;
use super::tree::first_reaching;
use crate::cursor::Cursor;
use crate::sst::{CursorOptions, MOST_WINDOW, SstCursor};
use crate::types::{SeqNo, ValuePlace, ValueRef};
use crate::{Result, Slice};

/// A cursor over tables that are sorted by key and do not overlap (but may share a border key).
pub(crate) struct LevelCursor {
    tables: Vec<Arc<Table>>,
    options: CursorOptions,
    /// Bytes read ahead at most.
    window: u64,
    index: usize,
    /// The cursor of `tables[index]`; `None` when this cursor stands nowhere.
    current: Option<SstCursor>,
}

impl LevelCursor {
    pub(crate) fn new(tables: Vec<Arc<Table>>, options: CursorOptions) -> Self {
        LevelCursor {
            tables,
            options,
            window: MOST_WINDOW,
            index: 0,
            current: None,
        }
    }

    /// See [`SstCursor::with_window`].
    pub(crate) fn with_window(mut self, bytes: u64) -> Self {
        self.window = bytes;
        self
    }

    pub(crate) fn tables(&self) -> &[Arc<Table>] {
        &self.tables
    }

    /// Opens table `index`; returns its cursor, standing nowhere, or `None` past either end.
    fn open(&mut self, index: usize) -> Option<&mut SstCursor> {
        let table = self.tables.get(index)?;
        if self.current.is_none() || self.index != index {
            self.current = Some(table.sst.cursor(self.options).with_window(self.window));
            self.index = index;
        }
        self.current.as_mut()
    }

    /// While the current table is exhausted, goes to the first entry of the next one.
    fn skip_forward(&mut self) -> Result<()> {
        while self.current.as_ref().is_some_and(|cursor| !cursor.valid()) {
            match self.open(self.index + 1) {
                Some(cursor) => cursor.seek_to_first()?,
                None => self.current = None,
            }
        }
        Ok(())
    }

    /// While the current table is exhausted, goes to the last entry of the one before.
    fn skip_backward(&mut self) -> Result<()> {
        while self.current.as_ref().is_some_and(|cursor| !cursor.valid()) {
            match self.index.checked_sub(1).and_then(|index| self.open(index)) {
                Some(cursor) => cursor.seek_to_last()?,
                None => self.current = None,
            }
        }
        Ok(())
    }
}

impl Cursor for LevelCursor {
    fn seek_to_first(&mut self) -> Result<()> {
        match self.open(0) {
            Some(cursor) => cursor.seek_to_first()?,
            None => self.current = None,
        }
        self.skip_forward()
    }

    fn seek_to_last(&mut self) -> Result<()> {
        match self
            .tables
            .len()
            .checked_sub(1)
            .and_then(|index| self.open(index))
        {
            Some(cursor) => cursor.seek_to_last()?,
            None => self.current = None,
        }
        self.skip_backward()
    }

    fn seek(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        // Tables that share the border key hold its versions, newest first: what is sought may lie in any of them.
        let mut index = first_reaching(&self.tables, key);
        while let Some(cursor) = self.open(index) {
            cursor.seek(key, seq)?;
            if cursor.valid() {
                return Ok(());
            }
            index += 1;
        }
        self.current = None;
        Ok(())
    }

    fn seek_before(&mut self, key: &[u8], seq: SeqNo) -> Result<()> {
        // Entries before (key, seq) may lie in every table that starts at or before the key.
        // One that shares the border key with its neighbour may hold nothing before, and the neighbour's last entry may
        // lie behind, too.
        let mut end = self
            .tables
            .partition_point(|table| &table.meta.min_key[..] <= key);
        while let Some(index) = end.checked_sub(1) {
            let Some(cursor) = self.open(index) else { break };
            cursor.seek_before(key, seq)?;
            if cursor.valid() {
                return Ok(());
            }
            end = index;
        }
        self.current = None;
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        if let Some(cursor) = &mut self.current {
            cursor.next()?;
            if !cursor.valid() {
                self.skip_forward()?;
            }
        }
        Ok(())
    }

    fn prev(&mut self) -> Result<()> {
        if let Some(cursor) = &mut self.current {
            cursor.prev()?;
            if !cursor.valid() {
                self.skip_backward()?;
            }
        }
        Ok(())
    }

    fn valid(&self) -> bool {
        self.current.as_ref().is_some_and(Cursor::valid)
    }

    fn key(&self) -> &[u8] {
        self.current.as_ref().map_or(&[], Cursor::key)
    }

    fn seq(&self) -> SeqNo {
        self.current.as_ref().map_or(0, Cursor::seq)
    }

    fn value(&self) -> ValueRef {
        match &self.current {
            Some(cursor) => ValueRef {
                source: self.index as u32,
                ..cursor.value()
            },
            None => ValueRef::new(ValuePlace::Tombstone),
        }
    }

    fn load(&self, value: ValueRef) -> Result<Slice> {
        match &self.current {
            Some(cursor) if value.source as usize == self.index => cursor.load(value),
            _ => match self.tables.get(value.source as usize) {
                Some(table) => table.sst.load(value.place),
                None => Ok(Slice::default()),
            },
        }
    }

    fn load_into(&self, value: ValueRef, out: &mut Vec<u8>) -> Result<()> {
        match &self.current {
            Some(cursor) if value.source as usize == self.index => cursor.load_into(value, out),
            _ => match self.tables.get(value.source as usize) {
                Some(table) => table.sst.load_into(value.place, out),
                None => {
                    out.clear();
                    Ok(())
                }
            },
        }
    }
}
