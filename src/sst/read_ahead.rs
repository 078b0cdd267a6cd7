//! Read-ahead: blocks out of two windows on the file, which read calls fill.
//!
//! A key block lies behind the values that it refers to, so that the older window still serves the values when the newer one has
//! been read for the key block. A first read is small, and windows grow once reads turn out to be sequential: short
//! scans stay cheap.
//!
//! Callers: `cursor`, in pread mode.

use super::footer::HEADER_LEN;
use super::offset_table::BlockPlace;
use super::reader::Sst;
use crate::{Error, Result};

/// The size of a read-ahead, in bytes: 256 KiB, at which a disk of 300 MB/s spends under a tenth on the call itself.
const WINDOW: u64 = 256 << 10;
/// The size of a read that is not (yet) known to be part of a sequence, in bytes.
const FIRST_WINDOW: u64 = 32 << 10;

/// The same, for those who count.
pub(crate) const MOST_WINDOW: u64 = WINDOW;

/// What has been read of a file last.
pub(super) struct Windows {
    windows: [Window; 2],
    /// How large they get.
    size: u64,
    /// The window that was read last.
    newest: usize,
    pub(super) backwards: bool,
}

/// A piece of the file.
#[derive(Default)]
struct Window {
    start: u64,
    bytes: Vec<u8>,
}

impl Window {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    fn get(&self, place: BlockPlace) -> Option<&[u8]> {
        let start = usize::try_from(u64::from(place.start).checked_sub(self.start)?).ok()?;
        self.bytes.get(start..start.checked_add(place.len as usize)?)
    }
}

impl Default for Windows {
    fn default() -> Self {
        Windows {
            windows: Default::default(),
            size: WINDOW,
            newest: 0,
            backwards: false,
        }
    }
}

impl Windows {
    /// How large they get.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Lets them get so large at most, and no larger than [`MOST_WINDOW`].
    pub(super) fn limit(&mut self, bytes: u64) {
        self.size = bytes.min(WINDOW);
    }

    /// Frame and stored bytes of a block, out of a window or by a read that makes one. REQUIRES: `place` came from the
    /// offset table and takes at most a window.
    pub(super) fn frame(&mut self, sst: &Sst, place: BlockPlace) -> Result<&[u8]> {
        if self.windows.iter().all(|window| window.get(place).is_none()) {
            self.read(sst, place)?;
        }
        let found = self.windows.iter().find_map(|window| window.get(place));
        found.ok_or_else(|| Error::corruption(sst.path(), place.start.into(), "a block inside the file"))
    }

    fn read(&mut self, sst: &Sst, place: BlockPlace) -> Result<()> {
        let (start, end) = (
            u64::from(place.start),
            u64::from(place.start) + u64::from(place.len),
        );
        let near = |window: &Window| {
            !window.bytes.is_empty() && start <= window.end() + self.size && window.start <= end + self.size
        };
        let want = if self.windows.iter().any(near) {
            self.size
        } else {
            FIRST_WINDOW.min(self.size)
        };
        let limit = sst.footer.filter.offset;
        let (from, to) = match self.backwards {
            false => (start, (start + want).clamp(end, limit.max(end))),
            true => (
                end.saturating_sub(want)
                    .clamp(HEADER_LEN as u64, start.max(HEADER_LEN as u64)),
                end,
            ),
        };
        let oldest = 1 - self.newest.min(1);
        if let Some(window) = self.windows.get_mut(oldest) {
            window.start = from;
            window.bytes.clear();
            // At most a window, whatever the file says.
            window.bytes.resize((to - from).min(self.size) as usize, 0);
            if let Err(e) = sst.file.read_exact_at(from, &mut window.bytes) {
                window.bytes.clear();
                return Err(Error::io("read", sst.path(), e));
            }
        }
        self.newest = oldest;
        Ok(())
    }
}
