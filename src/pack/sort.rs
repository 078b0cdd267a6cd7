//! [`Sorter`]: sorts any number of rows in bounded memory.
//!
//! Rows are gathered, sorted, and written as runs into one scratch file; the runs are merged when they are read. A merge reads each of
//! its runs through a buffer of [`RUN_BUFFER`]; where there are more runs than the memory has buffers for, runs are first merged into longer
//! ones. So memory is bounded whatever the number of rows, and their distribution does not matter: ids and names are sorted by
//! the same code. (The published builder sorts ids in 512 bucket files; bytes read and written are the same.)
//!
//! Of rows with equal keys the one that was added last comes first.
//!
//! ```text
//! row  key length u16 | value length u32 | number u64 | key | value        (in memory and in runs)
//! run  rows, back to back; behind them XXH3-64 of all of them
//! ```
//!
//! The scratch file is made when memory does not suffice, and goes when the sorter or what it gave is dropped.
//!
//! Callers: `segment`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3Default;

use super::merge::{Merged, Rows};
use super::output::Output;
use crate::env::{Env, File};
use crate::{Error, Result};

/// What a merge holds of each run, in bytes.
const RUN_BUFFER: usize = 64 << 10;
/// The least memory that sorting goes on with, in bytes.
const LEAST_MEMORY: usize = 4 * RUN_BUFFER;
const ROW_HEADER: usize = 14;
/// The number of the first row: what comes from elsewhere and is older has smaller ones.
pub(super) const FIRST_NUMBER: u64 = 1 << 32;

/// A row in memory: the first bytes of its key, for comparing without a look at it, and where it lies.
#[derive(Clone, Copy)]
struct Slot {
    head: u64,
    at: u32,
}

/// A sorted run in the scratch file.
#[derive(Clone, Copy)]
struct Run {
    at: u64,
    rows: u64,
}

/// The scratch file: removed when dropped.
struct Scratch {
    env: Env,
    path: PathBuf,
    output: Output,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A leftover is in nobody's way: the next sorter of this name replaces it.
        let _ = self.env.fs.remove(&self.path);
    }
}

/// Sorts rows. See the module's comment.
pub(super) struct Sorter {
    env: Env,
    path: PathBuf,
    memory: usize,
    bytes: Vec<u8>,
    slots: Vec<Slot>,
    added: u64,
    scratch: Option<Scratch>,
    runs: Vec<Run>,
}

impl Sorter {
    /// Sorts with about `memory` bytes, and with a scratch file at `path`, which is replaced if it is there.
    pub(super) fn new(env: &Env, path: PathBuf, memory: usize) -> Self {
        Sorter {
            env: env.clone(),
            path,
            // Half for rows, half for what a merge or a write needs beside them.
            memory: memory.clamp(LEAST_MEMORY, u32::MAX as usize / 2),
            bytes: Vec::new(),
            slots: Vec::new(),
            added: 0,
            scratch: None,
            runs: Vec::new(),
        }
    }

    /// Rows so far.
    pub(super) fn len(&self) -> u64 {
        self.added
    }

    /// Adds a row. REQUIRES: the key has at most 65,535 bytes, the value at most 4 GiB.
    pub(super) fn add(&mut self, key: &[u8], value: &[&[u8]]) -> Result<()> {
        let value_len: usize = value.iter().map(|part| part.len()).sum();
        let len = ROW_HEADER + key.len() + value_len;
        if !self.slots.is_empty() && self.held() + len + size_of::<Slot>() > self.memory {
            self.spill()?;
        }
        self.slots.push(Slot {
            head: head(key),
            at: self.bytes.len() as u32,
        });
        self.bytes.extend_from_slice(&(key.len() as u16).to_le_bytes());
        self.bytes.extend_from_slice(&(value_len as u32).to_le_bytes());
        self.bytes
            .extend_from_slice(&(FIRST_NUMBER + self.added).to_le_bytes());
        self.bytes.extend_from_slice(key);
        for part in value {
            self.bytes.extend_from_slice(part);
        }
        self.added += 1;
        Ok(())
    }

    fn held(&self) -> usize {
        self.bytes.len() + self.slots.len() * size_of::<Slot>()
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        let row = |slot: &Slot| Row::parse(bytes.get(slot.at as usize..).unwrap_or_default());
        self.slots.sort_unstable_by(|a, b| {
            a.head.cmp(&b.head).then_with(|| {
                let (a, b) = (row(a), row(b));
                a.key.cmp(b.key).then(b.number.cmp(&a.number))
            })
        });
    }

