//! What the kernel says of this process and machine.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Memory of the process, in bytes; 0 where the kernel does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// The most that was resident, mapped files counted.
    pub(crate) peak: u64,
    /// Resident now, without mapped files.
    pub(crate) anonymous: u64,
    /// Resident now, of mapped files.
    pub(crate) file: u64,
}

pub(crate) fn memory() -> Memory {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| -> u64 {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .map_or(0, |kib| kib * 1024)
    };
    Memory {
        peak: kib("VmHWM"),
        anonymous: kib("RssAnon"),
        file: kib("RssFile"),
    }
}

/// Lets the peak begin anew at what is resident now; where that is refused, it goes on from before.
pub(crate) fn reset_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Number and name of the processors, and their cache.
pub(crate) fn processor() -> (usize, String, String) {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name));
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_string()))
    };
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    (
        count,
        field("model name").unwrap_or_else(|| "unknown".into()),
        field("cache size").unwrap_or_else(|| "unknown".into()),
    )
}

/// A moment in the calendar, in UTC.
struct Moment {
    year: u64,
    /// From 0 on.
    month: u64,
    day: u64,
    /// 0 for a Thursday, as the first of January 1970 was.
    weekday: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Moment {
    fn now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment::at(now.as_secs())
    }

    /// So many seconds after 1970 began.
    fn at(seconds: u64) -> Self {
        let (days, time) = (seconds / 86_400, seconds % 86_400);
        // Years begin in March, so that the leap day is the last (Hinnant, "chrono-compatible low-level date
        // algorithms").
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = (march_month + 2) % 12;
        Moment {
            year: year_of_era + era * 400 + u64::from(month < 2),
            month,
            day: day_of_year - (153 * march_month + 2) / 5 + 1,
            weekday: days % 7,
            hour: time / 3600,
            minute: time / 60 % 60,
            second: time % 60,
        }
    }

    /// The form of C's `ctime`.
    fn ctime(&self) -> String {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        let (weekday, month) = (DAYS[self.weekday as usize], MONTHS[self.month as usize]);
        let Moment {
            year,
            day,
            hour,
            minute,
            second,
            ..
        } = self;
        format!("{weekday} {month} {day:>2} {hour:02}:{minute:02}:{second:02} {year}")
    }
}

/// The time now in the form of C's `ctime`, in UTC.
pub(crate) fn date() -> String {
    Moment::now().ctime()
}

/// The time now as RocksDB puts it before its interval lines, in UTC.
pub(crate) fn timestamp() -> String {
    let Moment {
        year,
        month,
        day,
        hour,
        minute,
        second,
        ..
    } = Moment::now();
    format!(
        "{year:04}/{:02}/{day:02}-{hour:02}:{minute:02}:{second:02}",
        month + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(Moment::at(0).ctime(), "Thu Jan  1 00:00:00 1970");
        assert_eq!(Moment::at(1_659_416_156).ctime(), "Tue Aug  2 04:55:56 2022");
        assert_eq!(Moment::at(1_709_208_000).ctime(), "Thu Feb 29 12:00:00 2024");
        assert_eq!(Moment::at(4_107_542_399).ctime(), "Sun Feb 28 23:59:59 2100");
    }

    #[test]
    fn memory_is_known_on_linux() {
        if cfg!(target_os = "linux") {
            let memory = memory();
            assert!(memory.peak > 0 && memory.anonymous > 0);
        }
    }
}
