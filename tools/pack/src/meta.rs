//! [`Meta`]: what an archive says of a file besides its name and content.
//!
//! ```text
//! 0  version u8 (1) | 1  kind u8 | 2  mode u32 | 6  modification time: seconds since 1970 i64 | 14  nanoseconds u32      18 bytes
//! ```
//!
//! Numbers are little-endian. Kinds: 0 a regular file, 1 a directory (the object is empty), 2 a symbolic link (the object is its target). The
//! mode is the 12 permission bits of Unix; other bits are zero. Nanoseconds are below 1,000,000,000. So there is one encoding of each
//! value, and equal files have equal meta data. Anything else is another program's meta data.

use std::fs::Metadata;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::platform;

const VERSION: u8 = 1;
/// The length of the encoding, in bytes.
const LEN: usize = 18;
/// Permissions, setuid, setgid, sticky.
const MODE_BITS: u32 = 0o7777;
/// What is restored of them: an archive is no reason to run a program as somebody else.
const RESTORED_BITS: u32 = 0o777;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::File => "file",
            Kind::Directory => "directory",
            Kind::Symlink => "symlink",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

impl Meta {
    pub(crate) fn new(kind: Kind, mode: u32, (seconds, nanoseconds): (i64, u32)) -> Meta {
        Meta {
            kind,
            mode: mode & MODE_BITS,
            seconds,
            nanoseconds,
        }
    }

    /// Of a file; with another time if one is given.
    pub(crate) fn of(metadata: &Metadata, kind: Kind, mtime: Option<i64>) -> Meta {
        let time = match mtime {
            Some(seconds) => (seconds, 0),
            None => metadata.modified().map(since_1970).unwrap_or_default(),
        };
        Meta::new(kind, platform::mode_of(metadata), time)
    }

    pub(crate) fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        bytes[0] = VERSION;
        bytes[1] = match self.kind {
            Kind::File => 0,
            Kind::Directory => 1,
            Kind::Symlink => 2,
        };
        bytes[2..6].copy_from_slice(&self.mode.to_le_bytes());
        bytes[6..14].copy_from_slice(&self.seconds.to_le_bytes());
        bytes[14..].copy_from_slice(&self.nanoseconds.to_le_bytes());
        bytes
    }

    /// `None` if it is another program's.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Meta> {
        let bytes: &[u8; LEN] = bytes.try_into().ok()?;
        let kind = match (bytes[0], bytes[1]) {
            (VERSION, 0) => Kind::File,
            (VERSION, 1) => Kind::Directory,
            (VERSION, 2) => Kind::Symlink,
            _ => return None,
        };
        let (_, rest) = bytes.split_first_chunk::<2>()?;
        let (mode, rest) = rest.split_first_chunk()?;
        let (seconds, nanoseconds) = rest.split_first_chunk()?;
        let meta = Meta {
            kind,
            mode: u32::from_le_bytes(*mode),
            seconds: i64::from_le_bytes(*seconds),
            nanoseconds: u32::from_le_bytes(nanoseconds.try_into().ok()?),
        };
        (meta.mode <= MODE_BITS && meta.nanoseconds < 1_000_000_000).then_some(meta)
    }

    /// The permission bits that a file gets again.
    pub(crate) fn restored_mode(&self) -> u32 {
        self.mode & RESTORED_BITS
    }

    /// `None` if this system has no such time.
    pub(crate) fn time(&self) -> Option<SystemTime> {
        let seconds = Duration::from_secs(self.seconds.unsigned_abs());
        let whole = match self.seconds < 0 {
            true => UNIX_EPOCH.checked_sub(seconds),
            false => UNIX_EPOCH.checked_add(seconds),
        };
        whole?.checked_add(Duration::from_nanos(u64::from(self.nanoseconds)))
    }

    /// As `ls -l` writes it.
    pub(crate) fn mode_text(&self) -> String {
        let mut text = String::from(match self.kind {
            Kind::File => "-",
            Kind::Directory => "d",
            Kind::Symlink => "l",
        });
        for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
            let bits = self.mode >> shift;
            text.push(if bits & 4 != 0 { 'r' } else { '-' });
            text.push(if bits & 2 != 0 { 'w' } else { '-' });
            text.push(match (self.mode & special != 0, bits & 1 != 0) {
                (true, true) => letter,
                (true, false) => letter.to_ascii_uppercase(),
                (false, true) => 'x',
                (false, false) => '-',
            });
        }
        text
    }

    /// The time in UTC, to the second: `2026-01-31T12:00:00Z`.
    pub(crate) fn time_text(&self) -> String {
        let (days, second) = (self.seconds.div_euclid(86_400), self.seconds.rem_euclid(86_400));
        let (year, month, day) = date(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Seconds and nanoseconds since 1970; the seconds are rounded down, also before.
pub(crate) fn since_1970(time: SystemTime) -> (i64, u32) {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (
            i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            after.subsec_nanos(),
        ),
        Err(before) => {
            let before = before.duration();
            let seconds = 0i64.checked_sub_unsigned(before.as_secs()).unwrap_or(i64::MIN);
            match before.subsec_nanos() {
                0 => (seconds, 0),
                nanoseconds => (seconds.saturating_sub(1), 1_000_000_000 - nanoseconds),
            }
        }
    }
}

/// Year, month and day of a day since 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms": years begin in March).
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: Meta = Meta {
        kind: Kind::Symlink,
        mode: 0o4751,
        seconds: -2,
        nanoseconds: 999_999_999,
    };

    #[test]
    fn the_bytes_are_pinned() {
        let bytes = META.encode();
        assert_eq!(bytes[..6], [1, 2, 0xe9, 0x09, 0, 0]);
        assert_eq!(
            bytes[6..],
            [0xfe, 255, 255, 255, 255, 255, 255, 255, 0xff, 0xc9, 0x9a, 0x3b]
        );
        assert_eq!(Meta::decode(&bytes), Some(META));
    }

    #[test]
    fn what_is_not_canonical_is_another_program_s() {
        let bytes = META.encode();
        assert_eq!(Meta::decode(b""), None);
        assert_eq!(Meta::decode(&bytes[..17]), None);
        assert_eq!(Meta::decode(&[&bytes[..], b"x"].concat()), None);
        for (at, value) in [(0, 0), (0, 2), (1, 3), (3, 0x19), (5, 1), (17, 0x3c)] {
            let mut other = bytes;
            other[at] = value;
            assert_eq!(Meta::decode(&other), None, "{at}");
        }
    }

    #[test]
    fn times_are_what_they_were() {
        for (seconds, nanoseconds) in [(0, 0), (1, 5), (-1, 0), (-1, 1), (-2, 999_999_999), (1 << 33, 7)] {
            let meta = Meta::new(Kind::File, 0, (seconds, nanoseconds));
            assert_eq!(meta.time().map(since_1970), Some((seconds, nanoseconds)));
        }
    }

    #[test]
    fn text() {
        let at = |seconds| Meta::new(Kind::File, 0o644, (seconds, 0)).time_text();
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(-1), "1969-12-31T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_772_323_199), "2026-02-28T23:59:59Z");
        // Years beyond anything are only text.
        assert!(at(i64::MIN).starts_with('-') && at(i64::MAX).starts_with("2922"));
        assert_eq!(META.mode_text(), "lrwsr-x--x");
        assert_eq!(
            Meta::new(Kind::Directory, 0o1706, (0, 0)).mode_text(),
            "drwx---rwT"
        );
    }
}
