//! [`Rows`]: sorted rows, one after the other; [`Merged`]: several of them as one.
//!
//! Callers: `sort`, `section`.

use std::cmp::Ordering;

use crate::Result;

/// Rows in order: by key ascending, of equal keys by number descending.
pub(super) trait Rows {
    /// Goes to the next row; false at the end, after which it is not called again. REQUIRED before the first row.
    fn advance(&mut self) -> Result<bool>;
    /// The present row's key; empty where there is none.
    fn key(&self) -> &[u8];
    /// Of equal keys the greater number is the newer row.
    fn number(&self) -> u64;
    /// Its value.
    fn value(&self) -> &[u8];
}

/// Several [`Rows`] as one: a binary heap of sources by their present rows.
pub(super) struct Merged {
    sources: Vec<Box<dyn Rows>>,
    /// Indexes of the sources that have a row, the least row's first.
    heap: Vec<usize>,
    started: bool,
    /// What has to live as long as the sources.
    _kept: Option<Box<dyn std::any::Any>>,
}

impl Merged {
    pub(super) fn new(sources: Vec<Box<dyn Rows>>) -> Self {
        Merged {
            heap: Vec::with_capacity(sources.len()),
            sources,
            started: false,
            _kept: None,
        }
    }

    /// The same and `more`.
    pub(super) fn with(mut self, more: Box<dyn Rows>) -> Self {
        debug_assert!(!self.started);
        self.sources.push(more);
        self
    }

    /// Keeps something alive.
    pub(super) fn keeping(mut self, kept: Box<dyn std::any::Any>) -> Self {
        self._kept = Some(kept);
        self
    }

    fn start(&mut self) -> Result<()> {
        for (index, source) in self.sources.iter_mut().enumerate() {
            if source.advance()? {
                self.heap.push(index);
            }
        }
        for at in (0..self.heap.len() / 2).rev() {
            self.sift_down(at);
        }
        Ok(())
    }

    fn first(&self) -> Option<&dyn Rows> {
        let index = self.heap.first()?;
        self.sources.get(*index).map(|source| &**source)
    }

    /// Whether the source at place `a` of the heap comes before that at `b`.
    fn before(&self, a: usize, b: usize) -> bool {
        let source = |at: usize| self.heap.get(at).and_then(|index| self.sources.get(*index));
        let (Some(a), Some(b)) = (source(a), source(b)) else {
            return false;
        };
        let order = a.key().cmp(b.key()).then_with(|| b.number().cmp(&a.number()));
        order == Ordering::Less
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let children = [2 * at + 1, 2 * at + 2];
            let least = children.into_iter().filter(|child| *child < self.heap.len());
            let least = least.reduce(|a, b| if self.before(b, a) { b } else { a });
            match least {
                Some(child) if self.before(child, at) => {
                    self.heap.swap(child, at);
                    at = child;
                }
                _ => return,
            }
        }
    }
}

impl Rows for Merged {
    fn advance(&mut self) -> Result<bool> {
        if !self.started {
            self.started = true;
            self.start()?;
            return Ok(!self.heap.is_empty());
        }
        let Some(index) = self.heap.first().copied() else {
            return Ok(false);
        };
        let more = match self.sources.get_mut(index) {
            Some(source) => source.advance()?,
            None => false,
        };
        if !more {
            self.heap.swap_remove(0);
        }
        self.sift_down(0);
        Ok(!self.heap.is_empty())
    }

    fn key(&self) -> &[u8] {
        self.first().map_or(&[], Rows::key)
    }

    fn number(&self) -> u64 {
        self.first().map_or(0, Rows::number)
    }

    fn value(&self) -> &[u8] {
        self.first().map_or(&[], Rows::value)
    }
}
