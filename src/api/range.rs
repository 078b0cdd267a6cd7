//! [`Range`]: a double-ended run over the entries of a keyspace at one moment, and [`Keys`], the same without values.

use std::fmt;
use std::sync::Arc;

use super::bounds::Bounds;
use super::handle::Handle;
use crate::engine::core::Core;
use crate::engine::keyspace::KeyspaceCore;
use crate::engine::latency::Timed;
use crate::engine::merge::Direction;
use crate::engine::run::Run;
use crate::engine::snapshots::SnapshotGuard;
use crate::{Error, Result, Slice};

/// The entries of a range of keys, as they were when the range was made. An iterator from both ends.
///
/// Values are read when an entry is returned; [`Range::keys`] reads none. While a range is alive, the versions that it sees
/// are kept. It holds the memtables and files that it reads; when it moves, and they have been flushed or merged meanwhile, it
/// takes those that came of them, so that only a range that nobody moves keeps old ones. After an error it ends.
pub struct Range {
    // In this order: what reads the files goes before what keeps the database open.
    front: Option<Run>,
    back: Option<Run>,
    keyspace: Arc<KeyspaceCore>,
    snapshot: SnapshotGuard,
    bounds: Bounds,
    /// The last keys given at either end: the ends must not pass each other.
    front_key: Option<Slice>,
    back_key: Option<Slice>,
    failed: Option<Error>,
    /// Whether values are read; decides how a run that has not begun yet will read.
    values: bool,
    done: bool,
    handle: Arc<Handle>,
}

impl fmt::Debug for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Range")
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}

impl Range {
    /// `checked` is the error to report first, if any. The snapshot is registered before the view is pinned here.
    pub(super) fn new(
        handle: Arc<Handle>,
        keyspace: &Arc<KeyspaceCore>,
        snapshot: SnapshotGuard,
        bounds: Bounds,
        checked: Result<()>,
    ) -> Self {
        let inverted = bounds.upper.as_ref().is_some_and(|upper| *upper <= bounds.lower);
        Range {
            front: None,
            back: None,
            keyspace: keyspace.clone(),
            snapshot,
            bounds,
            front_key: None,
            back_key: None,
            done: inverted && checked.is_ok(),
            failed: checked.err(),
            values: true,
            handle,
        }
    }

    /// Only the keys: no value is read.
    pub fn keys(mut self) -> Keys {
        self.values = false;
        Keys(self)
    }

    fn advance<T>(&mut self, direction: Direction, take: fn(&Core, &Run) -> Result<T>) -> Option<Result<T>> {
        if self.done {
            return None;
        }
        let begun = self.handle.core.begin_timing();
        let run = match direction {
            Direction::Forward => &self.front,
            Direction::Backward => &self.back,
        };
        let kind = if run.is_some() { Timed::Next } else { Timed::Seek };
        let taken = self.take_next(direction, take);
        self.handle.core.note_time(kind, begun);
        taken
    }

    #[inline]
    fn take_next<T>(
        &mut self,
        direction: Direction,
        take: fn(&Core, &Run) -> Result<T>,
    ) -> Option<Result<T>> {
        let result = match self.failed.take() {
            Some(error) => Err(error),
            None => self
                .handle
                .core
                .check_open()
                .and_then(|()| self.step(direction))
                .and_then(|more| {
                    let run = match direction {
                        Direction::Forward => &self.front,
                        Direction::Backward => &self.back,
                    };
                    match run {
                        Some(run) if more => take(&self.handle.core, run).map(Some),
                        _ => Ok(None),
                    }
                }),
        };
        self.done = !matches!(result, Ok(Some(_)));
        result.transpose()
    }

    /// Goes one entry on at one end; false when the ends have met.
    fn step(&mut self, direction: Direction) -> Result<bool> {
        let (run, bound) = match direction {
            Direction::Forward => (&mut self.front, Some(&self.bounds.lower[..])),
            Direction::Backward => (&mut self.back, self.bounds.upper.as_deref()),
        };
        let run = match run {
            Some(run) => run,
            None => run.insert(Run::new(
                &self.keyspace,
                self.snapshot.seq(),
                self.values,
                direction,
                bound,
            )?),
        };
        if !run.step(direction)? {
            return Ok(false);
        }
        let key = run.key();
        let inside = match direction {
            Direction::Forward => {
                self.bounds.upper.as_ref().is_none_or(|upper| key < &upper[..])
                    && self.back_key.as_ref().is_none_or(|back| key < &back[..])
            }
            Direction::Backward => {
                key >= &self.bounds.lower[..] && self.front_key.as_ref().is_none_or(|front| key > &front[..])
            }
        };
        if inside {
            let key = Some(Slice::from(key));
            match direction {
                Direction::Forward => self.front_key = key,
                Direction::Backward => self.back_key = key,
            }
        }
        Ok(inside)
    }
}

fn take_entry(core: &Core, run: &Run) -> Result<(Slice, Slice)> {
    Ok((Slice::from(run.key()), run.load(core)?))
}

fn take_key(_: &Core, run: &Run) -> Result<Slice> {
    Ok(Slice::from(run.key()))
}

impl Iterator for Range {
    type Item = Result<(Slice, Slice)>;
    fn next(&mut self) -> Option<Self::Item> {
        self.advance(Direction::Forward, take_entry)
    }
}

impl DoubleEndedIterator for Range {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.advance(Direction::Backward, take_entry)
    }
}

impl std::iter::FusedIterator for Range {}

/// The keys of a [`Range`].
#[derive(Debug)]
pub struct Keys(Range);

impl Iterator for Keys {
    type Item = Result<Slice>;
    fn next(&mut self) -> Option<Self::Item> {
        self.0.advance(Direction::Forward, take_key)
    }
}

impl DoubleEndedIterator for Keys {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.0.advance(Direction::Backward, take_key)
    }
}

impl std::iter::FusedIterator for Keys {}