    /// Writes what is in memory as a run.
    fn spill(&mut self) -> Result<()> {
        self.sort();
        let (bytes, slots) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.slots));
        let run = self.write_run(|write| {
            for slot in &slots {
                write(Row::parse(bytes.get(slot.at as usize..).unwrap_or_default()))?;
            }
            Ok(())
        });
        (self.bytes, self.slots) = (bytes, slots);
        self.runs.push(run?);
        self.bytes.clear();
        self.slots.clear();
        Ok(())
    }

    fn write_run(
        &mut self,
        rows: impl FnOnce(&mut dyn FnMut(Row<'_>) -> Result<()>) -> Result<()>,
    ) -> Result<Run> {
        let scratch = match &mut self.scratch {
            Some(scratch) => scratch,
            empty => empty.insert(create_scratch(&self.env, &self.path)?),
        };
        let output = &mut scratch.output;
        let mut run = Run {
            at: output.position(),
            rows: 0,
        };
        let mut sum = Xxh3Default::new();
        rows(&mut |row| {
            run.rows += 1;
            for part in [&row.header()[..], row.key, row.value] {
                sum.update(part);
                output.push(part)?;
            }
            Ok(())
        })?;
        output.push(&sum.digest().to_le_bytes())?;
        output.write_out()?;
        Ok(run)
    }

    /// All rows in order. Equal keys come newest first. The sorter is empty afterwards.
    pub(super) fn finish(&mut self) -> Result<Merged> {
        if self.runs.is_empty() {
            self.sort();
            return Ok(Merged::new(vec![Box::new(InMemory {
                bytes: std::mem::take(&mut self.bytes),
                slots: std::mem::take(&mut self.slots).into_iter(),
                current: None,
            })]));
        }
        if !self.slots.is_empty() {
            self.spill()?;
        }
        self.bytes = Vec::new();
        self.slots = Vec::new();
        let most = (self.memory / RUN_BUFFER).max(2);
        while self.runs.len() > most {
            let merged: Vec<Run> = self.runs.drain(..most).collect();
            let mut rows = self.merge(&merged);
            let run = self.write_run(|write| {
                while rows.advance()? {
                    write(Row {
                        number: rows.number(),
                        key: rows.key(),
                        value: rows.value(),
                    })?;
                }
                Ok(())
            })?;
            self.runs.push(run);
        }
        let runs = std::mem::take(&mut self.runs);
        let merged = self.merge(&runs);
        Ok(match self.scratch.take() {
            Some(scratch) => merged.keeping(Box::new(scratch)),
            None => merged,
        })
    }

    fn merge(&self, runs: &[Run]) -> Merged {
        let Some(scratch) = &self.scratch else {
            return Merged::new(Vec::new());
        };
        let rows = |run: &Run| -> Box<dyn Rows> {
            Box::new(RunRows {
                file: Arc::clone(scratch.output.file()),
                path: self.path.clone(),
                at: run.at,
                left: run.rows,
                buffer: Vec::new(),
                from: 0,
                sum: Xxh3Default::new(),
                row: None,
            })
        };
        Merged::new(runs.iter().map(rows).collect())
    }
}

fn create_scratch(env: &Env, path: &Path) -> Result<Scratch> {
    let file = match env.fs.create(path) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
            env.fs.remove(path).map_err(|e| Error::io("remove", path, e))?;
            env.fs.create(path)
        }
        created => created,
    };
    let file = file.map_err(|e| Error::io("create", path, e))?;
    Ok(Scratch {
        env: env.clone(),
        path: path.to_owned(),
        output: Output::new(file, path, 0),
    })
}

/// The first eight bytes of a key as a number, which compares as they do.
fn head(key: &[u8]) -> u64 {
    let mut head = [0; 8];
    head.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    u64::from_be_bytes(head)
}

/// One row. Rows come from our own memory, or from a run whose sum is checked at its end: nonsense gives empty keys until then.
#[derive(Clone, Copy, Default)]
struct Row<'a> {
    number: u64,
    key: &'a [u8],
    value: &'a [u8],
}

impl<'a> Row<'a> {
    fn header(&self) -> [u8; ROW_HEADER] {
        let mut header = [0; ROW_HEADER];
        let fields = (self.key.len() as u16).to_le_bytes().into_iter();
        let fields = fields.chain((self.value.len() as u32).to_le_bytes());
        let fields = fields.chain(self.number.to_le_bytes());
        header.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        header
    }

