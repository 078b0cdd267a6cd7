//! [`WalOptions`], and how much room a file is given.

use super::LogMedium;
use crate::env::Env;
use crate::record_log::{HEADER_LEN, Layout};

/// Options of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WalOptions {
    /// In bytes. A new file begins when a group of frames would pass it; a group that is larger by itself gets a file of its
    /// own.
    pub(crate) max_file_size: u64,
    /// How frames reach the files.
    pub(crate) medium: LogMedium,
}

/// The most that is reserved when a mapped file is made, in bytes: a database with little in its log takes no more.
const FIRST_ROOM: u64 = 1 << 20;
/// The part of a file that is reserved when it is made, where that is less than [`FIRST_ROOM`].
const FIRST_PART: u64 = 16;
/// Room is handed out in pages, in bytes: the system maps no less.
const PAGE: u64 = 4 << 10;
/// Room behind the last group of a full file, in bytes: for two or three markers, the seal, and what ends the log.
const SLACK: u64 = 1 << 10;

/// In whole pages.
fn pages(bytes: u64) -> u64 {
    bytes.div_ceil(PAGE).saturating_mul(PAGE)
}

impl WalOptions {
    /// Plain writes.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) const fn plain(max_file_size: u64) -> WalOptions {
        WalOptions {
            max_file_size,
            medium: LogMedium::Plain,
        }
    }

    /// Mapped files.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) const fn mapped(max_file_size: u64) -> WalOptions {
        WalOptions {
            max_file_size,
            medium: LogMedium::Auto,
        }
    }

    /// The layout of a file whose first group has `group` bytes, if it shall be mapped.
    pub(super) fn layout(&self, env: &Env, group: u64) -> Option<Layout> {
        if self.medium == LogMedium::Plain {
            return None;
        }
        let needed = pages(group.saturating_add(HEADER_LEN + SLACK));
        Some(Layout {
            scheduler: env.scheduler.clone(),
            first: self.first_room().max(needed),
            most: pages(self.max_file_size.saturating_add(SLACK)).max(needed),
        })
    }

    /// What an empty mapped file takes, in bytes.
    pub(super) fn first_room(&self) -> u64 {
        pages(self.max_file_size / FIRST_PART).clamp(PAGE, FIRST_ROOM)
    }
}