    /// The lengths of key and value, and the number.
    fn parse_header(bytes: &[u8]) -> Option<(usize, usize, u64)> {
        let mut input = crate::coding::Decoder::new(bytes);
        Some((usize::from(input.u16()?), input.u32()? as usize, input.u64()?))
    }

    fn parse(bytes: &'a [u8]) -> Row<'a> {
        let parsed = || {
            let (key_len, value_len, number) = Self::parse_header(bytes)?;
            let (key, rest) = bytes.get(ROW_HEADER..)?.split_at_checked(key_len)?;
            let value = rest.get(..value_len)?;
            Some(Row { number, key, value })
        };
        parsed().unwrap_or_default()
    }
}

/// Rows that fit into memory.
struct InMemory {
    bytes: Vec<u8>,
    slots: std::vec::IntoIter<Slot>,
    current: Option<Slot>,
}

impl InMemory {
    fn row(&self) -> Row<'_> {
        let at = self.current.map_or(usize::MAX, |slot| slot.at as usize);
        Row::parse(self.bytes.get(at..).unwrap_or_default())
    }
}

impl Rows for InMemory {
    fn advance(&mut self) -> Result<bool> {
        self.current = self.slots.next();
        Ok(self.current.is_some())
    }

    fn key(&self) -> &[u8] {
        self.row().key
    }

    fn number(&self) -> u64 {
        self.row().number
    }

    fn value(&self) -> &[u8] {
        self.row().value
    }
}

/// A run that is read from the scratch file.
struct RunRows {
    file: Arc<dyn File>,
    path: PathBuf,
    /// Where the bytes behind the buffer lie.
    at: u64,
    left: u64,
    buffer: Vec<u8>,
    /// Where in the buffer the next row begins.
    from: usize,
    sum: Xxh3Default,
    /// Where the present row begins in the buffer.
    row: Option<usize>,
}

impl RunRows {
    /// Has `len` bytes from `from` on in the buffer.
    fn fill(&mut self, len: usize) -> Result<()> {
        if self.buffer.len() - self.from >= len {
            return Ok(());
        }
        self.buffer.drain(..self.from);
        self.from = 0;
        let have = self.buffer.len();
        self.buffer.resize(have + len.max(RUN_BUFFER), 0);
        let mut filled = have;
        // What is behind the run's end is other runs', or nothing.
        while filled < len {
            let room = self.buffer.get_mut(filled..).unwrap_or_default();
            match self.file.read_at(self.at, room) {
                Ok(0) => return Err(self.damaged("the file ends in the middle of a run")),
                Ok(n) => {
                    filled += n;
                    self.at += n as u64;
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", &self.path, e)),
            }
        }
        self.buffer.truncate(filled);
        Ok(())
    }

    fn damaged(&self, what: &'static str) -> Error {
        Error::corruption(&self.path, self.at, what)
    }

    fn current(&self) -> Row<'_> {
        let at = self.row.unwrap_or(usize::MAX);
        Row::parse(self.buffer.get(at..).unwrap_or_default())
    }
}

impl Rows for RunRows {
    fn advance(&mut self) -> Result<bool> {
        self.row = None;
        if self.left == 0 {
            self.fill(8)?;
            let sum = self.buffer.get(self.from..).and_then(|rest| rest.first_chunk());
            if sum.copied().map(u64::from_le_bytes) != Some(self.sum.digest()) {
                return Err(self.damaged("expected a sorted run that matches its checksum"));
            }
            return Ok(false);
        }
        self.fill(ROW_HEADER)?;
        let header = Row::parse_header(self.buffer.get(self.from..).unwrap_or_default());
        let (key_len, value_len, _) = header.unwrap_or_default();
        let len = ROW_HEADER + key_len + value_len;
        self.fill(len)?;
        let row = self.buffer.get(self.from..self.from + len).unwrap_or_default();
        self.sum.update(row);
        self.row = Some(self.from);
        self.from += len;
        self.left -= 1;
        Ok(true)
    }

    fn key(&self) -> &[u8] {
        self.current().key
    }

    fn number(&self) -> u64 {
        self.current().number
    }

    fn value(&self) -> &[u8] {
        self.current().value
    }
}

#[cfg(test)]
mod tests;
